"""Caches made to be read wrongly: nothing is followed out, nothing hangs, and one does not hide the others."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.layouts.conftest import Looker
from tests.support.caches import COMMIT, etag_of, hf_snapshot, modelscope_snapshot
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.failures import PathUnreadable
from zimage_syncd.model.snapshot import Complete, Incomplete

FILES = {"config.json": b"{}"}
SNAPSHOT = f"hub/models--org--name/snapshots/{COMMIT}"


@pytest.fixture
def base(cache: Path) -> Path:
    """A repository's directory, with another one beside it that is fine."""
    hf_snapshot(cache, FILES, repo="org/fine")
    return hf_snapshot(cache, FILES)


def reasons_of_name(look: Looker, cache: Path, *linked: Path) -> str:
    fine, bad = look(cache, *linked)
    assert isinstance(fine.completeness, Complete)
    assert isinstance(bad.completeness, Incomplete)
    return "\n".join(bad.completeness.reasons)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("../../../../token", "that is no part of the snapshot"),
        ("../../../token", "that is no part of the snapshot"),
        ("../../../models--org--fine/refs/main", "that is no part of the snapshot"),
        (f"../../../models--org--fine/blobs/{etag_of('config.json', b'{}')}", "that is no part of the snapshot"),
        ("../../../../../outside", "the link points out of the cache"),
        ("../../blobs/../../../token", "an empty, `.` or `..` part"),
        ("/etc/passwd", "it leads out of the cache, to /etc/passwd"),
        ("../../blobs", "that is no part of the snapshot"),
        ("file", "it leads through too many symlinks"),
        ("config.json/x", "a directory on the way is missing, or a symlink itself"),
        ("../../refs", "that is no part of the snapshot"),
    ],
)
def test_a_link_to_anything_but_the_snapshots_own_is_not_followed(
    cache: Path, base: Path, look: Looker, target: str, said: str
) -> None:
    (cache / "token").write_text("secret")
    (cache / "hub" / "token").write_text("secret")
    (cache.parent / "outside").write_text("secret")
    (base / "snapshots" / COMMIT / "file").symlink_to(target)
    reasons = reasons_of_name(look, cache)
    assert reasons.startswith("file: ")
    assert said in reasons
    assert "token" not in [file.path.name for snapshot in look(cache) for file in snapshot.files]


def test_links_in_a_circle_end(cache: Path, base: Path, look: Looker) -> None:
    (base / "snapshots" / COMMIT / "a").symlink_to("b")
    (base / "snapshots" / COMMIT / "b").symlink_to("a")
    assert "a: it leads through too many symlinks" in reasons_of_name(look, cache)


@pytest.mark.parametrize("which", ["blobs", "snapshots", f"snapshots/{COMMIT}", "."])
def test_a_directory_that_is_a_link_is_not_entered(cache: Path, base: Path, look: Looker, which: str) -> None:
    real = base / which
    real.rename(cache.parent / "moved")
    real.symlink_to(cache.parent / "moved")
    found = {snapshot.key.repo.name: snapshot for snapshot in look(cache)}
    assert isinstance(found.pop("org/fine").completeness, Complete)
    for snapshot in found.values():
        assert isinstance(snapshot.completeness, Incomplete)
        assert snapshot.files == ()


def test_a_hub_that_is_a_link_is_not_entered(cache: Path, base: Path, look: Looker) -> None:
    (cache / "hub").rename(cache.parent / "hub")
    (cache / "hub").symlink_to(cache.parent / "hub")
    assert look(cache) == []


def test_a_shared_blobs_directory_that_is_a_link_is_not_entered(cache: Path, base: Path, look: Looker) -> None:
    (cache.parent / "elsewhere").mkdir()
    (cache.parent / "elsewhere" / ("a" * 64)).write_bytes(b"{}")
    (cache / "hub" / "blobs").mkdir()
    (cache / "hub" / "blobs" / "aa").symlink_to(cache.parent / "elsewhere")
    blob = base / "blobs" / etag_of("config.json", b"{}")
    blob.unlink()
    blob.symlink_to(f"../../blobs/aa/{'a' * 64}")
    assert "a directory on the way is missing, or a symlink itself" in reasons_of_name(look, cache)


