"""The lease's protocol on a directory in memory, with clocks that tests hold."""

from __future__ import annotations

import pytest

from tests.support.clock import HeldClock
from tests.support.lease_memory import MemoryFiles, Neighbours, tenant
from zimage_syncd.disk.lease import DirectoryLease
from zimage_syncd.model.failures import DataDiskInUse, DataDiskTaken, DeviceFull, DiskError

EXPIRY_S = 180.0


class World:
    """One directory, one time."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.clock = HeldClock()
        self.neighbours = Neighbours()

    def process(self, host: str, pid: int = 100, files: MemoryFiles | None = None) -> DirectoryLease:
        self.neighbours.living.add((host, pid))
        seen = files or MemoryFiles(self.files)
        return DirectoryLease("/mnt/data", seen, lambda: tenant(host, pid), self.clock, EXPIRY_S, self.neighbours.kin)


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_host_takes_it_and_the_second_is_told_who_has_it(world: World) -> None:
    first, second = world.process("a"), world.process("b")
    first.take("backup")
    assert set(world.files) == {"lease.1"}
    with pytest.raises(DataDiskInUse, match=r"process 100 on a \(backup\) since \d{4}-.*whether that one lives"):
        second.take("verify")
    assert not second.is_held
    assert set(world.files) == {"lease.1"}, "who is refused leaves nothing"


def test_what_was_let_go_of_is_taken_at_once_and_old_files_are_swept(world: World) -> None:
    first, second = world.process("a"), world.process("b")
    first.take("run")
    for _ in range(5):
        first.renew()
    assert set(world.files) == {"lease.1", "lease.1.4", "lease.1.5"}
    first.release()
    assert set(world.files) == {"lease.1", "lease.1.done"}
    second.take("run")
    assert set(world.files) == {"lease.2"}
    assert second.fence == 0, "what the first one left in partial files may be gone on with"


def test_a_holder_that_beats_is_never_taken_over_however_long_it_takes(world: World) -> None:
    first, second = world.process("a"), world.process("b")
    first.take("run")
    for _ in range(20):
        world.clock.move(EXPIRY_S - 1)
        first.renew()
        with pytest.raises(DataDiskInUse):
            second.take("run")
    first.renew()


def test_a_holder_that_stands_still_is_taken_over_when_the_observer_has_watched_long_enough(world: World) -> None:
    first, second = world.process("a"), world.process("b")
    first.take("run")
    world.clock.move(10 * EXPIRY_S)  # nobody watched
    with pytest.raises(DataDiskInUse):
        second.take("run")
    world.clock.move(EXPIRY_S - 1)
    with pytest.raises(DataDiskInUse, match="179 s without a sign of life"):
        second.take("run")
    world.clock.move(1)
    assert second.rival() is None
    second.take("run")
    assert set(world.files) == {"lease.2"}
    assert second.fence == 2, "the first one's partial files may still be written to"


def test_a_holder_that_comes_back_finds_itself_replaced_before_it_publishes(world: World) -> None:
    first, second = world.process("a"), world.process("b")
    first.take("run")
    second.rival()
    world.clock.move(EXPIRY_S)
    second.take("restore")
    first.check()  # it does not know yet
    with pytest.raises(DataDiskTaken, match=r"process 100 on b \(restore\)"):
        first.confirm()
    assert first.is_lost
    with pytest.raises(DataDiskTaken):
        first.check()
    second.confirm()
    first.release()
    assert "lease.2.done" not in world.files
    assert not first.is_lost


def test_a_fresh_look_will_do_but_never_one_from_before_a_pause(world: World) -> None:
    first, second = world.process("a"), world.process("b")
    first.take("run")
    first.confirm(within_s=2)
    assert "lease.1.1" not in world.files, "it was just taken"
    second.rival()
    world.clock.move(EXPIRY_S)
    second.take("run")
    with pytest.raises(DataDiskTaken):
        first.confirm(within_s=2)


def test_a_holder_that_ended_on_this_host_is_followed_at_once(world: World) -> None:
    killed = world.process("a", 100)
    killed.take("run")
    world.neighbours.living.discard(("a", 100))
    successor = world.process("a", 101)
    successor.take("run")
    assert set(world.files) == {"lease.2"}
    assert successor.fence == 0, "it is known to have ended, so its partial files are gone on with"


def test_a_command_goes_along_with_the_daemon_of_its_host(world: World) -> None:
    daemon, command, other = world.process("a", 100), world.process("a", 101), world.process("b")
    daemon.take("run")
    command.take("verify")
    assert set(world.files) == {"lease.1"}
    command.confirm()
    command.release()
    daemon.confirm()
    assert set(world.files) == {"lease.1", "lease.1.1"}
    with pytest.raises(DataDiskInUse):
        other.take("run")


@pytest.mark.parametrize("ends", ["in order", "killed"])
def test_a_command_stays_when_the_daemon_that_it_went_along_with_ends(world: World, ends: str) -> None:
    daemon, command, other = world.process("a", 100), world.process("a", 101), world.process("b")
    daemon.take("run")
    command.take("verify")
    if ends == "in order":
        daemon.release()
    world.neighbours.living.discard(("a", 100))
    command.renew()
    assert "lease.2" in world.files
    with pytest.raises(DataDiskInUse, match=r"process 101 on a \(verify\)"):
        other.take("run")
    command.release()
    other.take("run")


def test_a_command_whose_daemon_ended_is_told_when_another_host_was_faster(world: World) -> None:
    daemon, command, other = world.process("a", 100), world.process("a", 101), world.process("b")
    daemon.take("run")
    command.take("verify")
    daemon.release()
    other.take("run")
    other.release()
    with pytest.raises(DataDiskTaken):
        command.confirm()


def test_a_clone_of_a_running_machine_meets_its_own_beats(world: World) -> None:
    holder, clone = world.process("a"), world.process("a")
    holder.take("run")
    clone._hold(1, 0)  # its memory is the other's
    holder.renew()
    with pytest.raises(DataDiskTaken, match="a clone"):
        clone.renew()
    holder.renew()
    late = world.process("a")
    late._hold(1, 0)
    for _ in range(5):
        holder.renew()  # its first beats are swept away
    with pytest.raises(DataDiskTaken, match="a clone"):
        late.renew()
    late.release()
    with pytest.raises(DataDiskInUse):
        late.take("run")


def test_whoever_was_suspended_between_look_and_creation_gets_nothing(world: World) -> None:
    holder, fast, later = world.process("a"), world.process("b"), world.process("c")
    holder.take("run")
    turns = [False]

    def others_come_first() -> None:
        if turns[0] and "lease.2" not in world.files and "lease.3" not in world.files:
            turns[0] = False
            fast.take("run")
            fast.release()
            later.take("run")

    class Slow(MemoryFiles):
        def create(self, name: str, data: bytes = b"") -> bool:
            if name == "lease.2":
                others_come_first()
            return super().create(name, data)

    slow = world.process("d", files=Slow(world.files))
    for each in (fast, slow):
        each.rival()
    world.clock.move(EXPIRY_S)
    turns[0] = True
    with pytest.raises(DataDiskInUse, match="on c"):
        slow.take("run")
    assert set(world.files) == {"lease.3"}, "nothing of the one that was late is left"
    later.confirm()


def test_a_holder_that_beats_again_in_the_last_moment_keeps_it(world: World) -> None:
    holder = world.process("a")
    holder.take("run")

    class Late(MemoryFiles):
        def refresh(self) -> None:
            holder.renew()

    other = world.process("b", files=Late(world.files))
    other.rival()
    world.clock.move(EXPIRY_S)
    with pytest.raises(DataDiskInUse, match="on a"):
        other.take("run")
    holder.confirm()


def test_a_beat_whose_answer_was_lost_is_no_clones(world: World) -> None:
    class Flaky(MemoryFiles):
        fails = False

        def create(self, name: str, data: bytes = b"") -> bool:
            created = super().create(name, data)
            if self.fails:
                raise DeviceFull(name, "the server did it, and the answer is lost")
            return created

    files = Flaky(world.files)
    holder = world.process("a", files=files)
    holder.take("run")
    files.fails = True
    with pytest.raises(DeviceFull):
        holder.renew()
    files.fails = False
    holder.renew()
    assert not holder.is_lost


@pytest.mark.parametrize("content", [b"", b"not json", b"{}", b"\x00" * 10_000])
def test_a_file_that_tells_nothing_holds_like_any_other_until_it_expires(world: World, content: bytes) -> None:
    world.files["lease.7"] = content
    process = world.process("a")
    with pytest.raises(DataDiskInUse, match="a host that has not told its name"):
        process.take("run")
    world.clock.move(EXPIRY_S)
    process.take("run")
    assert process.fence == 8
    process.confirm()


def test_names_that_are_none_of_ours_are_neither_counted_nor_removed(world: World) -> None:
    strange = {
        "lease.x",
        "lease.",
        "lease.1.2.3",
        "lease.-1",
        "lease.0x1",
        "lease.9999999999999999",
        "readme",
        "lease.٣",
    }
    world.files.update(dict.fromkeys(strange, b""))
    process = world.process("a")
    process.take("run")
    assert set(world.files) == strange | {"lease.1"}


def test_a_lease_whose_disk_was_unmounted_is_lost(world: World) -> None:
    class Unmounted(MemoryFiles):
        def create(self, name: str, data: bytes = b"") -> bool:
            if not self.names():
                raise DiskError(name, "No such file or directory")
            return super().create(name, data)

    world.files["another host's old one"] = b""
    process = world.process("a", files=Unmounted(world.files))
    process.take("run")
    world.files.clear()
    with pytest.raises(DataDiskTaken, match="not there any more"):
        process.confirm()


def test_a_server_that_is_away_for_a_while_costs_nothing(world: World) -> None:
    class Away(MemoryFiles):
        def create(self, name: str, data: bytes = b"") -> bool:
            if name == "lease.1.1":
                raise DiskError(name, "Input/output error")
            return super().create(name, data)

    process = world.process("a", files=Away(world.files))
    process.take("run")
    with pytest.raises(DiskError):
        process.renew()
    process.renew()
    assert "lease.1.2" in world.files
