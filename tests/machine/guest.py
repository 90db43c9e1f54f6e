"""A virtual machine: boots a system disk, runs commands as root, loses its power.

What the guest writes to its system disk goes into an overlay, which `fresh_system` throws away: a reset, as providers
of rented instances do it. Data disks are files of the test's and outlive it.
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.machine.image import Image
from tests.machine.monitor import Monitor
from tests.machine.shell import Finished, Shell, ShellSilent

HOST = "10.0.2.2"
"""Where the guest finds what listens on the host's 127.0.0.1 (QEMU's user networking)."""
_TAIL_BYTES = 4000


class GuestFailed(AssertionError):
    """The machine, or a command in it, did not do what it should; the console's last lines are in the message."""


class Guest:
    """One machine; a context manager that leaves no process behind."""

    def __init__(
        self,
        directory: Path,
        image: Image,
        disks: Sequence[Path] = (),
        *,
        processors: int = 1,
        memory_mib: int = 1024,
    ) -> None:
        """Describes a machine that is switched off.

        Args:
            directory: of its overlay and its console's log; made.
            image: what its system disk is when it is fresh.
            disks: raw images of further disks that are in it at the next boot; `/dev/disk/by-id/virtio-NAME` in the
                guest, NAME being the file's without its suffix.
            processors: virtual ones; each takes one of the host's.
            memory_mib: its memory.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.disks = list(disks)
        self._directory = directory
        self._image = image
        self._processors = processors
        self._memory_mib = memory_mib
        self._overlay = directory / "system.qcow2"
        self._console = directory / "console.log"
        self._qemu: subprocess.Popen[bytes] | None = None
        self._shell: Shell | None = None
        self._monitor: Monitor | None = None

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._overlay.unlink(missing_ok=True)

    @property
    def is_on(self) -> bool:
        return self._qemu is not None and self._qemu.poll() is None

    def boot(self, timeout_s: float = 180) -> None:
        """Switches it on, and waits until it takes commands; units may still be starting.

        Raises:
            GuestFailed: it does not come up.
        """
        assert not self.is_on
        if not self._overlay.exists():
            self.fresh_system()
        shell, guest_shell = socket.socketpair()
        monitor, guest_monitor = socket.socketpair()
        with guest_shell, guest_monitor:
            ends = (guest_shell.fileno(), guest_monitor.fileno())
            with (self._directory / "qemu.log").open("wb") as log:
                self._qemu = subprocess.Popen(
                    self._command(*ends), stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=ends
                )
        self._shell, self._monitor = Shell(shell), Monitor(monitor)
        try:
            self._shell.wait_until_ready(timeout_s)
        except ShellSilent as error:
            raise self._failed(f"it does not come up (limit {timeout_s:.0f} s): {error}") from error

    def run(self, command: str, *, stdin: bytes = b"", timeout_s: float = 120) -> Finished:
        """Runs lines of bash as root in /root; returns how they ended.

        Raises:
            GuestFailed: they did not end in time.
        """
        assert self._shell is not None, "the machine is off"
        try:
            finished = self._shell.run(command, stdin, timeout_s)
        except ShellSilent as error:
            raise self._failed(f"no answer to {command!r}: {error}") from error
        if finished.exit_code == 124:
            raise self._failed(f"not done after {timeout_s:.0f} s: {command!r}\n{finished.stdout}{finished.stderr}")
        return finished

    def check(self, command: str, *, stdin: bytes = b"", timeout_s: float = 120) -> str:
        """Runs lines of bash as root that must end with 0 (the last of them); returns their standard output.

        Raises:
            GuestFailed: they did not.
        """
        finished = self.run(command, stdin=stdin, timeout_s=timeout_s)
        if finished.exit_code:
            raise self._failed(f"{finished.exit_code} from {command!r}:\n{finished.stdout}{finished.stderr}")
        return finished.stdout

    def wait_for(self, command: str, timeout_s: float = 120) -> str:
        """Repeats a command until it ends with 0; returns its standard output.

        Raises:
            GuestFailed: it never did.
        """
        end_s = time.monotonic() + timeout_s
        while (finished := self.run(command)).exit_code:
            if time.monotonic() > end_s:
                said = finished.stdout + finished.stderr
                raise self._failed(f"still {finished.exit_code} after {timeout_s:.0f} s: {command!r}\n{said}")
            time.sleep(0.5)
        return finished.stdout

    def put(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        """Writes a file, and makes its directory."""
        data = content.encode() if isinstance(content, str) else content
        self.check(f"install -D -m {mode:o} /dev/stdin {shlex.quote(path)}", stdin=data)

    def journal(self, unit: str) -> str:
        """What a unit said since this boot, without times."""
        return self.check(f"journalctl --boot --no-pager --output=cat --unit={shlex.quote(unit)}")

    def show(self, unit: str) -> dict[str, str]:
        """systemd's properties of a unit."""
        lines = self.check(f"systemctl show {shlex.quote(unit)}").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def attach(self, disk: Path) -> None:
        """Plugs a disk into the running machine; it stays in it."""
        assert self._monitor is not None, "the machine is off"
        name = disk.stem
        self._monitor.do("blockdev-add", **_block(disk, "raw", name))
        self._monitor.do("device_add", driver="virtio-blk-pci", id=f"disk-{name}", drive=name, serial=name)
        self.disks.append(disk)
        self.wait_for(f"test -e /dev/disk/by-id/virtio-{name}")

    def detach(self, disk: Path) -> None:
        """Pulls a disk out of the running machine, mounted or not."""
        assert self._monitor is not None, "the machine is off"
        self._monitor.do("device_del", id=f"disk-{disk.stem}")
        self._monitor.wait_for("DEVICE_DELETED", device=f"disk-{disk.stem}")
        self._monitor.do("blockdev-del", **{"node-name": disk.stem})
        self.disks.remove(disk)

    def power_off(self, timeout_s: float = 120) -> None:
        """Shuts it down in an orderly way.

        Raises:
            GuestFailed: it did not go off; then its power is cut.
        """
        assert self._qemu is not None, "the machine is off"
        assert self._shell is not None
        with suppress(ShellSilent):  # it may be off before it could answer
            self._shell.run("systemctl poweroff --no-block", b"", timeout_s)
        try:
            self._qemu.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise self._failed(f"still on {timeout_s:.0f} s after it should go off") from error
        finally:
            self.kill()

    def kill(self) -> None:
        """Cuts its power: what the guest had not yet written to its disks is lost. Does nothing where it is off."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
        for end in (self._shell, self._monitor):
            if end is not None:
                end.close()
        self._qemu = self._shell = self._monitor = None

    def fresh_system(self) -> None:
        """Throws away what was written to the system disk: a reset. The machine must be off."""
        assert not self.is_on
        overlay = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self._image.disk)]
        subprocess.run([*overlay, str(self._overlay)], check=True)

    def console(self) -> str:
        """The last lines of the console."""
        log = self._console.read_bytes() if self._console.exists() else b""
        return log[-_TAIL_BYTES:].decode(errors="replace").replace("\r", "")

    def _failed(self, what: str) -> GuestFailed:
        qemu = (self._directory / "qemu.log").read_text(errors="replace")
        return GuestFailed(f"{what}\n--- QEMU ---\n{qemu}\n--- console ---\n{self.console()}")

    def _command(self, shell: int, monitor: int) -> list[str]:
        kernel = "root=/dev/disk/by-id/virtio-system rw console=ttyS0 panic=-1 mitigations=off quiet"
        command = [
            # The kernel ends it with the process that runs the tests, however that ends.
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-display", "none"),
            *("-smp", str(self._processors), "-m", str(self._memory_mib)),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd), "-append", kernel),
            *("-serial", f"file:{self._console}"),
            *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=shell,fd={shell}"),
            *("-device", "virtserialport,chardev=shell,name=shell"),
            *("-nic", "user,model=virtio-net-pci"),
            *_drive(self._overlay, "qcow2", "system"),
        ]
        for disk in self.disks:
            command += _drive(disk, "raw", disk.stem)
        return command


def _block(image: Path, driver: str, name: str) -> dict[str, object]:
    # The host does not crash in a test: what reached its page cache has reached the disk, flushed or not.
    file = {"driver": "file", "filename": str(image), "cache": {"no-flush": True}}
    return {"driver": driver, "node-name": name, "file": file}


def _drive(image: Path, driver: str, name: str) -> list[str]:
    device = f"virtio-blk-pci,id=disk-{name},drive={name},serial={name}"
    return ["-blockdev", json.dumps(_block(image, driver, name)), "-device", device]
