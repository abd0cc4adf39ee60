"""discrepancy_map in Triton against float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.triton_device import BOUND, DEVICE, DTYPES, check, triton_version

TERMS = (0.4, 0.2, 0.3)
EXACT = BOUND[torch.float32]  # bfloat16 goes in, but nothing is rounded to it on the way


def make(
    b: int, grid: tuple[int, int], d: int, c: int, dtype: torch.dtype, fill: int | None = None
) -> list[Any]:  # the op's first eight arguments
    """States as the network has them, views of [B, 1 + L, C]; frames random or all ``fill``."""
    values = 4 * d * d
    states = [torch.randn(b, 1 + grid[0] * grid[1], c).to(DEVICE, dtype)[:, 1:] for _ in range(2)]
    heads = [x.to(DEVICE, dtype) for _ in range(2) for x in (torch.randn(values, c) * c**-0.5, torch.randn(values))]
    frames = torch.randint(0, 256, (b, grid[0] * d, grid[1] * d, 3))
    frames = frames if fill is None else torch.full_like(frames, fill)
    return [*states, *heads, frames.to(DEVICE, torch.uint8), d]


@pytest.mark.parametrize("error", ["L1", "L2"])
@pytest.mark.parametrize(
    ("d", "dtype"),
    [(4, torch.float32), (4, torch.bfloat16), (8, torch.bfloat16), (16, torch.bfloat16)],
    ids=str,
)
def test_the_networks_patches(d: int, dtype: torch.dtype, error: str) -> None:
    check("discrepancy_map", *make(1, (3, 14), d, 128, dtype), error, TERMS, bound=EXACT)


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_extremes(fill: int, dtype: torch.dtype) -> None:
    check("discrepancy_map", *make(1, (2, 3), 8, 32, dtype, fill), "L2", TERMS, bound=EXACT)


@settings(deadline=None, max_examples=15)
@given(
    b=st.integers(1, 2),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    d=st.integers(1, 7),
    c=st.integers(1, 50),
    error=st.sampled_from(["L1", "L2"]),
    dtype=st.sampled_from(DTYPES),
)
def test_any_shape(b: int, grid: tuple[int, int], d: int, c: int, error: str, dtype: torch.dtype) -> None:
    check("discrepancy_map", *make(b, grid, d, c, dtype), error, TERMS, bound=EXACT)


@pytest.mark.parametrize("term", [0, 1, 2])
def test_each_term_alone(term: int) -> None:
    weights = tuple(float(i == term) for i in range(3))
    arguments = make(1, (2, 3), 4, 16, torch.float32)
    check("discrepancy_map", *arguments, "L2", weights, bound=EXACT)
    maps, means = triton_version("discrepancy_map")(*arguments, "L2", weights)
    torch.testing.assert_close(means[:, term], maps.mean((1, 2)), rtol=1e-5, atol=0)


def test_awkward_strides() -> None:
    teacher, student, *heads, frames, d = make(2, (2, 3), 4, 24, torch.float32)
    spread = [w.mT.contiguous().mT if w.ndim == 2 else w.repeat_interleave(2)[::2] for w in heads]
    frames = frames.transpose(1, 2).contiguous().transpose(1, 2)
    check("discrepancy_map", teacher.mT.contiguous().mT, student.flip(1), *spread, frames, d, bound=EXACT)


def test_no_frames() -> None:
    maps, means = triton_version("discrepancy_map")(*make(0, (2, 3), 4, 24, torch.float32))
    assert maps.shape == (0, 8, 12)
    assert means.shape == (0, 3)


def test_a_frame_has_the_same_bits_in_every_batch() -> None:
    teacher, student, *heads, frames, d = make(3, (5, 15), 4, 32, torch.bfloat16)
    together: tuple[Tensor, Tensor] = triton_version("discrepancy_map")(teacher, student, *heads, frames, d)
    alone = triton_version("discrepancy_map")(teacher[1:2], student[1:2], *heads, frames[1:2], d)
    assert all(torch.equal(t[1:2], a) for t, a in zip(together, alone, strict=True))
