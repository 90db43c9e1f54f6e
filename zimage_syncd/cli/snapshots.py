"""`zimage-syncd snapshots`: what is in the cache and in each store."""

from __future__ import annotations

from collections.abc import Sequence

import click

from zimage_syncd.cli.options import Command, not_empty
from zimage_syncd.cli.session import Session
from zimage_syncd.model.status import UNREACHABLE, SnapshotRow
from zimage_syncd.report.words import count, plain, size


@click.command(cls=Command)
@click.option("--store", metavar="NAME", callback=not_empty, help="One store only.")
@click.pass_obj
def snapshots(session: Session, store: str | None) -> int:
    """List what is in the cache and in each store."""
    rows = session.services().snapshots(store)
    exit_code = 2 if any(row.state == UNREACHABLE for row in rows) else 0
    if session.as_json:
        session.write_json("snapshots", {"snapshots": rows, "exit_code": exit_code})
    else:
        session.write(rows_text(rows))
    return exit_code


def rows_text(rows: Sequence[SnapshotRow]) -> str:
    """Rows for people, place by place."""
    if not rows:
        return "no snapshot yet: download a model, or run `zimage-syncd restore`\n"
    lines = []
    for place in dict.fromkeys(row.place for row in rows):
        lines.append(f"{place}:")
        for row in rows:
            if row.place == place:
                lines.extend(_row(row))
    return "\n".join(plain(line) for line in lines) + "\n"


def _row(row: SnapshotRow) -> list[str]:
    if row.state == UNREACHABLE:
        return [f"  cannot be asked: {row.detail}"]
    names = ", ".join(name for name in row.names if name != row.revision)
    revision = f"{row.revision[:12]} ({names})" if names else row.revision[:40]
    contents = f"  {count(row.files, 'file')}, {size(row.size_bytes)}" if row.files else ""
    stored = f"  {row.created_at:%Y-%m-%d %H:%M} UTC" if row.created_at is not None else ""
    known = f"  {row.manifest_id[:12]}" if row.manifest_id else "  not recorded yet"
    proof = f" ({row.proof})" if row.proof else ""
    lines = [f"  {row.repo}  {revision}  {row.layout}{contents}  {row.state}{known}{proof}{stored}"]
    if row.detail and row.state != "complete":
        lines.append(f"    {row.detail}")
    if row.last_verified_at is not None:
        lines.append(f"    every file read and right at {row.last_verified_at:%Y-%m-%d %H:%M} UTC")
    return lines
