"""Makes a version of the installed copy, proves that it works, and lets its boot script put it in place.

The boot script that a reset will run is the one that installs now: what worked here works then.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess

import zimage_syncd
from zimage_syncd.model.failures import CopyBroken, InstallationRefused, PlaceNotLasting
from zimage_syncd.model.installation import Installed
from zimage_syncd.setup.boot import HOMES, Pinned, boot_script, sha256_of, start_line
from zimage_syncd.setup.copied_file import CopiedFile, copy_of, fingerprint, running_copy
from zimage_syncd.setup.glibc import oldest_glibc
from zimage_syncd.setup.ground import Ground
from zimage_syncd.setup.interpreter import interpreter_files, is_compiled, library_files
from zimage_syncd.setup.mounts import DiskAddress
from zimage_syncd.setup.packages import package_files, share_directory, share_files
from zimage_syncd.setup.parcel import pack_program, pack_settings
from zimage_syncd.setup.removal import remove_copies
from zimage_syncd.setup.units import system_units, unit_name
from zimage_syncd.setup.versions import (
    PROGRAM,
    SCRIPT,
    SETTINGS,
    About,
    Version,
    begin_version,
    finish_version,
    known_versions,
)

_IMPORT_ALL = """
import importlib, pkgutil, zimage_syncd
for module in pkgutil.walk_packages(zimage_syncd.__path__, "zimage_syncd."):
    if not module.name.startswith("zimage_syncd.probe"):
        importlib.import_module(module.name)
