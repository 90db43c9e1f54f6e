"""Data disks that are not what they should be, and weights that lie on the system disk, under the unit as installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.machine.disk import make_data_disk
from tests.machine.guest import Guest
from tests.machine.installation import (
    CACHE,
    LINK,
    MOUNT,
    SAME_CACHE,
    UNIT,
    Bucket,
    content,
    content_of,
    install,
    wait_for_look,
    wait_for_restore,
)

pytestmark = [pytest.mark.machine, pytest.mark.timeout(3600)]


def test_another_cache_s_disk_is_left_alone_until_somebody_adopts_it(
    guest: Guest, model: Path, full_bucket: Bucket, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / ".zimage-syncd").mkdir(parents=True)
    identity = {"format": 1, "cache_id": "theirs", "system_mark": "", "counter": 1}
    (theirs / ".zimage-syncd/identity.json").write_text(json.dumps(identity))
    (theirs / "model_cache").mkdir()
    (theirs / "model_cache/precious").write_text("theirs")
    guest.disks = [make_data_disk(tmp_path / "data.img", theirs)]
    guest.boot()
    install(guest, full_bucket, cache='id = "ours"')
    assert "data=['foreign']" in wait_for_look(guest)
    assert "ZS102" in guest.journal(UNIT)
    assert guest.run(f"test -e {LINK}").exit_code == 1
    assert guest.check(f"find {MOUNT} -type f | sort") == (
        f"{MOUNT}/.zimage-syncd/identity.json\n{MOUNT}/model_cache/precious\n"
    )
    assert "ours now, was theirs" in guest.wait_for("zimage-syncd adopt", timeout_s=120)
    wait_for_restore(guest)
    guest.check(SAME_CACHE)
    assert guest.check(f"rm {CACHE}/precious && echo gone") == "gone\n"
    assert content(guest) == content_of(model / "model_cache")


def test_a_full_data_disk_is_told_and_a_link_is_there(
    guest: Guest, model: Path, full_bucket: Bucket, tmp_path: Path
) -> None:
    guest.disks = [make_data_disk(tmp_path / "data.img")]
    guest.boot()
    guest.check(f"mkdir -p {MOUNT} && mount LABEL=data {MOUNT}")
    guest.check(f"dd if=/dev/zero of={MOUNT}/ballast bs=1M status=none || df {MOUNT}", timeout_s=300)
    guest.check(f"umount {MOUNT}")
    install(guest, full_bucket)
    wait_for_look(guest)
    guest.wait_for(f"journalctl --boot --output=cat --unit={UNIT} | grep ZS114", 120)
    guest.check(f'test "$(readlink {LINK})" = {CACHE}')
    assert guest.show(UNIT)["ActiveState"] == "active"
    assert guest.run(f"find {CACHE} -name '*.safetensors'").stdout == ""
    guest.check(f"rm {MOUNT}/ballast")
    guest.wait_for("zimage-syncd restore", timeout_s=600)  # the daemon may be at it
    guest.check(SAME_CACHE)
    assert content(guest) == content_of(model / "model_cache")


def test_weights_on_the_system_disk_are_taken_in_when_nobody_writes_there(
    guest: Guest, model: Path, bucket: Bucket, tmp_path: Path
) -> None:
    """The unit's sandbox hides what a root shell has open from the daemon; the kernel tells it all the same."""
    guest.disks = [make_data_disk(tmp_path / "data.img", model)]
    guest.boot()
    guest.check(f"mkdir -p {MOUNT} /root/workspace && mount LABEL=data {MOUNT}")
    guest.check(f"mv {CACHE} {LINK}", timeout_s=300)
    guest.check(
        f"umount {MOUNT}; (exec 3>>{LINK}/hub/download; exec sleep 100000) >/dev/null 2>&1 & echo $! > /run/writer"
    )
    install(guest, bucket)
    wait_for_look(guest)
    guest.wait_for(f"journalctl --boot --output=cat --unit={UNIT} | grep ZS118", 300)
    guest.check(f"test -d {LINK} && ! test -L {LINK}")
    guest.check("kill $(cat /run/writer)")
    guest.check(f"systemctl restart {UNIT}", timeout_s=300)
    guest.wait_for(f"test -L {LINK} && ! test -e {LINK}.taking-in", timeout_s=600)
    guest.check(SAME_CACHE)
    guest.check(f"rm {CACHE}/hub/download")
    assert content(guest) == content_of(model / "model_cache")
    assert guest.check(f"ls {LINK}.* 2>/dev/null; echo end") == "end\n"
