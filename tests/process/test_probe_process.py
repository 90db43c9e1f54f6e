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
from zimage_syncd.process.probe import ProbeProcess, passed_on

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


def test_a_missing_interpreter_is_missing_extra_and_named():
    result = ProbeProcess("/nonexistent/bin/python", {}).run(REQUEST, 60, Never())
    assert result.outcome is HealthOutcome.MISSING_EXTRA
    assert "/nonexistent/bin/python" in result.detail


def test_no_secret_reaches_the_probe(probe_of, tmp_path):
    path = tmp_path / "environment"
    environment = {
        "PATH": "/usr/bin",
        "HOME": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "1",
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
    assert path.read_text() == "CUDA_VISIBLE_DEVICES HOME LC_ALL PATH"
    assert set(passed_on(environment)) == {"CUDA_VISIBLE_DEVICES", "HOME", "LC_ALL", "PATH"}


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
