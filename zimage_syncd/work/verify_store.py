"""Checks a store: the manifest that every reference names, every blob that it needs, and with `deep` every byte."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from zimage_syncd.digest import PIECE_BYTES, new_chunk_hasher
from zimage_syncd.model import problems
from zimage_syncd.model.failures import (
    BlobMissing,
    Failure,
    FileDamaged,
    NotInStore,
    Stopped,
    StoreDenied,
    StoreMissing,
    StoreUnreachable,
)
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry, Manifest, Proof
from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.ports import Archive, SnapshotSource, StoredSnapshot
from zimage_syncd.work.apply import finding_of
from zimage_syncd.work.mend_store import mended
from zimage_syncd.work.names import Names
from zimage_syncd.work.site import Site

_WORKERS = 4

_NOT_THE_BLOBS = (StoreDenied, StoreMissing, StoreUnreachable)
"""Failures that say nothing about the blob: it may be right, and nothing is sent again."""


def verify_store(
    site: Site,
    source: SnapshotSource,
    selection: Selection,
    *,
    blob_sizes: dict[str, int] | None,
    deep: bool,
    mend: Archive | None = None,
) -> Report:
    """Checks the newest snapshot of every name in a store.

    Args:
        site: for time, progress and the wish to stop; its cache is looked at only to mend from it.
        source: the store.
        selection: which snapshots.
        blob_sizes: an archive's blobs and their sizes in bytes; None for a cache tree.
        deep: read every byte and compare every chunk.
        mend: the same store, whose damaged and missing blobs are sent again from the cache; None: only look.

    Raises:
        NotInStore: the store has nothing that is meant.
        StoreMissing, StoreDenied, StoreUnreachable, NotAnArchive: the store cannot be asked.
    """
    started_at, started_s = site.clock.now(), site.clock.monotonic_s()
    stored = [item for item in source.snapshots() if _meant(item, selection)]
    if not stored:
        raise NotInStore(str(selection.repo or "any snapshot"), f"asked {source.name}")
    results: list[SnapshotResult] = []
    findings: list[Finding] = []
    for item in stored:
        if not item.manifest_id:
            result, found = _unrecorded(site, source, item, deep=deep)
            results.append(result)
            findings.extend(found)
    right: set[tuple[str, tuple[str, ...]]] = set()
    for manifest_id in dict.fromkeys(item.manifest_id for item in stored if item.manifest_id):
        try:
            manifest = source.manifest(manifest_id)
        except Failure as failure:
            findings.append(finding_of(failure))
            results.append(SnapshotResult(manifest_id[:12], "damaged", str(failure), manifest_id))
            continue
        result, found = _snapshot(site, source, manifest, blob_sizes, right, deep=deep, mend=mend)
        results.append(result)
        findings.extend(found)
    elapsed_s = site.clock.monotonic_s() - started_s
    return Report(Job.VERIFY_STORE, started_at, elapsed_s, tuple(results), tuple(findings))


def _meant(item: StoredSnapshot, selection: Selection) -> bool:
    by_id = selection.snapshot_id is None or item.manifest_id.startswith(selection.snapshot_id)
    by_repo = selection.repo is None or item.repo == selection.repo
    by_layout = selection.layout is None or item.layout is selection.layout
    return by_id and by_repo and by_layout and selection.revision in {None, item.name}


def _action(findings: Sequence[Finding]) -> str:
    if not findings:
        return "verified"
    return "mended" if all(finding.mended for finding in findings) else "damaged"


def _unrecorded(
    site: Site, source: SnapshotSource, item: StoredSnapshot, *, deep: bool
) -> tuple[SnapshotResult, list[Finding]]:
    """A snapshot of a cache tree that nobody recorded: whole as far as its files tell, or it were not listed."""
    key = str(SnapshotKey(item.layout, item.repo, item.name))
    if not deep:
        return SnapshotResult(key, "checked", f"in {source.name}: whole by names and sizes; never recorded"), []

    def on_bytes(count: int) -> None:
        site.cancel.check()
        site.verify_rate.take(count)
        site.monitor.advance(count)

    site.monitor.begin(f"verify {key} in {source.name}", 0)
    try:
        manifest = source.manifest_of(item, on_bytes)
    except Stopped:
        raise
    except Failure as failure:
        problem = problems.CHUNK_CORRUPT if isinstance(failure, FileDamaged) else failure.problem
        finding = Finding(problem, failure.subject, f"{source.name}: {failure.detail}")
        return SnapshotResult(key, "damaged", f"in {source.name}: {failure}"), [finding]
    finally:
        site.monitor.finish()
    proved = manifest.proof is Proof.PROVED
    against = "compared with what its publisher lists" if proved else "nothing was there to compare it with"
    result = SnapshotResult(
        str(manifest.key),
        "verified" if proved else "checked",
        f"in {source.name}: every byte was read; {against}",
        manifest_id=manifest.id,
        files=len(manifest.files),
        total_bytes=manifest.size_bytes,
        checked_bytes=manifest.size_bytes,
    )
    return result, []


def _snapshot(
    site: Site,
    source: SnapshotSource,
    manifest: Manifest,
    blob_sizes: dict[str, int] | None,
    right: set[tuple[str, tuple[str, ...]]],
    *,
    deep: bool,
    mend: Archive | None,
) -> tuple[SnapshotResult, list[Finding]]:
    """Checks one snapshot; `right` are large files that were read and right, and gets those that are."""
    verb = "verify" if deep else "check"
    site.monitor.begin(f"{verb} {manifest.key} in {source.name}", manifest.size_bytes)
    files = list({file.sha256: file for file in manifest.files if _name(file) not in right}.values())

    names = Names(manifest)

    def one(file: FileEntry) -> Finding | None:
        site.cancel.check()
        try:
            finding = _file(site, source, names, file, blob_sizes, deep=deep)
        except Stopped:
            raise
        except Failure as failure:
            finding = Finding(failure.problem, names.shown(file.path), f"{source.name}: {failure.detail}")
            if isinstance(failure, _NOT_THE_BLOBS):
                return finding
        if finding is None and deep and len(file.chunks) > 1:
            right.add(_name(file))
        return finding if finding is None or mend is None else _mended(site, mend, file, finding, blob_sizes)

    with ThreadPoolExecutor(_WORKERS, "verify-store", site.begin_thread) as pool:
        findings = [finding for finding in pool.map(one, files) if finding is not None]
    site.monitor.finish()
    result = SnapshotResult(
        str(manifest.key),
        _action(findings),
        detail=f"in {source.name}: " + ("every byte was read" if deep else "every blob is there with its size"),
        manifest_id=manifest.id,
        files=len(manifest.files),
        total_bytes=manifest.size_bytes,
        checked_bytes=sum(file.size_bytes for file in files) if deep else 0,
    )
    return result, findings


def _mended(
    site: Site, archive: Archive, file: FileEntry, finding: Finding, blob_sizes: dict[str, int] | None
) -> Finding:
    """Sends a blob again, and keeps its size, so that the next snapshot does not miss it."""
    finding = mended(site, archive, file, finding)
    if finding.mended and blob_sizes is not None:
        blob_sizes[file.sha256] = file.size_bytes
    return finding


def _name(file: FileEntry) -> tuple[str, tuple[str, ...]]:
    """What a file's content is known by; two manifests may tell other chunks of one blob, and one of them be wrong."""
    return file.sha256, file.chunks


