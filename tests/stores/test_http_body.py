"""The body of an answer: byte for byte what was sent, in time, and the connection serves the next request."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import urllib3

from zimage_syncd.stores.http_body import Body

PIECE_BYTES = 2**20
TIMEOUT_S = 2.5

Script = Callable[[socket.socket], None]


class Server:
    """Answers each request with a head for so many bytes, and lets a script send them; one connection at a time."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.scripts: list[tuple[int, Script]] = []
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection, connection.makefile("rb") as reader:
                while self.scripts and reader.readline():
                    while reader.readline().strip():
                        pass
                    length, script = self.scripts.pop(0)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
                    script(connection)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def pool(server: Server) -> Iterator[urllib3.HTTPConnectionPool]:
    timeout = urllib3.Timeout(connect=5, read=TIMEOUT_S)
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, timeout=timeout, retries=False) as pool:
        yield pool


def opened(pool: urllib3.HTTPConnectionPool) -> Body:
    """As botocore gives it: its stream keeps what urllib3 gave as `_raw_stream`."""
    raw = pool.request("GET", "/", preload_content=False)
    return Body(SimpleNamespace(_raw_stream=raw, close=raw.close))


def read(body: Body) -> bytes:
    buffer, got = memoryview(bytearray(PIECE_BYTES)), bytearray()
    while count := body.readinto(buffer):
        got += buffer[:count]
    assert count == 0
    body.close()
    return bytes(got)


@pytest.mark.parametrize("length", [1, 8191, 8192, 8193, PIECE_BYTES, 5 * PIECE_BYTES + 4321])
def test_it_is_what_was_sent_and_the_connection_serves_again(
    server: Server, pool: urllib3.HTTPConnectionPool, length: int
) -> None:
    contents = [random.Random(number).randbytes(length) for number in range(3)]

    def sends(content: bytes) -> Script:
        return lambda connection: connection.sendall(content)

    server.scripts = [(length, sends(content)) for content in contents]
    assert [read(opened(pool)) for _ in contents] == contents
    assert server.connections == 1


@pytest.mark.parametrize("skip", [0, 1, PIECE_BYTES, PIECE_BYTES + 1])
def test_of_a_range_only_what_was_asked_for_is_given(
    server: Server, pool: urllib3.HTTPConnectionPool, skip: int
) -> None:
    content = random.Random(1).randbytes(skip + 2 * PIECE_BYTES + 1)
    server.scripts = [(len(content) + 10, lambda connection: connection.sendall(content + bytes(10)))]
    body, buffer = opened(pool), memoryview(bytearray(PIECE_BYTES))
    got = b"".join(bytes(piece) for piece in body.pieces(skip, 2 * PIECE_BYTES, buffer))
    body.close()
    assert got == content[skip:-1]


def test_a_range_whose_connection_is_closed_early_ends_early(server: Server, pool: urllib3.HTTPConnectionPool) -> None:
    server.scripts = [(2**30, lambda connection: connection.sendall(bytes(PIECE_BYTES + 10)))]
    body, buffer = opened(pool), memoryview(bytearray(PIECE_BYTES))
    assert sum(len(piece) for piece in body.pieces(3, 2**29, buffer)) == PIECE_BYTES + 7
    body.close()


def test_a_piece_that_drips_is_given_within_a_second_or_so(server: Server, pool: urllib3.HTTPConnectionPool) -> None:
    over = threading.Event()

    def drips(connection: socket.socket) -> None:
        connection.sendall(bytes(2 * PIECE_BYTES))
        while not over.wait(0.1):
            connection.sendall(bytes(1000))

    server.scripts = [(2**30, drips)]
    body, buffer = opened(pool), memoryview(bytearray(PIECE_BYTES))
    try:
        counts = [body.readinto(buffer) for _ in range(4)]
    finally:
        over.set()
    assert counts[:2] == [PIECE_BYTES, PIECE_BYTES]
    assert all(count and count < PIECE_BYTES // 8 for count in counts[2:])


@pytest.mark.parametrize("sent", [0, 10_000, PIECE_BYTES])
def test_silence_is_told_every_second_and_ends_at_the_timeout(
    server: Server, pool: urllib3.HTTPConnectionPool, sent: int
) -> None:
    over = threading.Event()

    def falls_silent(connection: socket.socket) -> None:
        connection.sendall(bytes(sent))
        over.wait(30)

    server.scripts = [(2**30, falls_silent)]
    body, buffer = opened(pool), memoryview(bytearray(PIECE_BYTES))
    counts: list[int | None] = []

    def listens() -> None:
        while True:
            counts.append(body.readinto(buffer))

    try:
        with pytest.raises(TimeoutError, match=r"no byte came within 2\.5 s"):
            listens()
    finally:
        over.set()
    assert sum(count or 0 for count in counts) == sent
    assert counts[-1] is None


def test_a_connection_that_is_closed_early_gives_what_came_and_then_nothing(
    server: Server, pool: urllib3.HTTPConnectionPool
) -> None:
    server.scripts = [(2**30, lambda connection: connection.sendall(bytes(PIECE_BYTES + 10)))]
    assert read(opened(pool)) == bytes(PIECE_BYTES + 10)


def test_a_connection_that_is_reset_raises(server: Server, pool: urllib3.HTTPConnectionPool) -> None:
    def resets(connection: socket.socket) -> None:
        connection.sendall(bytes(2 * PIECE_BYTES))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    server.scripts = [(2**30, resets)]
    with pytest.raises(ConnectionResetError):
        read(opened(pool))
