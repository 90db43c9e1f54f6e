"""Plans as people read them: what would be done, with bytes and reasons."""

from __future__ import annotations

from dataclasses import replace

from zimage_syncd.model.manifest import FileEntry, LinkEntry, Manifest, PointerEntry, Proof
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import Action, Actions, Fetch, Keep, Link, LinkMode, Plan, Repair, SnapshotPlan
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType, SnapshotKey
from zimage_syncd.report.json_document import plan_fields
from zimage_syncd.report.plan_text import plan_text

ROOT = "models/org--name/snapshots/master"
KEY = SnapshotKey(LayoutName.MODELSCOPE, RepoId(RepoType.MODEL, "org/name"), "master")


def entry(name: str, size_bytes: int = 5) -> FileEntry:
    return FileEntry(RelPath(f"{ROOT}/{name}"), size_bytes, 0o644, "ab" * 32, ("cd" * 32,))


def plan_of(*actions: Action, links: tuple[str, ...] = ()) -> Plan:
    entries = tuple(sorted((action.entry for action in actions), key=lambda item: item.path))
    manifest = Manifest(KEY, Proof.PROVED, entries)
    snapshot = SnapshotPlan(manifest, "bucket", LinkMode.COPY, "/mnt/data/cache/x", Actions(entries, actions))
    return Plan((snapshot,), needed_bytes=5_000_000, free_bytes=80_000_000_000, links=links)


MIXED = (
    Keep(entry("a"), "verified at 2026-11-24"),
    Keep(entry("b"), "verified at 2026-11-23"),
    Fetch(entry("c"), "missing", 5_000_000),
    Repair(entry("d"), "chunk 1 of 1 is damaged", (0,), 16_000_000, quarantine=True),
    Link(LinkEntry(RelPath(f"{ROOT}/e"), "a"), "missing"),
)


def test_a_plan_counts_and_explains() -> None:
    assert plan_text(plan_of(*MIXED, links=("/root/cache -> /mnt/data/cache",)), every_entry=False) == (
        "org/name@master (modelscope) from bucket (copy) to /mnt/data/cache/x\n"
        "  keep 2 entries: verified\n"
        "  fetch 1 entry, 5.00 MB to fetch: missing\n"
        "  repair 1 entry, 16.00 MB to fetch: see below\n"
        "  link 1 entry: missing\n"
        f"    fetch {ROOT}/c (5.00 MB): missing\n"
        f"    repair {ROOT}/d (16.00 MB): chunk 1 of 1 is damaged\n"
        f"    link {ROOT}/e: missing\n"
        "link /root/cache -> /mnt/data/cache\n"
        "21.00 MB to fetch; needs 5.00 MB of disk, 80.00 GB are free\n"
        "this was a dry run: nothing was written\n"
    )


def test_many_changes_are_counted_and_listed_only_when_asked() -> None:
    plan = plan_of(*(Fetch(entry(f"{number:03}"), "missing", 1) for number in range(41)))
    said = plan_text(plan, every_entry=False)
    assert "41 changes; -v lists them" in said
    assert f"{ROOT}/000" not in said
    assert plan_text(plan, every_entry=True).count(f"    fetch {ROOT}/") == 41
    some = plan_of(*(Fetch(entry(f"{number:03}"), "missing", 1) for number in range(40)))
    assert plan_text(some, every_entry=False).count(f"    fetch {ROOT}/") == 40


def test_an_empty_plan_says_so() -> None:
    said = plan_text(plan_of(*MIXED[:2]), every_entry=False)
    assert "nothing to do: everything is there and right" in said
    assert "nothing to do" not in plan_text(plan_of(*MIXED[:2], links=("/a -> /b",)), every_entry=False)


def test_payload_that_is_linked_is_not_to_be_fetched() -> None:
    (copied,) = plan_of(
        Fetch(entry("c"), "missing", 5_000_000),
        Fetch(entry("d"), "linked to /shared/d, which cannot be read: No such file or directory", 5_000_000),
        Link(PointerEntry(RelPath(f"{ROOT}/refs"), "text"), "missing"),
    ).snapshots
    said = plan_text(Plan((replace(copied, mode=LinkMode.SYMLINK),), 0, 80), every_entry=False)
    assert "  symlink 1 entry: missing\n  symlink 1 entry: see below\n  write 1 entry: missing\n" in said
    assert "\n0 B to fetch; needs 0 B of disk" in said


def test_what_the_disk_cannot_take_is_said() -> None:
    plan = plan_of(*MIXED)
    assert "cannot take it" not in plan_text(plan, every_entry=False)
    assert "cannot take it" in plan_text(replace(plan, free_bytes=4_999_999), every_entry=False)


def test_names_cannot_command_the_terminal() -> None:
    said = plan_text(plan_of(Fetch(entry("a\x1b[2J\nb"), "missing", 1)), every_entry=True)
    assert "\x1b" not in said
    assert "a\\x1b[2J\\nb" in said


def test_a_plan_as_data_has_the_same_numbers() -> None:
    fields = plan_fields(plan_of(*MIXED))
    assert (fields["fetch_bytes"], fields["needed_bytes"], fields["free_bytes"]) == (
        21_000_000,
        5_000_000,
        80_000_000_000,
    )
    (snapshot,) = fields["snapshots"]
    assert [action["action"] for action in snapshot["actions"]] == ["Keep", "Keep", "Fetch", "Repair", "Link"]
    assert snapshot["actions"][3]["chunks"] == (0,)


def test_a_plan_of_nothing_but_a_sentence_says_no_more_than_that() -> None:
    said = plan_text(Plan((), 0, 80, notes=("v2 stays",)), every_entry=False)
    assert "v2 stays\n" in said
    assert "nothing to restore\n" in said
    assert "no store holds" in plan_text(Plan((), 0, 80), every_entry=False)
