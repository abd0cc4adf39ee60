"""Cutting things out by motion."""

from __future__ import annotations

import numpy as np

from aedmae_fast.training.objects import cut_objects
from aedmae_fast.training.things import paste
from tests.training.scenes import HEIGHT, PACE, SIDE, WIDTH, make_clip


def test_moving_squares_are_found_with_their_pace() -> None:
    cutouts = cut_objects([make_clip(seed=0), make_clip(seed=1)], seed=0)
    (things,) = cutouts.things
    assert cutouts.scene_of == (0, 0)
    assert len(things) > 20
    assert {round(float(t.velocity[1]), 1) for t in things} == {-PACE, PACE}
    assert all(abs(t.velocity[0]) < 0.1 for t in things)
    assert cutouts.speed == PACE
    assert abs(cutouts.height - SIDE) <= 2
    rows = np.flatnonzero(cutouts.trodden[0].any(axis=1))
    assert set(rows) <= {*range(5, 13), *range(19, 27)}
    assert not cutouts.trodden[0].all()


def test_pasted_where_it_was_cut_a_thing_changes_next_to_nothing() -> None:
    clip = make_clip()
    (things,) = cut_objects([clip], seed=0).things
    thing = next(t for t in things if t.velocity[1] > 0)
    t = round(float(thing.centre[1]) - SIDE / 2)  # the square's left edge is at column t in frame t
    frames = clip[[t - 3, t - 1, t, t + 1, t + 3]]
    pasted = frames.copy()
    paste(pasted, thing)
    np.testing.assert_allclose(pasted, frames, atol=1)


def test_nothing_moves_nothing_is_found() -> None:
    still = np.repeat(make_clip()[:1], 12, axis=0)
    cutouts = cut_objects([still], seed=0)
    assert cutouts.things == ((),)
    assert not cutouts.trodden.any()
    assert cutouts.speed > 0
    assert cutouts.height > 0


def test_clips_too_short_to_follow_anything() -> None:
    assert cut_objects([make_clip()[:3], make_clip()[:1]], seed=0).things == ((),)


def test_another_ground_is_another_scene() -> None:
    cutouts = cut_objects([make_clip(), make_clip(camera=1), make_clip(seed=2)], seed=0)
    assert cutouts.scene_of == (0, 1, 0)
    assert all(cutouts.things)
    assert cutouts.trodden.shape == (2, HEIGHT, WIDTH)


def test_another_hour_is_the_same_scene_until_the_colour_goes() -> None:
    """What was trodden at noon is so in the evening; but at night, without colour, no anomaly may have any."""
    noon, evening, night = make_clip(), (0.3 * make_clip(seed=1)).astype(np.uint8), make_clip(seed=2)
    night[:] = night.mean(axis=-1, keepdims=True) / 2
    cutouts = cut_objects([noon, evening, night], seed=0)
    assert cutouts.scene_of == (0, 0, 1)
    assert cutouts.colour[0] > 0
    assert cutouts.colour[1] == 0


def test_two_dark_cameras_are_two_scenes() -> None:
    """At night all pictures are near each other in levels."""
    clips = [(make_clip(camera=camera) / 12).astype(np.uint8) for camera in (0, 1, 0)]
    assert cut_objects(clips, seed=0).scene_of == (0, 1, 0)


def test_of_a_region_only_its_pixels_are_looked_at() -> None:
    """What is outside of it is black: no texture, and no sign of how much colour there is."""
    clip = make_clip()
    inside = np.zeros((HEIGHT, WIDTH), np.bool_)
    inside[20:24, 30:34] = True  # less of the picture than is left out of account where colour is looked for
    clip[:, ~inside] = 0
    cutouts = cut_objects([clip], seed=0, inside=inside)
    centres = cutouts.textures[:, cutouts.textures.shape[1] // 2, cutouts.textures.shape[2] // 2]
    assert centres.any(axis=-1).all()
    (colour,) = cutouts.colour
    assert colour > 0
