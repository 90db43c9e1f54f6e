"""What was recorded and is gone is named by what people call it, and no backup records the snapshot without it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.caches import COMMIT, hf_snapshot, listing, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model import problems
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.problems import Problem
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import RepoId, RepoType
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work import names
from zimage_syncd.work.backup import backup
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource
from zimage_syncd.work.verify import verify

ALL = Selection()
FILES = {**pipeline_files(), "README.md": b"what it is"}
PART = {name: data for name, data in FILES.items() if name != "README.md"}
OTHER = "f" * 40
REPO = RepoId(RepoType.MODEL, "org/name")


def back_up(bench: Bench, archive: ObjectArchive, *, accept_changed: bool = False) -> Report:
    return backup(bench.site(), [archive], ALL, accept_changed=accept_changed)


def other_cache(bench: Bench) -> Bench:
    """Of somebody who backs up to the same archive."""
    return Bench(bench.directory / "other", bench.clock)


def second_archive(bench: Bench) -> ObjectArchive:
    place = bench.directory / "second"
    place.mkdir()
    return ObjectArchive("second", DirectoryStore(str(place), "o"), bench.clock, "o", bench.site().owns, "host")


def newest(archive: ObjectArchive) -> dict[str, str]:
    return {item.name: item.manifest_id for item in archive.snapshots()}


def told(report: Report) -> set[tuple[Problem, str]]:
    return {(finding.problem, finding.subject.rpartition("models--org--name/")[2]) for finding in report.findings}


def references(base: Path) -> None:
    shutil.rmtree(base / "refs")


def commits_in_them(base: Path) -> None:
    for place in (base / "refs").iterdir():
        place.write_text("")


def a_name(base: Path) -> None:
    (base / "snapshots" / COMMIT / "README.md").unlink()


def a_name_and_its_blob(base: Path) -> None:
    (base / "snapshots" / COMMIT / "README.md").resolve().unlink()
    (base / "snapshots" / COMMIT / "README.md").unlink()


README = f"snapshots/{COMMIT}/README.md"


@pytest.mark.parametrize(
    ("lose", "findings"),
    [
        (references, {(problems.POINTER_MISSING, "refs/main"), (problems.POINTER_MISSING, "refs/v1.0")}),
        (commits_in_them, {(problems.POINTER_DAMAGED, "refs/main"), (problems.POINTER_DAMAGED, "refs/v1.0")}),
        (a_name, {(problems.FILE_MISSING, README)}),
        (a_name_and_its_blob, {(problems.FILE_MISSING, README)}),
    ],
)
def test_what_is_gone_is_named_and_not_recorded(
    bench: Bench, archive: ObjectArchive, lose: Callable[[Path], None], findings: set[tuple[Problem, str]]
) -> None:
    base = hf_snapshot(bench.root, FILES, refs=("main", "v1.0"))
    back_up(bench, archive)
    before, stored = listing(bench.root), newest(archive)
    lose(base)
    report = back_up(bench, archive)
    assert [result.action for result in report.snapshots] == ["refused"]
    assert told(report) == findings
    command = f"`zimage-syncd backup org/name --layout huggingface --revision {COMMIT} --accept-changed`"
    assert all(command in finding.detail for finding in report.findings)
    assert newest(archive) == stored
    assert all(finding.mended for finding in verify(bench.site(), [archive], ALL, deep=False, repair=True).findings)
    assert listing(bench.root) == before
    assert [result.action for result in back_up(bench, archive).snapshots] == ["unchanged"]


@pytest.mark.parametrize("lose", [references, a_name])
def test_what_a_person_removed_is_recorded_so_when_it_is_asked_for(
    bench: Bench, archive: ObjectArchive, lose: Callable[[Path], None]
) -> None:
    base = hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    lose(base)
    assert back_up(bench, archive).exit_code == 2
    assert back_up(bench, archive, accept_changed=True).exit_code == 0
    after = listing(bench.root)
    assert verify(bench.site(), [archive], ALL, deep=False, repair=True).exit_code == 0
    assert listing(bench.root) == after
    assert back_up(bench, archive).exit_code == 0


def test_other_content_under_a_commit_is_never_accepted(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES, trees=False)
    back_up(bench, archive)
    place = base / "snapshots" / COMMIT / "README.md"
    place.unlink()
    place.write_bytes(b"what it was")
    (finding,) = back_up(bench, archive, accept_changed=True).findings
    assert finding.problem is problems.FILE_DAMAGED


def test_an_older_record_without_references_does_not_hide_their_loss(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES, refs=())
    back_up(bench, archive)
    (base / "refs").mkdir(exist_ok=True)
    (base / "refs/main").write_text(COMMIT)
    assert [result.detail for result in back_up(bench, archive).snapshots] == ["to bucket as main"]
    (base / "refs/main").unlink()
    assert told(back_up(bench, archive)) == {(problems.POINTER_MISSING, "refs/main")}


def test_a_tag_of_several_is_removed_by_who_has_a_reason(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES, refs=("main", "v1.0"))
    back_up(bench, archive)
    (base / "refs/v1.0").unlink()
    assert back_up(bench, archive).exit_code == 0
    assert verify(bench.site(), [archive], ALL, deep=False, repair=True).exit_code == 0
    assert os.listdir(base / "refs") == ["main"]


def test_a_tag_is_removed_after_the_branch_has_moved(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES, refs=("main", "v1.0"))
    back_up(bench, archive)
    (base / "refs/main").write_text(OTHER)
    (base / "refs/v1.0").unlink()
    assert back_up(bench, archive).exit_code == 0


@pytest.mark.parametrize("kind", ["empty directory", "file", "link"])
def test_references_in_whose_place_is_something_else_are_not_removed_on_purpose(
    bench: Bench, archive: ObjectArchive, kind: str
) -> None:
    base = hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    shutil.rmtree(base / "refs")
    if kind == "file":
        (base / "refs").write_text("")
    elif kind == "link":
        (base / "refs").symlink_to("/nowhere")
    else:
        (base / "refs/main").mkdir(parents=True)
    assert [result.action for result in back_up(bench, archive).snapshots] == ["refused"]


def test_a_reference_that_is_a_directory_of_others_now_is_no_loss(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES, refs=("fix",))
    back_up(bench, archive)
    (base / "refs/fix").unlink()
    (base / "refs/fix").mkdir()
    (base / "refs/fix/1").write_text(OTHER)
    assert back_up(bench, archive).exit_code == 0
    assert verify(bench.site(), [archive], ALL, deep=False, repair=True).exit_code == 0
    assert (base / "refs/fix/1").read_text() == OTHER


def test_a_reference_that_means_another_commit_now_is_no_loss(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    (base / "refs/main").write_text(OTHER)
    report = back_up(bench, archive)
    assert (report.exit_code, [result.detail for result in report.snapshots]) == (0, [f"to bucket as {COMMIT}"])


def test_a_reference_that_means_another_commit_in_the_archive_is_no_loss(bench: Bench, archive: ObjectArchive) -> None:
    """A tag is restored whose record has a branch, too; the branch means a newer commit by now."""
    base = hf_snapshot(bench.root, FILES, refs=("main", "v1.0"))
    back_up(bench, archive)
    other = other_cache(bench)
    hf_snapshot(other.root, {**FILES, "README.md": b"newer"}, commit=OTHER)
    bench.clock.move(60)
    back_up(other, archive)
    stored = newest(archive)
    shutil.rmtree(bench.root)
    bench.root.mkdir()
    restore(bench.site(), [RestoreSource(archive, LinkMode.AUTO)], Selection(REPO, "v1.0"))
    assert os.listdir(base / "refs") == ["v1.0"]
    (base / "refs/v1.0").unlink()
    assert told(back_up(bench, archive)) == {(problems.POINTER_MISSING, "refs/v1.0")}
    (base / "refs/v1.0").write_text(COMMIT)
    assert back_up(bench, archive).exit_code == 0
    assert newest(archive)["main"] == stored["main"]


@pytest.mark.parametrize("marker", ["refs/data/trees/x", f".no_exist/{COMMIT}/sub/trees/x.json"])
def test_what_looks_like_a_list_is_none(bench: Bench, archive: ObjectArchive, marker: str) -> None:
    base = hf_snapshot(bench.root, FILES)
    (base / marker).parent.mkdir(parents=True, exist_ok=True)
    (base / marker).write_text(COMMIT if marker.startswith("refs") else "")
    back_up(bench, archive)
    (base / f".no_exist/{COMMIT}").mkdir(parents=True, exist_ok=True)
    (base / f".no_exist/{COMMIT}/another").touch()
    assert back_up(bench, archive).exit_code == 0


def test_a_marker_that_looks_like_a_reference_silences_nothing(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES)
    (base / f".no_exist/{COMMIT}/sub/refs").mkdir(parents=True)
    (base / f".no_exist/{COMMIT}/sub/refs/x").touch()
    back_up(bench, archive)
    shutil.rmtree(base / "refs")
    (base / "refs/other").mkdir(parents=True)
    (base / "refs/other/.DS_Store").touch()
    assert told(back_up(bench, archive)) == {(problems.POINTER_MISSING, "refs/main")}


def test_a_damaged_list_is_never_accepted(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    (base / f"trees/{COMMIT}.json").write_bytes(b"[]")
    (finding,) = back_up(bench, archive, accept_changed=True).findings
    assert finding.problem is problems.POINTER_DAMAGED
    assert "--accept-changed" not in finding.detail


def test_an_archive_that_has_nothing_does_not_let_a_part_into_the_one_that_has_more(
    bench: Bench, archive: ObjectArchive
) -> None:
    hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    stored = newest(archive)
    other = other_cache(bench)
    second = second_archive(bench)
    hf_snapshot(other.root, PART, trees=False)
    report = backup(other.site(), [second, archive], ALL, accept_changed=False)
    assert [result.action for result in report.snapshots] == ["backed up", "refused"]
    assert newest(archive) == stored


def test_what_only_another_cache_had_is_no_loss(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES, refs=("main", "v1.0"))
    back_up(bench, archive)
    stored = newest(archive)
    shutil.rmtree(bench.shelf.directory)  # as the first time on a disk of its own
    shutil.rmtree(base / "refs")
    (base / f"trees/{COMMIT}.json").unlink()
    assert back_up(bench, archive).exit_code == 0
    assert {name: newest(archive)[name] for name in stored} == stored


@pytest.mark.parametrize("copied", [False, True])
def test_content_that_a_library_keeps_elsewhere_is_no_loss(
    bench: Bench, archive: ObjectArchive, *, copied: bool
) -> None:
    """Names become copies, or lead to another blob of the same content."""
    base = hf_snapshot(bench.root, FILES, trees=False)
    back_up(bench, archive)
    place = base / "snapshots" / COMMIT / "README.md"
    blob = place.resolve()
    place.unlink()
    if copied:
        blob.rename(place)
    else:
        blob.rename(base / "blobs/another")
        place.symlink_to("../../blobs/another")
    report = back_up(bench, archive)
    assert [(finding.problem, finding.subject) for finding in report.findings] == []


def test_a_repository_that_cannot_be_looked_at_stops_no_other(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    hf_snapshot(bench.root, {**FILES, "x": b"y"}, repo="org/two", commit=OTHER)
    shutil.rmtree(base / "snapshots" / COMMIT / "vae")
    (base / "snapshots" / COMMIT / "vae").write_text("")
    report = back_up(bench, archive)
    assert [result.action for result in report.snapshots] == ["refused", "backed up"]


def test_an_archive_that_lags_behind_does_not_make_a_loss_the_last_good_state(
    bench: Bench, archive: ObjectArchive
) -> None:
    second = second_archive(bench)
    base = hf_snapshot(bench.root, FILES)
    backup(bench.site(), [archive, second], ALL, accept_changed=False)
    extra = base / "snapshots" / COMMIT / "extra.txt"
    extra.write_text("somebody's own")
    back_up(bench, archive)  # the second one is away
    extra.unlink()
    for _ in range(2):
        report = backup(bench.site(), [archive, second], ALL, accept_changed=False)
        assert [result.action for result in report.snapshots] == ["refused", "refused"]
    verify(bench.site(), [archive], ALL, deep=False, repair=True)
    assert extra.read_text() == "somebody's own"


def test_an_archives_record_of_the_same_commit_is_no_other_meaning(bench: Bench, archive: ObjectArchive) -> None:
    """Another cache backed the commit up with a marker of its own."""
    base = hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    other = other_cache(bench)
    theirs = hf_snapshot(other.root, FILES)
    (theirs / f".no_exist/{COMMIT}").mkdir(parents=True, exist_ok=True)
    (theirs / f".no_exist/{COMMIT}/adapter_config.json").touch()
    bench.clock.move(60)
    assert back_up(other, archive).exit_code == 0
    (base / "refs/main").unlink()
    assert told(back_up(bench, archive)) == {(problems.POINTER_MISSING, "refs/main")}


def test_a_part_of_what_an_archive_has_from_somebody_else_does_not_take_its_place(
    bench: Bench, archive: ObjectArchive
) -> None:
    hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    stored = newest(archive)
    other = other_cache(bench)
    hf_snapshot(other.root, PART, trees=False)
    for accept_changed in (False, True):
        (finding,) = back_up(other, archive, accept_changed=accept_changed).findings
        assert (finding.problem, finding.subject.endswith("README.md")) == (problems.FILE_MISSING, True)
        assert "the archive has it, and this cache does not" in finding.detail
    assert newest(archive) == stored


def test_a_name_to_which_another_name_leads_is_missed(bench: Bench, archive: ObjectArchive) -> None:
    directory = hf_snapshot(bench.root, FILES, trees=False) / "snapshots" / COMMIT
    (directory / "a.bin").write_bytes(b"a")
    (directory / "b.bin").symlink_to("a.bin")
    back_up(bench, archive)
    (directory / "a.bin").rename(directory / "b.bin")
    assert told(back_up(bench, archive)) == {(problems.FILE_MISSING, f"snapshots/{COMMIT}/a.bin")}


@pytest.mark.parametrize("text", [None, b"", b"\0" * 100, b"[]", b"\xff\xfe"])
def test_a_list_that_cannot_be_understood_any_more_is_not_recorded(
    bench: Bench, archive: ObjectArchive, text: bytes | None
) -> None:
    base = hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    before, place = listing(bench.root), base / f"trees/{COMMIT}.json"
    place.unlink()
    if text is not None:
        place.write_bytes(text)
    problem = problems.POINTER_MISSING if text is None else problems.POINTER_DAMAGED
    assert told(back_up(bench, archive)) == {(problem, f"trees/{COMMIT}.json")}
    verify(bench.site(), [archive], ALL, deep=False, repair=True)
    assert listing(bench.root) == before


def test_a_list_that_was_written_in_another_way_is_no_loss(bench: Bench, archive: ObjectArchive) -> None:
    base = hf_snapshot(bench.root, FILES)
    back_up(bench, archive)
    place = base / f"trees/{COMMIT}.json"
    place.write_text(json.dumps(json.loads(place.read_text()), indent=1))
    assert back_up(bench, archive).exit_code == 0


def test_a_file_that_is_gone_from_a_revision_that_may_move(bench: Bench, archive: ObjectArchive) -> None:
    base = modelscope_snapshot(bench.root, FILES)
    back_up(bench, archive)
    (base / "README.md").unlink()
    (finding,) = back_up(bench, archive).findings
    assert finding.problem is problems.FILE_MISSING
    assert finding.subject == f"{base.relative_to(bench.root)}/README.md"
    assert "backup org/name --layout modelscope --revision master --accept-changed" in finding.detail
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
    assert 0 < len(asked) == len(set(asked))
