"""What the tests of the network's kernels share: inputs, and how near to float64 a result must be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.ops.data import rmse_ratio

# Root mean square of the error over that of the result. float32: chains of up to 2304 multiply-adds. bfloat16, with
# unit roundoff 2^-9 = 2e-3: the result's rounding (1.7e-3 in the root mean square) and that of what lies between.
BOUNDS = {torch.float32: 2e-6, torch.bfloat16: 4e-3}
DTYPES = pytest.mark.parametrize("dtype", BOUNDS, ids=["fp32", "bf16"])


def assert_close(found: Tensor, expected: Tensor) -> None:
    """``found`` is within the bound of its dtype of ``expected``, which is float64."""
    assert found.shape == expected.shape
    assert rmse_ratio(found, expected) < BOUNDS[found.dtype]


def check(op: Callable[..., Tensor], reference: Callable[..., Tensor], *arguments: object) -> Tensor:
    """The op agrees with its specification in float64, written into memory that held NaN (see tests/conftest.py)."""
    found = op(*arguments)
    assert found.is_contiguous()
    assert_close(found, reference(*[doubled(a) for a in arguments]))
    return found


def doubled(argument: object) -> object:
    """Floating-point tensors in float64, all else as it is."""
    return argument.double() if isinstance(argument, Tensor) and argument.is_floating_point() else argument


def normal(*shape: int, dtype: torch.dtype, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return (mean + std * torch.randn(shape)).to(dtype)
