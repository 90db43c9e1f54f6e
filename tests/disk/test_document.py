"""What a killed writer of a document leaves is removed; what is somebody else's, or under way, stays."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from zimage_syncd.disk.document import read_document, sweep_documents, update_document, write_document
from zimage_syncd.model.failures import CacheBusy


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


def _count(path: str, name: str) -> None:
    def changed(document: Mapping[str, object], key: str) -> bytes:
        time.sleep(0.005)  # between the reading and the writing, where another process would write
        return json.dumps({**document, key: 1}).encode()

    for number in range(10):
        update_document(path, partial(changed, key=f"{name}{number}"))
        time.sleep(0.03)  # longer than a process that waits looks away


def test_processes_that_change_a_document_side_by_side_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "state/schedule.json")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_count, args=(path, name)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(read_document(path) or {}) == 30


def test_whoever_keeps_a_document_locked_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "schedule.json"
    update_document(str(path), lambda _: b"{}")
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with open(f"{path}.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CacheBusy, match="10 s"):
            update_document(str(path), lambda _: b"[1]")
    assert sum(slept) == pytest.approx(10)
    assert path.read_bytes() == b"{}"
