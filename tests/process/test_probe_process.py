"""How the probe's process is started, watched and ended: nothing of it survives."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import zimage_syncd
from zimage_syncd.model.failures import Stopped
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult
from zimage_syncd.model.health_json import MAX_RESULT_BYTES, encode_result
from zimage_syncd.process import oom, strays
from zimage_syncd.process.probe import OOM_KILLED, ProbeProcess, passed_on

REQUEST = HealthRequest(directory="/cache/x", layout="huggingface", repo="a/b", revision="main")
ROOT = os.path.dirname(os.path.dirname(zimage_syncd.__file__))
ENTRY = os.path.join(ROOT, "zimage_syncd", "probe", "__main__.py")


class Never:
    def check(self):
        pass


class WhenWritten:
    """Asks to stop as soon as a file has two lines."""

    def __init__(self, path):
        self.path = path

    def check(self):
        if len(pids(self.path)) == 2:
            raise Stopped("health", "a test asked for it")


def pids(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return [int(line) for line in stream if line.endswith("\n")]
    except FileNotFoundError:
        return []


def alive(pid):
    """Whether a process runs; one that has ended and was not yet reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid):
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


@pytest.fixture
def probe_of(tmp_path):
    """Makes a runner whose probe is a script."""

    def make(script, environment=None):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(script))
        return ProbeProcess(None, environment or {}, program=("-S", str(path)))

    return make


FAMILY = """
    import os, signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    with open({path!r}, "a") as stream:
        stream.write(f"{{os.getpid()}}\\n")
    sys.stderr.write("importing torch\\n")
    sys.stderr.flush()
    time.sleep(600)
"""


def test_what_the_probe_answers_is_the_result(probe_of):
    answer = HealthResult(HealthOutcome.WRONG_PICTURE, HealthLevel.GENERATE, detail="one colour")
    probe = probe_of(f"import sys; sys.stdin.read(); sys.stdout.buffer.write({encode_result(answer)!r})")
    assert probe.run(REQUEST, 60, Never()) == answer


def test_time_up_ends_the_whole_group(probe_of, tmp_path):
    path = str(tmp_path / "pids")
    result = probe_of(FAMILY.format(path=path)).run(REQUEST, 1.5, Never())
    assert result.outcome is HealthOutcome.TIMEOUT
    assert result.level is HealthLevel.FILES
    assert "no result after 1.5 s" in result.detail
    assert "importing torch" in result.detail
    family = pids(path)
    assert len(family) == 2
    assert all(gone(pid) for pid in family)


def test_a_wish_to_stop_ends_the_whole_group_and_is_passed_on(probe_of, tmp_path):
    path = str(tmp_path / "pids")
    with pytest.raises(Stopped):
        probe_of(FAMILY.format(path=path)).run(REQUEST, 60, WhenWritten(path))
    assert all(gone(pid) for pid in pids(path))


def test_a_grandchild_that_outlives_a_good_probe_is_ended(probe_of, tmp_path):
    path = str(tmp_path / "pids")
    answer = encode_result(HealthResult(HealthOutcome.OK, HealthLevel.LOAD))
    script = f"""
        import os, sys, time
        if os.fork() == 0:
            with open({path!r}, "w") as stream:
                stream.write(f"{{os.getpid()}}\\n")
            time.sleep(600)
        while not os.path.exists({path!r}) or not os.path.getsize({path!r}):
            time.sleep(0.01)
        sys.stdout.buffer.write({answer!r})
    """
    assert probe_of(script).run(REQUEST, 60, Never()).outcome is HealthOutcome.OK
    (grandchild,) = pids(path)
    assert gone(grandchild)


CRASHES = {
    "signal": ("os.kill(os.getpid(), 11)", "ended by SIGSEGV; it last said: last words"),
    "status": ("os._exit(3)", "ended with exit status 3; it last said: last words"),
    "exception": ("raise RuntimeError('no kernel image')", "RuntimeError: no kernel image"),
    "nothing": ("pass", "is not JSON"),
    "garbage": ("print('Loading weights... ok')", "is not JSON"),
    "half": (
        f"sys.stdout.write({encode_result(HealthResult(HealthOutcome.OK, HealthLevel.LOAD))[:-9].decode()!r})",
        "is not JSON",
    ),
    "endless": (f"sys.stdout.write('x' * {3 * MAX_RESULT_BYTES})", "is larger than"),
}


@pytest.mark.parametrize("kind", CRASHES)
def test_a_probe_without_a_result_has_crashed(probe_of, kind):
    code, expected = CRASHES[kind]
    script = f"import os, sys\nsys.stderr.write('last words\\n')\nsys.stderr.flush()\n{code}\n"
    result = probe_of(script).run(REQUEST, 60, Never())
    assert result.outcome is HealthOutcome.CRASHED
    assert expected in result.detail


