"""Each command on a `Services` that answers from memory: what is asked of it, what is printed, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from zimage_syncd.cli.app import run
from zimage_syncd.cli.restore import _MODES
from zimage_syncd.cli.services import Services
from zimage_syncd.cli.session import Session
from zimage_syncd.cli.signals import StopFlag
from zimage_syncd.config import Config
from zimage_syncd.daemon.pulse import Pulse
from zimage_syncd.daemon.signals import Signals
from zimage_syncd.model import problems
from zimage_syncd.model.failures import CacheBusy, ConfigInvalid, NoSpace, Stopped, StoreUnreachable
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthResult
from zimage_syncd.model.installation import Installed, Removed
from zimage_syncd.model.plan import LinkMode, Plan
from zimage_syncd.model.report import Finding, Job, Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType
from zimage_syncd.model.status import HealthReport, LinkRow, SnapshotRow, Status, StoreRow

AT = datetime(2026, 11, 24, 4, tzinfo=UTC)
DAMAGE = Finding(problems.FILE_DAMAGED, "blob", mended=True)
INSTALLED = Installed(
    directory="/mnt/data/x",
    program="1.0-abc",
    is_new=True,
    files=2,
    size_bytes=3_000_000,
    machine="x86_64",
    glibc="2.34",
    kept=("/etc/zimage-syncd/config.toml",),
    line="(d=/mnt/data; exit 1)",
    notes=("there is no systemd",),
)
ALL = Selection()
ONE = Selection(RepoId(RepoType.DATASET, "org/name"), "main", LayoutName.MODELSCOPE, "0123456789ab")
NAMED = ["datasets/org/name", "--revision", "main", "--layout", "modelscope", "--snapshot", "0123456789AB"]


Call = Callable[..., tuple[int, "MemoryServices"]]


@dataclass
class MemoryServices:
    """Remembers what it was asked, and answers what it was told."""

    findings: tuple[Finding, ...] = ()
    outcome: HealthOutcome = HealthOutcome.OK
    failure: BaseException | None = None
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def _answer(self, job: Job, *question: object) -> Report:
        self.asked.append(question)
        if self.failure is not None:
            raise self.failure
        return Report(job, AT, 1.0, findings=self.findings)

    def backup(self, selection: Selection, *, accept_changed: bool) -> Report:
        return self._answer(Job.BACKUP, selection, accept_changed)

    def restore(self, selection: Selection, *, source: str | None, to: str | None, mode: LinkMode | None) -> Report:
        return self._answer(Job.RESTORE, selection, source, to, mode)

    def plan_restore(self, selection: Selection, *, source: str | None, to: str | None, mode: LinkMode | None) -> Plan:
        self._answer(Job.RESTORE, "plan", selection, source, to, mode)
        return Plan((), 0, 80_000_000_000, ("/root/cache -> /mnt/data/cache",))

    def verify(self, selection: Selection, *, deep: bool, repair: bool) -> Report:
        return self._answer(Job.VERIFY, selection, deep, repair)

    def verify_store(self, store: str, selection: Selection, *, deep: bool, repair: bool) -> Report:
        return self._answer(Job.VERIFY_STORE, store, selection, deep, repair)

    def snapshots(self, store: str | None) -> list[SnapshotRow]:
        self._answer(Job.VERIFY, store)
        row = SnapshotRow(
            "cache", "org/name", "a" * 40, ("main",), "huggingface", "b" * 64, 5_000, 2, "incomplete", "why"
        )
        return [row, SnapshotRow("bucket", "org/\x1b[2J", "main", ("main",), "huggingface", "b" * 64, 0, 0, "stored")]

    def status(self) -> Status:
        self._answer(Job.VERIFY)
        link = LinkRow("/root/cache", "good", "/mnt/data/cache")
        store = StoreRow("bucket", "s3://models", "s3", reachable=False, detail="no network")
        return Status(
            "/mnt/data/cache", "/mnt/data", "here", "same", 1, 2, "id", (link,), (), (store,), "", (), self.findings
        )

    def health(self, selection: Selection, *, level: HealthLevel | None, full: bool) -> HealthReport:
        report = self._answer(Job.HEALTH, selection, level, full)
        result = HealthResult(self.outcome, HealthLevel.GENERATE, picture="/mnt/data/p.png")
        return HealthReport(report, (("org/name@main (huggingface)", result),))

    def path(self, selection: Selection) -> str:
        self._answer(Job.VERIFY, selection)
        return "/mnt/data/cache/x"

    def environment(self) -> dict[str, str]:
        return {"HF_HOME": "/a b", "MODELSCOPE_CACHE": "/it's"}

    def install(self, to: str | None) -> Installed:
        self._answer(Job.CYCLE, "install", to)
        return INSTALLED

    def uninstall(self) -> Removed:
        self._answer(Job.CYCLE, "uninstall")
        return Removed(("/etc/systemd/system/zimage-syncd.service",), ("/copy",), ("take the line out",))

    def remove_copies(self) -> None:
        assert self.asked

    def run(self, signals: Signals, pulse: Pulse, load: Callable[[], Config]) -> int:
        signals.when_asked(lambda: None)
        pulse.check()
        self._answer(Job.CYCLE)
        return 0


class DeafFlag(StopFlag):
    """Leaves the signals of the tests' own process alone."""

    def listen(self, *, reload: bool = False) -> None:
        pass


