"""`zimage-syncd run` as a process: resets, lost links, disks that come and go."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.caches import COMMIT, hf_snapshot, listing, modelscope_snapshot
from tests.support.loop_disk import LoopDisk
from tests.support.machine import Machine
from tests.support.tiny_safetensors import pipeline_files

ONLY_BACKUPS = """log = "json"
[health]
after = []
[verify]
quick = ""
deep = ""
[backup]
to = ["bucket"]
settle_s = 1
"""
"""What changes lead to, and nothing that the clock starts."""
SOON_S = 15
"""Less than the 20 s after which the clock looks by itself."""


class Daemon:
    """The running daemon, whose log is JSON lines."""

    def __init__(self, machine: Machine) -> None:
        self._log = machine.root / "daemon.log"
        environment = {**machine.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(machine.command("run"), stdout=log, stderr=log, env=environment)

    def lines(self) -> list[dict[str, Any]]:
        found = []
        for line in self._log.read_text().splitlines():
            assert line.startswith("{"), self._log.read_text()
            found.append(json.loads(line))
        return found

    def wait_until(self, so: Callable[[], bool], patience_s: float = SOON_S) -> float:
        began_s = time.monotonic()
        while not so():
            assert time.monotonic() - began_s < patience_s, self._log.read_text()
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.01)
        return time.monotonic() - began_s

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == name]

    def wait_for_cycles(self, count: int) -> dict[str, Any]:
        """The verdict of the last one."""
        self.wait_until(
            lambda: (
                len([line for line in self.lines() if line.get("job") == "cycle" and "finished" in line["event"]])
                >= count
            )
        )
        return self.events("disks looked at")[-1]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def daemon(machine: Machine) -> Iterator[Callable[[], Daemon]]:
    """Starts a daemon; ends it if the test has not."""
    machine.write_config('log = "json"\n[health]\nafter = []\n')
    begun: list[Daemon] = []

    def start() -> Daemon:
        begun.append(Daemon(machine))
        return begun[-1]

    yield start
    for each in begun:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def until(so: str) -> str:
    """A line of a shell script that waits until a command succeeds, for at most 30 s."""
    return f"for each in $(seq 600); do if {so}; then break; fi; sleep 0.05; done"


def lose_system_disk(machine: Machine) -> None:
    shutil.rmtree(machine.root / "system")


def test_after_a_reset_the_link_is_back_before_anything_is_verified(
    machine: Machine, daemon: Callable[[], Daemon]
) -> None:
    machine.fill()
    first = daemon()
    assert first.wait_for_cycles(1)["system"] == "first"
    assert first.end() == 0
    machine.run("backup")
    lose_system_disk(machine)
    second = daemon()
    verdict = second.wait_for_cycles(1)
    assert (verdict["system"], verdict["cache"]) == ("new", "whole")
    assert len([line for line in second.lines() if verdict["evidence"][0] in json.dumps(line)]) == 1, "told once"
    assert machine.link.resolve() == machine.cache
    assert second.end() == 0
    third = daemon()
    verdict = third.wait_for_cycles(1)
    assert (verdict["system"], verdict["boot"], verdict["links"]) == ("same", "same", {str(machine.link): "good"})
    assert [line for line in third.lines() if line.get("job") == "verify"] == [], "nothing has happened"
    assert third.end() == 0


def test_what_was_lost_while_it_runs_is_back_at_once(machine: Machine, daemon: Callable[[], Daemon]) -> None:
    machine.fill()
    running = daemon()
    running.wait_for_cycles(1)
    for lose in (machine.link.unlink, lambda: shutil.rmtree(machine.link.parent)):
        lose()
        running.wait_until(machine.link.is_symlink)
        assert machine.link.resolve() == machine.cache
    machine.link.unlink()
    machine.link.write_text("somebody's")
    running.wait_until(lambda: any(line.get("subject") == str(machine.link) for line in running.events("finding")))
    assert machine.link.read_text() == "somebody's"
    assert running.end() == 0


def test_a_download_into_a_real_directory_is_taken_in_when_it_has_ended(
    machine: Machine, daemon: Callable[[], Daemon]
) -> None:
    running = daemon()
    running.wait_for_cycles(1)
    machine.link.unlink()
    hf_snapshot(machine.link, pipeline_files())
    modelscope_snapshot(machine.link, pipeline_files())
    (machine.link / "token").write_text("hf_verysecret")
    running.wait_until(machine.link.is_symlink)
    running.wait_until(lambda: os.listdir(machine.link.parent) == ["model_cache"])
    assert (machine.cache / "token").read_text() == "hf_verysecret"
    assert running.end() == 0
    assert "hf_verysecret" not in json.dumps(running.lines())
    machine.run("backup")


def test_an_image_s_own_weights_are_taken_in_at_the_first_start(machine: Machine, daemon: Callable[[], Daemon]) -> None:
    hf_snapshot(machine.link, pipeline_files())
    before = listing(machine.link)
    running = daemon()
    verdict = running.wait_for_cycles(1)
    assert verdict["links"] == {str(machine.link): "real directory"}
    assert machine.link.resolve() == machine.cache
    assert listing(machine.cache) == before
    assert not [line for line in running.events("finding") if line["subject"] == str(machine.link)]
    assert running.end() == 0


def test_a_cache_that_somebody_deletes_is_a_directory_again_at_once(
    machine: Machine, daemon: Callable[[], Daemon]
) -> None:
    running = daemon()
    running.wait_for_cycles(1)
    shutil.rmtree(machine.cache)
    machine.link.unlink()
    running.wait_until(machine.cache.is_dir)
    running.wait_until(machine.link.is_symlink)
    time.sleep(1)
    assert len(running.events("link")) <= 3
    assert running.end() == 0


def test_a_new_configuration_brings_its_links(machine: Machine, daemon: Callable[[], Daemon]) -> None:
    machine.fill()
    running = daemon()
    running.wait_for_cycles(1)
    second = machine.root / "system/second/model_cache"
    text = machine.config.read_text()
    machine.config.write_text(text.replace(f'"{machine.link}"', f'"{machine.link}", "{second}"'))
    running.process.send_signal(signal.SIGHUP)
    running.wait_until(second.is_symlink)
    for link in (second, machine.link):
        link.unlink()
        running.wait_until(link.is_symlink)
    assert running.end() == 0


def test_a_first_download_finds_a_link_to_the_data_disk(machine: Machine, daemon: Callable[[], Daemon]) -> None:
    running = daemon()
    running.wait_for_cycles(1)
    (machine.link / "hub").mkdir()
    assert (machine.cache / "hub").is_dir()
    assert running.end() == 0


def test_a_deleted_cache_is_restored_at_the_next_start(machine: Machine, daemon: Callable[[], Daemon]) -> None:
    machine.fill()
    before = listing(machine.cache / "hub")
    machine.run("backup")
    shutil.rmtree(machine.cache / "hub")
    shutil.rmtree(machine.cache / "models", ignore_errors=True)
    running = daemon()
    running.wait_for_cycles(1)
    assert listing(machine.cache / "hub") == before
    assert running.end() == 0


def test_a_finished_download_is_backed_up_by_itself(machine: Machine, daemon: Callable[[], Daemon]) -> None:
    options = 'log = "json"\n[health]\nafter = []\n[backup]\nto = ["bucket"]\nsettle_s = 1\n'
    machine.write_config(options)
    running = daemon()
    running.wait_for_cycles(1)
    unfinished = machine.cache / "hub/models--org--name/blobs/abc.incomplete"
    unfinished.parent.mkdir(parents=True)
    with unfinished.open("wb"):  # by this process: a download that goes on
        machine.fill()
        time.sleep(3)  # three times settle_s
        assert not list((machine.bucket / "refs").rglob("*.json")) if machine.bucket.exists() else True
    unfinished.unlink()
    running.wait_until(
        lambda: len([line for line in running.events("snapshot") if line["action"] == "backed up"]) == 2, 60
    )
    assert running.end() == 0
    assert machine.json("snapshots", "--store", "bucket")["snapshots"]


def test_a_download_that_died_is_told(machine: Machine, daemon: Callable[[], Daemon]) -> None:
    machine.write_config('log = "json"\n[health]\nafter = []\n[backup]\nto = ["bucket"]\nsettle_s = 1\n')
    running = daemon()
    running.wait_for_cycles(1)
    base = machine.cache / "hub/models--org--name"
    (base / "refs").mkdir(parents=True)
    (base / "refs/main").write_text(COMMIT)
    (base / "blobs").mkdir()
    with (base / "blobs/abc.incomplete").open("wb") as file:  # by this process, which lives: as a download does
        file.write(b"half")
        file.flush()
        time.sleep(3)  # three times settle_s
        assert running.events("finding") == []
    running.wait_until(lambda: running.events("finding") != [])
    (finding,) = running.events("finding")
    assert (finding["code"], finding["subject"]) == ("ZS219", f"org/name@{COMMIT[:12]} (huggingface)")
    assert "nobody writes to it any more" in finding["detail"]
    assert running.end() == 0
    assert "incomplete" in machine.run("snapshots").stdout


def deleted(cache: Path) -> None:
    """All that is not this program's own."""
    for place in cache.iterdir():
        if place.name != ".zimage-syncd":
            shutil.rmtree(place) if place.is_dir() else place.unlink()


