"""`zimage-syncd demo`: the whole story on a tiny model."""

from __future__ import annotations

import click

from zimage_syncd.cli.options import Command


@click.command(cls=Command, short_help="The whole story on a tiny model.")
@click.option("--dir", "directory", metavar="DIR", help="An empty directory; without it a temporary one.")
@click.option("--keep", is_flag=True, help="Keep everything, also the bucket and the pipeline's files.")
def demo(directory: str | None, *, keep: bool) -> int:
    """Tell the whole story on a tiny model: back up, lose, restore, damage, mend, draw."""
    from zimage_syncd.demo.story import run_demo  # noqa: PLC0415 - nothing else needs it

    return run_demo(directory, keep)
