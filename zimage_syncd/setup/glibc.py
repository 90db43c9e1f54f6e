"""The oldest glibc on which compiled files run."""

from __future__ import annotations

import re
from collections.abc import Iterable

_VERSION = re.compile(rb"\0GLIBC_(\d+)\.(\d+)(?=[\0.])")
"""Names of symbol versions in an ELF file's string table. Only glibc itself defines such, everybody else needs them."""

_RELATIVE_RELOCATIONS = b"\0GLIBC_ABI_DT_RELR\0"
"""Needed by files that are linked with `-z pack-relative-relocs`; glibc has it from 2.36 on (its NEWS)."""


def oldest_glibc(paths: Iterable[str]) -> str:
    """The newest symbol version that any of these files needs, such as `2.34`; empty where none needs one.

    Raises:
        OSError: a file cannot be read.
    """
    newest = (0, 0)
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        if _RELATIVE_RELOCATIONS in content:
            newest = max(newest, (2, 36))
        for major, minor in _VERSION.findall(content):
            newest = max(newest, (int(major), int(minor)))
    return "" if newest == (0, 0) else f"{newest[0]}.{newest[1]}"
