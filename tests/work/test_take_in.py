"""A real directory where a cache link belongs: everything in it ends in the cache, or is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.disk.old_directory import OldDirectory
from zimage_syncd.model import problems
from zimage_syncd.model.failures import LinkOccupied, NoSpace, Stopped, TakeInBusy
from zimage_syncd.model.path import RelPath
from zimage_syncd.ports import FileStat, Partial
from zimage_syncd.work.take_in import TakeIn, TakenIn


@pytest.fixture(params=["one file system", "another file system"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where the link belongs, on the data disk's file system and on another one."""
    if request.param == "one file system":
        yield tmp_path / "system/model_cache"
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        assert os.stat(directory).st_dev != os.stat(tmp_path).st_dev
        yield Path(directory) / "model_cache"


@pytest.fixture
def old(place: Path) -> Path:
    """A whole cache of both libraries lies there, with a token, an unfinished download and a lock."""
    hf_snapshot(place, pipeline_files())
    modelscope_snapshot(place, pipeline_files(), repo="other/name")
    (place / "token").write_text("hf_verysecret")
    (place / "token").chmod(0o600)
    (place / "hub/models--org--name/blobs/abc.incomplete").write_bytes(b"half")
    (place / "hub/.locks/models--org--name").mkdir(parents=True)
    (place / "hub/.locks/models--org--name/x.lock").touch()
    (place / "empty").mkdir()
    return place


def wanted(place: Path) -> dict[str, tuple[object, ...]]:
    return {name: what for name, what in listing(place).items() if ".incomplete" not in name and ".locks" not in name}


def take_in(bench: Bench, place: Path, is_written: Callable[[str], bool] = lambda _directory: False) -> TakenIn:
    return TakeIn(bench.site(), OldDirectory(str(place), str(bench.root)), is_written).run()


def test_everything_is_in_the_cache_and_the_link_in_its_place(bench: Bench, old: Path) -> None:
    before = wanted(old)
    done = take_in(bench, old)
    assert os.readlink(old) == str(bench.root)
    assert listing(bench.root) == before
    assert os.listdir(old.parent) == ["model_cache"]
    assert (done.is_linked, done.findings, done.equal_files) == (True, [], 0)
    assert done.files == len([1 for what in before.values() if what[0] == "file"])
    assert all(place.stat().st_nlink == 1 for place in bench.root.rglob("*") if place.is_file())
    assert bench.partials() == []


def test_what_the_cache_has_with_the_same_content_stays_as_it_is(bench: Bench, old: Path) -> None:
    hf_snapshot(bench.root, pipeline_files())
    files = [place for place in bench.root.rglob("*") if place.is_file() and not place.is_symlink()]
    inodes = {place: place.stat().st_ino for place in files}
    before = wanted(old)
    done = take_in(bench, old)
    assert listing(bench.root) == before
    assert {place: place.stat().st_ino for place in inodes} == inodes
    assert done.equal_files == len(inodes)
    assert os.listdir(old.parent) == ["model_cache"]


def test_another_content_is_kept_and_told(bench: Bench, old: Path) -> None:
    hf_snapshot(bench.root, pipeline_files())
    ours, theirs = bench.root / "hub/models--org--name/refs/main", old / "hub/models--org--name/refs/main"
    theirs.write_text("f" * 40)
    blob = next(place for place in (old / "hub/models--org--name/blobs").iterdir() if place.stat().st_size > 1000)
    data = bytearray(blob.read_bytes())
    data[500] ^= 1
    blob.write_bytes(data)
    kept_before = ours.read_text()
    done = take_in(bench, old)
    kept = Path(f"{old}.kept")
    assert ours.read_text() == kept_before
    assert sorted(listing(kept)) == [f"hub/models--org--name/blobs/{blob.name}", "hub/models--org--name/refs/main"]
    assert (kept / "hub/models--org--name/refs/main").read_text() == "f" * 40
    assert os.readlink(old) == str(bench.root)
    (finding,) = done.findings
    assert (finding.problem, finding.subject) == (problems.TAKE_IN_KEPT, str(kept))
    assert "refs/main: the cache has another content there" in finding.detail


def test_what_was_kept_before_is_not_overwritten(bench: Bench, old: Path) -> None:
    (bench.root / "token").write_text("ours")
    Path(f"{old}.kept").mkdir()
    take_in(bench, old)
    assert (Path(f"{old}.kept-2") / "token").read_text() == "hf_verysecret"
    assert os.listdir(f"{old}.kept") == []


def test_links_of_people_and_special_files(bench: Bench, old: Path) -> None:
    (old / "loras").symlink_to("/shared/loras")
    (old / "up").symlink_to("../outside")
    os.mkfifo(old / "pipe")
    done = take_in(bench, old)
    assert os.readlink(bench.root / "loras") == "/shared/loras"
    assert sorted(os.listdir(f"{old}.kept")) == ["pipe", "up"]
    assert "pipe: it is a special file" in done.findings[0].detail


