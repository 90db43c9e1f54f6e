"""Format 1: the archive in tests/fixtures stays readable; what docs/format.md gives to restore by hand works."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.archives import archive_on
from tests.support.format_fixture import CONFIG, NEW_CONFIG, WEIGHTS, contents, make
from tests.support.manifests import COMMIT, file_entry
from tests.support.object_store import fixed_clock
from zimage_syncd.layouts.registry import all_layouts
from zimage_syncd.model.failures import ManifestCorrupt
from zimage_syncd.model.manifest import FileEntry, LinkEntry, Manifest, PointerEntry
from zimage_syncd.model.picture_json import name_of
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.archive_keys import blob_key
from zimage_syncd.stores.directory import DirectoryStore

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests/fixtures/format-1"
FIXTURE_DIGEST = "076889e8873c9e1c09c997b34ffa565bc57634d30bc536ab0d5b745830988b80"
"""Of all names and contents: whoever changes the fixture has changed what users have."""

REPO = RepoId(RepoType.MODEL, "acme/painter")
HUB = "c8c00caeb25a45451f5fd3068cb34cc222bf804a52a7ade93bea05ce5b44ddac"
MASTER_OLD = "3f927c713cfce45deb01d7e931813504140c6a0040ab4bb94f3ebbeac0e8cb87"
MASTER_NEW = "261256fb6cdbc9e1ab3056ec23217cb4544c147eae0f196006335a8b5baf5f44"
DATASET = "e4f73bf9bec3bd453e77be8528c0ab6277eca36201b90dd75ca6c598444f3206"


def digest_of(directory: Path) -> str:
    digest = hashlib.sha256()
    for place in sorted(place for place in directory.rglob("*") if place.is_file()):
        content = hashlib.sha256(place.read_bytes()).hexdigest()
        digest.update(f"{place.relative_to(directory)} {content}\n".encode())
    return digest.hexdigest()


def layouts_own(key, path):
    return any(key.layout in layout.names and layout.owns(key, path) for layout in all_layouts())


@pytest.fixture
def archive():
    """The fixture itself, as a reader of another host sees it."""
    assert digest_of(FIXTURE) == FIXTURE_DIGEST
    yield ObjectArchive("bucket", DirectoryStore(str(FIXTURE), "reader"), fixed_clock(), "reader", layouts_own)
    assert digest_of(FIXTURE) == FIXTURE_DIGEST, "readers write nothing"


def test_the_newest_snapshots_are_found(archive):
    found = [
        (one.layout, str(one.repo), one.name, one.sequence, one.manifest_id, one.host) for one in archive.snapshots()
    ]
    assert found == [
        (LayoutName.HUGGINGFACE, "datasets/acme/painter", "main", 1, DATASET, "gpu-7"),
        (LayoutName.HUGGINGFACE, "acme/painter", "main", 1, HUB, "gpu-7"),
        (LayoutName.HUGGINGFACE, "acme/painter", "refs/pr/1", 1, HUB, "gpu-7"),
        (LayoutName.MODELSCOPE, "acme/painter", "master", 3, MASTER_OLD, "gpu-9"),
    ]


def test_the_history_with_its_tie_is_read(archive):
    history = archive.history(LayoutName.MODELSCOPE, REPO, "master")
    assert [(one.sequence, one.manifest_id) for one in history] == [
        (3, MASTER_OLD),
        (3, MASTER_NEW),
        (2, MASTER_NEW),
        (1, MASTER_OLD),
    ]
    assert [one.created_at.isoformat() for one in history[1:]] == [
        "2026-11-24T05:00:00+00:00",
        "2026-11-24T04:00:00+00:00",
        "2026-11-24T03:00:00+00:00",
    ]


def test_manifests_are_read_with_every_kind_of_entry(archive):
    manifest = archive.manifest(HUB)
    assert (manifest.key.repo, manifest.key.revision, manifest.key.layout) == (REPO, COMMIT, LayoutName.HUGGINGFACE)
    weights = f"hub/models--acme--painter/blobs/{hashlib.sha256(WEIGHTS).hexdigest()}"
    assert manifest.files[0] == file_entry(weights, WEIGHTS)
    assert {link.path.name: link.target for link in manifest.links} == {
        "model.safetensors": f"../../blobs/{weights.rsplit('/', 1)[1]}",
        "config.json": f"../../../blobs/{manifest.files[1].path.name}",
    }
    assert sorted(pointer.path.split("/", 2)[2] for pointer in manifest.pointers) == [
        f".no_exist/{COMMIT}/x",
        "refs/main",
        "refs/refs/pr/1",
    ]
    assert sorted(archive.manifest_ids()) == sorted([HUB, MASTER_OLD, MASTER_NEW, DATASET])


def test_names_that_are_not_unicode_are_read(archive):
    names = [entry.path.name for entry in archive.manifest(DATASET).files]
    assert names == ["-rf", "50% ü\n\udcff"]


def test_payload_is_read_from_blobs(archive):
    config = next(entry for entry in archive.manifest(MASTER_NEW).files if entry.path.name == "config.json")
    assert (
        b"".join(bytes(piece) for piece in archive.read(config, 0, config.size_bytes, memoryview(bytearray(8))))
        == NEW_CONFIG
    )
    assert {blob.sha256 for blob in archive.blobs()} == {
        hashlib.sha256(data).hexdigest() for data in (WEIGHTS, CONFIG, NEW_CONFIG, b"", b"x")
    }


def test_a_backup_to_a_copy_goes_on_with_its_history(tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "archive")
    archive = archive_on(DirectoryStore(str(tmp_path / "archive"), "cache-1"), fixed_clock())
    archive.prepare()
    manifest = archive.manifest(MASTER_NEW)
    assert [one.sequence for one in archive.publish(manifest, ("master",), "gpu-7")] == [4]
    assert archive.history(LayoutName.MODELSCOPE, REPO, "master")[0].manifest_id == MASTER_NEW


def test_the_script_that_made_it_still_makes_the_same_archive(tmp_path):
    make(str(tmp_path / "archive"))
    assert digest_of(tmp_path / "archive") == FIXTURE_DIGEST


def script(tmp_path):
    text = (ROOT / "docs/format.md").read_text()
    found = re.search(r"<!-- restore-by-hand -->\n```bash\n(.*?)```\n", text, re.DOTALL)
    place = tmp_path / "restore-by-hand"
    place.write_text(found[1])
    return place


def by_hand(tmp_path, archive, *arguments, path=""):
    command = ["bash", str(script(tmp_path)), str(archive), *arguments, str(tmp_path / "restored")]
    environment = os.environ | {"PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def check_restored(root, manifest: Manifest, files):
    found = {os.path.relpath(os.path.join(top, name), root) for top, _, names in os.walk(root) for name in names}
    assert found == {str(entry.path) for entry in manifest.entries}
    for entry in manifest.entries:
        place = os.path.join(root, entry.path)
        match entry:
            case FileEntry():
                assert not os.path.islink(place)
                assert Path(place).read_bytes() == files[entry.path]
                assert os.stat(place).st_mode & 0o7777 == entry.mode
            case LinkEntry():
                assert os.readlink(place) == entry.target
            case PointerEntry():
                assert Path(place).read_bytes() == entry.text.encode()
                assert os.stat(place).st_mode & 0o7777 == entry.mode


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (("huggingface", "model", "acme/painter", "main"), 0),
        (("huggingface", "model", "acme/painter", "refs/pr/1"), 0),
        (("modelscope", "model", "acme/painter", "master"), 1),
        (("huggingface", "dataset", "acme/painter", "main"), 3),
    ],
)
def test_every_snapshot_can_be_restored_by_hand(tmp_path, arguments, number):
    manifest, files = contents()[number]
    done = by_hand(tmp_path, FIXTURE, *arguments)
    assert done.returncode == 0, done.stderr
    assert manifest.id in done.stdout
    check_restored(tmp_path / "restored", manifest, files)


AWS = """#!/usr/bin/env bash
set -euo pipefail
case $1-$2 in
  s3-ls) ls -- "BUCKETS/${3#s3://}" | sed 's/^/2026-11-24 03:00:00        141 /' ;;
  s3-cp) [ "$3" = --only-show-errors ]; cp -- "BUCKETS/${4#s3://}" "$5" ;;
