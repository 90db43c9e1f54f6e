"""`zimage-syncd verify`: check, report, mend."""

from __future__ import annotations

import click

from zimage_syncd.cli.options import Command, not_empty, selecting, selection_of
from zimage_syncd.cli.session import Session


@click.command(cls=Command, short_help="Check the cache, or a store; mend.")
@selecting
@click.option("--quick", is_flag=True, help="Presence, sizes, links, headers (the default).")
@click.option("--deep", is_flag=True, help="Read every byte.")
@click.option("--store", metavar="NAME", callback=not_empty, help="Check a store instead of the cache.")
@click.option(
    "--repair", is_flag=True, help="Mend what is wrong: the cache by chunk from the stores, a store from the cache."
)
@click.pass_obj
def verify(
    session: Session,
    repo: str | None,
    revision: str | None,
    layout: str | None,
    snapshot: str | None,
    store: str | None,
    *,
    quick: bool,
    deep: bool,
    repair: bool,
) -> int:
    """Check the cache against its manifests, or a store against its own."""
    if quick and deep:
        raise click.UsageError("--quick and --deep exclude each other")
    selection = selection_of(repo, revision, layout, snapshot)
    services = session.services()
    session.stop.listen()
    if store is not None:
        return session.write_report(services.verify_store(store, selection, deep=deep, repair=repair))
    return session.write_report(services.verify(selection, deep=deep, repair=repair))
