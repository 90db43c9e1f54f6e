"""What is mounted where, and how it is found again."""

from __future__ import annotations

import pytest

from zimage_syncd.setup.mounts import DiskAddress, Mounted, address_of, mount_of, parse_mounts

TABLE = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard
30 22 254:16 / /mnt/data rw,noatime shared:9 - ext4 /dev/vdb rw
31 30 254:32 / /mnt/data rw,nosuid - xfs /dev/vdc rw,attr2,prjquota
32 22 0:40 /@data /mnt/with\040blank rw - btrfs /dev/vdd rw,space_cache=v2,subvolid=256,subvol=/@data
33 22 254:16 /models /root/autodl-tmp rw - ext4 /dev/vdb rw
34 22 0:50 / /shared rw - nfs4 server:/export rw,vers=4.2
35 22 0:51 / /run rw - tmpfs tmpfs rw
36 22 254:48 / /mnt/unnamed rw - ext4 /dev/vde rw
short line
"""
LINKS = {"UUID=1-b": "/dev/vdb", "LABEL=data": "/dev/vdb", "UUID=2-c": "/dev/vdc", "LABEL=d": "/dev/vdd"}


def address(path: str) -> DiskAddress:
    return address_of(mount_of(path, parse_mounts(TABLE)), LINKS)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mnt/data/model_cache", DiskAddress("/mnt/data", "UUID=2-c", "xfs", "nosuid,prjquota")),
        ("/mnt/with blank", DiskAddress("/mnt/with blank", "LABEL=d", "btrfs", "subvol=/@data")),
        (
            "/root/autodl-tmp/x",
            DiskAddress("/root/autodl-tmp", "", "ext4", "", "it is a bind mount of /models on /dev/vdb"),
        ),
        ("/shared", DiskAddress("/shared", "", "nfs4", "", "nfs4 from server:/export is no disk of this machine")),
        (
            "/mnt/unnamed",
            DiskAddress("/mnt/unnamed", "", "ext4", "", "/dev/vde has neither UUID nor label in /dev/disk"),
        ),
    ],
    ids=["mounted over", "subvolume", "bind mount", "network", "nameless"],
)
def test_a_disk_is_named_so_that_it_is_found_again_or_it_is_said_why_not(path: str, expected: DiskAddress) -> None:
    assert address(path) == expected


@pytest.mark.parametrize(
    ("path", "lasting"), [("/mnt/data", True), ("/mnt/dat", False), ("/run/x", False), ("/", False), ("/shared", True)]
)
def test_the_system_disk_and_memory_do_not_last(path: str, lasting: bool) -> None:
    assert mount_of(path, parse_mounts(TABLE)).is_lasting is lasting


def test_a_mount_table_that_names_nothing_leaves_everything_on_the_system_disk() -> None:
    assert mount_of("/mnt/data", []) == Mounted("/", "/", "overlay", "", ())