def test_files_with_several_names_are_taken_in(bench: Bench, old: Path) -> None:
    (old / "first").write_text("x" * 100)
    for name in ("hub/second", "third"):
        (old / name).hardlink_to(old / "first")
    done = take_in(bench, old)
    assert [(bench.root / name).read_text() for name in ("first", "hub/second", "third")] == ["x" * 100] * 3
    assert done.findings == []
    assert os.listdir(old.parent) == ["model_cache"]


def test_only_what_libraries_leave_is_thrown_away(bench: Bench, old: Path) -> None:
    (old / "loras.tmp").mkdir()
    for name in ("loras.tmp/mine.safetensors", "notes.tmp"):
        (old / name).write_text("precious")
    take_in(bench, old)
    assert [(bench.root / name).read_text() for name in ("loras.tmp/mine.safetensors", "notes.tmp")] == ["precious"] * 2


def test_nothing_is_done_while_somebody_writes_there(bench: Bench, old: Path) -> None:
    before = listing(old)
    with pytest.raises(TakeInBusy):
        take_in(bench, old, lambda _directory: True)
    assert listing(old) == before
    assert listing(bench.root) == {}


def test_what_appears_meanwhile_is_taken_in_too(bench: Bench, old: Path) -> None:
    late = iter([("late", b"1"), ("later", b"2")])

    def is_written(directory: str) -> bool:
        name, data = next(late, ("", b""))
        if name:
            (Path(directory) / name).write_bytes(data)
        return False

    take_in(bench, old, is_written)
    assert ((bench.root / "late").read_bytes(), (bench.root / "later").read_bytes()) == (b"1", b"2")
    assert os.listdir(old.parent) == ["model_cache"]


def test_what_changes_all_the_time_is_left(bench: Bench, old: Path) -> None:
    numbers = iter(range(100))

    def is_written(directory: str) -> bool:
        (Path(directory) / f"{next(numbers)}").write_bytes(b"x")
        return False

    with pytest.raises(TakeInBusy, match="all the time"):
        take_in(bench, old, is_written)
    assert old.is_dir()
    assert not old.is_symlink()


def test_a_run_that_was_killed_is_gone_on_with(bench: Bench, old: Path) -> None:
    before = wanted(old)
    directory = OldDirectory(str(old), str(bench.root))
    assert directory.exchange()
    assert os.readlink(old) == str(bench.root)
    again = OldDirectory(str(old), str(bench.root))
    assert again.is_aside
    TakeIn(bench.site(), again, lambda _directory: False).run()
    assert listing(bench.root) == before
    assert os.listdir(old.parent) == ["model_cache"]


def test_what_a_killed_run_linked_without_a_name_is_removed(bench: Bench, old: Path) -> None:
    blobs = bench.root / "hub/models--org--name/blobs"
    blobs.mkdir(parents=True)
    copied, linked, symlink = (blobs / f".zimage-syncd-{number:016x}.partial" for number in range(3))
    copied.write_bytes(b"a restore goes on with it")
    (bench.directory / "other").write_bytes(b"x")
    linked.hardlink_to(bench.directory / "other")
    symlink.symlink_to("nowhere")
    take_in(bench, old)
    assert bench.partials() == [str(copied)]


def test_a_kill_between_two_renames_leaves_no_place_without_a_link(bench: Bench, old: Path) -> None:
    """Where the file system cannot exchange two names."""
    before = wanted(old)
    old.rename(f"{old}.taking-in")
    Path(f"{old}.taking-in-link").symlink_to(bench.root)
    assert take_in(bench, old).is_linked
    assert os.readlink(old) == str(bench.root)
    assert listing(bench.root) == before
    assert os.listdir(old.parent) == ["model_cache"]


def test_a_directory_that_came_after_a_kill_is_no_link(bench: Bench, old: Path) -> None:
    before = wanted(old)
    old.rename(f"{old}.taking-in")
    old.mkdir()
    (old / "newer").write_text("x")
    assert not take_in(bench, old).is_linked
    assert listing(bench.root) == before
    assert (old / "newer").read_text() == "x"
    assert take_in(bench, old).is_linked
    assert (bench.root / "newer").read_text() == "x"
    assert os.listdir(old.parent) == ["model_cache"]


def test_it_stops_between_pieces_and_nothing_is_lost(bench: Bench, old: Path) -> None:
    before, cached = wanted(old), {}
    for looks in range(0, 400, 3):
        bench.cancel.left = looks
        try:
            take_in(bench, old)
            break
        except Stopped:
            assert not old.is_symlink()
            assert wanted(old) == before
            cached = listing(bench.root)
            assert cached.items() <= before.items()
    assert old.is_symlink(), "the last run came to its end"
    assert listing(bench.root) == before
    assert cached, "some runs came so far"