@pytest.mark.parametrize("delete", [deleted, shutil.rmtree])
def test_a_cache_that_somebody_deletes_comes_back_when_it_has_settled(
    machine: Machine, daemon: Callable[[], Daemon], delete: Callable[[Path], None]
) -> None:
    """It took until the next verification of the clock."""
    machine.write_config(ONLY_BACKUPS)
    machine.fill()
    machine.run("backup")
    before = listing(machine.cache / "hub")
    running = daemon()
    running.wait_until(lambda: any(line["action"] == "unchanged" for line in running.events("snapshot")))
    delete(machine.cache)

    def is_back() -> bool:
        actions = [line["action"] for line in running.events("snapshot")]
        return "restored" in actions and actions[-1] == "unchanged"

    running.wait_until(is_back, 60)
    assert listing(machine.cache / "hub") == before
    assert running.events("finding") == []
    assert running.end() == 0


def test_a_newer_revision_in_the_same_directory_is_backed_up_and_not_undone(
    machine: Machine, daemon: Callable[[], Daemon]
) -> None:
    """ModelScope's older layout has one directory for all revisions: at a start the recorded one was put back."""
    machine.write_config(ONLY_BACKUPS)
    base = machine.cache / "models/org/older"
    for revision in ("v1", "v2"):
        for name, data in {**pipeline_files(), "README.md": revision.encode()}.items():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(data)
        (base / ".mv").write_text(f"Revision:{revision},CreatedAt:1700000000")
        if revision == "v1":
            machine.run("backup")
    running = daemon()
    running.wait_until(lambda: any(line["action"] == "backed up" for line in running.events("snapshot")))
    assert (base / "README.md").read_text() == "v2"
    assert running.end() == 0
    stored = machine.json("snapshots", "--store", "bucket")["snapshots"]
    assert any("v2" in str(snapshot) for snapshot in stored)


