"""What a device gives at best, as something to time: a copy for bytes, a large linear layer for operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

SQUARE = {"cpu": 1024, "cuda": 8192}  # side of the matrices that give the rate


def copy_of(count: int, device: str) -> Callable[[], Any]:
    """A copy that reads and writes ``count`` bytes in all."""
    source = torch.ones(count // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def square_linear(dtype: torch.dtype, device: str) -> Callable[[], Any]:
    """A linear layer that is large enough to reach the device's rate (``a @ b`` does not, on some CPUs)."""
    if dtype == torch.int8:
        size = (SQUARE[device], SQUARE[device])
        x, weight = (torch.randint(-127, 128, size, dtype=dtype, device=device) for _ in range(2))
        return lambda: torch._int_mm(x, weight.t())
    x, weight = (torch.randn(SQUARE[device], SQUARE[device], device=device).to(dtype) for _ in range(2))
    return lambda: F.linear(x, weight)


def square_operations(device: str) -> int:
    """Of :func:`square_linear`, a multiply-add counting 2."""
    return 2 * SQUARE[device] ** 3
