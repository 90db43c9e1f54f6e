"""References: two and more writers at one moment, in every order, with and without working conditions."""

from __future__ import annotations

import hashlib
import json
import random
import threading

import pytest

from tests.support.manifests import key_of
from tests.support.object_store import ScriptedStore, fixed_clock
from tests.support.turns import Died, Turns, every_order
from zimage_syncd.model.failures import StoreBroken
from zimage_syncd.stores.archive_keys import RefKey, ref_prefix
from zimage_syncd.stores.archive_refs import Refs

PLACE = key_of(revision="main")
IDS = sorted(hashlib.sha256(bytes([number])).hexdigest() for number in range(6))

conditions = pytest.mark.parametrize("ignores_conditions", [False, True], ids=["conditions", "no conditions"])


def store_of(*, ignores_conditions: bool = False) -> ScriptedStore:
    return ScriptedStore(fixed_clock().now, ignores_conditions=ignores_conditions)


def append(store: ScriptedStore, manifest_id: str, host: str = "here") -> None:
    Refs(store).append(PLACE, manifest_id, host, fixed_clock().now())


def gated(store: ScriptedStore, turns: Turns) -> None:
    store.before = lambda operation, _key: turns.gate() if operation in {"scan", "create"} else None


def check_end(store: ScriptedStore, ids: list[str]) -> str:
    """All readers agree and every writer is in the history; gives the newest one."""
    store.before = lambda _operation, _key: None
    history = Refs(store).history(PLACE)
    assert {stored.manifest_id for stored in history} == set(ids)
    assert Refs(store).newest() == history[:1]
    names = [key.rsplit("/", 1)[1] for key in store.listed(ref_prefix(PLACE))]
    assert names[-1].endswith(f"{history[0].manifest_id}.json"), "a plain sort of names finds the newest"
    return history[0].manifest_id


@conditions
@pytest.mark.parametrize("ids", [IDS[:2], IDS[1::-1]], ids=["low first", "high first"])
def test_two_writers_end_in_the_history_and_agree_in_every_order(ignores_conditions, ids):
    newest = set()

    def run(pick):
        store = store_of(ignores_conditions=ignores_conditions)
        append(store, IDS[5])
        turns = Turns([lambda one=one: append(store, one) for one in ids], pick)
        gated(store, turns)
        turns.run()
        assert not turns.errors
        newest.add(check_end(store, [*ids, IDS[5]]))

    tried = max(every_order(run))
    assert tried > 20, "all orders of at least three steps each"
    assert newest == set(ids), "either one may come last"


@conditions
def test_three_writers_end_in_the_history_and_agree_in_many_orders(ignores_conditions):
    for seed in range(150):
        race(random.Random(seed), store_of(ignores_conditions=ignores_conditions), IDS[:3])


def race(order, store, ids):
    turns = Turns([lambda one=one: append(store, one) for one in ids], order.choice)
    gated(store, turns)
    turns.run()
    assert not turns.errors
    check_end(store, ids)


@conditions
def test_a_writer_that_dies_at_any_step_neither_loses_nor_blocks_the_other(ignores_conditions):
    for steps in range(6):

        def run(pick, steps=steps):
            store = store_of(ignores_conditions=ignores_conditions)
            left = [steps]
            turns = Turns([lambda: append(store, IDS[1], "dies"), lambda: append(store, IDS[0], "lives")], pick)

            def before(operation, _key):
                if operation in {"scan", "create"}:
                    turns.gate()
                    if turns.writer() == 0:
                        left[0] -= 1
                        if left[0] < 0:
                            raise Died

            store.before = before
            turns.run()
            assert not turns.errors
            store.before = lambda _operation, _key: None
            history = [stored.manifest_id for stored in Refs(store).history(PLACE)]
            assert IDS[0] in history
            assert Refs(store).newest()[0].manifest_id == history[0]

        assert max(every_order(run)) > 0


