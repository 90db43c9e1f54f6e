"""Peak memory, wall and processor time of each command: for a few large files, and for very many small ones.

    python -m benchmarks.memory
    python -m benchmarks.memory --files 20000 --only small --place /dev/shm

The store is a `file://` archive beside the cache, so that nothing but this program is measured. What is asked of it:
at most 120 MiB in every row, and 5 s for a backup of 100,000 files of which none changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.dataset import build
from benchmarks.harness import Case, Harness
from tests.support.caches import hf_snapshot

_SMALL_BYTES = 100
_SETTLED_S = 2.5
"""What changed less than 2 s ago is not kept in the ledger (docs/adr/0011)."""


class _SmallFiles(Mapping[str, bytes]):
    """So many files of 100 bytes, no two alike, 1,000 in a directory."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __getitem__(self, name: str) -> bytes:
        return name.encode().ljust(_SMALL_BYTES, b".")

    def __iter__(self) -> Iterator[str]:
        return (f"data/{number // 1000:04}/{number:07}.txt" for number in range(self._count))

    def __len__(self) -> int:
        return self._count


def main() -> None:
    """Parses, builds, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000, help="of the large files together")
    parser.add_argument("--files", type=int, default=100_000, help="how many small ones")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--place", default=None, help="where cache, store and copy lie; default: the temporary directory"
    )
    parser.add_argument("--only", default="", help="the group whose name holds this")
    parser.add_argument("--json", type=Path, default=None, help="where all samples are written to")
    options = parser.parse_args()
    # The first run of a program compiles its modules; with this set, every run would.
    harness = Harness({name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"})
    groups: dict[str, Callable[[Path], int]] = {
        f"large files, {options.megabytes} MB": lambda cache: build(cache, options.megabytes).size_bytes,
        f"small files, {options.files} of {_SMALL_BYTES} bytes": lambda cache: _build_small(cache, options.files),
    }
    for title, make in groups.items():
        if options.only in title:
            with tempfile.TemporaryDirectory(dir=options.place) as place:
                size_bytes = make(Path(place) / "cache")
                time.sleep(_SETTLED_S)
                _measure(harness, title, Path(place), size_bytes, options.runs)
    if options.json is not None:
        harness.save(options.json)


def _build_small(cache: Path, count: int) -> int:
    files = _SmallFiles(count)
    hf_snapshot(cache, files)
    return len(files) * _SMALL_BYTES


def _measure(harness: Harness, title: str, place: Path, size_bytes: int, runs: int) -> None:
    config = place / "zimage-syncd.toml"
    config.write_text(
        f'[cache]\ndir = "{place}/cache"\n[stores.store]\nurl = "file://{place}/store"\n'
        f'[daemon]\nstate_dir = "{place}/state"\n'
    )

    def case(name: str, *words: str, fresh: tuple[str, ...] = ()) -> Case:
        def before() -> None:
            for path in fresh:
                shutil.rmtree(place / path, ignore_errors=True)

        command = [sys.executable, "-m", "zimage_syncd", "--config", str(config), *words]
        return Case(name, [command], size_bytes, before)

    cases = [
        case("backup", "backup", fresh=("store", "cache/.zimage-syncd")),
        case("backup again", "backup"),
        case("restore", "restore", "--to", str(place / "copy"), fresh=("copy",)),
        case("verify --quick", "verify", "--quick"),
        case("verify --deep", "verify", "--deep"),
    ]
    harness.run(title, cases, runs)


if __name__ == "__main__":
    main()
