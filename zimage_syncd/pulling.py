"""Another process's program: it opens the store of a recipe, and fetches from it (`process/pullers.py` starts it)."""

from __future__ import annotations

import socket

from zimage_syncd.process.nursery import end_with, serve
from zimage_syncd.process.pull_messages import receive
from zimage_syncd.stores.s3_recipe import open_recipe


def main(parent: int) -> None:
    """Serves the transfer at the other end of standard input; ends with it.

    Args:
        parent: its process id.
    """
    end_with(parent)
    connection = socket.socket(fileno=0)
    recipe, _ = receive(connection)
    if recipe:
        serve(connection, open_recipe(recipe))
