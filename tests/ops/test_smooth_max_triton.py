"""The parts of smooth_max in Triton: they add in the order of the specification, so only divisions may differ."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.ops import mean_filter, mean_map, mean_max, smooth_max
from tests.ops.triton_device import DEVICE, triton_version

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # masked lanes may divide 0 by 0
SIZES = st.sampled_from([1, 3, 5, 9, 21])


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=0, equal_nan=True)


@settings(deadline=None, max_examples=25)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 80)), size=st.tuples(SIZES, SIZES))
def test_mean_filter(shape: tuple[int, int], size: tuple[int, int]) -> None:
    image = torch.rand(shape)
    close(triton_version("mean_filter", "smooth_max")(image.to(DEVICE), size), mean_filter(image, size))


def test_mean_filter_of_several_images_and_awkward_strides() -> None:
    images = torch.rand(3, 2, 20, 7).mT
    found = triton_version("mean_filter", "smooth_max")(images.to(DEVICE), (5, 3))
    expected = torch.stack([mean_filter(image.contiguous(), (5, 3)) for image in images.flatten(0, 1)])
    close(found.flatten(0, 1), expected)


def test_mean_filter_keeps_what_is_not_finite_to_its_windows() -> None:
    image = torch.rand(9, 30)
    image[4, 10], image[2, 25] = torch.nan, torch.inf
    close(triton_version("mean_filter", "smooth_max")(image.to(DEVICE), (3, 5)), mean_filter(image, (3, 5)))


@settings(deadline=None, max_examples=15)
@given(count=st.integers(1, 9), shape=st.tuples(st.integers(1, 40), st.integers(1, 80)))
def test_mean_map_and_mean_max(count: int, shape: tuple[int, int]) -> None:
    maps = [torch.randn(shape) for _ in range(count)]
    on_device = [m.to(DEVICE) for m in maps]
    torch.testing.assert_close(
        triton_version("mean_map", "smooth_max")(on_device).cpu(), mean_map(maps), rtol=3e-7, atol=1e-9
    )
    found = triton_version("mean_max", "smooth_max")(on_device)
    assert found.shape == ()
    close(found, mean_max(maps))


@pytest.mark.parametrize("place", [(0, 0), (39, 79)])
def test_mean_max_does_not_pass_over_nan(place: tuple[int, int]) -> None:
    maps = [torch.rand(40, 80, device=DEVICE) for _ in range(3)]
    maps[1][place] = torch.nan
    assert triton_version("mean_max", "smooth_max")(maps).isnan()


@settings(deadline=None, max_examples=15)
@given(
    shape=st.tuples(st.integers(0, 7), st.integers(1, 30), st.integers(1, 60)),
    size=st.tuples(st.sampled_from([1, 3, 9]), SIZES, SIZES),
)
def test_smooth_max(shape: tuple[int, int, int], size: tuple[int, int, int]) -> None:
    maps = torch.rand(shape)
    close(triton_version("smooth_max")(maps.to(DEVICE), size), smooth_max(maps, size))


def test_smooth_max_keeps_nan_to_its_windows() -> None:
    maps = torch.rand(7, 12, 20)
    maps[2, 5, 5] = torch.nan
    found = triton_version("smooth_max")(maps.to(DEVICE), (3, 3, 3))
    assert found.isnan().tolist() == [False, True, True, True, False, False, False]


def test_no_images() -> None:
    empty = torch.rand(0, 4, 5, device=DEVICE)
    assert triton_version("mean_filter", "smooth_max")(empty, (3, 3)).shape == (0, 4, 5)
