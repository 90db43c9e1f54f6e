"""A tiny random Z-Image pipeline, built once for a directory and shared by all tests that need one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from filelock import FileLock

DONE = ".built"


def shared_pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The one that all processes of a run share. Not to be written to."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return tiny_pipeline(str(shared / "tiny-pipeline"))


def tiny_pipeline(directory: str) -> str:
    """Builds the pipeline in `directory/repository`, unless it is there already.

    It is built by a process of its own, so that torch does not stay in the memory of the tests.

    Args:
        directory: absolute path; several test processes may give the same one.

    Returns:
        Absolute path of the repository's files. Not to be written to.
    """
    os.makedirs(directory, exist_ok=True)
    repository = os.path.join(directory, "repository")
    marker = os.path.join(directory, DONE)
    with FileLock(os.path.join(directory, ".lock")):
        if not os.path.exists(marker):
            command = [sys.executable, "-m", "zimage_syncd.probe.tiny", repository]
            root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
            subprocess.run(command, check=True, cwd=root, capture_output=True, timeout=170)
            with open(marker, "w", encoding="utf-8"):
                pass
    return repository