def test_names_of_two_blobs_that_lead_to_one_shared_blob_contradict_each_other(cache: Path, look: Looker) -> None:
    first, second = safetensors_bytes({"a": b"x" * 64}), safetensors_bytes({"b": b"y" * 64})
    base = hf_snapshot(cache, {"1.safetensors": first, "2.safetensors": second})
    shared = cache / "hub" / "blobs" / "aa" / ("a" * 64)
    shared.parent.mkdir(parents=True)
    shared.write_bytes(first)
    for data in (first, second):
        blob = base / "blobs" / etag_of("x.safetensors", data)
        blob.unlink()
        blob.symlink_to(f"../../blobs/aa/{shared.name}")
    reasons = look.reasons(cache)
    assert "2.safetensors: it leads to" in reasons
    assert etag_of("x.safetensors", second) in reasons


def test_a_link_into_a_store_has_to_stay_there(cache: Path, base: Path, look: Looker) -> None:
    store = cache.parent / "store"
    (store / "a").mkdir(parents=True)
    (cache.parent / "outside").write_text("secret")
    (store / "link").symlink_to("../outside")
    snapshot = base / "snapshots" / COMMIT
    (snapshot / "1").symlink_to(f"{store}/../outside")
    (snapshot / "2").symlink_to(f"{store}/link")
    (snapshot / "3").symlink_to(f"{store}-other/x")
    (snapshot / "4").symlink_to(f"{store}/a")
    (snapshot / "5").symlink_to(f"{store}/absent")
    assert reasons_of_name(look, cache, store).splitlines() == [
        f"1: it leads out of the cache, to {store}/../outside",
        f"2: it leads out of the cache, to {store}/link",
        f"3: it leads out of the cache, to {store}-other/x",
        f"4: it leads to {store}/a, which is no file",
        f"5: it leads to {store}/absent: No such file or directory",
    ]


def make_fifo(place: Path) -> None:
    os.mkfifo(place)