@conditions
def test_writers_in_real_threads_all_end_in_the_history(ignores_conditions):
    store = store_of(ignores_conditions=ignores_conditions)
    barrier = threading.Barrier(len(IDS))
    errors = []

    def write(manifest_id):
        try:
            barrier.wait()
            for turn in range(5):
                append(store, hashlib.sha256(f"{manifest_id}{turn}".encode()).hexdigest())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(one,)) for one in IDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    check_end(store, [hashlib.sha256(f"{one}{turn}".encode()).hexdigest() for one in IDS for turn in range(5)])


def test_the_lower_name_of_a_tie_writes_again_with_the_winner_as_its_parent():
    store = store_of()
    winner = RefKey(PLACE, 1, IDS[1])

    def other_writes_first(operation, key):
        if operation == "create" and not store.listed(winner.key):
            store.before = lambda _operation, _key: None
            append(store, IDS[1], "winner")

    store.before = other_writes_first
    append(store, IDS[0], "loser")
    history = Refs(store).history(PLACE)
    assert [(stored.sequence, stored.manifest_id) for stored in history] == [(2, IDS[0]), (1, IDS[1]), (1, IDS[0])]
    document = json.loads(store.get(RefKey(PLACE, 2, IDS[0]).key, 10**6))
    assert document == {"manifest": IDS[0], "parent": winner.key, "created_at": "2026-11-24T03:00:00Z", "host": "loser"}


def test_the_higher_name_of_a_tie_has_nothing_more_to_write():
    store = store_of()

    def other_writes_first(operation, key):
        if operation == "create":
            store.before = lambda _operation, _key: None
            append(store, IDS[0], "loser")

    store.before = other_writes_first
    append(store, IDS[1], "winner")
    assert [stored.sequence for stored in Refs(store).history(PLACE)] == [1, 1]
    assert Refs(store).newest()[0].host == "winner"


def test_a_snapshot_that_came_later_is_not_pushed_aside():
    store = store_of()

    def other_comes_later(operation, _key):
        if operation == "create":
            store.after = lambda _operation, _key: None
            append(store, IDS[0], "later")

    store.after = other_comes_later
    append(store, IDS[1], "first")
    history = [(stored.sequence, stored.host) for stored in Refs(store).history(PLACE)]
    assert history == [(2, "later"), (1, "first")]


def test_a_writer_whose_listing_lags_behind_its_own_write_still_ends():
    store = store_of()
    store.holds_writes = True
    append(store, IDS[0])
    append(store, IDS[1])
    assert store.calls["create"] == 2
    store.release()
    check_end(store, IDS[:2])


def test_the_newest_one_is_not_recorded_twice_but_may_come_back_later():
    store = store_of()
    for one in (IDS[0], IDS[0], IDS[1], IDS[0]):
        append(store, one)
    history = [(stored.sequence, stored.manifest_id) for stored in Refs(store).history(PLACE)]
    assert history == [(3, IDS[0]), (2, IDS[1]), (1, IDS[0])]
    assert store.calls["create"] == 3


def test_the_same_manifest_recorded_by_two_at_one_moment_is_one_reference():
    for_both = [IDS[0], IDS[0]]

    def run(pick):
        store = store_of()
        turns = Turns([lambda: append(store, IDS[0]) for _ in for_both], pick)
        gated(store, turns)
        turns.run()
        assert not turns.errors
        assert len(store.listed(ref_prefix(PLACE))) == 1

    assert max(every_order(run)) > 1


def test_names_with_slashes_percent_signs_and_unicode_stay_apart():
    store = store_of()
    names = ["refs/pr/1", "refs%2Fpr%2F1", "ветка/ü", ".", "..", ".hidden", "a b", "main", "x" * 80]
    for number, name in enumerate(names):
        Refs(store).append(key_of(revision=name), IDS[number % 6], "here", fixed_clock().now())
    assert [stored.name for stored in Refs(store).newest()] == sorted(names)
    for number, name in enumerate(names):
        assert [stored.manifest_id for stored in Refs(store).history(key_of(revision=name))] == [IDS[number % 6]]


