"""`zimage-syncd status`: what the disk and the stores say now."""

from __future__ import annotations

import time

import click

from zimage_syncd.cli.options import Command
from zimage_syncd.cli.session import Session
from zimage_syncd.cli.snapshots import rows_text
from zimage_syncd.model.status import Status
from zimage_syncd.report.health_text import health_lines
from zimage_syncd.report.text import findings_lines
from zimage_syncd.report.words import plain, size

_EVERY_S = 2.0

_DISK = {
    "here": "the one that this cache is on",
    "missing": "MISSING",
    "foreign": "of ANOTHER CACHE",
    "empty": "without an identity yet: the first backup, restore or verify gives it one",
    "in use by another host": "IN USE BY ANOTHER HOST",
    "unknown": "with an identity that cannot be understood",
    "rolled back": "an older state of itself",
    "moved": "on another file system than at the daemon's last start",
}
"""The data disk's states (`DataState`), where the word alone would be taken for something else."""

_SYSTEM = {
    "same": "this system disk is the one that the daemon knows",
    "new": "this system disk is a new one: it was reset",
    "first": "no system disk is known yet: the daemon (`zimage-syncd run`) remembers it, to notice a reset",
    "rolled back": "this system disk is an older state of itself",
}
"""What is known of the system disk (`SystemState`)."""


@click.command(cls=Command)
@click.option("--watch", is_flag=True, help="Again every 2 seconds, until Ctrl-C.")
@click.pass_obj
def status(session: Session, *, watch: bool) -> int:
    """Show disk, links, cache, stores and the last reports."""
    if watch and session.as_json:
        raise click.UsageError("--watch and --json exclude each other: --json prints one document")
    services = session.services()
    while True:
        now = services.status()
        if session.as_json:
            session.write_json("status", {"status": now, "exit_code": exit_code(now)})
        else:
            session.write(("\x1b[2J\x1b[H" if watch else "") + status_text(now))
        if not watch:
            return exit_code(now)
        try:
            time.sleep(_EVERY_S)
        except KeyboardInterrupt:
            return exit_code(now)


def exit_code(now: Status) -> int:
    """2 when something is wrong, else 0."""
    return 2 if any(finding.counts for finding in now.findings) else 0


def status_text(now: Status) -> str:
    """A status for people."""
    mount = f", on {now.mount}" if now.mount else ""
    free = f"; {size(now.free_bytes)} of {size(now.total_bytes)} free" if now.total_bytes else ""
    disk = ", ".join(_DISK.get(state, state) for state in now.disk.split(", "))
    lines = [
        f"cache   {now.cache_dir}{mount}",
        f"disk    {disk}{free}",
        f"system  {_SYSTEM.get(now.system, now.system)}",
    ]
    if now.cache_id:
        lines.append(f"id      {now.cache_id}")
    lines.extend(
        f"link    {link.path}: {link.state}" + (f" ({link.target})" if link.target else "") for link in now.links
    )
    for store in now.stores:
        state = {True: "reachable", False: "NOT reachable", None: "not asked"}[store.reachable]
        lines.append(
            f"store   {store.name}: {state}, {store.kind}, {store.url}" + (f": {store.detail}" if store.detail else "")
        )
    if now.lock_holder:
        lines.append(f"busy    {now.lock_holder}")
    lines.extend(rows_text(now.snapshots).splitlines())
    lines.extend(
        f"report  {row.at:%Y-%m-%d %H:%M} UTC {row.job}: {row.outcome}  {row.path}" for row in now.last_reports
    )
    lines.extend(line for row in now.health for line in health_lines(row))
    lines.extend(findings_lines(now.findings))
    return "\n".join(plain(line) for line in lines) + "\n"
