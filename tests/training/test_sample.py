"""Samples: as many frames as asked for, spread over everything, and the very frames that a whole video gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aedmae_fast.training import sample
from aedmae_fast.training.cache import load_clips
from aedmae_fast.training.sample import PIECE, Counted, Piece, count_frames, take_sample
from aedmae_fast.video import open_video
from tests.clips import cut, write_clip
from tests.training.scenes import make_clip, write_frames

SIZE = (48, 64)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {}),
        ("a.ts", {}),
        ("a.avi", {"codec": "mpeg4", "b_frames": 2}),
        ("a.h264", {}),  # neither times nor an index
        ("vfr.mkv", {"vfr": True}),  # counted as its length times a rate that FFmpeg guesses
    ],
)
def test_a_piece_is_cut_from_the_whole(tmp_path: Path, name: str, settings: dict[str, object]) -> None:
    path = write_clip(tmp_path / name, frames=130, **settings)
    counted = count_frames(path)
    assert counted.frames >= 130 if "vfr" in name else counted.frames == 130
    (whole,) = load_clips([Piece(path)], SIZE, None).frames
    (piece,) = load_clips([Piece(path, 60 / counted.fps, 40)], SIZE, None).frames
    assert len(piece) == 40
    first = int(np.argmin([np.abs(piece[0].astype(int) - frame).sum() for frame in whole]))
    assert "vfr" in name or first == 60
    np.testing.assert_array_equal(piece, whole[first : first + 40])


def test_folders_and_what_cannot_be_opened(tmp_path: Path) -> None:
    folder, bad = write_frames(tmp_path / "a", make_clip(12)), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    assert count_frames(folder).frames == 12
    videos = [count_frames(bad), count_frames(folder), Counted(Path("long.mp4"), 10 * PIECE, 25.0)]
    taken = take_sample(videos, 3 * PIECE)
    assert len(taken) == 4
    start = Piece(bad, 0.0, PIECE)  # left in, so that its trouble is told; and no more, should it be read then
    assert taken[-1] == start
    assert take_sample(videos, 10**6) == [Piece(folder), Piece(Path("long.mp4")), start]


@pytest.mark.parametrize("promised", [None, 25_000_000])
def test_a_length_that_the_file_cannot_hold_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promised: int | None
) -> None:
    """Such as the end of a recording whose times start at a million seconds, where its length is not written."""
    path = write_clip(tmp_path / "a.mkv", frames=30)
    info = open_video(path).info
    monkeypatch.setattr(
        sample,
        "open_video",
        lambda _: SimpleNamespace(info=replace(info, expected_frames=promised), close=lambda: None),
    )
    assert count_frames(path) == Counted(path, 30, 25.0)


def test_the_trouble_of_a_piece_is_told(tmp_path: Path) -> None:
    """A header that promises more than there is: what lies beyond gives nothing, and does not stop the others."""
    path = write_clip(tmp_path / "a.mp4", frames=130, container_options={"movflags": "faststart"})
    path = cut(path, 0.5)
    assert count_frames(path).frames == 130
    clips = load_clips([Piece(path, 0.0, 20), Piece(path, 120 / 25, 10)], SIZE, None)
    assert [len(frames) for frames in clips.frames] == [20]
    ((named, reason),) = clips.problems
    assert named == path
    assert reason == "the piece from 5 s on: too_short: no frame at 4.80 s"


@given(
    counts=st.lists(st.integers(1, 40 * PIECE), min_size=1, max_size=30),
    share=st.floats(0.001, 0.999),
)
def test_pieces_are_disjoint_and_spread_evenly(counts: list[int], share: float) -> None:
    videos = [Counted(Path(f"{i}.mp4"), count, 25.0) for i, count in enumerate(counts)]
    total = sum(counts)
    frames = max(1, int(share * total))
    taken = take_sample(videos, frames)
    assert len(set(taken)) == len(taken)
    last_end: dict[Path, float] = {}
    for piece in taken:
        count = counts[int(piece.path.stem)]
        length = count if piece.frames is None else piece.frames
        assert length <= 1.5 * PIECE
        assert length >= min(count, PIECE / 1.5 - 1)
        start = round(piece.start_s * 25)
        assert start >= last_end.get(piece.path, 0)
        last_end[piece.path] = start + length
        assert start + length <= count
    available = sum(max(1, round(count / PIECE)) for count in counts)
    assert len(taken) == max(1, round(available * frames / total))
    order = [(int(piece.path.stem), piece.start_s) for piece in taken]
    assert order == sorted(order)


def test_a_long_archive_is_seen_from_end_to_end() -> None:
    videos = [Counted(Path(f"{hour:02}.mp4"), 90_000, 25.0) for hour in range(24)]
    taken = take_sample(videos, 20_000)
    assert sum(piece.frames or 0 for piece in taken) == pytest.approx(20_000, rel=0.02)
    seconds = np.array([3600 * int(piece.path.stem) + piece.start_s for piece in taken])
    steps = np.diff(seconds)
    assert seconds[0] < steps.max()
    assert seconds[-1] > 24 * 3600 - steps.max()
    assert steps.max() < 1.1 * steps.min()
