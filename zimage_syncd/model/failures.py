"""Exceptions named for the fact, each with its entry in the catalogue of problems.

A failure stops the operation that raised it. What is found and does not stop the rest is a
`zimage_syncd.model.report.Finding`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

from zimage_syncd.model import installation_problems, problems
from zimage_syncd.model.problems import Problem

_T = TypeVar("_T")


class Failure(Exception):
    """Something that a person can be told, with what happened, to which object, and what to do.

    Attributes:
        problem: the catalogue's entry, with the remedy and the exit code.
        subject: the file, key, URL or setting that it happened to.
        detail: what was expected and what was found.
    """

    problem: ClassVar[Problem] = problems.INTERNAL

    def __init__(self, subject: str, detail: str = "") -> None:
        self.subject = str(subject)
        self.detail = detail
        super().__init__(self.subject, detail)

    def __str__(self) -> str:
        text = f"{self.problem.title}: {self.subject}"
        return f"{text}: {self.detail}" if self.detail else text


class UsageInvalid(Failure):
    """The command line is not understood."""

    problem = problems.USAGE


class ConfigMissing(Failure):
    """No configuration."""

    problem = problems.CONFIG_MISSING


class ConfigInvalid(Failure):
    """The configuration is not valid."""

    problem = problems.CONFIG_INVALID


class ConfigContradictory(Failure):
    """The configuration contradicts itself."""

    problem = problems.CONFIG_CONTRADICTORY


class ConfigUntrusted(Failure):
    """The configuration, or credentials that it names, are open to others."""

    problem = problems.CONFIG_UNTRUSTED


class StoreUrlInvalid(Failure):
    """A store's address cannot be used."""

    problem = problems.STORE_URL_INVALID


class DataDiskMissing(Failure):
    """The data disk is missing."""

    problem = problems.DATA_DISK_MISSING


class DataDiskForeign(Failure):
    """The data disk belongs to another cache."""

    problem = problems.DATA_DISK_FOREIGN


class DataDiskUnknown(Failure):
    """The data disk's identity cannot be understood."""

    problem = problems.DATA_DISK_UNKNOWN


class DataDiskReadOnly(Failure):
    """The disk is read-only."""

    problem = problems.DATA_DISK_READ_ONLY


class NoSpace(Failure):
    """Not enough space."""

    problem = problems.NO_SPACE


class NoResources(Failure):
    """The system refuses threads or memory."""

    problem = problems.NO_RESOURCES


def foreseen(error: Exception) -> Failure | None:
    """The failure that an exception of Python's own amounts to; None for one that nobody foresaw."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error)):
        return NoResources("zimage-syncd", str(error) or "out of memory")
    return None


def told(work: Callable[[], _T]) -> _T:
    """Does it; an exception of Python's own that is `foreseen` is raised as that failure."""
    try:
        return work()
    except Exception as error:
        known = foreseen(error)
        if known is None:
            raise
        raise known from error


class CacheBusy(Failure):
    """Another process works on this cache."""

    problem = problems.CACHE_BUSY


class DataDiskInUse(CacheBusy):
    """Another host uses the data disk."""

    problem = problems.DATA_DISK_IN_USE


class PathUnreadable(Failure):
    """A path cannot be read."""

    problem = problems.PATH_UNREADABLE


class PathUnwritable(Failure):
    """A path cannot be written."""

    problem = problems.PATH_UNWRITABLE


class LinkOccupied(Failure):
    """Something else lies where the cache link belongs."""

    problem = problems.LINK_OCCUPIED


class TakeInBusy(Failure):
    """A directory that belongs into the cache is being written to."""

    problem = problems.TAKE_IN_BUSY


class EnvironmentOccupied(Failure):
    """Somebody else's file lies where a file of environment variables belongs."""

    problem = problems.ENVIRONMENT_OCCUPIED


class UnsafePath(Failure):
    """A path could leave its root."""

    problem = problems.UNSAFE_PATH


