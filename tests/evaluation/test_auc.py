"""Areas by hand and against scikit-learn; both conventions; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from aedmae_fast.evaluation.auc import (
    PixelAuc,
    ScoredClip,
    clip_auc_plain,
    clip_auc_release,
    frame_auc,
    micro_auc,
    nearest,
)


def clip(name: str, labels: list[int], scores: list[float]) -> ScoredClip:
    return ScoredClip(name, np.array(labels), np.array(scores))


# Of the 2 x 2 pairs (anomalous, normal) 3 are in order: (.9, .1), (.9, .4), (.3, .1); not (.3, .4).
MIXED = clip("mixed", [0, 1, 0, 1], [0.1, 0.9, 0.4, 0.3])


def test_plain_by_hand() -> None:
    assert clip_auc_plain(MIXED) == pytest.approx(3 / 4)


def test_release_by_hand() -> None:
    """Three anomalous and three normal frames; the end points are in order with all others: 8 of 9 pairs."""
    assert clip_auc_release(MIXED) == pytest.approx(8 / 9)


def test_ties_count_half() -> None:
    assert clip_auc_plain(clip("tie", [0, 1], [0.5, 0.5])) == pytest.approx(1 / 2)
    assert clip_auc_release(clip("tie", [0, 1], [0.5, 0.5])) == pytest.approx((3 + 1 / 2) / 4)


@pytest.mark.parametrize("label", [0, 1])
def test_a_clip_of_one_class(label: int) -> None:
    one = clip("one", [label] * 3, [0.2, 0.7, 0.4])
    assert clip_auc_plain(one) is None
    assert clip_auc_release(one) == 1.0


def test_a_clip_of_one_class_that_reaches_an_end_ties_with_it() -> None:
    """Normal frames at 0.2 and 1.0, the end points at 0 and 1: of the 3 pairs, the one with the frame at 1 is a tie."""
    assert clip_auc_release(clip("one", [0, 0], [0.2, 1.0])) == pytest.approx((2 + 1 / 2) / 3)


def test_end_points_stay_at_the_ends_of_any_scale() -> None:
    """Within [0, 1] the release's own; beyond, a monotone stretch of the scores changes nothing."""
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), rng.uniform(0.01, 0.99, 60)
    literal = roc_auc_score([0, *labels, 1], [0, *scores, 1])
    assert clip_auc_release(ScoredClip("x", labels, scores)) == pytest.approx(literal, abs=1e-12)
    wide = ScoredClip("x", labels, 1000 * scores)
    top = int(np.argmax(scores))
    tie = 0.5 * (labels[top] == 0) / ((labels.sum() + 1) * (60 - labels.sum() + 1))  # the highest frame and the end
    assert clip_auc_release(wide) == pytest.approx(literal - tie, abs=1e-12)


def test_frame_auc_of_three_clips() -> None:
    clips = [MIXED, clip("good", [0, 0, 1], [0.0, 0.2, 0.8]), clip("all", [1, 1], [0.5, 0.6])]
    found = frame_auc(clips)
    good = 1.0  # the frame at 0 ties with an end point of its own label: no pair
    assert found.macro_auc == pytest.approx((8 / 9 + good + 1) / 3)
    assert found.macro_auc_two_class == pytest.approx((8 / 9 + good) / 2)
    assert found.macro_auc_plain == pytest.approx((3 / 4 + 1) / 2)
    assert found.one_class_clips == ("all",)
    # micro by pairs: normal .1 .4 0 .2; anomalous .9 .3 .8 .5 .6: all but (.3, .4)
    assert found.micro_auc == pytest.approx(19 / 20)


def test_micro_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    clips = [ScoredClip(str(n), rng.integers(0, 2, n), rng.normal(size=n).round(1)) for n in (5, 50, 500)]
    expected = roc_auc_score(np.concatenate([c.labels for c in clips]), np.concatenate([c.scores for c in clips]))
    assert micro_auc(clips) == pytest.approx(expected, abs=1e-12)


def test_only_clips_of_one_class_have_no_two_class_mean() -> None:
    found = frame_auc([clip("a", [0, 0], [0.1, 0.2]), clip("b", [1, 1], [0.3, 0.4])])
    assert (found.micro_auc, found.macro_auc_plain, found.macro_auc_two_class) == (1.0, None, None)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([], [], "no frames"),
        ([0, 1], [0.1], r"\(2,\) labels but \(1,\) scores"),
        ([0, 1], [0.1, np.nan], "the score of frame 1 is nan"),
        ([0, 1], [np.inf, 0], "the score of frame 0 is inf"),
        ([0, 2], [0.1, 0.2], "labels are 0 or 1"),
    ],
)
def test_what_is_refused_names_the_clip(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=rf"clip 07: .*{message}"):
        clip("07", labels, scores)


def test_nothing_to_evaluate() -> None:
    with pytest.raises(ValueError, match="no clips"):
        micro_auc([])
    with pytest.raises(ValueError, match=r"all 2 frames of 1 clips have label 1: .*expected normal"):
        frame_auc([clip("a", [1, 1], [0, 1])])


def test_pixel_auc_by_hand() -> None:
    """A 1 x 2 map over a 1 x 4 mask: values .2 .2 .8 .8, anomalous the last three: pairs .2-.2 (tie), .8-.2, .8-.2."""
    area = PixelAuc()
    area.add(np.array([[0.2, 0.8]], np.float16), np.array([[False, True, True, True]]))
    assert area.area() == pytest.approx((1 / 2 + 1 + 1) / 3)


def test_pixel_auc_is_scikit_learns_over_all_pixels_of_all_frames() -> None:
    rng = np.random.default_rng(2)
    maps = rng.gamma(0.5, 0.3, (7, 5, 8)).astype(np.float16)
    masks = rng.random((7, 20, 24)) < 0.2
    area = PixelAuc()
    for values, mask in zip(maps, masks, strict=True):
        area.add(values, mask)
    enlarged = maps.repeat(4, axis=1).repeat(3, axis=2)
    assert area.area() == pytest.approx(roc_auc_score(masks.ravel(), enlarged.ravel()), abs=1e-12)


def test_half_precision_is_enough() -> None:
    rng = np.random.default_rng(3)
    mask = rng.random((200, 300)) < 0.1
    values = (0.3 + 0.01 * rng.random((200, 300)) + 0.005 * mask).astype(np.float32)
    area = PixelAuc()
    area.add(values.astype(np.float16), mask)
    assert area.area() == pytest.approx(roc_auc_score(mask.ravel(), values.ravel()), abs=1e-3)


def test_pixel_auc_refuses() -> None:
    mask = np.zeros((2, 2), bool)
    with pytest.raises(TypeError, match="float16"):
        PixelAuc().add(np.zeros((2, 2), np.float32), mask)  # type: ignore[arg-type]
    for bad in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            PixelAuc().add(np.full((2, 2), bad, np.float16), mask)
    normal = PixelAuc()
    normal.add(np.full((2, 2), -0.0, np.float16), mask)  # minus zero is zero
    with pytest.raises(ValueError, match="same label"):
        normal.area()


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    assert nearest(4, 2).tolist() == [0, 0, 1, 1]
    assert nearest(3, 2).tolist() == [0, 1, 1]  # centres at 1/6, 1/2, 5/6: the middle lies on the edge
    assert nearest(2, 4).tolist() == [1, 3]
