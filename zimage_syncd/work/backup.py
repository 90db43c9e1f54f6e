"""Cache → archives: blobs first, manifest second, references last; damage is refused and named.

A large file whose digest its publisher gives is read once, and hashed while it is uploaded; others are hashed first,
and read again to be sent. What the ledger knows unchanged is not read at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from zimage_syncd.decide.accept import refusals_of_change, refusals_of_state
from zimage_syncd.model.failures import CacheEmpty, Failure, SnapshotMissing, Stopped
from zimage_syncd.model.manifest import Manifest, Proof
from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import LocalSnapshot
from zimage_syncd.ports import Archive
from zimage_syncd.recording import record
from zimage_syncd.report.words import size
from zimage_syncd.work.apply import finding_of
from zimage_syncd.work.carry import send_references
from zimage_syncd.work.last_good import stored
from zimage_syncd.work.lost import lost_pointers
from zimage_syncd.work.record import known_manifest
from zimage_syncd.work.send import STORE_TROUBLE, Sent, digests_of, expected_hex, knows_sha256, upload_missing
from zimage_syncd.work.site import Site, Survey
from zimage_syncd.work.upload import end_upload, give_up

_DONE = frozenset({"backed up", "unchanged"})
"""Actions after which an archive has the snapshot."""


def backup(site: Site, archives: Sequence[Archive], selection: Selection, *, accept_changed: bool) -> Report:
    """Backs up what is meant to every archive; returns what happened.

    Args:
        site: the cache.
        archives: where to.
        selection: which snapshots; without a repository every configured one, or all.
        accept_changed: the content of a mutable revision changed, or something is gone, and that is wanted.

    Raises:
        SnapshotMissing, CacheEmpty: nothing in the cache is meant.
        PathUnreadable, DiskError: nothing that could be found is meant, and a directory could not be listed.
        StoreUnreachable, StoreDenied, StoreMissing, FormatUnknown: no archive can be used; where another one can, it is
            a finding.
        Stopped: somebody asked to stop; what is finished stays, and so do the parts of uploads under way where the
            store can go on with them.
        DataDiskTaken: another host has taken the data disk over; no reference was written since.
    """
    started_at, started_s = site.clock.now(), site.clock.monotonic_s()
    survey = site.survey()
    snapshots = _meant(site, survey, selection)
    failures: list[Failure] = []
    ready = [archive for archive in archives if _prepared(site, archive, failures)]
    if failures and not ready:
        raise failures[0]
    findings = [finding_of(failure) for failure in (*survey.troubles, *failures)]
    results: list[SnapshotResult] = []
    gave_up: list[str] = []
    for snapshot in snapshots:
        results.extend(_snapshot(site, ready, snapshot, findings, gave_up, accept_changed=accept_changed))
    if selection.repo is None and not survey.troubles:
        findings.extend(_end_uploads(site, [archive for archive in ready if archive.name not in gave_up]))
        present = {snapshot.key.repo for snapshot in snapshots}
        findings.extend(finding_of(SnapshotMissing(str(repo))) for repo in site.repos if repo not in present)
    elapsed_s = site.clock.monotonic_s() - started_s
    # Damage alone is a finding; where an archive refused and nothing is in any, nobody shall take it for a backup.
    nothing = bool(gave_up) and not any(result.action in _DONE for result in results)
    return Report(Job.BACKUP, started_at, elapsed_s, tuple(results), tuple(findings), failed=nothing)


def _meant(site: Site, survey: Survey, selection: Selection) -> list[LocalSnapshot]:
    found = survey.snapshots
    meant = site.meant(selection, found)
    if not meant and survey.troubles:
        raise survey.troubles[0]  # nobody can tell what is in there
    if not found:
        raise CacheEmpty(site.disk.root)
    if not meant:
        wanted = str(selection.repo) if selection.repo else ", ".join(str(repo) for repo in site.repos)
        raise SnapshotMissing(wanted or site.disk.root, f"{site.disk.root} holds {len(found)} other snapshots")
    return meant


def _prepared(site: Site, archive: Archive, failures: list[Failure]) -> bool:
    """Makes an archive ready, and gives up those uploads of an earlier run with which nobody can go on."""
    try:
        archive.prepare()
        for pending in site.ledger.pending_uploads(archive.name):
            if pending.upload_id is None or not site.ledger.sent_parts(archive.name, pending.sha256):
                give_up(site, archive, pending)
    except Stopped:
        raise
    except Failure as failure:
        failures.append(failure)
        return False
    return True


def _end_uploads(site: Site, archives: Sequence[Archive]) -> Iterator[Finding]:
    """Gives up what earlier runs left open and this one, which backed everything up, had no use for."""
    for archive in archives:
        try:
            for pending in site.ledger.pending_uploads(archive.name):
                end_upload(site, archive, pending)
        except Stopped:
            raise
        except Failure as failure:
            yield finding_of(failure)


def _snapshot(
    site: Site,
    archives: Sequence[Archive],
    snapshot: LocalSnapshot,
    findings: list[Finding],
    gave_up: list[str],
    *,
    accept_changed: bool,
) -> list[SnapshotResult]:
    """Backs one snapshot up to every archive; those that failed are added to `gave_up`, by name."""
    refusals = refusals_of_state(snapshot)
    if refusals:
        findings.extend(refusals)
        return [_refused(snapshot, refusals)]
    results = []
    own = functools.cache(partial(site.shelf.load, snapshot.key))  # as it was before any archive had the snapshot
    for archive in archives:
        sent = Sent()
        try:
            result = _to_archive(site, archive, snapshot, sent, own, accept_changed=accept_changed)
        except Stopped:
            raise
        except Failure as failure:
            sent.findings.insert(0, finding_of(failure))
            result = _refused(snapshot, sent.findings, f"failed: {archive.name}")
            if isinstance(failure, STORE_TROUBLE):
                gave_up.append(archive.name)
        results.append(_with_references(site, archive, snapshot, result))
        told = set(findings)
        findings.extend(finding for finding in sent.findings if finding not in told)
    return results


def _with_references(site: Site, archive: Archive, snapshot: LocalSnapshot, result: SnapshotResult) -> SnapshotResult:
    """Sends the reference pictures of a snapshot along that the archive has now."""
    sent = send_references(site, archive, snapshot.key, result.manifest_id) if result.action in _DONE else ""
    return replace(result, detail=f"{result.detail}; {sent}") if sent else result


def _refused(snapshot: LocalSnapshot, refusals: Sequence[Finding], action: str = "refused") -> SnapshotResult:
    detail = f"{refusals[0].problem.title}: {refusals[0].detail or refusals[0].subject}"
    more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
    return SnapshotResult(
        str(snapshot.key), action, detail + more, files=len(snapshot.files), total_bytes=snapshot.size_bytes
    )


def _to_archive(
    site: Site,
    archive: Archive,
    snapshot: LocalSnapshot,
    sent: Sent,
    own: Callable[[], Manifest | None],
    *,
    accept_changed: bool,
) -> SnapshotResult:
    site.monitor.begin(f"back up {snapshot.key} to {archive.name}", snapshot.size_bytes)
    try:
        known = known_manifest(site, snapshot)
        if known is not None and archive.holds(known, snapshot.names):
            if not site.shelf.renew(known):
                sent.findings.extend(_refusals(site, archive, snapshot, known, own(), accept_changed=accept_changed))
                if sent.findings:
                    return _refused(snapshot, sent.findings)
                site.shelf.save(known)
            return _result(snapshot, known, archive.name, sent, was_there=True)
        with archive.announce(expected_hex(file) for file in snapshot.files if knows_sha256(file)) as intent:
            digests = digests_of(site, archive, snapshot, sent, intent)
            if sent.findings:
                return _refused(snapshot, sent.findings)
            manifest = record(snapshot, lambda number, _file: digests.get(number))
            sent.findings.extend(_refusals(site, archive, snapshot, manifest, own(), accept_changed=accept_changed))
            if own() is None:
                theirs = stored([archive], snapshot.key)
                sent.findings.extend(refusals_of_change(manifest, theirs, accept_changed=accept_changed, is_own=False))
            if sent.findings:
                return _refused(snapshot, sent.findings)
            return _publish(site, archive, snapshot, manifest, sent)
    finally:
        site.monitor.finish()


def _refusals(
    site: Site,
    archive: Archive,
    snapshot: LocalSnapshot,
    manifest: Manifest,
    recorded: Manifest | None,
    *,
    accept_changed: bool,
) -> list[Finding]:
    """What a snapshot had by this disk's own record and has not any more, or not so."""
    return [
        *refusals_of_change(manifest, recorded, accept_changed=accept_changed),
        *lost_pointers(site, archive, snapshot, recorded, accept_changed=accept_changed),
    ]


