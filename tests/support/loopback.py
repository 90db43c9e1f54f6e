"""An HTTP server on 127.0.0.1 that answers from memory, keeps a log, honours Range, and misbehaves on demand.

The hubs of the tests are made of it. It stalls so that a real client can be killed in the middle of a file; other
faults are spent on the answers about files, one on each.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

SIGNATURE = "verysecretsignature"
"""Part of the addresses that a hub redirects to; nobody may see it."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    """Decoded, without the query."""
    raw_path: str
    """As sent, without the query: a slash inside of a part is still %2F."""
    query: Mapping[str, str]
    range: str | None
    """The header, such as `bytes=0-99`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """All of them, by names in lower case."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What it is told."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    """The repository's file that `body` is; such answers honour Range and can be stalled."""


@dataclass(frozen=True, slots=True)
class Say:
    """Answers this instead of the file."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BreakAfter:
    """Closes the connection after so many bytes of the body."""

    sent_bytes: int


@dataclass(frozen=True, slots=True)
class IgnoreRange:
    """Gives the whole file with status 200."""


@dataclass(frozen=True, slots=True)
class Relabel:
    """Changes headers of the answer."""

    headers: Mapping[str, str]


Fault = Say | BreakAfter | IgnoreRange | Relabel


def json_answer(document: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Answer:
    """An answer with a JSON document."""
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})


class LoopbackServer:
    """Serves while its block runs; subclasses say what."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.stall_after: dict[str, int] = {}
        """Bytes of a file's answer after which nothing more comes, until the server is closed."""
        self.faults: list[Fault] = []
        """What the next answers about files suffer, one each, whoever asks for whatever file."""
        self.elsewhere = ""
        """`http://HOST:PORT` that requests for files are redirected to, with a signature; empty: nowhere."""
        self.stalled = threading.Event()
        """Set as soon as an answer has stalled."""
        self.closing = threading.Event()
        self._server = _QuietServer(("127.0.0.1", 0), _handler(self))

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Request) -> Answer:
        """What a request is told."""
        return Answer(404)

    def files_asked(self) -> list[str]:
        """Paths of all GET requests that are no API calls."""
        return [request.path for request in self.requests if request.method == "GET" and "/api/" not in request.path]


class LoopbackCdn(LoopbackServer):
    """Another host that has the files of a hub, which redirects to it while the block runs."""

    def __init__(self, hub: LoopbackServer) -> None:
        super().__init__()
        self._hub = hub
        hub.elsewhere = f"http://localhost:{self._server.server_address[1]}"

    def answer(self, request: Request) -> Answer:
        """What the hub would say."""
        return self._hub.answer(request)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients of these tests are killed in the middle of answers."""


def _cut(body: bytes, wanted: str | None) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of a file's answer."""
    match = None if wanted is None else _RANGE.fullmatch(wanted.strip())
    if match is None or not any(match.groups()):
        return 200, body, {"Accept-Ranges": "bytes"}
    first, last = match.groups()
    start = int(first) if first else max(0, len(body) - int(last))
    end = min(int(last), len(body) - 1) if first and last else len(body) - 1
    if start > end:
        return 416, b"", {"Content-Range": f"bytes */{len(body)}"}
    headers = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{end}/{len(body)}"}
    return 206, body[start : end + 1], headers


def _handler(server: LoopbackServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Silent: the log is `server.requests`."""

        def do_HEAD(self) -> None:
            self._reply()

        def do_GET(self) -> None:
            self._reply()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._reply()

        def _reply(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, unquote(parts.path), parts.path, query, headers.get("range"), headers)
            server.requests.append(request)
            answer = server.answer(request)
            fault = server.faults.pop(0) if answer.file and self.command == "GET" and server.faults else None
            if isinstance(fault, Say):
                answer = Answer(fault.status, b"", fault.headers)
            elif answer.file and server.elsewhere:
                signed = f"{server.elsewhere}{parts.path}?{parts.query}&Signature={SIGNATURE}"
                answer = Answer(302, b"", {"Location": signed})
            status, body, extra = answer.status, answer.body, {}
            if answer.file and status == 200:
                status, body, extra = _cut(body, None if isinstance(fault, IgnoreRange) else request.range)
            changed = fault.headers if isinstance(fault, Relabel) else {}
            self.send_response(status)
            for name, value in {**answer.headers, **extra, "Content-Length": str(len(body)), **changed}.items():
                self.send_header(name, value)
            self.end_headers()
            if isinstance(fault, BreakAfter):
                self.wfile.write(body[: fault.sent_bytes])
                self.close_connection = True
            elif self.command != "HEAD":
                self._send(body, server.stall_after.get(answer.file) if answer.file else None)

        def _send(self, body: bytes, stall_after: int | None) -> None:
            if stall_after is None or len(body) <= stall_after:
                self.wfile.write(body)
                return
            self.wfile.write(body[:stall_after])
            self.wfile.flush()
            server.stalled.set()
            server.closing.wait(120)
            self.close_connection = True

    return Handler
