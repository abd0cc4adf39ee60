"""Pasting: exact where nothing is resampled, coherent in time, clipped at the frame's edge."""

from __future__ import annotations

import numpy as np
import pytest

from aedmae_fast.config import WINDOW
from aedmae_fast.training.things import (
    AFTER,
    BEFORE,
    FAINT,
    IN_WINDOW,
    MIDDLE,
    OFFSETS,
    Thing,
    paste,
    straight_path,
)

GROUND = 100


def frames(height: int = 24, width: int = 40) -> np.ndarray:
    return np.full((len(OFFSETS), height, width, 3), GROUND, np.uint8)


def opaque(h: int, w: int, centre: tuple[float, float], velocity: tuple[float, float]) -> Thing:
    crops = np.random.default_rng(0).integers(0, 256, (len(OFFSETS), h, w, 4), dtype=np.uint8)
    crops[..., 3] = 255
    return Thing(crops, straight_path(np.array(centre, np.float32), np.array(velocity, np.float32)))


def test_offsets_hold_the_window_and_the_gradients_frames() -> None:
    assert OFFSETS[IN_WINDOW] == WINDOW
    assert (OFFSETS[BEFORE], OFFSETS[MIDDLE], OFFSETS[AFTER]) == (-1, 0, 1)


def test_at_its_own_size_and_whole_pixels_a_crop_comes_back_exactly() -> None:
    thing, into = opaque(6, 8, (12, 20), (1, 2)), frames()
    paste(into, thing)
    for crop, offset, frame in zip(thing.crops, OFFSETS, into, strict=True):
        expected = frames()[0]
        top, left = 12 + offset - 3, 20 + 2 * offset - 4
        expected[top : top + 6, left : left + 8] = crop[..., :3]
        np.testing.assert_array_equal(frame, expected)


def test_alpha_blends_and_faint_edges_change_nothing() -> None:
    crops = np.full((len(OFFSETS), 1, 2, 4), 200, np.uint8)
    crops[..., 0, 3], crops[..., 1, 3] = 128, int(255 * FAINT)
    into = frames()
    paste(into, Thing(crops, straight_path(np.array([10.5, 11], np.float32), np.zeros(2, np.float32))))
    assert into[0, 10, 10].tolist() == [round(GROUND + 128 / 255 * (200 - GROUND))] * 3
    assert into[0, 10, 11].tolist() == [GROUND] * 3


@pytest.mark.parametrize("scale", [(1.0, 1.0), (1.7, 2.5), (0.5, 0.4)])
def test_centre_and_size_follow_path_and_scale(scale: tuple[float, float]) -> None:
    thing, into = opaque(8, 10, (24.3, 40.6), (1.3, -2.2)), frames(48, 80)
    thing.crops[..., :3] = 250
    paste(into, thing, scale)
    cover = (into[..., 0].astype(float) - GROUND) / (250 - GROUND)
    for path, seen in zip(thing.path, cover, strict=True):
        rows, columns = np.mgrid[0:48, 0:80] + 0.5
        assert seen.sum() == pytest.approx(8 * 10 * scale[0] * scale[1], rel=0.05)
        assert (seen * rows).sum() / seen.sum() == pytest.approx(path[0], abs=0.1)
        assert (seen * columns).sum() / seen.sum() == pytest.approx(path[1], abs=0.1)


@pytest.mark.parametrize("centre", [(0, 0), (23, 39), (-3, 20), (12, 44), (-90, 900)])
def test_what_lies_outside_is_cut_off(centre: tuple[int, int]) -> None:
    into, large = frames(), frames(24 + 200, 40 + 2000)
    thing = opaque(6, 8, centre, (0, 3))
    paste(into, thing)
    paste(large, Thing(thing.crops, thing.path + np.array([100, 1000], np.float32)))
    np.testing.assert_array_equal(into, large[:, 100:124, 1000:1040])