def _publish(site: Site, archive: Archive, snapshot: LocalSnapshot, manifest: Manifest, sent: Sent) -> SnapshotResult:
    """Uploads what the archive still lacks, then lets the snapshot appear."""
    with archive.announce(file.sha256 for file in manifest.files) as intent:
        upload_missing(site, archive, snapshot, manifest, sent, intent)
        if sent.findings:
            return _refused(snapshot, sent.findings)
        before = {stored.manifest_id for stored in archive.snapshots()}
        site.lease.confirm()
        archive.publish(manifest, snapshot.names, site.host)
    site.shelf.save(manifest)
    return _result(snapshot, manifest, archive.name, sent, was_there=manifest.id in before)


def _result(snapshot: LocalSnapshot, manifest: Manifest, store: str, sent: Sent, *, was_there: bool) -> SnapshotResult:
    unchanged = was_there and not sent.uploaded_bytes
    state = "" if manifest.proof is Proof.PROVED else "; unproved: nothing was there to compare its content with"
    names = ", ".join(snapshot.names)
    if sent.kept_bytes:
        state = f"; {size(sent.kept_bytes)} of it were there from an upload that was broken off{state}"
    return SnapshotResult(
        snapshot=str(snapshot.key),
        action="unchanged" if unchanged else "backed up",
        detail=(f"{store} has it already as {names}" if unchanged else f"to {store} as {names}") + state,
        manifest_id=manifest.id,
        files=len(manifest.files),
        total_bytes=manifest.size_bytes,
        checked_bytes=sent.read_bytes,
        written_bytes=sent.uploaded_bytes,
    )
