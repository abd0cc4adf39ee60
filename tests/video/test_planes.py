"""What PyavVideo's planes hold: the samples as stored, in 8 bit, upright, tagged with matrix and range."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from aedmae_fast.video.planes import is_full_range, planes_of, to_8_bit
from aedmae_fast.video.pyav import PyavVideo
from tests.clips import CHROMA, make_frame, picture, read_index, write_clip

LOSSLESS = {"qp": "0"}
writes_rotation = pytest.mark.skipif(int(av.__version__.split(".")[0]) < 18, reason="needs PyAV 18 to write the flag")


def test_planes_are_what_was_encoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "exact.mp4", frames=8, options=LOSSLESS, size=(130, 94))
    with av.open(str(path)) as container:
        arrays = [frame.to_ndarray() for frame in container.decode(video=0)]  # I420: [H * 3 / 2, W]
    chunks = list(PyavVideo(path))
    assert len(chunks) == 8
    for index, (chunk, array) in enumerate(zip(chunks, arrays, strict=True)):
        y, u, v = chunk.planes
        assert y.shape == (1, 94, 130)
        assert u.shape == v.shape == (1, 47, 65)
        assert (y[0].numpy() == picture(index, (130, 94))).all()
        assert (y[0].numpy() == array[:94]).all()
        assert (u == CHROMA[0]).all()
        assert (v == CHROMA[1]).all()


@pytest.mark.parametrize(
    ("pix_fmt", "chroma"),
    [
        ("yuv420p", (48, 65)),
        ("yuv422p", (95, 65)),
        ("yuv440p", (48, 129)),
        ("yuv444p", (95, 129)),
        ("yuv420p9le", (48, 65)),
        ("yuv422p10le", (95, 65)),
        ("yuv440p12le", (48, 129)),
        ("yuv444p16le", (95, 129)),
    ],
)
def test_every_native_layout(tmp_path: Path, pix_fmt: str, chroma: tuple[int, int]) -> None:
    path = write_clip(tmp_path / "layout.mkv", codec="ffv1", pix_fmt=pix_fmt, frames=2, size=(129, 95))
    for index, chunk in enumerate(PyavVideo(path)):
        y, u, v = chunk.planes
        assert y.dtype == torch.uint8
        assert (y[0].numpy() == picture(index, (129, 95))).all()
        assert u.shape == v.shape == (1, *chroma)
        assert (u == CHROMA[0]).all()
        assert (v == CHROMA[1]).all()


def test_nv12_is_handed_over_without_a_copy(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "interleaved.avi", codec="rawvideo", pix_fmt="nv12", frames=2)
    for index, chunk in enumerate(PyavVideo(path)):
        y, u, v = chunk.planes
        assert (y[0].numpy() == picture(index)).all()
        assert u.shape == v.shape == (1, 48, 64)
        assert u.stride(-1) == v.stride(-1) == v.data_ptr() - u.data_ptr() + 1 == 2
        assert (u == CHROMA[0]).all()
        assert (v == CHROMA[1]).all()


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_deep_samples_are_rounded_and_clipped(bits: int) -> None:
    samples = np.arange(1 << bits, dtype=np.uint16)
    exact = np.minimum(255, np.floor(samples / 2 ** (bits - 8) + 0.5))
    assert (to_8_bit(samples, bits - 8) == exact).all()


def test_ten_bits_of_a_real_codec(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "ten.mp4", pix_fmt="yuv420p10le", options=LOSSLESS, frames=4)
    for index, chunk in enumerate(PyavVideo(path)):
        assert (chunk.planes[0][0].numpy() == picture(index)).all()  # written as v << 2


def test_p010_keeps_its_samples_in_the_high_bits() -> None:
    """No container of FFmpeg's stores P010, it comes from hardware decoders: so a frame is made by hand."""
    frame = av.VideoFrame(64, 48, "p010le")
    for plane, values in zip(frame.planes, ((941, 941), (400, 700)), strict=True):
        row = np.tile(np.array(values, np.uint16) << 6, plane.line_size // 4)
        plane.update(np.tile(row, (plane.height, 1)).tobytes())
    y, u, v = planes_of(frame)
    assert (y.shape, u.shape, v.shape) == ((1, 48, 64), (1, 24, 32), (1, 24, 32))
    assert (y == 235).all()  # 941 / 4 = 235.25
    assert (u == 100).all()
    assert (v == 175).all()


@pytest.mark.parametrize(
    ("settings", "planes", "matrix", "full"),
    [
        ({}, 3, "bt601", False),  # untagged
        ({"colorspace": 1}, 3, "bt709", False),
        ({"colorspace": 7}, 3, "bt709", False),
        ({"colorspace": 9, "pix_fmt": "yuv420p10le"}, 3, "bt2020", False),
        ({"colorspace": 10, "pix_fmt": "yuv420p10le"}, 3, "bt2020", False),
        ({"colorspace": 5}, 3, "bt601", False),
        ({"color_range": 2}, 3, "bt601", True),
        ({"color_range": 1}, 3, "bt601", False),
        ({"codec": "mjpeg", "pix_fmt": "yuvj420p"}, 3, "bt601", True),
        ({"codec": "libx265", "pix_fmt": "gray"}, 1, "bt601", False),  # HEVC grey always carries a range
        ({"codec": "libx265", "pix_fmt": "gray", "color_range": 2}, 1, "bt601", True),
        ({"codec": "libx265", "pix_fmt": "gray10le"}, 1, "bt601", False),
        ({"codec": "libx264", "pix_fmt": "gray"}, 3, "bt601", False),  # H.264 monochrome comes as yuv420p
        ({"codec": "ffv1", "pix_fmt": "gray"}, 1, "bt601", True),  # untagged grey is full range
        ({"codec": "ffv1", "pix_fmt": "gray16le"}, 1, "bt601", True),
        ({"codec": "ffv1", "pix_fmt": "gray", "color_range": 1}, 1, "bt601", False),
    ],
)
def test_matrix_and_range(tmp_path: Path, settings: dict[str, Any], planes: int, matrix: str, full: bool) -> None:
    lossless = LOSSLESS if settings.get("codec", "libx264") == "libx264" else {}
    path = write_clip(tmp_path / "tags.mkv", frames=2, options=lossless, **settings)
    chunks = list(PyavVideo(path))
    assert [(len(chunk.planes), chunk.matrix, chunk.full_range) for chunk in chunks] == [(planes, matrix, full)] * 2
    difference = chunks[1].planes[0][0].numpy().astype(int) - picture(1)  # the tag says how to read it, not what it is
    assert np.abs(difference).mean() < 4


def test_yuvj_is_full_range_without_a_tag() -> None:
    """FFmpeg 8 tags its yuvj frames; older ones, and other makers of frames, need not."""
    assert is_full_range(av.VideoFrame(16, 16, "yuvj420p"))
    assert not is_full_range(av.VideoFrame(16, 16, "yuv420p"))


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("rle.mov", "qtrle", "rgb24"),
        ("png.mov", "png", "rgb24"),
        ("bgr0.mkv", "ffv1", "bgr0"),
        ("gbrp.mkv", "libx264rgb", "rgb24"),
        ("argb.mov", "qtrle", "argb"),
    ],
)
def test_rgb_sources_come_as_bgr(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    colour = np.zeros((48, 64, 3), np.uint8)
    colour[...] = (10, 100, 200)  # R, G, B
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=LOSSLESS if codec == "libx264rgb" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        frame = av.VideoFrame.from_ndarray(colour, "rgb24").reformat(format=pix_fmt)
        frame.pts = 0
        container.mux(stream.encode(frame) + stream.encode())
    (chunk,) = PyavVideo(path)
    (bgr,) = chunk.planes
    assert bgr.shape == (1, 48, 64, 3)
    assert bgr.stride(-1) == 1
    assert (bgr == torch.tensor([200, 100, 10], dtype=torch.uint8)).all()


def test_rare_chroma_goes_through_swscale(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "four_one_one.mkv", codec="ffv1", pix_fmt="yuv411p", frames=2, colorspace=5)
    for index, chunk in enumerate(PyavVideo(path)):
        (bgr,) = chunk.planes
        y, u, v = (picture(index).astype(float) - 16) / 219, (CHROMA[0] - 128) / 224, (CHROMA[1] - 128) / 224
        expected = np.stack([y + 1.772 * u, y - 0.344136 * u - 0.714136 * v, y + 1.402 * v], -1) * 255
        assert np.abs(bgr[0].numpy() - expected.clip(0, 255)).max() <= 1.5


def test_bottom_up_rows_are_turned_over(tmp_path: Path) -> None:
    """A Windows bitmap in an AVI with its last row first: FFmpeg hands it out with a negative line size."""
    path = write_clip(tmp_path / "dib.avi", codec="rawvideo", pix_fmt="bgr24", frames=2)
    content = path.read_bytes()
    size, flipped = (np.array([128, height], "<i4").tobytes() for height in (-96, 96))
    assert content.count(size) == 1
    path.write_bytes(content.replace(size, flipped))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).planes[0].line_size < 0
    for index, chunk in enumerate(PyavVideo(path)):
        assert (chunk.planes[0][0, ..., 1].numpy() == picture(index)[::-1]).all()


