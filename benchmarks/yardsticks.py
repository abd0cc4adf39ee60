"""What a device gives at best, as something to time: a copy for bytes, large linear layers for operations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from aedmae_fast.engine.precision import dtypes_of
from aedmae_fast.ops import linear
from aedmae_fast.ops.packing import pack_weight
from aedmae_fast.ops.quantize import quantize_weight

SQUARE = {"cpu": 1024, "cuda": 8192}  # side of the matrices that give the rate
Run = Callable[[], Any]


def copy_of(count: int, device: str) -> Run:
    """A copy that reads and writes ``count`` bytes in all."""
    source = torch.ones(count // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def square_linears(dtype: torch.dtype, device: str) -> list[Run]:
    """Linear layers that are large enough to reach the device's rate, of which the fastest counts.

    PyTorch's (``a @ b`` does not reach it on some CPUs), and on a CPU ours: neither is the faster one everywhere. In
    float32 a Zen 5 computes ours at more than twice the rate of PyTorch 2.13's.
    """
    runs = [_pytorch(dtype, device)]
    if device == "cpu":
        runs.append(_ours(dtype))
    return runs


def square_operations(device: str) -> int:
    """Of each of :func:`square_linears`, a multiply-add counting 2."""
    return 2 * SQUARE[device] ** 3


@functools.cache  # for a GPU, drawing its matrices takes seconds
def _pytorch(dtype: torch.dtype, device: str) -> Run:
    size = (SQUARE[device], SQUARE[device])
    if dtype == torch.int8:
        x, weight = (torch.randint(-127, 128, size, dtype=dtype).to(device) for _ in range(2))
        return lambda: torch._int_mm(x, weight.t())
    # Drawn on the CPU: a CUDA generator may refuse to after a capture that has failed (PyTorch 2.11).
    x, weight = (torch.randn(size).to(device, dtype) for _ in range(2))
    return lambda: F.linear(x, weight)


def _ours(dtype: torch.dtype) -> Run:
    """With its weight packed, as the engine has it."""
    size = SQUARE["cpu"]
    weight = torch.randn(size, size)
    if dtype == torch.int8:
        states = dtypes_of("int8").states
        levels, scale = quantize_weight(weight, dtype)
        packed, factors = pack_weight(levels), scale
    else:
        states, packed, factors = dtype, pack_weight(weight.to(dtype)), None
    x, bias = torch.randn(size, size).to(states), torch.zeros(size, dtype=states)
    return lambda: linear(x, packed, bias, scale=factors)
