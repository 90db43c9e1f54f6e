"""Reads weights straight to where they are needed, with several threads. Imports torch.

It imports neither diffusers nor transformers, and runs while those are still being imported.

A thread reads a piece of a file into a buffer of its own, which for a GPU is pinned memory, copies it to the device on
a stream of its own, and lets the device convert it to the model's dtype. No tensor is on the processor as a whole.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from zimage_syncd.layouts.safetensors_header import StoredTensor
from zimage_syncd.model.health import HealthOutcome
from zimage_syncd.probe.conclusion import Concluded
from zimage_syncd.probe.device import Device
from zimage_syncd.probe.weights import PIECE_BYTES, Part, Piece, Weights

DTYPES: Mapping[str, torch.dtype] = {
    "BF16": torch.bfloat16,
    "BOOL": torch.bool,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "I8": torch.int8,
    "U8": torch.uint8,
}
"""Of all `weights.DTYPES`."""

MAX_THREADS = 16


@dataclass(frozen=True, slots=True)
class _Component:
    weights: Weights
    tensors: tuple[torch.Tensor, ...]
    """In the order of `weights.tensors`."""


class Reading:
    """The weights of several components on their way to a device; it begins when it is made."""

    def __init__(self, components: Sequence[Weights], device: Device) -> None:
        """Starts the threads.

        Args:
            components: what to read.
            device: where to; floating tensors become its dtype.
        """
        self._device = device
        self._wanted = components
        self._components: list[_Component] = []
        self._pieces: Iterator[tuple[_Component, Piece]] = iter(())
        self._lock = threading.Lock()
        self._stopped = False
        self._began_s = self._last_read_s = time.perf_counter()
        self._count = min(MAX_THREADS, max(len(os.sched_getaffinity(0)), 2))
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="weights")
        self._threads: list[Future[None]] = []
        self._threads.append(self._pool.submit(self._begin))

    def finish(self) -> dict[str, dict[str, torch.Tensor]]:
        """Waits for the last byte.

        Returns:
            For each component its tensors by name: on the device, contiguous, in the device's dtype where floating.

        Raises:
            Concluded: load_failed, with the file that could not be read.
            RuntimeError, MemoryError: there is not enough memory.
        """
        try:
            for thread in self._threads:  # `_begin` has added all others by the time it ends
                thread.result()
        finally:
            self.stop()
        return {
            part.weights.component: {
                stored.name: tensor for stored, tensor in zip(part.weights.tensors, part.tensors, strict=True)
            }
            for part in self._components
        }

    def stop(self) -> None:
        """Ends the threads, each after the piece that it is at."""
        self._stopped = True
        self._pool.shutdown()

    @property
    def read_s(self) -> float:
        """From the beginning until the last byte had been read, in seconds; what was imported meanwhile slows it."""
        return self._last_read_s - self._began_s

    def _begin(self) -> None:
        """Reserves the memory, which takes a while on a GPU, then reads along with the others."""
        try:
            self._components = [_Component(weights, _reserve(weights, self._device)) for weights in self._wanted]
        except BaseException:
            self._stopped = True
            raise
        self._pieces = iter([(part, piece) for part in self._components for piece in part.weights.pieces])
        self._threads.extend(self._pool.submit(self._work) for _ in range(self._count - 1))
        self._work()

    def _work(self) -> None:
        try:
            with self._own_stream():
                self._read_all()
        except BaseException:
            self._stopped = True
            raise

    def _own_stream(self) -> contextlib.AbstractContextManager[object]:
        stream: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if self._device.is_gpu:
            stream = torch.cuda.stream(torch.cuda.Stream(self._device.name))
        return stream

    def _read_all(self) -> None:
        buffer = torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=self._device.is_gpu)
        raw = torch.empty_like(buffer, device=self._device.name) if self._device.is_gpu else buffer
        while (found := self._next()) is not None:
            component, piece = found
            _read(piece, buffer)
            self._last_read_s = max(self._last_read_s, time.perf_counter())
            if self._device.is_gpu:
                raw[: piece.size_bytes].copy_(buffer[: piece.size_bytes], non_blocking=True)
            for part in piece.parts:
                _place(raw, part, component.weights.tensors[part.tensor], component.tensors[part.tensor])
            if self._device.is_gpu:
                torch.cuda.current_stream().synchronize()  # only then is the buffer free again

    def _next(self) -> tuple[_Component, Piece] | None:
        with self._lock:
            return None if self._stopped else next(self._pieces, None)


def _reserve(weights: Weights, device: Device) -> tuple[torch.Tensor, ...]:
    tensors = []
    for stored in weights.tensors:
        dtype = DTYPES[stored.dtype]
        wanted = device.dtype if dtype.is_floating_point else dtype
        tensors.append(torch.empty(stored.shape, dtype=wanted, device=device.name))
    return tuple(tensors)


def _read(piece: Piece, buffer: torch.Tensor) -> None:
    """Fills the buffer's beginning."""
    view = memoryview(buffer.numpy())[: piece.size_bytes]
    done = 0
    try:
        descriptor = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while done < piece.size_bytes:
                count = os.preadv(descriptor, [view[done:]], piece.offset + done)
                if count == 0:
                    raise Concluded(HealthOutcome.LOAD_FAILED, f"{piece.path}: it ends at {piece.offset + done} bytes")
                done += count
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Concluded(HealthOutcome.LOAD_FAILED, f"{piece.path}: {error.strerror}") from error


def _place(raw: torch.Tensor, part: Part, stored: StoredTensor, tensor: torch.Tensor) -> None:
    """Converts a part of a piece to the tensor's dtype, into its place in the tensor.

    Args:
        raw: the piece's bytes, uint8, on the tensor's device.
        part: which of them.
        stored: the tensor as the file has it.
        tensor: as the model will have it.
    """
    dtype = DTYPES[stored.dtype]
    source = raw[part.piece_offset : part.piece_offset + part.size_bytes]
    if part.piece_offset % dtype.itemsize:
        source = source.clone()  # a file may begin anywhere; elements may not
    first = part.first_byte // dtype.itemsize
    tensor.view(-1)[first : first + part.size_bytes // dtype.itemsize].copy_(source.view(dtype))
