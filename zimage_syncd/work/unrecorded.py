"""Checks what was never recorded: what the publisher says (trees/, blob names) is all there is to compare with."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from zimage_syncd.digest import hash_descriptor
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, Stopped
from zimage_syncd.model.report import Finding, SnapshotResult
from zimage_syncd.model.snapshot import DigestAlgorithm, Incomplete, LocalFile, LocalSnapshot
from zimage_syncd.work.apply import finding_of
from zimage_syncd.work.site import Site

_WORKERS = 4
"""Files at a time; SHA-256 needs order, so one worker walks one file."""


def check_unrecorded(site: Site, local: LocalSnapshot, *, deep: bool) -> tuple[SnapshotResult, list[Finding]]:
    """Checks a snapshot that nobody recorded yet.

    Args:
        site: the cache.
        local: the snapshot.
        deep: read every file that its publisher gave a digest for.

    Raises:
        Stopped: somebody asked to stop.
    """
    findings: list[Finding] = []
    if isinstance(local.completeness, Incomplete):
        reasons = "; ".join(local.completeness.reasons[:5])
        findings.append(Finding(problems.SNAPSHOT_INCOMPLETE, str(local.key), reasons))
    else:
        findings.append(Finding(problems.NEVER_RECORDED, str(local.key)))
    checked = 0
    if deep:
        site.monitor.begin(f"verify {local.key}", local.size_bytes)
        proved = [file for file in local.files if file.expected is not None]
        with ThreadPoolExecutor(_WORKERS, "verify", site.begin_thread) as pool:
            for file, found in zip(proved, pool.map(partial(_against_publisher, site), proved), strict=True):
                checked += file.size_bytes
                findings.extend(found)
        site.monitor.finish()
    counted = [finding for finding in findings if finding.counts]
    result = SnapshotResult(
        str(local.key),
        "damaged" if counted else "checked",
        _compared(local, deep=deep),
        files=len(local.files),
        total_bytes=local.size_bytes,
        checked_bytes=checked,
    )
    return result, findings


def _compared(local: LocalSnapshot, *, deep: bool) -> str:
    if not deep:
        return "presence, sizes and headers"
    if all(file.expected is None for file in local.files):
        return "presence, sizes and headers; nothing is there to compare its content with"
    return "compared with what its publisher lists"


def _against_publisher(site: Site, file: LocalFile) -> list[Finding]:
    expected = file.expected
    if expected is None or file.linked_to is not None:
        return []

    def on_piece(count: int) -> None:
        site.cancel.check()
        site.verify_rate.take(count)
        site.monitor.advance(count)

    with_git_sha1 = expected.algorithm is DigestAlgorithm.GIT_SHA1
    try:
        descriptor = site.disk.open_read(file.path)
    except FileNotFoundError:
        return [Finding(problems.FILE_MISSING, file.path)]
    except Stopped:
        raise
    except Failure as failure:
        return [finding_of(failure)]
    try:
        digests = hash_descriptor(descriptor, file.size_bytes, with_git_sha1=with_git_sha1, on_piece=on_piece)
    except OSError as error:
        return [Finding(problems.DISK_ERROR, file.path, str(error))]
    finally:
        os.close(descriptor)
    if digests.matches(expected):
        return []
    found = digests.git_sha1 if with_git_sha1 else digests.sha256
    detail = f"{expected.source} says {expected.hex}, the content hashes to {found}"
    return [Finding(problems.DISAGREES_WITH_SOURCE, file.path, detail)]
