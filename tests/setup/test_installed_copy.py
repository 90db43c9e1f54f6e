"""`install` for real: a copy on a disk of its own, brought back by the line onto systems without Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.caches import hf_snapshot
from tests.support.instance import POINT, Instance
from tests.support.tiny_safetensors import pipeline_files

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.xdist_group("instance")]
PROJECT = Path(__file__).parents[2]
LINK = "/root/workspace/model_cache"
PROGRAM = f"cd / && PYTHONPATH={PROJECT} {sys.executable} -m zimage_syncd"
INSTALL = f"{PROGRAM} --config /etc/zimage-syncd/config.toml --json install"
CONFIG = f"""
[cache]
dir = "{POINT}/model_cache"
mount = "{POINT}"
links = ["{LINK}"]
[stores.bucket]
url = "file://{POINT}/bucket"
[verify]
quick = ""
deep = ""
[health]
level = "files"
after = []
"""
SECRET = "AWS_SECRET_ACCESS_KEY=verysecret"


def install_on(instance: Instance) -> dict[str, Any]:
    """What `install` prints in an instance whose data disk holds a cache."""
    data = instance.mount_data()
    if not (data / "model_cache").exists():
        hf_snapshot(data / "model_cache", pipeline_files())
    settings = instance.root / "etc/zimage-syncd"
    settings.mkdir(exist_ok=True)
    (settings / "config.toml").write_text(CONFIG)
    (settings / "config.toml").chmod(0o600)
    (settings / "environment").write_text(f"{SECRET}\n")
    told = instance.check(INSTALL)
    assert "verysecret" not in told
    return dict(json.loads(told)["install"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A data disk with a copy, which nobody has booted from yet, and what `install` said."""
    directory = tmp_path_factory.mktemp("installed")
    with Instance(directory / "instance") as instance:
        done = install_on(instance)
    yield instance.image, done
    shutil.rmtree(directory)


@pytest.fixture
def reset(installed: tuple[Path, dict[str, Any]], tmp_path: Path) -> Iterator[Instance]:
    """An instance with that data disk, not mounted, and a fresh system disk that knows no Python."""
    image = tmp_path / "data.img"
    subprocess.run(["cp", "--sparse=always", str(installed[0]), str(image)], check=True)
    with Instance(tmp_path / "instance", image) as instance:
        instance.hide_python()
        yield instance
    image.unlink()


def test_the_line_alone_brings_the_daemon_and_the_link_back_without_python(
    reset: Instance, installed: tuple[Path, dict[str, Any]]
) -> None:
    assert reset.run("command -v python3 || ls /usr/lib/python3.11/os.py").returncode != 0
    wait = f"for n in $(seq 600); do [ -L {LINK} ] && break; sleep 0.1; done"
    look = f"readlink {LINK}; cat /etc/zimage-syncd/environment; ls -l /etc/zimage-syncd; zimage-syncd --json status"
    done = reset.run(f"{installed[1]['line']}\n{wait}; {look}; cat /var/log/zimage-syncd.log >&2")
    target, secret, *_, config = done.stdout.partition("{")[0].splitlines()
    assert (target, secret) == (f"{POINT}/model_cache", SECRET), done.stderr
    assert "-rw-------" in config
    status = json.loads("{" + done.stdout.partition("{")[2])["status"]
    assert status["disk"] == "here"
    assert status["snapshots"][0]["state"] == "complete"
    assert '"system": "first"' in done.stderr
    data = reset.mount_data()
    assert [path.name for path in data.glob(".zimage-syncd/install/versions/*/used")] == ["used"]


def test_the_health_check_of_a_copy_runs_on_its_own_interpreter(
    reset: Instance, installed: tuple[Path, dict[str, Any]]
) -> None:
    done = reset.run(f"{installed[1]['line']}\nsleep 3; zimage-syncd health --level files")
    assert (done.returncode, "ok (files)" in done.stdout) == (0, True), done.stdout + done.stderr


def test_installing_again_changes_nothing_and_another_configuration_makes_another_line(
    installed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    image = tmp_path / "data.img"
    subprocess.run(["cp", "--sparse=always", str(installed[0]), str(image)], check=True)
    with Instance(tmp_path / "instance", image) as instance:
        first = install_on(instance)
        assert (first["is_new"], first["line"]) == (False, installed[1]["line"])
        versions = instance.root / f"{POINT[1:]}/.zimage-syncd/install/versions"
        (old,) = versions.iterdir()
        # The machine was started by the first line; then somebody installs something else.
        (old / "used").touch()
        with (instance.root / "etc/zimage-syncd/config.toml").open("a") as file:
            file.write("[retention]\nreports = 7\n")
        copy = "/usr/local/bin/zimage-syncd"
        second = json.loads(instance.check(f"{copy} --json install"))["install"]
        assert second["is_new"]
        assert second["line"] != first["line"]
        assert second["program"] == first["program"]
        assert (Path(f"{versions}/{Path(second['directory']).name}") / "program.tar").stat().st_nlink == 2
        assert "ZS607" in instance.run(f"{copy} status").stdout
        # The old line still works, and the new one takes the old version away.
        assert instance.run(f"{first['line']}").returncode == 0
        assert len(list(versions.iterdir())) == 2
        assert instance.run(f"{second['line']}").returncode == 0
        assert [path.name for path in versions.iterdir()] == [Path(second["directory"]).name]
        assert "ZS60" not in instance.run(f"{copy} status").stdout
    image.unlink()


def test_uninstall_leaves_data_and_settings_and_nothing_else(
    reset: Instance, installed: tuple[Path, dict[str, Any]]
) -> None:
    count = "for each in /proc/[0-9]*/exe; do readlink $each; done | grep -c lib/zimage-syncd/"
    done = reset.run(f"{installed[1]['line']}\nsleep 1; {count}; zimage-syncd uninstall; {count}")
    assert (done.stdout.splitlines()[0], done.stdout.splitlines()[-1]) == ("1", "0"), done.stdout + done.stderr
    kept = ("etc/zimage-syncd/config.toml",)
    gone = ("usr/local/lib/zimage-syncd", "usr/local/bin/zimage-syncd", "run/zimage-syncd.pid")
    assert [path for path in kept if not os.path.lexists(reset.root / path)] == []
    assert [path for path in gone if os.path.lexists(reset.root / path)] == []
    data = reset.mount_data()
    assert not (data / ".zimage-syncd/install").exists()
    assert (data / ".zimage-syncd/identity.json").exists()
    assert len(list((data / "model_cache").rglob("*.safetensors"))) > 1


def test_a_copy_on_another_disk_is_found_there_and_only_by_its_own_cache(tmp_path: Path) -> None:
    with Instance(tmp_path / "instance") as instance:
        install_on(instance)
        # The same file system a second time, at another place: to the mount table it is another disk.
        share = f"mkdir -p /share && mount UUID={instance.uuid} /share && {INSTALL} --to /share/one"
        line = json.loads(instance.check(share))["install"]["line"]
        identity = instance.root / POINT[1:] / "one/identity.json"
        assert json.loads(identity.read_text())["cache_id"] in line
        identity.write_text(json.dumps({"format": 1, "cache_id": "another"}))
        assert json.loads(instance.run(share).stdout)["problem"]["code"] == "ZS605"
        identity.unlink()
        instance.check(share)
        instance.reset()
        done = instance.run(f"{line}\nzimage-syncd status; mountpoint /share")
        assert "ZS101" in done.stdout, done.stderr
        assert "/share is a mountpoint" in done.stdout
