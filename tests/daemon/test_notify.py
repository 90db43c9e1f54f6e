"""The service manager hears what sd_notify(3) says, on sockets of both kinds, and only while work advances."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clock import HeldClock
from tests.support.notify_socket import NotifySocket
from zimage_syncd.cli.progress import SilentProgress
from zimage_syncd.daemon.heartbeat import Heartbeat
from zimage_syncd.daemon.notify import ServiceManager, open_manager
from zimage_syncd.daemon.pulse import Pulse
from zimage_syncd.model.failures import Stopped


class Never:
    def check(self) -> None:
        pass


class Always:
    def check(self) -> None:
        raise Stopped("the command", "SIGTERM")


@pytest.fixture(params=["a path", "the abstract name space"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    ear = NotifySocket(tmp_path / "notify" if request.param == "a path" else None)
    yield ear
    ear.close()


def test_each_message_is_one_datagram_as_systemd_reads_it(ear: NotifySocket, clock: HeldClock) -> None:
    clock.elapsed_s = 12.5
    manager = open_manager({"NOTIFY_SOCKET": ear.address}, clock)
    for tell in (manager.reloading, manager.ready, manager.alive, manager.stopping):
        tell()
    heard = [ear.next(1) for _ in range(4)]
    assert heard == ["RELOADING=1\nMONOTONIC_USEC=12500000", "READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_a_status_stays_one_line_however_strange_a_name_is(ear: NotifySocket, clock: HeldClock) -> None:
    manager = open_manager({"NOTIFY_SOCKET": ear.address}, clock)
    manager.status("verifying org/name\nREADY=1\x1b[2J")
    assert ear.next(1) == "STATUS=verifying org/name READY=1 [2J"
    manager.status("ü" * 3000)
    assert ear.next(1) == "STATUS=" + "ü" * 512


def test_the_variables_are_taken_away_so_that_no_child_speaks_for_the_daemon(clock: HeldClock) -> None:
    environ = {"NOTIFY_SOCKET": "/run/nobody", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1", "PATH": "/bin"}
    open_manager(environ, clock)
    assert environ == {"PATH": "/bin"}


def test_a_watchdog_that_is_meant_for_another_process_is_not_ours(ear: NotifySocket, clock: HeldClock) -> None:
    named = {"NOTIFY_SOCKET": ear.address, "WATCHDOG_USEC": "2500000"}
    assert open_manager({**named}, clock).watchdog_s == 2.5
    assert open_manager({**named, "WATCHDOG_PID": str(os.getpid())}, clock).watchdog_s == 2.5
    assert open_manager({**named, "WATCHDOG_PID": str(os.getppid())}, clock).watchdog_s == 0
    assert open_manager({**named, "WATCHDOG_USEC": "soon"}, clock).watchdog_s == 0


@pytest.mark.parametrize("address", ["", "@", "vsock:2:1234", "relative", "/no/such/socket"])
def test_without_a_manager_that_can_be_reached_nothing_happens(address: str, clock: HeldClock) -> None:
    manager = open_manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"}, clock)
    for tell in (manager.reloading, manager.ready, manager.alive, manager.stopping):
        tell()
    manager.status("idle")
    assert manager.listens == (address == "/no/such/socket")


def test_a_manager_that_does_not_read_holds_nobody_up(ear: NotifySocket, clock: HeldClock) -> None:
    manager = open_manager({"NOTIFY_SOCKET": ear.address}, clock)
    for _ in range(5000):  # more than a socket's buffer takes (net.unix.max_dgram_qlen)
        manager.alive()
    assert ear.next(1) == "WATCHDOG=1"


def test_idle_is_alive_and_work_only_while_it_advances() -> None:
    pulse = Pulse(SilentProgress(), Never())
    assert [pulse.alive(), pulse.alive()] == [True, True]
    with pulse.working("deep verification"):
        assert [pulse.alive(), pulse.alive()] == [True, False]
        for sign in (pulse.check, lambda: pulse.advance(1), lambda: pulse.begin("verify org/name", 5)):
            sign()
            assert [pulse.alive(), pulse.alive()] == [True, False]
    assert [pulse.alive(), pulse.alive()] == [True, True]


def test_a_wish_to_stop_passes_through() -> None:
    with pytest.raises(Stopped):
        Pulse(SilentProgress(), Always()).check()


def test_what_is_done_is_told_with_how_far_it_is() -> None:
    pulse = Pulse(SilentProgress(), Never())
    assert pulse.doing() == ""
    with pulse.working("deep verification"):
        assert pulse.doing() == "deep verification"
        pulse.begin("restore Tongyi-MAI/Z-Image-Turbo from bucket", 32_900_000_000)
        pulse.advance(12_300_000_000)
        assert pulse.doing() == "restoring Tongyi-MAI/Z-Image-Turbo from bucket: 12.30 GB of 32.90 GB"
        pulse.begin("look at the stores", 0)
        assert pulse.doing() == "looking at the stores"
        pulse.finish()
        assert pulse.doing() == "deep verification"
        pulse.begin("verify org/name", 5)
    assert pulse.doing() == "", "a job that failed in the middle of a task is over"


def test_the_heart_beats_for_work_that_advances_and_tells_what_is_new(tmp_path: Path, clock: HeldClock) -> None:
    ear = NotifySocket(tmp_path / "notify")
    pulse = Pulse(SilentProgress(), Never())
    heartbeat = Heartbeat(ServiceManager(ear.address, 0.2, clock), pulse.alive, lambda: pulse.doing() or "idle")
    heartbeat.start()
    try:
        ear.wait_for("STATUS=idle")
        assert ear.during(0.3).count("WATCHDOG=1") >= 2
        with pulse.working("quick verification"):
            ear.wait_for("STATUS=quick verification")
            ear.during(0.3)
            assert ear.during(0.5) == []
            pulse.check()
            assert ear.next(5) == "WATCHDOG=1"
        ear.wait_for("STATUS=idle")
    finally:
        heartbeat.stop()
        ear.close()
    assert pulse.alive()
