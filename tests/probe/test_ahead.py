"""A probe that is started before its request, with the real libraries and the tiny pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import zimage_syncd
from zimage_syncd.model.health import AHEAD_VARIABLE, HealthLevel, HealthOutcome
from zimage_syncd.model.health_json import decode_result, encode_request
from zimage_syncd.process.probe import ProbeProcess

ENTRY = os.path.join(os.path.dirname(zimage_syncd.__file__), "probe", "__main__.py")


def started(*options, layout="huggingface"):
    """A probe that waits for its request."""
    environment = {**os.environ, AHEAD_VARIABLE: layout}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *options, ENTRY], env=environment, cwd="/", **pipes)


def answer(process, request_):
    output, errors = process.communicate(encode_request(request_), timeout=170)
    assert process.returncode == 0, errors.decode()
    return decode_result(output), errors.decode()


def memory_bytes(pid):
    """What a process has in memory by now (proc_pid_statm(5))."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def imported(process):
    """Waits until it has nothing left to import: it sleeps, and uses no processor any more."""
    deadline, before = time.monotonic() + 120, None
    while time.monotonic() < deadline:
        state, *fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        used_s = (int(fields[10]) + int(fields[11])) / os.sysconf("SC_CLK_TCK")
        # One that others keep from the processor is ready to run, and does not sleep.
        if state == "S" and used_s > 0.5 and before == used_s:
            return
        before = used_s if state == "S" else None
        time.sleep(0.4)
    raise AssertionError("it does not come to rest")


@pytest.mark.probe
def test_it_draws_the_same_picture_and_counts_from_the_request(tiny, request_for, never, tmp_path):
    runner = ProbeProcess(None, os.environ)
    began = time.monotonic()
    runner.prepare("huggingface")
    process = runner._ahead.process()
    imported(process)
    waited_s = time.monotonic() - began
    assert memory_bytes(process.pid) > 100 * 2**20
    asked = time.monotonic()
    ahead = runner.run(request_for(tiny, picture=str(tmp_path / "ahead.png")), 170, never)
    took_s = time.monotonic() - asked
    plain = runner.run(request_for(tiny, picture=str(tmp_path / "plain.png")), 170, never)
    assert (ahead.outcome, ahead.level) == (HealthOutcome.OK, HealthLevel.GENERATE)
    assert "plainly" not in ahead.detail
    seconds, usual = dict(ahead.timings_s), dict(plain.timings_s)
    assert seconds.keys() - usual.keys() == {"ahead"}
    assert 0 < seconds["ahead"] < waited_s
    # What is left of importing is to look that it was done.
    assert seconds["import torch"] + seconds["import"] < 0.1 * (usual["import torch"] + usual["import"])
    assert seconds["total"] <= took_s
    assert ahead.versions == plain.versions
    assert pixels(ahead.picture) == pixels(plain.picture)


def pixels(path):
    from PIL import Image

    with Image.open(path) as picture:
        return picture.tobytes()


@pytest.mark.probe
def test_what_lean_imports_cannot_load_is_imported_again_without_a_word_in_the_result(own_tiny, request_for):
    place = os.path.join(own_tiny, "model_index.json")
    with open(place, encoding="utf-8") as stream:
        index = json.load(stream)
    index["scheduler"] = ["diffusers", "FlowMatchHeunDiscreteScheduler"]
    with open(place, "w", encoding="utf-8") as stream:
        json.dump(index, stream)
    process = started()
    imported(process)
    asked = time.monotonic()
    result, errors = answer(process, request_for(own_tiny, level=HealthLevel.LOAD))
    assert (result.outcome, result.detail) == (HealthOutcome.OK, "")
    assert "load" in dict(result.timings_s)
    # It is still the same process, whose age would count the wait.
    assert dict(result.timings_s)["total"] <= time.monotonic() - asked
    assert errors == "importing again, for all of it\n"


@pytest.mark.probe
def test_nothing_of_a_gpu_is_touched_before_the_request():
    """Neither a device's file nor CUDA's context, which torch makes in `_lazy_init`."""
    code = (
        "import io, sys\n"
        "from zimage_syncd.probe.ahead import import_until_asked\n"
        "touched = []\n"
        "def look(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).startswith(('/dev/nvidia', '/dev/dri', '/dev/kfd')):\n"
        "        touched.append(arguments[0])\n"
        "def watch(frame, event, argument):\n"
        "    if event == 'call' and frame.f_code.co_name == '_lazy_init' and 'cuda' in frame.f_code.co_filename:\n"
        "        touched.append('context')\n"
        "sys.addaudithook(look)\n"
        "sys.setprofile(watch)\n"
        "document, begun = import_until_asked('huggingface', io.BytesIO(b'asked\\nand more'), 100)\n"
        "sys.setprofile(None)\n"
        "print(document, begun.is_lean, begun.ahead_s > 0, touched,\n"
        "      'zimage_syncd.probe.pipeline' in sys.modules, type(sys.modules['torch._dynamo']).__name__)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=170, check=False)
    assert said.stdout.strip() == "b'asked\\n' True True [] True _StandIn", said.stderr


@pytest.mark.probe
def test_without_torch_it_says_the_same_as_ever(tiny, request_for):
    result, _ = answer(started("-S"), request_for(tiny, level=HealthLevel.LOAD))
    assert result.outcome is HealthOutcome.MISSING_EXTRA
    assert ": torch, diffusers, transformers" in result.detail


@pytest.mark.parametrize("layout", ["huggingface", "modelscope"])
def test_it_ends_without_a_word_where_no_request_comes(layout):
    process = started("-S", layout=layout)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (3, b"", b"")


def test_damage_is_told_by_a_probe_that_was_started_ahead(paper, request_for):
    os.unlink(os.path.join(paper, "transformer", "model-1.safetensors"))
    result, _ = answer(started("-S"), request_for(paper))
    assert result.outcome is HealthOutcome.FILES_DAMAGED
    assert [name for name, _ in result.timings_s] == ["ahead", "files", "total"]
