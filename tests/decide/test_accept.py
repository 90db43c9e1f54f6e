"""Which changes a backup refuses: by what a reader finds under each name, through links, too."""

from __future__ import annotations

import pytest

from tests.support.site import entry_of
from zimage_syncd.decide.accept import refusals_of_change
from zimage_syncd.model import problems
from zimage_syncd.model.manifest import LinkEntry, Manifest, Proof
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType, SnapshotKey

COMMIT = "c" * 40
BASE = "hub/models--org--name"
SNAPSHOT = f"{BASE}/snapshots/{COMMIT}"
CONTENT = {"one": b"first content", "two": b"another content"}
KEY = SnapshotKey(LayoutName.HUGGINGFACE, RepoId(RepoType.MODEL, "org/name"), COMMIT)


def manifest(names: dict[str, str], *, shared: bool = False) -> Manifest:
    """A commit whose names lead to blobs, which lead to shared ones where that is asked for."""
    entries = [LinkEntry(RelPath(f"{SNAPSHOT}/{name}"), f"../../blobs/{blob}") for name, blob in names.items()]
    for blob in CONTENT:
        if shared:
            entries.append(LinkEntry(RelPath(f"{BASE}/blobs/{blob}"), f"../../blobs/aa/{blob}"))
    files = [entry_of(f"hub/blobs/aa/{blob}" if shared else f"{BASE}/blobs/{blob}", CONTENT[blob]) for blob in CONTENT]
    return Manifest(KEY, Proof.UNPROVED, tuple(sorted([*entries, *files], key=lambda entry: entry.path)))


GOOD = {"a": "one", "b": "two", "c": "one"}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("names", "named"),
    [
        ({"a": "two", "b": "one", "c": "one"}, {"a": problems.FILE_DAMAGED, "b": problems.FILE_DAMAGED}),
        ({"a": "one", "b": "two"}, {"c": problems.FILE_MISSING}),
        (GOOD | {"d": "two"}, {}),
        (GOOD, {}),
    ],
)
def test_names_that_lead_to_other_content_are_damage(
    names: dict[str, str], named: dict[str, problems.Problem], *, shared: bool
) -> None:
    found = refusals_of_change(manifest(names, shared=shared), manifest(GOOD, shared=shared), accept_changed=False)
    assert {finding.subject.removeprefix(f"{SNAPSHOT}/"): finding.problem for finding in found} == named


def test_what_is_gone_can_be_accepted_under_a_commit_and_other_content_cannot() -> None:
    now = manifest({"a": "two", "b": "two"})
    found = refusals_of_change(now, manifest(GOOD), accept_changed=True)
    assert [(finding.subject, finding.problem) for finding in found] == [(f"{SNAPSHOT}/a", problems.FILE_DAMAGED)]


def test_blobs_that_a_library_moved_into_its_shared_ones_are_no_change() -> None:
    assert refusals_of_change(manifest(GOOD, shared=True), manifest(GOOD), accept_changed=False) == []
