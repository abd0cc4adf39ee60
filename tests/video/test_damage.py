"""Files that are cut, damaged, foreign or absent: what still comes, and what the status and the reason say."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from aedmae_fast.ops.frame_prep import MAX_SIZE
from aedmae_fast.video import Outcome, Status, VideoError, open_video
from aedmae_fast.video.pyav import PyavVideo
from aedmae_fast.video.verdict import Met, Promise, judge
from tests.clips import copy_clip, cut, damage_packets, make_frame, picture, read_index, write_clip
from tests.video.nobody import needs_root, run_as_nobody

NOISY = {"size": (320, 240), "frames": 60, "options": {"crf": "18"}}  # frames, not headers, fill the file


def read(path: Path) -> tuple[list[int], Outcome]:
    """Which pictures come out, and the outcome."""
    video = PyavVideo(path)
    shown = [read_index(chunk.planes[0][0].numpy()) for chunk in video]
    return shown, video.outcome


def reason_of(path: Path) -> tuple[Status, str]:
    with pytest.raises(VideoError) as caught:
        open_video(path)
    assert caught.value.path == path
    assert "\n" not in caught.value.reason
    return caught.value.status, caught.value.reason


@pytest.mark.parametrize("keep", [0.5, 0.85])
@pytest.mark.parametrize(
    ("name", "settings", "counted"),
    [
        ("fast.mp4", {"container_options": {"movflags": "faststart"}}, True),
        ("h264.avi", {"b_frames": 2}, True),
        ("mpeg4.avi", {"codec": "mpeg4", "b_frames": 2, "options": {}}, True),
        ("h264.mkv", {}, False),
        ("vfr.mkv", {"vfr": True}, False),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"b": "2M"}}, False),
        ("h264.flv", {}, False),
        ("audio.mkv", {"audio": 2.4}, False),
    ],
)
def test_cut_where_the_length_is_stated(
    tmp_path: Path, name: str, settings: dict[str, Any], counted: bool, keep: float
) -> None:
    shown, outcome = read(cut(write_clip(tmp_path / name, **NOISY | settings), keep))
    assert 10 < len(shown) < 60
    assert shown[:-3] == list(range(len(shown) - 3))  # around the cut frames may be half or lack a reference
    assert outcome.status is Status.TRUNCATED, outcome.reason
    if counted:
        assert outcome.reason == f"decoded {len(shown)} of 60 frames"
    else:
        assert outcome.reason.startswith(f"decoded {len(shown)} frames, ")


@pytest.mark.parametrize("start", [1, 4, 600])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("faststart.mp4", {}),
        ("audio.mp4", {"audio": 2.4}),
        ("h264.mkv", {}),
        ("audio.mkv", {"audio": 2.4}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"b": "2M"}}),
        ("h264.flv", {}),
        ("unknown.flv", {}),
        ("wmv2.wmv", {"codec": "wmv2", "options": {}}),
    ],
)
def test_a_clock_that_does_not_start_at_zero(tmp_path: Path, name: str, settings: dict[str, Any], start: int) -> None:
    """Segments of a recording may keep the recording's times; some containers state the end, others the length."""
    how = {"output_ts_offset": str(start), "movflags": "faststart", "flvflags": "no_sequence_end"}
    if name == "unknown.flv":
        how["flvflags"] += "+no_duration_filesize"
    path = write_clip(tmp_path / name, **NOISY | settings, container_options=how)
    assert read(path) == (list(range(60)), Outcome(Status.OK, ""))
    if start > 2.4:  # before, an FLV's length passes for its end
        assert PyavVideo(path).info.expected_frames == pytest.approx(60, abs=3)
    shown, outcome = read(cut(path, 0.5))
    assert 10 < len(shown) < 60
    if name not in ("unknown.flv", "wmv2.wmv"):  # FFmpeg does not believe the header of a cut WMV
        assert outcome.status is Status.TRUNCATED
        assert "in the middle" not in outcome.reason  # not only by a frame that is cut through


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("h264.ts", {}),
        ("mpeg2.mpg", {"codec": "mpeg2video", "options": {}}),
        ("wmv2.wmv", {"codec": "wmv2", "options": {}}),
        ("raw.h264", {}),
        ("fragments.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    ],
)
def test_cut_where_nothing_states_the_length(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    """Only a frame that is cut through can tell."""
    shown, outcome = read(cut(write_clip(tmp_path / name, **NOISY | settings), 0.6))
    assert 10 < len(shown) < 60
    assert outcome.status in (Status.OK, Status.TRUNCATED)
    if outcome.status is Status.TRUNCATED:
        assert outcome.reason == f"decoded {len(shown)} frames; the file ends in the middle of the last one"


def test_cut_avi_that_is_mostly_header_and_index(tmp_path: Path) -> None:
    """FFmpeg shortens the duration it states by the bytes that are missing, here below what is still there."""
    shown, outcome = read(cut(write_clip(tmp_path / "small.avi", codec="mpeg4", size=(64, 48), frames=60), 0.9))
    assert outcome == Outcome(Status.TRUNCATED, f"decoded {len(shown)} of 60 frames")
    assert 60 > len(shown) > 0.9 * 60


def test_cut_inside_a_frame_of_a_transport_stream(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "inside.ts", **NOISY | {"b_frames": 0})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    start, size = packets[36]  # an intra picture, so a large one
    path.write_bytes(path.read_bytes()[: start + size // 2])
    shown, outcome = read(path)
    assert shown == list(range(37))  # the upper part of the last frame is there
    assert outcome == Outcome(Status.TRUNCATED, "decoded 37 frames; the file ends in the middle of the last one")


def test_audio_that_ends_early_is_not_a_cut_video(tmp_path: Path) -> None:
    """Cut in the audio that outlasts the video: Matroska states the video's own length, so it is known to be whole."""
    shown, outcome = read(cut(write_clip(tmp_path / "tail.mkv", audio=20.0), 0.6))
    assert shown == list(range(30))
    assert outcome.status is Status.OK


@pytest.mark.parametrize("name", ["late.mp4", "late.mov"])
def test_index_cut_off(tmp_path: Path, name: str) -> None:
    status, reason = reason_of(cut(write_clip(tmp_path / name, **NOISY), 0.5))
    assert status is Status.UNREADABLE
    assert reason.startswith("not a video: ")
    assert reason.endswith("(an MP4 or MOV without its index: cut off, or never finished)")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("h264.mp4", {"b_frames": 0}),
        ("h264_b.mp4", {}),
        ("hevc.mp4", {"codec": "libx265"}),
        ("mpeg4.avi", {"codec": "mpeg4"}),
    ],
)
def test_bad_packets_in_the_middle_cost_their_own_frames(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    path = damage_packets(write_clip(tmp_path / name, frames=100, gop=10, **settings), range(40, 46))
    shown, outcome = read(path)
    assert 90 <= len(shown) <= 94  # a decoder may also hold back what refers to the frames that are lost
    assert shown[:38] == list(range(38))
    assert shown[-49:] == list(range(51, 100))  # from the next intra picture on
    assert outcome.status is Status.CORRUPT
    assert outcome.reason == f"6 of 100 packets could not be decoded; decoded {len(shown)} of 100 frames"


def test_bad_av1_packets(tmp_path: Path) -> None:
    path = damage_packets(write_clip(tmp_path / "av1.mp4", frames=40, codec="libsvtav1", gop=10), [14, 15])
    shown, outcome = read(path)
    assert outcome.status is Status.CORRUPT, outcome
    assert shown[:10] == list(range(10))
    assert shown[-10:] == list(range(30, 40))


def test_concealed_errors_are_damage_too(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "concealed.mp4", **NOISY | {"b_frames": 0})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    start, size = packets[24]
    content[start + size // 2 : start + size] = bytes(size - size // 2)
    path.write_bytes(content)
    shown, outcome = read(path)
    assert shown == list(range(60))
    assert outcome.status is Status.CORRUPT
    assert outcome.reason.endswith("of 60 frames came out damaged")


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_a_lost_packet_of_a_transport_stream(tmp_path: Path, codec: str) -> None:
    """One of 188 bytes, inside a frame that others refer to: the decoder itself may conceal it without a word."""
    path = write_clip(tmp_path / "lost.ts", **NOISY | {"codec": codec, "b_frames": 0, "options": {}})
    with av.open(str(path)) as container:
        start = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe][2]
    content = path.read_bytes()
    path.write_bytes(content[: start + 2 * 188] + content[start + 3 * 188 :])
    _, outcome = read(path)
    assert outcome.status is Status.CORRUPT
    assert "1 of 60 packets lack bytes" in outcome.reason


def test_transport_streams_that_were_joined_lack_nothing(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "joined.ts", frames=31)
    path.write_bytes(path.read_bytes() * 3)
    shown, outcome = read(path)
    assert shown == [*range(31)] * 3
    assert outcome.status is Status.OK


def test_a_cut_avi_copied_from_another_container(tmp_path: Path) -> None:
    path = copy_clip(write_clip(tmp_path / "whole.ts", **NOISY | {"b_frames": 0}), tmp_path / "cut.avi", 600)
    shown, outcome = read(cut(path, 0.6))
    assert outcome == Outcome(Status.TRUNCATED, f"decoded {len(shown)} of 60 frames", seekable=True)


def test_damage_and_a_cut_are_both_named(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "both.mp4", container_options={"movflags": "faststart"}, **NOISY)
    shown, outcome = read(cut(damage_packets(path, [20, 21]), 0.7))
    assert outcome.status is Status.CORRUPT
    damage, missing = outcome.reason.split("; ", 1)
    assert "packets could not be decoded" in damage
    assert missing.endswith(f"decoded {len(shown)} of 60 frames")


def test_nothing_can_be_decoded(tmp_path: Path) -> None:
    shown, outcome = read(damage_packets(write_clip(tmp_path / "all.mp4"), range(30)))
    assert shown == []
    assert outcome.status is Status.UNREADABLE
    assert outcome.reason == (
        "no frame could be decoded; 30 of 30 packets could not be decoded: Invalid data found when processing input"
    )


def test_no_packet_at_all(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "header.mp4", container_options={"movflags": "faststart"}, **NOISY)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 4])
    video = PyavVideo(path)
    assert (video.info.width, video.info.height) == (320, 240)
    assert list(video) == []
    assert video.outcome == Outcome(Status.TOO_SHORT, "no frame could be decoded from 0 packets")


