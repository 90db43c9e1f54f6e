"""What is kept of a health check: its record, and its picture as a reference where the weights are as recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult, conditions_of
from zimage_syncd.model.health_record import HealthRecord
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.picture import Reference
from zimage_syncd.model.snapshot import LocalSnapshot
from zimage_syncd.work.record import known_digests
from zimage_syncd.work.site import Site


@dataclass(frozen=True, slots=True)
class Checked:
    """One health check that was done."""

    snapshot: LocalSnapshot
    """What was checked."""
    manifest_id: str
    """Of the last good manifest; empty where the snapshot was never recorded."""
    request: HealthRequest
    """What the probe was asked for."""
    result: HealthResult
    """What it answered."""
    at: datetime
    """When it was asked, UTC."""


def record_of(checked: Checked) -> HealthRecord:
    """What is remembered of a check."""
    return HealthRecord(
        at=checked.at,
        snapshot=str(checked.snapshot.key),
        manifest_id=checked.manifest_id,
        size_px=checked.request.size_px,
        steps=checked.request.steps,
        result=checked.result,
    )


def when_there_was_torch(earlier: Iterable[HealthRecord]) -> str:
    """What earlier records know of torch, for a check that lacked it; empty where none of them had it.

    Args:
        earlier: the newest first, of any snapshot.
    """
    known = ((record, dict(record.result.versions).get("torch")) for record in earlier)
    found = next(((record.at, version) for record, version in known if version), None)
    if found is None:
        return ""
    at, version = found
    return (
        f"torch {version} was there for the check of {at:%Y-%m-%d %H:%M} UTC: it may have been on a disk that was reset"
    )


def is_first(checked: Checked) -> bool:
    """Whether a good picture was drawn that there is no reference for."""
    result = checked.result
    drawn = result.outcome is HealthOutcome.OK and result.level is HealthLevel.GENERATE
    return drawn and bool(result.picture) and result.picture_facts is not None and result.comparison is None


def why_unfit(site: Site, checked: Checked) -> str:
    """Why a picture must not become a reference; empty where it may.

    Only weights that are what the manifest says make one: as far as the ledger knows, for reading them all would take
    longer than drawing. Files that are linked into a store are that store's, and it is verified on its own.
    """
    manifest = site.shelf.load(checked.snapshot.key)
    if manifest is None or manifest.id != checked.manifest_id:
        return "another content was recorded meanwhile"
    wanted = {file.path: file.sha256 for file in manifest.files}
    found = {file.path: file for file in checked.snapshot.files}
    if wanted.keys() != found.keys():
        return "other files are there than were recorded"
    for path, sha256 in wanted.items():
        file = found[RelPath(path)]
        if file.linked_to is not None:
            continue
        known = known_digests(site, file)
        if known is None:
            return f"nobody has read {path} since it changed; `zimage-syncd verify --deep` does"
        if known.sha256 != sha256:
            return f"{path} is not what was recorded"
    return ""


def reference_of(checked: Checked, picture: bytes) -> Reference:
    """The reference that a picture becomes.

    Args:
        checked: the check that drew it; `is_first` said so.
        picture: its PNG file.

    Raises:
        ValueError: nothing was measured of the picture.
    """
    result = checked.result
    if result.picture_facts is None:
        raise ValueError("nothing was measured of the picture")
    return Reference(
        manifest_id=checked.manifest_id,
        conditions=conditions_of(checked.request, result.device, result.dtype, result.versions),
        facts=result.picture_facts,
        picture_sha256=hashlib.sha256(picture).hexdigest(),
        made_at=checked.at,
    )
