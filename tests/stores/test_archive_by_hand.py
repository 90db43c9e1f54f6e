"""The script of docs/format.md does not trust a manifest: whatever it says, nothing appears outside the target."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BYTES = b"what somebody wants to have written elsewhere\n"
SHA256 = hashlib.sha256(BYTES).hexdigest()
PLACE = "huggingface/model/acme%2Fpainter"


def file(path, mode=0o644, sha256=SHA256):
    return {"kind": "file", "path": path, "mode": mode, "sha256": sha256, "size_bytes": len(BYTES), "chunks": []}


def link(path, target):
    return {"kind": "link", "path": path, "target": target}


def pointer(path):
    return {"kind": "pointer", "path": path, "text": "elsewhere", "mode": 0o644}


def write(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def restore(top: Path, *entries):
    """Runs the script on an archive with one manifest, as somebody who can write to the store may make it."""
    archive = top / "archive"
    data = json.dumps({"entries": entries}).encode()
    manifest_id = hashlib.sha256(data).hexdigest()
    write(archive / "blobs" / SHA256[:2] / SHA256, BYTES)
    write(archive / "manifests" / PLACE / f"{manifest_id}.json", data)
    write(archive / "refs" / PLACE / "main" / f"000000000001-{manifest_id}.json", b"{}")
    found = re.search(
        r"<!-- restore-by-hand -->\n```bash\n(.*?)```\n", (ROOT / "docs/format.md").read_text(), re.DOTALL
    )
    write(top / "script", found[1].encode())
    write(top / "outside/deep/kept", b"kept")
    command = ["bash", top / "script", archive, *PLACE.replace("%2F", "/").split("/", 2), "main"]
    return subprocess.run(
        [*command, top / "outside/deep/target"], capture_output=True, text=True, timeout=60, check=False
    )


def found_outside(top: Path):
    target = top / "outside/deep/target"
    files = (place for place in (top / "outside").rglob("*") if not place.is_dir() and target not in place.parents)
    return {place.name: place.read_bytes() for place in files}


def test_what_is_harmless_is_restored(tmp_path):
    done = restore(tmp_path, file("a/b"), link("p/q/up", "../../a/b"), pointer("p/z"))
    assert done.returncode == 0, done.stderr
    target = tmp_path / "outside/deep/target"
    assert (target / "p/q/up").read_bytes() == BYTES
    assert (target / "p/z").read_bytes() == b"elsewhere"


UP = link("p/q/up", "../../p")
"""Harmless alone; a `..` after it means another directory than it says."""


@pytest.mark.parametrize(
    "entries",
    [
        [UP, link("z", "p/q/up/../.."), file("z/evil")],
        [UP, link("z", "p/q/up/../.."), pointer("z/evil")],
        [UP, link("z", "p/q/up/../../kept"), pointer("z")],
        [UP, link("z", "p/q/up/../../kept"), file("z")],
        [file("a"), link("z", "../evil")],
        [link("z", "/tmp")],
        [link("z", "..")],
        [link("z", "")],
        [link("z", "a\0b")],
        [link("p/up", "../a"), file("p/up/evil")],
        [file("z/a"), link("z", "a")],
        [link("q/é", "../a"), file("q/\udcc3\udca9/evil")],
        [file("../evil")],
        [file("/evil")],
        [file("a/./b")],
        [file("a\0b")],
        [file("a", mode=0o4755)],
        [file("a", sha256="../../outside/deep/kept")],
        [file("a") | {"kind": f"file\0../evil\x00644\0{SHA256}"}],
        [file("a") | {"kind": "device"}],
    ],
    ids=range(20),
)
def test_what_could_do_harm_stops_the_restore_before_anything_is_written(tmp_path, entries):
    done = restore(tmp_path, *entries)
    assert done.returncode == 1
    assert "unsafe" in done.stderr
    assert found_outside(tmp_path) == {"kept": b"kept"}
    assert list((tmp_path / "outside/deep/target").iterdir()) == []
