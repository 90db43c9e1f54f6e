"""The versions that lie in an installation's directory: which there are, and by whose line the machine started last."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass

from zimage_syncd.durability import sync_directory

VERSIONS = "versions"
PROGRAM = "program.tar"
SETTINGS = "settings.tar"
SCRIPT = "boot.sh"
_ABOUT = "version.json"
_USED = "used"
"""Made by the boot script when the line started it."""
_NAME = re.compile(r"(\d{4,})-[\w.+!-]+")
_MAKING = ".making-"
_MAX_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class About:
    """What is written down with a version."""

    program: str
    """The copy's name: the program's version, and the beginning of its fingerprint."""
    program_sha256: str
    """Of program.tar."""
    script_sha256: str
    """Of boot.sh; the version's line has it."""
    config: str
    """The file that the configuration was read from."""
    config_sha256: str
    """Of its content."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version in its place."""

    directory: str
    """Absolute."""
    sequence: int
    """Counted up."""
    about: About
    """As it was written down."""
    used: bool
    """Whether the machine was started by its line."""

    @property
    def name(self) -> str:
        """The directory's."""
        return os.path.basename(self.directory)


def known_versions(directory: str) -> list[Version]:
    """The versions of an installation, the oldest first; what cannot be understood is passed over.

    Args:
        directory: of the installation.
    """
    place = os.path.join(directory, VERSIONS)
    found = []
    for name in os.listdir(place) if os.path.isdir(place) else []:
        match = _NAME.fullmatch(name)
        about = _read_about(os.path.join(place, name, _ABOUT)) if match else None
        if match and about is not None:
            used = os.path.exists(os.path.join(place, name, _USED))
            found.append(Version(os.path.join(place, name), int(match[1]), about, used))
    return sorted(found, key=lambda version: version.sequence)


def line_in_use(versions: list[Version]) -> Version | None:
    """The newest version by whose line the machine started; None where no line was ever used."""
    return next((version for version in reversed(versions) if version.used), None)


def begin_version(directory: str) -> str:
    """Makes a directory for a version that is being made, and removes what was not finished; returns its path.

    Raises:
        OSError: it cannot be made.
    """
    place = os.path.join(directory, VERSIONS)
    os.makedirs(place, mode=0o755, exist_ok=True)
    for name in os.listdir(place):
        if name.startswith(_MAKING):
            shutil.rmtree(os.path.join(place, name))
    making = os.path.join(place, f"{_MAKING}{os.getpid()}")
    os.mkdir(making, mode=0o755)
    return making


def finish_version(making: str, about: About, sequence: int) -> str:
    """Gives a version its name, durably, after which it counts; returns its path.

    Raises:
        OSError: it cannot be written.
    """
    with open(os.path.join(making, _ABOUT), "x", encoding="utf-8") as file:
        json.dump(asdict(about), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    final = os.path.join(os.path.dirname(making), version_name(about, sequence))
    sync_directory(making)
    os.rename(making, final)
    sync_directory(os.path.dirname(final))
    return final


def version_name(about: About, sequence: int) -> str:
    """Names sort by age; the digest is there for people."""
    return f"{sequence:04d}-{about.program.partition('-')[0]}-{about.script_sha256[:12]}"


def _read_about(path: str) -> About | None:
    try:
        with open(path, encoding="utf-8") as file:
            document = json.loads(file.read(_MAX_BYTES))
        return About(**{name: str(document[name]) for name in About.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
