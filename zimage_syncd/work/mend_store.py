"""Mends an archive: a blob that is damaged or missing is sent again, from the cache's own file if that is right."""

from __future__ import annotations

import os
from dataclasses import replace

from zimage_syncd.model.failures import Failure, FileMissing, Stopped
from zimage_syncd.model.manifest import FileEntry
from zimage_syncd.model.report import Finding
from zimage_syncd.ports import Archive, file_stat
from zimage_syncd.work.site import Site
from zimage_syncd.work.upload import Outgoing, upload_file


def mended(site: Site, archive: Archive, file: FileEntry, finding: Finding) -> Finding:
    """The finding about a blob, after sending it again was tried: mended, or with why it could not be.

    Args:
        site: the cache, locked.
        archive: where the blob is damaged or missing.
        file: whose content it is.
        finding: what was found.

    Raises:
        Stopped: somebody asked to stop; the old blob stays.
    """
    try:
        _send_again(site, archive, file)
    except Stopped:
        raise
    except Failure as failure:
        why = failure.detail or failure.subject
        return replace(finding, detail=f"{finding.detail}; not mended from the cache: {failure.problem.title}: {why}")
    return replace(finding, mended=True)


def _send_again(site: Site, archive: Archive, file: FileEntry) -> None:
    """Replaces a blob; the archive gets nothing unless the cache's file hashes to the blob's name."""
    try:
        descriptor = site.disk.open_read(file.path)
    except FileNotFoundError as error:
        raise FileMissing(file.path) from error
    try:
        outgoing = Outgoing(file.path, descriptor, file_stat(os.fstat(descriptor)), file.sha256)
        with archive.announce([file.sha256]):
            upload_file(site, archive, outgoing, lambda _count: None, replace=True)
    finally:
        os.close(descriptor)
