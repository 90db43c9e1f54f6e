"""`zimage-syncd uninstall`: what `install` made goes away, and nothing else."""

from __future__ import annotations

import click

from zimage_syncd.cli.options import Command
from zimage_syncd.cli.session import Session
from zimage_syncd.model.installation import Removed
from zimage_syncd.report.words import plain


@click.command(cls=Command, short_help="Remove what install made.")
@click.pass_obj
def uninstall(session: Session) -> int:
    """Stop the service, and remove units, copies and boot scripts; data and settings stay."""
    from zimage_syncd.report.json_document import to_json  # noqa: PLC0415 - as in `Session`

    services = session.services()
    done = services.uninstall()
    text = to_json("uninstall", {"uninstall": done}) if session.as_json else removed_text(done)
    # The last that is done but to say so: this very program may be one of the copies.
    services.remove_copies()
    session.write(text)
    return 0


def removed_text(done: Removed) -> str:
    """What is gone, for people."""
    lines = [*(f"removed {path}" for path in (*done.paths, *done.copies)), *done.notes]
    return "\n".join(plain(line) for line in lines or ["There is nothing to remove."]) + "\n"
