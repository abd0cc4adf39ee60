"""PyAV with NVDEC: the seam, the fall-back and the reasons; on a GPU the same planes as in software.

Without one, a software frame in NV12 or P010 stands in for a surface: PyAV exports its planes in the same way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from aedmae_fast.engine.choose import ChoiceError, check_decoder
from aedmae_fast.video import Chunk, Status, Video, VideoError, nvdec, open_video
from aedmae_fast.video.nvdec import CHUNK, NvdecVideo, open_file, why_no_nvdec
from aedmae_fast.video.planes import planes_of
from aedmae_fast.video.pyav import PyavVideo
from tests.clips import cut, damage_packets, write_clip


class Surface:
    """A software frame that says it is on the device."""

    def __init__(self, frame: av.VideoFrame, layout: str = "nv12") -> None:
        self.format = SimpleNamespace(name="cuda")
        self.planes = frame.reformat(format=layout).planes
        self._frame = frame

    def __getattr__(self, name: str) -> Any:
        return getattr(self._frame, name)


@pytest.fixture
def surfaces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Decoding gives surfaces, in system memory; notes each time that some are read."""
    log: list[str] = []
    decode = PyavVideo._decode

    def decode_to_surfaces(self: PyavVideo) -> Generator[Any, None, None]:
        for frame in decode(self):
            yield Surface(frame) if isinstance(self, NvdecVideo) else frame

    @contextlib.contextmanager
    def reading(device: torch.device) -> Iterator[None]:
        yield
        log.append("read")

    monkeypatch.setattr(PyavVideo, "_decode", decode_to_surfaces)
    monkeypatch.setattr(nvdec, "_acceleration", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(nvdec, "_reading", reading)
    monkeypatch.setattr(nvdec, "why_no_nvdec", lambda: "")
    return log


def frames_of(video: Video) -> list[tuple[float, str, bool, list[Tensor]]]:
    """Every frame by itself: time, matrix, range and planes."""
    found = []
    for chunk in video:
        assert chunk.first == len(found)
        assert len({len(plane) for plane in chunk.planes}) == 1
        for i, time in enumerate(chunk.times):
            found.append((time, chunk.matrix, chunk.full_range, [plane[i].cpu() for plane in chunk.planes]))
    return found


def assert_same(found: Video, expected: Video) -> None:
    """Frames, times, colours and verdict, bit for bit; what is known before, but for the decoder's name."""
    for f, e in zip(frames_of(found), frames_of(expected), strict=True):
        assert f[:3] == e[:3]
        assert all(torch.equal(a, b) for a, b in zip(f[3], e[3], strict=True))
    assert found.outcome == expected.outcome
    assert {**vars(found.info), "decoder": "pyav"} == vars(expected.info)


@pytest.mark.parametrize("frames", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 2])
def test_every_frame_comes_once_in_chunks(tmp_path: Path, surfaces: list[str], frames: int) -> None:
    path = write_clip(tmp_path / "clip.mp4", frames=frames)
    video = open_video(path, "nvdec", "cpu")
    assert video.info.decoder == "nvdec"
    lengths = [len(chunk.times) for chunk in open_file(path, "cpu")]
    assert lengths == [CHUNK] * (frames // CHUNK) + [frames % CHUNK] * (frames % CHUNK > 0)
    assert_same(video, PyavVideo(path))
    assert len(surfaces) == 2 * frames  # of both videos: every surface was read before the next one was decoded


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("b.mkv", {"b_frames": 2}),
        ("vfr.mkv", {"vfr": True}),
        ("709.mp4", {"colorspace": 1, "color_range": 1}),
        ("full.mp4", {"pix_fmt": "yuvj420p", "color_range": 2}),
        ("turned.mp4", {"rotation": 90}),
        ("hevc.mp4", {"codec": "libx265"}),
    ],
)
def test_times_colours_and_rotation_are_those_of_software(
    tmp_path: Path, surfaces: list[str], name: str, settings: dict[str, Any]
) -> None:
    path = write_clip(tmp_path / name, **settings)
    assert_same(NvdecVideo(path, "cpu"), PyavVideo(path))


def test_verdicts_are_those_of_software(tmp_path: Path, surfaces: list[str]) -> None:
    short = cut(write_clip(tmp_path / "cut.mkv", frames=60), 0.5)
    assert_same(found := NvdecVideo(short, "cpu"), PyavVideo(short))
    assert found.outcome.status is Status.TRUNCATED
    bad = damage_packets(write_clip(tmp_path / "bad.mp4", frames=60), [20, 21])
    assert_same(found := NvdecVideo(bad, "cpu"), PyavVideo(bad))
    assert found.outcome.status is Status.CORRUPT


