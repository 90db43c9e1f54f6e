"""Has a GPU's libraries loaded while the processor is still importing. Imports torch.

The first matrix product, attention and convolution of a process load cuBLAS's, cuDNN's and torch's own kernels: seen on
an H200, a second of the first picture's two.
"""

from __future__ import annotations

import contextlib
import threading

import torch

from zimage_syncd.probe.device import Device


def begin(device: Device) -> threading.Thread:
    """Starts a thread that calls, on a few numbers, what a generation calls on many; on a processor it does nothing."""
    thread = threading.Thread(target=_call_everything, args=(device,), name="warm-up", daemon=True)
    thread.start()
    return thread


def _call_everything(device: Device) -> None:
    if not device.is_gpu:
        return
    # What fails here fails again where it matters, and is reported there.
    with contextlib.suppress(Exception), torch.cuda.stream(torch.cuda.Stream(device.name)), torch.inference_mode():
        _call(torch.zeros(1, 8, 64, 64, dtype=device.dtype, device=device.name))
        torch.cuda.current_stream().synchronize()


def _call(x: torch.Tensor) -> None:
    """Args: x: 1 x 8 x 64 x 64, zeros."""
    functional = torch.nn.functional
    functional.linear(x, x[0, 0])
    functional.scaled_dot_product_attention(x, x, x)
    convolved = functional.conv2d(x, torch.zeros(8, 8, 3, 3, dtype=x.dtype, device=x.device), padding=1)
    functional.silu(functional.group_norm(convolved, 4))
    functional.interpolate(x, scale_factor=2.0, mode="nearest")
    functional.embedding(torch.zeros(1, dtype=torch.int64, device=x.device), x[0, 0])
    torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1.0).to(x.dtype)
    torch.cat([x.float().cos(), x.float().sin()], dim=-1)
    torch.view_as_complex(x.float().reshape(1, 8, 64, 32, 2)) * 1j
