"""`zimage-syncd demo`: build, cache, back up, lose, restore, verify, damage, mend, draw.

Every step runs the real thing: the real huggingface_hub client against a hub on 127.0.0.1, the real command line on a
real configuration, the real probe. Nothing outside the demo's directory is touched.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from zimage_syncd.demo.hub import DemoHub
from zimage_syncd.model.failures import DemoExtraMissing, UsageInvalid

REPO = "demo/tiny-z-image"
_CONFIG = """\
[cache]
dir   = "{root}/data-disk/model_cache"
links = ["{root}/system-disk/model_cache"]
repos = ["{repo}"]

[stores.bucket]
url = "file://{root}/bucket"

[health]
size_px = 256
steps = 2
device = "auto"

[daemon]
state_dir = "{root}/system-disk/state"
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the story plays."""

    root: str
    """Its directory."""

    @property
    def link(self) -> str:
        """The cache link, where the libraries look."""
        return os.path.join(self.root, "system-disk", "model_cache")

    @property
    def cache(self) -> str:
        """The cache directory."""
        return os.path.join(self.root, "data-disk", "model_cache")

    @property
    def config(self) -> str:
        """The configuration file."""
        return os.path.join(self.root, "zimage-syncd.toml")


class StepFailed(Exception):
    """A step of the story did not go as it has to."""


def run_demo(directory: str | None, keep: bool) -> int:
    """Tells the story.

    Args:
        directory: where; must be empty or absent. None: a temporary directory.
        keep: leave everything there; otherwise only picture and reports stay.

    Returns:
        The process's exit code: 0 when every step went as it has to, 1 otherwise.

    Raises:
        DemoExtraMissing: torch or diffusers are not installed.
        UsageInvalid: the directory holds something.
    """
    _require_probe_extra()
    root = _empty_directory(directory)
    stage = Stage(root)
    try:
        _tell(stage)
    except StepFailed as failure:
        print(f"\nThe demo failed: {failure}\nEverything is still in {root}", file=sys.stderr)  # noqa: T201
        return 1
    _say("What is left to look at")
    _show_results(stage)
    if not keep:
        for name in ("system-disk", "bucket", "pipeline"):
            shutil.rmtree(os.path.join(root, name), ignore_errors=True)
    return 0


def _require_probe_extra() -> None:
    missing = [name for name in ("torch", "diffusers", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoExtraMissing("demo", f"not installed in {sys.prefix}: {', '.join(missing)}")


def _empty_directory(directory: str | None) -> str:
    if directory is None:
        return tempfile.mkdtemp(prefix="zimage-syncd-demo-")
    root = os.path.abspath(directory)
    os.makedirs(root, exist_ok=True)
    if os.listdir(root):
        raise UsageInvalid("zimage-syncd demo", f"--dir expects an empty directory, and {root} holds something")
    return root


def _tell(stage: Stage) -> None:
    _say("1. A tiny Z-Image pipeline, random weights, the real classes")
    pipeline = os.path.join(stage.root, "pipeline")
    _run([sys.executable, "-m", "zimage_syncd.probe.tiny", pipeline], quiet=True)
    print(f"   {_count(pipeline)} in {pipeline}")  # noqa: T201

    _say("2. huggingface_hub downloads it from a hub on 127.0.0.1 into the cache on the 'data disk'")
    os.makedirs(stage.cache)
    os.makedirs(os.path.dirname(stage.link))
    os.symlink(stage.cache, stage.link)
    with open(stage.config, "w", encoding="utf-8") as file:
        file.write(_CONFIG.format(root=stage.root, repo=REPO))
    _download(stage, pipeline)
    _command(stage, "snapshots")

    _say("3. Backed up to a store")
    _command(stage, "backup")

    _say("4. The instance is reset: the system disk is new, and this time the data disk is lost as well")
    shutil.rmtree(os.path.join(stage.root, "system-disk"))
    shutil.rmtree(os.path.join(stage.root, "data-disk"))
    os.makedirs(os.path.join(stage.root, "system-disk"))
    _command(stage, "status", expected=2)

    _say("5. Restored, every chunk checked")
    _command(stage, "restore")
    _command(stage, "restore")
    _command(stage, "verify", "--deep")

    _say("6. One byte of the weights flips on the disk")
    damaged = _flip_a_byte(stage)
    print(f"   {damaged}")  # noqa: T201
    _command(stage, "verify", "--deep", expected=2)
    _command(stage, "verify", "--deep", "--repair", expected=2)
    _command(stage, "verify", "--deep")

    _say("7. The restored cache draws a picture, offline (of random weights: coloured noise)")
    _command(stage, "health", "--level", "generate")


def _download(stage: Stage, pipeline: str) -> None:
    files = {}
    for directory, _, names in os.walk(pipeline):
        for name in names:
            place = os.path.join(directory, name)
            with open(place, "rb") as file:
                files[os.path.relpath(place, pipeline)] = file.read()
    code = f"from huggingface_hub import snapshot_download; print('  ', snapshot_download({REPO!r}))"
    with DemoHub(REPO, files) as hub:
        environment = {
            **os.environ,
            "HF_HOME": stage.link,
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN"):
            environment.pop(name, None)
        # A proxy of the machine's cannot reach a hub on its own 127.0.0.1.
        environment["NO_PROXY"] = environment["no_proxy"] = "127.0.0.1"
        _run([sys.executable, "-c", code], environment=environment)


def _flip_a_byte(stage: Stage) -> str:
    blobs = os.path.join(stage.cache, "hub", f"models--{REPO.replace('/', '--')}", "blobs")
    largest = max((os.path.join(blobs, name) for name in os.listdir(blobs)), key=os.path.getsize)
    with open(largest, "r+b") as file:
        file.seek(-1000, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1000, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    return largest


def _command(stage: Stage, *arguments: str, expected: int = 0) -> None:
    print(f"\n   $ zimage-syncd {' '.join(arguments)}", flush=True)  # noqa: T201
    command = [sys.executable, "-m", "zimage_syncd", "--config", stage.config, *arguments]
    _run(command, expected=expected)


def _run(
    command: list[str], *, expected: int = 0, quiet: bool = False, environment: dict[str, str] | None = None
) -> None:
    finished = subprocess.run(
        command,
        check=False,
        env=environment or _clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if not quiet or finished.returncode != expected:
        print("".join(f"   {line}\n" for line in finished.stdout.splitlines()), end="", flush=True)  # noqa: T201
    if finished.returncode != expected:
        raise StepFailed(f"{' '.join(command[1:])[:200]} ended with {finished.returncode}, expected {expected}")


def _clean_environment() -> dict[str, str]:
    """Without this program's own variables: the demo's configuration is the only one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ZIMAGE_SYNCD")}


def _show_results(stage: Stage) -> None:
    state = os.path.join(stage.cache, ".zimage-syncd")
    for kind in ("pictures", "reports"):
        directory = os.path.join(state, kind)
        places = [entry.path for entry in os.scandir(directory)] if os.path.isdir(directory) else []
        if not places:
            raise StepFailed(f"{directory} is empty")
        print(f"   {kind:9} {max(places, key=os.path.getmtime)}")  # noqa: T201
    print(f"   cache     {stage.cache}")  # noqa: T201


def _count(directory: str) -> str:
    sizes = [os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(directory) for name in names]
    return f"{len(sizes)} files, {sum(sizes) / 1e6:.1f} MB"


def _say(title: str) -> None:
    print(f"\n{title}", flush=True)  # noqa: T201
