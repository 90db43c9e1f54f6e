"""What a killed writer of a document leaves is removed; what is somebody else's, or under way, stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

from zimage_syncd.disk.document import sweep_documents, write_document


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    write_document(str(tmp_path / "manifests/a.json"), b"{}")
    old = [
        tmp_path / ".identity.json.0123abcd.tmp",
        tmp_path / "manifests/.a.json.89abcdef.tmp",
    ]
    others = [
        tmp_path / "quarantine/20260101/.a.json.0123abcd.tmp",
        tmp_path / "manifests/a.tmp",
    ]
    under_way = tmp_path / ".identity.json.ffffffff.tmp"
    for place in (*old, *others, under_way):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        if place is not under_way:
            os.utime(place, (0, 0))
    assert sweep_documents(str(tmp_path), time.time()) == len(old)
    left = {place for place in tmp_path.rglob("*") if place.is_file()}
    assert left == {tmp_path / "manifests/a.json", under_way, *others}
    assert sweep_documents(str(tmp_path / "absent"), time.time()) == 0