@pytest.mark.parametrize("depth", [8, 10])
def test_planes_of_a_surface(depth: int) -> None:
    """10 bits lie at the high end of 16, and every value rounds as in software."""
    high, wide = 32, 64
    values = np.random.default_rng(0).integers(0, 1 << depth, (high * 3 // 2, wide))
    values[0] = (1 << depth) - 1
    layout = "nv12" if depth == 8 else "p010le"
    frame = av.VideoFrame(wide, high, layout)
    samples = (values << (16 - depth)).astype(np.uint16) if depth > 8 else values.astype(np.uint8)
    for plane, rows in zip(frame.planes, (samples[:high], samples[high:]), strict=True):
        padded = np.zeros((plane.height, plane.line_size // samples.itemsize), samples.dtype)
        padded[:, :wide] = rows
        plane.update(padded.tobytes())
    luma, chroma = (nvdec._to_8_bit(samples) for samples in nvdec._samples(frame))
    found = luma[None], *chroma[None].unbind(-1)
    assert [tuple(plane.shape) for plane in found] == [(1, 32, 64), (1, 16, 32), (1, 16, 32)]
    assert all(torch.equal(f, e) for f, e in zip(found, planes_of(frame), strict=True))


def test_copies_stay_when_the_surface_is_used_again() -> None:
    frame = av.VideoFrame(64, 32, "nv12")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    luma, chroma = (nvdec._to_8_bit(samples) for samples in nvdec._samples(frame))
    for plane in frame.planes:
        plane.update(b"\xff" * plane.buffer_size)
    assert not luma.any()
    assert not chroma.any()


def test_chunks_are_of_one_geometry_and_one_colour() -> None:
    def chunk(size: int, matrix: Any = "bt601") -> Chunk:
        return Chunk(0, (0.0,), (torch.zeros(1, size, size),), matrix)

    assert nvdec._alike(chunk(2), chunk(2))
    assert not nvdec._alike(chunk(2), chunk(3))
    assert not nvdec._alike(chunk(2), chunk(2, "bt709"))


def test_software_frames_midway_are_taken_to_the_device(
    tmp_path: Path, surfaces: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg decodes on where NVDEC cannot."""
    path = write_clip(tmp_path / "clip.mp4", frames=20)
    on_device, seen = nvdec._on_device, iter(range(1000))
    video = NvdecVideo(path, "cpu")
    monkeypatch.setattr(nvdec, "_on_device", lambda frame: on_device(frame) and next(seen) < 5)
    planes = PyavVideo._planes
    monkeypatch.setattr(PyavVideo, "_planes", lambda self, f: planes(self, f._frame if isinstance(f, Surface) else f))
    assert_same(video, PyavVideo(path))


def test_it_is_read_once_and_can_be_closed(tmp_path: Path, surfaces: list[str]) -> None:
    video = NvdecVideo(write_clip(tmp_path / "clip.mp4", frames=30), "cpu")
    chunks = []
    for chunk in video:
        chunks.append(chunk.first)
        video.close()
    assert chunks == [0]
    with pytest.raises(RuntimeError, match="the outcome is known only once"):
        _ = video.outcome
    with pytest.raises(RuntimeError, match="a video is read once"):
        iter(video)


# ---- refused: software, and a line that says why ----


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("odd.mkv", {"size": (127, 95), "pix_fmt": "yuv444p"}, "odd size 127x95"),
        ("mjpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "codec mjpeg"),
    ],
)
def test_refused_files_are_decoded_in_software(
    tmp_path: Path,
    surfaces: list[str],
    capsys: pytest.CaptureFixture[str],
    name: str,
    settings: dict[str, Any],
    reason: str,
) -> None:
    path = write_clip(tmp_path / name, **settings)
    video = open_video(path, "nvdec", "cpu")
    assert capsys.readouterr().err == f"{path}: decoded on the CPU: {reason}\n"
    assert video.info.decoder == "pyav"
    assert_same(video, PyavVideo(path))


def test_software_frames_from_the_start_are_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nvdec, "_acceleration", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(nvdec, "why_no_nvdec", lambda: "")
    assert open_file(write_clip(tmp_path / "clip.mp4"), "cpu").info.decoder == "pyav"
    assert capsys.readouterr().err.endswith("decoded on the CPU: NVDEC does not take h264 in yuv420p, 128x96\n")


def test_what_pyav_decodes_in_software_alone_is_not_said_to_be_nvdecs_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nvdec, "_acceleration", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(nvdec, "why_no_nvdec", lambda: "")
    path = write_clip(tmp_path / "clip.mp4", codec="libsvtav1", frames=3)
    assert open_file(path, "cpu").info.decoder == "pyav"
    reason = "PyAV decodes av1 with libdav1d, in software alone; dali may take it"
    assert capsys.readouterr().err == f"{path}: decoded on the CPU: {reason}\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_ffmpeg_cannot_use_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from av.codec.hwaccel import HWAccel

    options = HWAccel("cuda", "0", options={"primary_ctx": "0", "current_ctx": "1"}, is_hw_owned=True)
    monkeypatch.setattr(nvdec, "_acceleration", lambda device: contextlib.nullcontext(options))
    monkeypatch.setattr(nvdec, "why_no_nvdec", lambda: "")
    assert open_file(write_clip(tmp_path / "clip.mp4"), "cpu").info.decoder == "pyav"
    assert "decoded on the CPU: FFmpeg could not open it for the GPU (" in capsys.readouterr().err


def test_what_is_no_video_is_told_by_software(
    tmp_path: Path, surfaces: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(VideoError, match="not a video"):
        open_video(path, "nvdec", "cpu")
    assert capsys.readouterr().err == ""


def test_the_reasons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nvdec, "hwdevices_available", lambda: ["qsv", "drm"])
    reason = f"the FFmpeg of PyAV {av.__version__} is built without CUDA (with: qsv, drm)"
    assert why_no_nvdec() == reason
    with pytest.raises(ValueError, match=r"decoder='nvdec': the FFmpeg of PyAV .* is built without CUDA"):
        open_file(tmp_path / "none.mp4")
    with pytest.raises(ChoiceError, match="'nvdec' asked for, but the FFmpeg of PyAV"):
        check_decoder("nvdec", "cuda")
    monkeypatch.setattr(nvdec, "hwdevices_available", lambda: ["cuda"])
    monkeypatch.setattr(nvdec.torch.cuda, "is_available", lambda: False)
    assert why_no_nvdec() == "no CUDA device"
    monkeypatch.setattr(nvdec.torch.cuda, "is_available", lambda: True)
    assert why_no_nvdec() == ""


# What only a GPU shows


@pytest.mark.needs_cuda
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("h264.mp4", {"b_frames": 2}),
        ("h264.avi", {"b_frames": 0}),
        ("hevc.mp4", {"codec": "libx265"}),
        ("10bit.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
        ("vp9.webm", {"codec": "libvpx-vp9"}),
        ("wide.mp4", {"size": (640, 360)}),  # the coded size is 640x368
        ("vfr.mkv", {"vfr": True}),
        ("turned.mp4", {"rotation": 90}),
        ("full.mp4", {"pix_fmt": "yuvj420p", "color_range": 2}),
    ],
)
def test_on_gpu_planes_equal_software(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    path = write_clip(tmp_path / name, **{"size": (320, 240), "frames": 150} | settings)
    video = open_video(path, "nvdec")
    assert isinstance(video, NvdecVideo), "NVDEC refused it: see stderr"
    assert_same(video, PyavVideo(path))


@pytest.mark.needs_cuda
def test_on_gpu_files_at_a_time_on_streams_of_their_own(tmp_path: Path) -> None:
    """Through the feed, beside work on the default stream, on which FFmpeg's copies lie too."""
    from aedmae_fast.engine.feed import Block, Feed
    from aedmae_fast.ops import frame_prep

    device = torch.device("cuda", torch.cuda.current_device())
    paths = [write_clip(tmp_path / f"{i}.mp4", size=(320, 240), frames=60, first=100 * i) for i in range(6)]
    feed = Feed([lambda p=p: open_file(p, "cuda") for p in paths], (80, 160), 3, device=device)  # type: ignore[misc]
    found: dict[int, list[Tensor]] = {}
    for event in feed:
        if isinstance(event, Block):
            assert event.frames.device == device
            torch.cuda._sleep(2_000_000)
            found.setdefault(event.clip, []).append(event.frames.clone())
    for clip, path in enumerate(paths):
        chunks = [frame_prep(list(c.planes), 80, 160, matrix=c.matrix) for c in PyavVideo(path)]
        assert torch.equal(torch.cat(found[clip]).cpu(), torch.cat(chunks))
