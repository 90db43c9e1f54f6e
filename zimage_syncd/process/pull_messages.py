"""What a transfer and the processes that fetch for it say to each other: packets on pairs of sockets (unix(7))."""

from __future__ import annotations

import array
import json
import socket
from dataclasses import dataclass

MAX_BYTES = 64 * 1024
"""Of one packet."""

HAND_WANTED = b"hand"
"""To the nursery, with the socket that a new process shall listen to."""

HERE = b"here"
"""A new process's first packet, with a descriptor of itself (pidfd_open(2)) by which it can be ended."""

FAILED = b"failed"
"""The end of an answer that stays short of what was asked for."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A run that is to be fetched; the file to write to comes with it."""

    address: str
    """Of the content, as the store calls it."""
    offset: int
    """In bytes, a multiple of the chunk's size."""
    length: int
    """In bytes."""

    def encode(self) -> bytes:
        """As a packet."""
        return json.dumps([self.address, self.offset, self.length]).encode()

    @classmethod
    def decode(cls, packet: bytes) -> Ask:
        """From a packet of this program's own."""
        address, offset, length = json.loads(packet)
        return cls(address, offset, length)


@dataclass(frozen=True, slots=True)
class Told:
    """How far a run is."""

    count_bytes: int
    """Written since the last packet; 0: it waits."""
    digest: str = ""
    """BLAKE3-256 of the chunk that this completes; empty: none."""

    def encode(self) -> bytes:
        """As a packet."""
        return f"{self.count_bytes} {self.digest}".encode()

    @classmethod
    def decode(cls, packet: bytes) -> Told:
        """From a packet of this program's own."""
        count, _, digest = packet.decode().partition(" ")
        return cls(int(count), digest)


def send(connection: socket.socket, packet: bytes, descriptor: int | None = None, flags: int = 0) -> None:
    """Sends a packet, and a descriptor along with it.

    `socket.send_fds` and `recv_fds` would do, but that they take no notice of flags (Python 3.11 to 3.13).

    Raises:
        BlockingIOError: too many are on their way already.
        OSError: the other side is gone.
    """
    carried = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    connection.sendmsg([packet], carried, flags)


def receive(connection: socket.socket, flags: int = 0) -> tuple[bytes, int | None]:
    """A packet, empty where the other side is gone, and the descriptor that came with it.

    Raises:
        BlockingIOError, TimeoutError: there is none yet.
        OSError: the connection is of no use any more.
    """
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(descriptors.itemsize)
    packet, carried, _, _ = connection.recvmsg(MAX_BYTES, room, flags | socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in carried:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: descriptors.itemsize])
    return packet, descriptors[0] if descriptors else None
