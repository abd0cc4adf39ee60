"""Weights and rows in 8 bits: the specification itself, against its own words."""

from __future__ import annotations

import pytest
import torch

from aedmae_fast.ops.quantize import LARGEST, linear_layer, quantize_weight
from tests.ops.data import rmse_ratio

DTYPES = pytest.mark.parametrize("dtype", LARGEST, ids=["int8", "fp8"])


@DTYPES
def test_a_weight_is_its_levels_times_its_scale(dtype: torch.dtype) -> None:
    weight = torch.randn(3, 40, 70, dtype=torch.float64) * torch.logspace(-4, 4, 40, dtype=torch.float64)[:, None]
    weight[1, 7] = 0
    levels, scale = quantize_weight(weight, dtype)
    assert (levels.dtype, levels.shape) == (dtype, weight.shape)
    assert (scale.dtype, scale.shape) == (torch.float32, weight.shape[:-1])
    most = levels.double().abs().amax(-1)
    assert torch.equal(most, torch.where(weight.abs().amax(-1) == 0, 0, LARGEST[dtype]).to(most))
    assert scale[1, 7] == 0
    step = torch.ones(()) if dtype == torch.int8 else (levels.double().abs() / 8).clamp(min=2.0**-9)  # from one to next
    error = levels.double() - (weight / scale.double()[..., None]).nan_to_num(0)
    assert (error.abs() <= 0.5001 * step).all()


def test_rows_are_quantized_by_themselves_to_nearest_even() -> None:
    """Scales that are powers of two: the result is what the integers say."""
    x = torch.tensor([[127, 0.5, -1.5, 2.5], [254, 1, -3, 5], [0, 0, 0, 0], [1e-35, 1e-36, 0, -1e-35]])
    found = linear_layer(x, torch.eye(4, dtype=torch.int8), torch.zeros(4), torch.full((4,), 0.5))
    rounded = torch.tensor([127, 0, -2, 2])  # 0.5 and 2.5 to even
    assert torch.equal(found, torch.stack([0.5 * rounded, rounded, 0 * rounded, 0 * rounded]))


def test_fp8_rows_saturate_and_have_no_scale() -> None:
    x = torch.tensor([[1e6, -1e6, 0.3, 1 + 2**-4]])
    found = linear_layer(x, torch.eye(4).to(torch.float8_e4m3fn), torch.zeros(4), torch.ones(4))
    assert torch.equal(found, torch.tensor([[448, -448, 0.3125, 1]]))


@DTYPES
def test_the_product_is_near_that_of_the_weight_as_it_was(dtype: torch.dtype) -> None:
    """Of normal values, by the width of their steps: uniform for int8, 2^-4 of a value at most for fp8."""
    x, weight = torch.randn(64, 256), torch.randn(128, 256)
    exact = x.double() @ weight.double().t()
    found = linear_layer(x, *_with_bias(*quantize_weight(weight, dtype)))
    assert rmse_ratio(found, exact) < {torch.int8: 1.2e-2, torch.float8_e4m3fn: 4.5e-2}[dtype]


def _with_bias(levels: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return levels, torch.zeros(len(levels)), scale


def test_nan_stays_in_its_row() -> None:
    x = torch.ones(3, 4)
    x[1, 2] = torch.nan
    found = linear_layer(x, *_with_bias(*quantize_weight(torch.ones(2, 4), torch.int8)))
    assert torch.equal(found.isnan().any(1), torch.tensor([False, True, False]))


def test_an_int8_weight_is_no_longer_than_its_sums_can_be() -> None:
    with pytest.raises(ValueError, match="weight: expected at most 133144 products in a sum"):
        quantize_weight(torch.ones(2, 133_145), torch.int8)
    quantize_weight(torch.ones(2, 133_144), torch.int8)
    quantize_weight(torch.ones(2, 133_145), torch.float8_e4m3fn)


def test_errors_name_the_argument() -> None:
    with pytest.raises(TypeError, match=r"dtype: expected torch\.int8 or torch\.float8_e4m3fn, found torch\.int16"):
        quantize_weight(torch.ones(2, 3), torch.int16)
    for wrong in (torch.ones(2, 0), torch.ones(3)):
        with pytest.raises(ValueError, match=r"weight: expected \[\.\.\., N, K\], K from 1, found"):
            quantize_weight(wrong, torch.int8)
