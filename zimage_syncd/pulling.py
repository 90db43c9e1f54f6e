"""Another process's program: it opens the store of a recipe, and fetches from it (`process/pullers.py` starts it)."""

from __future__ import annotations

import os
import socket

from zimage_syncd.process.nursery import end_with, serve
from zimage_syncd.process.pull_messages import receive
from zimage_syncd.stores.s3_recipe import open_recipe


def main(parent: int, descriptor: int, environment: dict[str, str | None]) -> None:
    """Serves the transfer at the other end of a socket; ends with it.

    Args:
        parent: its process id.
        descriptor: the socket's; not standard input, which a program that boto3 asks for credentials shares.
        environment: variables as the transfer has them; None: not at all.
    """
    end_with(parent)
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    recipe, _ = receive(connection)
    if recipe:
        serve(connection, open_recipe(recipe))
