"""What is on the disk when a call has returned and the power goes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.loop_disk import KINDS, LoopDisk, mounted
from zimage_syncd.disk.quarantine import Quarantine
from zimage_syncd.disk.write import CacheDisk
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.report import Job, Report
from zimage_syncd.report.files import ReportFiles

pytestmark = pytest.mark.root
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BLOB = RelPath("hub/models--org--name/blobs/one")


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LoopDisk]:
    """Mounted at `tmp_path / "disk"`, with a cache and a directory of reports that are old."""
    with mounted(tmp_path / "disk", request.param) as made:
        (tmp_path / "disk/cache" / BLOB).parent.mkdir(parents=True)
        (tmp_path / "disk/.zimage-syncd/reports").mkdir(parents=True)
        age(made)
        yield made


def age(disk: LoopDisk) -> None:
    """Lets everything reach the disk."""
    disk.unmount()
    disk.mount()


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(str(tmp_path / "disk/.zimage-syncd/quarantine"), lambda: NOW)


def kept(quarantine: Quarantine) -> list[str]:
    """Contents of what is in quarantine."""
    return [place.read_text() for place in Path(quarantine.directory).rglob("*") if place.is_file()]


def test_a_file_that_took_a_name_lost_nothing_that_had_it_before(
    disk: LoopDisk, quarantine: Quarantine, tmp_path: Path
) -> None:
    """On btrfs the new file was there, and what it replaced was in no directory any more."""
    place = tmp_path / "disk/cache" / BLOB
    place.write_text("theirs")
    age(disk)
    cache = CacheDisk(str(tmp_path / "disk/cache"), quarantine)
    begun = cache.begin_file(BLOB, 4)
    begun.write(0, memoryview(b"ours"))
    cache.finish_file(begun, 0o644, keep_old=True)
    disk.cut_power()
    assert place.read_text() == "ours"
    assert kept(quarantine) == ["theirs"]


def test_a_link_that_took_the_place_of_a_directory_lost_nothing_of_it(
    disk: LoopDisk, quarantine: Quarantine, tmp_path: Path
) -> None:
    place = tmp_path / "disk/cache" / BLOB
    place.mkdir()
    (place / "precious").write_text("theirs")
    age(disk)
    CacheDisk(str(tmp_path / "disk/cache"), quarantine).make_link(BLOB, "two")
    disk.cut_power()
    assert place.is_symlink()
    assert kept(quarantine) == ["theirs"]


def test_a_report_that_was_kept_is_there(disk: LoopDisk, tmp_path: Path) -> None:
    reports = ReportFiles(str(tmp_path / "disk/.zimage-syncd/reports"))
    place = Path(reports.save(Report(Job.VERIFY, NOW, 1.0, (), ())))
    disk.cut_power()
    assert place.stat().st_size
