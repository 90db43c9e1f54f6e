"""What a copy consists of, and how it is packed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from zimage_syncd.setup.copied_file import CopiedFile, files_below, fingerprint
from zimage_syncd.setup.glibc import oldest_glibc
from zimage_syncd.setup.ground import SystemFile
from zimage_syncd.setup.interpreter import interpreter_files, is_compiled, library_files
from zimage_syncd.setup.packages import package_files, share_files
from zimage_syncd.setup.parcel import pack_program, pack_settings


def written(directory: Path) -> list[CopiedFile]:
    directory.mkdir()
    (directory / "deep").mkdir()
    (directory / "program").write_bytes(b"one")
    (directory / "program").chmod(0o755)
    (directory / "deep" / "b.py").write_bytes(b"two")
    (directory / "deep" / "b.pyc").write_bytes(b"three")
    (directory / "deep" / "link").symlink_to("b.py")
    return list(files_below(str(directory), "copy"))


def test_files_of_a_directory_keep_names_and_modes_and_links_are_files(tmp_path: Path) -> None:
    found = {(file.name, file.executable) for file in written(tmp_path / "x")}
    assert found == {
        ("copy/program", True),
        ("copy/deep/b.py", False),
        ("copy/deep/b.pyc", False),
        ("copy/deep/link", False),
    }


@pytest.mark.parametrize(
    ("name", "content", "same"),
    [("program", b"ONE", False), ("deep/b.py", b"twO", False), ("deep/b.pyc", b"four", True), ("new", b"", False)],
)
def test_a_fingerprint_changes_with_every_file_but_bytecode(
    tmp_path: Path, name: str, content: bytes, same: bool
) -> None:
    before = fingerprint(written(tmp_path / "x"))
    (tmp_path / "x" / name).write_bytes(content)
    assert (fingerprint(files_below(str(tmp_path / "x"), "copy")) == before) is same


def test_a_mode_is_in_the_fingerprint(tmp_path: Path) -> None:
    before = fingerprint(written(tmp_path / "x"))
    (tmp_path / "x/program").chmod(0o644)
    assert fingerprint(files_below(str(tmp_path / "x"), "copy")) != before


def test_a_packed_program_is_what_tar_unpacks_with_times_for_its_bytecode(tmp_path: Path) -> None:
    files = written(tmp_path / "x")
    os.utime(tmp_path / "x/deep/b.py", (1_700_000_000.9, 1_700_000_000.9))
    digest = pack_program(files, str(tmp_path / "a.tar"))
    assert digest == hashlib.sha256((tmp_path / "a.tar").read_bytes()).hexdigest()
    assert (tmp_path / "a.tar").stat().st_mode & 0o777 == 0o600
    subprocess.run(["tar", "-xf", tmp_path / "a.tar", "-C", tmp_path], check=True)
    assert (tmp_path / "copy/deep/b.py").read_bytes() == b"two"
    assert (tmp_path / "copy/deep/b.py").stat().st_mtime == 1_700_000_000
    assert (tmp_path / "copy/program").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "copy/deep/link").is_file()
    with pytest.raises(FileExistsError):
        pack_program(files, str(tmp_path / "a.tar"))


def test_packed_settings_are_the_same_bytes_for_the_same_files_and_show_no_secret(tmp_path: Path) -> None:
    unit, secret = SystemFile("/etc/b.service", b"unit"), SystemFile("/etc/a", b"secret", 0o600)
    packed = pack_settings([unit], [secret])
    assert packed == pack_settings([unit], [secret])
    assert packed != pack_settings([unit], [SystemFile("/etc/a", b"secrets", 0o600)])
    (tmp_path / "a.tar").write_bytes(packed)
    with tarfile.open(tmp_path / "a.tar") as archive:
        found = {(member.name, member.mode) for member in archive.getmembers() if member.isfile()}
    assert found == {("units/etc/b.service", 0o644), ("settings/etc/a", 0o600)}
    assert "secret" not in repr(secret)


def test_settings_may_be_none_and_both_trees_are_there_still(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(pack_settings([], []))
    subprocess.run(["tar", "-xf", tmp_path / "a.tar", "-C", tmp_path], check=True)
    assert (tmp_path / "units").is_dir()
    assert (tmp_path / "settings").is_dir()


def test_the_program_is_taken_along_with_what_it_requires_and_nothing_of_the_probe_s() -> None:
    files = {file.name: file for file in package_files()}
    for needed in ("boto3", "blake3", "apscheduler", "huggingface_hub", "modelscope_hub", "six.py", "zimage_syncd"):
        assert [name for name in files if name.startswith(f"packages/{needed}")], needed
    for heavy in ("torch", "diffusers", "transformers", "modelscope", "numpy", "pytest", "mypy"):
        assert not [name for name in files if name.startswith(f"packages/{heavy}/")], heavy
    assert "packages/zimage_syncd/setup/copy/start.py" in files
    assert [name for name in files if name.startswith("packages/boto3-") and name.endswith("/METADATA")]
    assert {file.name for file in share_files()} >= {"share/zimage-syncd/zimage-syncd.service"}


def test_the_interpreter_has_its_libraries_beside_it_and_leaves_glibc_to_the_system() -> None:
    files = interpreter_files()
    names = {file.name for file in files}
    assert {"bin/python3", "bin/python", "bin/zimage-syncd", "start.py"} <= names
    assert not [name for name in names if "/test/" in name or "site-packages" in name]
    libraries = {file.name for file in library_files(files)}
    assert [name for name in libraries if name.startswith("lib/libssl.so")]
    assert not {"lib/libc.so.6", "lib/libm.so.6", "lib/libpthread.so.0"} & libraries
    assert oldest_glibc(file.source for file in files if is_compiled(file.source)) >= "2.2"


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.4\0", "2.34"),
        (b"\0GLIBC_2.17\0GLIBC_ABI_DT_RELR\0", "2.36"),
        (b"\0GLIBC_PRIVATE\0XGLIBC_9.9\0", ""),
    ],
)
def test_the_oldest_glibc_is_the_newest_that_is_needed(tmp_path: Path, content: bytes, version: str) -> None:
    (tmp_path / "a.so").write_bytes(content)
    assert oldest_glibc([str(tmp_path / "a.so")]) == version


def test_what_the_system_s_own_tools_say_is_needed_is_found() -> None:
    if shutil.which("objdump") is None:
        pytest.skip("needs objdump")
    shell = os.path.realpath("/bin/sh")
    said = subprocess.run(["objdump", "-p", shell], check=True, capture_output=True, text=True).stdout
    needed = [word.removeprefix("GLIBC_") for word in said.split() if word.startswith("GLIBC_2")]
    newest = max(needed, key=lambda text: [int(part) for part in text.split(".")])
    assert oldest_glibc([shell]) == ".".join(newest.split(".")[:2])
