"""`zimage-syncd install`: a copy of the program that outlives a reset, and the line that brings it back."""

from __future__ import annotations

import click

from zimage_syncd.cli.options import Command, not_empty
from zimage_syncd.cli.session import Session
from zimage_syncd.model.installation import Installed
from zimage_syncd.report.words import plain, size


@click.command(cls=Command, short_help="Let program and units outlive a reset.")
@click.option("--to", metavar="DIR", callback=not_empty, help="Where the copy lies; default: on the data disk.")
@click.pass_obj
def install(session: Session, to: str | None) -> int:
    """Put a copy of this program on the data disk, start it, and print the line that brings it back."""
    done = session.services().install(to)
    if session.as_json:
        session.write_json("install", {"install": done})
    else:
        session.write(installed_text(done))
    return 0


def installed_text(done: Installed) -> str:
    """What was done, for people; the line is the last one."""
    found = "made" if done.is_new else "was there already"
    lines = [
        f"copy    {done.program}, {done.files} files, {size(done.size_bytes)}: {found}",
        f"        {done.directory}",
        f"needs   glibc {done.glibc or 'of any version'} on {done.machine}; no Python, no network",
        *(f"kept    {path}" for path in done.kept),
        *(f"note    {note}" for note in done.notes),
        "",
        "The line for the provider's start-up script, or under `#!/bin/sh` for cloud-init's user data:",
        "",
        done.line,
    ]
    return "\n".join(plain(line) for line in lines) + "\n"