def test_not_a_video(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no film\n" * 200)
    assert reason_of(text) == (Status.UNREADABLE, "not a video: Invalid data found when processing input")
    noise = tmp_path / "noise.avi"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    assert reason_of(noise)[1].startswith("not a video: ")
    empty = tmp_path / "empty.mkv"
    empty.touch()
    assert reason_of(empty) == (Status.UNREADABLE, "is empty (0 bytes)")
    assert reason_of(tmp_path / "absent.mp4") == (Status.UNREADABLE, "no such file or directory")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert reason_of(tmp_path / "pipe.mp4") == (Status.UNREADABLE, "is a pipe, socket or device, not a file")
    with pytest.raises(VideoError, match="is a folder, not a file"):
        PyavVideo(tmp_path)


def test_audio_only(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 4800), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame) + stream.encode())
    assert reason_of(path) == (Status.UNREADABLE, "no video stream (1 audio stream)")


def test_unknown_codec(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "odd.mp4")
    content = path.read_bytes()
    place = content.rindex(b"avc1")  # the sample description; the first is in the file type
    path.write_bytes(content[:place] + b"zzzz" + content[place + 4 :])
    status, reason = reason_of(path)
    assert status is Status.UNREADABLE
    assert reason == "unknown codec: no decoder for the video stream of this mov,mp4,m4a,3gp,3g2,mj2 file"


