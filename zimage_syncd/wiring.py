"""Opens what a configuration names, and hands it to the jobs: the only module that knows concrete adapters."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from urllib.parse import unquote, urlsplit

from zimage_syncd.clock import SystemClock
from zimage_syncd.config import HUBS, Config, Store, StoreKind
from zimage_syncd.config.presence import owner_of
from zimage_syncd.config.units import rate_bytes_per_s
from zimage_syncd.data_disk import DataDisk
from zimage_syncd.disk.document import sweep_documents
from zimage_syncd.disk.guard import require_right_disk
from zimage_syncd.disk.ledger import SqliteLedger
from zimage_syncd.disk.lock import cache_lock, directory_lock
from zimage_syncd.disk.network import is_network
from zimage_syncd.disk.observe import state_directory
from zimage_syncd.disk.quarantine import Quarantine
from zimage_syncd.disk.references import DiskReferences
from zimage_syncd.disk.shared_lease import SharedLease
from zimage_syncd.disk.shelf import DiskShelf, MemoryShelf
from zimage_syncd.disk.shelf_source import ShelfSource
from zimage_syncd.disk.tree import Ownership
from zimage_syncd.disk.write import CacheDisk
from zimage_syncd.disk.writers import is_written_below
from zimage_syncd.layouts.registry import all_layouts, layout_of
from zimage_syncd.model.failures import ConfigInvalid
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.observation import Observation
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.private import STATE_DIRECTORY
from zimage_syncd.model.snapshot import RepoId, SnapshotKey
from zimage_syncd.model.verdict import DataState, Verdict
from zimage_syncd.ports import Archive, Cancel, Monitor, SnapshotSource
from zimage_syncd.process.pullers import ProcessPullers
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.cache_tree import CacheTree
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.stores.hubs import open_hub
from zimage_syncd.stores.object_store import ObjectStore
from zimage_syncd.work.last_resort import LastResort
from zimage_syncd.work.rate import Rate, TokenBucket, Unlimited
from zimage_syncd.work.site import Site

_UNKNOWN_OWNER = "unknown"


class Workshop:
    """One configuration's disk, ledger and stores; opened when they are needed.

    Args:
        config: what is configured.
        monitor: is told how far jobs are.
        cancel: a wish to stop.
        lease: what this process holds of the data disk already; None: nothing.
    """

    def __init__(self, config: Config, monitor: Monitor, cancel: Cancel, lease: SharedLease | None = None) -> None:
        self.config = config
        self.monitor = monitor
        self.cancel = cancel
        self.clock = SystemClock()
        self.layouts = all_layouts()
        self.state_directory = state_directory(config.cache.dir, config.cache.mount)
        self.data_disk = DataDisk(config, self.clock, monitor, cancel, lease)
        self.lease = self.data_disk.lease
        self.references = DiskReferences(os.path.join(self.state_directory, "references"))
        self._stores: dict[str, SnapshotSource] = {}

    def observe(self) -> tuple[Observation, Verdict]:
        """What the disks look like now, and what that means."""
        return self.data_disk.observe()

    def require_disk(self) -> None:
        """As `DataDisk.require`."""
        self.data_disk.require()

    @contextlib.contextmanager
    def site(self, doing: str) -> Iterator[Site]:
        """The cache, locked for one job.

        Args:
            doing: the job's name, shown to whoever comes second.

        Raises:
            DataDiskMissing, DataDiskForeign, DataDiskUnknown, DataDiskReadOnly: this is not the disk to work on.
            DataDiskInUse: another host works on it.
            CacheBusy: another process works on it.
        """
        with self.data_disk.possessed(doing), self._locked(doing), self._ledger() as ledger:
            quarantine = Quarantine(os.path.join(self.state_directory, "quarantine"), self.clock.now)
            ownership = ownership_of(self.config.cache.owner, self.config.cache.dir)
            disk = CacheDisk(self.config.cache.dir, quarantine, ownership, self.lease)
            quarantine.sweep(self.config.verify.quarantine_days)
            sweep_documents(self.state_directory, self.clock.now().timestamp())
            disk.make_root()
            shelf = DiskShelf(os.path.join(self.state_directory, "manifests"))
            site = self._site(disk, ledger, shelf)
            yield replace(site, cancel=self.lease.guarding(site.cancel), lease=self.lease)

    def _locked(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return cache_lock(self.state_directory, doing, self.lease.room)

    @contextlib.contextmanager
    def looking(self) -> Iterator[Site]:
        """The cache without a lock, for jobs that only look.

        Raises:
            DataDiskMissing, DataDiskForeign: this is not the disk to look at.
        """
        seen, verdict = self.observe()
        require_right_disk(seen, verdict, writing=False)
        quarantine = Quarantine(os.path.join(self.state_directory, "quarantine"), self.clock.now)
        disk = CacheDisk(self.config.cache.dir, quarantine)
        shelf = DiskShelf(os.path.join(self.state_directory, "manifests"))
        # Another host may be writing it, and SQLite cannot lock it against that one.
        usable = DataState.IN_USE not in verdict.data
        place = os.path.join(self.state_directory, "ledger.sqlite")
        ledger = SqliteLedger(place, only_looking=True) if usable else SqliteLedger(":memory:")
        try:
            yield self._site(disk, ledger, shelf)
        finally:
            ledger.close()

    @contextlib.contextmanager
    def beside(self, directory: str) -> Iterator[Site]:
        """Another directory than the cache, locked for a restore; nothing is remembered of it."""
        quarantine = Quarantine(os.path.join(directory, STATE_DIRECTORY, "quarantine"), self.clock.now)
        disk = CacheDisk(directory, quarantine, ownership_of(self.config.cache.owner, self.config.cache.dir))
        disk.make_root()
        ledger = SqliteLedger("")  # a temporary file of SQLite's own, of which a part is in memory
        try:
            with directory_lock(directory):
                yield self._site(disk, ledger, MemoryShelf())
        finally:
            ledger.close()

    @contextlib.contextmanager
    def _ledger(self) -> Iterator[SqliteLedger]:
        ledger = SqliteLedger(os.path.join(self.state_directory, "ledger.sqlite"))
        try:
            yield ledger
        finally:
            ledger.close()

    def _site(self, disk: CacheDisk, ledger: SqliteLedger, shelf: DiskShelf | MemoryShelf) -> Site:
        trees = [store.path for store in self.config.stores.values() if store.kind is StoreKind.CACHE_TREE]
        return Site(
            disk=disk,
            ledger=ledger,
            shelf=shelf,
            layouts=self.layouts,
            clock=self.clock,
            monitor=self.monitor,
            cancel=self.cancel,
            host=socket.gethostname(),
            repos=tuple(RepoId.parse(repo) for repo in self.config.cache.repos),
            linked_roots=tuple(dict.fromkeys([*trees, *(os.path.realpath(tree) for tree in trees)])),
            references=self.references if isinstance(shelf, DiskShelf) else None,
            verify_rate=self._rate(self.config.verify.rate),
            upload_rate=self._rate(self.config.backup.upload_rate),
            pullers=self._pullers(disk.root),
            is_written=partial(is_written_below, disk.root, self.state_directory),
        )

    def _pullers(self, root: str) -> ProcessPullers:
        """Other processes that fetch; none where they may not write."""
        wanted = self.config.restore.processes
        return ProcessPullers(0 if is_network(root) else None if wanted < 0 else wanted)

    def _rate(self, text: str) -> Rate:
        rate = rate_bytes_per_s(text)
        return Unlimited() if rate is None else TokenBucket(rate, self.clock, self.cancel)

    def source(self, name: str) -> SnapshotSource:
        """A configured store.

        Raises:
            ConfigInvalid: there is none of this name.
        """
        if name not in self._stores:
            if name not in self.config.stores:
                known = ", ".join(self.config.stores) or "none"
                raise ConfigInvalid(f"store {name}", f"no such store is configured; configured are: {known}")
            self._stores[name] = self._open(name, self.config.stores[name])
        return self._stores[name]

    def last_resort(self, names: Iterable[str]) -> LastResort | None:
        """The hubs among some names of restore.order; None where there is none."""
        wanted = [name for name in names if name in HUBS]
        if not wanted:
            return None
        home = self.config.cache.dir
        hubs = tuple(open_hub(name, _published, self.clock, self.cancel, home) for name in wanted)
        shelf = DiskShelf(os.path.join(self.state_directory, "manifests"))
        return LastResort(hubs, ShelfSource(shelf, socket.gethostname()))

    def archive(self, name: str) -> Archive:
        """A configured archive.

        Raises:
            ConfigInvalid: there is none of this name, or it is a cache tree.
        """
        source = self.source(name)
        if not isinstance(source, ObjectArchive):
            raise ConfigInvalid(f"store {name}", "it is a cache tree; backups go to archives")
        return source

    def _open(self, name: str, store: Store) -> SnapshotSource:
        if store.kind is StoreKind.CACHE_TREE:
            records = DirectoryStore(os.path.join(store.path, STATE_DIRECTORY), _UNKNOWN_OWNER)
            return CacheTree(name, store.path, self.layouts, records)
        seen, _ = self.observe()
        owner = seen.identity.cache_id if seen.identity is not None else self.config.cache.id or _UNKNOWN_OWNER
        # A cloned instance has the same cache id; what it is writing is none of ours to sweep.
        writer = hashlib.sha256(f"{owner}/{socket.gethostname()}".encode()).hexdigest()[:32]
        objects = _object_store(name, store, writer)
        return ObjectArchive(name, objects, self.clock, owner, self._owns, socket.gethostname())

    def _owns(self, key: SnapshotKey, path: RelPath) -> bool:
        return any(key.layout in layout.names and layout.owns(key, path) for layout in self.layouts)


def _published(manifest: Manifest) -> Mapping[RelPath, str]:
    return layout_of(manifest.key.layout).published(manifest)


def _object_store(name: str, store: Store, owner: str) -> ObjectStore:
    """Adapters are imported where they are used: boto3 alone takes 40 MB and a quarter of a second."""
    if store.kind is StoreKind.DIRECTORY:
        return DirectoryStore(store.path, owner)
    if store.kind is StoreKind.S3:
        from zimage_syncd.stores.s3 import S3Store  # noqa: PLC0415
        from zimage_syncd.stores.s3_settings import S3Settings  # noqa: PLC0415

        parts = urlsplit(store.url)
        return S3Store(
            S3Settings(
                bucket=parts.netloc,
                prefix=unquote(parts.path).strip("/"),
                endpoint_url=store.endpoint_url,
                region=store.region,
                addressing_style=store.addressing_style,
                profile=store.profile,
                credentials_file=store.credentials_file,
                ca_bundle=store.ca_bundle,
                table=f"stores.{name}",
            )
        )
    from zimage_syncd.stores.fsspec_url import FsspecStore  # noqa: PLC0415

    return FsspecStore(store.url, store.options, owner)


def ownership_of(owner: str, directory: str) -> Ownership | None:
    """Who owns what is restored; None leaves it to the process.

    Args:
        owner: `user:group`, as names or numbers; empty: whoever owns `directory`.
        directory: cache.dir, which may not be there yet.

    Raises:
        ConfigInvalid: there is no such user or group.
    """
    if not owner:
        try:
            status = os.stat(directory)
        except OSError:
            return None
        return Ownership(status.st_uid, status.st_gid)
    found = owner_of(owner)
    return Ownership(found.user_id, found.group_id)
