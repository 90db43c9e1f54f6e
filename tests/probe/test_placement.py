"""How much memory a model needs by its headers, and where it goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.safetensors_edit import write_safetensors
from zimage_syncd.layouts.safetensors_header import Tensor
from zimage_syncd.model.health import Placement
from zimage_syncd.probe.files import examine
from zimage_syncd.probe.host_memory import available_bytes
from zimage_syncd.probe.need import ComponentNeed, Need, loaded_files, need_of
from zimage_syncd.probe.placement import PROGRAM_BYTES, Placed, place_on_cpu, place_on_gpu

GB = 10**9
ROOMY = 500 * GB

Z_IMAGE = Need(
    (
        ComponentNeed("text_encoder", 4_022_468_096, 0, 151_936 * 2560),
        ComponentNeed("transformer", 6_154_908_736, 0, 3840 * 10_240),
        ComponentNeed("vae", 83_819_683, 0, 512 * 512 * 9),
    )
)
"""By its configurations: Qwen3-4B without a head, 6.15 billion numbers in the transformer, diffusers' AutoencoderKL."""


def test_what_is_needed_agrees_with_what_was_measured() -> None:
    assert Z_IMAGE.loaded_bytes(2) == pytest.approx(20.5 * GB, rel=0.01)
    placed = place_on_gpu(Z_IMAGE, 1024, 140 * GB, ROOMY)
    # 23.3 GB at the peak by torch's own account, and the context of CUDA beside it.
    assert placed.placement is Placement.WHOLE
    assert 23.3 * GB < placed.needed_bytes < 24.3 * GB


@pytest.mark.parametrize(
    ("free_gb", "host_gb", "expected"),
    [
        (140, 100, Placement.WHOLE),
        (23.7, 4, Placement.IMPOSSIBLE),
        (24.1, 4, Placement.WHOLE),
        (22, 100, Placement.COMPONENTS),
        (16, 100, Placement.COMPONENTS),
        (16, 20, Placement.IMPOSSIBLE),
        (12, 100, Placement.LAYERS),
        (6, 100, Placement.LAYERS),
        (4, 100, Placement.IMPOSSIBLE),
        (-1, 100, Placement.IMPOSSIBLE),
    ],
)
def test_the_fastest_way_that_fits_is_taken(free_gb: float, host_gb: float, expected: Placement) -> None:
    placed = place_on_gpu(Z_IMAGE, 1024, int(free_gb * GB), int(host_gb * GB))
    assert placed.placement is expected
    assert (placed.needed_bytes <= free_gb * GB and placed.host_bytes <= host_gb * GB) is (
        expected is not Placement.IMPOSSIBLE
    )


def test_a_smaller_picture_needs_less_and_none_needs_least() -> None:
    sizes = [place_on_gpu(Z_IMAGE, size, 140 * GB, ROOMY).needed_bytes for size in (1024, 512, 256, 0)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_a_processor_needs_memory_for_all_of_it() -> None:
    needed = Z_IMAGE.loaded_bytes(2) + PROGRAM_BYTES
    assert place_on_cpu(Z_IMAGE, 2, 0, needed) == Placed(Placement.CPU, needed, 0)
    assert place_on_cpu(Z_IMAGE, 2, 0, needed - 1) == Placed(Placement.IMPOSSIBLE, needed, 0)
    assert place_on_cpu(Z_IMAGE, 4, 64, needed).placement is Placement.IMPOSSIBLE


def test_without_weights_nothing_but_the_rest_is_needed() -> None:
    assert place_on_gpu(Need(()), 64, GB, ROOMY).placement is Placement.WHOLE


@pytest.mark.parametrize(
    ("names", "index", "expected"),
    [
        (["a/model.safetensors"], "", ["a/model.safetensors"]),
        (["a/model.safetensors", "a/model.fp16.safetensors"], "", ["a/model.safetensors"]),
        (["a/m-00001-of-00002.safetensors", "a/m.fp16-00001-of-00002.safetensors"], "",
         ["a/m-00001-of-00002.safetensors"]),
        (["a/model.fp16.safetensors"], "", ["a/model.fp16.safetensors"]),
        (["a/m-1.safetensors", "a/old.safetensors"], "a/m.safetensors.index.json", ["a/m-1.safetensors"]),
        (["a/m-1.safetensors", "a/old.safetensors"], "a/m.fp16.safetensors.index.json",
         ["a/m-1.safetensors", "a/old.safetensors"]),
        (["b/model.safetensors", "model.safetensors"], "", []),
    ],
)  # fmt: skip
def test_what_is_not_loaded_is_not_counted(names: list[str], index: str, expected: list[str]) -> None:
    shards = {index: frozenset({"a/m-1.safetensors"})} if index else {}
    assert loaded_files("a", tuple(names), shards) == tuple(expected)


def test_floats_are_counted_as_what_they_become_and_the_rest_as_it_is() -> None:
    tensors = (
        Tensor("w", "F32", (2, 5), 0, 40),
        Tensor("h", "F8_E4M3", (6,), 40, 6),
        Tensor("i", "I64", (3,), 46, 24),
        Tensor("p", "F4", (8,), 70, 4),
    )
    need = need_of(("a", "tokenizer"), {"a/m.safetensors": tensors}, {})
    assert need == Need((ComponentNeed("a", 16, 28, 10),))
    assert (need.loaded_bytes(2), need.loaded_bytes(4)) == (60, 92)
    assert need.largest_tensor_bytes(2) == 20


def test_a_snapshot_s_headers_tell_its_need(paper: str) -> None:
    write_safetensors(os.path.join(paper, "transformer", "unlisted.safetensors"), {"x": ("F32", [100], bytes(400))})
    assert examine(paper).need() == Need((ComponentNeed("transformer", 8, 0, 4),))


def group(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / name.replace("__", ".")).write_text(content)


def test_memory_is_what_the_machine_and_every_control_group_leave(tmp_path: Path) -> None:
    group(tmp_path / "proc/self", cgroup="0::/jobs/one\n")
    group(tmp_path / "proc", meminfo="MemTotal: 9 kB\nMemAvailable:    8000000 kB\n")
    assert available_bytes(str(tmp_path)) == 8_192_000_000
    group(tmp_path / "sys/fs/cgroup/jobs/one", memory__max="max\n", memory__current="5\n")
    assert available_bytes(str(tmp_path)) == 8_192_000_000
    stat = "anon 1\nfile 700\ninactive_file 300\nactive_file 100\n"
    group(tmp_path / "sys/fs/cgroup/jobs", memory__max="4000\n", memory__current="3000\n", memory__stat=stat)
    assert available_bytes(str(tmp_path)) == 1400


def test_memory_of_old_control_groups_counts_too(tmp_path: Path) -> None:
    group(tmp_path / "proc/self", cgroup="4:cpu,memory:/docker/x\n3:cpuset:/\n0::/\n")
    group(tmp_path / "proc", meminfo="MemAvailable: 8000000 kB\n")
    # In a container the path is that of the host, and the container's own group is mounted as the root.
    group(tmp_path / "sys/fs/cgroup/memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="7")
    assert available_bytes(str(tmp_path)) == 8_192_000_000
    group(tmp_path / "sys/fs/cgroup/memory", memory__limit_in_bytes="1000", memory__usage_in_bytes="2000")
    assert available_bytes(str(tmp_path)) == 0


def test_this_machine_has_memory() -> None:
    assert 2**20 < available_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
