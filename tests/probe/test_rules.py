"""Rules of the probe that are about torch and the libraries, looked at one by one, without loading a model."""

import json
import os

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from zimage_syncd.model.health import (  # noqa: E402 (torch comes with the probe extra)
    HealthLevel,
    HealthOutcome,
    HealthRequest,
    Placement,
)
from zimage_syncd.probe import device, generation, gpu, offload, pipeline  # noqa: E402
from zimage_syncd.probe.conclusion import Concluded, Progress  # noqa: E402
from zimage_syncd.probe.files import examine  # noqa: E402
from zimage_syncd.probe.need import ComponentNeed, Need  # noqa: E402
from zimage_syncd.probe.tensors import refuse_bad_tensors  # noqa: E402

pytestmark = pytest.mark.probe

GIB = 2**30
CPU = device.Device("cpu", "cpu", torch.float32)
CUDA = device.Device("cuda:0", "cuda:0 NVIDIA H200", torch.bfloat16)


def index_of(paper, **changes):
    path = os.path.join(paper, "model_index.json")
    with open(path, encoding="utf-8") as stream:
        values = json.load(stream)
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({**values, **changes}, stream)
    index = examine(paper).index
    assert index is not None
    return index


def test_the_pipelines_own_class_is_used(paper):
    assert pipeline.find_class(index_of(paper), "huggingface") == (diffusers.ZImagePipeline, "diffusers.ZImagePipeline")


@pytest.mark.parametrize(
    "name",
    ["NoSuchPipeline", "UNet2DModel", "os", "__builtins__", ["pipeline", "Own"], "DiffusionPipeline.from_pretrained"],
)
def test_no_other_class_is_ever_used(paper, name):
    with pytest.raises(Concluded) as caught:
        pipeline.find_class(index_of(paper, _class_name=name), "huggingface")
    assert caught.value.outcome is HealthOutcome.NOT_APPLICABLE


@pytest.mark.parametrize("library", ["os", "own_code", "subprocess", "zimage_syncd"])
def test_components_from_other_libraries_are_refused(paper, library):
    with open(os.path.join(paper, "transformer", "own_code.py"), "w", encoding="utf-8") as stream:
        stream.write("raise SystemExit('was run')")
    with pytest.raises(Concluded) as caught:
        pipeline.refuse_foreign_parts(index_of(paper, transformer=[library, "system"]))
    assert caught.value.outcome is HealthOutcome.NOT_APPLICABLE
    assert f"transformer needs code from '{library}'" in caught.value.detail


def test_components_of_the_installed_libraries_pass(paper):
    pipeline.refuse_foreign_parts(index_of(paper))
    pipeline.refuse_foreign_parts(index_of(paper, transformer=["transformers", "Qwen3Model"]))
    pipeline.refuse_foreign_parts(index_of(paper, transformer=["stable_diffusion", "StableDiffusionSafetyChecker"]))


class Toy:
    """Has components as a pipeline has."""

    def __init__(self, **components):
        self.components = components


def test_tensors_that_are_not_finite_or_not_there_are_named():
    good = torch.nn.Linear(2, 2)
    bad = torch.nn.BatchNorm1d(2)
    assert refuse_bad_tensors(pipeline.tensors_of(Toy(a=good, tokenizer=object(), b=bad))) == 7
    bad.running_mean[1] = float("-inf")
    with pytest.raises(Concluded) as caught:
        refuse_bad_tensors(pipeline.tensors_of(Toy(a=good, b=bad)))
    assert caught.value.detail == "b: running_mean holds NaN or infinity"
    with pytest.raises(Concluded) as caught:
        refuse_bad_tensors(pipeline.tensors_of(Toy(a=torch.nn.Linear(2, 2, device="meta"))))
    assert caught.value.detail == "a: no file has the tensor weight"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_bad_value_among_many_is_found_in_every_dtype(dtype, value):
    values = torch.ones(1000, 33).to(dtype)
    assert refuse_bad_tensors([("a", values, True)]) == 1
    values[517, 3] = value
    with pytest.raises(Concluded, match="NaN or infinity"):
        refuse_bad_tensors([("good", torch.ones(3), True), ("a", values, True)])


def test_zeros_are_damage_in_a_matrix_of_weights_only():
    zeros = torch.zeros
    vectors = [("bias", zeros(8), True), ("padding token", zeros(1, 8), True), ("number", zeros(()), True)]
    others = [("computed", zeros(4, 4), False), ("empty", zeros(0, 4), True), ("indexes", zeros(4, 4).long(), True)]
    assert refuse_bad_tensors([*vectors, *others]) == 6
    with pytest.raises(Concluded, match="matrix holds nothing but zeros"):
        refuse_bad_tensors([("matrix", zeros(2, 2, dtype=torch.bfloat16), True)])


def test_auto_draws_where_that_is_quick_and_never_loads_what_does_not_fit():
    assert device.affordable_level(CUDA, 33 * GIB) == (HealthLevel.GENERATE, "")
    assert device.affordable_level(CPU, GIB - 1) == (HealthLevel.GENERATE, "")
    level, reason = device.affordable_level(CPU, 2**60)
    assert level is HealthLevel.FILES
    assert "free memory" in reason


def test_a_large_model_takes_half_the_memory_on_a_processor():
    assert device.choose("cpu", GIB - 1).dtype is torch.float32
    assert device.choose("cpu", GIB).dtype is torch.bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_asked_for_and_not_there_is_no_gpu():
    assert device.choose("auto", GIB).name == "cpu"
    with pytest.raises(Concluded) as caught:
        device.choose("cuda", GIB)
    assert caught.value.outcome is HealthOutcome.NO_GPU
    assert torch.__version__ in caught.value.detail


