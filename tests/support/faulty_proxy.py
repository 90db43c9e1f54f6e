"""An HTTP proxy on loopback that passes requests on to a real server and spoils chosen answers."""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """Says this instead of asking the server."""

    status: int
    code: str
    body: bytes = b""
    """Empty: an error's XML."""
    retry_after_s: int | None = None
    """What the header of this name says; None: there is none."""


@dataclass(frozen=True)
class Reset:
    """Cuts the connection (RST) after so many bytes of the body."""

    after_bytes: int


@dataclass(frozen=True)
class Truncate:
    """Closes the connection in an orderly way after so many bytes of the body."""

    after_bytes: int


@dataclass(frozen=True)
class Flip:
    """Turns one bit of the body, or of its last byte where it is shorter."""

    at_byte: int


@dataclass(frozen=True)
class FlipSent:
    """Turns one bit of what the client sends, or of its last byte where that is shorter."""

    at_byte: int


@dataclass(frozen=True)
class Stall:
    """Says nothing for so long, after so many bytes of the body."""

    after_bytes: int
    stall_s: float


@dataclass(frozen=True)
class Drip:
    """Gives the body in small pieces with a pause after each."""

    piece_bytes: int
    pause_s: float


@dataclass(frozen=True)
class LoseAnswer:
    """Lets the server do it, then cuts the connection instead of telling."""


@dataclass(frozen=True)
class IgnoreRange:
    """Gives the whole object with status 200."""

    whole: bytes | Callable[[str], bytes]
    """The object, or what gives it for the path of a request."""


@dataclass(frozen=True)
class Replace:
    """Changes the answer's headers; None removes one."""

    headers: dict[str, str | None]
    status: int | None = None


Fault = Answer | Reset | Truncate | Flip | FlipSent | Stall | Drip | LoseAnswer | IgnoreRange | Replace


@dataclass
class FaultyProxy:
    """Where it listens, what it will spoil, and what it has seen."""

    url: str
    upstream: str
    faults: list[tuple[Callable[[str, str], bool], Fault]] = field(default_factory=list)
    """A test of method and path, and what happens to the first request that passes it; each fault happens once."""
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of every request."""
    sent_bytes: int = 0
    """Bytes of bodies that clients have sent."""
    given_bytes: int = 0
    """Bytes of bodies that clients were given."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)
    """Nobody waits any longer."""

    def spoil(self, method: str, fault: Fault, times: int = 1, within: str = "") -> None:
        """Spoils the next `times` answers to `method` for paths that hold `within`."""
        self.faults += [(lambda given, path: given == method and within in path, fault)] * times

    def ranges(self) -> list[str]:
        """The Range of every GET so far."""
        return [wanted for method, _, wanted in self.seen if method == "GET"]

    def take(self, method: str, path: str, wanted: str) -> Fault | None:
        """What is to happen to a request."""
        with self.lock:
            self.seen.append((method, path, wanted))
            for index, (matches, fault) in enumerate(self.faults):
                if matches(method, path):
                    del self.faults[index]
                    return fault
        return None


@contextmanager
def faulty_proxy(upstream: str, tls: tuple[Path, Path] | None = None) -> Iterator[FaultyProxy]:
    """A running proxy in front of `http://host:port`.

    Args:
        upstream: the server.
        tls: certificate and key, where the proxy itself is to be reached by TLS.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    proxy = FaultyProxy(f"{scheme}://127.0.0.1:{server.server_address[1]}", upstream)
    server.proxy = proxy  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: clients hang up when they are done with a spoiled answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:  # noqa: PLR0912 (a fault, a branch)
        proxy: FaultyProxy = self.server.proxy  # type: ignore[attr-defined]
        fault = proxy.take(self.command, self.path, self.headers.get("Range", ""))
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.sent_bytes += len(sent)
        if isinstance(fault, Answer):
            text = fault.body or f"<Error><Code>{fault.code}</Code><Message>spoiled</Message></Error>".encode()
            waiting = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
            self._reply(fault.status, {"Content-Length": str(len(text)), **waiting}, text)
            return
        if isinstance(fault, FlipSent):
            sent = _flipped(sent, fault.at_byte)
        status, headers, body = self._ask(proxy.upstream, sent)
        match fault:
            case LoseAnswer():
                self._cut()
            case Reset(after) | Truncate(after):
                self._reply(status, headers, body[:after])
                if isinstance(fault, Reset):
                    self._cut()
                self.close_connection = True
            case Flip(at_byte):
                self._reply(status, headers, _flipped(body, at_byte))
            case Stall(after, stall_s):
                self._reply(status, headers, body[:after])
                self.wfile.flush()
                proxy.closing.wait(stall_s)
                self.wfile.write(body[after:])
            case Drip(piece, pause_s):
                self._reply(status, headers, b"")
                for start in range(0, len(body), piece):
                    self.wfile.write(body[start : start + piece])
                    if proxy.closing.wait(pause_s):
                        break
            case IgnoreRange(given):
                whole = given if isinstance(given, bytes) else given(self.path)
                kept = {name: value for name, value in headers.items() if name.lower() != "content-range"}
                self._reply(200, {**kept, "Content-Length": str(len(whole))}, whole)
            case Replace(changed, new_status):
                kept = {name: value for name, value in headers.items() if name.lower() not in changed}
                kept |= {name: value for name, value in changed.items() if value is not None}
                self._reply(new_status or status, kept, body)
            case _:
                self._reply(status, headers, body)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 (http.server's names)

    def _ask(self, upstream: str, sent: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "expect":
                connection.putheader(name, value)
        connection.endheaders(sent)
        answer = connection.getresponse()
        body = answer.read()
        headers = dict(answer.getheaders())
        connection.close()
        if "Content-Length" not in headers and answer.status != 204:
            headers["Content-Length"] = str(len(body))
        headers.pop("Transfer-Encoding", None)
        return answer.status, headers, body

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            for start in range(0, len(body), 2**20):
                self.wfile.write(body[start : start + 2**20])
                self.server.proxy.given_bytes += len(body[start : start + 2**20])  # type: ignore[attr-defined]

    def _cut(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def _flipped(data: bytes, at_byte: int) -> bytes:
    spoiled = bytearray(data)
    if spoiled:
        spoiled[min(at_byte, len(spoiled) - 1)] ^= 0x20
    return bytes(spoiled)


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    certificate, key = directory / "server.crt", directory / "server.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
