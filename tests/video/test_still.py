"""read_still, read_frames: the very frames scored from a time on, whatever a container says of times and key frames."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aedmae_fast.video import Status, VideoError, open_part, open_video, read_frames, read_still
from aedmae_fast.video.pulse import on_pulse
from aedmae_fast.video.pyav import PyavVideo
from tests.clips import cut, damage_packets, picture, read_index, write_clip


def index_of(path: Path, time_s: float) -> int:
    return read_index(read_still(path, time_s)[..., 1].numpy())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("h264_b.mp4", {"codec": "libx264", "b_frames": 3}),
        ("h264.mkv", {"codec": "libx264"}),
        ("h264.ts", {"codec": "libx264"}),
        ("vfr.mkv", {"vfr": True}),
        ("vp9.webm", {"codec": "libvpx-vp9"}),
        ("mpeg4_b.avi", {"codec": "mpeg4", "b_frames": 2}),  # without times
        ("mjpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("raw.h264", {"codec": "libx264"}),  # neither times nor an index
    ],
)
def test_the_frame_that_was_scored(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    path = write_clip(tmp_path / name, frames=130, **settings)
    times = [time for chunk in open_video(path) for time in chunk.times]
    for i in (0, 1, 90, 99, 100, 117, 129):
        assert index_of(path, times[i]) == i
    found = [(time, read_index(frame[..., 1].numpy())) for time, frame in read_frames(path, times[100])]
    assert [index for _, index in found] == list(range(100, 130))
    np.testing.assert_allclose([time for time, _ in found], times[100:], atol=1e-9)


def test_ticks_finer_than_a_microsecond(tmp_path: Path) -> None:
    """Times in tables and manifests are rounded to microseconds, up or down."""
    path = write_clip(tmp_path / "a.mp4", fps=30, container_options={"video_track_timescale": "30000000"})
    times = [time for chunk in open_video(path) for time in chunk.times]
    assert [index_of(path, round(time, 6)) for time in times] == list(range(30))


@pytest.mark.parametrize("lengths", [(200, 200), (40, 400), (400, 30)])
def test_recordings_one_after_the_other_in_one_file(tmp_path: Path, lengths: tuple[int, int]) -> None:
    """A time that both have leads to the first of them, since it is known that there are two; their times go on."""
    one, two = lengths
    path = write_clip(tmp_path / "day.ts", frames=one)
    second = write_clip(tmp_path / "b.ts", frames=two, size=(64, 48))
    with open(path, "ab") as file:
        file.write(second.read_bytes())
    video = open_video(path)
    times = [time for chunk in video for time in chunk.times]
    assert np.diff(times) == pytest.approx(0.04, abs=1e-3)
    assert len(times) == one + two
    assert not video.outcome.seekable
    for i in (0, one // 2, one - 1):
        still = read_still(path, times[i], seek=False)
        assert still.shape == (96, 128, 3)
        assert read_index(still[..., 1].numpy()) == i
    assert read_still(path, times[one + 1], seek=False).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("name", "settings", "seekable"),
    [
        ("a.mp4", {}, True),
        ("a.ts", {}, True),
        ("vfr.mkv", {"vfr": True}, True),
        ("b.avi", {"codec": "mpeg4", "b_frames": 2}, False),
        ("raw.h264", {}, False),
    ],
)
def test_whether_a_time_leads_to_one_place(tmp_path: Path, name: str, settings: dict[str, Any], seekable: bool) -> None:
    video = open_video(write_clip(tmp_path / name, **settings))
    list(video)
    assert video.outcome.seekable is seekable


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.webm"])
def test_a_seek_leads_there(tmp_path: Path, name: str) -> None:
    """Without it, a still from the end of an hour would take as long as decoding the hour."""
    path = write_clip(tmp_path / name, frames=130, codec="libvpx-vp9" if name == "a.webm" else "libx264")
    packets: list[None] = []
    on_pulse(lambda: packets.append(None))
    video = PyavVideo(path)
    assert video.take(110 / 25, None, seek=True)
    on_pulse(lambda: None)
    assert len(packets) < 110  # not all from the front
    assert read_index(next(iter(video)).planes[0][0].numpy()) == 110
    video.close()


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.avi", "folder"])
def test_a_part_is_a_video_of_its_own(tmp_path: Path, name: str) -> None:
    """Its times are those in the whole."""
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        for i in range(130):
            Image.fromarray(picture(i)).save(path / f"{i}.png", compress_level=1)
    else:
        write_clip(path, frames=130, codec="mpeg4" if name == "a.avi" else "libx264")
    with closing(open_part(path, 100 / 25, 7)) as video:
        chunks = list(video)
        assert [read_index(chunk.planes[0][0].numpy()) for chunk in chunks] == list(range(100, 107))
        assert [chunk.first for chunk in chunks] == list(range(7))
        assert [chunk.times[0] for chunk in chunks] == pytest.approx([i / 25 for i in range(100, 107)], abs=1e-3)
        assert video.outcome.status is Status.OK
    with closing(open_part(path, 125 / 25, 256)) as video:
        assert len(list(video)) == 5
        assert video.outcome.status is Status.OK


def test_the_outcome_of_a_part_is_its_own(tmp_path: Path) -> None:
    path = damage_packets(write_clip(tmp_path / "a.mp4", frames=130, gop=10, b_frames=0), range(40, 46))
    for first, expected in ((100, Status.OK), (36, Status.CORRUPT), (48, Status.OK), (10, Status.OK)):
        with closing(open_part(path, first / 25, 20)) as video:
            shown = [read_index(chunk.planes[0][0].numpy()) for chunk in video]
            assert len(shown) == 20
            assert video.outcome.status is expected, (first, video.outcome)


def test_upright_and_in_colour(tmp_path: Path) -> None:
    Image.fromarray(np.full((6, 8, 3), (255, 0, 10), np.uint8)).save(tmp_path / "0.png")
    Image.fromarray(np.full((6, 8), 7, np.uint8)).save(tmp_path / "1.png")
    assert (read_still(tmp_path, 0).numpy() == (10, 0, 255)).all()
    assert (read_still(tmp_path, 0.04).numpy() == np.full((6, 8, 3), 7)).all()


def test_folders_of_frames(tmp_path: Path) -> None:
    for i in range(12):
        Image.fromarray(picture(i)).save(tmp_path / f"{i}.png")
    times = [time for chunk in open_video(tmp_path) for time in chunk.times]
    assert [index_of(tmp_path, time) for time in times] == list(range(12))
    assert [time for time, _ in read_frames(tmp_path, times[7])] == times[7:]


def test_what_is_not_there(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=9)
    with pytest.raises(VideoError, match=r"no frame at 9\.00 s"):
        read_still(path, 9)
    with pytest.raises(VideoError, match="not a video") as raised:
        read_still(cut(path, 0.1), 0)
    assert raised.value.status is Status.UNREADABLE
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.fromarray(picture(0)).save(folder / "0.png")
    (folder / "1.png").write_bytes(b"no image")
    with pytest.raises(VideoError, match=r"no frame at 1\.00 s: it has 2"):
        read_still(folder, 1)
    with pytest.raises(VideoError, match=r"1\.png"):
        read_still(folder, 0.04)