def test_a_pixel_format_that_cannot_be_converted(tmp_path: Path) -> None:
    path = tmp_path / "four_bits.nut"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb4"
        frame = av.VideoFrame(64, 48, "rgb4")
        frame.pts = 0
        container.mux(stream.encode(frame) + stream.encode())
    with pytest.raises(VideoError, match="pixel format rgb4 cannot be converted: "):
        list(PyavVideo(path))


@pytest.mark.parametrize("size", [(16, MAX_SIZE + 16), (MAX_SIZE + 16, 16)])
def test_pictures_that_are_too_large_to_be_handed_on(tmp_path: Path, size: tuple[int, int]) -> None:
    """As a damaged header makes them up."""
    path = write_clip(tmp_path / "large.mkv", frames=2, size=size, codec="ffv1")
    video = PyavVideo(path)
    assert list(video) == []
    assert video.outcome.status is Status.UNREADABLE
    reason = (
        f"no frame could be decoded; 2 of 2 packets could not be decoded: a picture of {size[0]}x{size[1]}, expected"
    )
    assert video.outcome.reason.startswith(reason)


def test_streams_that_begin_on_the_way(tmp_path: Path) -> None:
    """A transport stream's tables may tell of new streams where nobody who opens the file looks.

    That is from 90 seconds on, but for its last quarter of a megabyte.
    """
    first, later = write_clip(tmp_path / "first.ts", frames=100, fps=1).read_bytes(), tmp_path / "later.ts"
    with av.open(str(later), "w") as container:
        video, *sounds = (container.add_stream(*what) for what in [("libx264", 25), *4 * [("mp2", 48000)]])
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        for index in range(20):
            container.mux(video.encode(make_frame(picture(100 + index), "yuv420p")))
            for sound in sounds:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 1920), np.int16), "s16", "stereo")
                silence.sample_rate = 48000
                container.mux(sound.encode(silence))
        for stream in (video, *sounds):
            container.mux(stream.encode())
    whole = tmp_path / "whole.ts"
    again = 1 + 300_000 // len(first)
    whole.write_bytes(first + later.read_bytes() + again * first)
    shown, outcome = read(whole)
    assert shown == [*range(120), *again * [*range(100)]]
    assert outcome.status is Status.OK


