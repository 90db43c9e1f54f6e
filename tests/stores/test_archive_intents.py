"""Backups under way and prunes under way: neither takes away what the other needs."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest

from tests.support.archives import Desk, owns
from tests.support.manifests import file_entry, manifest_with
from zimage_syncd.model.failures import FileDamaged, StoreBroken, StoreUnreachable
from zimage_syncd.stores.archive import ObjectArchive

DATA = b"weights"
ENTRY = file_entry("hub/x", DATA)
SHA = ENTRY.sha256
PRUNE_KEY = f"prune/{'0' * 32}.json"


def intents(desk):
    return [json.loads(desk.store.get(key, 10**6)) for key in desk.store.listed("intents/")]


def prune(desk, *blobs):
    document = {"created_at": "2026-11-24T03:00:00Z", "candidates": list(blobs)}
    desk.store.put(PRUNE_KEY, json.dumps(document).encode())


class TestIntents:
    def test_an_intent_is_there_while_a_backup_is_under_way(self):
        desk = Desk()
        archive = desk.archive()
        with archive.announce([SHA, SHA]):
            expected = {
                "owner": "cache-1",
                "host": "host-of-cache-1",
                "blobs": [SHA],
                "renewed_at": "2026-11-24T03:00:00Z",
            }
            assert intents(desk) == [expected]
            assert desk.store.listed("intents/")[0].startswith("intents/host-of-cache-1-")
        assert intents(desk) == []

    def test_what_names_no_blob_is_left_out(self):
        desk = Desk()
        with desk.archive().announce(["e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", "../x", SHA]):
            assert intents(desk)[0]["blobs"] == [SHA]

    def test_two_backups_have_two_intents(self):
        desk = Desk()
        with desk.archive().announce([]), desk.archive("cache-2").announce([]):
            assert len(intents(desk)) == 2

    def test_it_is_renewed_after_five_minutes_and_not_before(self):
        desk = Desk()
        with desk.archive().announce([SHA]) as intent:
            desk.clock.move(299)
            intent.renew()
            assert desk.store.calls["put"] == 1
            desk.clock.move(1)
            threads = [threading.Thread(target=intent.renew) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            assert desk.store.calls["put"] == 2
            assert intents(desk)[0]["renewed_at"] == "2026-11-24T03:05:00Z"

    def test_it_goes_when_the_backup_fails_and_hides_nothing(self):
        desk = Desk()
        archive = desk.archive()
        with pytest.raises(FileDamaged), archive.announce([]):
            raise FileDamaged("hub/x")
        assert intents(desk) == []

    def test_an_unreachable_store_at_the_end_hides_nothing(self):
        desk = Desk()
        archive = desk.archive()
        desk.store.failing["delete"] = StoreUnreachable("bucket")
        with pytest.raises(FileDamaged), archive.announce([]):
            raise FileDamaged("hub/x")
        with archive.announce([]):
            pass
        assert len(intents(desk)) == 2

    def test_the_next_run_removes_what_a_crash_left_and_nothing_of_others(self):
        desk = Desk()
        desk.archive().announce([SHA]).__enter__()
        desk.archive("cache-2").announce([SHA]).__enter__()
        desk.store.put(f"intents/x-{'0' * 32}.json", b"torn")
        desk.store.put("intents/README", b"hello")
        desk.archive()
        left = desk.store.listed("intents/")
        assert len(left) == 3
        assert not any("host-of-cache-1" in key for key in left)

    @pytest.mark.parametrize("host", ["", "a/b", "../..", "x" * 300, "ü\x1b", ".h"])
    def test_any_host_name_makes_a_key(self, host):
        desk = Desk()
        desk.archive()
        archive = ObjectArchive("bucket", desk.store, desk.clock, host, owns, host=host)
        with archive.announce([SHA]):
            assert len(desk.store.listed("intents/")) == 1
            ObjectArchive("bucket", desk.store, desk.clock, host, owns).prepare()
            assert desk.store.listed("intents/") == [], "and is known as one's own"


class TestUploads:
    def test_ones_own_upload_is_given_up_by_its_id(self):
        desk = Desk()
        archive = desk.archive()
        mine, other = archive.begin_blob(SHA, 10**8), archive.begin_blob(SHA, 10**8)
        assert archive.abort_uploads(SHA, mine.id) == 1
        assert [upload.id for upload in desk.store.open_uploads("")] == [other.id]
        assert archive.abort_uploads(SHA, mine.id) == 0

    def test_an_upload_that_is_not_listed_is_given_up_all_the_same(self):
        desk = Desk()
        archive = desk.archive()
        mine = archive.begin_blob(SHA, 10**8)
        listing = desk.store.open_uploads
        desk.store.open_uploads = lambda prefix: []
        archive.abort_uploads(SHA, mine.id)
        assert listing("") == []

    def test_without_an_id_all_uploads_of_the_blob_go_and_no_others(self):
        desk = Desk()
        archive = desk.archive()
        neighbour = SHA[:-1] + ("0" if SHA[-1] != "0" else "1")
        archive.begin_blob(SHA, 10**8)
        archive.begin_blob(SHA, 10**8)
        kept = archive.begin_blob(neighbour, 10**8)
        assert archive.abort_uploads(SHA, None) == 2
        assert [upload.id for upload in desk.store.open_uploads("")] == [kept.id]

    def test_uploads_of_a_blob_that_a_live_intent_of_others_lists_stay(self):
        desk = Desk()
        archive = desk.archive()
        archive.begin_blob(SHA, 10**8)
        intent = desk.archive("cache-2").announce([SHA]).__enter__()
        assert archive.abort_uploads(SHA, None) == 0
        desk.clock.move(50 * 60)
        intent.renew()
        desk.clock.move(50 * 60)
        assert archive.abort_uploads(SHA, None) == 0, "renewed less than an hour ago"
        desk.clock.move(10 * 60)
        assert archive.abort_uploads(SHA, None) == 1, "dead"

    def test_ones_own_intent_and_those_for_other_blobs_do_not_hinder(self):
        desk = Desk()
        archive = desk.archive()
        desk.archive("cache-2").announce(["0" * 64]).__enter__()
        with archive.announce([SHA]):
            archive.begin_blob(SHA, 10**8)
            assert archive.abort_uploads(SHA, None) == 1

    def test_a_live_intent_that_cannot_be_read_might_list_it(self):
        desk = Desk()
        archive = desk.archive()
        archive.begin_blob(SHA, 10**8)
        desk.store.put(f"intents/x-{'0' * 32}.json", b'{"owner": "o", "blobs": [7]}')
        assert archive.abort_uploads(SHA, None) == 0
        desk.clock.move(timedelta(hours=1).total_seconds())
        assert archive.abort_uploads(SHA, None) == 1


class TestPrune:
    def test_a_candidate_counts_as_missing_until_it_is_uploaded_again(self):
        desk = Desk()
        desk.archive().put_blob(SHA, DATA)
        desk.clock.move(10)
        prune(desk, SHA)
        desk.clock.move(10)
        archive = desk.archive()
        assert archive.blob(SHA) is None
        archive.put_blob(SHA, DATA)
        assert archive.blob(SHA).size_bytes == len(DATA)
        assert desk.archive().blob(SHA) is not None, "for the next run, too"

    def test_an_unchanged_backup_of_a_candidate_can_be_published_after_that(self):
        desk = Desk()
        manifest = manifest_with({"hub/x": DATA})
        archive = desk.archive()
        archive.put_blob(SHA, DATA)
        archive.publish(manifest, ("main",), "h")
        prune(desk, SHA)
        archive = desk.archive()
        desk.clock.move(10)
        assert archive.blob(SHA) is None
        archive.put_blob(SHA, DATA)
        assert [stored.sequence for stored in archive.publish(manifest, ("main",), "h")] == [1]

    def test_other_blobs_are_there(self):
        desk = Desk()
        desk.archive()
        prune(desk, "0" * 64)
        archive = desk.archive()
        archive.put_blob(SHA, DATA)
        assert archive.blob(SHA) is not None

    @pytest.mark.parametrize("data", [b"torn", b"{}", b'{"candidates": "all"}', b'{"candidates": ["../x"]}'])
    def test_a_list_that_cannot_be_understood_stops_the_backup(self, data):
        desk = Desk()
        desk.archive()
        desk.store.put(PRUNE_KEY, data)
        with pytest.raises(StoreBroken, match="prune/"):
            desk.archive()
