"""motion_weights in Triton against the specification, which sums whole numbers exactly in float32."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.triton_device import DEVICE, check, triton_version

BOUND = 2e-7  # one division in float32


def make(t: int, grid: tuple[int, int], d: int, channels: int = 3) -> Tensor:
    frames = torch.randint(0, 256, (t, grid[0] * d, grid[1] * d, channels))
    return frames.to(DEVICE, torch.uint8)


@pytest.mark.parametrize("kind", ["paper", "release"])
@pytest.mark.parametrize("d", [4, 8, 16])
def test_the_networks_patches(d: int, kind: str) -> None:
    check("motion_weights", make(3, (5, 12), d), d, kind, bound=BOUND)


@settings(deadline=None, max_examples=20)
@given(
    t=st.integers(1, 4),
    grid=st.tuples(st.integers(1, 5), st.integers(1, 20)),
    d=st.integers(1, 11),
    channels=st.integers(1, 4),
    kind=st.sampled_from(["paper", "release"]),
)
def test_any_shape(t: int, grid: tuple[int, int], d: int, channels: int, kind: str) -> None:
    check("motion_weights", make(t, grid, d, channels), d, kind, bound=BOUND)


def test_extremes() -> None:
    frames = make(2, (3, 4), 4)
    frames[0], frames[1] = 0, 255
    check("motion_weights", frames, 4, "paper", bound=BOUND)


def test_no_motion_gives_uniform_weights() -> None:
    frames = make(1, (3, 4), 4).expand(3, -1, -1, -1)
    assert (triton_version("motion_weights")(frames, 4, "release") == 1 / 12).all()


def test_awkward_strides() -> None:
    frames = make(3, (5, 4), 4).transpose(1, 2).flip(0)
    check("motion_weights", frames, 4, "release", bound=BOUND)


def test_no_frames() -> None:
    assert triton_version("motion_weights")(make(0, (2, 3), 4), 4, "paper").shape == (0, 6)