@needs_root
def test_no_permission(tmp_path: Path) -> None:
    write_clip(tmp_path / "secret.mp4", frames=1).chmod(0o600)
    imports = "from aedmae_fast.video import VideoError, images, open_video, pyav"
    program = """
try:
    open_video("secret.mp4")
except VideoError as error:
    print(error.status.value, error.reason)
"""
    assert run_as_nobody(tmp_path, imports, program) == "unreadable permission denied\n"


@pytest.mark.parametrize("seed", range(8))
def test_hostile_bytes_never_raise_while_decoding(tmp_path: Path, seed: int) -> None:
    """Bytes changed anywhere: an error on opening or a verdict at the end, and nothing else."""
    random = np.random.default_rng(seed)
    name, settings = [("a.mp4", {}), ("b.mkv", {}), ("c.avi", {"codec": "mpeg4"}), ("d.ts", {})][seed % 4]
    path = write_clip(tmp_path / name, **settings)
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    places = random.integers(0, len(content), len(content) // 200)
    content[places] = random.integers(0, 256, len(places))
    path.write_bytes(content.tobytes())
    with contextlib.suppress(VideoError):
        video = PyavVideo(path)
        shown = sum(len(chunk.times) for chunk in video)
        assert (shown == 0) == (video.outcome.status in (Status.UNREADABLE, Status.TOO_SHORT))


COUNTED = Promise(fps=25, counted=100, video_end=4.0)
STATED = Promise(fps=25, video_end=4.0, file_end=4.0)


@pytest.mark.parametrize(
    ("met", "promise", "status"),
    [
        (Met(packets=100, frames=100, video_end=4.0, file_end=4.0), COUNTED, Status.OK),
        (Met(packets=99, frames=99, video_end=3.96, file_end=3.96), COUNTED, Status.TRUNCATED),
        (Met(packets=90, frames=80, video_end=4.0), COUNTED, Status.OK),  # an edit list
        (Met(packets=97, frames=97, video_end=4.0), COUNTED, Status.OK),  # an AVI that left out 3 frames
        (Met(packets=97, frames=97, video_end=3.88, file_end=3.88), STATED, Status.OK),  # within the tolerance
        (Met(packets=50, frames=50, video_end=2.0, file_end=2.0), STATED, Status.TRUNCATED),
        (Met(packets=50, frames=50, video_end=2.0, file_end=4.0), STATED, Status.OK),  # audio goes on to the end
        (Met(packets=50, frames=50, video_end=2.0, file_end=2.0), Promise(fps=25), Status.OK),  # nothing promised
        (Met(packets=100, frames=99, rejected=1, first_damage=100, video_end=4.0), COUNTED, Status.CORRUPT),
        (Met(packets=50, frames=49, rejected=1, first_damage=50, video_end=2.0), COUNTED, Status.TRUNCATED),
        (Met(packets=50, frames=49, rejected=1, first_damage=49, video_end=2.0), COUNTED, Status.CORRUPT),
        (Met(packets=50, frames=50, read_error="I/O error"), Promise(fps=25), Status.TRUNCATED),
        (Met(packets=5, rejected=5, first_damage=1), COUNTED, Status.UNREADABLE),
        (Met(), COUNTED, Status.TOO_SHORT),
    ],
)
def test_verdict(met: Met, promise: Promise, status: Status) -> None:
    outcome = judge(met, promise)
    assert outcome.status is status
    assert bool(outcome.reason) == (status is not Status.OK)


def test_no_more_packets_are_refused_than_were_read() -> None:
    met = Met(packets=1)
    met.reject("Invalid data")
    met.reject("Invalid data")  # the flush at the end
    assert (met.rejected, met.first_damage, met.last_error) == (1, 1, "Invalid data")