@dataclass(slots=True)
class MemorySession(Session):
    memory: MemoryServices = field(default_factory=MemoryServices)
    stop: StopFlag = field(default_factory=DeafFlag)

    def services(self, pulse: Pulse | None = None) -> Services:
        return self.memory


@pytest.fixture
def call() -> Call:
    def call(*arguments: str, **memory: Any) -> tuple[int, MemoryServices]:
        services = MemoryServices(**memory)
        return run(arguments, partial(MemorySession, memory=services)), services

    return call


QUESTIONS = [
    (["backup"], (ALL, False)),
    (["backup", *NAMED, "--accept-changed"], (ONE, True)),
    (["restore"], (ALL, None, None, None)),
    (["restore", *NAMED, "--from", "b", "--to", "/x/../y", "--mode", "copy"], (ONE, "b", "/y", LinkMode.COPY)),
    (["restore", "--dry-run", "--from", "b"], ("plan", ALL, "b", None, None)),
    (["verify"], (ALL, False, False)),
    (["verify", "--quick"], (ALL, False, False)),
    (["verify", *NAMED, "--deep", "--repair"], (ONE, True, True)),
    (["verify", "--store", "b", "--deep"], ("b", ALL, True, False)),
    (["verify", "--store", "b", "--repair"], ("b", ALL, False, True)),
    (["health"], (ALL, None, False)),
    (["health", *NAMED, "--level", "load", "--full"], (ONE, HealthLevel.LOAD, True)),
    (["snapshots"], (None,)),
    (["snapshots", "--store", "b"], ("b",)),
    (["path", *NAMED], (ONE,)),
    (["status"], ()),
    (["install"], ("install", None)),
    (["install", "--to", "/x"], ("install", "/x")),
    (["uninstall"], ("uninstall",)),
    (["run"], ()),
]


@pytest.mark.parametrize(("arguments", "question"), QUESTIONS)
def test_options_become_the_question_that_was_meant(
    call: Call, arguments: list[str], question: tuple[Any, ...]
) -> None:
    code, memory = call(*arguments)
    assert (code, memory.asked) == (0, [question])


JSON = [(arguments, question) for arguments, question in QUESTIONS if arguments != ["run"]]


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in JSON], ids=" ".join)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_json_is_one_document_wherever_the_option_stands(
    call: Call, capsys: pytest.CaptureFixture[str], arguments: list[str], *, first: bool
) -> None:
    code, _ = call(*(["--json", *arguments] if first else [*arguments, "--json"]))
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["schema"].startswith("zimage-syncd/")
    assert document["schema"].endswith("/1")


