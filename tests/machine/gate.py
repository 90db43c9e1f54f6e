"""A door on loopback before a real server: shut, open, or open for so many bytes only."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.support.processes import free_ports

_PIECE_BYTES = 2**16


class Gate:
    """Nobody listens before it is opened: connections are refused, as by a host that has not come up."""

    def __init__(self, endpoint_url: str) -> None:
        """Args: endpoint_url: of the server behind it."""
        address = urlsplit(endpoint_url)
        self._behind = (str(address.hostname), int(address.port or 80))
        self.port = free_ports(1)[0]
        self._listener: socket.socket | None = None
        self._lock = threading.Condition()
        self._left_bytes = 0
        self.passed_bytes = 0
        """What came from the server since the gate was made."""
        self._shut = False

    def open(self, *, left_bytes: int = 2**62) -> None:
        """Lets connections through, and so many more bytes from the server; then it holds them."""
        with self._lock:
            self._left_bytes = left_bytes
            self._lock.notify_all()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def wait_until_held(self, timeout_s: float) -> None:
        """Waits until the bytes are used up."""
        with self._lock:
            assert self._lock.wait_for(lambda: self._left_bytes == 0, timeout_s), f"{self._left_bytes} bytes are left"

    def close(self) -> None:
        """Ends everything."""
        with self._lock:
            self._shut = True
            self._lock.notify_all()
        if self._listener is not None:
            # Closing alone would not wake the thread that waits in accept().
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client = listener.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._behind) as server:
            up = threading.Thread(target=self._pump_up, args=(client, server), daemon=True)
            up.start()
            while piece := server.recv(_PIECE_BYTES):
                self._pay(client, piece)
            client.shutdown(socket.SHUT_RDWR)
            up.join()

    def _pump_up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while piece := client.recv(_PIECE_BYTES):
                server.sendall(piece)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _pay(self, client: socket.socket, piece: bytes) -> None:
        """Passes bytes on as far as they are paid for, and waits for the rest to be."""
        while piece:
            with self._lock:
                self._lock.wait_for(lambda: self._left_bytes > 0 or self._shut)
                if self._shut:
                    raise OSError("the gate is closed")
                part, piece = piece[: self._left_bytes], piece[self._left_bytes :]
                self._left_bytes -= len(part)
                self.passed_bytes += len(part)
                self._lock.notify_all()
            client.sendall(part)


@contextmanager
def gate_before(endpoint_url: str) -> Iterator[Gate]:
    """A gate that is shut, and closed in the end."""
    gate = Gate(endpoint_url)
    try:
        yield gate
    finally:
        gate.close()
