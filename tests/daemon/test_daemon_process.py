"""The daemon as a process: what a service manager hears and sees of it."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import QUIET, Daemon
from tests.support.loop_disk import LoopDisk
from tests.support.machine import Machine
from tests.support.notify_socket import NotifySocket

OFTEN = {"WATCHDOG_USEC": "400000"}
"""A daemon that is to beat so often tells its status ten times a second, instead of every other one."""


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[NotifySocket]:
    ear = NotifySocket(tmp_path / "notify")
    yield ear
    ear.close()


def is_of_a_start(message: str) -> bool:
    """Nothing that comes from time to time, whatever happens."""
    return not message.startswith(("STATUS=", "WATCHDOG=1"))


def test_it_is_ready_when_the_link_is_there_and_does_not_wait_for_the_restore(
    machine: Machine, ear: NotifySocket
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = f'url = "s3://bucket"\nendpoint_url = "{address}"\nregion = "us-east-1"\naddressing_style = "path"'
        machine.write_config(QUIET, store=store)
        shutil.rmtree(machine.cache)
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        with Daemon(machine, NOTIFY_SOCKET=ear.address, **keys) as daemon:
            ear.wait_for("READY=1", 30)
            assert os.path.isdir(machine.link)
            ear.wait_for("STATUS=looking at the stores", 30)
            assert not {"job finished", "job failed"} & {event["event"] for event in daemon.events()}
            silent.close()
            daemon.wait_for("job finished")
            daemon.process.send_signal(signal.SIGTERM)
            ear.wait_for("STOPPING=1")
            assert daemon.ended() == 0
    assert ear.heard.count("READY=1") == 1
    assert not any(message.startswith("WATCHDOG") for message in ear.heard), "nobody asked for them"


def test_its_status_tells_what_is_due_next(machine: Machine, ear: NotifySocket) -> None:
    machine.write_config('[health]\nafter = []\n[verify]\nquick = ""\ndeep = "30 4 * * 0"\njitter_s = 0\n')
    machine.fill()
    machine.run("backup")
    with Daemon(machine, NOTIFY_SOCKET=ear.address, TZ="UTC", **OFTEN):
        ear.wait_for("STATUS=idle; next deep verification Sun 04:30")


def test_a_missing_data_disk_is_its_status_and_it_is_ready_nevertheless(machine: Machine, ear: NotifySocket) -> None:
    mount = machine.root / "data"
    shutil.rmtree(mount)
    mount.mkdir()
    machine.write_config(QUIET, cache=f'mount = "{mount}"')
    with Daemon(machine, NOTIFY_SOCKET=ear.address, **OFTEN):
        ear.wait_for("READY=1")
        ear.wait_for("STATUS=waiting: the data disk is missing")
    assert os.listdir(mount) == []


def test_the_watchdog_hears_nothing_of_a_daemon_whose_disk_hangs(machine: Machine, ear: NotifySocket) -> None:
    """`fsfreeze` holds whoever writes in the kernel, as a dead mount does."""
    disk = LoopDisk(machine.root / "image", machine.root / "data", "ext4", 64 * 2**20)
    disk.mount()
    try:
        machine.cache.mkdir(parents=True)
        machine.write_config(QUIET, cache=f'mount = "{machine.root}/data"')
        machine.fill()
        machine.run("backup")
        with Daemon(machine, NOTIFY_SOCKET=ear.address, **OFTEN) as daemon:
            ear.wait_for("STATUS=idle")
        subprocess.run(["fsfreeze", "--freeze", str(machine.root / "data")], check=True)
        try:
            with Daemon(machine, NOTIFY_SOCKET=ear.address, **OFTEN) as daemon:
                ear.wait_for("STATUS=looking at disks and cache")
                ear.during(0.4)
                assert ear.during(1.2) == [], "three times the limit"
                subprocess.run(["fsfreeze", "--unfreeze", str(machine.root / "data")], check=True)
                ear.wait_for("READY=1")
                ear.wait_for("WATCHDOG=1")
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(machine.root / "data")], check=False, capture_output=True)
        assert daemon.ended() == 0
    finally:
        disk.unmount()


def test_a_watchdog_s_signal_leaves_where_every_thread_was(machine: Machine, ear: NotifySocket) -> None:
    machine.write_config(QUIET)
    with Daemon(machine, NOTIFY_SOCKET=ear.address) as daemon:
        ear.wait_for("READY=1")
        daemon.process.send_signal(signal.SIGABRT)
        assert daemon.ended() == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in daemon.said()
    assert "heartbeat.py" in daemon.said()


def test_a_new_configuration_is_followed_without_a_new_start(machine: Machine, ear: NotifySocket) -> None:
    machine.write_config(QUIET)
    machine.fill()
    machine.run("backup")
    with Daemon(machine, NOTIFY_SOCKET=ear.address, TZ="UTC", **OFTEN) as daemon:
        ear.wait_for("STATUS=idle")
        (machine.bucket).rename(machine.root / "moved")
        other = machine.root / "system/other"
        text = machine.config.read_text().replace(f"file://{machine.bucket}", f"file://{machine.root}/moved")
        text = text.replace('deep = ""', 'deep = "30 4 * * 0"\njitter_s = 0')
        machine.config.write_text(text.replace(f'["{machine.link}"]', f'["{machine.link}", "{other}"]'))
        shutil.rmtree(machine.cache / "hub")
        daemon.process.send_signal(signal.SIGHUP)
        ear.wait_for(lambda message: message.startswith("RELOADING=1\nMONOTONIC_USEC="))
        assert ear.wait_for(is_of_a_start) == "READY=1"
        ear.wait_for("STATUS=idle; next deep verification Sun 04:30")
        assert other.is_dir()
        assert (machine.cache / "hub").is_dir(), "the new store was read"


REFUSED: dict[str, tuple[Callable[[str], str], str]] = {
    "a key": (lambda text: text.replace("[health]", "[helth]"), "ZS003"),
    "another cache": (lambda text: text.replace("data/cache", "data/other"), "ZS004"),
    "another system disk": (lambda text: text.replace("system/state", "system/other"), "ZS004"),
    "no TOML": (lambda text: "[cache", "ZS003"),
}


def test_configurations_that_cannot_be_followed_are_told_and_the_first_one_stays(
    machine: Machine, ear: NotifySocket
) -> None:
    machine.write_config(QUIET)
    machine.fill()
    machine.run("backup")
    good = machine.config.read_text()
    with Daemon(machine, NOTIFY_SOCKET=ear.address) as daemon:
        daemon.wait_for("job finished")
        ear.wait_for("READY=1")
        for number, (name, (change, code)) in enumerate(REFUSED.items(), 1):
            machine.config.write_text(change(good))
            daemon.process.send_signal(signal.SIGHUP)
            ear.wait_for(lambda message: message.startswith("RELOADING=1"))
            assert ear.wait_for(is_of_a_start) == "READY=1", name
            told = [event for event in daemon.events() if event["event"].startswith("configuration")]
            assert len(told) == number, name
            assert told[-1]["event"] == "configuration refused, the one before stays", name
            assert told[-1]["code"] == code, name
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ended() == 0


def test_in_a_terminal_that_is_gone_it_ends(machine: Machine) -> None:
    machine.write_config(QUIET)
    leader, terminal = pty.openpty()
    with Daemon(machine, stdin=terminal) as daemon:
        daemon.wait_for("job finished")
        os.close(terminal)
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.ended() == 0
    os.close(leader)


@pytest.mark.parametrize("way", ["the same path", "another path", "a cache that was missing"])
def test_a_second_daemon_on_one_cache_names_the_first_and_ends(machine: Machine, ear: NotifySocket, way: str) -> None:
    machine.write_config(QUIET)
    machine.fill()
    machine.run("backup")
    if way == "a cache that was missing":
        shutil.rmtree(machine.cache)
    with Daemon(machine, NOTIFY_SOCKET=ear.address) as first:
        ear.wait_for("READY=1")
        first.wait_for("job finished")
        if way == "another path":
            (machine.root / "by-path").symlink_to(machine.root / "data")
            text = machine.config.read_text().replace("/data/cache", "/by-path/cache")
            machine.config.write_text(text.replace("/system/state", "/system/other"))
        with Daemon(machine) as second:
            assert second.ended() == 75
        assert f"process {first.process.pid} on {socket.gethostname()}" in second.said()
        assert "ZS105" in second.said()
    with Daemon(machine) as third:
        third.wait_for("job finished")


def test_a_disk_can_be_unmounted_between_two_jobs(machine: Machine) -> None:
    disk = LoopDisk(machine.root / "image", machine.root / "data", "ext4", 64 * 2**20)
    disk.mount()
    machine.cache.mkdir(parents=True)
    machine.write_config(QUIET, cache=f'mount = "{machine.root}/data"')
    with Daemon(machine) as daemon:
        daemon.wait_for("job finished")
        disk.unmount()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ended() == 0
