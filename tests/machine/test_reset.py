"""The instance is reset: what the daemon makes of disks that are new, empty, or late."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine.disk import make_data_disk
from tests.machine.gate import gate_before
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


def test_after_a_reset_the_weights_are_where_the_libraries_look(
    guest: Guest, model: Path, bucket: Bucket, tmp_path: Path
) -> None:
    guest.disks = [make_data_disk(tmp_path / "data.img", model)]
    guest.boot()
    install(guest, bucket)
    assert "system=first" in wait_for_look(guest)
    guest.check(SAME_CACHE)
    guest.wait_for("zimage-syncd backup", timeout_s=600)  # busy at first: the daemon verifies
    guest.power_off()
    guest.fresh_system()
    guest.boot()
    assert guest.run(f"test -L {LINK} || test -e /etc/zimage-syncd").exit_code == 1
    install(guest, bucket)
    assert "system=new" in wait_for_look(guest)
    guest.check(SAME_CACHE)
    guest.wait_for("zimage-syncd verify --quick", timeout_s=300)
    assert content(guest) == content_of(model / "model_cache")
    assert guest.show(UNIT)["ActiveState"] == "active"


def test_an_empty_data_disk_is_filled_from_the_bucket(
    guest: Guest, model: Path, full_bucket: Bucket, tmp_path: Path
) -> None:
    guest.disks = [make_data_disk(tmp_path / "data.img")]
    guest.boot()
    install(guest, full_bucket)
    assert "data=['empty']" in wait_for_look(guest)
    guest.check(SAME_CACHE)
    wait_for_restore(guest)
    assert content(guest) == content_of(model / "model_cache")
    guest.wait_for("zimage-syncd verify --deep", timeout_s=600)  # the daemon may be at it


def test_a_missing_data_disk_is_waited_for_and_nothing_is_written_in_its_place(
    guest: Guest, model: Path, full_bucket: Bucket, tmp_path: Path
) -> None:
    guest.boot()
    install(guest, full_bucket)
    assert "data=['missing']" in wait_for_look(guest)
    assert "ZS101" in guest.journal(UNIT)
    assert guest.check(f"! test -e {LINK} && find {MOUNT}") == f"{MOUNT}\n"
    guest.attach(make_data_disk(tmp_path / "data.img"))
    guest.check(f"mountpoint -q {MOUNT} || mount {MOUNT}")
    # The cycle begins within a minute and 20 s; the rest of the two is for an emulated processor to begin with it.
    guest.wait_for(f"test -e {MOUNT}/.zimage-syncd/identity.json", timeout_s=120)
    wait_for_restore(guest)
    guest.check(SAME_CACHE)
    assert content(guest) == content_of(model / "model_cache")
    guest.check(f"systemctl stop {UNIT} && umount {MOUNT}")
    assert guest.check(f"find {MOUNT}") == f"{MOUNT}\n"


def test_a_bucket_that_cannot_be_reached_at_first_is_asked_again(
    guest: Guest, model: Path, full_bucket: Bucket, tmp_path: Path
) -> None:
    guest.disks = [make_data_disk(tmp_path / "data.img")]
    with gate_before(full_bucket.server.endpoint_url) as gate:
        guest.boot()
        install(guest, full_bucket, gate.port)
        wait_for_look(guest)
        guest.check("sleep 120", timeout_s=180)
        assert guest.run(f"find {CACHE} -name '*.safetensors'").stdout == ""
        gate.open()
        wait_for_restore(guest)
        guest.check(SAME_CACHE)
        assert content(guest) == content_of(model / "model_cache")
