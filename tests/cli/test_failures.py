"""Each failure is one clear message with what, where and remedy, the right exit code, and nothing lost."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caches import listing
from tests.support.machine import Machine


def error_of(machine: Machine, *arguments: str, expected: int) -> str:
    finished = machine.run(*arguments, expected=expected)
    assert finished.stdout == ""
    first, second = finished.stderr.splitlines()[-2:]
    assert first.startswith("error ZS")
    assert second.startswith("  remedy: ")
    return first


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["restore", "--mode", "magic"], ["verify", "--quick", "--deep"], ["path"], ["backup", "a/b/c"], []],
)
def test_usage_errors_end_with_3(machine: Machine, arguments: list[str]) -> None:
    finished = machine.run(*arguments, expected=None)
    assert finished.returncode in ({0, 3} if not arguments else {3})


def test_usage_errors_are_json_when_asked(machine: Machine) -> None:
    document = machine.json("verify", "--quick", "--deep", expected=3)
    assert document["schema"] == "zimage-syncd/error/1"
    assert document["problem"]["code"] == "ZS001"


def test_no_configuration(machine: Machine) -> None:
    finished = machine.run("status", config=False, expected=3)
    assert "ZS002" in finished.stderr


def test_an_unknown_key_is_named_with_the_near_one(machine: Machine) -> None:
    machine.write_config('[verify]\nqiuck = ""\n')
    said = error_of(machine, "status", expected=3)
    assert "verify.qiuck" in said
    assert "did you mean quick?" in said


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ('[restore]\norder = ["bukket"]', "restore.order"),
        ('[backup]\nto = ["nowhere"]', "backup.to"),
        ('[verify]\ndeep = "61 * * * *"', "verify.deep"),
        ("[health]\nsize_px = 500", "health.size_px"),
        ('[stores.tree]\nurl = "/shared/x"\n[backup]\nto = ["tree"]', "backup.to"),
        ('[stores.tree]\nurl = "/shared/x"\nprofile = "p"', "stores.tree.profile"),
        ('[stores.odd]\nurl = "relative/path"', "stores.odd.url"),
        ('[stores.huggingface]\nurl = "/x"', "stores.huggingface"),
        ('[stores.s]\nurl = "s3://b"\nprofile = "p"\ncredentials_file = "/f"', "stores.s.profile"),
    ],
)
def test_contradictions_and_bad_values_are_refused_by_name(machine: Machine, extra: str, named: str) -> None:
    machine.write_config(extra)
    assert named in error_of(machine, "status", expected=3)


def test_a_configuration_that_others_may_write_is_refused(machine: Machine) -> None:
    machine.config.chmod(0o666)
    assert "ZS005" in error_of(machine, "status", expected=3)


def test_the_environment_alone_is_enough(machine: Machine) -> None:
    machine.fill()
    finished = machine.run(
        "backup",
        config=False,
        ZIMAGE_SYNCD__CACHE__DIR=str(machine.cache),
        ZIMAGE_SYNCD__STORES__BUCKET__URL=f"file://{machine.bucket}",
    )
    assert "backed up" in finished.stdout
    finished = machine.run("status", config=False, expected=3, ZIMAGE_SYNCD__CACHE__DIRR="/x")
    assert "did you mean dir?" in finished.stderr


def test_a_missing_data_disk_is_never_written_to(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    mount = machine.root / "data"
    shutil.rmtree(mount)
    mount.mkdir()
    machine.write_config(cache=f'mount = "{mount}"')
    for command in (["restore"], ["verify"], ["backup"]):
        assert "ZS101" in error_of(machine, *command, expected=1)
    assert "ZS101" in error_of(machine, "restore", "--to", str(mount / "elsewhere"), expected=1)
    assert os.listdir(mount) == []
    told = machine.run("status", expected=2).stdout
    assert "ZS101" in told
    assert "free" not in told, "that would be the system disk's space"


def test_a_foreign_data_disk_is_refused(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    machine.write_config(cache='id = "another"')
    before = listing(machine.cache)
    said = error_of(machine, "restore", expected=1)
    assert "ZS102" in said
    assert "another" in said
    assert listing(machine.cache) == before


@pytest.mark.parametrize("to", ["/dev/null/x", "{root}/file", "{root}/file/below/it"])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_place_to_restore_to_that_can_be_no_directory_is_named(machine: Machine, to: str, more: list[str]) -> None:
    (machine.root / "file").write_text("mine")
    said = error_of(machine, "restore", "--to", to.format(root=machine.root), *more, expected=3)
    assert "ZS001" in said
    assert "is no directory" in said
    assert (machine.root / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"format": 2, "cache_id": "x"}',
        *(pytest.param(text, marks=pytest.mark.long) for text in ("{", "[]", '{"format": 1, "cache_id": "a b"}')),
    ],
)
def test_an_identity_that_cannot_be_understood_is_not_taken_for_none(machine: Machine, text: str) -> None:
    machine.fill()
    machine.run("backup")
    place = machine.cache / ".zimage-syncd/identity.json"
    place.write_text(text)
    before = listing(machine.cache)
    for command in (["backup"], ["restore"], ["verify"]):
        said = error_of(machine, *command, expected=1)
        assert "ZS116" in said
        assert str(place) in said
    assert "ZS116" in machine.run("status", expected=2).stdout
    assert machine.run("path", "org/name", "--layout", "huggingface").stdout
    assert place.read_text() == text
    assert listing(machine.cache) == before
    place.unlink()
    machine.run("backup")


@pytest.fixture
def closed(machine: Machine) -> Iterator[Path]:
    """A directory of a recorded cache that may not be read."""
    machine.fill()
    machine.run("backup")
    place = machine.cache / "models"
    place.chmod(0)
    yield place
    place.chmod(0o755)


def test_status_tells_the_rest_where_a_directory_of_the_cache_may_not_be_read(machine: Machine, closed: Path) -> None:
    said = machine.run_as_nobody_special("status", expected=2).stdout
    assert f"ZS106 a path cannot be read: {closed}: Permission denied" in said
    assert "store   bucket: reachable" in said
    assert "backup: good" in said
    assert "complete" in said


@pytest.mark.parametrize(
    ("arguments", "done"),
    [
        (["backup"], "(huggingface): unchanged"),
        (["verify"], "(huggingface): verified"),
        (["verify", "--deep", "--repair"], "(huggingface): verified"),
        (["health", "--level", "files"], "(huggingface): ok (files)"),
        (["snapshots"], "huggingface"),
    ],
)
def test_one_directory_that_may_not_be_read_stops_nothing_else(
    machine: Machine, closed: Path, arguments: list[str], done: str
) -> None:
    said = machine.run_as_nobody_special(*arguments, expected=2).stdout
    assert done in said
    assert said.count("ZS106 a path cannot be read") == 1
    assert str(closed) in said
    assert machine.run_as_nobody_special("path", "org/name", expected=0).stdout.strip()


@pytest.mark.parametrize("command", ["backup", "verify", "health"])
def test_what_may_lie_in_a_directory_that_cannot_be_read_is_not_called_missing(
    machine: Machine, closed: Path, command: str
) -> None:
    finished = machine.run_as_nobody_special(command, "org/name", "--layout", "modelscope", expected=None)
    assert "ZS106" in finished.stdout + finished.stderr
    assert "ZS202" not in finished.stdout + finished.stderr


@pytest.mark.parametrize("depth", ["--quick", "--deep"])
def test_permissions_that_keep_a_file_from_being_read_are_told_and_mended_alike(machine: Machine, depth: str) -> None:
    machine.fill()
    machine.run("backup")
    before = listing(machine.cache)
    place = next((machine.cache / "models").rglob("*.safetensors"))
    place.chmod(0)
    said = machine.run_as_nobody_special("verify", depth, expected=2).stdout
    assert "ZS208" in said
    assert "mode 0, expected 644" in said
    said = machine.run_as_nobody_special("verify", "org/name", depth, "--repair", expected=2).stdout
    assert "1 problem found, 1 mended" in said
    assert listing(machine.cache) == before
    machine.run_as_nobody_special("verify", "org/name", depth, expected=0)


def test_damage_behind_permissions_is_found_and_mended_in_one_run(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    before = listing(machine.cache)
    place = next((machine.cache / "models").rglob("*.safetensors"))
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)
    place.chmod(0)
    said = machine.run_as_nobody_special("verify", "org/name", "--deep", "--repair", expected=2).stdout
    assert "2 problems found, 2 mended" in said
    assert listing(machine.cache) == before


def test_health_tells_a_file_that_may_not_be_read_from_an_unfinished_download(machine: Machine) -> None:
    machine.fill()
    place = next((machine.cache / "models").rglob("*.safetensors"))
    place.chmod(0)
    said = machine.run_as_nobody_special("health", "--level", "files", expected=2).stdout
    assert "ZS106 a path cannot be read" in said
    assert place.name in said
    assert "ZS201" not in said


@pytest.mark.parametrize("command", ["backup", "verify", "health"])
def test_an_empty_cache_is_told_alike_by_every_command(machine: Machine, command: str) -> None:
    assert "ZS217" in error_of(machine, command, expected=1)


def test_a_bucket_that_is_not_there_names_it(machine: Machine) -> None:
    machine.write_config(store=f'url = "file://{machine.root}/no/such/bucket"')
    machine.fill()
    said = error_of(machine, "backup", expected=1)
    assert "ZS401" in said
    assert "no/such" in said
    assert "ZS401" in error_of(machine, "restore", expected=1)


def test_what_no_store_has(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    said = error_of(machine, "restore", "no/such", expected=1)
    assert "ZS306" in said
    assert "no/such" in said


@pytest.mark.parametrize("below", ["", "below", "hub/models--org--name"])
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_the_cache_is_no_other_directory(machine: Machine, below: str, dry_run: list[str]) -> None:
    machine.fill()
    machine.run("backup")
    before = listing(machine.cache)
    said = error_of(machine, "restore", "--to", str(machine.cache / below), *dry_run, expected=3)
    assert "lies in cache.dir" in said
    assert listing(machine.cache) == before


@pytest.mark.parametrize("command", ["backup", "verify", "health", "path", "restore"])
def test_an_id_that_nothing_has_means_nothing(machine: Machine, command: str) -> None:
    machine.fill()
    machine.run("backup")
    error_of(machine, command, "org/name", "--snapshot", "ffffffff", expected=1)


def test_an_id_means_one_layout(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    rows = machine.json("snapshots")["snapshots"]
    chosen = next(row for row in rows if row["layout"] == "modelscope")["manifest_id"]
    assert "models/org--name" in machine.run("path", "org/name", "--snapshot", chosen[:12]).stdout
    (result,) = machine.json("backup", "--snapshot", chosen)["snapshots"]
    assert "modelscope" in result["snapshot"]


def test_an_unknown_store_is_usage(machine: Machine) -> None:
    assert "nowhere" in error_of(machine, "restore", "--from", "nowhere", expected=3)


def test_a_busy_cache_ends_with_75_and_names_the_holder(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    with open(machine.cache / ".zimage-syncd/lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(json.dumps({"pid": 4711, "host": "h", "doing": "restore"}).encode())
        lock.flush()
        said = error_of(machine, "verify", expected=75)
    assert "process 4711" in said


def test_a_real_directory_where_the_link_belongs_stays(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    machine.link.mkdir(parents=True)
    (machine.link / "precious").write_text("mine")
    finished = machine.run("restore", expected=2)
    assert "ZS108" in finished.stdout
    assert (machine.link / "precious").read_text() == "mine"


def test_health_of_a_cache_without_torch_checks_files(machine: Machine) -> None:
    machine.fill()
    finished = machine.run("health", "--level", "files", "--layout", "huggingface")
    assert "ok (files)" in finished.stdout


class TestDaemon:
    def start(self, machine: Machine) -> subprocess.Popen[str]:
        return subprocess.Popen(
            machine.command("run"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=machine.root,
            env={**machine.environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def wait_for(self, process: subprocess.Popen[str], text: str) -> list[str]:
        lines = []
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if text in line:
                return lines
        raise AssertionError("".join(lines))

    def test_one_cycle_brings_a_lost_cache_back_and_sigterm_ends_it(self, machine: Machine) -> None:
        machine.write_config('[health]\nafter = []\n[verify]\nquick = ""\ndeep = ""\n')
        machine.fill()
        before = listing(machine.cache)
        del before["token"]
        machine.run("backup")
        shutil.rmtree(machine.cache)
        process = self.start(machine)
        lines = self.wait_for(process, "job finished")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
        assert process.returncode == 0
        assert time.monotonic() - began < 10
        assert "stopped" in rest
        assert listing(machine.cache) == before
        assert os.readlink(machine.link) == str(machine.cache)
        events = [json.loads(line)["event"] for line in lines]
        assert events[0] == "started"
        assert "disks looked at" in events

    def test_a_daemon_waits_for_another_command_without_harm(self, machine: Machine) -> None:
        machine.write_config('[health]\nafter = []\n[verify]\nquick = ""\ndeep = ""\n')
        machine.fill()
        machine.run("backup")
        with open(machine.cache / ".zimage-syncd/lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = self.start(machine)
            lines = self.wait_for(process, "ZS105")
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        assert process.returncode == 0
        assert any("ZS105" in line for line in lines)

    def test_a_missing_data_disk_is_told_and_not_written_to(self, machine: Machine) -> None:
        mount = machine.root / "data"
        shutil.rmtree(mount)
        mount.mkdir()
        machine.write_config('[verify]\nquick = ""\ndeep = ""\n', cache=f'mount = "{mount}"')
        process = self.start(machine)
        self.wait_for(process, "ZS101")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
        assert os.listdir(mount) == []


def test_a_directory_in_the_identitys_place_is_named(machine: Machine) -> None:
    machine.fill()
    (machine.cache / ".zimage-syncd/identity.json").mkdir(parents=True)
    said = error_of(machine, "backup", expected=1)
    assert "identity.json" in said
    assert "ZS901" not in said
