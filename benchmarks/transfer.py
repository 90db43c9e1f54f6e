"""Backup and verified restore against a real S3 server, beside the tools that people would use instead.

    make bench                                        everything, as docs/performance.md has it
    python -m benchmarks.transfer --megabytes 512 --runs 3 --only restore

One data set, one SeaweedFS on loopback, interleaved runs. s5cmd and rclone verify nothing cryptographic.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.dataset import FULL_MEGABYTES, Dataset, build
from benchmarks.harness import Case, Harness
from benchmarks.server import BenchServer, bench_server

_BIN = str(Path(sys.executable).parent)


def main() -> None:
    """Parses, builds, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=FULL_MEGABYTES)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ram", default="/dev/shm", help="where the server, the cache and one destination lie")
    parser.add_argument("--disk", default=None, help="the other destination; default: the temporary directory")
    parser.add_argument("--only", action="append", default=[], help="groups whose name holds this")
    parser.add_argument("--cases", default="", help="peers whose name holds this; ours is always there")
    parser.add_argument("--json", type=Path, default=None, help="where all samples are written to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.ram) as ram, tempfile.TemporaryDirectory(dir=options.disk) as disk:
        dataset = build(Path(ram) / "cache", options.megabytes)
        with bench_server(Path(ram) / "server") as server:
            bench = Bench(dataset, server, Path(ram), Path(disk))
            for title, cases in bench.groups():
                if any(word in title for word in options.only) or not options.only:
                    chosen = [case for case in cases() if options.cases in case.name or case.name.startswith("ours")]
                    bench.harness.run(title, chosen, options.runs)
            if options.json is not None:
                bench.harness.save(options.json)


class Bench:
    """What is compared."""

    def __init__(self, dataset: Dataset, server: BenchServer, ram: Path, disk: Path) -> None:
        self._dataset = dataset
        self._server = server
        self._ram = ram
        self._disk = disk
        environment = {
            # Without it Python would compile every module at each start, which no installed package does.
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "PATH": f"{_BIN}:{os.environ.get('PATH', '')}",
            "AWS_ACCESS_KEY_ID": server.http.access_key,
            "AWS_SECRET_ACCESS_KEY": server.http.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_CA_BUNDLE": str(server.certificate),
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_CACHE_DIR": str(ram / "restic-cache"),
        }
        self.harness = Harness(environment, server.pid)
        self._full = ""
        """The bucket that restores read from: an archive below `ours/`, whose blobs all programs fetch."""

    def groups(self) -> list[tuple[str, Callable[[], list[Case]]]]:
        """Titles, and how their cases are made."""
        return [
            ("backup to S3", self._backups),
            ("backup again, nothing changed", self._again),
            ("restore from S3 over HTTP to RAM", lambda: self._restores(self._ram / "copy")),
            ("restore from S3 over HTTP to the disk", lambda: self._restores(self._disk / "copy", sync=True)),
            ("restore from S3 over HTTPS to RAM", lambda: self._restores(self._ram / "copy", tls=True)),
            ("restore from a directory to the disk", lambda: self._copies(self._disk / "copy")),
            ("one flipped byte of a 1.2 GB file mended from S3", self._repairs),
        ]

    def _config(self, bucket: str, *, tls: bool = False) -> str:
        place = self._ram / f"{bucket}{'-tls' if tls else ''}.toml"
        bundle = f'ca_bundle = "{self._server.certificate}"\n' if tls else ""
        place.write_text(
            f'[cache]\ndir = "{self._dataset.cache}"\n'
            f'[stores.bucket]\nurl = "s3://{bucket}/ours"\nregion = "us-east-1"\n'
            f'endpoint_url = "{self._server.endpoint(tls=tls)}"\n{bundle}'
            f'[restore]\norder = ["bucket"]\n[backup]\nto = ["bucket"]\n'
            f'[daemon]\nstate_dir = "{self._ram}/state"\n'
        )
        return str(place)

    def _ours(self, config: str, *words: str) -> list[str]:
        return [sys.executable, "-m", "zimage_syncd", "--config", config, *words]

    def _s5cmd(self, *words: str, tls: bool = False) -> list[str]:
        return ["s5cmd", "--endpoint-url", self._server.endpoint(tls=tls), *words]

    def _rclone(self, *words: str, tls: bool = False) -> list[str]:
        remote = (
            f":s3,provider=SeaweedFS,env_auth=true,region=us-east-1,force_path_style=true,"
            f"endpoint='{self._server.endpoint(tls=tls)}':"
        )
        certificate = ["--ca-cert", str(self._server.certificate)] if tls else []
        return ["rclone", "--config", os.devnull, *certificate, *(word.replace("REMOTE:", remote) for word in words)]

    def _boto(self, verb: str, bucket: str, directory: Path, *, tls: bool = False) -> list[str]:
        program = str(Path(__file__).with_name("boto.py"))
        prefix = "ours/blobs/" if verb == "get" else "files/"
        return [sys.executable, program, verb, self._server.endpoint(tls=tls), bucket, prefix, str(directory)]

    def _backups(self) -> list[Case]:
        size, blobs = self._dataset.size_bytes, self._dataset.blobs
        bucket = ""

        def fresh(command: Callable[[str], Sequence[Sequence[str]]], name: str) -> Case:
            commands: list[Sequence[str]] = []

            def before() -> None:
                nonlocal bucket
                shutil.rmtree(self._dataset.cache / ".zimage-syncd", ignore_errors=True)
                bucket = self._server.http.make_bucket()
                commands[:] = command(bucket)

            return Case(name, commands, size, before, lambda: self._server.drop_bucket(bucket))

        return [
            fresh(lambda bucket: [self._ours(self._config(bucket), "backup")], "ours (hashes all)"),
            fresh(lambda bucket: [self._s5cmd("cp", f"{blobs}/", f"s3://{bucket}/")], "s5cmd cp"),
            fresh(
                lambda bucket: [
                    self._rclone(
                        *("copy", str(blobs), f"REMOTE:{bucket}", "--transfers", "4", "--s3-chunk-size", "16M"),
                        *("--s3-upload-concurrency", "4"),
                    )
                ],
                "rclone copy",
            ),
            fresh(lambda bucket: [self._boto("put", bucket, blobs)], "boto3 upload_file"),
            fresh(
                lambda bucket: [
                    ["restic", "-r", self._restic(bucket), "init"],
                    ["restic", "-r", self._restic(bucket), "backup", "--quiet", str(blobs)],
                ],
                "restic backup (hashes, compresses, encrypts)",
            ),
        ]

    def _restic(self, bucket: str) -> str:
        return f"s3:{self._server.endpoint(tls=False)}/{bucket}"

    def _again(self) -> list[Case]:
        config = self._config(self._filled())
        return [Case("ours", [self._ours(config, "backup")], self._dataset.size_bytes)]

    def _restores(self, destination: Path, *, tls: bool = False, sync: bool = False) -> list[Case]:
        size, bucket = self._dataset.size_bytes, self._filled()
        config = self._config(bucket, tls=tls)
        synced = [["sync", "-f", str(destination.parent)]] if sync else []
        blobs = f"REMOTE:{bucket}/ours/blobs"

        def case(name: str, *commands: Sequence[str]) -> Case:
            def before() -> None:
                after()
                destination.mkdir()
                if sync:
                    os.sync()

            def after() -> None:
                shutil.rmtree(destination, ignore_errors=True)

            return Case(name, [*commands, *synced], size, before, after)

        s5cmd = self._s5cmd("cp", f"s3://{bucket}/ours/blobs/*", f"{destination}/", tls=tls)
        rclone = self._rclone(
            *("copy", blobs, str(destination), "--transfers", "4", "--multi-thread-streams", "4"),
            *("--multi-thread-chunk-size", "16M", "--ignore-checksum"),
            tls=tls,
        )
        b3sum = ["sh", "-c", f"find {destination} -type f -exec b3sum --num-threads 2 {{}} +"]
        return [
            case("ours (verifies all)", self._ours(config, "restore", "--to", str(destination))),
            case("s5cmd cp", s5cmd),
            case("rclone copy", rclone),
            case("s5cmd cp, then b3sum", s5cmd, b3sum),
            case("boto3 download_file", self._boto("get", bucket, destination, tls=tls)),
            case("cp of the same bytes (no network)", ["cp", "-r", f"{self._dataset.blobs}/.", str(destination)]),
        ]

    def _filled(self) -> str:
        if not self._full:
            self._full = self._server.http.make_bucket()
            shutil.rmtree(self._dataset.cache / ".zimage-syncd", ignore_errors=True)
            setup = Harness(self.harness.environment)
            setup.measure(Case("ours", [self._ours(self._config(self._full), "backup")], 0))
        return self._full

    def _copies(self, destination: Path) -> list[Case]:
        store = self._ram / "directory"
        place = self._ram / "directory.toml"
        place.write_text(
            f'[cache]\ndir = "{self._dataset.cache}"\n[stores.directory]\nurl = "file://{store}"\n'
            f'[daemon]\nstate_dir = "{self._ram}/state"\n'
        )
        shutil.rmtree(self._dataset.cache / ".zimage-syncd", ignore_errors=True)
        store.mkdir()
        Harness(self.harness.environment).measure(Case("backup", [self._ours(str(place), "backup")], 0))
        synced = ["sync", "-f", str(destination.parent)]

        def clear() -> None:
            shutil.rmtree(destination, ignore_errors=True)
            os.sync()

        ours = self._ours(str(place), "restore", "--to", str(destination), "--mode", "copy")
        copy = ["cp", "-r", "--reflink=never", str(store / "blobs"), str(destination)]
        size = self._dataset.size_bytes
        return [
            Case("ours (verifies all)", [ours, synced], size, clear, clear),
            Case("cp --reflink=never", [copy, synced], size, clear, clear),
        ]

    def _repairs(self) -> list[Case]:
        config, shard = self._config(self._filled()), self._dataset.shard(0)

        def flip() -> None:
            mode = shard.stat().st_mode
            shard.chmod(0o644)
            with shard.open("r+b") as file:
                file.seek(shard.stat().st_size // 2)
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 1]))
            shard.chmod(mode)

        size = self._dataset.size_bytes
        return [
            Case("verify --deep --repair", [self._ours(config, "verify", "--deep", "--repair")], size, flip, ends=(2,)),
            Case("verify --deep, nothing to mend", [self._ours(config, "verify", "--deep")], size),
        ]


if __name__ == "__main__":
    main()
