"""A machine in a directory: data disk, system disk, a bucket, a configuration, and the command line as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import forked
from tests.support.caches import hf_snapshot, modelscope_snapshot
from tests.support.tiny_safetensors import pipeline_files

_PROGRAM = [sys.executable, "-m", "zimage_syncd"]


@dataclass
class Machine:
    root: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        return self.root / "data/cache"

    @property
    def link(self) -> Path:
        return self.root / "system/workspace/model_cache"

    @property
    def bucket(self) -> Path:
        return self.root / "bucket"

    @property
    def config(self) -> Path:
        return self.root / "zimage.toml"

    def write_config(self, extra: str = "", *, cache: str = "", store: str = "") -> None:
        address = store or f'url = "file://{self.bucket}"'
        self.config.write_text(
            f'[cache]\ndir = "{self.cache}"\nlinks = ["{self.link}"]\n{cache}\n'
            f"[stores.bucket]\n{address}\n"
            f'[daemon]\nstate_dir = "{self.root}/system/state"\n{extra}\n'
        )
        self.config.chmod(0o600)

    def fill(self) -> None:
        hf_snapshot(self.cache, pipeline_files())
        modelscope_snapshot(self.cache, pipeline_files())
        (self.cache / "token").write_text("hf_verysecret")

    def environment(self, **more: str) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ZIMAGE_SYNCD", "AWS_"))}
        return {**clean, "HOME": str(self.root / "home"), "AWS_EC2_METADATA_DISABLED": "true", **more}

    def command(self, *arguments: str, config: bool = True) -> list[str]:
        named = ["--config", str(self.config)] if config else []
        return [*_PROGRAM, *named, *arguments]

    def run(
        self, *arguments: str, expected: int | None = 0, config: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        finished = self._run(self.command(*arguments, config=config), self.environment(**environment))
        assert "Traceback" not in finished.stderr, finished.stderr
        assert "hf_verysecret" not in finished.stdout + finished.stderr
        if expected is not None:
            assert finished.returncode == expected, finished.stdout + finished.stderr
        return finished

    def _run(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        if command[: len(_PROGRAM)] == _PROGRAM and forked.can_fork(environment):
            return forked.run(command[len(_PROGRAM) :], environment, self.root)
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.root, env=environment)

    def run_as_nobody_special(self, *arguments: str, expected: int | None) -> subprocess.CompletedProcess[str]:
        """As a user whom permissions bind: root without its capabilities, who still finds the interpreter."""
        command = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *self.command(*arguments)]
        environment = {**self.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
        finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert "Traceback" not in finished.stderr, finished.stderr
        assert expected in {None, finished.returncode}, finished.stdout + finished.stderr
        return finished

    def json(self, *arguments: str, expected: int | None = 0) -> dict[str, Any]:
        document = json.loads(self.run("--json", *arguments, expected=expected).stdout)
        assert document["schema"].startswith("zimage-syncd/")
        return dict(document)
