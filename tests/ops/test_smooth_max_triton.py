"""The parts of smooth_max in Triton: they add in the order of the specification, so only divisions may differ."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.ops import mean_filter, mean_map, mean_max
from tests.ops.triton_device import DEVICE, triton_version

pytestmark = [  # masked lanes may divide 0 by 0, and so do windows without a map
    pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning"),
]
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
    """Of several windows, of which some lack maps and the last has none."""
    maps, windows = torch.randn(count, *shape), torch.randint(-1, count, (4, 5))
    windows[-1] = -1
    on_device = maps.to(DEVICE), windows.to(DEVICE)
    found = triton_version("mean_map", "smooth_max")(*on_device).cpu()
    torch.testing.assert_close(found, mean_map(maps, windows), rtol=3e-7, atol=1e-9, equal_nan=True)
    (value, pixel), expected = triton_version("mean_max", "smooth_max")(*on_device), mean_max(maps, windows)
    close(value, expected[0])
    assert torch.equal(pixel.cpu(), expected[1])


@pytest.mark.parametrize("place", [(0, 0), (39, 79)])
def test_mean_max_does_not_pass_over_nan(place: tuple[int, int]) -> None:
    maps, windows = torch.rand(3, 40, 80, device=DEVICE), torch.tensor([[0, 1, 2], [-1, 2, 0]], device=DEVICE)
    maps[1][place] = torch.nan
    value, pixel = triton_version("mean_max", "smooth_max")(maps, windows)
    assert value.isnan().tolist() == [True, False]
    assert pixel[0] == place[0] * 80 + place[1]


def test_mean_max_finds_the_first_of_equals() -> None:
    maps, window = torch.zeros(1, 40, 80, device=DEVICE), torch.tensor([[0]], device=DEVICE)
    for places in ([3199], [1024, 3000], [17, 1023]):
        maps.flatten()[places] += 1
        value, pixel = triton_version("mean_max", "smooth_max")(maps, window)
        assert (value.item(), pixel.item()) == (maps.max().item(), maps.flatten().tolist().index(maps.max().item()))
    maps[:] = float("-inf")
    assert triton_version("mean_max", "smooth_max")(maps, window)[1] == 0


def test_no_images() -> None:
    empty = torch.rand(0, 4, 5, device=DEVICE)
    assert triton_version("mean_filter", "smooth_max")(empty, (3, 3)).shape == (0, 4, 5)
    none = torch.empty(0, 9, dtype=torch.int64, device=DEVICE)
    for found in triton_version("mean_max", "smooth_max")(torch.rand(2, 4, 5, device=DEVICE), none):
        assert found.shape == (0,)
