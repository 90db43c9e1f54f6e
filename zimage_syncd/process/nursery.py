"""The other side of `pullers`: a process that opens a store once, and forks one that fetches for each worker.

Nothing is retried here, and nothing is explained: what stands in the way is met again, with patience, by the transfer.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NoReturn

from zimage_syncd.digest import PIECE_BYTES, hash_as_written
from zimage_syncd.process.pull_messages import FAILED, HERE, Ask, Told, receive, send

Read = Callable[[str, int, int, memoryview], Iterator[memoryview]]
"""Yields a range of what lies at an address: offset and length in bytes, in views of a buffer; empty ones: it waits."""

_TELL_EVERY_S = 0.5

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
"""linux/prctl.h."""

_NAME = b"zimage-pull"
"""As `top` and the kernel's messages call these processes; 15 bytes at most."""

_LIBC = ctypes.CDLL(None)


def end_with(parent: int) -> None:
    """Asks the kernel to end this process with its parent; ends it now where that has ended already."""
    _LIBC.prctl(_PR_SET_NAME, _NAME)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def serve(connection: socket.socket, read: Read) -> None:
    """Forks a process for each packet, until the transfer lets go of the connection. There must be no other thread."""
    gc.collect()
    gc.freeze()  # so that the collector does not write to pages that all of them share
    parent = os.getpid()
    while True:
        packet, descriptor = receive(connection)
        if not packet:
            break
        _reap(os.WNOHANG)
        if descriptor is None:
            continue
        with suppress(OSError):  # no more processes: the worker does without
            if os.fork() == 0:
                _become_hand(connection, socket.socket(fileno=descriptor), read, parent)
        os.close(descriptor)
    _reap(0)


def _reap(options: int) -> None:
    """Takes note of those that have ended, so that their processor time counts as the transfer's."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def _become_hand(nursery: socket.socket, connection: socket.socket, read: Read, parent: int) -> NoReturn:
    try:
        nursery.close()
        end_with(parent)
        _work(connection, read)
    finally:
        os._exit(0)


def _work(connection: socket.socket, read: Read) -> None:
    itself = os.pidfd_open(os.getpid())
    send(connection, HERE, itself)
    os.close(itself)
    buffer = memoryview(bytearray(PIECE_BYTES))
    while True:
        packet, file = receive(connection)
        if not packet or file is None:
            return
        try:
            done = _pull(connection, Ask.decode(packet), file, read, buffer)
        except Exception:  # noqa: BLE001 - whatever it is, the transfer meets it
            done = False
        finally:
            os.close(file)
        if not done:
            connection.send(FAILED)


def _pull(connection: socket.socket, ask: Ask, file: int, read: Read, buffer: memoryview) -> bool:
    """Fetches one run; False where it ended early."""
    untold_bytes, told_s = 0, time.monotonic()
    left_bytes = ask.length

    def tell(digest: str = "") -> None:
        nonlocal untold_bytes, told_s
        connection.send(Told(untold_bytes, digest).encode())
        untold_bytes, told_s = 0, time.monotonic()

    def write(offset: int, part: memoryview) -> None:
        nonlocal untold_bytes, left_bytes
        while len(part):
            count = os.pwrite(file, part, offset)
            part, offset = part[count:], offset + count
            untold_bytes += count
            left_bytes -= count

    def telling() -> Iterator[memoryview]:
        for piece in read(ask.address, ask.offset, ask.length, buffer):
            if time.monotonic() - told_s >= _TELL_EVERY_S:
                tell()
            yield piece

    for _, digest in hash_as_written(telling(), ask.offset, ask.length, write):
        tell(digest)
    return not left_bytes
