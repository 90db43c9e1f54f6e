"""A Debian 12 with systemd, made by mmdebstrap: the part of an image that does not depend on this program's code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent / "root"
"""What is copied into the system as it is."""
PYTHON = "3.11"
"""Debian 12's."""
ENVIRONMENT = "/opt/zimage-syncd"
"""Of the program in the guest."""

_PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "kmod", "procps", "iproute2", "linux-image-cloud-amd64", "initramfs-tools"),
    *("e2fsprogs", "btrfs-progs"),
)
# The last two depend on it.
_PACKAGES_WITH_PYTHON = ("python3", "python3-venv", "ca-certificates", "nfs-kernel-server", "xfsprogs")
_NEVER_READ = ("doc", "man", "locale", "info")
# What takes seconds of every start on an emulated processor, and is nobody's subject.
_OFF = (
    *("getty@tty1.service", "serial-getty@ttyS0.service", "systemd-logind.service", "systemd-binfmt.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-pstore.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "modprobe@drm.service"),
    *("modprobe@efi_pstore.service", "e2scrub_reap.service", "e2scrub_all.timer", "fstrim.timer"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
)
# A test that exports something unmasks them.
_OFF_WITH_PYTHON = ("nfs-server.service", "nfs-client.target", "rpcbind.service", "rpcbind.socket")


def make_debian(directory: Path, requirements: Sequence[str], *, python: bool) -> None:
    """Makes `root.tar`, `vmlinuz` and `initrd` in a directory; needs root and a Debian mirror.

    Args:
        directory: empty.
        requirements: of the program, as pip reads them; installed into `ENVIRONMENT`. Not looked at without Python.
        python: whether the system has one.

    Raises:
        subprocess.CalledProcessError: a step failed; what it said is on standard error.
    """
    wheels = directory / "wheels"
    wheels.mkdir()
    if python:
        _download(wheels, requirements)
    packages = _PACKAGES + (_PACKAGES_WITH_PYTHON if python else ())
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _NEVER_READ]
    # Before the kernel, whose initrd is made by what lies there.
    command.append(f'--essential-hook=cp -rT --preserve=mode "{ROOT}" "$1"')
    command += [f"--customize-hook={line}" for line in _finish(directory, wheels if python else None)]
    subprocess.run([*command, "bookworm", str(directory / "root.tar")], check=True, stdout=sys.stderr)
    shutil.rmtree(wheels)


def _download(wheels: Path, requirements: Sequence[str]) -> None:
    """Fetches wheels for the guest's Python, whichever runs here."""
    command = [sys.executable, "-m", "pip", "download", "-qq", "--dest", str(wheels)]
    command += ["--only-binary=:all:", f"--python-version={PYTHON}"]
    subprocess.run([*command, *requirements], check=True, stdout=sys.stderr)


def _finish(directory: Path, wheels: Path | None) -> list[str]:
    """Lines of shell that run when all packages are there; $1 is the system's root."""
    off = _OFF + (() if wheels is None else _OFF_WITH_PYTHON)
    lines = [
        f'systemctl --quiet --root="$1" mask {" ".join(off)}',
        'systemctl --quiet --root="$1" enable systemd-networkd.service guest-shell.service',
        'echo machine > "$1/etc/hostname"',
        # mmdebstrap's copy of the host's; a guest asks no name server.
        'rm -f "$1/etc/resolv.conf"',
        f'cp "$1"/boot/vmlinuz-* "{directory}/vmlinuz"',
        f'cp "$1"/boot/initrd.img-* "{directory}/initrd"',
    ]
    if wheels is not None:
        lines += [
            f'cp -r "{wheels}" "$1/wheels"',
            f'chroot "$1" python3 -m venv {ENVIRONMENT}',
            f'chroot "$1" sh -c "{ENVIRONMENT}/bin/pip install -qq --no-index --no-deps /wheels/*.whl"',
            'rm -r "$1/wheels"',
        ]
    return lines
