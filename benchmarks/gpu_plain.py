"""What a user's script does, and load alone: `gpu_plain.py picture DIR SIZE STEPS PNG`, `... plainly|directly DIR`."""

from __future__ import annotations

import sys
import time
from typing import Any


def picture(directory: str, size: str, steps: str, target: str) -> None:
    """The plain script, with the prompt and the noise of the health check."""
    import torch
    from diffusers import ZImagePipeline

    from zimage_syncd.model.health import HealthRequest

    asked = HealthRequest(directory, "huggingface", "", "")
    pipeline = _plain(directory)
    image = pipeline(
        prompt=asked.prompt,
        height=int(size),
        width=int(size),
        num_inference_steps=int(steps),
        guidance_scale=0.0,
        generator=torch.Generator("cpu").manual_seed(asked.seed),
    ).images[0]
    image.save(target)
    assert isinstance(pipeline, ZImagePipeline)


def _plain(directory: str) -> Any:
    import torch
    from diffusers import ZImagePipeline

    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    return ZImagePipeline.from_pretrained(directory, torch_dtype=dtype, low_cpu_mem_usage=False).to(device)


def load(directory: str, runs: str) -> None:
    """Load alone, in turns, with everything imported and the device awake."""
    import gc

    import torch
    from diffusers import ZImagePipeline
    from transformers import Qwen3Model

    from zimage_syncd.probe import direct
    from zimage_syncd.probe.device import choose
    from zimage_syncd.probe.files import examine

    index = examine(directory).index
    assert index is not None
    assert Qwen3Model is not None
    place = choose("auto", sum(part.weights_bytes for part in index.components))
    if place.is_gpu:
        torch.zeros(1, device=place.name)
    classes = {**direct.import_classes(index), "": ZImagePipeline}
    for _ in range(int(runs)):
        for how in ("directly", "plainly"):
            began_s = time.perf_counter()
            checked_s = 0.0
            if how == "plainly":
                loaded = _plain(directory)
            else:
                loaded, checked_s = _directly(directory, index, place, classes)
            if place.is_gpu:
                torch.cuda.synchronize()
            taken_s = time.perf_counter() - began_s
            print(f"load {how}: {taken_s:.2f} s, of it {checked_s:.2f} s checks of tensors", flush=True)
            del loaded
            gc.collect()
            torch.cuda.empty_cache()


def _directly(directory: str, index: Any, place: Any, classes: dict[str, Any]) -> tuple[Any, float]:
    from zimage_syncd.probe import direct, tensors
    from zimage_syncd.probe.reading import Reading

    read = Reading(direct.plan_directly(directory, index), place).finish()
    read_s = time.perf_counter()
    tensors.refuse_bad_tensors((name, t, True) for found in read.values() for name, t in found.items())
    checked_s = time.perf_counter() - read_s
    return direct.assemble(directory, classes, read, place.name), checked_s


if __name__ == "__main__":
    {"picture": picture, "load": load}[sys.argv[1]](*sys.argv[2:])
