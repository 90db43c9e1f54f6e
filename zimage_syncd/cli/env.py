"""`zimage-syncd env`: the variables by which both libraries find the cache."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from zimage_syncd.cli.options import Command
from zimage_syncd.cli.session import Session

if TYPE_CHECKING:
    from zimage_syncd.cli.services import Services

_SHELLS = ("bash", "fish", "systemd", "docker", "jupyter")


@click.command(cls=Command)
@click.option("--shell", type=click.Choice(_SHELLS), default="bash", show_default=True, help="For whom.")
@click.option("--install", is_flag=True, help="Write them to files for sessions and login shells.")
@click.option("--remove", is_flag=True, help="Remove these files.")
@click.pass_obj
def env(session: Session, shell: str, *, install: bool, remove: bool) -> int:
    """Print the environment variables to set, or set them for every session."""
    if install and remove:
        raise click.UsageError("--install and --remove exclude each other")
    services = session.services()
    if install or remove:
        return _change(session, services, install=install)
    variables = services.environment()
    if session.as_json:
        session.write_json("environment", {"variables": variables})
    else:
        session.write(environment_text(variables, shell))
    return 0


def _change(session: Session, services: Services, *, install: bool) -> int:
    paths = services.install_environment() if install else services.remove_environment()
    if session.as_json:
        session.write_json("environment", {"written" if install else "removed": paths})
    elif paths:
        lines = [f"{'wrote' if install else 'removed'} {path}" for path in paths]
        if install:
            lines.append("Sessions that begin from now on have the variables.")
        session.write("\n".join(lines) + "\n")
    else:
        session.write("They are there already.\n" if install else "There are none.\n")
    return 0


def environment_text(variables: Mapping[str, str], shell: str) -> str:
    """The variables as a shell, systemd, Docker or a notebook takes them."""
    lines = []
    for name, value in variables.items():
        match shell:
            case "fish":
                escaped = value.replace("\\", "\\\\").replace("'", "\\'")
                lines.append(f"set -gx {name} '{escaped}'")
            case "systemd":
                escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
                lines.append(f'Environment="{name}={escaped}"')
            case "docker":
                lines.append(f"{name}={value}")
            case "jupyter":
                lines.append(f"import os; os.environ[{json.dumps(name)}] = {json.dumps(value)}")
            case _:
                lines.append(f"export {name}={shlex.quote(value)}")
    return "\n".join(lines) + "\n"
