"""linear in Triton against float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.triton_device import BOUND, DEVICE, DTYPES, rms, triton_version


def make(shape: tuple[int, ...], k: int, n: int, dtype: torch.dtype) -> list[Tensor]:
    tensors = torch.randn(*shape, k), torch.randn(n, k) * k**-0.5, torch.randn(n), torch.randn(*shape, n)
    return [x.to(DEVICE, dtype) for x in tensors]


def check(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, least: float = 0.0) -> None:
    expected = F.linear(*(t.cpu().double() for t in (x, weight, bias)))
    if residual is not None:
        expected += residual.cpu().double()
    found = triton_version("linear")(x, weight, bias, residual)
    assert found.shape == expected.shape
    assert rms(found.cpu().double() - expected) <= BOUND[x.dtype] * max(rms(expected), least)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("k", "n"), [(256, 256), (128, 128), (256, 128), (256, 1)])
def test_the_networks_widths(k: int, n: int, dtype: torch.dtype) -> None:
    x, weight, bias, residual = make((2, 35), k, n, dtype)
    check(x, weight, bias, residual)
    check(x, weight, bias, None)


@settings(deadline=None, max_examples=20)
@given(
    shape=st.lists(st.integers(1, 9), max_size=3).map(tuple),
    k=st.integers(1, 80),
    n=st.integers(1, 150),
    dtype=st.sampled_from(DTYPES),
)
def test_any_shape(shape: tuple[int, ...], k: int, n: int, dtype: torch.dtype) -> None:
    check(*make(shape, k, n, dtype), least=1)


def test_awkward_strides() -> None:
    x, weight, bias, residual = make((4, 6), 24, 40, torch.float32)
    spread = x.transpose(0, 1).contiguous().transpose(0, 1), weight.mT.contiguous().mT
    check(*spread, bias.repeat_interleave(2)[::2], residual.flip(0))


def test_no_rows_and_no_columns() -> None:
    assert triton_version("linear")(*make((0, 5), 16, 24, torch.float32)).shape == (0, 5, 24)
    assert triton_version("linear")(*make((3, 5), 16, 0, torch.float32)).shape == (3, 5, 0)


def test_a_row_has_the_same_bits_in_every_batch() -> None:
    x, weight, bias, residual = make((90,), 48, 32, torch.bfloat16)
    alone = triton_version("linear")(x[70:80], weight, bias, residual[70:80])
    assert torch.equal(triton_version("linear")(x, weight, bias, residual)[70:80], alone)
