"""A Hugging Face hub on 127.0.0.1 for the demo: one repository, served to the real client.

It answers what `snapshot_download` asks (huggingface_hub 2.x: `hf_api.py`, `file_download.py`) and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_LFS_SUFFIXES = (".safetensors",)


class DemoHub:
    """Serves one model repository while its block runs."""

    def __init__(self, repo: str, files: Mapping[str, bytes]) -> None:
        self.repo = repo
        self.files = dict(files)
        self.commit = hashlib.sha1(
            b"".join(name.encode() + data for name, data in sorted(self.files.items())), usedforsecurity=False
        ).hexdigest()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT has to be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> DemoHub:
        threading.Thread(target=self._server.serve_forever, name="demo-hub", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def info(self) -> dict[str, object]:
        """What `/api/models/REPO/revision/REVISION` answers."""
        siblings = [{"rfilename": name} for name in sorted(self.files)]
        return {"id": self.repo, "modelId": self.repo, "sha": self.commit, "private": False, "siblings": siblings}

    def tree(self) -> list[dict[str, object]]:
        """What `/api/models/REPO/tree/REVISION?recursive=true` answers."""
        return [_tree_entry(name, data) for name, data in sorted(self.files.items())]


def etag(name: str, data: bytes) -> str:
    """A file's name in the cache: sha256 for LFS files, git's blob SHA-1 for small ones."""
    if name.endswith(_LFS_SUFFIXES):
        return hashlib.sha256(data).hexdigest()
    return git_blob(data)


def git_blob(data: bytes) -> str:
    """Git's name for a blob of this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _tree_entry(name: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": git_blob(data)}
    if name.endswith(_LFS_SUFFIXES):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


class _Handler(BaseHTTPRequestHandler):
    """Answers for the hub that a subclass names."""

    hub: DemoHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stays silent: the demo tells its own story."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self._send(404, b"{}", {}, with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        api = f"/api/models/{self.hub.repo}/"
        if path.startswith(f"{api}revision/"):
            self._json(self.hub.info(), with_body=with_body)
        elif path.startswith(f"{api}tree/"):
            self._json(self.hub.tree(), with_body=with_body)
        elif path.startswith(f"/{self.hub.repo}/resolve/"):
            self._file(path.split("/resolve/", 1)[1].split("/", 1)[1], with_body=with_body)
        else:
            self._send(404, b"{}", {}, with_body=with_body)

    def _json(self, document: object, *, with_body: bool) -> None:
        headers = {"Content-Type": "application/json", "X-Repo-Commit": self.hub.commit}
        self._send(200, json.dumps(document).encode(), headers, with_body=with_body)

    def _file(self, name: str, *, with_body: bool) -> None:
        if name not in self.hub.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body=with_body)
            return
        data = self.hub.files[name]
        headers = {"ETag": f'"{etag(name, data)}"', "X-Repo-Commit": self.hub.commit, "Accept-Ranges": "bytes"}
        if name.endswith(_LFS_SUFFIXES):
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(data))}
        self._send(200, data, headers, with_body=with_body)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)