import boto3, huggingface_hub, modelscope_hub
boto3.client("s3", region_name="us-east-1")
"""
_SYSTEMD = "/run/systemd/system"
"""Is there where systemd runs the system (sd_booted(3))."""
_STEP_S = 600.0
"""Unpacking 150 MB on an emulated processor takes a minute; systemd gives the unit five to become ready."""


def install(ground: Ground) -> Installed:
    """Makes a version where there is none like it, puts it in place and starts it.

    Raises:
        ProgramUncopiable, CopyBroken: nothing was installed.
        PlaceNotLasting: files there are not root's.
        InstallationRefused: the copy is there; the system did not take it.
        OSError: a file cannot be read or written.
    """
    files = _program_files()
    version, pinned, is_new = _make_version(ground, files)
    script = os.path.join(version.directory, SCRIPT)
    told = _run(["sh", script, ground.disk.point, _on(ground.disk, script), "install"])
    if told.returncode:
        raise InstallationRefused(script, _last(told.stderr))
    if os.path.isdir(_SYSTEMD):  # the daemon was restarted, and no other copy runs any more
        remove_copies(HOMES, kept=version.about.program)
    digest, on_disk = version.about.script_sha256, _on(ground.disk, script)
    return Installed(
        directory=version.directory,
        program=version.about.program,
        is_new=is_new,
        files=len(files),
        size_bytes=sum(os.path.getsize(file.source) for file in files),
        machine=pinned.machine,
        glibc=pinned.glibc,
        kept=tuple(file.path for file in ground.settings),
        line=start_line(pinned, on_disk, digest, ground.disk.spec, ground.disk.options),
        notes=tuple(line.removeprefix("zimage-syncd: ") for line in told.stderr.splitlines()),
    )


def _program_files() -> list[CopiedFile]:
    home = running_copy()
    if home is not None:
        return copy_of(home)
    files = [*interpreter_files(), *package_files(), *share_files()]
    return [*files, *library_files(files)]


def _make_version(ground: Ground, files: list[CopiedFile]) -> tuple[Version, Pinned, bool]:
    """The newest version where it is like this one would be; else a new one, which was seen to work."""
    known = known_versions(ground.directory)
    program = f"{zimage_syncd.__version__}-{fingerprint(files)[:12]}"
    making = begin_version(ground.directory)
    try:
        program_sha256 = _provide_program(os.path.join(making, PROGRAM), files, program, known)
        settings = _settings(ground, f"{HOMES}/{program}")
        pinned = _pinned(ground, files, program, (program_sha256, hashlib.sha256(settings).hexdigest()))
        script = boot_script(pinned)
        config = next(file for file in ground.settings if file.path.endswith("config.toml"))
        about = About(
            program, program_sha256, sha256_of(script), ground.config, hashlib.sha256(config.content).hexdigest()
        )
        if known and known[-1].about.script_sha256 == about.script_sha256 and _is_whole(known[-1], pinned):
            return known[-1], pinned, False
        _write(os.path.join(making, SETTINGS), settings, 0o600)
        _write(os.path.join(making, SCRIPT), script.encode(), 0o644)
        _prove(ground, making, f"{HOMES}/{program}")
        sequence = known[-1].sequence + 1 if known else 1
        return Version(finish_version(making, about, sequence), sequence, about, used=False), pinned, True
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _provide_program(path: str, files: list[CopiedFile], program: str, known: list[Version]) -> str:
    """Links the archive of a version that has the same program, or packs one; returns its SHA-256, in hex."""
    for version in reversed(known):
        earlier = os.path.join(version.directory, PROGRAM)
        if version.about.program == program and _sha256(earlier) == version.about.program_sha256:
            try:
                os.link(earlier, path)
            except OSError:
                shutil.copyfile(earlier, path)
            return version.about.program_sha256
    return pack_program(files, path)


def _settings(ground: Ground, home: str) -> bytes:
    return pack_settings(system_units(share_directory(), home, ground.data), ground.settings)


def _pinned(ground: Ground, files: list[CopiedFile], program: str, digests: tuple[str, str]) -> Pinned:
    data = ground.data
    return Pinned(
        program=program,
        program_sha256=digests[0],
        settings_sha256=digests[1],
        cache_id=ground.cache_id,
        identity=_on(ground.disk, ground.identity),
        place=ground.disk.point,
        mount_point="" if data is None else data.point,
        mount_unit=unit_name(data.point, "mount") if data is not None and data.spec else "",
        machine=platform.machine(),
        glibc=oldest_glibc(file.source for file in files if is_compiled(file.source)),
    )


def _prove(ground: Ground, making: str, home: str) -> None:
    """Unpacks a version as a reset would, and lets it do without a machine's environment what the daemon does at start.

    Raises:
        PlaceNotLasting: files there are not root's.
        CopyBroken: it does not work.
    """
    require_modes(making, ground.directory)
    script = os.path.join(making, SCRIPT)
    was_there = os.path.exists(home)
    for command in (
        ["sh", script, ground.disk.point, _on(ground.disk, script), "prove"],
        [f"{home}/bin/python", "-c", _IMPORT_ALL],
        [f"{home}/bin/zimage-syncd", "--config", ground.config, "env"],
    ):
        told = _run(command)
        if told.returncode:
            if not was_there:
                shutil.rmtree(home, ignore_errors=True)
            raise CopyBroken(command[0], _last(told.stderr))


def require_modes(making: str, directory: str) -> None:
    """Makes sure that a file system keeps what files are made with: FAT and SMB give all of them one owner and mode.

    Args:
        making: a version with its script and settings.
        directory: of the installation, for the message.

    Raises:
        PlaceNotLasting: the line would not take the script, or others could read keys among the settings.
    """
    script, settings = (os.stat(os.path.join(making, name)) for name in (SCRIPT, SETTINGS))
    found = f"files there belong to user {script.st_uid} with mode {settings.st_mode & 0o777:04o}"
    if script.st_uid != 0 or script.st_mode & 0o022:
        raise PlaceNotLasting(directory, f"{found}, and the start-up line takes only what is root's alone")
    if settings.st_mode & 0o077:
        raise PlaceNotLasting(directory, f"{found}, so others could read the settings, which may hold keys")


def _is_whole(version: Version, pinned: Pinned) -> bool:
    expected = {
        SCRIPT: version.about.script_sha256,
        SETTINGS: pinned.settings_sha256,
        PROGRAM: pinned.program_sha256,
    }
    return all(_sha256(os.path.join(version.directory, name)) == digest for name, digest in expected.items())


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """In an empty environment, as far from this one as a start of the machine."""
    try:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, errors="replace", env={}, cwd="/", timeout=_STEP_S
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"not done after {_STEP_S:.0f} s")


def _last(told: str) -> str:
    """The last line of what a command said, without what belongs to it: a remedy, a place in a traceback."""
    lines = [line for line in told.splitlines() if line.strip() and not line.startswith(" ")]
    return lines[-1].removeprefix("zimage-syncd: ") if lines else "it said nothing"


def _on(disk: DiskAddress, path: str) -> str:
    """A path as it is on its disk."""
    return os.path.relpath(path, disk.point)


def _sha256(path: str) -> str:
    """Of a file, in hex; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _write(path: str, content: bytes, mode: int) -> None:
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, mode)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
