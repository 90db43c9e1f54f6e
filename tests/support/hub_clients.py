"""Runs the real hub clients, each in a process of its own: they read their settings when they are imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_KEPT = ("PATH", "LANG", "TMPDIR")

_HF_DOWNLOAD = """
import json, sys
from huggingface_hub import hf_hub_download, snapshot_download
for call in json.loads(sys.argv[1]):
    filename = call.pop("filename", None)
    try:
        print(hf_hub_download(filename=filename, **call) if filename else snapshot_download(**call))
    except Exception as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0]}")
"""

_MODELSCOPE_DOWNLOAD = """
import json, sys
from modelscope_hub.compat.snapshot_download import snapshot_download
for call in json.loads(sys.argv[1]):
    print(snapshot_download(**call))
"""


def client_environment(cache: Path, **more: str) -> dict[str, str]:
    """A clean environment with both libraries' caches in `cache`, without proxies, tokens or Xet."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    home = cache.parent / "home"
    home.mkdir(exist_ok=True)
    return {
        **kept,
        "HOME": str(home),
        "HF_HOME": str(cache),
        "MODELSCOPE_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "MODELSCOPE_DOWNLOAD_INTRA_CLOUD": "false",
        "NO_PROXY": "*",
        **more,
    }


def hf_command(*calls: dict[str, object]) -> list[str]:
    """A process that makes calls of `hf_hub_download` (those with a filename) and `snapshot_download`."""
    return [sys.executable, "-c", _HF_DOWNLOAD, json.dumps(calls)]


def modelscope_command(*calls: dict[str, object]) -> list[str]:
    """A process that makes calls of modelscope_hub's `snapshot_download`."""
    return [sys.executable, "-c", _MODELSCOPE_DOWNLOAD, json.dumps(calls)]


def run_client(command: list[str], environment: dict[str, str]) -> str:
    """Runs a client to its end and returns what it printed; fails the test where the client does."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def hf_download(cache: Path, endpoint: str, *calls: dict[str, object]) -> list[str]:
    """Downloads with huggingface_hub; one line for each call: the path, or the error's name and message."""
    return run_client(hf_command(*calls), client_environment(cache, HF_ENDPOINT=endpoint)).splitlines()


def modelscope_download(cache: Path, endpoint: str, *calls: dict[str, object], **more: str) -> list[str]:
    """Downloads with modelscope_hub; one line for each call: the path."""
    environment = client_environment(cache, MODELSCOPE_ENDPOINT=endpoint, **more)
    return run_client(modelscope_command(*calls), environment).splitlines()
