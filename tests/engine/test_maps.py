"""Anomaly maps: those of the formula, what the raw scores are pooled from, a few in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from aedmae_fast import Scorer
from aedmae_fast.config import PRESETS
from aedmae_fast.engine.maps import ClipMaps, FrameMap
from aedmae_fast.engine.runner import Runner
from aedmae_fast.model.network import AedMae
from aedmae_fast.video import Chunk, Outcome, Status, VideoInfo
from tests.clips import cut, damage_packets, write_clip
from tests.conftest import TINY
from tests.engine.graph_twin import CaptureTwin
from tests.engine.test_scorer import assert_same, pixels, terms_by_hand

MAX = [name for name, preset in PRESETS.items() if preset.pool == "max"]
MEAN = [name for name, preset in PRESETS.items() if preset.pool == "mean"]


def assert_same_maps(found: list[FrameMap], expected: list[FrameMap]) -> None:
    """Bit for bit."""
    assert [(m.frame, m.time_s, m.offset) for m in found] == [(m.frame, m.time_s, m.offset) for m in expected]
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(f.values, e.values, err_msg=f"frame {f.frame}")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_clip(folder / f"{n}.mp4", frames=n, size=(72, 40)) for n in (1, 26, 5)]


# ---- what they are ----


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("count", [1, 25])
def test_maps_are_those_of_the_formula(tiny_model: AedMae, preset: str, count: int) -> None:
    maps = Scorer(tiny_model, preset=preset, precision="fp32").maps_of_frames(pixels(count), fps=10)
    found = list(maps)
    assert [m.frame for m in found] == list(range(count))
    assert [m.time_s for m in found] == maps.scores.time_s.tolist()
    by_hand = terms_by_hand(tiny_model, pixels(count), preset)["map"].numpy()  # [T, H, W]
    total, there = (
        ndimage.uniform_filter(x, PRESETS[preset].map_filter, mode="constant") for x in (by_hand, np.ones_like(by_hand))
    )
    for of_frame, values in zip(found, total / there, strict=True):
        assert of_frame.values.dtype == np.float32
        np.testing.assert_allclose(of_frame.values, values, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("preset", MAX)
def test_the_raw_score_is_the_maximum_of_the_map(
    isa: str, tiny_model: AedMae, preset: str, precision: str, stride: int
) -> None:
    """Bit for bit, with the constant that the class probability adds; its place has the maximum."""
    scorer = Scorer(tiny_model, preset=preset, precision=precision, stride=stride, threads=1)
    maps = scorer.maps_of_frames(pixels(25))
    found, scores = list(maps), maps.scores
    assert [m.frame for m in found] == np.flatnonzero(~scores.interpolated).tolist()
    for of_frame in found:
        at, values = of_frame.frame, of_frame.values
        assert float(values.max()) + of_frame.offset == scores.raw[at]
        row, column = (scores.y[at] / 40 * TINY.height - 0.5, scores.x[at] / 72 * TINY.width - 0.5)
        place = round(row), round(column)
        assert place == pytest.approx((row, column))
        assert values[place] == values.max()
        if PRESETS[preset].map_filter[0] == 1:
            assert of_frame.offset == PRESETS[preset].class_weight * scores.class_prob[at]
            assert place == divmod(int(values.argmax()), TINY.width)


@pytest.mark.parametrize("preset", MEAN)
def test_the_raw_score_is_the_mean_of_the_map(isa: str, tiny_model: AedMae, preset: str) -> None:
    maps = Scorer(tiny_model, preset=preset, threads=1).maps_of_frames(pixels(11))
    found = [(m.values.mean(dtype=np.float64), m.offset) for m in maps]
    np.testing.assert_allclose([mean for mean, _ in found], maps.scores.raw, rtol=1e-6)
    assert {offset for _, offset in found} == {0.0}
    assert np.isnan([maps.scores.x, maps.scores.y]).all()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_asking_for_maps_changes_no_score(tiny_model: AedMae, clips: list[Path], preset: str) -> None:
    scorer = Scorer(tiny_model, preset=preset)
    for clip in clips:
        maps = scorer.maps(clip)
        assert len(list(maps)) == maps.scores.frames
        assert_same(maps.scores, scorer.score(clip))
        assert maps.scores.path == clip


# ---- how they come ----


@pytest.mark.parametrize("preset", ["paper", "release-avenue"])
@pytest.mark.parametrize("stride", [1, 4])
def test_batches_company_and_graphs_change_nothing(
    tiny_model: AedMae, clips: list[Path], preset: str, stride: int
) -> None:
    """All are kept to the end: what a graph, or the next batch, writes again would show."""
    how: dict[str, Any] = {"preset": preset, "stride": stride, "precision": "fp32", "device": "cpu"}
    alone = [list(Scorer(tiny_model, batch_size=1, workers=1, threads=1, **how).maps(clip)) for clip in clips]
    as_on_gpu = Scorer(tiny_model, batch_size=10, workers=3, **how)
    as_on_gpu.runner = Runner(tiny_model, PRESETS[preset], "cpu", "fp32", 1, capture=CaptureTwin)
    for scorer in (Scorer(tiny_model, batch_size=7, workers=2, threads=2, **how), as_on_gpu):
        found: dict[int, list[FrameMap]] = {index: [] for index in range(len(clips))}
        for index, _ in scorer.score_unordered(clips, on_map=lambda index, m: found[index].append(m)):  # noqa: B023
            assert len(found[index]) == len(alone[index])  # the last one before the scores
        for of_clip, expected in zip(found.values(), alone, strict=True):
            assert_same_maps(of_clip, expected)
    modes = {maps: graph.mode for maps, graph in as_on_gpu.runner._graphs.items()}
    assert modes == {True: "graphs for batches of 4"}


def test_with_maps_and_without_at_the_same_time(tiny_model: AedMae, clips: list[Path]) -> None:
    """A preset that can do without has a graph of each kind; memory that grows makes both anew."""
    how: dict[str, Any] = {"preset": "release-avenue", "device": "cpu", "precision": "fp32", "batch_size": 4}
    scorer, plain = (Scorer(tiny_model, **how) for _ in range(2))
    scorer.runner = Runner(tiny_model, scorer.preset, "cpu", "fp32", 1, capture=CaptureTwin)
    stream = scorer.stream()
    assert scorer.runner._graphs.keys() == {False}
    assert not len(scorer.runner._maps.tensor)  # none in memory that nobody looks at
    frames = pixels(18)
    raw = [s.raw for frame in frames[:9] for s in stream.push(frame)]
    maps = scorer.maps(clips[1])
    found = [next(maps)]
    before = dict(scorer.runner._graphs)
    many = scorer.score_many(clips)  # grows
    assert_same(next(many), plain.score(clips[0]))
    assert scorer.runner._graphs.keys() == {False, True}
    assert all(scorer.runner._graphs[kind] is not before[kind] for kind in before)
    raw += [s.raw for frame in frames[9:] for s in stream.push(frame)]
    assert_same_maps([*found, *maps], list(plain.maps(clips[1])))
    for scores, clip in zip(many, clips[1:], strict=True):
        assert_same(scores, plain.score(clip))
    raw += [s.raw for s in stream.finish()]
    assert raw == plain.score_frames(frames).raw.tolist()


def test_a_map_is_its_owners(tiny_model: AedMae) -> None:
    """Kept or written on, it holds no batch in memory and changes no other."""
    scorer = Scorer(tiny_model, preset="paper")
    expected = list(scorer.maps_of_frames(pixels(12)))
    for of_frame, untouched in zip(scorer.maps_of_frames(pixels(12)), expected, strict=True):
        assert of_frame.values.flags.owndata
        np.testing.assert_array_equal(of_frame.values, untouched.values)
        of_frame.values.fill(np.nan)


class Endless:
    """A video that is never at its end, grey, frame t of brightness t mod 256; counts what was taken."""

    def __init__(self) -> None:
        self.info = VideoInfo(Path("endless"), 8, 8, 25.0, None, "none", "auto")
        self.outcome = Outcome(Status.OK, "")
        self.taken, self.closed = 0, False

    def __iter__(self) -> Iterator[Chunk]:
        while True:
            self.taken += 1
            yield Chunk(
                self.taken - 1, (self.taken / 25,), (torch.full((1, 8, 8), self.taken % 256, dtype=torch.uint8),)
            )

    def close(self) -> None:
        self.closed = True


def test_they_come_as_they_are_computed_and_memory_does_not_grow(tiny_model: AedMae) -> None:
    scorer = Scorer(tiny_model, preset="paper", batch_size=8, workers=1)
    sizes = set()
    for _ in range(2):
        video = Endless()
        maps = ClipMaps(scorer._maps(lambda: video, None))  # noqa: B023
        for of_frame in islice(maps, 300):
            assert video.taken <= of_frame.frame + 150  # what waits in the feed, and two batches
            sizes.add((len(scorer.runner._frames.tensor), len(scorer.runner._maps.tensor)))
        maps.close()
        assert video.closed
        with pytest.raises(RuntimeError, match="once all of its maps were taken"):
            _ = maps.scores
    assert len(sizes) == 1  # given back too


# ---- files ----


def test_whatever_a_file_is(tiny_model: AedMae, tmp_path: Path) -> None:
    """Maps of what can be decoded, and the status that scoring gives."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for t in range(5):
        Image.new("L", (48, 32), 40 * t).save(folder / f"{t}.png")
    (tmp_path / "text.mp4").write_text("no video")
    paths = {
        folder: Status.OK,
        tmp_path / "text.mp4": Status.UNREADABLE,
        tmp_path / "gone.mp4": Status.UNREADABLE,
        cut(write_clip(tmp_path / "cut.mkv", frames=60), 0.5): Status.TRUNCATED,
        damage_packets(write_clip(tmp_path / "damaged.mp4", frames=60), [20, 21]): Status.CORRUPT,
    }
    scorer = Scorer(tiny_model)
    for path, status in paths.items():
        maps = scorer.maps(path)
        found, expected = list(maps), scorer.score(path)
        assert_same(maps.scores, expected)
        assert (maps.scores.status, maps.scores.reason) == (status, expected.reason)
        assert len(found) == expected.frames
        assert list(maps) == []  # once
        assert maps.scores.status is status
    empty = scorer.maps_of_frames(pixels(0))
    assert list(empty) == []
    assert empty.scores.status is Status.TOO_SHORT


# What only a GPU shows


@pytest.mark.needs_cuda
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_on_gpu_maps_stay_whole(tiny_model: AedMae, preset: str) -> None:
    """They come from captured graphs, in batches, and lie on the host."""
    alone = list(Scorer(tiny_model, device="cuda", preset=preset, batch_size=1).maps_of_frames(pixels(90)))
    assert_same_maps(list(Scorer(tiny_model, device="cuda", preset=preset).maps_of_frames(pixels(90))), alone)
    on_cpu = list(Scorer(tiny_model, device="cpu", precision="fp32", preset=preset).maps_of_frames(pixels(20)))
    on_gpu = list(Scorer(tiny_model, device="cuda", precision="fp32", preset=preset).maps_of_frames(pixels(20)))
    for cuda, cpu in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(cuda.values, cpu.values, rtol=1e-3, atol=1e-5)