def test_weights_that_are_deleted_are_no_download_that_died(machine: Machine, daemon: Callable[[], Daemon]) -> None:
    machine.write_config(ONLY_BACKUPS)
    machine.fill()
    running = daemon()
    running.wait_until(lambda: any(line["action"] == "backed up" for line in running.events("snapshot")))
    directory = machine.cache / f"hub/models--org--name/snapshots/{COMMIT}"
    next(directory.rglob("*.safetensors")).resolve().unlink()
    running.wait_until(lambda: any(finding["job"] == "backup" for finding in running.events("finding")))
    codes = {finding["code"] for finding in running.events("finding") if finding["job"] == "backup"}
    assert codes == {"ZS201"}
    assert running.end() == 0


@pytest.mark.parametrize("goes_on", [False, True])
def test_an_unfinished_download_stands_for_a_snapshot_that_is_gone_while_it_goes_on(
    machine: Machine, daemon: Callable[[], Daemon], *, goes_on: bool
) -> None:
    machine.write_config('log = "json"\n[health]\nafter = []\n[verify]\nquick = ""\ndeep = ""\n')
    machine.fill()
    machine.run("backup")
    base = machine.cache / "hub/models--org--name"
    shutil.rmtree(base / "snapshots" / COMMIT)
    (base / "refs/main").write_text("f" * 40)
    (base / "snapshots" / ("f" * 40)).mkdir()
    (base / "blobs/abc.incomplete").write_bytes(b"half")
    with (base / "blobs/abc.incomplete").open("ab") if goes_on else contextlib.nullcontext():
        running = daemon()
        assert running.wait_for_cycles(1)["cache"] == ("whole" if goes_on else "partial")
        assert (base / "snapshots" / COMMIT / "model_index.json").exists() is not goes_on
        assert running.end() == 0


def test_a_cache_that_is_empty_and_stays_so_is_looked_at_once(machine: Machine, daemon: Callable[[], Daemon]) -> None:
    machine.write_config(ONLY_BACKUPS)
    machine.fill()
    running = daemon()
    running.wait_until(lambda: any(line["action"] == "backed up" for line in running.events("snapshot")))
    shutil.rmtree(machine.bucket)
    deleted(machine.cache)
    running.wait_until(lambda: len(running.events("disks looked at")) == 2, 60)
    for _ in range(3):
        (machine.cache / "hub").mkdir(exist_ok=True)
        time.sleep(2)
        (machine.cache / "hub").rmdir()
    assert len(running.events("disks looked at")) == 2
    assert running.end() == 0


