"""Deep verification beside the tools that people would check with: in memory, and cold on the disk.

    make bench                                        everything, as docs/performance.md has it
    python -m benchmarks.verification --megabytes 512 --runs 3 --only cold

Every tool reads the same files and computes what it compares with; b3sum and sha256sum only print it, dd only reads.
`hf cache verify` asks a hub on loopback for its list; `rclone checksum` is `rclone check` with digests in place of a
remote. At the end, what a verification leaves in the page cache is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.dataset import FULL_MEGABYTES, Dataset, build
from benchmarks.harness import Case, Harness
from tests.support.caches import COMMIT
from tests.support.loopback import Answer, LoopbackServer, Request, json_answer
from zimage_syncd.disk.page_cache import resident_pages

_BIN = str(Path(sys.executable).parent)
_CORES = str(len(os.sched_getaffinity(0)))
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LEAST_RESIDENT = 0.95
"""Of what was hot before, this share is hot afterwards, or a GPU job's weights were evicted."""


def main() -> None:
    """Parses, builds, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=FULL_MEGABYTES)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ram", default="/dev/shm", help="where the cache in memory lies")
    parser.add_argument("--disk", default=None, help="where the cache on a disk lies; default: the temporary directory")
    parser.add_argument("--only", action="append", default=[], help="groups whose name holds this")
    parser.add_argument("--cases", default="", help="peers whose name holds this; ours is always there")
    parser.add_argument("--json", type=Path, default=None, help="where all samples are written to")
    options = parser.parse_args()
    environment = {**os.environ, "PATH": f"{_BIN}:{os.environ.get('PATH', '')}", "HF_HUB_DISABLE_TELEMETRY": "1"}
    harness = Harness(environment)
    groups: list[tuple[str, str | None, Callable[[Bench], None]]] = [
        ("deep verification in memory", options.ram, lambda bench: bench.measure(options.runs, options.cases)),
        (
            "deep verification on the disk, cold",
            options.disk,
            lambda bench: bench.measure(options.runs, options.cases, cold=True),
        ),
        ("footprint in the page cache", options.disk, lambda bench: bench.footprint()),
    ]
    for title, place, act in groups:
        if options.only and not any(word in title for word in options.only):
            continue
        with tempfile.TemporaryDirectory(dir=place) as directory:
            act(Bench(title, Path(directory), options.megabytes, harness))
    if options.json is not None:
        harness.save(options.json)


class _Listing(LoopbackServer):
    """A hub that knows one repository's list of files, and gives none."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__()
        tree = json.loads((dataset.blobs.parent / "trees" / f"{COMMIT}.json").read_text())
        self._entries = [_entry(path, facts) for path, facts in tree["files"].items()]

    def answer(self, request: Request) -> Answer:
        """The list, whatever of the API is asked."""
        return json_answer(self._entries) if "/tree/" in request.raw_path else Answer(404)


def _entry(path: str, facts: dict[str, object]) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": facts["size"], "oid": facts["blob_id"]}
    if "lfs_sha256" in facts:
        entry["lfs"] = {"oid": facts["lfs_sha256"], "size": facts["lfs_size"], "pointerSize": 134}
    return entry


