"""`zimage-syncd run`: the daemon."""

from __future__ import annotations

import os

import click

from zimage_syncd.cli.options import Command
from zimage_syncd.cli.session import Session
from zimage_syncd.daemon.init import begin_as_init

_INIT = 1
"""The process that a container starts with."""


@click.command(name="run", cls=Command, short_help="Run the daemon until SIGTERM.")
@click.pass_obj
def run(session: Session) -> int:
    """Run the daemon: one cycle now, then what the clock starts, until SIGTERM."""
    if os.getpid() == _INIT:
        ended = begin_as_init()
        if ended is not None:
            return ended
    from zimage_syncd.daemon.pulse import Pulse  # noqa: PLC0415 - `--help` does not need it

    session.stop.listen(reload=True)
    pulse = Pulse(session.monitor(), session.stop)
    return session.services(pulse).run(session.stop, pulse, session.configuration)
