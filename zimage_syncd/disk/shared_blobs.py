"""huggingface_hub's books of shared blobs (2.x, `utils/_shared_blobs.py`): kept, never replaced.

A payload `blobs/<xx>/<hash>` stays only as long as `<hash>.refs` beside it names a repository's link to it. So its
reference is appended and made durable, under the library's own lock, before the link appears; a sweep that runs at the
same moment never sees a payload without its reference.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator

from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.tree import Tree
from zimage_syncd.model.failures import CacheBusy
from zimage_syncd.model.path import RelPath, resolve_link

MARKER = ".huggingface-shared-blobs"
MARKER_TEXT = b"1\n"
"""The library refuses to adopt a non-empty `blobs/` directory without this marker."""

_PAYLOAD = re.compile(r"(?P<hub>(?:hub/)?)blobs/[0-9a-f]{2}/[^/.]+")
_LOCK_TIMEOUT_S = 60.0
_MAX_REFS_BYTES = 64 * 2**20


def shared_payload(path: str) -> str | None:
    """The hub directory's prefix (`hub/` or empty) where `path` is a shared payload, else None."""
    match = _PAYLOAD.fullmatch(path)
    return None if match is None else match["hub"]


def shared_target(path: RelPath, target: str) -> RelPath | None:
    """The shared payload that a repository's blob link leads to, or None for every other link."""
    resolved = resolve_link(path, target)
    is_blob_link = path.parts[-2:-1] == ("blobs",)
    return resolved if is_blob_link and shared_payload(resolved) is not None else None


@contextlib.contextmanager
def payload_lock(tree: Tree, payload: RelPath) -> Iterator[None]:
    """Holds the library's lock of one payload.

    Raises:
        PathUnwritable, DiskError: the lock cannot be made.
        CacheBusy: somebody held it for a minute.
    """
    from filelock import FileLock, SoftFileLock  # noqa: PLC0415 - few caches have shared blobs

    name = f"{payload.name}.lock"
    with tree.parent(payload, create=True) as directory, translated(tree.absolute(payload), writing=True):
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o666, dir_fd=directory)
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, 0o666)
        os.close(descriptor)
    where = f"{tree.absolute(payload)}.lock"
    lock: FileLock | SoftFileLock = FileLock(where, mode=0o666)
    try:
        try:
            lock.acquire(timeout=_LOCK_TIMEOUT_S)
        except NotImplementedError:  # file systems without flock: the library takes the same way
            lock = SoftFileLock(f"{where}.soft")
            lock.acquire(timeout=_LOCK_TIMEOUT_S)
    except TimeoutError as error:
        raise CacheBusy(where, f"somebody held it for {_LOCK_TIMEOUT_S:.0f} s") from error
    try:
        yield
    finally:
        lock.release()


def make_marker(tree: Tree, payload: RelPath) -> None:
    """Creates the marker of the directory of shared blobs if it is absent."""
    blobs = "/".join(payload.parts[:-2])
    marker = RelPath(f"{blobs}/{MARKER}")
    if tree.lstat(marker) is not None:
        return
    temporary = f"{MARKER}.{secrets.token_hex(4)}.tmp"
    with tree.parent(marker, create=True) as directory, translated(tree.absolute(marker), writing=True):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666, dir_fd=directory)
        try:
            os.write(descriptor, MARKER_TEXT)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        tree.own(temporary, directory)
        os.rename(temporary, MARKER, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)


def append_reference(tree: Tree, payload: RelPath, link: RelPath) -> None:
    """Adds the repository's link to the payload's references, durably; call it under `payload_lock`.

    Args:
        tree: the cache.
        payload: `[hub/]blobs/<xx>/<hash>`.
        link: the repository's `[hub/]models--…/blobs/<etag>`.
    """
    hub = shared_payload(payload) or ""
    line = (link.removeprefix(hub) + "\n").encode("utf-8", "surrogateescape")
    with tree.parent(payload, create=True) as directory, translated(f"{tree.absolute(payload)}.refs", writing=True):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(f"{payload.name}.refs", flags, 0o666, dir_fd=directory)
        try:
            present = os.pread(descriptor, _MAX_REFS_BYTES, 0)
            if line in present.splitlines(keepends=True):
                return
            torn = present and not present.endswith(b"\n")
            os.write(descriptor, b"\n" + line if torn else line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.fsync(directory)
