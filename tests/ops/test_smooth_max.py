"""smooth_max and its parts: against SciPy and float64, the C++ of every instruction set bit for bit alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from aedmae_fast.ops import mean_filter, mean_map, mean_max, native, smooth_max
from aedmae_fast.ops.smooth_max import mean_filter_reference, mean_map_reference, mean_max_reference
from tests.ops.data import rmse_ratio

FP32 = 5e-7  # bound of the RMSE ratio: a few roundings of float32
SIZES = [(1, 1), (1, 17), (19, 1), (3, 5), (16, 16), (37, 67), (80, 160), (320, 640)]  # the last two: real ones
EXTENTS = st.sampled_from([1, 3, 5, 9, 31])


def uniform_filter(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Mean over the voxels that exist, by SciPy in float64."""
    total = ndimage.uniform_filter(maps, size, mode="constant")
    return total / ndimage.uniform_filter(np.ones_like(maps), size, mode="constant")


# The specification


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 13)),
    size=st.tuples(*[st.sampled_from([1, 3, 9])] * 3),
)
def test_smooth_max_is_scipys_uniform_filter(shape: tuple[int, int, int], size: tuple[int, int, int]) -> None:
    maps = np.random.default_rng(2).random(shape)
    found = smooth_max(torch.from_numpy(maps).float(), size)
    np.testing.assert_allclose(found, uniform_filter(maps, size).max(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (9, 9), (3, 31)])
def test_specification_is_scipys_uniform_filter(size: tuple[int, int]) -> None:
    image = np.random.default_rng(3).normal(size=(23, 41))
    found = mean_filter_reference(torch.from_numpy(image), size)
    np.testing.assert_allclose(found, uniform_filter(image, size), rtol=0, atol=1e-12)


# The C++ kernels


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("size", [(9, 9), (1, 5), (3, 31)], ids=str)
def test_mean_filter(isa: str, shape: tuple[int, int], size: tuple[int, int]) -> None:
    image = torch.randn(shape) * torch.logspace(-3, 3, shape[1])
    expected = mean_filter_reference(image.double(), size)
    assert rmse_ratio(mean_filter(image, size), expected) < FP32


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 70)), size=st.tuples(EXTENTS, EXTENTS), count=st.integers(1, 9)
)
def test_any_shape(isa: str, shape: tuple[int, int], size: tuple[int, int], count: int) -> None:
    maps = list(torch.rand(count, *shape))
    assert rmse_ratio(mean_filter(maps[0], size), mean_filter_reference(maps[0].double(), size)) < FP32
    assert torch.equal(mean_map(maps), mean_map_reference(maps))
    assert torch.equal(mean_max(maps), mean_max_reference(maps))


def test_every_isa_gives_the_same_bits() -> None:
    image = torch.randn(45, 83)
    found = []
    for isa in native.cpu().isas():
        native.cpu().set_isa(isa)
        found.append(mean_filter(image, (9, 5)))
    native.cpu().set_isa("auto")
    assert all(torch.equal(found[0], other) for other in found)


def test_rows_and_maps_may_be_strided(isa: str) -> None:
    image = torch.randn(40, 60)
    for view in (image[::3, 2:40], image.mT, image[:, ::2], image[:1].expand(7, -1)):
        assert torch.equal(mean_filter(view, (3, 5)), mean_filter(view.contiguous(), (3, 5)))
        assert torch.equal(mean_map([view, view]), view)
        assert mean_max([view, view]) == view.amax()


def test_a_pixel_that_is_not_finite_stays_in_its_windows(isa: str) -> None:
    for value in (torch.nan, torch.inf, -torch.inf):
        image = torch.rand(30, 50)
        image[12, 33] = value
        found = mean_filter(image, (9, 5)).isfinite()
        expected = torch.ones(30, 50, dtype=torch.bool)
        expected[8:17, 31:36] = False
        assert torch.equal(found, expected)


@pytest.mark.parametrize("at", [0, 5, 36, -1])
def test_a_maximum_with_a_nan_is_nan(isa: str, at: int) -> None:
    maps = [torch.rand(1, 37) for _ in range(3)]
    maps[1][0, at] = torch.nan
    assert mean_max(maps).isnan()
    assert mean_map(maps).isnan().sum() == 1


def test_extremes_of_the_maximum(isa: str) -> None:
    for value in (-torch.inf, torch.inf, -3.0, 0.0):
        for width in (1, 16, 19):
            assert mean_max([torch.full((1, width), value)]) == value


# The operators


def test_opcheck() -> None:
    maps = [torch.rand(7, 9) for _ in range(3)]
    torch.library.opcheck(torch.ops.aedmae.mean_filter.default, (maps[0].mT, (3, 5)))
    torch.library.opcheck(torch.ops.aedmae.mean_max.default, (maps,))
    torch.library.opcheck(torch.ops.aedmae.mean_map.default, (maps,))


def test_torch_compile_takes_them_whole() -> None:
    def both(maps: list[torch.Tensor]) -> torch.Tensor:
        smooth = [mean_filter(m, (3, 3)) for m in maps]
        return mean_max(smooth) + mean_map(smooth)

    maps = [torch.rand(7, 9) for _ in range(3)]
    torch.testing.assert_close(torch.compile(both, fullgraph=True, backend="aot_eager")(maps), both(maps))


def test_errors_name_the_argument() -> None:
    image = torch.zeros(4, 4)
    assert smooth_max(torch.zeros(0, 4, 4), (9, 9, 9)).shape == (0,)
    with pytest.raises(ValueError, match="size: expected three odd numbers"):
        smooth_max(torch.zeros(1, 4, 4), (2, 1, 1))
    with pytest.raises(ValueError, match=r"maps: expected \[T, H, W\]"):
        smooth_max(image, (1, 1, 1))
    with pytest.raises(TypeError, match=r"image: expected float32, found torch\.float64"):
        mean_filter(image.double(), (3, 3))
    for wrong in (image[None], image[:0]):
        with pytest.raises(ValueError, match=r"image: expected \[H, W\] with pixels, found"):
            mean_filter(wrong, (3, 3))
    for size in ((3,), (3, 4), (-1, 3)):
        with pytest.raises(ValueError, match="size: expected two odd numbers"):
            mean_filter(image, size)  # type: ignore[arg-type]
    for op in (mean_max, mean_map):
        with pytest.raises(ValueError, match="maps: expected at least one, found none"):
            op([])
        with pytest.raises(TypeError, match=r"maps: expected float32, found torch\.int64"):
            op([image, image.long()])
        for wrong in ([image, image[:2]], [image[:0]], [image[0]], [image, image.to("meta")]):
            with pytest.raises(
                ValueError, match=r"maps: expected \[H, W\] with pixels, of one shape and on one device"
            ):
                op(wrong)