@pytest.mark.parametrize(
    "arguments", [["backup"], ["restore"], ["verify"], ["verify", "--store", "b"], ["health"], ["status"]]
)
def test_findings_end_with_2_also_when_they_were_mended(call: Call, arguments: list[str]) -> None:
    assert call(*arguments, findings=(DAMAGE,))[0] == 2
    assert call(*arguments, findings=(Finding(problems.UNPROVED, "x"),))[0] == 0


@pytest.mark.parametrize("arguments", [["snapshots"], ["restore", "--dry-run"]])
def test_documents_tell_the_exit_code(call: Call, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, _ = call("--json", *arguments)
    assert json.loads(capsys.readouterr().out)["exit_code"] == code


def test_a_busy_gpu_ends_with_75(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("health", outcome=HealthOutcome.GPU_BUSY)[0] == 75
    assert call("--json", "health", outcome=HealthOutcome.GPU_BUSY)[0] == 75


def test_a_dry_run_prints_the_plan_and_restores_nothing(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    _, memory = call("restore", "--dry-run")
    assert [question[0] for question in memory.asked] == ["plan"]
    assert "link /root/cache -> /mnt/data/cache" in capsys.readouterr().out


def test_the_modes_offered_are_those_that_exist() -> None:
    assert tuple(LinkMode) == _MODES


def test_rows_are_shown_place_by_place_without_escapes(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call("snapshots")
    assert capsys.readouterr().out == (
        "cache:\n"
        "  org/name  aaaaaaaaaaaa (main)  huggingface  2 files, 5.00 kB  incomplete  bbbbbbbbbbbb\n"
        "    why\n"
        "bucket:\n"
        "  org/\\x1b[2J  main  huggingface  stored  bbbbbbbbbbbb\n"
    )


def test_status_names_what_is_wrong(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = call("status", findings=(Finding(problems.LINK_LOST, "/root/cache"),))
    said = capsys.readouterr().out
    assert code == 2
    assert "store   bucket: NOT reachable, s3, s3://models: no network" in said
    assert f"  ZS112: {problems.LINK_LOST.remedy}" in said


def test_the_start_up_line_stands_alone_on_the_last_line(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call("install")
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == INSTALLED.line
    assert "copy    1.0-abc, 2 files, 3.00 MB: made" in printed
    assert "needs   glibc 2.34 on x86_64; no Python, no network" in printed
    assert "note    there is no systemd" in printed


def test_what_uninstall_removed_is_named(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call("uninstall")
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["removed /etc/systemd/system/zimage-syncd.service", "removed /copy", "take the line out"]


@pytest.mark.parametrize(
    ("shell", "first", "second"),
    [
        ("bash", "export HF_HOME='/a b'", "export MODELSCOPE_CACHE='/it'\"'\"'s'"),
        ("fish", "set -gx HF_HOME '/a b'", "set -gx MODELSCOPE_CACHE '/it\\'s'"),
        ("systemd", 'Environment="HF_HOME=/a b"', 'Environment="MODELSCOPE_CACHE=/it\'s"'),
        ("docker", "HF_HOME=/a b", "MODELSCOPE_CACHE=/it's"),
        (
            "jupyter",
            'import os; os.environ["HF_HOME"] = "/a b"',
            'import os; os.environ["MODELSCOPE_CACHE"] = "/it\'s"',
        ),
    ],
)
def test_variables_are_quoted_for_whom_they_are(
    call: Call, capsys: pytest.CaptureFixture[str], shell: str, first: str, second: str
) -> None:
    call("env", "--shell", shell)
    assert capsys.readouterr().out == f"{first}\n{second}\n"


USAGE = [
    ["nonsense"],
    ["restore", "--mode", "magic"],
    ["restore", "--to", ""],
    ["restore", "--from", ""],
    ["restore", "--revision", ""],
    ["verify", "--store", ""],
    ["verify", "--quick", "--deep"],
    ["health", "--level", "all"],
    ["backup", "a/b/c"],
    ["backup", "../x"],
    ["backup", "a/b", "c/d"],
    ["backup", "--snapshot", "abc"],
    ["backup", "--layout", "other"],
    ["path"],
    ["env", "--shell", "zsh"],
    ["status", "--watch", "--json"],
    ["--config", "", "status"],
    ["status", "--config"],
    ["--json", "nonsense"],
    ["nonsense", "--json"],
    ["restore", "--json", "--mode", "magic"],
    ["--json", "--config"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_usage_errors_end_with_3_before_anything_is_opened(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """There is no configuration here; a command that looked for one would say ZS002."""
    assert run(arguments) == 3
    said = capsys.readouterr()
    if "--json" in arguments:
        assert json.loads(said.out)["problem"]["code"] == "ZS001"
    else:
        assert said.out == ""
        first, second = said.err.splitlines()
        assert first.startswith("error ZS001: the command line is not understood: ")
        assert second == f"  remedy: {problems.USAGE.remedy}"


def test_a_failure_is_one_line_and_its_remedy(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    failure = NoSpace("/mnt/data", "needs 33 GB, 12 GB are free\x1b[2J")
    assert call("status", failure=failure)[0] == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "error ZS104: not enough space: /mnt/data: needs 33 GB, 12 GB are free\\x1b[2J\n"
        f"  remedy: {problems.NO_SPACE.remedy}\n"
    )
    assert call("status", "--json", failure=failure)[0] == 1
    said = capsys.readouterr()
    assert said.err == ""
    document = json.loads(said.out)
    assert document["schema"] == "zimage-syncd/error/1"
    assert document["problem"]["code"] == "ZS104"
    assert (document["subject"], document["detail"]) == ("/mnt/data", "needs 33 GB, 12 GB are free\\x1b[2J")


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (CacheBusy("/mnt/data"), 75),
        (ConfigInvalid("z.toml"), 3),
        (StoreUnreachable("bucket"), 1),
        (Stopped("the command"), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_every_failure_has_its_exit_code(
    call: Call, capsys: pytest.CaptureFixture[str], failure: BaseException, code: int
) -> None:
    assert call("restore", failure=failure)[0] == code
    said = capsys.readouterr().err
    assert said.lstrip("\n").startswith("error ZS")  # click ends the line that holds ^C
    assert "Traceback" not in said


def test_what_nobody_foresaw_is_one_line_and_a_traceback_only_when_asked(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("status", failure=RuntimeError("odd"))[0] == 1
    said = capsys.readouterr().err
    assert said.splitlines()[0] == f"error ZS901: {problems.INTERNAL.title}: RuntimeError: odd"
    assert "-v" in said
    assert "Traceback" not in said
    assert call("status", "-v", failure=RuntimeError("odd"))[0] == 1
    assert "Traceback" in capsys.readouterr().err


def _without_threads() -> Exception:
    """What Python raises where the system refuses a thread: here, one with more stack than may be reserved."""
    code = (
        "import resource, threading\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))\n"
        "threading.stack_size(2**30)\n"
        "threading.Thread(target=print).start()\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    name, _, message = said.stderr.splitlines()[-1].partition(": ")
    return {"RuntimeError": RuntimeError}[name](message)


@pytest.mark.parametrize("failure", [_without_threads, MemoryError])
def test_what_the_system_refuses_is_told_as_that(
    call: Call, capsys: pytest.CaptureFixture[str], failure: Callable[[], Exception]
) -> None:
    assert call("status", failure=failure())[0] == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error ZS904: {problems.NO_RESOURCES.title}: zimage-syncd: ")
    assert "TasksMax" in said


@pytest.mark.parametrize("arguments", [["status"], ["status", "-v"], ["status", "--json"]], ids=" ".join)
def test_a_foreign_message_is_told_without_its_secrets(
    call: Call, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    call(*arguments, failure=RuntimeError("no route to sftp://user:hunter2@host (password=hunter2)"))
    said = capsys.readouterr()
    assert "no route to sftp://" in said.out + said.err
    assert "hunter2" not in said.out + said.err


def test_without_a_command_people_get_the_help_and_programs_an_error(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call()[0] == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Usage: zimage-syncd [OPTIONS] COMMAND [ARGS]...\n")
    assert call("--json")[0] == 3
    assert json.loads(capsys.readouterr().out)["detail"] == "Missing command."
