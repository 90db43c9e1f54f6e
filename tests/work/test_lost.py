"""What was recorded and is gone is named by what people call it, and no backup records the snapshot without it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.caches import COMMIT, hf_snapshot, listing, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model import problems
from zimage_syncd.model.problems import Problem
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.work import names
from zimage_syncd.work.backup import backup
from zimage_syncd.work.verify import verify

ALL = Selection()
FILES = {**pipeline_files(), "README.md": b"what it is"}
OTHER = "f" * 40


def back_up(bench: Bench, archive: ObjectArchive, *, accept_changed: bool = False) -> Report:
    return backup(bench.site(), [archive], ALL, accept_changed=accept_changed)


def told(report: Report) -> set[tuple[Problem, str]]:
    return {(finding.problem, finding.subject.rpartition("models--org--name/")[2]) for finding in report.findings}


def one_reference(base: Path) -> None:
    (base / "refs/main").unlink()


def all_references(base: Path) -> None:
    shutil.rmtree(base / "refs")


def a_directory_in_its_place(base: Path) -> None:
    (base / "refs/main").unlink()
    (base / "refs/main/x").mkdir(parents=True)


def no_commit_in_it(base: Path) -> None:
    (base / "refs/main").write_text("")


def a_file_for_a_directory(base: Path) -> None:
    shutil.rmtree(base / "refs")
    (base / "refs").write_text("")


def the_list(base: Path) -> None:
    (base / f"trees/{COMMIT}.json").unlink()


def a_name(base: Path) -> None:
    (base / "snapshots" / COMMIT / "README.md").unlink()


def a_name_and_its_blob(base: Path) -> None:
    (base / "snapshots" / COMMIT / "README.md").resolve().unlink()
    (base / "snapshots" / COMMIT / "README.md").unlink()


def weights(base: Path) -> None:
    (base / "snapshots" / COMMIT / "vae/diffusion_pytorch_model.safetensors").resolve().unlink()


README = f"snapshots/{COMMIT}/README.md"


@pytest.mark.parametrize(
    ("lose", "findings"),
    [
        (one_reference, {(problems.POINTER_MISSING, "refs/main")}),
        (all_references, {(problems.POINTER_MISSING, "refs/main"), (problems.POINTER_MISSING, "refs/v1.0")}),
        (a_directory_in_its_place, {(problems.POINTER_DAMAGED, "refs/main")}),
        (no_commit_in_it, {(problems.POINTER_DAMAGED, "refs/main")}),
        (a_file_for_a_directory, {(problems.UNSAFE_PATH, "refs/main"), (problems.UNSAFE_PATH, "refs/v1.0")}),
        (the_list, {(problems.POINTER_MISSING, f"trees/{COMMIT}.json")}),
        (a_name, {(problems.FILE_MISSING, README)}),
        (a_name_and_its_blob, {(problems.FILE_MISSING, README)}),
    ],
)
def test_what_is_gone_is_named_and_not_recorded(
    bench: Bench, archive: ObjectArchive, lose: Callable[[Path], None], findings: set[tuple[Problem, str]]
) -> None:
    base = hf_snapshot(bench.root, FILES, refs=("main", "v1.0"))
    back_up(bench, archive)
    before, stored = listing(bench.root), {item.name: item.manifest_id for item in archive.snapshots()}
    lose(base)
    report = back_up(bench, archive)
    assert [result.action for result in report.snapshots] == ["refused"]
    assert told(report) == findings
    assert {item.name: item.manifest_id for item in archive.snapshots()} == stored
    if problems.UNSAFE_PATH not in {problem for problem, _ in findings}:
        assert all(finding.mended for finding in verify(bench.site(), [archive], ALL, deep=False, repair=True).findings)
        assert listing(bench.root) == before
        assert [result.action for result in back_up(bench, archive).snapshots] == ["unchanged"]


def test_weights_that_are_gone_are_no_download_that_was_begun(bench: Bench, archive: ObjectArchive) -> None:
    weights(hf_snapshot(bench.root, FILES))
    assert {problem for problem, _ in told(back_up(bench, archive))} == {problems.SNAPSHOT_INCOMPLETE}
    shutil.rmtree(bench.root / "hub")
    base = hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    weights(base)
    (finding,) = back_up(bench, archive).findings
    assert finding.problem is problems.FILE_MISSING
    assert "(vae/diffusion_pytorch_model.safetensors)" in finding.subject


def test_an_older_record_without_the_reference_does_not_hide_its_loss(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES, refs=())
    back_up(bench, archive)
    (base / "refs").mkdir(exist_ok=True)
    (base / "refs/main").write_text(COMMIT)
    assert [result.detail for result in back_up(bench, archive).snapshots] == ["to bucket as main"]
    (base / "refs/main").unlink()
    assert told(back_up(bench, archive)) == {(problems.POINTER_MISSING, "refs/main")}
    assert told(back_up(bench, archive, accept_changed=True)) == set()
    assert back_up(bench, archive).exit_code == 0


def test_a_reference_that_means_another_commit_now_is_no_loss(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    (base / "refs/main").write_text(OTHER)
    report = back_up(bench, archive)
    assert (report.exit_code, [result.detail for result in report.snapshots]) == (0, [f"to bucket as {COMMIT}"])


def test_a_tag_that_only_another_cache_had_is_no_loss(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES, refs=("main", "v1.0"))
    back_up(bench, archive)
    shutil.rmtree(bench.shelf.directory)  # as the first time on a disk of its own
    (base / "refs/v1.0").unlink()
    assert back_up(bench, archive).exit_code == 0
    assert {item.name for item in archive.snapshots()} == {"main", "v1.0"}


def test_a_tag_that_a_person_removed_is_recorded_so_when_it_is_asked_for(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES, refs=("main", "v1.0"))
    back_up(bench, archive)
    (base / "refs/v1.0").unlink()
    assert back_up(bench, archive).exit_code == 2
    assert back_up(bench, archive, accept_changed=True).exit_code == 0
    assert verify(bench.site(), [archive], ALL, deep=False, repair=True).exit_code == 0
    assert os.listdir(base / "refs") == ["main"]


def test_a_file_that_is_gone_from_a_revision_that_may_move(bench: Bench, archive: ObjectArchive) -> None:
    base = modelscope_snapshot(bench.root, FILES)
    back_up(bench, archive)
    (base / "README.md").unlink()
    (finding,) = back_up(bench, archive).findings
    assert (finding.problem, finding.subject) == (
        problems.FILE_MISSING,
        f"{base.relative_to(bench.root)}/README.md",
    )
    assert "--accept-changed" in finding.detail
    assert back_up(bench, archive, accept_changed=True).exit_code == 0


def test_names_of_many_findings_are_looked_up_once(
    bench: Bench, archive: ObjectArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = hf_snapshot(bench.root, {**FILES, **{f"data/{number}.txt": b"%d" % number for number in range(50)}})
    back_up(bench, archive)
    for place in (base / "snapshots" / COMMIT / "data").iterdir():
        place.resolve().unlink()
    asked = []
    resolve = names.resolve_link
    monkeypatch.setattr(names, "resolve_link", lambda path, target: asked.append(path) or resolve(path, target))
    report = verify(bench.site(), [archive], ALL, deep=False, repair=False)
    assert len(report.findings) == 50
    assert len(asked) == len(set(asked))
