"""Binds the installed copy to a configuration: where it lies, whose it is, and whether it is the newest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace

from zimage_syncd.disk.document import read_bytes, read_document, write_document
from zimage_syncd.disk.errors import translate, translated
from zimage_syncd.disk.guard import require_right_disk
from zimage_syncd.disk.identity import IDENTITY_NAME, read_identity
from zimage_syncd.model import installation_problems
from zimage_syncd.model.failures import (
    DataDiskForeign,
    DataDiskMissing,
    DataDiskUnknown,
    InstallationForeign,
    PlaceNotLasting,
    RootNeeded,
    UsageInvalid,
)
from zimage_syncd.model.installation import Installed, Removed
from zimage_syncd.model.report import Finding
from zimage_syncd.setup.boot import HOMES
from zimage_syncd.setup.ground import Ground
from zimage_syncd.setup.mounts import DiskAddress, Mounted, address_of, device_links, mount_of, read_mounts
from zimage_syncd.setup.settings import CONFIG, settings_files
from zimage_syncd.setup.versions import known_versions, line_in_use
from zimage_syncd.wiring import Workshop

_DEFAULT = "install"
"""Below the data disk's state directory."""
_PLACE_NAME = "install.json"
"""In the state directory: where the installation lies."""
_SYSTEMD = "/run/systemd/system"
"""Is there where systemd runs the system (sd_booted(3))."""
_OVERRIDES = "ZIMAGE_SYNCD__"


