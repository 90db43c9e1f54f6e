"""Two hosts on one data disk: the second one is refused, waits, and takes over what the first one left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.caches import listing
from tests.support.daemon import QUIET, Daemon
from tests.support.shared_disk import Host, child_of, hosts_are_possible, wait_until

pytestmark = pytest.mark.skipif(not hosts_are_possible(), reason="name spaces are not possible here")

LINK_LOST = 2
"""What a verification ends with here, where nobody has made the second host's cache link."""
QUIET_JSON = f'log = "json"\n{QUIET}'


@pytest.fixture
def hosts(tmp_path: Path) -> Callable[[float], tuple[Host, Host]]:
    """Makes two hosts with an expiry: one that no busy machine reaches by accident, or one worth waiting for."""

    def make(expiry_s: float) -> tuple[Host, Host]:
        first = Host(tmp_path / "first", name="gpu-1", expiry_s=expiry_s)
        first.cache.mkdir(parents=True)
        second = Host(tmp_path / "second", name="gpu-2", expiry_s=expiry_s, first=first)
        second.root.mkdir()
        for host in (first, second):
            host.write_config(QUIET_JSON)
        first.fill()
        return first, second

    return make


def lease_of(host: Host) -> set[str]:
    place = host.cache / ".zimage-syncd/lease"
    return set(os.listdir(place)) if place.is_dir() else set()


def end(daemon: Daemon) -> None:
    """`unshare` does not pass signals on."""
    os.kill(child_of(daemon.process), signal.SIGTERM)
    assert daemon.ended() == 0


def test_what_writes_is_refused_while_another_hosts_daemon_lives(hosts: Callable[[float], tuple[Host, Host]]) -> None:
    first, second = hosts(4.0)
    with Daemon(first) as daemon:
        daemon.wait_for("job finished")
        assert "lease.1" in lease_of(first)
        refused = second.run("backup", expected=75).stderr
        assert "waiting for a sign of life" in refused
        assert "error ZS120: another host uses the data disk" in refused
        assert "on gpu-1 (run) since 20" in refused
        status = second.run("status", expected=2).stdout
        assert "IN USE BY ANOTHER HOST" in status
        assert "ZS120 another host uses the data disk" in status
        assert not second.bucket.exists()
        end(daemon)
    second.run("backup")
    assert {"lease.2", "lease.2.done"} <= lease_of(first)
    assert list((second.bucket / "refs").rglob("*.json"))


@pytest.mark.long
def test_a_killed_daemon_is_followed_when_its_lease_has_expired(hosts: Callable[[float], tuple[Host, Host]]) -> None:
    first, second = hosts(1.5)
    with Daemon(first) as daemon:
        daemon.wait_for("job finished")
        daemon.process.kill()
        daemon.process.wait()
        assert "lease.1" in lease_of(first)
        assert "waiting for a sign of life" in second.run("verify", expected=LINK_LOST).stderr
        assert lease_of(first) == {"lease.2", "lease.2.done"}


def test_a_backup_that_was_stopped_and_comes_back_publishes_nothing(
    hosts: Callable[[float], tuple[Host, Host]],
) -> None:
    first, second = hosts(1.5)
    first.write_config(f'[backup]\nupload_rate = "20kB/s"\n{QUIET}')
    stopped = subprocess.Popen(
        first.command("--json", "backup"),
        stdout=subprocess.PIPE,
        env={**first.environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        wait_until(lambda: "lease.1.1" in lease_of(first))
        inside = child_of(stopped)
        os.kill(inside, signal.SIGSTOP)
        assert list((first.bucket / "refs").rglob("*.json")) == []
        second.run("verify", expected=LINK_LOST)
        os.kill(inside, signal.SIGCONT)
        output, _ = stopped.communicate(timeout=30)
    finally:
        stopped.kill()
        stopped.wait()
    document = json.loads(output)
    assert document["problem"]["code"] == "ZS121"
    assert "on gpu-2 (verify)" in document["detail"]
    assert stopped.returncode == 75
    assert list((first.bucket / "refs").rglob("*.json")) == []


def test_two_hosts_that_use_an_empty_disk_first_give_it_one_identity(
    hosts: Callable[[float], tuple[Host, Host]],
) -> None:
    first, second = hosts(20.0)
    shutil.rmtree(first.cache / ".zimage-syncd", ignore_errors=True)
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    running = [
        subprocess.Popen(host.command("backup"), env={**host.environment(), **environment}) for host in (first, second)
    ]
    codes = sorted(process.wait(60) for process in running)
    assert codes in ([0, 0], [0, 75])
    names = {json.loads(place.read_text())["cache_id"] for place in first.cache.rglob("identity.json")}
    assert len(names) == 1
    assert listing(first.cache)


@pytest.mark.long
def test_a_daemon_waits_for_its_turn_and_takes_it(hosts: Callable[[float], tuple[Host, Host]]) -> None:
    """It looks every minute."""
    first, second = hosts(4.0)
    with Daemon(first) as daemon, Daemon(second) as waiting:
        for each in (daemon, waiting):
            each.wait_for("job finished")
        holder, other = (daemon, waiting) if "in use" not in daemon.said() else (waiting, daemon)
        other.wait_for("ZS120")
        wait_until(lambda: all(host.link.is_symlink() for host in (first, second)))
        end(holder)
        wait_until(lambda: "lease.2" in lease_of(first), 150)
        wait_until(lambda: other.events()[-1]["event"] == "job finished")
        looks = [event["data"] for event in other.events() if event["event"] == "disks looked at"]
        assert looks[0] == ["here", "in use by another host"]
        assert looks[-1] == ["here"]
        end(other)
    assert "lease.2.done" in lease_of(first)


@pytest.mark.long
def test_a_daemon_that_was_suspended_waits_for_its_turn_again(hosts: Callable[[float], tuple[Host, Host]]) -> None:
    first, second = hosts(3.0)
    with Daemon(first) as daemon:
        daemon.wait_for("job finished")
        init = child_of(daemon.process)
        inside = int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])
        os.kill(inside, signal.SIGSTOP)
        second.run("verify", expected=LINK_LOST)
        assert "lease.2.done" in lease_of(first)
        os.kill(inside, signal.SIGCONT)
        daemon.wait_for("the data disk was taken over by another host", 60)
        wait_until(lambda: "lease.3" in lease_of(first), 60)
        end(daemon)
    assert lease_of(first) == {"lease.3", "lease.3.done"}
