"""A full-size model on a machine with a GPU: the health check beside a plain script, and 33 GB there and back.

    python -m benchmarks.gpu --place /dev/shm --disk /var/tmp                 everything, at full size
    python -m benchmarks.gpu --place /tmp --scale tiny --only pictures        the same steps with a model of 6 MB

Each part prints its table; the twin (benchmarks/twin.py) is built once and stays in the place, so that parts can be run
one after the other. Needs torch with CUDA for full size; `transfer` needs SeaweedFS, s5cmd and b3sum.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu_resets import Program, Resets
from benchmarks.harness import Case, Harness
from benchmarks.server import BenchServer, bench_server
from benchmarks.twin import COMMIT, REPO

_HERE = Path(__file__).parent
_PLAIN = str(_HERE / "gpu_plain.py")
_PROBE = str(_HERE.parent / "zimage_syncd" / "probe" / "__main__.py")
_NAME = "models--" + REPO.replace("/", "--")


def main() -> None:
    """Builds the twin where it is missing, then measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", type=Path, required=True, help="for the twin, the server and one destination")
    parser.add_argument("--disk", type=Path, help="for the other destination; left out where it is not given")
    parser.add_argument("--scale", choices=("full", "tiny"), default="full")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="imports, pictures, load, damage, backup, verify, restore, disk, reset; backup comes before what follows",
    )
    parser.add_argument("--json", type=Path, help="where all samples are written to")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        bench = GpuBench(options.place, options.disk, options.scale, options.runs, stack)
        for name, part in bench.parts():
            if name in options.only or not options.only:
                part()
        if options.json is not None:
            bench.harness.save(options.json)


