"""What a file's packets tell, and which files are left to PyAV for it."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch

from aedmae_fast.engine.choose import ChoiceError, check_decoder
from aedmae_fast.video import Chunk, Status, VideoError
from aedmae_fast.video.pyav import PyavVideo, survey
from aedmae_fast.video.survey import why_no_dali, why_not_dali
from aedmae_fast.video.verdict import judge
from tests.clips import cut, write_clip

VP9 = {"codec": "libvpx-vp9"}


@pytest.mark.parametrize(
    ("name", "settings", "device", "reason"),
    [
        ("h264.mp4", {}, "cpu", "codec h264"),
        ("mpeg4.mp4", {"codec": "mpeg4"}, "cuda", "codec mpeg4"),
        ("deep.mkv", {"pix_fmt": "yuv420p10le"}, "cuda", "pixel format yuv420p10le"),
        ("h264.avi", {"b_frames": 2}, "cuda", "AVI, which holds no time stamps"),
        ("vfr.webm", {**VP9, "vfr": True}, "cpu", "variable frame rate"),
        ("vfr.mkv", {"vfr": True}, "cuda", "variable frame rate"),
        ("turned.mp4", {"rotation": 90}, "cuda", "rotation flag"),
        ("odd.webm", {**VP9, "size": (321, 240)}, "cpu", "odd size 321x240"),
        ("raw.h264", {"b_frames": 2}, "cuda", "packets without time stamps"),
        ("h264.mp4", {"b_frames": 2}, "cuda", ""),
        ("h264.mkv", {"b_frames": 2, "fps": 30}, "cuda", ""),
        ("h264.ts", {"b_frames": 2}, "cuda", ""),
        ("hevc.mp4", {"codec": "libx265", "audio": 1.0}, "cuda", ""),
        ("one.mp4", {"frames": 1}, "cuda", ""),
        ("motion.mkv", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "cpu", ""),
    ],
)
def test_who_takes_which_file(
    tmp_path: Path, name: str, settings: dict[str, Any], device: Literal["cuda", "cpu"], reason: str
) -> None:
    assert why_not_dali(survey(write_clip(tmp_path / name, **settings)), device) == reason


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_it_agrees_with_decoding(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, b_frames=2, colorspace=1, color_range=2, audio=1.0)
    found, video = survey(path), PyavVideo(path)
    chunks = list(video)
    assert found.info == video.info
    assert found.times == tuple(chunk.times[0] for chunk in chunks)
    assert (found.matrix, found.full_range) == (chunks[0].matrix, chunks[0].full_range) == ("bt709", True)
    assert (found.hidden, found.upright, found.met.frames) == (0, True, len(chunks))
    assert judge(found.met, found.promise) == video.outcome


def test_a_cut_file_is_seen_by_its_packets(tmp_path: Path) -> None:
    path = cut(write_clip(tmp_path / "clip.mkv", size=(320, 240), frames=60, options={"crf": "18"}), 0.5)
    found = survey(path)
    assert judge(found.met, found.promise).status is Status.TRUNCATED


def test_a_file_that_cannot_be_shown_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(video: PyavVideo) -> Iterator[Chunk]:
        raise VideoError(tmp_path, Status.UNREADABLE, "pixel format xyz cannot be converted")

    closed: list[PyavVideo] = []
    monkeypatch.setattr(PyavVideo, "_chunks", refuse)
    monkeypatch.setattr(PyavVideo, "close", lambda video: closed.append(video))
    with pytest.raises(VideoError, match="xyz"):
        survey(write_clip(tmp_path / "clip.mp4"))
    assert len(closed) == 1


def test_the_packets_of_a_day_are_no_list_of_objects(tmp_path: Path) -> None:
    """8 bytes each while they are read, and a time each in the end."""
    path = write_clip(tmp_path / "clip.mkv", frames=3000, size=(32, 32), options={"preset": "ultrafast"})
    survey(path)
    tracemalloc.start()
    found = survey(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.times) == 3000
    assert most < 3000 * 90


def test_what_is_no_video_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(VideoError, match="not a video"):
        survey(path)


def test_without_dali_or_a_device_for_it_the_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not every file fails."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert why_no_dali() == "no CUDA device"  # whose machine need not load DALI to know it
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(ChoiceError, match=r"'dali' asked for, but DALI cannot be imported \(.*\): pip install nvidia"):
        check_decoder("dali", "cuda")
    for count, reason in ((0, "DALI sees no CUDA device"), (1, "")):
        backend = SimpleNamespace(GetCUDADeviceCount=lambda count=count: count)
        monkeypatch.setitem(sys.modules, "nvidia.dali", SimpleNamespace(backend=backend))
        assert why_no_dali() == reason
    check_decoder("dali", "cuda")
