"""DALI's reader: no frame lost or twice, files it is not good at left to PyAV, and PyAV to the rescue midway."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

if os.environ.get("FAIL_WITHOUT_CUDA") != "1":
    pytest.importorskip("nvidia.dali", reason="DALI is not installed: pip install nvidia-dali-cuda130")

from aedmae_fast.video import Chunk, Status, Video, VideoError, dali, open_video
from aedmae_fast.video.dali import CHUNK, DaliVideo
from aedmae_fast.video.pyav import PyavVideo
from tests.clips import cut, read_index, write_clip

VP9 = {"codec": "libvpx-vp9", "size": (320, 240), "options": {"b": "2M"}}  # what DALI decodes on a CPU


def index_of(chunk: Chunk) -> list[int]:
    """Which pictures a chunk shows, by its luma or its BGR."""
    luma = chunk.planes[0] if chunk.planes[0].dim() == 3 else chunk.planes[0][..., 1]
    return [read_index(frame.cpu().numpy()) for frame in luma]


def read(video: Video) -> tuple[list[int], list[float], list[int]]:
    """The pictures that come, their times, and the chunks' lengths; the chunks follow each other."""
    shown: list[int] = []
    times: list[float] = []
    lengths = []
    for chunk in video:
        assert chunk.first == len(shown)
        shown += index_of(chunk)
        times += chunk.times
        lengths.append(len(chunk.times))
        assert all(len(plane) == lengths[-1] for plane in chunk.planes)
    return shown, times, lengths


@pytest.mark.parametrize("frames", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 22])
def test_every_frame_comes_once_and_in_order(tmp_path: Path, frames: int) -> None:
    path = write_clip(tmp_path / "clip.webm", **VP9, frames=frames)
    video = open_video(path, "dali", "cpu")
    assert isinstance(video, DaliVideo)
    shown, times, lengths = read(video)
    reference = PyavVideo(path)
    assert (shown, times) == read(reference)[:2] == (list(range(frames)), times)
    assert lengths == [CHUNK] * (frames // CHUNK) + [frames % CHUNK] * (frames % CHUNK > 0)
    assert video.outcome == reference.outcome
    assert (video.outcome.status, video.note) == (Status.OK, "")
    assert {**vars(video.info), "decoder": "pyav"} == vars(reference.info)


def test_chunks_stay_as_they_were(tmp_path: Path) -> None:
    video = open_video(write_clip(tmp_path / "clip.webm", **VP9, frames=3 * CHUNK), "dali", "cpu")
    chunks = list(video)
    assert [index_of(chunk)[0] for chunk in chunks] == [0, CHUNK, 2 * CHUNK]


def test_a_cut_file_gets_the_same_verdict(tmp_path: Path) -> None:
    path = cut(write_clip(tmp_path / "clip.webm", **VP9, frames=150), 0.5)
    video, reference = open_video(path, "dali", "cpu"), PyavVideo(path)
    assert read(video)[:2] == read(reference)[:2]
    assert video.outcome == reference.outcome
    assert video.outcome.status is Status.TRUNCATED


def test_a_file_that_is_not_for_dali_goes_to_pyav(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "vfr.webm", **VP9, vfr=True)
    video = open_video(path, "dali", "cpu")
    assert isinstance(video, PyavVideo)
    assert video.info.decoder == "pyav"


def test_a_file_in_the_place_of_another_goes_to_pyav(tmp_path: Path) -> None:
    """DALI keeps an index of every file that it has read, by name, and would read the new one by it."""
    path = write_clip(tmp_path / "clip.webm", **VP9, frames=20)
    for _ in range(2):
        video = open_video(path, "dali", "cpu")
        assert (read(video)[0], video.info.decoder) == (list(range(20)), "dali")
    write_clip(path, **VP9, frames=90)
    video = open_video(path, "dali", "cpu")
    assert (read(video)[0], video.info.decoder) == (list(range(90)), "pyav")


def test_what_is_no_video_is_told_by_pyav(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(VideoError, match="not a video"):
        open_video(path, "dali", "cpu")


def fail_after(count: int) -> Callable[[Any, torch.device], Any]:
    """A pipeline that breaks after so many sequences."""
    build = dali._pipeline

    def broken(path: Path, device: torch.device) -> Any:
        pipeline = build(path, device)
        run, left = pipeline.run, iter(range(count))

        def run_or_fail(stream: Any) -> Any:
            if next(left, None) is None:
                raise RuntimeError("Critical error in pipeline:\nsomething about CUDA")
            return run(stream)

        pipeline.run = run_or_fail
        return pipeline

    return broken


@pytest.mark.parametrize("sequences", [0, 1, 2])
def test_a_pipeline_that_dies_is_followed_by_pyav(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sequences: int
) -> None:
    path = write_clip(tmp_path / "clip.webm", **VP9, frames=150)
    monkeypatch.setattr(dali, "_pipeline", fail_after(sequences))
    video = open_video(path, "dali", "cpu")
    shown, times, _ = read(video)
    assert shown == list(range(150))
    assert times == read(PyavVideo(path))[1]
    assert video.outcome.status is Status.OK
    assert isinstance(video, DaliVideo)
    assert video.note == f"PyAV read on from frame {CHUNK * sequences}: Critical error in pipeline:"
    assert capsys.readouterr().err == f"{path}: {video.note}\n"


def test_frames_that_dali_leaves_out_at_the_end_come_from_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.webm", **VP9, frames=150)
    found = dali._host_list
    monkeypatch.setattr(dali, "_host_list", lambda index: [i if i < 140 else -1 for i in found(index)])
    video = open_video(path, "dali", "cpu")
    assert read(video)[0] == list(range(150))
    assert isinstance(video, DaliVideo)
    assert video.note == "PyAV read on from frame 140: DALI gave fewer frames than the file has packets"


def test_it_is_read_once_and_can_be_closed(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.webm", **VP9, frames=150)
    video = open_video(path, "dali", "cpu")
    with pytest.raises(RuntimeError, match="the outcome is known only once"):
        _ = video.outcome
    for chunk in video:
        assert chunk.first == 0
        video.close()
    with pytest.raises(RuntimeError, match="a video is read once"):
        iter(video)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no CUDA device; use 'pyav'"):
        open_video(write_clip(tmp_path / "clip.mp4"), "dali")


@pytest.mark.needs_cuda
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("h264.mp4", {"b_frames": 2}),
        ("h264.mkv", {"b_frames": 0}),
        ("hevc.mp4", {"codec": "libx265"}),
        ("wide.mp4", {"size": (640, 360)}),  # the coded size is 640x368
        ("bt709.mp4", {"colorspace": 1, "color_range": 1}),
        ("full.mp4", {"pix_fmt": "yuvj420p", "color_range": 2}),
    ],
)
def test_on_gpu_luma_equals_pyav(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    path = write_clip(tmp_path / name, **{"size": (320, 240), "frames": 150} | settings)
    video = open_video(path, "dali")
    assert isinstance(video, DaliVideo)
    reference = iter(PyavVideo(path))
    for chunk in video:
        assert chunk.planes[0].is_cuda
        assert chunk.planes[0].stride(-1) == 3  # packed: frame_prep takes it as it is
        for frame, time in zip(range(len(chunk.times)), chunk.times, strict=True):
            expected = next(reference)
            assert (time, chunk.matrix, chunk.full_range) == (expected.times[0], expected.matrix, expected.full_range)
            assert torch.equal(chunk.planes[0][frame].cpu(), expected.planes[0][0])
    assert next(reference, None) is None
    assert (video.note, video.outcome.status) == ("", Status.OK)
