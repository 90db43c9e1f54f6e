"""The ledger: a hint that a changed stat invalidates and that damage only costs time."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zimage_syncd.digest import FileDigests
from zimage_syncd.disk.ledger import SqliteLedger
from zimage_syncd.model.path import RelPath
from zimage_syncd.ports import FileStat, SentPart

PATH = RelPath("hub/\udcff weird")
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
OLD_NS = int((NOW - timedelta(hours=1)).timestamp() * 1e9)
STAT = FileStat(inode=7, size_bytes=3, mtime_ns=OLD_NS, ctime_ns=OLD_NS, mode=0o644)
DIGESTS = FileDigests(3, "ab" * 32, "", ("cd" * 32,))


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    return SqliteLedger(str(tmp_path / "ledger.sqlite"))


def test_what_was_recorded_is_found_again_also_by_another_process(ledger: SqliteLedger, tmp_path: Path) -> None:
    ledger.record(PATH, STAT, DIGESTS, NOW)
    ledger.close()
    entry = SqliteLedger(str(tmp_path / "ledger.sqlite")).lookup(PATH, STAT)
    assert entry is not None
    assert entry.digests == DIGESTS
    assert entry.verified_at == NOW


@pytest.mark.parametrize("field", ["inode", "size_bytes", "mtime_ns", "ctime_ns"])
def test_any_changed_part_of_the_stat_makes_it_unknown(ledger: SqliteLedger, field: str) -> None:
    ledger.record(PATH, STAT, DIGESTS, NOW)
    assert ledger.lookup(PATH, replace(STAT, **{field: getattr(STAT, field) + 1})) is None


def test_a_file_that_changed_less_than_two_seconds_before_is_not_recorded(ledger: SqliteLedger) -> None:
    young = replace(STAT, ctime_ns=int((NOW - timedelta(seconds=1)).timestamp() * 1e9))
    ledger.record(PATH, young, DIGESTS, NOW)
    assert ledger.lookup(PATH, young) is None


def test_a_damaged_ledger_is_begun_anew(tmp_path: Path) -> None:
    place = tmp_path / "ledger.sqlite"
    place.write_bytes(b"this is no database" * 100)
    ledger = SqliteLedger(str(place))
    ledger.record(PATH, STAT, DIGESTS, NOW)
    assert ledger.lookup(PATH, STAT) is not None


@pytest.mark.parametrize(
    "damage",
    ["sha256 = 5", "chunks = 5", "chunks = 'text'", "verified_at = 'x'", "verified_at = 1e300", "sha256 = NULL"],
)
def test_a_row_with_other_values_is_no_hint(ledger: SqliteLedger, tmp_path: Path, damage: str) -> None:
    ledger.record(PATH, STAT, DIGESTS, NOW)
    ledger.close()
    place = str(tmp_path / "ledger.sqlite")
    with contextlib.closing(sqlite3.connect(place)) as connection, connection:
        connection.execute(f"UPDATE files SET {damage}")
    assert SqliteLedger(place).lookup(PATH, STAT) is None


def test_rot_is_told_from_somebody_elses_work(ledger: SqliteLedger) -> None:
    ledger.record(PATH, STAT, DIGESTS, NOW)
    assert ledger.was_good(PATH, STAT.mtime_ns, DIGESTS.sha256)
    assert not ledger.was_good(PATH, STAT.mtime_ns + 1, DIGESTS.sha256)
    assert not ledger.was_good(PATH, STAT.mtime_ns, "00" * 32)


def test_uploads_are_known_from_before_they_begin_until_they_end(ledger: SqliteLedger) -> None:
    ledger.begin_upload("bucket", "aa")
    assert [pending.upload_id for pending in ledger.pending_uploads("bucket")] == [None]
    ledger.know_upload("bucket", "aa", "id-1")
    assert [pending.upload_id for pending in ledger.pending_uploads("bucket")] == ["id-1"]
    assert ledger.pending_uploads("other") == []
    ledger.end_upload("bucket", "aa")
    assert ledger.pending_uploads("bucket") == []


def test_parts_of_an_upload_are_known_until_it_ends_or_begins_anew(ledger: SqliteLedger, tmp_path: Path) -> None:
    parts = {1: SentPart('"etag 1"', DIGESTS.chunks), 2: SentPart("", ("00" * 32, "11" * 32))}
    for again in (False, True):
        ledger.begin_upload("bucket", "aa")
        assert ledger.sent_parts("bucket", "aa") == {}
        for number, part in parts.items():
            ledger.know_part("bucket", "aa", number, part, NOW)
        assert ledger.sent_parts("bucket", "aa") == parts
        assert ledger.sent_parts("bucket", "bb") == ledger.sent_parts("other", "aa") == {}
        if again:
            ledger.end_upload("bucket", "aa")
            assert ledger.sent_parts("bucket", "aa") == {}


@pytest.mark.parametrize("damage", ["chunks = 5", "chunks = NULL", "number = 'x'"])
def test_parts_with_other_values_are_no_hint(ledger: SqliteLedger, tmp_path: Path, damage: str) -> None:
    ledger.know_part("bucket", "aa", 1, SentPart("mark", DIGESTS.chunks), NOW)
    ledger.close()
    place = str(tmp_path / "ledger.sqlite")
    with contextlib.closing(sqlite3.connect(place)) as connection, connection:
        connection.execute(f"UPDATE upload_parts SET {damage}")
    assert SqliteLedger(place).sent_parts("bucket", "aa") == {}


def numbered(count: int) -> list[RelPath]:
    return [RelPath(f"hub/f{number:05}") for number in range(count)]


def statements_of(ledger: SqliteLedger) -> list[str]:
    """Queries from here on."""
    seen: list[str] = []
    ledger._connection.set_trace_callback(lambda text: seen.append(text) if text.startswith("SELECT") else None)
    return seen


def test_files_that_are_looked_up_in_order_take_few_queries(ledger: SqliteLedger) -> None:
    for path in numbered(5000):
        ledger.record(path, STAT, DIGESTS, NOW)
    seen = statements_of(ledger)

    assert all(ledger.lookup(path, STAT) is not None for path in numbered(5000))
    assert len(seen) < 25


def test_files_that_are_looked_up_in_no_order_read_little_ahead(ledger: SqliteLedger) -> None:
    for path in numbered(3000):
        ledger.record(path, STAT, DIGESTS, NOW)
    seen = statements_of(ledger)

    assert all(ledger.lookup(path, STAT) is not None for path in reversed(numbered(3000)))
    assert sum(int(text.rpartition("LIMIT ")[2]) for text in seen) < 3 * 3000


def test_what_was_read_ahead_gives_way_to_what_is_recorded_and_forgotten(ledger: SqliteLedger) -> None:
    paths = numbered(100)
    for path in paths:
        ledger.record(path, STAT, DIGESTS, NOW)
    for path in paths[:50]:
        ledger.lookup(path, STAT)

    other = replace(DIGESTS, sha256="ef" * 32)
    ledger.record(paths[50], STAT, other, NOW)
    ledger.forget(paths[51])

    found = ledger.lookup(paths[50], STAT)
    assert found is not None
    assert found.digests == other
    assert ledger.lookup(paths[51], STAT) is None
    assert ledger.lookup(RelPath("hub/f00051-new"), STAT) is None
    assert ledger.lookup(paths[52], STAT) is not None


def unsettled(ledger: SqliteLedger) -> None:
    """A job that has begun an upload, recorded two files and now reads a third one, its transaction still open."""
    ledger.begin_upload("bucket", "aa")
    ledger.know_upload("bucket", "aa", "id")
    for path in numbered(2):
        ledger.record(path, STAT, DIGESTS, NOW)
    assert ledger._connection.in_transaction


def test_whoever_only_looks_disturbs_no_job_and_waits_for_none(ledger: SqliteLedger, tmp_path: Path) -> None:
    """A `status` that waited 5 s removed the ledger under a backup that was at work."""
    unsettled(ledger)
    before = time.monotonic()
    looking = SqliteLedger(str(tmp_path / "ledger.sqlite"), only_looking=True)
    assert [each.upload_id for each in looking.pending_uploads("bucket")] == ["id"]
    looking.record(PATH, STAT, DIGESTS, NOW)
    looking.close()
    assert time.monotonic() - before < 4
    ledger.close()
    again = SqliteLedger(str(tmp_path / "ledger.sqlite"))
    assert [each.upload_id for each in again.pending_uploads("bucket")] == ["id"]
    assert again.lookup(numbered(2)[1], STAT) is not None
    assert again.lookup(PATH, STAT) is None


def test_a_ledger_that_is_being_written_is_not_taken_for_a_damaged_one(
    ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zimage_syncd.disk.ledger_file._BUSY_TIMEOUT_S", 0.1)
    unsettled(ledger)
    ledger._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    ledger.forget(PATH)
    second = SqliteLedger(str(tmp_path / "ledger.sqlite"))
    assert second.pending_uploads("bucket") == []
    second.close()
    ledger._connection.execute("PRAGMA locking_mode=NORMAL")
    ledger.close()
    assert len(SqliteLedger(str(tmp_path / "ledger.sqlite")).pending_uploads("bucket")) == 1


@pytest.mark.parametrize("there", [None, b"no database"])
def test_whoever_only_looks_makes_and_removes_nothing(tmp_path: Path, there: bytes | None) -> None:
    place = tmp_path / "ledger of \u00fc?.sqlite"
    if there is not None:
        place.write_bytes(there)
    looking = SqliteLedger(str(place), only_looking=True)
    assert looking.lookup(PATH, STAT) is None
    looking.close()
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([] if there is None else [there])


@pytest.mark.parametrize("column", ["sha256", "chunks", "verified_at", "size_bytes"])
def test_a_row_with_a_flipped_bit_is_no_hint(ledger: SqliteLedger, tmp_path: Path, column: str) -> None:
    """Its digest was compared with the file, which was called damaged, or was published."""
    ledger.record(PATH, STAT, DIGESTS, NOW)
    ledger.close()
    place = str(tmp_path / "ledger.sqlite")
    with contextlib.closing(sqlite3.connect(place)) as connection, connection:
        (value,) = connection.execute(f"SELECT {column} FROM files").fetchone()
        spoiled = bytes((value[0] ^ 1, *value[1:])) if isinstance(value, bytes) else value + 1
        connection.execute(f"UPDATE files SET {column} = ?", (spoiled,))
    again, stat = SqliteLedger(place), replace(STAT, size_bytes=4) if column == "size_bytes" else STAT
    assert again.lookup(PATH, stat) is None
    assert again.digests(PATH, stat) is None
