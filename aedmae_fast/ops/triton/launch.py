"""Launching a kernel, and the few things that every kernel's launch needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["PRECISION", "Table", "launch", "least_sum", "power_of_2"]

# What an op is launched with, by the dtype of the weights that it multiplies: extents of its tiles, warps of a program,
# stages of its pipeline. Each op's file has one, LAUNCH; benchmarks/tune.py tries others beside it.
Table = dict[torch.dtype, Mapping[str, int]]

# Of products of float32: three products of TF32 parts on tensor cores, right to about 21 bits. Exact ones ("ieee") know
# no tensor cores, and tiles of these sizes then spill thousands of registers.
PRECISION = tl.constexpr("tf32x3")


def launch(kernel: Any, programs: int, *args: Any, num_warps: int, num_stages: int = 2, **constants: Any) -> None:
    """Run ``programs`` instances of a kernel on the device and current stream of its first argument, a tensor."""
    if programs == 0:
        return
    assert isinstance(args[0], Tensor)
    with torch.cuda.device_of(args[0]):
        kernel[(programs,)](*args, num_warps=num_warps, num_stages=num_stages, **constants)


def least_sum(weight: Tensor) -> int:
    """The fewest products of a weight that a matrix product adds up at a time."""
    return 16 if weight.dtype.itemsize > 1 else 32


def power_of_2(size: int, least: int = 16) -> int:
    """The smallest extent of a tile that holds ``size``; 16 is the least that a matrix product takes."""
    return max(least, triton.next_power_of_2(size))