def test_a_number_without_successor_is_refused():
    store = store_of()
    store.put(RefKey(PLACE, 10**12 - 1, IDS[0]).key, b"{}")
    with pytest.raises(StoreBroken, match="999999999999"):
        append(store, IDS[1])


def test_foreign_files_among_references_are_passed_over():
    store = store_of()
    append(store, IDS[0])
    good = store.listed("refs/")[0]
    for foreign in (
        "refs/README",
        good.replace("000000000001-", "1-"),
        good.replace("000000000001-", "000000000000-"),
        good.replace("huggingface", "cobwebs"),
        good.replace("/model/", "/poem/"),
        good.replace("acme%2Fpainter", "acme%2fpainter"),
        good.replace("acme%2Fpainter", "%2E%2E"),
        good.replace("/main/", "/m%61in/"),
        good.replace("/main/", "/a%00b/"),
        good.replace("/main/", "/deeper/main/"),
        good.replace(IDS[0], IDS[0].upper()),
        good + ".tmp",
    ):
        store.put(foreign, b"garbage")
    assert [stored.manifest_id for stored in Refs(store).newest()] == [IDS[0]]
    assert len(Refs(store).history(PLACE)) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"{}",
        b'{"manifest": 7, "parent": null, "created_at": "2026-11-24T03:00:00Z", "host": "h"}',
        b'{"manifest": "%s", "parent": null, "created_at": "2026-11-24T03:00:00Z", "host": "h"}' % IDS[1].encode(),
        b'{"manifest": "%s", "parent": "elsewhere", "created_at": "2026-11-24T03:00:00Z", "host": "h"}'
        % IDS[0].encode(),
        b'{"manifest": "%s", "parent": null, "created_at": "2026-11-24T03:00:00", "host": "h"}' % IDS[0].encode(),
        b'{"manifest": "%s", "parent": null, "created_at": 5, "host": "h"}' % IDS[0].encode(),
        b'{"manifest": "%s", "parent": null, "created_at": "0001-01-01T00:00:00+23:59", "host": "h"}' % IDS[0].encode(),
        b'{"manifest": "%s", "parent": null, "created_at": "2026-11-24T03:00:00Z", "host": "\\u001b[2J"}'
        % IDS[0].encode(),
        b'{"manifest": "%s", "parent": null, "created_at": "2026-11-24T03:00:00Z"}' % IDS[0].encode(),
        b" " * 70_000 + b"{}",
    ],
    ids=range(15),
)
def test_of_a_reference_that_cannot_be_understood_the_key_counts(data):
    store = store_of()
    append(store, IDS[0])
    key = store.listed("refs/")[0]
    store.put(key, data)
    (newest,) = Refs(store).newest()
    assert (newest.manifest_id, newest.sequence, newest.host) == (IDS[0], 1, "")
    assert Refs(store).history(PLACE) == [newest]


def test_recording_again_puts_a_broken_newest_reference_right():
    store = store_of()
    append(store, IDS[0])
    store.put(store.listed("refs/")[0], b"torn")
    append(store, IDS[0])
    assert [(stored.sequence, stored.manifest_id) for stored in Refs(store).newest()] == [(2, IDS[0])]


def test_a_reference_that_goes_away_while_they_are_listed_is_passed_over():
    store = store_of()
    for one in IDS[:2]:
        append(store, one)
    newest = RefKey(PLACE, 2, IDS[1]).key
    store.after = lambda operation, _key: store.delete(newest) if operation == "scan" else None
    assert [stored.manifest_id for stored in Refs(store).newest()] == [IDS[0]]


def test_hosts_are_kept_printable():
    store = store_of()
    append(store, IDS[0], "a\x1b[2Jb\udcff" + "c" * 500)
    host = Refs(store).newest()[0].host
    assert host.startswith("a[2Jbc")
    assert len(host) == 255
