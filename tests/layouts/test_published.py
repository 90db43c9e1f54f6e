"""Which file of a repository each payload file of a manifest is."""

from __future__ import annotations

import pytest

from tests.support.manifests import COMMIT, key_of, manifest_with
from zimage_syncd.layouts.registry import layout_of
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.snapshot import LayoutName, RepoType

BASE = "hub/models--acme--painter"


def published(manifest: Manifest) -> dict[str, str]:
    return {str(path): name for path, name in layout_of(manifest.key.layout).published(manifest).items()}


def test_a_blob_is_the_file_whose_link_leads_to_it() -> None:
    manifest = manifest_with(
        {f"{BASE}/blobs/aa": b"config", f"{BASE}/blobs/bb": b"weights"},
        links={
            f"{BASE}/snapshots/{COMMIT}/config.json": "../../blobs/aa",
            f"{BASE}/snapshots/{COMMIT}/vae/model.safetensors": "../../../blobs/bb",
        },
        pointers={f"{BASE}/refs/main": COMMIT},
    )
    assert published(manifest) == {f"{BASE}/blobs/aa": "config.json", f"{BASE}/blobs/bb": "vae/model.safetensors"}


def test_a_shared_blob_is_found_behind_both_links() -> None:
    shared = "hub/blobs/ab/abcdef"
    manifest = manifest_with(
        {shared: b"weights"},
        links={
            f"{BASE}/blobs/bb": "../../blobs/ab/abcdef",
            f"{BASE}/snapshots/{COMMIT}/model.safetensors": "../../blobs/bb",
        },
    )
    assert published(manifest) == {shared: "model.safetensors"}


def test_a_cache_without_links_has_the_names_themselves() -> None:
    base = "datasets--acme--painter"
    manifest = manifest_with({f"{base}/snapshots/{COMMIT}/data/a.bin": b"x"}, key_of(kind=RepoType.DATASET))
    assert published(manifest) == {f"{base}/snapshots/{COMMIT}/data/a.bin": "data/a.bin"}


def test_content_with_two_names_is_asked_for_by_the_first() -> None:
    manifest = manifest_with(
        {f"{BASE}/blobs/aa": b"{}"},
        links={f"{BASE}/snapshots/{COMMIT}/{name}": "../../blobs/aa" for name in ("b.json", "a.json")},
    )
    assert published(manifest) == {f"{BASE}/blobs/aa": "a.json"}


def test_what_no_name_leads_to_is_not_in_the_repository() -> None:
    manifest = manifest_with(
        {f"{BASE}/blobs/aa": b"{}", f"{BASE}/snapshots/{COMMIT}/\udcff.bin": b"x"},
        links={
            f"{BASE}/snapshots/{COMMIT}/gone": "../../blobs/cc",
            f"{BASE}/snapshots/{COMMIT}/round": "round-again",
            f"{BASE}/snapshots/{COMMIT}/round-again": "round",
        },
    )
    assert published(manifest) == {}


@pytest.mark.parametrize(
    ("layout", "base"),
    [
        (LayoutName.MODELSCOPE, "models/acme--paint.er/snapshots/v1"),
        (LayoutName.MODELSCOPE_LEGACY, "models/acme/paint___er"),
        (LayoutName.MODELSCOPE_HUB_LEGACY, "hub/models/acme/paint___er"),
    ],
)
def test_modelscope_s_files_lie_under_their_names(layout: LayoutName, base: str) -> None:
    files = {f"{base}/config.json": b"{}", f"{base}/vae/model.safetensors": b"x", f"{base}/.msc": b"index"}
    manifest = manifest_with(files, key_of("acme/paint.er", "v1", layout))
    expected = {f"{base}/config.json": "config.json", f"{base}/vae/model.safetensors": "vae/model.safetensors"}
    assert published(manifest) == expected
