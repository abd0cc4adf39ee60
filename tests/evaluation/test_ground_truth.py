"""Ground truth: how many frames a video has that labels are made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from aedmae_fast.evaluation.ground_truth import count_frames
from aedmae_fast.video import open_video
from tests.clips import write_clip
from tests.training.scenes import make_clip, write_frames


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
@pytest.mark.parametrize("vfr", [False, True])
def test_as_many_as_are_decoded(tmp_path: Path, name: str, vfr: bool) -> None:
    """Of a variable rate a Matroska file's duration times rate is far from it."""
    path = write_clip(tmp_path / name, frames=25, vfr=vfr)
    assert count_frames(path) == sum(len(chunk.times) for chunk in open_video(path)) == 25


def test_of_a_folder_of_frames(tmp_path: Path) -> None:
    assert count_frames(write_frames(tmp_path / "a", make_clip(12))) == 12
