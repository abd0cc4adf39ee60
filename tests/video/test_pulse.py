"""Signs of life: one for every packet and image, heard by the thread that reads and by no other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aedmae_fast.video import open_video
from aedmae_fast.video.pulse import on_pulse
from aedmae_fast.video.pyav import survey
from tests.clips import write_clip
from tests.training.scenes import make_clip, write_frames


@pytest.fixture
def heard() -> Iterator[list[int]]:
    signs: list[int] = []
    on_pulse(lambda: signs.append(1))
    yield signs
    on_pulse(lambda: None)


def test_reading_without_decoding_is_heard(tmp_path: Path, heard: list[int]) -> None:
    survey(write_clip(tmp_path / "clip.mp4", frames=20))
    assert len(heard) >= 20


@pytest.mark.parametrize("kind", ["video", "images"])
def test_each_frame_that_is_read_is_heard(tmp_path: Path, heard: list[int], kind: str) -> None:
    path = write_clip(tmp_path / "c.mkv", frames=20) if kind == "video" else write_frames(tmp_path / "c", make_clip(20))
    video = open_video(path)
    assert len(list(video)) == 20
    video.close()
    assert len(heard) >= 20


def test_other_threads_are_not(tmp_path: Path, heard: list[int]) -> None:
    path = write_clip(tmp_path / "clip.mp4", frames=5)
    thread = threading.Thread(target=survey, args=(path,))
    thread.start()
    thread.join()
    assert heard == []
