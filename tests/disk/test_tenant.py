"""What a lease's file says is somebody else's word; who lives on this host is asked of this host."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from zimage_syncd.disk.tenant import MAX_BYTES, Kinship, Tenant, kinship, room, this_process

OTHER = Tenant("gpu-2", 7, "boot-2", "4026531836-4026531840", 12345, 52, "run", "2026-11-28T20:00:00+00:00", 3)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_what_is_written_is_what_is_read() -> None:
    assert Tenant.from_bytes(OTHER.to_bytes()) == OTHER
    assert str(OTHER) == "process 7 on gpu-2 (run) since 2026-11-28T20:00:00+00:00"


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "two words"},
        {"host": "\x1b[2J"},
        {"host": "x" * 256},
        {"host": None},
        {"since": "now\n"},
        {"doing": "x" * 65},
        {"doing": ["run"]},
        {"pid": -1},
        {"pid": True},
        {"pid": "7"},
        {"pid": 2**63},
        {"fence": 1.5},
        {"more": 1},
    ],
)
def test_a_document_with_anything_odd_in_it_tells_nothing(changes: dict[str, object]) -> None:
    assert Tenant.from_bytes(json.dumps({**asdict(OTHER), **changes}).encode()) is None


@pytest.mark.parametrize("data", [None, b"", b"[]", b"{", b"\xff", b"[" * 4000, b" " * MAX_BYTES + OTHER.to_bytes()])
def test_what_is_no_document_tells_nothing(data: bytes | None) -> None:
    assert Tenant.from_bytes(data) is None


def test_a_document_lacks_nothing() -> None:
    document = asdict(OTHER)
    for name in document:
        assert Tenant.from_bytes(json.dumps({key: document[key] for key in document if key != name}).encode()) is None


def test_a_process_of_this_host_lives_until_it_ends(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    own = this_process(str(tmp_path))
    ticks = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    tenant = replace(own, pid=child.pid, started_ticks=ticks)
    assert kinship(tenant, own) is Kinship.LIVES
    assert kinship(replace(tenant, started_ticks=ticks + 1), own) is Kinship.ENDED, "its number was given away again"
    assert kinship(replace(tenant, started_ticks=0), own) is Kinship.LIVES, "when it began is not known"
    child.kill()
    child.wait()
    assert kinship(tenant, own) is Kinship.ENDED


def test_whatever_may_be_another_host_is_a_stranger(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    own = this_process(str(tmp_path))
    tenant = replace(own, pid=child.pid, started_ticks=0)
    for changes in (
        {"boot_id": "another"},
        {"device": own.device + 1},
        {"room": f"{own.room}0"},
        {"pid": own.pid},
    ):
        assert kinship(replace(tenant, **changes), own) is Kinship.STRANGER  # type: ignore[arg-type]
    unknown = replace(own, boot_id="")
    assert kinship(replace(tenant, boot_id=""), unknown) is Kinship.STRANGER
    nowhere = replace(own, room="")
    assert kinship(replace(tenant, room=""), nowhere) is Kinship.STRANGER


def test_this_process_knows_itself(tmp_path: Path) -> None:
    own = this_process(str(tmp_path))
    assert own.pid == os.getpid()
    assert own.device == tmp_path.stat().st_dev
    assert own.room == room() == "-".join(str(os.stat(f"/proc/self/ns/{kind}").st_ino) for kind in ("pid", "net"))
    assert Tenant.from_bytes(own.to_bytes()) == own