class GpuBench:
    """What is measured."""

    def __init__(self, place: Path, disk: Path | None, scale: str, runs: int, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._place, self._disk, self._runs = place, disk, runs
        self._home = place / "twin"
        self._small = scale == "tiny"
        if not self._home.exists():
            began_s = time.perf_counter()
            subprocess.run([sys.executable, "-m", "benchmarks.twin", str(self._home), "--scale", scale], check=True)
            print(f"the twin was built in {time.perf_counter() - began_s:.0f} s", flush=True)
        self._snapshot = self._home / "hub" / _NAME / "snapshots" / COMMIT
        self._bytes = sum(path.stat().st_size for path in self._snapshot.rglob("*") if path.is_file())
        environment = {**os.environ, "PYTHONPATH": f"{_HERE.parent}:{os.environ.get('PYTHONPATH', '')}"}
        self.harness = Harness(environment)

    def parts(self) -> list[tuple[str, Callable[[], None]]]:
        """Names, and what they do."""
        return [
            ("imports", self._imports),
            ("pictures", self._pictures),
            ("load", self._loads),
            ("damage", self._damage),
            ("backup", self._backup),
            ("verify", self._verify),
            ("restore", self._restore),
            ("disk", self._to_disk),
            ("reset", self._resets),
        ]

    def _imports(self) -> None:
        lean = (
            "from zimage_syncd.probe.lean import lean_imports\n"
            "with lean_imports():\n"
            "    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel\n"
            "    from diffusers import ZImagePipeline\n"
            "    from transformers import Qwen2Tokenizer, Qwen3Model\n"
        )
        plain = "from diffusers import ZImagePipeline"
        self.harness.run("imports", [self._python("ours", "-c", lean), self._python("plain", "-c", plain)], self._runs)

    def _pictures(self) -> None:
        """Whole processes; every picture of one size is to be the same one."""
        sizes = [(64, 2), (128, 2)] if self._small else [(512, 4), (1024, 9)]
        pictures: dict[str, set[str]] = {}
        told: list[str] = []
        cases = []
        for size, steps in sizes:
            target = self._place / f"picture-{size}.png"
            request = self._request("generate", size, steps, target)

            def keep(size: int = size, target: Path = target) -> None:
                pictures.setdefault(str(size), set()).add(_pixels(target))
                target.unlink()

            def tell(keep: Callable[[], None] = keep) -> None:
                told.append((self._place / "answer.json").read_text())
                keep()

            ours = ["sh", "-c", f'exec "$0" {_PROBE} < {request} > {self._place}/answer.json', sys.executable]
            cases.append(Case(f"ours, {size} px, {steps} steps", [ours], self._bytes, after=tell))
        plain = self._python("", _PLAIN, "picture", str(self._snapshot), str(size), str(steps), str(target))
        cases.append(Case(f"plain, {size} px, {steps} steps", plain.commands, self._bytes, after=keep))
        self.harness.run("a picture, whole process", cases, self._runs)
        for answer in told:
            result = json.loads(answer)
            print(result["outcome"], result["detail"], dict(result["timings_s"]), result["peak_memory_bytes"])
        print("pictures alike:", {size: len(seen) == 1 for size, seen in pictures.items()}, flush=True)

    def _loads(self) -> None:
        """Load alone: one process that has imported everything, in turns."""
        command = [sys.executable, _PLAIN, "load", str(self._snapshot), str(self._runs)]
        subprocess.run(command, check=True, env=self._environment())

    def _damage(self) -> None:
        size = ("64", "2") if self._small else ("512", "4")
        command = [sys.executable, str(_HERE / "gpu_damage.py"), str(self._snapshot), *size]
        subprocess.run(command, check=True, env=self._environment())

    def _backup(self) -> None:
        program = self._program()
        program.timed("backup", "backup")
        program.run("restore")  # makes the link, which a verification asks for

    def _verify(self) -> None:
        verify = Case("ours", [self._program().command("verify", "--deep")], self._bytes)
        hashing = Case("b3sum", [["sh", "-c", f"b3sum {self._home}/hub/{_NAME}/blobs/*"]], self._bytes)
        self.harness.run("deep verification in RAM", [verify, hashing], self._runs)

    def _restore(self) -> None:
        program = self._program()
        self.harness.run("restore in RAM", self._restores(program), self._runs)
        program.run("restore")

    def _restores(self, program: Program) -> list[Case]:
        there, server = self._place / "copy", self._server
        s5cmd = [
            "s5cmd",
            "--endpoint-url",
            server.endpoint(tls=False),
            "cp",
            "s3://weights/zimage/blobs/*",
            f"{there}/",
        ]

        def clear() -> None:
            shutil.rmtree(there, ignore_errors=True)
            shutil.rmtree(self._home / "hub", ignore_errors=True)

        hashed = ["sh", "-c", f"find {there} -type f -print0 | xargs -0 b3sum"]
        return [
            Case("ours, verified", [program.command("restore")], self._bytes, before=clear),
            Case("s5cmd", [s5cmd], self._bytes, before=clear, after=clear),
            Case("s5cmd + b3sum", [s5cmd, hashed], self._bytes, before=clear, after=clear),
        ]

    def _to_disk(self) -> None:
        """Durable: what the program says is restored has been synchronised."""
        if self._disk is None:
            return
        home = self._disk / "cache"
        program = self._program(home)
        shutil.rmtree(self._home / "hub")  # memory for the page cache
        raw = self._disk / "raw"
        count = max(self._bytes // 2**24, 1)
        dd = ["dd", "if=/dev/zero", f"of={raw}", "bs=16M", f"count={count}", "oflag=direct", "conv=fsync"]

        def clear() -> None:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            raw.unlink(missing_ok=True)
            os.sync()

        cases = [
            Case("ours, verified and durable", [program.command("restore")], self._bytes, before=clear),
            Case("dd oflag=direct", [dd], count * 2**24, before=clear, after=clear),
        ]
        self.harness.run("restore to the disk", cases, self._runs)
        clear()
        self._program().run("restore")

    def _resets(self) -> None:
        Resets(self._program(), self._place, self._home).run(self._runs)

    @functools.cached_property
    def _server(self) -> BenchServer:
        """Started by the first part that needs it, and stopped at the end."""
        server = self._stack.enter_context(bench_server(self._place / "server"))
        self.harness.server_pid = server.pid
        self.harness.environment |= {
            "AWS_ACCESS_KEY_ID": server.http.access_key,
            "AWS_SECRET_ACCESS_KEY": server.http.secret_key,
            "AWS_REGION": "us-east-1",
        }
        existing = [bucket["Name"] for bucket in server.http.client().list_buckets()["Buckets"]]
        if "weights" not in existing:
            server.http.client().create_bucket(Bucket="weights")
        return server

    def _program(self, home: Path | None = None) -> Program:
        suffix = "-disk" if home else ""
        config = self._place / f"config{suffix}.toml"
        size = "size_px = 64\nsteps = 2\n" if self._small else ""
        config.write_text(
            f'[cache]\ndir = "{home or self._home}"\nlinks = ["{self._place}/link{suffix}"]\n'
            f'repos = ["{REPO}"]\n'
            f'[stores.bucket]\nurl = "s3://weights/zimage"\nendpoint_url = "{self._server.endpoint(tls=False)}"\n'
            f'[health]\n{size}[daemon]\nstate_dir = "{self._place}/state{suffix}"\nhttp = ""\n'
        )
        return Program(config, self._environment())

    def _request(self, level: str, size: int, steps: int, picture: Path) -> Path:
        from zimage_syncd.model.health import HealthLevel, HealthRequest
        from zimage_syncd.model.health_json import encode_request

        request = HealthRequest(
            directory=str(self._snapshot),
            layout="huggingface",
            repo=REPO,
            revision=COMMIT,
            level=HealthLevel(level),
            size_px=size,
            steps=steps,
            picture=str(picture),
        )
        target = self._place / f"request-{size}.json"
        target.write_bytes(encode_request(request))
        return target

    def _environment(self) -> dict[str, str]:
        return dict(self.harness.environment)

    def _python(self, name: str, *words: str) -> Case:
        return Case(name, [[sys.executable, *words]], self._bytes)


def _pixels(path: Path) -> str:
    import hashlib

    from PIL import Image

    with Image.open(path) as picture:
        return hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()


if __name__ == "__main__":
    main()
