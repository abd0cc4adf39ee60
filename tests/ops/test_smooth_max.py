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
    maps = torch.rand(count, *shape)
    windows = torch.randint(-1, count, (3, 5))
    assert rmse_ratio(mean_filter(maps, size), mean_filter_reference(maps.double(), size)) < FP32
    for op, reference in ((mean_map, mean_map_reference), (mean_max, mean_max_reference)):
        for values in (maps, (4 * maps).round()):  # and with many equals
            torch.testing.assert_close(op(values, windows), reference(values, windows), rtol=0, atol=0, equal_nan=True)


def test_every_isa_gives_the_same_bits() -> None:
    image = torch.randn(45, 83)
    found = []
    for isa in native.cpu().isas():
        native.cpu().set_isa(isa)
        found.append(mean_filter(image, (9, 5)))
    native.cpu().set_isa("auto")
    assert all(torch.equal(found[0], other) for other in found)


def test_rows_may_be_strided(isa: str) -> None:
    image = torch.randn(40, 60)
    for view in (image[::3, 2:40], image.mT, image[:, ::2], image[:1].expand(7, -1)):
        assert torch.equal(mean_filter(view, (3, 5)), mean_filter(view.contiguous(), (3, 5)))
        both = torch.stack([view, view]).mT.contiguous().mT  # columns contiguous, not rows
        assert torch.equal(mean_filter(both, (3, 5))[1], mean_filter(view, (3, 5)))


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
    maps, windows = torch.rand(3, 1, 37), torch.tensor([[0, 1, 2], [0, 2, -1]])
    maps[1, 0, at] = torch.nan
    maps[2, 0, -1] = torch.nan
    value, pixel = mean_max(maps, windows)
    assert value.isnan().tolist() == [True, True]
    assert pixel.tolist() == [at % 37, 36]
    assert mean_max(maps[:1], windows[:, :1])[0].isfinite().all()
    assert mean_map(maps, windows).isnan().sum((1, 2)).tolist() == [len({at % 37, 36}), 1]


def test_extremes_of_the_maximum(isa: str) -> None:
    for value in (-torch.inf, torch.inf, -3.0, 0.0):
        for width in (1, 16, 19):
            found = mean_max(torch.full((1, 1, width), value), torch.tensor([[0]]))
            assert [each.item() for each in found] == [value, 0]


def test_batches(isa: str) -> None:
    """Each map and each window by itself; whatever comes with it, and in the order in which its maps are given."""
    maps = torch.rand(5, 11, 19)
    stacked = torch.stack([mean_filter(m, (3, 5)) for m in maps])
    assert torch.equal(mean_filter(maps, (3, 5)), stacked)
    assert torch.equal(mean_filter(maps.view(1, 5, 11, 19), (3, 5))[0], stacked)
    windows = torch.tensor([[4, -1, 0, 2], [1, 1, 1, -1], [-1, -1, -1, 3]])
    by_hand = torch.stack([(maps[4] + maps[0] + maps[2]) / 3, (maps[1] + maps[1] + maps[1]) / 3, maps[3]])
    assert torch.equal(mean_map(maps, windows), by_hand)
    value, pixel = mean_max(maps, windows)
    assert torch.equal(value, by_hand.amax((1, 2)))
    assert torch.equal(by_hand.flatten(1)[range(3), pixel], value)


def test_nothing_and_windows_without_a_map(isa: str) -> None:
    maps, nothing = torch.rand(2, 3, 4), torch.empty(0, 2, dtype=torch.int64)
    assert mean_filter(maps[:0], (3, 3)).shape == (0, 3, 4)
    assert [found.shape for found in mean_max(maps, nothing)] == [(0,), (0,)]
    assert mean_map(maps, nothing).shape == (0, 3, 4)
    windows = torch.tensor([[-1, -1], [-1, 0]])
    value, pixel = mean_max(maps, windows)
    assert value.isnan().tolist() == [True, False]
    assert pixel.tolist() == [-1, maps[0].argmax()]
    assert mean_map(maps, windows)[0].isnan().all()


# The operators


def test_opcheck() -> None:
    maps, windows = torch.rand(3, 7, 9), torch.tensor([[0, 1], [2, -1]])
    torch.library.opcheck(torch.ops.aedmae.mean_filter.default, (maps.mT, (3, 5)))
    torch.library.opcheck(torch.ops.aedmae.mean_max.default, (maps, windows))
    torch.library.opcheck(torch.ops.aedmae.mean_map.default, (maps, windows))


def test_torch_compile_takes_them_whole() -> None:
    def both(maps: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
        smooth = mean_filter(maps, (3, 3))
        value, pixel = mean_max(smooth, windows)
        return (value + pixel)[:, None, None] + mean_map(smooth, windows)

    arguments = torch.rand(3, 7, 9), torch.tensor([[0, 1], [2, -1]])
    torch.testing.assert_close(torch.compile(both, fullgraph=True, backend="aot_eager")(*arguments), both(*arguments))


def test_errors_name_the_argument() -> None:
    maps, windows = torch.zeros(2, 4, 4), torch.zeros(1, 2, dtype=torch.int64)
    assert smooth_max(torch.zeros(0, 4, 4), (9, 9, 9)).shape == (0,)
    for extents in ((2, 1, 1), (3, 3), (3, 3, 3, 3)):
        with pytest.raises(ValueError, match="size: expected three odd numbers"):
            smooth_max(maps, extents)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"maps: expected \[T, H, W\]"):
        smooth_max(maps[0], (1, 1, 1))
    with pytest.raises(TypeError, match=r"maps: expected float32, found torch\.float64"):
        mean_filter(maps.double(), (3, 3))
    for wrong in (maps[0, 0], maps[:, :0]):
        with pytest.raises(ValueError, match=r"maps: expected \[\.\.\., H, W\] with pixels, found"):
            mean_filter(wrong, (3, 3))
    for size in ((3,), (3, 4), (-1, 3)):
        with pytest.raises(ValueError, match="size: expected two odd numbers"):
            mean_filter(maps, size)  # type: ignore[arg-type]
    for op in (mean_max, mean_map):
        with pytest.raises(TypeError, match=r"maps: expected float32, found torch\.int64"):
            op(maps.long(), windows)
        with pytest.raises(TypeError, match=r"windows: expected int64, found torch\.int32"):
            op(maps, windows.int())
        for wrong in (maps[0], maps[:0], maps[:, ::2]):
            with pytest.raises(ValueError, match=r"maps: expected \[M, H, W\], none of them 0, contiguous, found"):
                op(wrong, windows)
        for wrong in (windows[0], windows[:, :0]):
            with pytest.raises(ValueError, match=r"windows: expected \[N, F\], F from 1, found"):
                op(maps, wrong)
        with pytest.raises(ValueError, match="windows: expected on cpu as maps, found on meta"):
            op(maps, windows.to("meta"))
