"""The interpreter as files: the program, its standard library, and the shared libraries that they are linked with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator

from zimage_syncd.model.failures import ProgramUncopiable
from zimage_syncd.setup.copied_file import CopiedFile, files_below

_EXECUTABLE = "/proc/self/exe"
_COPY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "copy")
"""What starts a copy: two scripts of sh, and what the interpreter runs."""

_NOT_TAKEN = frozenset(
    {"test", "tests", "idlelib", "idle_test", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data"}
    | {"site-packages", "dist-packages"}
)
"""Directories of the standard library that a service does not need; packages come by name."""
_NOT_TAKEN_NAMES = re.compile(
    r"(_tkinter|nis|_crypt|crypt|_test\w*|_ctypes_test|_xx\w+|xx\w+|readline|turtle)\.[\w.-]+|config-\d.*"
)
"""The same of modules: some bring along libraries that would ask for a newer glibc than all the rest."""

_LINKED = re.compile(r"^\s*(\S+) => (/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_GLIBC = re.compile(
    r"(ld-linux.*|lib(c|m|pthread|dl|rt|util|resolv|anl|nsl|mvec|thread_db|BrokenLocale|nss_\w+))\.so\.\d+"
)
"""Every system with glibc has its own, and they must be of one build."""
_FILES_AT_ONCE = 200
_LDD_S = 60.0


def interpreter_files() -> list[CopiedFile]:
    """The running interpreter and its standard library, laid out so that it finds the one from the other.

    Raises:
        ProgramUncopiable: this is no interpreter that can be copied.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    place = f"{sys.platlibdir}/{version}"
    files = {
        "bin/python3": CopiedFile("bin/python3", os.path.realpath(_EXECUTABLE), executable=True),
        "bin/zimage-syncd": CopiedFile("bin/zimage-syncd", os.path.join(_COPY, "zimage-syncd"), executable=True),
        "bin/python": CopiedFile("bin/python", os.path.join(_COPY, "python"), executable=True),
        "start.py": CopiedFile("start.py", os.path.join(_COPY, "start.py")),
    }
    # Debian and some distributions keep what is compiled in another directory than the rest.
    compiled = [os.path.dirname(entry) for entry in sys.path if os.path.basename(entry) == "lib-dynload"]
    for directory in {sysconfig.get_path("stdlib"), *compiled}:
        files.update((file.name, file) for file in files_below(directory, place) if _is_taken(file.name, place))
    if f"{place}/os.py" not in files:
        raise ProgramUncopiable(sys.executable, "its standard library is no directory")
    return list(files.values())


def _is_taken(name: str, place: str) -> bool:
    parts = name[len(place) + 1 :].split("/")
    if any(part in _NOT_TAKEN or _NOT_TAKEN_NAMES.fullmatch(part) for part in parts):
        return False
    return not name.endswith(".pyc") or name.endswith(f".{sys.implementation.cache_tag}.pyc")


def library_files(files: Iterable[CopiedFile]) -> list[CopiedFile]:
    """The shared libraries that files of a copy are linked with, without glibc's and without those among the files.

    A library that is missing here is passed over: what needs it does not work here either.

    Raises:
        ProgramUncopiable: `ldd` is missing, or does not understand the files.
    """
    compiled = [file.source for file in files if file.executable or ".so" in file.name]
    compiled = [source for source in compiled if is_compiled(source)]
    own = {os.path.realpath(source) for source in compiled}
    found: dict[str, CopiedFile] = {}
    for name, path in _linked(compiled):
        if _GLIBC.fullmatch(name) or os.path.realpath(path) in own:
            continue
        found.setdefault(name, CopiedFile(f"lib/{name}", os.path.realpath(path)))
    return list(found.values())


def is_compiled(path: str) -> bool:
    """Whether a file is a program or library of ELF."""
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def _linked(compiled: list[str]) -> Iterator[tuple[str, str]]:
    """Names and paths of libraries, of those too that libraries need, as the dynamic linker would find them."""
    for first in range(0, len(compiled), _FILES_AT_ONCE):
        command = ["ldd", *compiled[first : first + _FILES_AT_ONCE]]
        try:
            told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_LDD_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProgramUncopiable("ldd", f"it is needed to find shared libraries: {error}") from error
        yield from _LINKED.findall(told.stdout)