class Installing:
    """Of one configuration.

    Args:
        workshop: what the configuration says.
        environ: of this process; settings in it are not kept, which is said.
    """

    def __init__(self, workshop: Workshop, environ: Mapping[str, str]) -> None:
        self._workshop = workshop
        self._config = workshop.config
        self._environ = environ
        self._place = os.path.join(workshop.state_directory, _PLACE_NAME)

    def install(self, to: str | None) -> Installed:
        """Puts a copy of this program and the configuration where it outlives a reset, and the units onto this system.

        Args:
            to: a directory; None: the one where the installation lies already, or one beside the identity.

        Raises:
            RootNeeded, UsageInvalid, PlaceNotLasting, InstallationForeign: nothing was written.
            DataDiskMissing, DataDiskForeign, DataDiskUnknown, DataDiskReadOnly: this is not the right data disk.
            ProgramUncopiable, CopyBroken: nothing was installed.
            InstallationRefused: the copy is there; the system did not take it.
            PathUnreadable, PathUnwritable, DeviceFull, DiskError: as their names say.
        """
        from zimage_syncd.setup.installer import install  # noqa: PLC0415 - packaging and tarfile are for this alone

        _require_root()
        if not os.path.isfile(self._config.source):
            raise UsageInvalid("install", "the settings come from the environment alone; a file of them can be kept")
        self._workshop.require_disk()
        directory = os.path.realpath(to or self._directory())
        ground = self._ground(directory)
        try:
            done = install(ground)
        except OSError as error:
            raise translate(error, str(error.filename or directory), writing=True) from error
        write_document(self._place, json.dumps({"directory": directory}).encode() + b"\n")
        return replace(done, notes=(*done.notes, *self._notes(ground, done)))

    def uninstall(self) -> Removed:
        """Removes what `install` made, but for unpacked copies (`remove_copies`); data, manifests and settings stay.

        Raises:
            RootNeeded: nothing was removed.
            PathUnwritable, DataDiskReadOnly, DiskError: as their names say; run again, it goes on.
        """
        from zimage_syncd.setup.removal import copies_in, remove_from_disk, remove_from_system  # noqa: PLC0415 - as above

        _require_root()
        directory = self._directory()
        with translated("/", writing=True):
            removed, copies = remove_from_system(), tuple(copies_in(HOMES))
        seen, verdict = self._workshop.observe()
        try:
            require_right_disk(seen, verdict, writing=True)
        except (DataDiskMissing, DataDiskForeign, DataDiskUnknown) as failure:
            return Removed(tuple(removed), copies, (f"what lies on the data disk was left there: {failure}",))
        with translated(directory, writing=True):
            removed += remove_from_disk(directory)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._place)
        notes = ("take the start-up line out of the provider's settings",) if removed else ()
        return Removed(tuple(removed), copies, notes)

    def remove_copies(self) -> None:
        """Removes the unpacked copies; afterwards nothing can be imported, where this process runs from one."""
        from zimage_syncd.setup.removal import remove_copies  # noqa: PLC0415 - as above

        remove_copies(HOMES)

    def findings(self) -> list[Finding]:
        """What is not as the newest installation: the line that started this machine, or the configuration."""
        versions = known_versions(self._directory())
        if not versions:
            return []
        findings, newest, used = [], versions[-1], line_in_use(versions)
        if used is not None and used is not newest:
            detail = f"it was the line of {used.name}; the newest is {newest.name}"
            findings.append(Finding(installation_problems.START_LINE_OLD, newest.directory, detail))
        content = read_bytes(self._config.source) if self._config.source in {CONFIG, newest.about.config} else None
        if content is not None and hashlib.sha256(content).hexdigest() != newest.about.config_sha256:
            detail = f"{self._config.source} changed since {newest.name} was made"
            findings.append(Finding(installation_problems.INSTALLATION_OUTDATED, newest.directory, detail))
        return findings

    def _directory(self) -> str:
        named = (read_document(self._place) or {}).get("directory")
        return named if isinstance(named, str) else os.path.join(self._workshop.state_directory, _DEFAULT)

    def _ground(self, directory: str) -> Ground:
        with translated("/proc/self/mountinfo"):
            mounts, links = read_mounts(), device_links()
        disk = mount_of(directory, mounts)
        if not disk.is_lasting:
            raise PlaceNotLasting(directory, f"it is on {disk.kind} at {disk.point}, which a reset takes along")
        data = self._data(mounts, links)
        identity = self._identity(directory, disk, mounts)
        named = [path for store in self._config.stores.values() for path in (store.credentials_file, store.ca_bundle)]
        return Ground(
            directory=directory,
            disk=address_of(disk, links),
            data=data,
            cache_id=_cache_id(os.path.dirname(identity)),
            identity=identity,
            config=os.path.abspath(self._config.source),
            settings=tuple(settings_files(self._config.source, filter(None, named), mounts, "/")),
        )

    def _data(self, mounts: list[Mounted], links: Mapping[str, str]) -> DiskAddress | None:
        mounted = mount_of(os.path.realpath(self._config.cache.mount or self._config.cache.dir), mounts)
        return address_of(mounted, links) if mounted.is_lasting else None

    def _identity(self, directory: str, disk: Mounted, mounts: list[Mounted]) -> str:
        """The file by which the line knows the disk: the cache's identity, or on another disk a copy of it."""
        state = os.path.realpath(self._workshop.state_directory)
        if mount_of(state, mounts) == disk:
            return os.path.join(state, IDENTITY_NAME)
        cache_id, found = _cache_id(state), read_identity(directory)
        if found is not None and found.cache_id != cache_id:
            raise InstallationForeign(directory, f"expected cache {cache_id}, found {found.cache_id}")
        place = os.path.join(directory, IDENTITY_NAME)
        if found is None:
            write_document(place, json.dumps({"format": 1, "cache_id": cache_id, "system_mark": ""}).encode() + b"\n")
        return place

    def _notes(self, ground: Ground, done: Installed) -> list[str]:
        notes = []
        if ground.disk.reason:
            notes.append(f"the line cannot mount {ground.disk.point}, the provider has to: {ground.disk.reason}")
        mount = self._config.cache.mount
        if os.path.realpath(mount) != mount and mount:
            notes.append(f"{mount} is a link, which a reset takes along: name {os.path.realpath(mount)} in cache.mount")
        if not os.path.isdir(_SYSTEMD):
            command = f"{HOMES}/{done.program}/bin/zimage-syncd run"
            notes.append(
                f"systemd does not run here: no units, nothing was started; the line starts the daemon: {command}"
            )
        if not self._config.health.python and self._config.health.level != "files":
            notes.append("the copy has no torch: name a Python that has it in health.python, or it checks files only")
        overrides = sorted(name for name in self._environ if name.startswith(_OVERRIDES))
        if overrides:
            notes.append(f"not kept, since they are not in the configuration's file: {', '.join(overrides)}")
        return notes


def _require_root() -> None:
    if os.geteuid() != 0:
        raise RootNeeded("install", f"this is user {os.geteuid()}")


def _cache_id(state: str) -> str:
    identity = read_identity(state)
    if identity is None:
        raise DataDiskMissing(state, "the identity that was there a moment ago is gone")
    return identity.cache_id
