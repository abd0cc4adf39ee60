"""RBDC and TBDC on cases worked out by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aedmae_fast.evaluation.figures import localise
from aedmae_fast.evaluation.layouts import LabelledClip
from aedmae_fast.evaluation.map_store import MapStore
from aedmae_fast.evaluation.rbdc_tbdc import Curves, Truth, area, boxes_of, match, sweep, thresholds_of, truth_of

Box = tuple[int, int, int, int]


def painted(size: tuple[int, int], boxes: dict[Box, float]) -> NDArray[np.float32]:
    image = np.zeros(size, np.float32)
    for (top, left, bottom, right), value in boxes.items():
        image[top:bottom, left:right] = value
    return image


def masks(frames: Sequence[Sequence[Box]], size: tuple[int, int] = (10, 10)) -> Iterator[NDArray[np.bool_]]:
    return (painted(size, dict.fromkeys(boxes, 1.0)) > 0 for boxes in frames)


@pytest.fixture
def store() -> Iterator[MapStore]:
    with MapStore() as opened:
        yield opened


def fill(store: MapStore, clip: int, frames: Sequence[dict[Box, float]], size: tuple[int, int] = (10, 10)) -> None:
    for frame, boxes in enumerate(frames):
        store.add(clip, frame, painted(size, boxes))


def boxes(*found: tuple[float, float, float, float]) -> NDArray[np.float64]:
    return np.array(found, np.float64).reshape(-1, 4)


# ---- regions


def test_boxes_are_those_of_the_components_at_the_truths_scale() -> None:
    active = painted((4, 6), {(0, 0, 1, 2): 1, (1, 2, 2, 3): 1, (3, 4, 4, 6): 1}) > 0  # the first two touch by a corner
    np.testing.assert_array_equal(boxes_of(active, (8, 18)), [(0, 0, 4, 9), (6, 12, 8, 18)])
    assert boxes_of(np.zeros((4, 6), bool), (8, 18)).shape == (0, 4)


def test_match_at_exactly_beta() -> None:
    """An overlap of 1 in a union of 10 is an IoU of 0.1: detected. In a union of 11 it is not, and counts as false."""
    truth = boxes((0, 0, 1, 5))
    hit, wrong = match(boxes((0, 4, 1, 10)), truth)
    assert (hit.tolist(), wrong) == ([True], 0)
    hit, wrong = match(boxes((0, 4, 1, 11)), truth)
    assert (hit.tolist(), wrong) == ([False], 1)


def test_one_region_may_detect_two_and_two_may_detect_one() -> None:
    hit, wrong = match(boxes((0, 0, 2, 10)), boxes((0, 0, 2, 4), (0, 6, 2, 10)))
    assert (hit.tolist(), wrong) == ([True, True], 0)
    hit, wrong = match(boxes((0, 0, 2, 4), (0, 6, 2, 10)), boxes((0, 0, 2, 10)))
    assert (hit.tolist(), wrong) == ([True], 0)


def test_match_with_nothing_on_a_side() -> None:
    hit, wrong = match(boxes(), boxes((0, 0, 1, 1)))
    assert (hit.tolist(), wrong) == ([False], 0)
    hit, wrong = match(boxes((0, 0, 1, 1)), boxes())
    assert (hit.tolist(), wrong) == ([], 1)


# ---- tracks


def test_regions_that_share_pixels_from_frame_to_frame_are_one_track() -> None:
    truth = truth_of("a", masks([[(0, 0, 2, 2), (6, 6, 8, 8)], [(1, 1, 3, 3), (6, 6, 8, 8)], [(2, 2, 4, 4)]]))
    assert truth.tracks.tolist() == [0, 1, 0, 1, 0]
    assert truth.track_count == 2
    assert [len(b) for b in truth.boxes] == [2, 2, 1]
    assert truth.size == (10, 10)


def test_a_gap_in_time_or_space_ends_a_track() -> None:
    assert truth_of("a", masks([[(0, 0, 2, 2)], [], [(0, 0, 2, 2)]])).track_count == 2
    assert truth_of("a", masks([[(0, 0, 2, 2)], [(0, 2, 2, 4)]])).track_count == 2  # neighbours, but no shared pixel


def test_objects_that_meet_are_one_track() -> None:
    """Two objects, then both in one component, then two again."""
    truth = truth_of("a", masks([[(0, 0, 2, 3), (0, 5, 2, 8)], [(0, 2, 2, 6)], [(0, 0, 2, 3), (0, 5, 2, 8)]]))
    assert truth.tracks.tolist() == [0] * 5


def test_truth_refuses() -> None:
    with pytest.raises(ValueError, match="clip a: no masks"):
        truth_of("a", [])
    with pytest.raises(ValueError, match="clip a: masks of"):
        truth_of("a", [np.ones((2, 2), bool), np.ones((2, 3), bool)])
    assert truth_of("a", masks([[], []])).track_count == 0


# ---- curves


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.0, 1.0)], 1.0),  # all found without a false positive
        ([(2.0, 1.0)], 1 / 4),  # a line from (0, 0) to (2, 1): half of the first unit square's lower half
        ([(0.5, 0.5)], 0.125 + 0.25),  # a triangle, then level to the end
        ([(0.5, 1.0), (0.5, 0.0)], 0.0 + 0.5),  # upright between rates at the same number of false positives
        ([(0.2, 0.6), (0.6, 0.2), (1.0, 0.6)], 0.06 + 0.48),  # and never falls
        ([(1.0, 1.0), (3.0, 1.0)], 0.5),
        ([(0.0, 0.0)], 0.0),
    ],
)
def test_area_by_hand(points: list[tuple[float, float]], expected: float) -> None:
    x, y = np.array(points).T
    assert area(x, y) == pytest.approx(expected)
    assert area(x[::-1], y[::-1]) == pytest.approx(expected)


def test_sweep_by_hand(store: MapStore) -> None:
    """Four frames, two tracks. Track A: frames 0-2, at one place; track B: frame 2 only.

    threshold  regions at or above it                          detected      false positives
    0.9        frame 0: A                                      A in 0        0
    0.6        and frame 1: A;  frame 3: something             A in 0, 1     1
    0.3        and frame 2: B, something                       and B in 2    2
    """
    a, b, other = (0, 0, 4, 4), (6, 6, 9, 9), (0, 7, 2, 9)
    truth = truth_of("a", masks([[a], [a], [a, b], []]))
    fill(store, 0, [{a: 0.9}, {a: 0.6}, {b: 0.3, other: 0.3}, {other: 0.6}])
    half = np.array([0.9, 0.6, 0.3], np.float16).astype(float)
    curves = sweep(store, {0: truth}, thresholds=half, alpha=0.5)
    np.testing.assert_allclose(curves.thresholds, half)
    np.testing.assert_allclose(curves.false_positives, [0, 1 / 4, 2 / 4])
    np.testing.assert_allclose(curves.regions, [1 / 4, 2 / 4, 3 / 4])
    np.testing.assert_allclose(curves.tracks, [0, 1 / 2, 1])  # half of A's three regions are found with two of them
    assert curves.rbdc == pytest.approx((1 / 4 + 2 / 4) / 2 / 4 + (2 / 4 + 3 / 4) / 2 / 4 + 3 / 4 / 2)
    assert curves.tbdc == pytest.approx((0 + 1 / 2) / 2 / 4 + (1 / 2 + 1) / 2 / 4 + 1 / 2)


@pytest.mark.parametrize(("found", "detected"), [(1, True), (0, False)])
def test_a_tenth_of_a_track_is_enough(store: MapStore, found: int, detected: bool) -> None:
    box = (2, 2, 6, 6)
    fill(store, 0, [{box: 1.0}] * found + [{}] * (10 - found))
    curves = sweep(store, {0: truth_of("a", masks([[box]] * 10))}, thresholds=[1.0])
    assert curves.tracks.tolist() == [float(detected)]
    assert curves.regions.tolist() == [found / 10]


def test_tracks_of_different_clips_are_different(store: MapStore) -> None:
    box = (2, 2, 6, 6)
    for clip, value in enumerate((1.0, 0.0)):
        fill(store, clip, [{box: value}] * 3)
    truths = {clip: truth_of(str(clip), masks([[box]] * 3)) for clip in range(2)}
    curves = sweep(store, truths, thresholds=[1.0])
    assert (curves.tracks.tolist(), curves.regions.tolist()) == ([0.5], [0.5])


def test_a_small_map_is_compared_at_the_masks_scale(store: MapStore) -> None:
    fill(store, 0, [{(1, 1, 2, 2): 1.0}], size=(5, 5))
    curves = sweep(store, {0: truth_of("a", masks([[(20, 20, 40, 40)]], size=(100, 100)))}, thresholds=[1.0])
    assert (curves.regions.tolist(), curves.false_positives.tolist()) == ([1.0], [0.0])


def test_the_sweep_ends_above_one_false_positive_per_frame(store: MapStore) -> None:
    """At 0.5 there are two; at 0.25 all has merged into one, which would look better again."""
    fill(store, 0, [{(0, 0, 10, 10): 0.25, (0, 0, 2, 2): 0.5, (5, 5, 7, 7): 0.5, (8, 0, 10, 2): 1.0}])
    curves = sweep(store, {0: truth_of("a", masks([[(0, 8, 2, 10)]]))}, thresholds=[1.0, 0.5, 0.25])
    assert curves.false_positives.tolist() == [1, 3]


def test_perfect_maps_have_area_one(store: MapStore) -> None:
    """Through the default thresholds: maps that are the masks, with small noise below."""
    rng, frames = np.random.default_rng(0), [[(t, t, t + 3, t + 4)] for t in range(6)]
    for frame, mask in enumerate(masks(frames)):
        noise = rng.random((10, 10), dtype=np.float32) * 0.1
        store.add(0, frame, np.where(mask, np.float32(0.9), noise))
    curves = sweep(store, {0: truth_of("a", masks(frames))})
    assert (curves.rbdc, curves.tbdc) == (1.0, 1.0)


def test_maps_that_say_nothing_have_area_zero(store: MapStore) -> None:
    fill(store, 0, [{}] * 3, size=(40, 40))
    curves = sweep(store, {0: truth_of("a", masks([[(2, 2, 6, 6)]] * 3, size=(40, 40)))})
    assert (curves.rbdc, curves.tbdc) == (0.0, 0.0)  # at threshold 0 the whole frame is one region, IoU 0.01


def test_thresholds_descend_through_values_that_occur(store: MapStore) -> None:
    maps = np.random.default_rng(0).random((20, 30, 40), dtype=np.float32)
    for frame, values in enumerate(maps):
        store.add(0, frame, values)
    thresholds, halves = thresholds_of(store, [0], count=50), maps.astype(np.float16)
    assert (np.diff(thresholds) < 0).all()
    assert np.isin(thresholds, halves).all()
    assert thresholds[0] == halves.max()
    over = [(halves >= t).sum() for t in thresholds]
    assert over[-1] == maps.size
    assert max(b / a for a, b in itertools.pairwise(over[10:])) < 1.6  # 24,000 ** (1 / 49) = 1.23, and ties


def test_thresholds_take_minus_zero_for_zero(store: MapStore) -> None:
    """As a multiplication leaves it in maps; its bits are those of a number above all others."""
    store.add(0, 0, np.array([[-0.0, 0.25], [0.5, 0.0]], np.float32))
    assert thresholds_of(store, [0]).tolist() == [0.5, 0.25, 0.0]


def test_sweep_refuses(store: MapStore) -> None:
    fill(store, 0, [{}, {}])
    with pytest.raises(ValueError, match="clip a: 2 anomaly maps but 3 masks"):
        sweep(store, {0: truth_of("a", masks([[], [], []]))})
    with pytest.raises(ValueError, match="no ground-truth region"):
        sweep(store, {0: truth_of("a", masks([[], []]))})
    with pytest.raises(ValueError, match="no ground-truth region"):
        sweep(store, {})


def test_curves_are_independent_of_the_order_of_points() -> None:
    x, y = np.array([0.1, 0.4, 0.9]), np.array([0.2, 0.5, 0.6])
    one, other = (Curves(np.zeros(3), x[o], y[o], y[o]) for o in ([0, 1, 2], [2, 0, 1]))
    assert one.rbdc == other.rbdc == one.tbdc


def test_known_tracks_take_the_place_of_components(store: MapStore) -> None:
    """Of two objects that touch the small one is found, which is a twentieth of both."""
    small, large = (next(masks([[box]], (8, 40))) for box in ((0, 0, 4, 1), (0, 1, 4, 20)))
    fill(store, 0, [{(0, 0, 4, 1): 1.0}, {}], (8, 40))
    none = np.zeros_like(small)
    found = [
        localise([clip], {"": store})[""].curves
        for clip in (
            LabelledClip(Path(), "a", lambda: np.array([1, 0]), lambda: iter([small | large, none]), objects)
            for objects in (None, lambda: iter([{0: small, 1: large}, {}]))
        )
    ]
    assert [(curves.regions[0], curves.tracks[0]) for curves in found] == [(0.0, 0.0), (0.5, 0.5)]


def test_truth_is_what_it_says() -> None:
    truth = Truth("a", (2, 2), (np.zeros((0, 4)),), np.zeros(0, np.intp))
    assert truth.track_count == 0
