"""`zimage-syncd path REPO`: the local directory for `from_pretrained`."""

from __future__ import annotations

from functools import partial

import click

from zimage_syncd.cli.options import Command, selecting, selection_of
from zimage_syncd.cli.session import Session


@click.command(cls=Command)
@partial(selecting, repo_required=True)
@click.pass_obj
def path(session: Session, repo: str, revision: str | None, layout: str | None, snapshot: str | None) -> int:
    """Print the local directory for from_pretrained."""
    selection = selection_of(repo, revision, layout, snapshot)
    directory = session.services().path(selection)
    if session.as_json:
        session.write_json("path", {"path": directory})
    else:
        session.write(directory)
    return 0
