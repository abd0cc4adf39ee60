"""An event's pictures: the frame to look at, and the film of what is around it, with a ring that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aedmae_fast.report import film
from aedmae_fast.report.film import BEFORE_AND_AFTER, Shots, Track, can_seek, shoot, span
from aedmae_fast.report.picture import WIDTH
from aedmae_fast.video import open_video, read_frames
from aedmae_fast.video.pulse import on_pulse
from tests.clips import picture, read_index, write_clip

FRAMES = 120
LEAST, MOST = BEFORE_AND_AFTER
ENTRY = {"width": 128, "height": 96, "frames": FRAMES, "seekable": True}


def event(start_frame: int, end_frame: int, frame: int, fps: float = 25) -> dict[str, Any]:
    times = {"start_s": start_frame / fps, "end_s": end_frame / fps, "time_s": frame / fps}
    return {"start_frame": start_frame, "end_frame": end_frame, "frame": frame, **times, "x": None, "y": None}


def track(times: list[float], known: bool = True) -> Track:
    """A place that moves to the right, a pixel a frame."""
    x = np.arange(len(times)) + 0.0 if known else np.full(len(times), np.nan)
    return Track(np.array(times), np.zeros(len(times)), x, np.where(np.isnan(x), x, 70.0))


def make_film(path: Path, entry: dict[str, Any], event: dict[str, Any], track: Track) -> bytes:
    shots = Shots(entry, event, track)
    shoot(path, [shots], can_seek(entry))
    assert shots.trouble == ""
    return shots.film


def shown(encoded: bytes, tmp_path: Path) -> list[tuple[float, np.ndarray]]:
    """Times and pictures, RGB."""
    path = tmp_path / "film.mp4"
    path.write_bytes(encoded)
    return [(time, frame.numpy()[..., ::-1]) for time, frame in read_frames(path, 0)]


def ring(found: np.ndarray) -> float | None:
    """x of its centre in a picture that is grey but for it; None where there is none."""
    pixels = found.astype(int)
    columns = np.flatnonzero((pixels[..., 0] - pixels[..., 1] > 100).any(0))
    return None if not len(columns) else (columns[0] + columns[-1]) / 2


@pytest.mark.parametrize(
    ("stretch", "expected"),
    [
        ((50, 60, 55), (55 / 25 - LEAST, 55 / 25 + LEAST)),  # short: something of before and after
        ((20, 80, 50), (0.8, 3.2)),  # all of it
        ((0, 119, 60), (2.4 - MOST, 2.4 + MOST)),  # long: what is near
        ((0, 5, 2), (0.0, 2 / 25 + LEAST)),  # nothing is before the video
    ],
)
def test_span(stretch: tuple[int, int, int], expected: tuple[float, float]) -> None:
    assert span(event(*stretch)) == pytest.approx(expected)


def test_frames_at_their_times(tmp_path: Path) -> None:
    """Every second one of 25 a second; all of them where they are as few as 10."""
    for fps, step in ((25, 2), (10, 1)):
        path = write_clip(tmp_path / f"{fps}.mp4", frames=FRAMES, fps=fps)
        times = [time for chunk in open_video(path) for time in chunk.times]
        found = event(50, 60, 55, fps)
        frames = shown(make_film(path, ENTRY, found, track(times)), tmp_path)
        start, end = (round(at * fps) for at in span(found))
        assert [read_index(picture[..., 1]) for _, picture in frames] == list(range(start, end + 1, step))
        np.testing.assert_allclose([time for time, _ in frames], np.arange(len(frames)) * step / fps, atol=1e-3)


@pytest.mark.parametrize("known", [True, False])
def test_the_ring_follows_during_the_event(tmp_path: Path, known: bool) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(FRAMES):
        Image.fromarray(picture(i)).save(folder / f"{i}.png")
    times = [i / 25 for i in range(FRAMES)]
    frames = shown(make_film(folder, ENTRY, event(50, 60, 55), track(times, known)), tmp_path)
    places = {read_index(picture[..., 1]): ring(picture) for _, picture in frames}
    inside = {i: place for i, place in places.items() if 50 <= i <= 60}
    assert len(inside) > 4
    for i, place in places.items():
        assert place == (pytest.approx(i, abs=2) if known and i in inside else None)


def test_large_and_odd_pictures(tmp_path: Path) -> None:
    for size, expected in (((1281, 721), (270, WIDTH)), ((31, 23), (24, 32))):
        path = write_clip(tmp_path / f"{size[0]}.mkv", frames=5, size=size, pix_fmt="yuv444p")
        found = shown(
            make_film(path, {**ENTRY, "width": size[0], "height": size[1]}, event(0, 4, 2), track([0.0])), tmp_path
        )
        assert found[0][1].shape == (*expected, 3)


def test_anamorphic_video_is_shown_as_it_is_meant(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=5, options={"x264-params": "sar=2/1"})
    assert open_video(path).info.aspect == 2
    turned = write_clip(tmp_path / "b.mp4", frames=5, options={"x264-params": "sar=2/1"}, rotation=90)
    assert open_video(turned).info.aspect == 0.5
    found = shown(make_film(path, {**ENTRY, "aspect": 2.0}, event(0, 4, 2), track([0.0])), tmp_path)
    assert found[0][1].shape == (96, 256, 3)


def test_a_size_that_changes_midway(tmp_path: Path) -> None:
    """The film keeps its first; a folder can hold images of any size, as a video can."""
    for i in range(20):
        Image.fromarray(picture(i, (128, 96) if i < 10 else (160, 120))).save(tmp_path / f"{i:02}.png")
    at = event(8, 12, 10)
    frames = shown(make_film(tmp_path, ENTRY, at, track([i / 25 for i in range(20)])), tmp_path)
    assert {found.shape for _, found in frames} == {(96, 128, 3)}
    assert [read_index(found[..., 1]) for _, found in frames] == list(range(0, 20, 2))


def test_a_gap_in_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame after it rather than none."""
    monkeypatch.setattr(film, "BEFORE_AND_AFTER", (0.01, 0.01))
    path = write_clip(tmp_path / "a.mkv", frames=12, vfr=True)
    times = [time for chunk in open_video(path) for time in chunk.times]
    at = {**event(9, 9, 9), **dict.fromkeys(("start_s", "end_s", "time_s"), times[9] + 0.1)}
    assert times[10] - times[9] == pytest.approx(0.4)
    (only,) = shown(make_film(path, ENTRY, at, track(times)), tmp_path)
    assert read_index(only[1][..., 1]) == 10


