"""motion_weights in Triton and its halves against the specification, which sums whole numbers exactly in float32."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.ops.motion_gradient import motion_gradient_reference
from aedmae_fast.ops.patch_weights import patch_weights_reference
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


# Its halves


@settings(deadline=None, max_examples=15)
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(1, 20), st.integers(1, 80), st.integers(1, 4)),
    kind=st.sampled_from(["paper", "release"]),
)
def test_motion_gradient(shape: tuple[int, int, int, int], kind: str) -> None:
    frames = torch.randint(0, 256, shape).to(DEVICE, torch.uint8)
    found = triton_version("motion_gradient", "motion_weights")(frames, kind)
    assert torch.equal(found, motion_gradient_reference(frames, kind))
    assert found.is_contiguous()


def check_patch_weights(gradient: Tensor, patch: int, anomaly: Tensor | None) -> None:
    found = triton_version("patch_weights", "motion_weights")(gradient, patch, anomaly)
    torch.testing.assert_close(found, patch_weights_reference(gradient, patch, anomaly), rtol=1e-6, atol=0)


@settings(deadline=None, max_examples=20)
@given(
    t=st.integers(0, 3),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 12)),
    d=st.integers(1, 11),
    channels=st.integers(1, 4),
    brightest=st.sampled_from([0, 100, 255]),
    share=st.sampled_from([None, 0.0, 0.01, 0.5, 1.0]),
)
def test_patch_weights(
    t: int, grid: tuple[int, int], d: int, channels: int, brightest: int, share: float | None
) -> None:
    gradient = make(t, grid, d, channels).clamp(max=brightest)
    maps = None if share is None else ((torch.rand(gradient.shape[:3]) < share) * 255).to(DEVICE, torch.uint8)
    check_patch_weights(gradient, d, maps)


def test_patch_weights_of_awkward_strides() -> None:
    gradient = make(3, (5, 4), 4).transpose(1, 2).flip(0)
    maps = torch.randint(0, 2, (3, 20, 16)).to(DEVICE, torch.uint8).mT
    check_patch_weights(gradient, 4, maps)
