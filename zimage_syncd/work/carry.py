"""Carries references of pictures between the data disk and archives. No job fails where that fails."""

from __future__ import annotations

from collections.abc import Sequence

from zimage_syncd.model.failures import Failure, Stopped
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.picture_json import name_of
from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.ports import Archive, KeepsReferences, SnapshotSource
from zimage_syncd.report.words import count
from zimage_syncd.work.site import Site


def send_references(site: Site, archive: Archive, key: SnapshotKey, manifest_id: str) -> str:
    """Gives an archive the references of a snapshot that it lacks, or has and cannot understand.

    Nothing is asked where there are none.

    Args:
        site: the cache, locked.
        archive: it holds the snapshot.
        key: the snapshot.
        manifest_id: its last good manifest's.

    Returns:
        What was sent, or why not, in words; empty where there was nothing to send.

    Raises:
        Stopped: somebody asked to stop.
    """
    kept = () if site.references is None else site.references.load(manifest_id)
    manifest = site.shelf.load(key) if kept and isinstance(archive, KeepsReferences) else None
    if manifest is None or site.references is None or not isinstance(archive, KeepsReferences):
        return ""
    sent = 0
    try:
        there = archive.reference_names(manifest)
        for reference in kept:
            site.cancel.check()
            name = name_of(reference.conditions)
            if name in there and archive.understands_reference(manifest, name):
                continue
            picture = site.references.picture(reference)
            if picture is None:
                continue
            if name in there:
                site.monitor.note(f"reference {name} of {key} in {archive.name} cannot be understood: it is replaced")
            site.lease.confirm()
            sent += archive.put_reference(manifest, reference, picture)
    except Stopped:
        raise
    except Failure as failure:
        return f"reference pictures could not be sent to {archive.name}: {failure}"
    return f"{count(sent, 'reference picture')} sent to {archive.name}" if sent else ""


def fetch_references(site: Site, sources: Sequence[SnapshotSource], manifest: Manifest) -> str:
    """Brings the references of a snapshot back from the first store that has some, unless the data disk has.

    Args:
        site: the cache, locked.
        sources: the stores, the nearest first; what does not answer, and what cannot be trusted, is passed over.
        manifest: the snapshot's.

    Returns:
        What came, in words; empty where nothing did.

    Raises:
        Stopped: somebody asked to stop.
    """
    if site.references is None or site.references.load(manifest.id):
        return ""
    for source in sources:
        if isinstance(source, KeepsReferences) and (came := _fetch_from(site, source, manifest)):
            return f"{count(came, 'reference picture')} brought back"
    return ""


def _fetch_from(site: Site, source: KeepsReferences, manifest: Manifest) -> int:
    came = 0
    try:
        names = source.reference_names(manifest)
    except Stopped:
        raise
    except Failure as failure:
        site.monitor.note(f"reference pictures of {manifest.key} could not be asked for: {failure}")
        return 0
    for name in names:
        site.cancel.check()
        try:
            reference, picture = source.reference(manifest, name)
            if site.references is not None:
                came += site.references.keep(reference, picture)
        except Stopped:
            raise
        except Failure as failure:
            site.monitor.note(f"a reference picture of {manifest.key} could not be brought back: {failure}")
    return came