def test_what_is_not_there(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=9)
    for seek in (True, False):
        shots = [Shots(ENTRY, found, track([0.0])) for found in (event(2, 4, 3), event(300, 310, 305))]
        shoot(path, shots, seek)
        assert shots[0].still is not None
        assert shots[1].still is None
        assert shots[1].film == b""
        assert shots[1].trouble.startswith("no frame at 1")


@pytest.mark.parametrize(("name", "passes"), [("a.h264", 1), ("a.mkv", 3)])
def test_what_cannot_be_sought_is_decoded_once(tmp_path: Path, name: str, passes: int) -> None:
    """For all its events, stills and films, in whatever order they are asked for."""
    path = write_clip(tmp_path / name, frames=300)
    video = open_video(path)
    times = [time for chunk in video for time in chunk.times]
    frames = (140, 100, 250)
    shots = [Shots(ENTRY, event(i - 5, i + 5, i, video.info.fps), track(times)) for i in frames]
    opened: list[None] = []
    packets: list[None] = []
    on_pulse(lambda: packets.append(None))
    with pytest.MonkeyPatch.context() as patch:
        open_part = film.open_part
        patch.setattr(film, "open_part", lambda *given, **how: opened.append(None) or open_part(*given, **how))
        shoot(path, shots, video.outcome.seekable)
    on_pulse(lambda: None)
    assert len(opened) == passes
    assert passes > 1 or len(packets) < 330
    for i, of_event in zip(frames, shots, strict=True):
        assert of_event.still is not None
        assert read_index(np.asarray(of_event.still)[..., 1]) == i
        start, end = (round(at * video.info.fps) for at in span(event(i - 5, i + 5, i, video.info.fps)))
        found = [read_index(each[..., 1]) for _, each in shown(of_event.film, tmp_path)]
        assert found == list(range(start, end + 1, 2))