@pytest.mark.parametrize(
    ("free", "own", "outcome"),
    [(10, 70, HealthOutcome.OUT_OF_MEMORY), (2, 10, HealthOutcome.GPU_BUSY), (80, 0, HealthOutcome.OUT_OF_MEMORY)],
)
def test_who_holds_a_cards_memory_is_to_blame_for_what_does_not_fit(free, own, outcome):
    concluded = device.blame(free * GIB, 80 * GIB, own * GIB)
    assert concluded.outcome is outcome
    assert f"{80 * GIB} bytes on the GPU" in concluded.detail


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MemoryError(), HealthOutcome.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), HealthOutcome.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"), HealthOutcome.GPU_BUSY),
        (OSError("Unable to load weights\nfrom /cache/x"), HealthOutcome.LOAD_FAILED),
    ],
)
def test_what_libraries_raise_is_translated(error, outcome):
    concluded = device.conclude(error, CPU, HealthOutcome.LOAD_FAILED)
    assert concluded.outcome is outcome
    assert "\n" not in concluded.detail


def fits_of(monkeypatch, free_gib, host_gib=64, total_gib=24, **request):
    """Where a model of 6 GiB in bfloat16 goes on a card of 24 GiB."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free_gib * GIB, total_gib * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 0)
    monkeypatch.setattr(device, "available_bytes", lambda: host_gib * GIB)
    monkeypatch.setattr(device, "choose", lambda wanted, _: CPU_BF16 if wanted == "cpu" else CUDA)
    wanted = HealthRequest(directory="/c", layout="huggingface", repo="a/b", revision="main", **request)
    progress = Progress()
    place, level, _ = generation._where(wanted, NEED, 6 * GIB, progress)
    return place.name, level, progress


CPU_BF16 = device.Device("cpu", "cpu", torch.bfloat16)
NEED = Need((ComponentNeed("transformer", 2 * GIB, 0, GIB // 8), ComponentNeed("text_encoder", GIB, 0, GIB // 8)))


def test_a_small_card_is_given_one_component_after_the_other(monkeypatch):
    name, level, progress = fits_of(monkeypatch, free_gib=6)
    assert (name, level, progress.placement) == ("cuda:0", HealthLevel.GENERATE, Placement.COMPONENTS)
    assert 4 * GIB < progress.needed_memory_bytes < 6 * GIB
    assert fits_of(monkeypatch, free_gib=2)[2].placement is Placement.LAYERS


def test_a_card_that_is_too_small_leaves_the_processor_to_auto_and_nothing_to_others(monkeypatch):
    with pytest.raises(Concluded) as caught:
        fits_of(monkeypatch, free_gib=1, total_gib=1, level=HealthLevel.GENERATE)
    assert caught.value.outcome is HealthOutcome.OUT_OF_MEMORY
    assert "are needed" in caught.value.detail
    name, level, progress = fits_of(monkeypatch, free_gib=1, total_gib=1)
    assert (name, level, progress.placement) == ("cpu", HealthLevel.LOAD, Placement.CPU)
    assert progress.remarks[0].startswith("cuda:0 NVIDIA H200 is too small: at least")


def test_a_card_that_others_fill_is_busy(monkeypatch):
    with pytest.raises(Concluded) as caught:
        fits_of(monkeypatch, free_gib=0, level=HealthLevel.GENERATE)
    assert caught.value.outcome is HealthOutcome.GPU_BUSY


def test_a_processor_without_memory_is_told_before_anything_is_loaded(monkeypatch):
    with pytest.raises(Concluded) as caught:
        fits_of(monkeypatch, free_gib=0, host_gib=5, device="cpu", level=HealthLevel.LOAD)
    assert caught.value.outcome is HealthOutcome.OUT_OF_MEMORY
    assert f"{5 * GIB} are free" in caught.value.detail
    assert fits_of(monkeypatch, free_gib=0, host_gib=5, device="cpu")[1] is HealthLevel.FILES


def test_what_torch_sees_speaks_where_there_is_no_nvml(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (20 * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "AMD Test")
    assert device.look() == gpu.Look("AMD Test", 24 * GIB, 20 * GIB)


def test_what_this_process_does_there_itself_is_nobody_elses_work(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: GIB)
    assert isinstance(device.look(), gpu.Unseen)


@pytest.mark.parametrize(
    ("placement", "sequence", "expected"),
    [
        (Placement.COMPONENTS, "a->b", "enable_model_cpu_offload"),
        (Placement.COMPONENTS, None, "enable_sequential_cpu_offload"),
        (Placement.LAYERS, "a->b", "enable_sequential_cpu_offload"),
    ],
)
def test_offloading_goes_by_components_where_the_pipeline_names_their_order(placement, sequence, expected):
    calls = []

    class Pipeline:
        model_cpu_offload_seq = sequence

        def __getattr__(self, name):
            return lambda device: calls.append((name, device))

    offload.spread(Pipeline(), placement, "cuda:0")
    assert calls == [(expected, "cuda:0")]


def test_a_model_that_comes_component_by_component_draws_the_same_picture(tiny, request_for):
    pictures = []
    for placement in (Placement.CPU, Placement.COMPONENTS):
        loaded = pipeline.load(diffusers.ZImagePipeline, tiny, CPU_BF16)
        if placement in offload.OFFLOADED:
            offload.spread(loaded, placement, "cpu")
        pictures.append(pipeline.draw(loaded, request_for(tiny)).tobytes())
    assert pictures[0] == pictures[1]
