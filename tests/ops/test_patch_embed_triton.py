"""patch_embed in Triton against float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.triton_device import BOUND, DEVICE, DTYPES, check, triton_version


def make(
    b: int, grid: tuple[int, int], d: int, c: int, dtype: torch.dtype, fill: int | None = None
) -> list[Any]:  # the op's arguments
    """Half of the tokens of random windows into a ring of five frames, random or all ``fill``."""
    frames = torch.randint(0, 256, (5, grid[0] * d, grid[1] * d, 3))
    tokens = grid[0] * grid[1]
    keep = torch.rand(b, tokens).argsort(1)[:, : (tokens + 1) // 2]
    weight = torch.randn(c, 9 * d * d) / (127.5 * 3 * d)
    bias = torch.randn(c) - 127.5 * weight.sum(1)
    floats = [x.to(DEVICE, dtype) for x in (weight, bias, torch.randn(c), torch.randn(c))]
    frames = frames if fill is None else torch.full_like(frames, fill)
    return [frames.to(DEVICE, torch.uint8), torch.randint(0, 5, (b, 3)).to(DEVICE), keep.to(DEVICE), *floats, d]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("c", [2, 3, 7])
def test_few_channels(c: int, dtype: torch.dtype) -> None:
    check("patch_embed", *make(2, (5, 10), 4, c, dtype), bound=BOUND[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [4, 8, 16])
def test_the_networks_patches(d: int, dtype: torch.dtype) -> None:
    check("patch_embed", *make(2, (5, 10), d, 256, dtype), bound=BOUND[dtype])


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_extremes(fill: int, dtype: torch.dtype) -> None:
    check("patch_embed", *make(1, (2, 3), 8, 32, dtype, fill), bound=BOUND[dtype])


@settings(deadline=None, max_examples=20)
@given(
    b=st.integers(1, 3),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    d=st.integers(1, 11),
    c=st.integers(8, 50),  # the fewer values, the more LayerNorm magnifies rounding
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(DTYPES),
)
def test_any_shape(b: int, grid: tuple[int, int], d: int, c: int, seed: int, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    check("patch_embed", *make(b, grid, d, c, dtype), bound=BOUND[dtype], least=1)


def test_awkward_strides() -> None:
    frames, windows, keep, weight, *rest = make(2, (2, 3), 4, 24, torch.float32)
    spread = (x.mT.contiguous().mT for x in (windows, keep, weight))
    check("patch_embed", frames.transpose(1, 2).contiguous().transpose(1, 2), *spread, *rest, bound=2e-6)


def test_no_windows() -> None:
    assert triton_version("patch_embed")(*make(0, (2, 3), 4, 24, torch.float32)).shape == (0, 3, 24)


def test_a_window_has_the_same_bits_in_every_batch() -> None:
    frames, windows, keep, *rest = make(3, (4, 10), 8, 64, torch.bfloat16)
    together: Tensor = triton_version("patch_embed")(frames, windows, keep, *rest)
    alone = triton_version("patch_embed")(frames, windows[1:2], keep[1:2], *rest)
    assert torch.equal(together[1:2], alone)
