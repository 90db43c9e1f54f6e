"""Whether a directory or an open file lies on a file system that other hosts may have mounted, too."""

from __future__ import annotations

import os

from zimage_syncd.disk.file_system import type_of

_FUSE = 0x65735546
_SHARED = frozenset(
    {
        0x6969,  # NFS
        0x517B,  # SMB
        0xFF534D42,  # CIFS
        0xFE534D42,  # SMB2
        _FUSE,  # sshfs, JuiceFS, s3fs, GlusterFS, …
        0x01021997,  # 9p
        0x00C36400,  # Ceph
        0x47504653,  # GPFS ("GPFS")
        0x0BD00BD0,  # Lustre
        0x7461636F,  # OCFS2
        0x01161970,  # GFS2
        0x19830326,  # BeeGFS
        0x5346414F,  # AFS ("OAFS")
        0x73757245,  # Coda
        0x013111A8,  # IBRIX
        0xAAD7AAEA,  # PanFS
        0xBACBACBC,  # vmhgfs, a host's folder in a guest
        0x786F4256,  # vboxsf, the same of VirtualBox
    }
)
"""`f_type` of statfs(2): linux/magic.h, and for what lies outside the kernel's tree the list of coreutils' stat.c."""


def is_network(path: str) -> bool:
    """Whether other hosts may write below a path at the same time.

    Args:
        path: absolute; where it is not there, its nearest parent that is counts.

    Returns:
        False also where nothing can be learned of it.
    """
    while not os.path.exists(path) and path not in {"/", ""}:
        path = os.path.dirname(path)
    kind = type_of(path)
    if kind not in _SHARED:
        return False
    # NTFS and exFAT are served by FUSE, too; a disk of this host's has a device number that is not made up.
    return kind != _FUSE or _is_anonymous(path)


def writes_at_close(descriptor: int) -> bool:
    """Whether an open file may learn only at close(2) that a write has failed, as on network file systems and FUSE."""
    return type_of(descriptor) in _SHARED


def _is_anonymous(path: str) -> bool:
    try:
        return os.major(os.stat(path).st_dev) == 0
    except OSError:
        return True