@pytest.mark.root
def test_a_full_disk_is_told_the_link_is_made_and_freed_space_is_used(
    machine: Machine, daemon: Callable[[], Daemon]
) -> None:
    machine.fill()
    machine.run("backup")
    before = listing(machine.cache / "hub")
    shutil.rmtree(machine.root / "data")
    disk = LoopDisk(machine.root / "image", machine.root / "data", "ext4", 64 * 2**20)
    disk.mount()
    try:
        ballast = machine.root / "data/ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(512))
        machine.write_config('log = "json"\n[health]\nafter = []\n', cache=f'mount = "{machine.root}/data"')
        running = daemon()
        running.wait_for_cycles(1)
        assert {line["code"] for line in running.events("finding")} >= {"ZS114"}
        assert os.readlink(machine.link) == str(machine.cache)
        time.sleep(1)
        assert len(running.lines()) < 20, "what cannot be done is not tried all the time"
        assert sorted(os.listdir(machine.root / "data")) == ["ballast", "lost+found"]
        ballast.unlink()
        machine.run("restore", expected=None)
        assert listing(machine.cache / "hub") == before
        assert running.end() == 0
    finally:
        disk.unmount()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_variables_that_were_installed_are_there_again_after_a_reset(machine: Machine) -> None:
    """With directories of its own over /etc's: nothing of this machine is changed."""
    machine.write_config('log = "json"\n[health]\nafter = []\n')
    machine.fill()
    script = f"""
        set -e
        mkdir -p /etc/environment.d /etc/profile.d
        for each in environment.d profile.d; do mount -t tmpfs none /etc/$each; done
        {shlex.join(machine.command("env", "--install"))}
        rm /etc/environment.d/* /etc/profile.d/*  # the reset
        {shlex.join(machine.command("run"))} &
        {until("[ -e /etc/environment.d/60-zimage-syncd.conf ] && [ -e /etc/profile.d/zimage-syncd.sh ]")}
        kill -TERM $! && wait $!
        grep -h HF_HOME /etc/environment.d/60-zimage-syncd.conf /etc/profile.d/zimage-syncd.sh
        {shlex.join(machine.command("env", "--remove"))}
        ls /etc/environment.d /etc/profile.d
    """
    environment = {**machine.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    finished = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    if "unshare failed" in finished.stderr or "permission denied" in finished.stderr:
        pytest.skip(f"mount namespaces are not possible here: {finished.stderr}")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert f'HF_HOME="{machine.link}"' in finished.stdout
    assert f"export HF_HOME={machine.link}" in finished.stdout
    assert "removed /etc/profile.d/zimage-syncd.sh" in finished.stdout
    assert finished.stdout.rstrip().endswith("/etc/profile.d:"), "nothing is left"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_container_with_a_fresh_root_is_a_reset(machine: Machine, tmp_path: Path) -> None:
    """The whole file system as lower layer of an overlay whose upper one is new each time; the data disk is mounted."""
    machine.write_config('log = "json"\n[health]\nafter = []\n')
    machine.fill()
    run = shlex.join(machine.command("run"))
    ended = "grep finished log | grep -q '\"cycle\"'"
    script = f"""
        set -e
        cd /
        mkdir -p {tmp_path}/layers && mount -t tmpfs none {tmp_path}/layers
        cd {tmp_path}/layers && mkdir upper work root
        mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
        for each in /proc /dev {machine.root}/data; do mount --rbind $each root$each; done
        chroot root /bin/sh -c {shlex.quote(f"cd /; exec {run}")} > log 2>&1 &
        {until(ended)}
        kill -TERM $! && wait $!
        cat log
        readlink root{machine.link}
    """
    environment = {**machine.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    systems = []
    for _ in range(2):
        finished = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        if "mount:" in finished.stderr or "unshare:" in finished.stderr:
            pytest.skip(f"overlays are not possible here: {finished.stderr}")
        assert finished.returncode == 0, finished.stdout + finished.stderr
        lines = [json.loads(line) for line in (finished.stdout + finished.stderr).splitlines() if line.startswith("{")]
        systems += [line["system"] for line in lines if line["event"] == "disks looked at"]
        assert finished.stdout.splitlines()[-1] == str(machine.cache)
        assert not machine.link.is_symlink(), "the layer below is as it was"
    assert systems == ["first", "new"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_mounted_late_is_used_at_once(machine: Machine, daemon: Callable[[], Daemon]) -> None:
    data = machine.root / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    machine.write_config('log = "json"\n[health]\nafter = []\n', cache=f'mount = "{data}"')
    running = daemon()
    assert running.wait_for_cycles(1)["data"] == ["missing"]
    time.sleep(0.5)
    assert list(data.iterdir()) == [], "nothing is written into a bare mount point"
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(data)], check=False).returncode:
        pytest.skip("mounts are not possible here")
    try:
        verdict = running.wait_for_cycles(2)
        assert "missing" not in verdict["data"]
        running.wait_until(machine.link.is_symlink)
        assert running.end() == 0
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)
