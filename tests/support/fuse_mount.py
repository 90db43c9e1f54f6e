"""A file system in this process: an empty directory that the kernel's FUSE client asks for (linux/fuse.h, 7.31).

As a program (`python -m tests.support.fuse_mount DIRECTORY`, in a mount name space of its own) it mounts one and says
whether what lies there counts as a network file system; it ends with 75 where the kernel does not let it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading

from zimage_syncd.disk.network import is_network

_GETATTR, _FORGET, _STATFS, _INIT = 3, 2, 17, 26
_ENOSYS = 38
_LARGEST_REQUEST = 1 << 17

_ROOT = (1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
"""`struct fuse_attr`: inode 1, a directory."""
_ANSWERS = {
    _INIT: struct.pack("=IIIIHHIIHHII", 7, 31, 65536, 0, 12, 10, 65536, 1, 16, 0, 0, 0) + bytes(24),
    _GETATTR: struct.pack("=QII", 60, 0, 0) + struct.pack("=QQQQQQIIIIIIIIII", *_ROOT),
    _STATFS: bytes(80),
}


def serve(descriptor: int) -> None:
    while True:
        _, opcode, unique = struct.unpack("=IIQ", os.read(descriptor, _LARGEST_REQUEST)[:16])
        answer = _ANSWERS.get(opcode)
        if answer is not None:
            os.write(descriptor, struct.pack("=IiQ", 16 + len(answer), 0, unique) + answer)
        elif opcode != _FORGET:  # which has no answer
            os.write(descriptor, struct.pack("=IiQ", 16, -_ENOSYS, unique))


def main() -> int:
    place = sys.argv[1]
    try:
        descriptor = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        return 75
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0".encode()
    if ctypes.CDLL(None).mount(b"test", os.fsencode(place), b"fuse", 0, options) != 0:
        return 75
    threading.Thread(target=serve, args=(descriptor,), daemon=True).start()
    print(is_network(place), is_network(f"{place}/below"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
