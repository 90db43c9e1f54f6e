"""A ModelScope hub on 127.0.0.1 for the real client (modelscope_hub 0.5: `_legacy_api.py`, `_download.py`).

Models and datasets with revisions; listings with Sha256 and Size, and files with ranges. Set MODELSCOPE_ENDPOINT to
its endpoint.

    with LoopbackModelScopeHub({"owner/name": {"config.json": b"{}"}}) as hub:
        hub.publish("owner/name", {...}, "v1.0")
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from tests.support.loopback import Answer, LoopbackServer, Request, json_answer

_KINDS = ("models", "datasets", "studios")


class LoopbackModelScopeHub(LoopbackServer):
    """Serves repositories while its block runs; their names are `OWNER/NAME` or `datasets/OWNER/NAME`."""

    def __init__(self, repos: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        super().__init__()
        self._files: dict[str, dict[str, dict[str, bytes]]] = {}
        for name, files in (repos or {}).items():
            self.publish(name, files)

    def publish(self, repo: str, files: Mapping[str, bytes], revision: str = "master") -> None:
        """Makes a revision consist of these files."""
        full = repo if repo.split("/", maxsplit=1)[0] in _KINDS else f"models/{repo}"
        self._files.setdefault(full, {})[revision] = dict(files)

    def answer(self, request: Request) -> Answer:
        """The API, which serves the files, too."""
        parts = request.path.strip("/").split("/")
        if parts[:2] != ["api", "v1"] or len(parts) < 5:
            return _data({})
        revisions = self._files.get("/".join(parts[2:5]))
        if revisions is None:
            return _missing("the repository does not exist")
        action = "/".join(parts[5:])
        if not action:
            return _data({"Id": 1, "Name": parts[4], "Path": parts[3], "Visibility": 5})
        files = revisions.get(request.query.get("Revision", "master"))
        if files is None:
            return _missing("the revision does not exist")
        if action in {"repo/files", "repo/tree"}:
            return _data({"Files": _listing(files, request.query)})
        if action == "repo" and request.query.get("FilePath") in files:
            name = request.query["FilePath"]
            return Answer(200, files[name], {"Content-Type": "application/octet-stream"}, file=name)
        return _missing("the file does not exist")


def _data(data: object) -> Answer:
    return json_answer({"Code": 200, "Data": data, "Message": "success", "Success": True})


def _missing(message: str) -> Answer:
    return json_answer({"Code": 10010205001, "Message": message, "Success": False}, status=404)


def _listing(files: Mapping[str, bytes], query: Mapping[str, str]) -> list[dict[str, object]]:
    """One page of the listing; `repo/files` knows no pages."""
    root = query.get("Root", "").strip("/")
    names = [name for name in sorted(files) if not root or name.startswith(f"{root}/")]
    size = int(query.get("PageSize", len(names) or 1))
    first = (int(query.get("PageNumber", 1)) - 1) * size
    return [
        {
            "Path": name,
            "Name": name.rpartition("/")[2],
            "Type": "blob",
            "Size": len(files[name]),
            "Sha256": hashlib.sha256(files[name]).hexdigest(),
        }
        for name in names[first : first + size]
    ]
