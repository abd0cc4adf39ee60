"""Frames of a live camera, one by one: the clip's scores, as soon as they can be known."""

from __future__ import annotations

import numpy as np
import pytest

from aedmae_fast import Scorer
from aedmae_fast.engine.choose import ChoiceError
from aedmae_fast.model.network import AedMae
from tests.engine.scored import pixels


@pytest.mark.parametrize("preset", ["paper", "release-avenue"])
@pytest.mark.parametrize("smoothing", [True, False])
@pytest.mark.parametrize("count", [1, 4, 60])
def test_stream_gives_the_clips_scores(tiny_model: AedMae, preset: str, smoothing: bool, count: int) -> None:
    scorer = Scorer(tiny_model, preset=preset, smoothing=smoothing)
    expected, stream = scorer.score_frames(pixels(count)), scorer.stream()
    found = [s for frame in pixels(count) for s in stream.push(frame)] + stream.finish()
    assert [s.frame for s in found] == list(range(count))
    for column in ("raw", "teacher_error", "discrepancy", "class_prob", "time_s", "x", "y"):
        np.testing.assert_array_equal([getattr(s, column) for s in found], getattr(expected, column))
    np.testing.assert_allclose([s.score for s in found], expected.score, rtol=1e-12)


@pytest.mark.parametrize(("smoothing", "latency"), [(True, 3 + 18), (False, 3)])
def test_stream_latency(tiny_model: AedMae, smoothing: bool, latency: int) -> None:
    stream = Scorer(tiny_model, preset="release-avenue", smoothing=smoothing).stream()
    assert stream.latency == latency
    due = [[s.frame for s in stream.push(frame)] for frame in pixels(latency + 3)]
    assert due == [[]] * latency + [[0], [1], [2]]


def test_frames_may_change_their_size(tiny_model: AedMae) -> None:
    """A score's place is in the pixels of its own frame."""
    stream, twice = (Scorer(tiny_model, smoothing=False).stream() for _ in range(2))
    frames = pixels(12, tiny_model.config.height, tiny_model.config.width)
    factors = [1 + t % 3 // 2 for t in range(len(frames))]  # 1, 1, 2 and so on
    expected = [s for frame in frames for s in stream.push(frame)] + stream.finish()
    larger = [frame.repeat(by, axis=0).repeat(by, axis=1) for frame, by in zip(frames, factors, strict=True)]
    found = [s for frame in larger for s in twice.push(frame)] + twice.finish()
    assert [(s.raw, s.x, s.y) for s in found] == [
        (s.raw, s.x * by, s.y * by) for s, by in zip(expected, factors, strict=True)
    ]


def test_stream_refuses_what_it_cannot(tiny_model: AedMae) -> None:
    with pytest.raises(ChoiceError, match="smoothing=False"):
        Scorer(tiny_model, preset="release-shanghaitech").stream()
    with pytest.raises(ChoiceError, match="stride"):
        Scorer(tiny_model, stride=2).stream()
    with pytest.raises(ValueError, match=r"frames: expected \[H, W, 3\]"):
        Scorer(tiny_model).stream().push(pixels(1))