def test_only_the_end_of_much_noise_is_kept(probe_of):
    result = probe_of(
        "import os, sys\nfor n in range(200_000): sys.stderr.write(f'noise {n}\\n')\nsys.stderr.flush()\nos._exit(1)"
    ).run(REQUEST, 60, Never())
    assert result.detail.endswith("noise 199998 | noise 199999")
    assert "noise 199990" not in result.detail


DAEMON = """
    import os, sys, time
    ready, told = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        with open({path!r}, "a") as stream:
            stream.write(f"{{os.getpid()}}\\n")
        if {clears}:
            os.execve(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(600)"], {environment})
        time.sleep(600)
    while not os.path.exists({path!r}) or not os.path.getsize({path!r}):
        time.sleep(0.01)
    {end}
"""
"""Leaves a process behind in a session of its own, whose parent is gone."""

ANSWERS = f"sys.stdout.buffer.write({encode_result(HealthResult(HealthOutcome.OK, HealthLevel.LOAD))!r})"


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (ANSWERS, HealthOutcome.OK),
        ("time.sleep(600)", HealthOutcome.TIMEOUT),
        ("os.abort()", HealthOutcome.CRASHED),
    ],
)
@pytest.mark.parametrize("clears", [False, True])
def test_what_left_the_group_is_ended_however_the_probe_ends(probe_of, tmp_path, end, outcome, clears):
    path = str(tmp_path / "pids")
    kept = "{'ZIMAGE_SYNCD_PROBE_MARK': os.environ['ZIMAGE_SYNCD_PROBE_MARK']}"
    script = DAEMON.format(path=path, end=end, clears=clears, environment=kept)
    assert probe_of(script).run(REQUEST, 3, Never()).outcome is outcome
    (stray,) = pids(path)
    assert gone(stray)


def test_who_carries_no_mark_or_another_one_is_left_alone(probe_of):
    # The third mark was made in a container that this process can see into: its numbers mean others there.
    namespace, _, rest = strays.new_mark().partition(".")
    marks = [
        strays.new_mark(),
        "nonsense",
        f"{int(namespace) + 1}.{2**22 + 1}.5.ab",
        f"{namespace}",
        f"{namespace}.x.{rest}",
    ]
    environments = [{}, *({"ZIMAGE_SYNCD_PROBE_MARK": mark} for mark in marks)]
    sleepers = [subprocess.Popen(["sleep", "600"], env=environment) for environment in environments]
    try:
        assert probe_of(f"import sys\n{ANSWERS}").run(REQUEST, 60, Never()).outcome is HealthOutcome.OK
        assert all(alive(sleeper.pid) for sleeper in sleepers)
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_what_a_killed_starter_s_probe_left_behind_is_ended_by_the_next_probe(probe_of, tmp_path):
    path = str(tmp_path / "pids")
    stranger = tmp_path / "stranger.py"
    stranger.write_text(textwrap.dedent(DAEMON.format(path=path, end="time.sleep(600)", clears=False, environment={})))
    starter = f"""
from zimage_syncd.model.health import HealthRequest
from zimage_syncd.process.probe import ProbeProcess
class Never:
    def check(self): pass
ProbeProcess(None, {{}}, program=("-S", {str(stranger)!r})).run(
    HealthRequest(directory="/c", layout="huggingface", repo="a/b", revision="main"), 600, Never())
"""
    parent = subprocess.Popen([sys.executable, "-c", starter], env={**os.environ, "PYTHONPATH": ROOT})
    deadline = time.monotonic() + 30
    while not pids(path) and time.monotonic() < deadline:
        time.sleep(0.02)
    (stray,) = pids(path)
    parent.kill()
    parent.wait()
    assert alive(stray)
    assert probe_of(f"import sys\n{ANSWERS}").run(REQUEST, 60, Never()).outcome is HealthOutcome.OK
    assert gone(stray)


