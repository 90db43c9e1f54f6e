"""`zimage-syncd backup`: cache → stores."""

from __future__ import annotations

import click

from zimage_syncd.cli.options import Command, selecting, selection_of
from zimage_syncd.cli.session import Session


@click.command(cls=Command)
@selecting
@click.option(
    "--accept-changed", is_flag=True, help="A mutable revision changed, or something is gone, and that is wanted."
)
@click.pass_obj
def backup(
    session: Session,
    repo: str | None,
    revision: str | None,
    layout: str | None,
    snapshot: str | None,
    *,
    accept_changed: bool,
) -> int:
    """Back the cache up to the archives of backup.to."""
    selection = selection_of(repo, revision, layout, snapshot)
    services = session.services()
    session.stop.listen()
    return session.write_report(services.backup(selection, accept_changed=accept_changed))
