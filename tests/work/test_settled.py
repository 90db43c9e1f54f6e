"""What a restore has proved needs no second reading, and any later write is noticed, however soon it comes."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.caches import hf_snapshot, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.disk.quarantine import Quarantine
from zimage_syncd.disk.write import CacheDisk
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import LayoutName
from zimage_syncd.ports import Seen
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.work.backup import backup
from zimage_syncd.work.record import known_manifest, read_digests
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource

ALL = Selection()


@pytest.fixture
def restored(bench: Bench, archive: ObjectArchive, content: random.Random) -> Bench:
    """A cache right after a restore, with a clock that shows the real time: nothing has settled by age."""
    files = {**pipeline_files(), "big/model.safetensors": safetensors_bytes({"x": content.randbytes(CHUNK_BYTES + 9)})}
    hf_snapshot(bench.root, files)
    modelscope_snapshot(bench.root, files)
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    shutil.rmtree(bench.root)
    bench.root.mkdir()
    bench.clock.moment = datetime.now(UTC)
    assert restore(bench.site(), [RestoreSource(archive, LinkMode.COPY)], ALL).exit_code == 0
    return bench


def test_a_backup_right_after_a_restore_reads_no_payload(restored: Bench, archive: ObjectArchive) -> None:
    report = backup(restored.site(), [archive], ALL, accept_changed=False)
    assert [result.action for result in report.snapshots] == ["unchanged", "unchanged"]
    assert [result.checked_bytes for result in report.snapshots] == [0, 0]
    assert [result.written_bytes for result in report.snapshots] == [0, 0]


@pytest.mark.parametrize("layout", ["hub", "models"])
def test_a_write_right_after_a_restore_is_noticed(restored: Bench, archive: ObjectArchive, layout: str) -> None:
    place = next((restored.root / layout).rglob("big/model.safetensors")).resolve()
    before = place.stat()
    data = bytearray(place.read_bytes())
    data[500] ^= 1
    with open(place, "r+b") as file:
        file.write(data)
    # As if within the same tick of a coarse clock: the time of the change does not tell, that of modification does.
    assert place.stat().st_mtime_ns != before.st_mtime_ns
    report = backup(restored.site(), [archive], ALL, accept_changed=False)
    assert report.exit_code == 2
    assert "refused" in [result.action for result in report.snapshots]
    assert any("model.safetensors" in str(finding) or place.name in str(finding) for finding in report.findings)


class CountingDisk(CacheDisk):
    """Counts how often a file is looked at."""

    looks = 0

    def look(self, path: RelPath) -> Seen:
        self.looks += 1
        return super().look(path)


def test_a_backup_of_which_nothing_changed_looks_at_no_file_again(restored: Bench, archive: ObjectArchive) -> None:
    disk = CountingDisk(str(restored.root), Quarantine(str(restored.state / "quarantine"), restored.clock.now))
    report = backup(replace(restored.site(), disk=disk), [archive], ALL, accept_changed=False)
    assert [result.action for result in report.snapshots] == ["unchanged", "unchanged"]
    assert disk.looks == 0


def test_what_changed_after_the_survey_saw_it_is_not_known_under_its_new_content(restored: Bench) -> None:
    """The ledger may know the new content by then; it is not what the survey saw."""
    site = restored.site()
    before = next(found for found in site.find() if found.key.layout is LayoutName.MODELSCOPE)
    assert known_manifest(site, before) is not None
    path = next(file.path for file in before.files if file.size_bytes > CHUNK_BYTES)
    place = restored.root / path
    data = bytearray(place.read_bytes())
    data[500] ^= 1
    place.write_bytes(data)
    restored.clock.moment = datetime.now(UTC) + timedelta(minutes=1)
    after = next(found for found in site.find() if found.key == before.key)
    read_digests(site, next(file for file in after.files if file.path == path))
    assert known_manifest(site, before) is None


def test_a_finished_file_bears_a_time_that_no_later_write_gives_it(restored: Bench) -> None:
    for place in restored.root.rglob("*"):
        status = place.lstat()
        if place.is_file() and not place.is_symlink() and "refs" not in place.parts:
            assert status.st_ctime_ns - status.st_mtime_ns >= 4 * 10**9


def test_a_file_whose_mode_is_mended_is_hashed_again_or_still_known_right(
    restored: Bench, archive: ObjectArchive
) -> None:
    place = next((restored.root / "models").rglob("big/model.safetensors"))
    os.chmod(place, 0o600)
    assert restore(restored.site(), [RestoreSource(archive, LinkMode.COPY)], ALL).exit_code == 0
    assert place.stat().st_mode & 0o777 == 0o644
    report = backup(restored.site(), [archive], ALL, accept_changed=False)
    assert [result.action for result in report.snapshots] == ["unchanged", "unchanged"]