def test_a_kill_for_want_of_memory_is_told_from_another_kill(tmp_path):
    """The kernel's counter is a file here; the kill is real."""
    group = tmp_path / "sys/fs/cgroup/daemon"
    for directory in (tmp_path / "proc/self", group):
        directory.mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/daemon\n")
    events = group / "memory.events"
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "sys.stderr.write('loading\\n'); sys.stderr.flush()\n"
        f"with open({str(events)!r}, 'w') as s: s.write('max 9\\noom 1\\noom_kill ' + sys.argv[1] + '\\n')\n"
        "os.kill(os.getpid(), 9)\n"
    )

    def outcome(kills_before, kills_after):
        events.write_text(f"max 9\noom 1\noom_kill {kills_before}\n")
        program = ("-S", str(script), str(kills_after))
        probe = ProbeProcess(None, {}, program=program, oom_kills=lambda: oom.kills(str(tmp_path)))
        return probe.run(REQUEST, 60, Never())

    killed = outcome(3, 4)
    assert killed.outcome is HealthOutcome.OUT_OF_MEMORY
    assert killed.detail == f"{OOM_KILLED}; it last said: loading"
    assert outcome(4, 4).outcome is HealthOutcome.CRASHED


COUNTERS = {
    "version 2": ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.events": "oom 2\noom_kill 7\n"}, 7),
    "a container": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.events": "oom_kill 6\n"}, 6),
    "version 1": (
        {"proc/self/cgroup": "4:cpu,memory:/x\n0::/\n", "sys/fs/cgroup/memory/x/memory.oom_control": "oom_kill 5\n"}, 5,
    ),
    "a container of version 1": (
        {"proc/self/cgroup": "4:memory:/docker/x\n", "sys/fs/cgroup/memory/memory.oom_control": "oom_kill 4\n"}, 4,
    ),
    "no group": ({"proc/self/cgroup": "0::/\n", "proc/vmstat": "oom_kill 3\npgfault 9\n"}, 3),
    "nothing": ({}, 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", COUNTERS)
def test_the_kernel_s_count_is_read_where_it_is_kept(tmp_path, kind):
    files, expected = COUNTERS[kind]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert oom.kills(str(tmp_path)) == expected


def test_no_secret_reaches_the_probe(probe_of, tmp_path):
    path = tmp_path / "environment"
    environment = {
        "PATH": "/usr/bin",
        "HOME": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "1",
        "HIP_VISIBLE_DEVICES": "1",
        "HSA_OVERRIDE_GFX_VERSION": "10.3.0",
        "ROCR_VISIBLE_DEVICES": "1",
        "LC_ALL": "C.UTF-8",
        "HF_TOKEN": "hf_secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "MODELSCOPE_API_TOKEN": "secret",
        "https_proxy": "http://user:secret@proxy",
        "PYTHONPATH": "/elsewhere",
        "ZIMAGE_SYNCD__STORES__BUCKET__URL": "s3://x",
    }
    script = f"import os\nwith open({str(path)!r}, 'w') as s: s.write(' '.join(sorted(os.environ)))"
    probe_of(script, environment).run(REQUEST, 60, Never())
    cards = {"CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION", "ROCR_VISIBLE_DEVICES"}
    assert set(path.read_text().split()) == {*cards, "HOME", "LC_ALL", "PATH", "ZIMAGE_SYNCD_PROBE_MARK"}
    assert set(passed_on(environment)) == {*cards, "HOME", "LC_ALL", "PATH"}


def test_the_real_probe_reports_a_missing_snapshot(tmp_path):
    request_ = HealthRequest(directory=str(tmp_path / "gone"), layout="huggingface", repo="a/b", revision="main")
    result = ProbeProcess(None, os.environ, program=("-S", ENTRY)).run(request_, 60, Never())
    assert result.outcome is HealthOutcome.FILES_DAMAGED
    assert str(tmp_path / "gone") in result.detail


def test_the_probe_ends_with_the_process_that_started_it(tmp_path):
    path = str(tmp_path / "pids")
    waiting, held_open = os.pipe()
    # The probe waits for its request on a pipe that stays open, so only its parent's end can end it.
    parent_code = f"""
import os, subprocess, sys, time
probe = subprocess.Popen([sys.executable, "-S", {ENTRY!r}, "--parent", str(os.getpid())], stdin={waiting})
with open({path!r}, "w") as stream:
    stream.write(f"{{probe.pid}}\\n")
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-S", "-c", parent_code], pass_fds=[waiting])
    try:
        deadline = time.monotonic() + 30
        while not pids(path) and time.monotonic() < deadline:
            time.sleep(0.02)
        (probe,) = pids(path)
        # It lowers its priority right after it has asked the kernel to end it with its parent.
        while os.getpriority(os.PRIO_PROCESS, probe) == os.getpriority(os.PRIO_PROCESS, 0):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert alive(probe)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    ended = gone(probe)
    os.close(waiting)
    os.close(held_open)
    assert ended


def test_a_probe_whose_parent_is_gone_does_not_start():
    status = subprocess.run(
        [sys.executable, "-S", ENTRY, "--parent", "1"], input=b"", timeout=60, check=False
    ).returncode
    assert status == 4