esac
"""
"""Stands in for the aws command: a bucket is a directory."""


def test_a_bucket_can_be_restored_by_hand(tmp_path):
    command = tmp_path / "bin" / "aws"
    command.parent.mkdir()
    command.write_text(AWS.replace("BUCKETS", str(FIXTURE.parent)))
    command.chmod(0o755)
    arguments = ("s3://format-1/", "huggingface", "model", "acme/painter", "refs/pr/1")
    done = by_hand(tmp_path, *arguments, path=str(command.parent))
    assert done.returncode == 0, done.stderr
    check_restored(tmp_path / "restored", *contents()[0])


@pytest.mark.parametrize("what", ["blob", "manifest"])
def test_damage_stops_the_restore_by_hand(tmp_path, what):
    copy = tmp_path / "archive"
    shutil.copytree(FIXTURE, copy)
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    key = blob_key(sha256) if what == "blob" else f"manifests/huggingface/model/acme%2Fpainter/{HUB}.json"
    data = bytearray((copy / key).read_bytes())
    data[5] ^= 1
    (copy / key).write_bytes(data)
    done = by_hand(tmp_path, copy, "huggingface", "model", "acme/painter", "main")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    if what == "manifest":
        assert list((tmp_path / "restored").iterdir()) == []
        with pytest.raises(ManifestCorrupt):
            archive_on(DirectoryStore(str(copy), "reader"), fixed_clock()).manifest(HUB)


def test_a_name_that_is_not_there_stops_the_restore_by_hand(tmp_path):
    done = by_hand(tmp_path, FIXTURE, "huggingface", "model", "acme/painter", "nothing")
    assert done.returncode != 0
    assert not (tmp_path / "restored").exists()


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_a_restored_snapshot_can_be_checked_with_jq(tmp_path):
    assert by_hand(tmp_path, FIXTURE, "modelscope", "model", "acme/painter", "master").returncode == 0
    line = next(line for line in (ROOT / "docs/format.md").read_text().splitlines() if line.endswith("--check --quiet"))
    command = line.replace("manifest.json", f"'{FIXTURE}/manifests/modelscope/model/acme%2Fpainter/{MASTER_OLD}.json'")
    for damaged in (False, True):
        if damaged:
            (tmp_path / "restored/models/acme--painter/snapshots/master/config.json").write_bytes(b"{}")
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path / "restored", capture_output=True, text=True, check=False
        )
        assert ("config.json" in done.stdout) == damaged, done
        assert bool(done.returncode) == damaged


PICTURES = ROOT / "tests/fixtures/format-1-pictures"
PICTURES_DIGEST = "0d00b29d30fceb66eb2d3c06accde4fe1cca80d2f986bb346f2d6999efef2b02"
"""As with the other one: what users have."""


def test_a_reference_picture_is_read(tmp_path):
    assert digest_of(PICTURES) == PICTURES_DIGEST
    for fixture in (FIXTURE, PICTURES):
        shutil.copytree(fixture, tmp_path / "archive", dirs_exist_ok=True)
    store = DirectoryStore(str(tmp_path / "archive"), "reader")
    archive = ObjectArchive("bucket", store, fixed_clock(), "reader", layouts_own)
    manifest = archive.manifest(HUB)
    (name,) = archive.reference_names(manifest)
    reference, picture = archive.reference(manifest, name)
    assert (name, name_of(reference.conditions)) == ("957e4d5c2070d019", "957e4d5c2070d019")
    assert (reference.conditions.prompt, reference.conditions.device) == ("灯塔 on a cliff", "NVIDIA H200")
    assert picture.startswith(b"\x89PNG")
