"""`zimage-syncd restore`: stores → cache."""

from __future__ import annotations

import os

import click

from zimage_syncd.cli.options import Command, not_empty, selecting, selection_of
from zimage_syncd.cli.session import Session

_MODES = ("auto", "symlink", "hardlink", "reflink", "copy")
"""Those of `LinkMode`, whose module `--help` need not wait for."""


@click.command(cls=Command, short_help="Bring the cache back, every chunk checked.")
@selecting
@click.option("--from", "source", metavar="NAME", callback=not_empty, help="One store or hub only.")
@click.option("--to", metavar="DIR", callback=not_empty, help="Another directory instead of the cache.")
@click.option("--mode", type=click.Choice(_MODES), help="How payload arrives from a mount.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, with bytes and reasons.")
@click.pass_obj
def restore(
    session: Session,
    repo: str | None,
    revision: str | None,
    layout: str | None,
    snapshot: str | None,
    source: str | None,
    to: str | None,
    mode: str | None,
    *,
    dry_run: bool,
) -> int:
    """Bring the cache back from the stores, every chunk checked, and make the cache links."""
    from zimage_syncd.model.plan import LinkMode  # noqa: PLC0415
    from zimage_syncd.report.json_document import plan_fields  # noqa: PLC0415
    from zimage_syncd.report.plan_text import plan_text  # noqa: PLC0415

    selection = selection_of(repo, revision, layout, snapshot)
    services = session.services()
    session.stop.listen()
    link_mode = None if mode is None else LinkMode(mode)
    directory = None if to is None else os.path.abspath(to)
    if not dry_run:
        return session.write_report(services.restore(selection, source=source, to=directory, mode=link_mode))
    plan = services.plan_restore(selection, source=source, to=directory, mode=link_mode)
    if session.as_json:
        session.write_json("plan", {**plan_fields(plan), "exit_code": 0})
    else:
        session.write(plan_text(plan, every_entry=session.verbose))
    return 0