def make_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(place.parent)
        try:
            server.bind(place.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize("make", [make_fifo, make_socket])
@pytest.mark.parametrize("name", ["pipe", "model.safetensors", "model_index.json"])
def test_special_files_are_named_and_not_opened(
    cache: Path, base: Path, look: Looker, make: Callable[[Path], None], name: str
) -> None:
    make(base / "snapshots" / COMMIT / name)
    assert reasons_of_name(look, cache) == f"{name}: {SNAPSHOT}/{name} is neither a file nor a symlink"


@pytest.mark.parametrize("place", ["refs/main", f"trees/{COMMIT}.json", f".no_exist/{COMMIT}/x"])
def test_a_pointer_that_is_a_pipe_is_passed_over(cache: Path, base: Path, look: Looker, place: str) -> None:
    (base / place).unlink(missing_ok=True)
    (base / place).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(base / place)
    _, snapshot = look(cache)
    assert place not in [pointer.path.removeprefix("hub/models--org--name/") for pointer in snapshot.pointers]


def test_a_reference_that_is_a_link_to_a_secret_is_passed_over(cache: Path, base: Path, look: Looker) -> None:
    (cache / "token").write_text(COMMIT)
    (base / "refs" / "stolen").symlink_to("../../../token")
    assert look(cache)[1].names == ("main",)


@pytest.mark.parametrize("which", [f"trees/{COMMIT}.json", "trees", ".no_exist"])
def test_a_pointer_is_not_read_through_a_link(cache: Path, base: Path, look: Looker, which: str) -> None:
    (base / ".no_exist" / COMMIT).mkdir(parents=True)
    (base / ".no_exist" / COMMIT / "x").touch()
    kind = which.split("/", maxsplit=1)[0]
    (base / which).rename(cache.parent / "moved")
    (base / which).symlink_to(cache.parent / "moved")
    pointers = [pointer.path for pointer in look(cache)[1].pointers]
    assert len(pointers) == 2
    assert not [path for path in pointers if f"/{kind}/" in path]


def test_a_tree_of_directories_without_end_ends(cache: Path, base: Path, look: Looker) -> None:
    (base / "snapshots" / COMMIT / "/".join("d" * 70)).mkdir(parents=True)
    assert "directories are nested deeper than 64" in reasons_of_name(look, cache)


def test_names_longer_than_the_system_allows_hide_nothing(cache: Path, base: Path, look: Looker) -> None:
    descriptor = os.open(base / "snapshots" / COMMIT, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("n" * 250, dir_fd=descriptor)
        deeper = os.open("n" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)
    assert "cannot be l" in reasons_of_name(look, cache)


def test_a_name_cannot_write_lines_into_a_report(cache: Path, base: Path, look: Looker) -> None:
    (base / "snapshots" / COMMIT / "a\nfine: all is well").symlink_to("/etc/passwd")
    assert reasons_of_name(look, cache).splitlines() == [
        "'a\\nfine: all is well': it leads out of the cache, to /etc/passwd"
    ]


def test_a_name_that_is_not_utf_8_is_payload_like_any_other(cache: Path, base: Path, look: Looker) -> None:
    place = os.fsencode(base / "snapshots" / COMMIT) + b"/\xff.txt"
    with open(place, "wb") as stream:
        stream.write(b"x")
    _, snapshot = look(cache)
    assert isinstance(snapshot.completeness, Complete)
    assert f"{SNAPSHOT}/\udcff.txt" in [file.path for file in snapshot.files]


def test_a_header_that_claims_a_gigabyte_is_not_read(cache: Path, look: Looker) -> None:
    files = {**pipeline_files(), "vae/diffusion_pytorch_model.safetensors": struct.pack("<Q", 2**30) + b"x" * 100}
    hf_snapshot(cache, files, trees=False)
    reason = "vae/diffusion_pytorch_model.safetensors: its header claims 1073741824 bytes, the file has 108"
    assert look.reasons(cache) == reason


def test_directories_with_names_that_no_hub_gives_are_no_repositories(cache: Path, base: Path, look: Looker) -> None:
    for name in ("models--", "models----x", "models--a--b--c", "models--..--x", "kernels--a--b"):
        (cache / "hub" / name / "snapshots" / COMMIT).mkdir(parents=True)
    (base / "snapshots" / "main").mkdir()
    (base / "snapshots" / COMMIT.upper()).mkdir()
    assert [snapshot.key.repo.name for snapshot in look(cache)] == ["org/fine", "org/name"]


def test_a_directory_that_may_not_be_listed_is_named(unprivileged: Callable[[], Path], look: Looker) -> None:
    cache = unprivileged()
    hf_snapshot(cache, FILES, repo="org/fine")
    base = hf_snapshot(cache, FILES)
    closed = base / "snapshots" / COMMIT / "closed"
    closed.mkdir(mode=0o000)
    unprivileged()
    assert reasons_of_name(look, cache) == "closed: cannot be listed: Permission denied"


def test_blobs_that_may_not_be_listed_are_named(unprivileged: Callable[[], Path], look: Looker) -> None:
    cache = unprivileged()
    hf_snapshot(cache, FILES, repo="org/fine")
    (hf_snapshot(cache, FILES) / "blobs").chmod(0o711)
    unprivileged()
    assert reasons_of_name(look, cache) == "blobs: cannot be listed: Permission denied"


def test_weights_that_may_not_be_read_are_named(unprivileged: Callable[[], Path], look: Looker) -> None:
    cache = unprivileged()
    hf_snapshot(cache, FILES, repo="org/fine")
    files = pipeline_files()
    name = "vae/diffusion_pytorch_model.safetensors"
    (hf_snapshot(cache, files) / "blobs" / etag_of(name, files[name])).chmod(0)
    unprivileged()
    assert reasons_of_name(look, cache) == f"{name}: its header cannot be read: Permission denied"


def test_a_cache_that_may_not_be_listed_is_a_failure(unprivileged: Callable[[], Path], look: Looker) -> None:
    cache = unprivileged()
    hf_snapshot(cache, FILES)
    (cache / "hub").chmod(0)
    unprivileged()
    with pytest.raises(PathUnreadable, match="hub: Permission denied"):
        look(cache)


def test_a_modelscope_snapshot_is_not_left_either(cache: Path, look: Looker) -> None:
    base = modelscope_snapshot(cache, pipeline_files())
    modelscope_snapshot(cache, FILES, repo="org/other")
    (cache / "credentials").mkdir()
    (cache / "credentials" / "session").write_text("secret")
    (base / "a").symlink_to("../../../../credentials/session")
    (base / "b").symlink_to("../../../org--other/snapshots/master/config.json")
    (base / "c").symlink_to("/etc/passwd")
    snapshot = look(cache)[0]
    assert isinstance(snapshot.completeness, Incomplete)
    assert [reason.split(":")[0] for reason in snapshot.completeness.reasons] == ["a", "b", "c"]
    assert {file.path.split("/")[1] for file in snapshot.files} == {"org--name"}
