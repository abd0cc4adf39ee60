"""attention in Triton against float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.triton_device import BOUND, DEVICE, DTYPES, check, triton_version


def make(b: int, heads: int, n: int, d: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """q, k, v as the network has them: views of [3, B, N, heads * D]."""
    qkv = torch.randn(3, b, n, heads * d).to(DEVICE, dtype)
    return tuple(qkv.unflatten(3, (heads, d)).transpose(2, 3))


@pytest.mark.needs_cuda
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 4, 401, 64), (2, 4, 801, 32)], ids=str)
def test_the_networks_sizes(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    q, k, v = make(*shape, dtype)
    check("attention", 3 * q, 3 * k, v, (shape[1] * shape[3]) ** -0.5, bound=BOUND[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [64, 65, 128, 145])
def test_whole_blocks_of_keys_and_tails(n: int, dtype: torch.dtype) -> None:
    check("attention", *make(1, 1, n, 32, dtype), 0.3, bound=BOUND[dtype])


@settings(deadline=None, max_examples=20)
@given(
    b=st.integers(1, 2),
    heads=st.integers(1, 3),
    n=st.integers(1, 100),
    d=st.integers(1, 70),
    scale=st.sampled_from([0.2, 1.0, -0.3, 0.0]),
    dtype=st.sampled_from(DTYPES),
)
def test_any_shape_and_scale(b: int, heads: int, n: int, d: int, scale: float, dtype: torch.dtype) -> None:
    check("attention", *make(b, heads, n, d, dtype), scale, bound=BOUND[dtype], least=1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_awkward_strides(dtype: torch.dtype) -> None:
    q, k, v = (torch.randn(2, 3, 16, 40).to(DEVICE, dtype) for _ in range(3))
    check("attention", q.mT, k.mT, v.mT, 0.25, bound=BOUND[dtype])  # channels far apart: copied
    check("attention", q.flip(2)[:, 1:], k[:, :1].expand(-1, 2, -1, -1), v[:, 1:], 0.25, bound=BOUND[dtype])


def test_great_scores_do_not_overflow() -> None:
    q, k, v = make(1, 1, 70, 16, torch.float32)
    check("attention", 1e3 * q, 1e3 * k, v, 1.0, bound=1e-4)  # scores near 1e7: float32 has them to about 0.5


def test_no_frames() -> None:
    assert triton_version("attention")(*make(0, 2, 5, 16, torch.float32), 1.0).shape == (0, 5, 32)


def test_a_frame_has_the_same_bits_in_every_batch() -> None:
    q, k, v = make(3, 2, 70, 16, torch.bfloat16)
    alone = triton_version("attention")(q[1:2], k[1:2], v[1:2], 0.25)
    assert torch.equal(triton_version("attention")(q, k, v, 0.25)[1:2], alone)