def test_a_full_disk_is_told_before_anything_is_written(
    bench: Bench, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.disk, "free_bytes", lambda: 1000)
    if os.stat(old).st_dev == os.stat(bench.root).st_dev:
        take_in(bench, old)  # needs no room
        assert old.is_symlink()
        return
    with pytest.raises(NoSpace):
        take_in(bench, old)
    assert listing(bench.root) == {}


def test_what_is_not_read_back_as_it_was_gets_no_name(bench: Bench, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses what is written to it, for a while."""
    if os.stat(old).st_dev == os.stat(bench.root).st_dev:
        pytest.skip("nothing is copied on one file system")
    begin_file = bench.disk.begin_file

    def begin_badly(path: RelPath, size_bytes: int, like: int | None = None) -> Partial:
        begun = begin_file(path, size_bytes, like)
        monkeypatch.setattr(begun, "write", lambda _offset, _data: None)
        monkeypatch.setattr(begun, "reflink", lambda _source: False)
        return begun

    finish_file, named = bench.disk.finish_file, []

    def finish(partial: Partial, mode: int, *, keep_old: bool) -> FileStat:
        named.append(partial.path)
        return finish_file(partial, mode, keep_old=keep_old)

    monkeypatch.setattr(bench.disk, "begin_file", begin_badly)
    monkeypatch.setattr(bench.disk, "finish_file", finish)
    before = {path: what for path, what in wanted(old).items() if what[0] == "file" and what[2]}
    done = take_in(bench, old)
    assert "not what is read back" in done.findings[0].detail
    assert not set(named) & set(before)
    assert listing(Path(f"{old}.kept")).items() >= before.items()


def test_what_is_written_after_the_exchange_waits(bench: Bench, old: Path) -> None:
    before = wanted(old)
    written = iter([False, False, True])
    done = take_in(bench, old, lambda _directory: next(written))
    assert done.is_linked
    assert [finding.problem for finding in done.findings] == [problems.TAKE_IN_BUSY]
    assert Path(f"{old}.taking-in").is_dir()
    assert listing(bench.root) == before
    take_in(bench, old)
    assert os.listdir(old.parent) == ["model_cache"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_mounted_file_system_is_not_replaced(bench: Bench, tmp_path: Path) -> None:
    place = tmp_path / "system/model_cache"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        (place / "own").write_text("x")
        with pytest.raises(LinkOccupied, match="mounted"):
            take_in(bench, place)
        assert (place / "own").read_text() == "x"
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_is_mounted_below_is_neither_read_nor_removed(bench: Bench, tmp_path: Path) -> None:
    place, share = tmp_path / "system/model_cache", tmp_path / "share"
    (share / "deeper").mkdir(parents=True)
    (share / "theirs").write_text("precious")
    hf_snapshot(place, pipeline_files())
    (place / "team").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place / "team"], check=True)
    try:
        shutil.copytree(share, place / "team", dirs_exist_ok=True)
        done = take_in(bench, place)
        kept = Path(f"{place}.kept/team")
        assert (kept / "theirs").read_text() == "precious"
        assert (kept / "deeper").is_dir()
        assert "team: it is a mounted file system" in done.findings[0].detail
        assert not (bench.root / "team").exists()
        assert (bench.root / "hub/models--org--name/refs/main").is_file()
    finally:
        for mounted in (place, Path(f"{place}.kept"), Path(f"{place}.taking-in")):
            subprocess.run(["umount", mounted / "team"], check=False, capture_output=True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("is_different", [False, True])
def test_a_directory_of_a_container_s_image(bench: Bench, *, is_different: bool) -> None:
    """Overlayfs renames nothing that lies in a lower layer: it is emptied in place, or stays as it is."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        top = Path(directory)
        for name in ("lower/workspace", "upper", "work", "root"):
            (top / name).mkdir(parents=True)
        hf_snapshot(top / "lower/workspace/model_cache", pipeline_files())
        if is_different:
            (bench.root / "hub/models--org--name/refs").mkdir(parents=True)
            (bench.root / "hub/models--org--name/refs/main").write_text("e" * 40)
        layers = f"lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, top / "root"], check=True)
        try:
            place = top / "root/workspace/model_cache"
            before = listing(place)
            done = take_in(bench, place)
            assert os.listdir(place.parent) == ["model_cache"]
            if is_different:
                assert listing(place) == before
                assert [finding.problem for finding in done.findings] == [problems.TAKE_IN_KEPT]
            else:
                assert os.readlink(place) == str(bench.root)
                assert listing(bench.root) == before
        finally:
            subprocess.run(["umount", top / "root"], check=True)
            shutil.rmtree(top / "work", ignore_errors=True)
