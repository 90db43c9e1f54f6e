"""`zimage-syncd adopt`: takes over a data disk or an existing cache, on purpose."""

from __future__ import annotations

import click

from zimage_syncd.cli.options import Command
from zimage_syncd.cli.session import Session


@click.command(cls=Command, short_help="Take over a data disk or an existing cache.")
@click.argument("path", required=False, type=click.Path())
@click.pass_obj
def adopt(session: Session, path: str | None) -> int:
    """Take over the data disk, and take the directory PATH into the cache.

    Without PATH: the disk of cache.dir, whoever's it was, and the directories that lie where cache links belong. PATH
    becomes a link; what the cache holds with another content is kept beside it.
    """
    services = session.services()
    session.stop.listen()
    return session.write_report(services.adopt(path))
