"""How much damage a picture shows: `python benchmarks/gpu_damage.py SNAPSHOT SIZE STEPS`.

Loads the snapshot once, draws the reference, then damages one thing at a time in memory as a file would bring it there
(a bit of a stored float32 is flipped before it becomes a bfloat16), draws again, and puts it right.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from zimage_syncd.model.health import HealthRequest
from zimage_syncd.probe import pipeline, tensors
from zimage_syncd.probe.conclusion import Concluded
from zimage_syncd.probe.device import choose
from zimage_syncd.probe.files import examine
from zimage_syncd.probe.fingerprint import compare, facts_of
from zimage_syncd.probe.picture import judge
from zimage_syncd.probe.weights import find_weights

_MANTISSA, _EXPONENT = "mantissa bit", "exponent bit"
_BITS_OF_FLOAT32 = {f"{_MANTISSA} {bit}": bit for bit in (0, 15, 16, 22)} | {
    f"{_EXPONENT} {bit - 23}": bit for bit in (23, 26, 29, 30)
}
_BITS_OF_BFLOAT16 = {f"{_MANTISSA} {bit}": bit for bit in (0, 6)} | {
    f"{_EXPONENT} {bit - 7}": bit for bit in (7, 10, 13, 14)
}
"""From the lowest of either kind; the highest of an exponent makes an enormous number of a small one."""


class Damage:
    """One loaded pipeline, and what its pictures are compared with."""

    def __init__(self, directory: str, size: int, steps: int) -> None:
        index = examine(directory).index
        assert index is not None
        place = choose("auto", sum(part.weights_bytes for part in index.components))
        kind, _ = pipeline.find_class(index, "huggingface")
        self._loaded = pipeline.load(kind, directory, place)
        self._request = HealthRequest(directory, "huggingface", "", "", size_px=size, steps=steps)
        self.stored = {
            part.name: {
                stored.name: stored.dtype for stored in find_weights(directory, part.name, part.library).tensors
            }
            for part in index.components
        }
        self._reference = facts_of(self._draw())
        again = compare(self._reference, facts_of(self._draw()))
        print(f"drawn again without damage: {again[0]}, distance {again[1]:.4f}", flush=True)

    def _draw(self) -> Any:
        image = pipeline.draw(self._loaded, self._request)
        judge(image, self._request.size_px)
        return image

    def tensor(self, component: str, name: str) -> torch.Tensor:
        """A weight of the loaded pipeline."""
        found: torch.Tensor = dict(getattr(self._loaded, component).named_parameters())[name]
        return found

    def names(self, component: str) -> list[str]:
        """Its matrices."""
        module = getattr(self._loaded, component)
        return [name for name, tensor in module.named_parameters() if tensor.ndim >= 2 and min(tensor.shape) > 1]

    def outcome(self, *changes: tuple[torch.Tensor, torch.Tensor]) -> str:
        """What the health check would say with these tensors' values in place of the right ones."""
        before = [(tensor, tensor.detach().clone()) for tensor, _ in changes]
        with torch.no_grad():
            for tensor, damaged in changes:
                tensor.copy_(damaged)
            try:
                tensors.refuse_bad_tensors(pipeline.tensors_of(self._loaded))
                likeness, distance = compare(facts_of(self._draw()), self._reference)
            except Concluded as end:
                return str(end.outcome)
            else:
                return f"{likeness} {distance:.4f}"
            finally:
                for tensor, right in before:
                    tensor.copy_(right)

    def flipped(self, component: str, name: str, element: int, bit: int) -> str:
        """One bit of one stored number."""
        tensor = self.tensor(component, name)
        damaged = tensor.detach().clone()
        if self.stored[component][name] == "F32":
            # What the file holds is not in memory any more: of the float32 numbers that become this bfloat16, one.
            number = damaged.view(-1)[element].float().view(torch.int32)
            value = (number ^ (1 << bit)).view(torch.float32)
        else:
            number = damaged.view(-1)[element].to(torch.bfloat16).view(torch.int16)
            value = (number ^ (1 << bit)).view(torch.bfloat16)
        damaged.view(-1)[element] = value.to(damaged.dtype)
        return self.outcome((tensor, damaged))


def main(directory: str, size: str, steps: str) -> None:
    """Prints a table: damage, and what came out for each tensor that it was done to."""
    bench = Damage(directory, int(size), int(steps))
    for what, results in _cases(bench):
        print(f"| {what} | {'; '.join(results)} |", flush=True)


def _cases(bench: Damage) -> Iterator[tuple[str, list[str]]]:
    chosen = random.Random(1)
    for component, bits in (
        ("transformer", _BITS_OF_FLOAT32),
        ("text_encoder", _BITS_OF_BFLOAT16),
        ("vae", _BITS_OF_BFLOAT16),
    ):
        names = [name for name in chosen.sample(bench.names(component), 4) if name in bench.stored[component]]
        elements = {name: chosen.randrange(bench.tensor(component, name).numel()) for name in names}
        for what, bit in bits.items():
            yield (
                f"{component}: one number's {what} flipped",
                [bench.flipped(component, name, elements[name], bit) for name in names],
            )
        for what, change in _WHOLE.items():
            yield (
                f"{component}: {what}",
                [
                    bench.outcome((bench.tensor(component, name), change(bench.tensor(component, name).detach())))
                    for name in names
                ],
            )
    yield from _swaps(bench)


def _swaps(bench: Damage) -> Iterator[tuple[str, list[str]]]:
    """Two shards with each other's content under right headers: layers that are alike change places."""
    pairs = [("transformer", "layers.{}.attention.to_q.weight"), ("text_encoder", "layers.{}.self_attn.q_proj.weight")]
    for component, pattern in pairs:
        one, two = (bench.tensor(component, pattern.format(number)) for number in (0, 1))
        yield (
            f"{component}: one matrix swapped with the next layer's",
            [bench.outcome((one, two.clone()), (two, one.clone()))],
        )
    halves = dict.fromkeys(("transformer", "text_encoder"))
    for component in halves:
        names = bench.names(component)
        layers = [name for name in names if name.startswith("layers.0.")]
        changes = []
        for name in layers:
            other = name.replace("layers.0.", "layers.1.")
            one, two = bench.tensor(component, name), bench.tensor(component, other)
            changes += [(one, two.detach().clone()), (two, one.detach().clone())]
        yield f"{component}: two layers swapped", [bench.outcome(*changes)]


def _page_zeroed(tensor: torch.Tensor) -> torch.Tensor:
    damaged = tensor.clone()
    damaged.view(-1)[: 4096 // damaged.element_size()] = 0
    return damaged


def _as_float16(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.bfloat16).view(torch.float16).to(tensor.dtype)


_WHOLE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a matrix of zeros": torch.zeros_like,
    "4 KiB of a matrix zeroed": _page_zeroed,
    "a matrix of bfloat16 read as float16": _as_float16,
    "a matrix rounded to 8 bits": lambda tensor: tensor.to(torch.float8_e4m3fn).to(tensor.dtype),
}


if __name__ == "__main__":
    main(*sys.argv[1:])
