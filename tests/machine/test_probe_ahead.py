"""The health check's unit is started by the daemon, from its sandbox, before the restore that it follows has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine.disk import make_data_disk
from tests.machine.guest import Guest
from tests.machine.installation import MOUNT, Bucket, install, wait_for_look, wait_for_restore

pytestmark = [pytest.mark.machine, pytest.mark.timeout(3600)]

PROBE = "zimage-syncd-probe@*"
REPORTS = f"{MOUNT}/.zimage-syncd/reports"
RECORDS = f"{MOUNT}/.zimage-syncd/health"


def test_a_unit_that_waits_for_the_restore_s_end_is_given_the_request(
    guest: Guest, full_bucket: Bucket, tmp_path: Path
) -> None:
    """Without torch there is little to import; systemd, the FIFO and both sandboxes are what is looked at."""
    guest.disks = [make_data_disk(tmp_path / "data.img")]
    guest.boot()
    guest.put("/etc/zimage-syncd/environment", "ZIMAGE_SYNCD__HEALTH__AFTER='[\"restore\"]'\n", 0o600)
    install(guest, full_bucket)
    assert "data=['empty']" in wait_for_look(guest)
    wait_for_restore(guest)
    guest.wait_for(f"grep -l 'only files were checked' {REPORTS}/*", timeout_s=300)
    assert '"ahead"' in guest.check(f"cat {RECORDS}/*")
    said = guest.check(f"journalctl --boot --output=cat --unit='{PROBE}'")
    assert said.count("Starting ") == 1, said
    assert guest.check("ls /run/zimage-syncd").split() == []
