"""A system disk that knows nothing, and the one line of the provider's start-up script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.machine.disk import LABEL, make_data_disk
from tests.machine.guest import HOST, Guest
from tests.machine.image import Image
from tests.machine.installation import CACHE, LINK, MOUNT, UNIT, Bucket, content, content_of, wait_for_look

pytestmark = [pytest.mark.machine, pytest.mark.timeout(3600)]
KEYS = f"{MOUNT}/.zimage-syncd/credentials"
MOUNT_UNIT = "mnt-data.mount"


def settings(bucket: Bucket) -> str:
    return f"""
[cache]
dir = "{CACHE}"
mount = "{MOUNT}"
links = ["{LINK}"]
[stores.bucket]
url = "{bucket.url}"
endpoint_url = "http://{HOST}:{bucket.port}"
region = "us-east-1"
credentials_file = "{KEYS}"
[backup]
settle_s = 5
[health]
level = "files"
after = []
"""


@pytest.fixture
def disk(model: Path, tmp_path: Path) -> Path:
    """A data disk with a cache that huggingface_hub made, and room for the program."""
    return make_data_disk(tmp_path / "data.img", model, size="1G")


@pytest.fixture
def line(guest: Guest, bucket: Bucket, disk: Path) -> str:
    """What a person is told who installs on a machine that has Python, and that runs from now on."""
    guest.disks = [disk]
    guest.boot()
    guest.check(f"mkdir -p {MOUNT} && mount LABEL={LABEL} {MOUNT}")
    server = bucket.server
    keys = f"aws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
    guest.put(KEYS, f"[default]\n{keys}", 0o600)
    guest.put("/root/zimage-syncd.toml", settings(bucket), 0o600)
    told = guest.check("cd /root && zimage-syncd --json install", timeout_s=900)
    assert server.secret_key not in told
    return str(json.loads(told)["install"]["line"])


def test_the_line_alone_brings_a_bare_system_the_cache_back(
    guest: Guest, bare_image: Image, model: Path, disk: Path, line: str, tmp_path: Path
) -> None:
    wait_for_look(guest)
    assert guest.show(UNIT)["ActiveState"] == "active"
    # What was downloaded before is backed up by itself.
    guest.wait_for("zimage-syncd --json snapshots --store bucket | grep -q '\"org/name'", timeout_s=600)
    guest.power_off()
    with Guest(tmp_path / "bare", bare_image, [disk]) as bare:
        bare.boot()
        assert bare.run("command -v python3; ls /usr/lib/python3*").stdout == ""
        assert bare.run(f"grep -r {LABEL} /etc/fstab; mountpoint -q {MOUNT}").exit_code != 0
        bare.check(line, timeout_s=300)
        assert "system=new" in wait_for_look(bare)
        assert bare.check(f"readlink -f {LINK}").strip() == CACHE
        bare.wait_for("zimage-syncd verify --quick", timeout_s=300)  # busy at first: the daemon makes the same check
        assert content(bare) == content_of(model / "model_cache")
        # Once more, as a provider does at every start.
        bare.check(line, timeout_s=300)
        bare.power_off()
        assert "Failed unmounting" not in bare.console()
        # A plain start: units and mount are installed, and the line is not needed.
        bare.boot()
        assert "system=same" in wait_for_look(bare)
        assert bare.show(MOUNT_UNIT)["ActiveState"] == "active"
        bare.power_off()
        # The disk comes late: the daemon does not wait for it, and it is mounted when it is there.
        bare.disks = []
        bare.boot()
        assert "data=['missing']" in wait_for_look(bare)
        bare.attach(disk)
        bare.wait_for(f"mountpoint -q {MOUNT} && readlink -e {LINK}", timeout_s=180)
        bare.check("zimage-syncd uninstall", timeout_s=300)
        assert bare.run("zimage-syncd --version").exit_code == 127
        assert bare.run(f"systemctl cat {UNIT} {MOUNT_UNIT}").exit_code != 0
        assert content(bare) == content_of(model / "model_cache")


def test_a_disk_that_somebody_changed_starts_nothing(
    guest: Guest, bare_image: Image, disk: Path, line: str, tmp_path: Path
) -> None:
    guest.check("systemctl stop zimage-syncd")
    guest.check(f"echo 'touch /root/owned' >> {MOUNT}/.zimage-syncd/install/versions/*/boot.sh")
    guest.power_off()
    with Guest(tmp_path / "bare", bare_image, [disk]) as bare:
        bare.boot()
        done = bare.run(line, timeout_s=300)
        assert done.exit_code == 1
        assert "nothing was started" in done.stderr
        assert bare.run("test -e /root/owned || test -e /etc/zimage-syncd").exit_code == 1
        assert bare.run(f"mountpoint -q {MOUNT}").exit_code != 0
