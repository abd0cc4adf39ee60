"""PyavVideo on sound files: every frame of every kind of file, once, in order, at its time.

What the planes hold is in ``test_planes.py``; damaged, cut and foreign files are in ``test_damage.py``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from aedmae_fast.video import Status, open_video
from aedmae_fast.video.discover import find_videos
from aedmae_fast.video.pyav import PyavVideo
from tests.clips import copy_clip, make_frame, picture, read_index, write_clip

LOSSLESS = {"qp": "0"}


def luma_of(chunk: Any) -> np.ndarray:
    """Y, or green where the chunk is BGR: uint8 [H, W]."""
    plane = chunk.planes[0][0]
    return (plane if plane.ndim == 2 else plane[..., 1]).numpy()


def indices(path: Path) -> list[int]:
    """Which pictures come out, in order; the outcome must be ok and the chunks numbered without a gap."""
    video = open_video(path)
    chunks = list(video)
    assert video.outcome.status is Status.OK, video.outcome.reason
    assert [chunk.first for chunk in chunks] == list(range(len(chunks)))
    return [read_index(luma_of(chunk)) for chunk in chunks]


@pytest.mark.parametrize(
    ("name", "settings", "codec"),
    [
        ("h264.mp4", {"codec": "libx264"}, "h264"),
        ("h264_b.mp4", {"codec": "libx264", "b_frames": 3}, "h264"),
        ("h264.mov", {"codec": "libx264", "b_frames": 0}, "h264"),
        ("h264_b.avi", {"codec": "libx264", "b_frames": 2}, "h264"),
        ("h264.mkv", {"codec": "libx264"}, "h264"),
        ("h264.ts", {"codec": "libx264"}, "h264"),
        ("h264.flv", {"codec": "libx264"}, "h264"),
        ("raw.h264", {"codec": "libx264"}, "h264"),
        ("hevc.mp4", {"codec": "libx265"}, "hevc"),
        ("hevc.ts", {"codec": "libx265"}, "hevc"),
        ("vp9.webm", {"codec": "libvpx-vp9"}, "vp9"),
        ("vp8.webm", {"codec": "libvpx", "options": {"deadline": "realtime", "auto-alt-ref": "1"}}, "vp8"),
        ("av1.mp4", {"codec": "libsvtav1"}, "av1"),
        ("av1.mkv", {"codec": "libsvtav1"}, "av1"),
        ("mpeg4.avi", {"codec": "mpeg4"}, "mpeg4"),
        ("mpeg4_b.avi", {"codec": "mpeg4", "b_frames": 2}, "mpeg4"),
        ("mjpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "mjpeg"),
        ("mjpeg.mov", {"codec": "mjpeg", "pix_fmt": "yuvj422p"}, "mjpeg"),
        ("mpeg2.mpg", {"codec": "mpeg2video", "b_frames": 2}, "mpeg2video"),
        ("wmv2.wmv", {"codec": "wmv2"}, "wmv2"),
        ("qtrle.mov", {"codec": "qtrle", "pix_fmt": "rgb24"}, "qtrle"),
        ("vfr.mp4", {"vfr": True}, "h264"),
        ("vfr.mkv", {"vfr": True}, "h264"),
        ("vfr.ts", {"vfr": True}, "h264"),
        ("vfr.webm", {"vfr": True, "codec": "libvpx-vp9"}, "vp9"),
        ("audio.mp4", {"audio": 3.0}, "h264"),
        ("audio.mkv", {"audio": 3.0}, "h264"),
        ("audio.ts", {"audio": 3.0}, "h264"),
        ("audio.flv", {"audio": 3.0}, "h264"),
        ("audio.webm", {"audio": 3.0, "codec": "libvpx-vp9"}, "vp9"),
        ("audio.avi", {"audio": 3.0, "codec": "mpeg4"}, "mpeg4"),  # its muxer leaves out a frame and counts it
        ("fragments.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}, "h264"),
        ("one.mp4", {"frames": 1}, "h264"),
        ("one.ts", {"frames": 1}, "h264"),
        ("odd.mkv", {"codec": "libx264", "size": (161, 121), "pix_fmt": "yuv444p"}, "h264"),
    ],
)
def test_every_frame_in_order(tmp_path: Path, name: str, settings: dict[str, Any], codec: str) -> None:
    frames = settings.get("frames", 30)
    path = write_clip(tmp_path / name, **settings)
    assert indices(path) == list(range(frames))

    info = open_video(path).info
    assert (info.width, info.height) == settings.get("size", (128, 96))
    assert (info.codec, info.decoder) == (codec, "pyav")
    if name in ("h264.mp4", "h264_b.avi", "h264.mkv", "h264.ts", "hevc.mp4", "vp9.webm", "av1.mkv", "mpeg4.avi"):
        assert info.expected_frames == frames
        assert info.fps == 25


@pytest.mark.parametrize(
    ("name", "written", "settings"),
    [
        ("a.dv", "a.dv", {"codec": "dvvideo", "size": (720, 576)}),
        ("a.divx", "a.avi", {"codec": "mpeg4"}),
        ("a.mod", "a.mpg", {"codec": "mpeg2video"}),
        ("a.m2p", "a.vob", {"codec": "mpeg2video"}),
        ("a.tp", "a.ts", {}),
        ("a.trp", "a.ts", {}),
        ("a.wtv", "a.wtv", {"codec": "mpeg2video"}),
        ("a.rm", "a.rm", {"codec": "rv20"}),
    ],
)
def test_extensions_of_other_recorders(tmp_path: Path, name: str, written: str, settings: dict[str, Any]) -> None:
    """Their files are found, and read by what is in them."""
    write_clip(tmp_path / written, **settings).rename(tmp_path / name)
    assert find_videos(tmp_path).videos == [tmp_path / name]
    assert indices(tmp_path / name) == list(range(30))


def test_metadata_that_is_no_utf8_is_no_reason_to_refuse_a_file(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", frames=5)
    content = path.read_bytes()
    assert b"Lavf" in content  # FFmpeg's own tag
    path.write_bytes(content.replace(b"Lavf", b"Lav\xe9"))
    assert indices(path) == list(range(5))


@pytest.mark.parametrize("name", ["uneven.mp4", "uneven.mkv", "uneven.ts"])
def test_times_follow_a_variable_rate(tmp_path: Path, name: str) -> None:
    video = PyavVideo(write_clip(tmp_path / name, frames=12, vfr=True))
    times = [time for chunk in video for time in chunk.times]
    expected = np.array([0, 20, 60, 120, 140, 180, 240, 260, 300, 360, 760, 800]) / 1000
    assert np.allclose(times, expected, atol=1e-3)


def test_one_bit_of_one_time_stamp(tmp_path: Path) -> None:
    """Whatever it is, the times of the other frames stay."""
    path = write_clip(tmp_path / "bit.ts", b_frames=0)
    content = bytearray(path.read_bytes())
    place = 0
    for _ in range(20):
        place = content.index(b"\0\0\1\xe0", place + 1)
    content[place + 9] ^= 4  # the second highest of 33 bits: 6 h 37 min
    path.write_bytes(content)
    times = [time for chunk in PyavVideo(path) for time in chunk.times]
    assert np.allclose(times, np.arange(30) / 25, atol=1e-3)


@pytest.mark.parametrize("name", ["no_pts.h264", "made_up.avi"])
def test_times_without_usable_pts_go_by_the_rate(tmp_path: Path, name: str) -> None:
    video = PyavVideo(write_clip(tmp_path / name, frames=12, b_frames=2))
    assert np.allclose([time for chunk in video for time in chunk.times], np.arange(12) / video.info.fps)


@pytest.mark.parametrize("fps", [10, 15, 60])
@pytest.mark.parametrize(("name", "codec"), [("raw.h264", "libx264"), ("raw.hevc", "libx265")])
def test_a_raw_stream_has_the_rate_that_it_states(tmp_path: Path, name: str, codec: str, fps: int) -> None:
    video = PyavVideo(write_clip(tmp_path / name, frames=12, fps=fps, codec=codec))
    assert video.info.fps == fps
    assert np.allclose([time for chunk in video for time in chunk.times], np.arange(12) / fps)


@pytest.mark.parametrize("ticks", [600, 1000])
@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize(("name", "codec"), [("clip.ts", "libx264"), ("clip.mp4", "mpeg4")])
def test_an_avi_copied_from_another_container(tmp_path: Path, name: str, codec: str, b_frames: int, ticks: int) -> None:
    """Its header counts ticks of a clock, most of them without a frame."""
    written = write_clip(tmp_path / name, codec=codec, b_frames=b_frames)
    path = copy_clip(written, tmp_path / "copied.avi", ticks)
    assert indices(path) == list(range(30))
    video = PyavVideo(path)
    assert (video.info.fps, video.info.expected_frames) == (25, 30)
    *times, last = (time for chunk in video for time in chunk.times)
    assert np.allclose(times, np.arange(29) / 25, atol=1 / ticks)
    assert last == pytest.approx(29 / 25, abs=1 / 25)  # FFmpeg may make up one tick for it


@pytest.mark.parametrize("name", ["sizes.h264", "sizes.ts"])
def test_size_change_in_mid_stream(tmp_path: Path, name: str) -> None:
    parts = [
        write_clip(tmp_path / f"{number}{name}", frames=count, size=size, first=first)
        for number, (count, size, first) in enumerate([(10, (128, 96), 0), (7, (176, 144), 10)])
    ]
    path = tmp_path / name
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert indices(path) == list(range(17))
    chunks = list(PyavVideo(path))
    assert [tuple(chunk.planes[0].shape) for chunk in chunks] == [(1, 96, 128)] * 10 + [(1, 144, 176)] * 7
    times = [chunk.times[0] for chunk in chunks]
    assert times == sorted(times)


def test_an_edit_list_hides_frames_and_is_no_damage(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "trimmed.mp4", options=LOSSLESS, b_frames=0, gop=10)
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 12  # after version, flags and count: duration, then the media time it starts at
    content[place : place + 4] = (480).to_bytes(4, "big")  # ms: 12 of 30 frames
    path.write_bytes(content)
    assert indices(path) == list(range(12))


def test_a_cover_picture_is_no_video_stream(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        film = container.add_stream("libx264", rate=25)
        film.width, film.height, film.pix_fmt = 128, 96, "yuv420p"
        for stream, luma in ((cover, picture(0, (64, 48))), (film, picture(9))):
            frame = make_frame(luma, stream.pix_fmt)
            frame.pts = 0
            container.mux(stream.encode(frame) + stream.encode())
    assert indices(path) == [9]


def test_life_cycle(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "life.mp4")
    unread = PyavVideo(path)
    unread.close()
    unread.close()
    with pytest.raises(RuntimeError, match="read once"):
        iter(unread)

    left = PyavVideo(path)
    taken = 0
    for _ in left:
        taken += 1
        if taken == 5:
            left.close()
    assert taken == 5
    with pytest.raises(RuntimeError, match="outcome is known only"):
        _ = left.outcome

    whole = PyavVideo(path)
    assert len(list(whole)) == 30
    with pytest.raises(RuntimeError, match="read once"):
        iter(whole)
    whole.close()
    assert whole.outcome.status is Status.OK


@pytest.mark.parametrize(
    "name",
    [b"a b.mp4", b"http:x.mp4", b"two\nlines.mp4", "Überfall-视频.mp4".encode(), b"latin-\xe4.mp4", b"-", b"%03d.mp4"],
)
def test_names_that_are_no_plain_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    monkeypatch.chdir(tmp_path)  # so that the name is all of the path
    path = write_clip(Path("plain.mp4"), frames=2).rename(os.fsdecode(name))
    assert indices(path) == [0, 1]


@pytest.mark.parametrize(("stated", "aspect"), [("4/1", 4), ("1/4", 0.25), ("8/1", 1), ("1/8", 1)])
def test_a_shape_of_pixels_that_cannot_be_meant_is_none(tmp_path: Path, stated: str, aspect: float) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=2, options={"x264-params": f"sar={stated}"})
    assert open_video(path).info.aspect == aspect