@writes_rotation
@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("name", ["turned.mp4", "turned.mkv"])
def test_rotation_flag(tmp_path: Path, name: str, rotation: int) -> None:
    path = write_clip(tmp_path / name, frames=3, size=(96, 128), rotation=rotation, options=LOSSLESS)
    video = PyavVideo(path)
    assert (video.info.width, video.info.height) == (96, 128)
    for index, chunk in enumerate(video):
        y, u, v = chunk.planes
        assert (y[0].numpy() == picture(index, (96, 128))).all()
        assert y.stride(-1) == u.stride(-1) == v.stride(-1) == 1
        assert u.shape == v.shape == (1, 64, 48)


@writes_rotation
def test_mirror_in_the_display_matrix(tmp_path: Path) -> None:
    path = tmp_path / "mirrored.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=LOSSLESS)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.set_display_rotation(0, hflip=True)
        frame = make_frame(picture(5), "yuv420p")
        frame.pts = 0
        container.mux(stream.encode(frame) + stream.encode())
    (chunk,) = PyavVideo(path)
    assert (chunk.planes[0][0].numpy() == picture(5)[:, ::-1]).all()


def test_exif_orientation_in_motion_jpeg(tmp_path: Path) -> None:
    """FFmpeg makes a display matrix of it, beside side data that PyAV has no name for."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees
    for number in range(2):
        stored = Image.fromarray(np.rot90(picture(number, (96, 128))).copy())
        stored.save(tmp_path / f"{number}.jpg", exif=exif, quality=95)
    path = tmp_path / "turned.mjpeg"
    path.write_bytes(b"".join((tmp_path / f"{number}.jpg").read_bytes() for number in range(2)))
    video = PyavVideo(path)
    assert (video.info.width, video.info.height) == (96, 128)
    shown = [(read_index(chunk.planes[0][0].numpy()), chunk.full_range) for chunk in video]
    assert shown == [(0, True), (1, True)]


def test_planes_outlive_the_video(tmp_path: Path) -> None:
    video = PyavVideo(write_clip(tmp_path / "kept.mp4", frames=40, options=LOSSLESS))
    chunks = list(video)  # all at once: no buffer may be used again while a tensor shows it
    video.close()
    del video
    gc.collect()
    assert [(chunk.planes[0][0].numpy() == picture(index)).all() for index, chunk in enumerate(chunks)] == [True] * 40
    del chunks[1:]
    gc.collect()
    assert (chunks[0].planes[0][0].numpy() == picture(0)).all()


def test_planes_are_views_of_the_decoders_memory(tmp_path: Path) -> None:
    video = PyavVideo(write_clip(tmp_path / "view.mp4", frames=1))
    first = video._first
    assert first is not None
    addresses = [plane.buffer_ptr for plane in first.planes]
    (chunk,) = video
    assert [plane.data_ptr() for plane in chunk.planes] == addresses
