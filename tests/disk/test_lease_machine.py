"""Hosts that take, beat, are suspended, killed and interrupted in the middle of a step, in every order that is found.

What must hold: a host that was told that it still has the disk is never told so again after another one was (the
numbers of successful looks never go down), and a host that beats is never taken over.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.support.clock import HeldClock
from tests.support.lease_memory import MemoryFiles, Neighbours, tenant
from zimage_syncd.disk.lease import DirectoryLease
from zimage_syncd.disk.lease_files import newest_of
from zimage_syncd.model.failures import DataDiskInUse, DataDiskTaken

EXPIRY_S = 9.0
BEAT_S = 1.0
HOSTS = ("a", "b", "c")
STEPS = ("take", "confirm", "release", "look")


@dataclass
class Process:
    """One on each host; a killed one is followed by another."""

    host: str
    pid: int
    lease: DirectoryLease
    suspended: bool = False
    is_busy: bool = False
    """In the middle of a step."""
    stood_still_s: float = 0.0
    """For how long it gave no beat."""
    longest_s: float = 0.0
    """The longest of these times since it took the disk."""


class Hosts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.neighbours = Neighbours()
        self.clocks = {host: HeldClock() for host in HOSTS}
        for number, clock in enumerate(self.clocks.values()):
            clock.elapsed_s = 1000.0 * number  # no two monotonic clocks agree
        self.next_pid = 1
        self.interruptions: list[tuple[int, int, str]] = []
        self.highest_confirmed = 0
        self.processes = {host: self.born(host) for host in HOSTS}

    def born(self, host: str) -> Process:
        pid, self.next_pid = self.next_pid, self.next_pid + 1
        files = MemoryFiles(self.files, self.let_others_in)
        clock = self.clocks[host]
        lease = DirectoryLease("/d", files, lambda: tenant(host, pid), clock, EXPIRY_S, self.neighbours.kin)
        self.neighbours.living.add((host, pid))
        return Process(host, pid, lease)

    def let_others_in(self) -> None:
        """Before an operation on the directory: whoever is next in the script does a whole step."""
        if not self.interruptions:
            return
        after, who, step = self.interruptions[0]
        if after > 0:
            self.interruptions[0] = (after - 1, who, step)
            return
        self.interruptions.pop(0)
        self.do(self.processes[HOSTS[who]], step)

    def do(self, process: Process, step: str) -> None:
        if process.suspended or process.is_busy:
            return
        process.is_busy = True
        try:
            self.step(process, step)
        finally:
            process.is_busy = False

    def step(self, process: Process, step: str) -> None:
        lease = process.lease
        if step == "look":
            lease.rival()
        elif step == "release":
            lease.release()
        elif step == "take" and not lease.is_held:
            if lease.is_lost:
                lease.release()
            try:
                lease.take("run")
            except DataDiskInUse:
                return
            process.stood_still_s = process.longest_s = 0.0
        elif step == "confirm" and lease.is_held:
            number = lease._number
            assert number is not None
            try:
                lease.confirm()
            except DataDiskTaken:
                assert process.longest_s >= EXPIRY_S - 3 * BEAT_S, "it had beaten all the time"
                return
            process.stood_still_s = 0.0
            assert number >= self.highest_confirmed, "another host was told since that it has the disk"
            self.highest_confirmed = number

    @rule(
        who=st.integers(0, 2),
        step=st.sampled_from(STEPS),
        interruptions=st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(STEPS)), min_size=0, max_size=4
        ),
    )
    def act(self, who: int, step: str, interruptions: list[tuple[int, int, str]]) -> None:
        self.interruptions = list(interruptions)
        self.do(self.processes[HOSTS[who]], step)
        self.interruptions = []

    @rule(beats=st.integers(1, 12))
    def time_passes(self, beats: int) -> None:
        for _ in range(beats):
            for clock in self.clocks.values():
                clock.move(BEAT_S)
            for process in self.processes.values():
                process.stood_still_s += BEAT_S
                process.longest_s = max(process.longest_s, process.stood_still_s)
                self.do(process, "confirm")
                self.do(process, "look")

    @rule(who=st.integers(0, 2))
    def is_suspended(self, who: int) -> None:
        self.processes[HOSTS[who]].suspended = True

    @rule(who=st.integers(0, 2))
    def goes_on(self, who: int) -> None:
        self.processes[HOSTS[who]].suspended = False

    @rule(
        sleeper=st.integers(0, 2),
        taker=st.integers(0, 2),
        interruptions=st.lists(
            st.tuples(st.integers(0, 6), st.integers(0, 2), st.sampled_from(STEPS)), min_size=1, max_size=4
        ),
    )
    def oversleeps(self, sleeper: int, taker: int, interruptions: list[tuple[int, int, str]]) -> None:
        """Wakes in the very moment in which its disk is taken."""
        self.do(self.processes[HOSTS[sleeper]], "take")
        self.is_suspended(sleeper)
        self.time_passes(int(EXPIRY_S / BEAT_S) + 1)
        self.goes_on(sleeper)
        self.act(taker, "take", interruptions)

    @rule(who=st.integers(0, 2))
    def is_killed(self, who: int) -> None:
        killed = self.processes[HOSTS[who]]
        self.neighbours.living.discard((killed.host, killed.pid))
        self.processes[killed.host] = self.born(killed.host)

    @invariant()
    def little_is_left(self) -> None:
        assert len(self.files) <= 24, sorted(self.files)

    def teardown(self) -> None:
        """Whatever happened, a host that waits for long enough has the disk."""
        for process in self.processes.values():
            process.suspended = True
        survivor = self.born("survivor") if "survivor" in self.clocks else self.arrived("survivor")
        survivor.lease.rival()
        self.clocks["survivor"].move(EXPIRY_S)
        survivor.lease.take("run")
        newest = newest_of(self.files)
        assert newest is not None
        assert newest.number == survivor.lease._number
        for process in self.processes.values():
            if process.lease.is_held:
                with pytest.raises(DataDiskTaken):
                    process.lease.confirm()
        super().teardown()

    def arrived(self, host: str) -> Process:
        self.clocks[host] = HeldClock()
        return self.born(host)


def test_no_order_of_events_gives_the_disk_to_two_hosts() -> None:
    run_state_machine_as_test(Hosts, settings=settings(max_examples=80, stateful_step_count=30, deadline=None))
