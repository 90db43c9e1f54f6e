"""Disks that are full, read-only or closed: one clear message, nothing lost; it goes on when the trouble is over."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.machine import Machine
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mkfs.ext4"), reason="needs root and mkfs.ext4"),
]
MIB = 2**20


@pytest.fixture
def small_disk(machine: Machine) -> Iterator[Path]:
    """A file system of 96 MiB, mounted where the data disk belongs."""
    image = machine.root / "disk.img"
    with open(image, "wb") as file:
        file.truncate(96 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    mount = machine.root / "data"
    shutil.rmtree(mount)
    mount.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"loop mounts are not possible here: {mounted.stderr.decode()}")
    machine.write_config(cache=f'mount = "{mount}"')
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


@pytest.fixture
def backed_up(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[object, ...]]:
    """A bucket with a snapshot of 64 MiB; gives what the cache must hold."""
    other = Machine(tmp_path_factory.mktemp("elsewhere"))
    big = safetensors_bytes({"x": os.urandom(4 * CHUNK_BYTES - 5000)})
    hf_snapshot(other.cache, {**pipeline_files(), "big/model.safetensors": big})
    other.write_config(store=f'url = "file://{machine.bucket}"')
    other.run("backup")
    return listing(other.cache)


def fill(mount: Path, leave_bytes: int) -> Path:
    ballast = mount / "ballast"
    numbers = os.statvfs(mount)
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, numbers.f_bavail * numbers.f_frsize - leave_bytes)
    return ballast


def test_a_disk_that_is_too_small_is_refused_before_the_first_byte(
    machine: Machine, backed_up: dict[str, tuple[object, ...]], small_disk: Path
) -> None:
    ballast = fill(small_disk, 40 * MIB)
    finished = machine.run("restore", expected=1)
    assert "ZS104" in finished.stderr
    assert "are free" in finished.stderr
    assert listing(machine.cache) == {}
    ballast.unlink()
    machine.run("restore")
    assert listing(machine.cache) == backed_up


def test_a_disk_that_fills_up_half_way_leaves_nothing_half_and_the_next_run_goes_on(
    machine: Machine, backed_up: dict[str, tuple[object, ...]], small_disk: Path
) -> None:
    ballast = fill(small_disk, 40 * MIB)
    # The check before the first byte is passed by a process that believes in more space than there is.
    code = (
        "import sys; from zimage_syncd.disk.write import CacheDisk; CacheDisk.free_bytes = lambda self: 10**12\n"
        "from zimage_syncd.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    environment = {**machine.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, "--config", str(machine.config), "restore"]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert finished.returncode == 2, finished.stdout + finished.stderr
    assert "ZS114" in finished.stdout
    assert "model.safetensors" in finished.stdout or "blobs/" in finished.stdout
    final = {path: entry for path, entry in listing(machine.cache).items() if ".zimage-syncd-" not in path}
    assert final.items() <= backed_up.items()
    assert not any("/refs/" in path for path in final)
    ballast.unlink()
    machine.run("restore")
    assert listing(machine.cache) == backed_up


def test_a_full_store_is_told_and_has_no_reference(machine: Machine, small_disk: Path) -> None:
    cache = machine.root / "cache"
    hf_snapshot(cache, {**pipeline_files(), "big/model.safetensors": safetensors_bytes({"x": os.urandom(90 * MIB)})})
    machine.config.write_text(
        f'[cache]\ndir = "{cache}"\n[stores.bucket]\nurl = "file://{small_disk}/bucket"\n'
        f'[daemon]\nstate_dir = "{machine.root}/state"\n'
    )
    finished = machine.run("backup", expected=1)
    assert "failed: bucket" in finished.stdout
    assert "refused" not in finished.stdout
    assert finished.stdout.count("ZS114 the disk is full") == 1
    assert "nothing was backed up: 1 problem found" in finished.stdout
    assert not list(small_disk.rglob("refs/*"))
    assert not list(small_disk.rglob("*.upload"))


def test_a_read_only_disk_is_told(machine: Machine, backed_up: dict[str, tuple[object, ...]], small_disk: Path) -> None:
    machine.run("restore")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    finished = machine.run("restore", expected=1)
    assert "ZS103" in finished.stderr
    assert "ZS103" in machine.run("status", expected=2).stdout
    assert "no damage found" in machine.run("verify", "--deep").stdout
    assert machine.run("path", "org/name").stdout.strip().endswith("0123456789abcdef0123456789abcdef01234567")


def test_a_disk_that_is_not_mounted_is_not_written_to(machine: Machine, small_disk: Path) -> None:
    machine.fill()
    machine.run("backup")
    subprocess.run(["umount", str(small_disk)], check=True)
    try:
        assert "ZS101" in machine.run("restore", expected=1).stderr
        assert os.listdir(small_disk) == []
    finally:
        subprocess.run(["mount", "-o", "loop", str(machine.root / "disk.img"), str(small_disk)], check=True)
    machine.run("restore")


def test_files_that_may_not_be_read_are_named_and_the_others_are_checked(machine: Machine, tmp_path: Path) -> None:
    machine.fill()
    machine.run("backup")
    place = machine.cache / "models/org--name/snapshots/master/vae/config.json"
    for directory, names, files in os.walk(machine.root):
        for name in [*names, *files]:
            os.chown(os.path.join(directory, name), 65534, 65534, follow_symlinks=False)
    os.chown(machine.root, 65534, 65534)
    place.chmod(0)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *machine.command("verify", "--deep")]
    environment = {**machine.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    parents = [parent for parent in tmp_path.parents if parent != Path("/tmp")]
    modes = {
        parent: parent.stat().st_mode for parent in parents if parent.stat().st_uid == 0 and "pytest" in str(parent)
    }
    try:
        for parent in modes:
            parent.chmod(0o755)
        finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    finally:
        for parent, mode in modes.items():
            parent.chmod(mode)
    if "Permission denied" in finished.stderr and "python" in finished.stderr:
        pytest.skip("the interpreter is not readable for another user")
    assert finished.returncode == 2, finished.stdout + finished.stderr
    assert "vae/config.json" in finished.stdout
    assert "Traceback" not in finished.stderr