def _file(
    site: Site,
    source: SnapshotSource,
    names: Names,
    file: FileEntry,
    blob_sizes: dict[str, int] | None,
    *,
    deep: bool,
) -> Finding | None:
    if blob_sizes is not None:
        size = blob_sizes.get(file.sha256)
        if size is None:
            return Finding(problems.BLOB_MISSING, names.shown(file.path), f"{source.name}: blob {file.sha256}")
        if size != file.size_bytes:
            detail = f"{source.name}: blob {file.sha256} has {size} bytes, expected {file.size_bytes}"
            return Finding(problems.BLOB_WRONG_SIZE, names.shown(file.path), detail)
    elif source.local_path(file) is None:
        raise BlobMissing(file.path, "not in the cache tree with this size")
    if not deep:
        site.monitor.advance(file.size_bytes)
        return None
    bad = _bad_chunks(site, source, file)
    if not bad:
        return None
    shown_chunks = ", ".join(str(index + 1) for index in bad[:8])
    detail = f"{source.name}: chunk {shown_chunks} of {len(file.chunks)} of blob {file.sha256}"
    return Finding(problems.CHUNK_CORRUPT, names.shown(file.path), detail, tuple(bad))


def _bad_chunks(site: Site, source: SnapshotSource, file: FileEntry) -> Sequence[int]:
    buffer = memoryview(bytearray(PIECE_BYTES))
    bad = []
    for index, digest in enumerate(file.chunks):
        hasher = new_chunk_hasher()
        for piece in source.read(file, index * CHUNK_BYTES, file.chunk_length(index), buffer):
            site.cancel.check()
            site.verify_rate.take(len(piece))
            hasher.update(piece)
            site.monitor.advance(len(piece))
        if hasher.hexdigest() != digest:
            bad.append(index)
    return bad
