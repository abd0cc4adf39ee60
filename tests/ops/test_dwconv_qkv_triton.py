"""dwconv_qkv in Triton against float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.config import CONFIGS
from tests.ops.triton_device import BOUND, DEVICE, DTYPES, check, triton_version


def make(b: int, grid: tuple[int, int], c: int, dtype: torch.dtype) -> list[Tensor]:
    tensors = [
        torch.randn(b, 1 + grid[0] * grid[1], c) + 1,
        *(torch.randn(c), torch.randn(c)),
        *(torch.randn(3, 3, 3, c) / 3, torch.randn(3, c)),
        *(torch.randn(3, c, c) * c**-0.5, torch.randn(3, c)),
    ]
    return [x.to(DEVICE, dtype) for x in tensors]


@pytest.mark.needs_cuda
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("grid", "c"), [(CONFIGS["avenue"].encoder_grid, 256), (CONFIGS["avenue"].grid, 128)], ids=["encoder", "decoder"]
)
def test_the_networks_sizes(grid: tuple[int, int], c: int, dtype: torch.dtype) -> None:
    check("dwconv_qkv", *make(2, grid, c, dtype), *grid, bound=BOUND[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("c", [3, 7, 128, 200])
def test_channels_of_one_and_of_several_programs(c: int, dtype: torch.dtype) -> None:
    check("dwconv_qkv", *make(1, (3, 7), c, dtype), 3, 7, bound=BOUND[dtype])


@settings(deadline=None, max_examples=15)
@given(
    b=st.integers(1, 3),
    grid=st.tuples(st.integers(1, 6), st.integers(1, 9)),
    c=st.integers(8, 50),  # the fewer values, the more LayerNorm magnifies rounding
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(DTYPES),
)
def test_any_shape(b: int, grid: tuple[int, int], c: int, seed: int, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    check("dwconv_qkv", *make(b, grid, c, dtype), *grid, bound=BOUND[dtype], least=1)


def test_frames_do_not_see_each_other() -> None:
    x, *rest = make(3, (4, 5), 16, torch.float32)
    expected = triton_version("dwconv_qkv")(x, *rest, 4, 5)[:, 1]
    x[::2] = torch.nan
    assert torch.equal(triton_version("dwconv_qkv")(x, *rest, 4, 5)[:, 1], expected)


def test_awkward_strides() -> None:
    x, *weights = make(2, (3, 4), 24, torch.float32)
    spread = [w.transpose(0, -1).contiguous().transpose(0, -1) for w in weights]
    check("dwconv_qkv", x.mT.contiguous().mT, *spread, 3, 4, bound=BOUND[torch.float32])


def test_no_frames() -> None:
    assert triton_version("dwconv_qkv")(*make(0, (2, 3), 16, torch.float32), 2, 3).shape == (3, 0, 7, 16)


def test_a_frame_has_the_same_bits_in_every_batch() -> None:
    x, *rest = make(3, (4, 7), 32, torch.bfloat16)
    alone = triton_version("dwconv_qkv")(x[1:2], *rest, 4, 7)
    assert torch.equal(triton_version("dwconv_qkv")(x, *rest, 4, 7)[:, 1:2], alone)
