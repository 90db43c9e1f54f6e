"""Files of environment variables: whole, for three kinds of readers, and never over somebody else's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from zimage_syncd.disk.document import read_bytes, write_document
from zimage_syncd.model.failures import EnvironmentOccupied, UsageInvalid
from zimage_syncd.setup.environment_files import EnvironmentFiles

VARIABLES = {"HF_HOME": "/root/work space/model_cache", "MODELSCOPE_CACHE": "/root/work space/model_cache"}


def files(root: Path, variables: dict[str, str] = VARIABLES) -> EnvironmentFiles:
    return EnvironmentFiles(variables, read_bytes, write_document, lambda path: Path(path).unlink(), str(root))


def test_they_are_written_once_and_taken_away(tmp_path: Path) -> None:
    (tmp_path / "etc/fish").mkdir(parents=True)
    written = files(tmp_path).install()
    assert [str(Path(path).relative_to(tmp_path)) for path in written] == [
        "etc/environment.d/60-zimage-syncd.conf",
        "etc/profile.d/zimage-syncd.sh",
        "etc/fish/conf.d/zimage-syncd.fish",
    ]
    assert {Path(path).stat().st_mode & 0o777 for path in written} == {0o644}
    assert files(tmp_path).install() == []
    assert sorted(files(tmp_path).remove()) == sorted(written)
    assert files(tmp_path).remove() == []


def test_what_was_lost_or_is_of_an_older_configuration_is_written_again(tmp_path: Path) -> None:
    first, second = files(tmp_path).install()
    Path(first).unlink()
    assert files(tmp_path).install() == [first]
    assert files(tmp_path, {"HF_HOME": "/other"}).install() == [first, second]
    assert "/other" in Path(second).read_text()


def test_a_login_shell_reads_them(tmp_path: Path) -> None:
    files(tmp_path).install()
    script = '. "$1"; printf "%s|%s" "$HF_HOME" "$MODELSCOPE_CACHE"'
    place = str(tmp_path / "etc/profile.d/zimage-syncd.sh")
    said = subprocess.run(["sh", "-c", script, "sh", place], capture_output=True, text=True, check=True).stdout
    assert said == "|".join(VARIABLES.values())


def test_systemd_reads_them(tmp_path: Path) -> None:
    generator = "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator"
    if not shutil.which(generator):
        pytest.skip(f"there is no {generator} here")
    files(tmp_path).install()
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "etc"), "HOME": str(tmp_path)}
    said = subprocess.run([generator], capture_output=True, text=True, check=True, env=environment).stdout
    assert "HF_HOME=" in said
    assert "work space/model_cache" in said.replace("\\", "")


@pytest.mark.parametrize("name", ["etc/environment.d/60-zimage-syncd.conf", "etc/profile.d/zimage-syncd.sh"])
def test_somebody_elses_file_is_never_touched(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    place.parent.mkdir(parents=True)
    place.write_text("HF_HOME=/mine\n")
    with pytest.raises(EnvironmentOccupied, match=place.name):
        files(tmp_path).install()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [place], "all or nothing"
    assert files(tmp_path).remove() == []
    assert place.read_text() == "HF_HOME=/mine\n"


def test_a_link_in_its_place_is_somebody_elses(tmp_path: Path) -> None:
    place = tmp_path / "etc/profile.d/zimage-syncd.sh"
    place.parent.mkdir(parents=True)
    place.symlink_to("/etc/shadow")
    with pytest.raises(EnvironmentOccupied):
        files(tmp_path).install()
    assert place.is_symlink()


@pytest.mark.parametrize("value", ['/a"b', "/a$b", "/a`b", "/a\\b", "/a\nb", "/a'b", ""])
def test_values_that_a_reader_would_take_for_more_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageInvalid, match="HF_HOME"):
        files(tmp_path, {"HF_HOME": value}).install()
    assert list(tmp_path.iterdir()) == []
