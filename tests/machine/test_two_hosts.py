"""Two hosts on one NFS export: two mounts that share nothing, names and process ids of their own, one real server."""

from __future__ import annotations

import pytest

from tests.machine.guest import Guest

pytestmark = [pytest.mark.machine, pytest.mark.timeout(3600)]

EXPORT = "/srv/data"
SERVE = f"""
set -e
mkdir -p {EXPORT}/model_cache/hub /mnt/gpu-1 /mnt/gpu-2
echo '{EXPORT} localhost(rw,sync,no_root_squash,no_subtree_check)' > /etc/exports
systemctl --quiet unmask rpcbind.service rpcbind.socket nfs-server.service
systemctl start nfs-server
for each in gpu-1 gpu-2; do mount -t nfs -o vers=4.2,nosharecache localhost:{EXPORT} /mnt/$each; done
test "$(stat -c %d /mnt/gpu-1)" != "$(stat -c %d /mnt/gpu-2)"
"""
LEASE = f"{EXPORT}/.zimage-syncd/lease"


def on(host: str, command: str) -> str:
    """A line of shell that runs the program as one of the two hosts."""
    program = f"hostname {host}; exec zimage-syncd --config /root/{host}.toml {command}"
    return f"unshare --uts --pid --fork --kill-child --mount-proc sh -c '{program}'"


def configure(guest: Guest, host: str) -> None:
    guest.put(
        f"/root/{host}.toml",
        f"""
[cache]
dir = "/mnt/{host}/model_cache"
mount = "/mnt/{host}"
links = ["/root/{host}/model_cache"]
[stores.backup]
url = "file:///var/backup"
[health]
after = []
[daemon]
state_dir = "/var/lib/{host}"
""",
        0o600,
    )


def test_a_network_data_disk_is_one_hosts_at_a_time(guest: Guest) -> None:
    guest.boot()
    guest.check(SERVE, timeout_s=300)
    for host in ("gpu-1", "gpu-2"):
        configure(guest, host)
    guest.check(f"systemd-run --quiet --unit=first {on('gpu-1', 'run')}")
    guest.wait_for(f"ls {LEASE}/lease.1.*", timeout_s=300)
    refused = guest.run(f"{on('gpu-2', 'verify')} 2>&1", timeout_s=300)
    assert refused.exit_code == 75, refused.stdout
    assert "ZS120" in refused.stdout
    assert "on gpu-1 (run)" in refused.stdout
    assert guest.run(f"{on('gpu-2', 'status')} | grep 'IN USE BY ANOTHER HOST'", timeout_s=300).exit_code == 0
    guest.check("systemctl kill --kill-whom=all --signal=SIGKILL first")
    began = guest.check(f"ls {LEASE}")
    assert "lease.1\n" in began
    assert ".done" not in began
    followed = guest.run(f"time {on('gpu-2', 'verify')} 2>&1", timeout_s=600)
    assert "waiting for a sign of life" in followed.stdout
    assert "ZS217" in followed.stdout, "the cache is empty, which only its holder can say"
    assert sorted(guest.check(f"ls {LEASE}").split()) == ["lease.2", "lease.2.done"]
