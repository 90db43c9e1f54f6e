"""What is not complete while nobody writes has died."""

from __future__ import annotations

from zimage_syncd.decide.died import died
from zimage_syncd.model import problems
from zimage_syncd.model.report import Finding


def test_one_finding_for_each_snapshot_and_the_others_stay() -> None:
    incomplete = [Finding(problems.SNAPSHOT_INCOMPLETE, "a", f"reason {number}") for number in range(5)]
    other = Finding(problems.STORE_UNREACHABLE, "bucket", "gone")
    found = died([*incomplete[:2], other, *incomplete[2:], Finding(problems.SNAPSHOT_INCOMPLETE, "b", "small")], ())
    assert [(finding.problem, finding.subject) for finding in found] == [
        (problems.DOWNLOAD_DIED, "a"),
        (problems.STORE_UNREACHABLE, "bucket"),
        (problems.DOWNLOAD_DIED, "b"),
    ]
    assert found[0].detail == "nobody writes to it any more: reason 0; reason 1; reason 2 (and 2 more)"
    assert found[2].detail.endswith(": small")


def test_what_was_whole_once_is_no_download_that_died() -> None:
    lost = [Finding(problems.SNAPSHOT_INCOMPLETE, "a", f"reason {number}") for number in range(5)]
    begun = Finding(problems.SNAPSHOT_INCOMPLETE, "b", "small")
    found = died([*lost, begun], {"a"})
    assert found[:5] == tuple(lost)
    assert [finding.problem for finding in found[5:]] == [problems.DOWNLOAD_DIED]