class Bench:
    """One recorded cache, and what reads it."""

    def __init__(self, title: str, directory: Path, megabytes: int, harness: Harness) -> None:
        self._title = title
        self._directory = directory
        self._harness = harness
        self._dataset = build(directory / "cache", megabytes)
        self._files = sorted(self._dataset.blobs.iterdir())
        self._config = directory / "zimage-syncd.toml"
        self._record()

    def _record(self) -> None:
        """Lets the cache have a manifest: a backup into a directory that is removed again."""
        archive = self._directory / "archive"
        cache, state = f'[cache]\ndir = "{self._dataset.cache}"\n', f'[daemon]\nstate_dir = "{self._directory}/state"\n'
        self._config.write_text(f'{cache}[stores.archive]\nurl = "file://{archive}"\n{state}')
        Harness(self._harness.environment).measure(Case("ours", [self._ours("backup")], 0))
        shutil.rmtree(archive)
        self._config.write_text(f"{cache}{state}")

    def measure(self, runs: int, only: str, *, cold: bool = False) -> None:
        """The table of ours and the peers that are installed."""
        with _Listing(self._dataset) as hub:
            cases = self._cases(hub.endpoint, cold=cold)
            chosen = [case for case in cases if only in case.name or case.name.startswith("ours")]
            self._harness.run(self._title, list(self._installed(chosen)), runs)

    def _installed(self, cases: Iterable[Case]) -> Iterable[Case]:
        for case in cases:
            program = case.commands[0][0]
            if shutil.which(program, path=self._harness.environment["PATH"]) is None:
                print(f"({case.name} is left out: there is no {program})", flush=True)
            else:
                yield case

    def _ours(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "zimage_syncd", "--config", str(self._config), *words]

    def _cases(self, hub: str, *, cold: bool) -> list[Case]:
        names = [str(file) for file in self._files]
        cache, sums = self._dataset.cache / "hub", self._directory / "SHA256SUMS"
        # Small files are named by git's SHA-1, and are left out here: they are a thousandth.
        sums.write_text("".join(f"{file.name}  {file.name}\n" for file in self._files if len(file.name) == 64))
        before = self._drop if cold else lambda: None

        def case(name: str, command: Sequence[str]) -> Case:
            return Case(name, [command], self._dataset.size_bytes, before)

        rclone = ["rclone", "--config", os.devnull, "checksum", "sha256", str(sums), str(self._dataset.blobs)]
        cases = [
            case("ours (verify --deep)", self._ours("verify", "--deep")),
            case(f"b3sum, {_CORES} threads", ["b3sum", "--num-threads", _CORES, *names]),
            case(f"sha256sum, {_CORES} processes", ["xargs", "-a", self._listed(), "-P", _CORES, "-n1", "sha256sum"]),
            case("rclone checksum sha256", [*rclone, "--one-way", "--checkers", _CORES]),
            case(
                "hf cache verify",
                [
                    *("env", f"HF_ENDPOINT={hub}", "NO_PROXY=127.0.0.1"),
                    *("hf", "cache", "verify", "org/name", "--revision", COMMIT, "--cache-dir", str(cache)),
                ],
            ),
        ]
        if cold:
            read = 'for file do dd if="$file" of=/dev/null iflag=direct bs=16M status=none; done'
            cases.insert(1, case("dd iflag=direct bs=16M (only reads)", ["sh", "-c", read, "sh", *names]))
        return cases

    def _listed(self) -> str:
        """A file with the names of the payload, the largest first, as two processes are done soonest."""
        listed = self._directory / "names"
        by_size = sorted(self._files, key=lambda file: -file.stat().st_size)
        listed.write_text("".join(f"{file}\n" for file in by_size))
        return str(listed)

    def footprint(self) -> None:
        """Prints what a deep verification leaves of what was hot, and adds to what was cold.

        Raises:
            RuntimeError: it evicted something.
        """
        for file in self._files:
            file.read_bytes()
        hot = self._verified_share()
        self._drop()
        cold = self._verified_share()
        megabytes = self._dataset.size_bytes / 1e6
        print(
            f"**{self._title}**\n\n{megabytes:.0f} MB, resident after `verify --deep`:"
            f" {hot:.2%} of what was hot before, {cold:.2%} of what was cold before\n",
            flush=True,
        )
        if hot < _LEAST_RESIDENT:
            raise RuntimeError(f"{hot:.2%} are resident after a deep verification, expected {_LEAST_RESIDENT:.0%}")

    def _verified_share(self) -> float:
        Harness(self._harness.environment).measure(Case("ours", [self._ours("verify", "--deep")], 0))
        pages = sum(-(-file.stat().st_size // _PAGE) for file in self._files)
        return sum(_resident(file) for file in self._files) / pages

    def _drop(self) -> None:
        """Lets the page cache forget the payload."""
        for file in self._files:
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
        if any(_resident(file) for file in self._files):
            print("(some of the payload stayed in the page cache: not quite cold)", flush=True)


def _resident(file: Path) -> int:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        size = file.stat().st_size
        return resident_pages(descriptor, 0, size) if size else 0
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
