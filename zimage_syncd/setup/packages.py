"""Which packages the program needs, and which files they have: read off what pip recorded, nothing is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import zimage_syncd
from zimage_syncd.model.failures import ProgramUncopiable
from zimage_syncd.setup.copied_file import CopiedFile, files_below

PACKAGES = "packages"
"""Where they lie in a copy (setup/copy/start.py)."""
SHARE = "share/zimage-syncd"
"""Where units and examples lie, below a prefix and in a copy."""

_NAME = "zimage-syncd"
_OPTIONAL_EXTRAS = ("sftp",)
"""Taken along where they are installed. Never the probe's: torch alone has gigabytes."""


def package_files() -> list[CopiedFile]:
    """The files of this program and of all that it requires.

    Raises:
        ProgramUncopiable: a package is missing, or there is no record of its files.
    """
    files: dict[str, CopiedFile] = {}
    for found in _closure():
        files.update((file.name, file) for file in _files_of(found))
    # From where it is imported: of an installation in development the record names no module.
    package = os.path.dirname(os.path.abspath(zimage_syncd.__file__))
    files.update(
        (file.name, file) for file in files_below(package, f"{PACKAGES}/zimage_syncd") if _is_wanted(file.name)
    )
    return list(files.values())


def share_files() -> list[CopiedFile]:
    """Units, lists, examples, and the page that the units name.

    Raises:
        ProgramUncopiable: they did not come along with the program.
    """
    share = share_directory()
    files = list(files_below(share, SHARE))
    # Of an installation; of a source tree.
    for page in (os.path.join(share, "../doc/zimage-syncd/README.md"), os.path.join(share, "../README.md")):
        if os.path.isfile(page):
            return [*files, CopiedFile("share/doc/zimage-syncd/README.md", os.path.normpath(page))]
    return files


def share_directory() -> str:
    """Where units, lists and examples lie.

    Raises:
        ProgramUncopiable: they did not come along with the program.
    """
    package = os.path.dirname(os.path.abspath(zimage_syncd.__file__))
    recorded = [
        str(file.locate()) for file in _distribution().files or () if str(file).endswith("/zimage-syncd.service")
    ]
    places = [os.path.dirname(os.path.normpath(place)) for place in recorded]
    # Of a copy; of an installation whose record is lost; of a source tree.
    places += [os.path.join(package, os.pardir, os.pardir, SHARE), os.path.join(sys.prefix, SHARE)]
    places.append(os.path.join(package, os.pardir, "systemd"))
    for place in places:
        if os.path.isfile(os.path.join(place, "zimage-syncd.service")):
            return os.path.normpath(place)
    raise ProgramUncopiable(package, "its units (share/zimage-syncd) are not installed with it")


def _closure() -> Iterator[Distribution]:
    """This program's distribution and all that it requires, each once."""
    seen: set[tuple[str, str]] = set()
    waiting = [(_distribution(), extra, True) for extra in _OPTIONAL_EXTRAS]
    waiting.append((_distribution(), "", False))
    while waiting:
        needing, extra, optional = waiting.pop()
        for line in needing.requires or ():
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            for wanted in ("", *sorted(requirement.extras)):
                key = (canonicalize_name(requirement.name), wanted)
                if key in seen:
                    continue
                found = _installed(requirement.name, needing, optional=optional)
                if found is not None:
                    seen.add(key)
                    waiting.append((found, wanted, optional))
                    yield found
    yield _distribution()


def _distribution() -> Distribution:
    try:
        return distribution(_NAME)
    except PackageNotFoundError as error:
        raise ProgramUncopiable(
            _NAME, "it was not installed by pip or the like: nothing tells what it needs"
        ) from error


def _installed(name: str, needing: Distribution, *, optional: bool) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        if optional:
            return None
        raise ProgramUncopiable(name, f"it is not installed, and {needing.name} requires it") from error


def _files_of(found: Distribution) -> Iterator[CopiedFile]:
    if found.files is None:
        raise ProgramUncopiable(found.name, "there is no record of its files; install it by pip")
    for file in found.files:
        name = file.as_posix()
        source = str(file.locate())
        if _is_wanted(name) and os.path.isfile(source):
            yield CopiedFile(f"{PACKAGES}/{name}", source, os.access(source, os.X_OK))


def _is_wanted(name: str) -> bool:
    """Neither commands and data outside the packages, nor other interpreters' bytecode, nor paths of this machine."""
    if name.startswith(("../", "/")) or name.endswith((".pth", "/direct_url.json")):
        return False
    return not name.endswith(".pyc") or name.endswith(f".{sys.implementation.cache_tag}.pyc")
