"""The probe's own process, as far as it goes without torch."""

import json
import os
import subprocess
import sys

import pytest

import zimage_syncd
from zimage_syncd.model.health import HealthLevel, HealthOutcome
from zimage_syncd.model.health_json import decode_result, encode_request

ENTRY = os.path.join(os.path.dirname(zimage_syncd.__file__), "probe", "__main__.py")

HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "modelscope", "blake3", "msgspec", "boto3")


def probe(request_, *options, program=(ENTRY,), cwd="/", document=None):
    command = [sys.executable, *options, *program]
    answer = subprocess.run(
        command, input=document or encode_request(request_), capture_output=True, cwd=cwd, timeout=60, check=False
    )
    return answer.returncode, answer.stdout, answer.stderr.decode()


def test_files_level_imports_neither_torch_nor_anything_else_that_is_installed(paper, request_for):
    status, output, errors = probe(request_for(paper, level=HealthLevel.FILES), "-X", "importtime")
    result = decode_result(output)
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in errors.splitlines() if "|" in line}
    assert (status, result.outcome, result.level) == (0, HealthOutcome.OK, HealthLevel.FILES)
    assert result.checked_files == 5
    assert dict(result.timings_s).keys() == {"files", "total"}
    assert "zimage_syncd" in imported
    assert imported.isdisjoint(HEAVY)


def test_run_as_a_module_it_answers_the_same(paper, request_for):
    root = os.path.dirname(os.path.dirname(zimage_syncd.__file__))
    request_ = request_for(paper, level=HealthLevel.FILES)
    status, output, _ = probe(request_, program=("-m", "zimage_syncd.probe"), cwd=root)
    assert (status, decode_result(output).outcome) == (0, HealthOutcome.OK)


def test_run_by_path_it_exposes_neither_its_own_directory_nor_the_packages_neighbours(paper, request_for, tmp_path):
    # The script runs the entry as a path does, and then tells what can be imported.
    script = tmp_path / "look.py"
    script.write_text(
        "import importlib.util, runpy, sys\n"
        f"sys.path[0] = {os.path.dirname(ENTRY)!r}\n"
        f"space = runpy.run_path({ENTRY!r}, run_name='by_path')\n"
        "space['_make_package_importable']()\n"
        "import zimage_syncd.model.health\n"
        "found = [n for n in ('files', 'device', 'tests') if importlib.util.find_spec(n)]\n"
        "sys.stderr.write(repr(found))\n"
    )
    status, _, errors = probe(request_for(paper), "-S", program=(str(script),))
    assert (status, errors) == (0, "[]")


def test_without_torch_auto_checks_files_and_says_so(paper, request_for):
    status, output, _ = probe(request_for(paper, level=HealthLevel.AUTO), "-S")
    result = decode_result(output)
    assert (status, result.outcome, result.level) == (0, HealthOutcome.OK, HealthLevel.FILES)
    assert "only files were checked" in result.detail
    assert ": torch, diffusers, transformers" in result.detail
    assert "numpy" not in result.detail


@pytest.mark.parametrize("level", [HealthLevel.LOAD, HealthLevel.GENERATE])
def test_without_torch_what_needs_it_is_missing_extra(paper, request_for, level):
    _, output, _ = probe(request_for(paper, level=level), "-S")
    result = decode_result(output)
    assert (result.outcome, result.level) == (HealthOutcome.MISSING_EXTRA, HealthLevel.FILES)


@pytest.mark.parametrize("level", HealthLevel)
def test_a_damaged_header_is_files_damaged_at_every_level(paper, request_for, level):
    with open(os.path.join(paper, "transformer", "model-1.safetensors"), "r+b") as stream:
        stream.write(b"\xff")
    _, output, _ = probe(request_for(paper, level=level), "-S")
    result = decode_result(output)
    assert result.outcome is HealthOutcome.FILES_DAMAGED
    assert "transformer/model-1.safetensors" in result.detail


@pytest.mark.parametrize("level", [HealthLevel.AUTO, HealthLevel.LOAD, HealthLevel.GENERATE])
def test_a_repository_that_is_no_pipeline_is_not_applicable(paper, request_for, level):
    os.unlink(os.path.join(paper, "model_index.json"))
    _, output, _ = probe(request_for(paper, level=level), "-S")
    result = decode_result(output)
    assert (result.outcome, result.level) == (HealthOutcome.NOT_APPLICABLE, HealthLevel.FILES)
    assert "4 files were looked at" in result.detail


def test_pickled_weights_are_never_loaded(paper, request_for):
    transformer = os.path.join(paper, "transformer")
    for name in ("model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"):
        os.unlink(os.path.join(transformer, name))
    with open(os.path.join(transformer, "pytorch_model.bin"), "wb") as stream:
        stream.write(b"cos\nsystem\n(S'false'\ntR.")
    _, output, _ = probe(request_for(paper, level=HealthLevel.LOAD), "-S")
    result = decode_result(output)
    assert result.outcome is HealthOutcome.NOT_APPLICABLE
    assert "transformer: weights that are no safetensors" in result.detail


def test_many_damaged_files_are_counted(paper, request_for):
    for number in range(12):
        with open(os.path.join(paper, f"{number:02}_config.json"), "wb"):
            pass
    _, output, _ = probe(request_for(paper, level=HealthLevel.FILES), "-S")
    detail = decode_result(output).detail
    assert "07_config.json" in detail
    assert "08_config.json" not in detail
    assert detail.endswith("; and 4 more")


def test_a_request_that_cannot_be_read_gives_no_result(paper, request_for):
    document = json.dumps({"directory": "/x", "trust_remote_code": True}).encode()
    status, output, errors = probe(request_for(paper), "-S", document=document)
    assert (status, output) == (3, b"")
    assert "trust_remote_code" in errors


def test_what_libraries_print_does_not_mix_with_the_result(paper, request_for, tmp_path):
    script = tmp_path / "chatty.py"
    script.write_text(
        "import os, runpy, subprocess\n"
        f"output = runpy.run_path({ENTRY!r}, run_name='by_path')['_claim_stdout']()\n"
        "print('a library prints', flush=True)\n"
        "os.write(1, b'a native library prints\\n')\n"
        "subprocess.run(['echo', 'a child prints'])\n"
        "os.write(output, b'the result')\n"
    )
    status, output, errors = probe(request_for(paper), "-S", program=(str(script),))
    assert (status, output) == (0, b"the result")
    assert errors.splitlines() == ["a library prints", "a native library prints", "a child prints"]
