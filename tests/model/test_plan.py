"""The actions of a plan: one for each entry, kept as numbers."""

from __future__ import annotations

import hashlib

from zimage_syncd.model import problems
from zimage_syncd.model.manifest import Entry, FileEntry, LinkEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import Action, Actions, Fetch, Keep, Link, Refuse, Repair, SetMode


def entries(count: int) -> list[FileEntry]:
    digest = hashlib.sha256().hexdigest()
    return [FileEntry(RelPath(f"f{number:04}"), 1, 0o644, digest, (digest,)) for number in range(count)]


def of_all_kinds() -> list[Action]:
    one, two, three, four, five, six, seven = entries(7)
    link = LinkEntry(RelPath("g"), "f0001")
    return [
        Keep(one, "there"),
        Fetch(two, "missing", 1),
        Repair(three, "chunk 1 of 1 is damaged", (0,), 1, quarantine=True),
        Fetch(four, "2 bytes, expected 1", 1, problems.FILE_SIZE),
        SetMode(five, "mode 600, expected 644"),
        Refuse(six, "refused", problems.FILE_CHANGING),
        Keep(seven, "linked to /store/x"),
        Link(link, "missing"),
    ]


def test_each_entry_has_its_own_action() -> None:
    made = of_all_kinds()
    actions = Actions([action.entry for action in made], made)

    assert list(actions) == made
    assert [actions[index] for index in range(len(made))] == made
    assert list(actions[2:5]) == made[2:5]
    assert list(actions.changes()) == [action for action in made if not isinstance(action, Keep)]
    assert {kind: actions.count(kind) for kind in (Keep, Fetch, Repair, SetMode, Refuse, Link)} == {
        Keep: 2,
        Fetch: 2,
        Repair: 1,
        SetMode: 1,
        Refuse: 1,
        Link: 1,
    }
    assert actions.count(made[1]) == 1
    assert actions.count_kept("linked to ") == 1


def test_an_entry_may_be_given_another_action_out_of_order() -> None:
    some: list[Entry] = list(entries(3))
    actions = Actions(some)
    first, second, third = entries(3)
    for index, action in ((2, Keep(third, "there")), (0, Fetch(first, "missing", 1)), (1, Keep(second, "there"))):
        actions.put(index, action)
    actions.put(1, Refuse(second, "no"))

    assert list(actions) == [Fetch(first, "missing", 1), Refuse(second, "no"), Keep(third, "there")]


def test_nothing_to_change_is_seen_without_a_walk() -> None:
    some = entries(5)
    actions = Actions(some, [Keep(entry, "there") for entry in some])
    assert list(actions.changes()) == []
    assert actions.count(Keep) == 5
    assert actions.count(Fetch) == 0
