"""The power goes in the middle of a restore."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine.disk import make_data_disk
from tests.machine.gate import gate_before
from tests.machine.guest import Guest
from tests.machine.installation import CACHE, UNIT, Bucket, content, content_of, install, wait_for_restore
from zimage_syncd.model.manifest import CHUNK_BYTES

pytestmark = [pytest.mark.machine, pytest.mark.timeout(3600)]
CUTS = 3


def test_a_restore_that_lost_power_three_times_is_whole_in_the_end(
    guest: Guest, model: Path, full_bucket: Bucket, tmp_path: Path
) -> None:
    guest.disks = [make_data_disk(tmp_path / "data.img")]
    with gate_before(full_bucket.server.endpoint_url) as gate:
        for cut in range(CUTS):
            gate.open(left_bytes=2 * CHUNK_BYTES)
            guest.boot()
            if cut == 0:
                install(guest, full_bucket, gate.port)
            gate.wait_until_held(timeout_s=600)
            guest.check(f"ls {CACHE}/hub")
            guest.kill()
        gate.open()
        guest.boot()
        wait_for_restore(guest)
        assert content(guest) == content_of(model / "model_cache")
        guest.wait_for("zimage-syncd verify --deep", timeout_s=600)  # the daemon may be at it
        assert "Traceback" not in guest.journal(UNIT)