class DiskError(Failure):
    """The disk reported an error."""

    problem = problems.DISK_ERROR


class LinkModeUnsupported(Failure):
    """This way of linking is not possible here."""

    problem = problems.LINK_MODE_UNSUPPORTED


class DeviceFull(Failure):
    """The disk is full."""

    problem = problems.DEVICE_FULL


class CacheMissing(Failure):
    """The cache directory is not there."""

    problem = problems.CACHE_MISSING


class SnapshotIncomplete(Failure):
    """A snapshot is not complete."""

    problem = problems.SNAPSHOT_INCOMPLETE


class SnapshotMissing(Failure):
    """A repository is not in the cache."""

    problem = problems.SNAPSHOT_MISSING


class FileDamaged(Failure):
    """A file's content is damaged."""

    problem = problems.FILE_DAMAGED


class FileMissing(Failure):
    """A file is missing."""

    problem = problems.FILE_MISSING


class FileChanging(Failure):
    """A file changed while it was read."""

    problem = problems.FILE_CHANGING


class CacheEmpty(Failure):
    """The cache holds no snapshot."""

    problem = problems.CACHE_EMPTY


class ManifestInvalid(Failure):
    """A manifest is not valid."""

    problem = problems.MANIFEST_INVALID


class ManifestCorrupt(Failure):
    """A manifest's content is not what its name says."""

    problem = problems.MANIFEST_CORRUPT


class FormatUnknown(Failure):
    """The archive has a format that this version does not know."""

    problem = problems.FORMAT_UNKNOWN


class BlobMissing(Failure):
    """A blob is missing in the store."""

    problem = problems.BLOB_MISSING


class ChunkCorrupt(Failure):
    """A store served bytes that do not match their digest."""

    problem = problems.CHUNK_CORRUPT


class NotInStore(Failure):
    """No store has this snapshot."""

    problem = problems.NOT_IN_STORE


class NotAnArchive(Failure):
    """No archive is there."""

    problem = problems.NOT_AN_ARCHIVE


class StoreMissing(Failure):
    """The store does not exist."""

    problem = problems.STORE_MISSING


class StoreDenied(Failure):
    """The store denies access."""

    problem = problems.STORE_DENIED


class StoreUnreachable(Failure):
    """The store cannot be reached."""

    problem = problems.STORE_UNREACHABLE


class ObjectMissing(Failure):
    """An object is not in the store."""

    problem = problems.OBJECT_MISSING


class StoreBroken(Failure):
    """The store gave an answer that cannot be used."""

    problem = problems.STORE_BROKEN


class DemoExtraMissing(Failure):
    """The demo needs the probe extra."""

    problem = problems.DEMO_EXTRA_MISSING


class RootNeeded(Failure):
    """Only root can do this."""

    problem = installation_problems.ROOT_NEEDED


class ProgramUncopiable(Failure):
    """This program cannot be copied."""

    problem = installation_problems.PROGRAM_UNCOPIABLE


class CopyBroken(Failure):
    """The copy of the program does not work."""

    problem = installation_problems.COPY_BROKEN


class PlaceNotLasting(Failure):
    """This is no place for what must outlive a reset."""

    problem = installation_problems.PLACE_NOT_LASTING


class InstallationForeign(Failure):
    """Another cache's installation lies there."""

    problem = installation_problems.INSTALLATION_FOREIGN


class InstallationRefused(Failure):
    """The system did not take the installation."""

    problem = installation_problems.INSTALLATION_REFUSED


class Stopped(Failure):
    """Stopped on request."""

    problem = problems.STOPPED


class DataDiskTaken(Stopped):
    """Another host has taken the data disk over; like every wish to stop, it ends the job and not one file of it."""

    problem = problems.DATA_DISK_TAKEN


class OutputLost(Failure):
    """The result could not be written."""

    problem = problems.OUTPUT_LOST
