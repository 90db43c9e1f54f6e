"""A snapshot that is gone: whether it was lost, and what is never put over a revision that nobody has a copy of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.caches import COMMIT, hf_snapshot, listing, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import (
    CannotTell,
    Complete,
    Completeness,
    Incomplete,
    LayoutName,
    LocalSnapshot,
    RepoId,
    RepoType,
    SnapshotKey,
)
from zimage_syncd.report.plan_text import plan_text
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.work.backup import backup
from zimage_syncd.work.locate import lacking
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource, plan_restore
from zimage_syncd.work.superseded import superseded
from zimage_syncd.work.verify import verify

ALL = Selection()
REPO = RepoId(RepoType.MODEL, "org/name")
WHOLE = Complete(("all",))
HALF = Incomplete(("half",))


def snapshot(layout: LayoutName, revision: str, completeness: Completeness, repo: RepoId = REPO) -> LocalSnapshot:
    return LocalSnapshot(SnapshotKey(layout, repo, revision), (revision,), RelPath("d"), (), (), (), completeness)


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize(
    ("layout", "completeness", "stands"),
    [
        (LayoutName.HUGGINGFACE, WHOLE, True),
        (LayoutName.HUGGINGFACE, CannotTell((), (), satisfied=False), True),
        (LayoutName.HUGGINGFACE, HALF, None),
        (LayoutName.MODELSCOPE, HALF, None),
        (LayoutName.MODELSCOPE_LEGACY, HALF, True),
        (LayoutName.MODELSCOPE_HUB_LEGACY, WHOLE, True),
    ],
)
def test_what_stands_for_a_snapshot_that_is_gone(
    layout: LayoutName, completeness: Completeness, stands: bool | None, *, is_written: bool
) -> None:
    """None: only while somebody writes it."""
    gone = SnapshotKey(layout, REPO, "old")
    local = [snapshot(layout, "new", completeness)]
    expected = {gone} if stands or (stands is None and is_written) else set()
    assert superseded([gone], local, lambda: is_written) == expected


def test_another_repository_or_layout_stands_for_nothing() -> None:
    gone = SnapshotKey(LayoutName.HUGGINGFACE, REPO, "old")
    others = [
        snapshot(LayoutName.MODELSCOPE, "new", WHOLE),
        snapshot(LayoutName.HUGGINGFACE, "new", WHOLE, RepoId(RepoType.MODEL, "org/other")),
        snapshot(LayoutName.HUGGINGFACE, "new", WHOLE, RepoId(RepoType.DATASET, "org/name")),
    ]
    assert superseded([gone], others, lambda: True) == set()


def test_what_is_there_is_not_gone_and_nobody_is_asked() -> None:
    here = snapshot(LayoutName.HUGGINGFACE, "old", HALF)

    def never() -> bool:
        raise AssertionError

    assert superseded([here.key], [here, snapshot(LayoutName.HUGGINGFACE, "new", WHOLE)], never) == set()


def test_who_writes_is_asked_once() -> None:
    """It looks at every file of the cache."""
    asked = []
    gone = [SnapshotKey(LayoutName.HUGGINGFACE, REPO, f"old{number}") for number in range(3)]
    local = [snapshot(LayoutName.HUGGINGFACE, f"new{number}", HALF) for number in range(3)]
    assert superseded(gone, local, lambda: bool(asked.append(1))) == set()
    assert len(asked) == 1


def test_a_verification_tells_a_loss_from_a_clean_up_as_a_start_does(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, pipeline_files())
    backup(bench.site(), [archive], ALL, accept_changed=False)
    shutil.rmtree(base / "snapshots" / COMMIT)
    (base / "snapshots" / ("f" * 40)).mkdir()
    (base / "blobs/abc.incomplete").write_bytes(b"half")
    assert lacking(bench.site()) == (f"org/name@{COMMIT[:12]} (huggingface)",)
    report = verify(bench.site(), [archive], Selection(REPO), deep=False, repair=True)
    assert [result.action for result in report.snapshots if COMMIT[:12] in result.snapshot] == ["mended"]
    assert (base / "snapshots" / COMMIT / "model_index.json").exists()


def older(root: Path, revision: str) -> Path:
    """A snapshot in ModelScope's older layout, which has one directory for all revisions."""
    base = root / "models/org/older"
    for name, data in {**pipeline_files(), "README.md": revision.encode()}.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(data)
    (base / ".mv").write_text(f"Revision:{revision},CreatedAt:1700000000")
    return base


def test_no_restore_of_everything_takes_the_place_of_a_revision_that_nobody_has(
    bench: Bench, archive: ObjectArchive
) -> None:
    """Another repository was lost: what the older layout holds is newer than what the stores have."""
    base = older(bench.root, "v1")
    other = modelscope_snapshot(bench.root, pipeline_files(1))
    backup(bench.site(), [archive], ALL, accept_changed=False)
    older(bench.root, "v2")
    shutil.rmtree(other)
    sources = [RestoreSource(archive, LinkMode.AUTO)]
    text = plan_text(plan_restore(bench.site(), sources, ALL).plan, every_entry=False)
    report = restore(bench.site(), sources, ALL)
    assert [(result.snapshot, result.action) for result in report.snapshots] == [
        ("org/name@master (modelscope)", "restored")
    ]
    assert (base / "README.md").read_text() == "v2"
    (note,) = report.notes
    assert note.startswith("org/older@v2 (modelscope-legacy) stays, since no store has it")
    assert note in text
    assert bench.quarantined() == []
    report = restore(bench.site(), sources, Selection(RepoId(RepoType.MODEL, "org/older"), revision="v1"))
    assert [result.action for result in report.snapshots] == ["restored"]
    assert (base / "README.md").read_text() == "v1"


def test_a_revision_that_a_store_lost_again_is_not_replaced(bench: Bench, archive: ObjectArchive) -> None:
    base = older(bench.root, "v1")
    backup(bench.site(), [archive], ALL, accept_changed=False)
    bucket = bench.directory / "bucket"
    shutil.copytree(bucket, bench.directory / "earlier")
    older(bench.root, "v2")
    backup(bench.site(), [archive], ALL, accept_changed=False)
    shutil.rmtree(bucket)
    (bench.directory / "earlier").rename(bucket)
    assert restore(bench.site(), [RestoreSource(archive, LinkMode.AUTO)], ALL).notes != ()
    assert (base / "README.md").read_text() == "v2"


def test_what_is_left_of_a_revision_gives_way_to_the_whole_one(bench: Bench, archive: ObjectArchive) -> None:
    base = older(bench.root, "v1")
    backup(bench.site(), [archive], ALL, accept_changed=False)
    before = listing(bench.root)
    (base / ".mv").unlink()  # which said what it is
    shutil.rmtree(base / "vae")
    report = restore(bench.site(), [RestoreSource(archive, LinkMode.AUTO)], ALL)
    assert [result.action for result in report.snapshots] == ["restored"]
    assert listing(bench.root) == before


def test_a_revision_that_a_store_has_gives_way_to_the_newest(bench: Bench, archive: ObjectArchive) -> None:
    for revision in ("v1", "v2"):
        base = older(bench.root, revision)
        backup(bench.site(), [archive], ALL, accept_changed=False)
        bench.clock.move(60)
    older(bench.root, "v1")
    report = restore(bench.site(), [RestoreSource(archive, LinkMode.AUTO)], ALL)
    assert [result.snapshot for result in report.snapshots] == ["org/older@v2 (modelscope-legacy)"]
    assert report.notes == ()
    assert (base / "README.md").read_text() == "v2"
