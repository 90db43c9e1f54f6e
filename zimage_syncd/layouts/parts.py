"""Parts of ModelScope's parallel downloads: `<file>_<start>_<end>` (modelscope_hub 0.5, `_parallel_download`).

A file of a repository may bear such a name too. A part begins at a multiple of 1 MiB (`DOWNLOAD_PART_SIZE` is given in
MiB), holds no more than it claims, and is a whole number of MiB long, unless it is a file's last one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_MIB = 2**20
_NAME = re.compile(r"(?P<file>.+)_(?P<start>\d{1,16})_(?P<end>\d{1,16})", re.DOTALL)


def part_of(name: str, sizes_bytes: Mapping[str, int]) -> str | None:
    """The file that `name` is a part of; None where it is a file of its own.

    Args:
        name: the file in question, from the snapshot's directory.
        sizes_bytes: sizes of all files there, by name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    start, end = int(match["start"]), int(match["end"])
    length = end - start + 1
    if start % _MIB or length <= 0 or sizes_bytes[name] > length:
        return None
    whole = length % _MIB == 0
    finished = sizes_bytes.get(match["file"])
    if finished is None:
        return match["file"] if whole or start else None
    return match["file"] if end < finished and (whole or end + 1 == finished) else None
