"""Clips for the tests: encoded on the spot, with content that says which frame it is and where every pixel belongs.

Each picture is a gradient that moves with the frame index, with a bright block that moves too, and along the top a row
of black and white squares that spell the index in binary: large enough to survive lossy coding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 prints its settings otherwise; read once, when it is loaded

import av
import numpy as np
import numpy.typing as npt

INDEX_BITS = 10  # squares along the top: indices 0..1023
CHROMA = (90, 170)  # U, V: flat and different, so that swapped planes show

# The least an encoder needs to be quick, quiet and repeatable.
_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}


def picture(index: int, size: tuple[int, int] = (128, 96)) -> npt.NDArray[np.uint8]:
    """The luma of frame ``index``, [H, W] in 20..235. ``size`` is width, height."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    luma = 60 + (x + 2 * y + 3 * index) % 128
    top, side = height // 4, height // 4
    left = 5 * index % max(1, width - side)
    luma[top + side : top + 2 * side, left : left + side] = 220
    for bit in range(INDEX_BITS):
        columns = slice(bit * width // INDEX_BITS, (bit + 1) * width // INDEX_BITS)
        luma[:top, columns] = 235 if index >> bit & 1 else 20
    return luma.astype(np.uint8)


def read_index(luma: npt.NDArray[np.uint8]) -> int:
    """Which frame ``luma`` [H, W] shows, read from the squares along the top."""
    height, width = luma.shape
    middles = [(2 * bit + 1) * width // (2 * INDEX_BITS) for bit in range(INDEX_BITS)]
    return sum(1 << bit for bit, column in enumerate(middles) if luma[height // 8, column] > 128)


def make_frame(luma: npt.NDArray[np.uint8], pix_fmt: str) -> av.VideoFrame:
    """A frame of ``luma`` [H, W] with :data:`CHROMA`: exact for planar YUV, NV12 and grey; RGB formats show grey."""
    height, width = luma.shape
    if not pix_fmt.startswith(("yuv", "gray", "nv12")):
        return av.VideoFrame.from_ndarray(np.stack([luma] * 3, -1), "rgb24").reformat(format=pix_fmt)
    frame = av.VideoFrame(width, height, pix_fmt)
    depth = frame.format.components[0].bits
    for number, plane in enumerate(frame.planes):
        if number == 0:
            content = luma
        else:
            values = CHROMA if pix_fmt == "nv12" else CHROMA[number - 1 : number]
            content = np.tile(np.array(values, np.uint8), (plane.height, plane.width))
        samples = content.astype(np.uint8 if depth == 8 else np.uint16) << (depth - 8)
        padded = np.zeros((plane.height, plane.line_size // samples.itemsize), samples.dtype)
        padded[:, : samples.shape[1]] = samples
        plane.update(padded.tobytes())
    return frame


def write_clip(
    path: Path,
    *,
    frames: int = 30,
    size: tuple[int, int] = (128, 96),
    fps: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    audio: float = 0.0,
    b_frames: int | None = None,
    rotation: int = 0,
    vfr: bool = False,
    gop: int = 12,
    colorspace: int | None = None,
    color_range: int | None = None,
    first: int = 0,
) -> Path:
    """Encode a clip of the pictures ``first``, ``first + 1``, ...

    Args:
        path: Its extension picks the container.
        size: Width and height as displayed: with ``rotation`` what is stored lies on its side.
        options: For the encoder, on top of quick and quiet defaults; ``{"qp": "0"}`` makes x264 lossless.
        audio: Seconds of a tone beside it; 0 for no audio stream.
        b_frames: At most so many B-frames in a row; None leaves it to the encoder.
        rotation: Counter-clockwise degrees that the player has to turn the picture by: 0, 90, 180 or 270.
        vfr: Time steps of 20, 40, 60, 20, ... ms, after which every 10th frame waits for 400 ms.
        colorspace: AVCOL_SPC_* tag, e.g. 1 for BT.709, 9 for BT.2020.
        color_range: AVCOL_RANGE_* tag: 1 limited, 2 full.
        first: Index of the first picture; times start at 0 in any case.
    """
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=_OPTIONS.get(codec, {}) | (options or {}))
        stored = size[::-1] if rotation % 180 else size
        stream.width, stream.height = stored
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.thread_count, context.gop_size = 1, gop
        context.time_base = Fraction(1, 1000) if vfr else Fraction(1, fps)
        if b_frames is not None:
            context.max_b_frames = b_frames
        if colorspace is not None:
            context.colorspace = colorspace
        if color_range is not None:
            context.color_range = color_range
        if rotation:
            stream.set_display_rotation(rotation)
        packets: list[Any] = []
        tone = container.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48000) if audio else None
        for number, time in enumerate(_times(frames, vfr)):
            luma = np.rot90(picture(first + number, size), -rotation // 90)
            frame = make_frame(np.ascontiguousarray(luma), pix_fmt)
            frame.pts, frame.time_base = time, context.time_base
            if color_range is not None:
                frame.color_range = color_range
            packets += stream.encode(frame)
        packets += stream.encode()
        if tone is not None:
            packets += _tone(tone, audio)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _times(frames: int, vfr: bool) -> list[int]:
    """Presentation times in ticks: frame numbers, or uneven milliseconds."""
    if not vfr:
        return list(range(frames))
    steps = [400 if number % 10 == 9 else 20 * (1 + number % 3) for number in range(frames)]
    return [0, *np.cumsum(steps[:-1]).tolist()]


def _tone(stream: Any, seconds: float) -> list[Any]:
    packets = []
    for start in range(0, int(seconds * 48000), 960):
        samples = np.sin((start + np.arange(960)) * 0.05).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([samples] * 2), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        packets += stream.encode(frame)
    return packets + stream.encode()


def copy_clip(path: Path, to: Path, ticks: int) -> Path:
    """Copy the video's packets into another container whose clock has ``ticks`` a second, without coding them anew."""
    with av.open(str(path)) as source, av.open(str(to), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        stream.time_base = Fraction(1, ticks)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    return to


def damage_packets(path: Path, numbers: Sequence[int]) -> Path:
    """Overwrite video packets (counted from 0) of an MP4, MOV or AVI in place with noise of the same size."""
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    noise = np.random.default_rng(0)
    for position, size in (spans[number] for number in numbers):
        content[position : position + size] = noise.bytes(size)
    path.write_bytes(content)
    return path


def cut(path: Path, keep: float) -> Path:
    """Cut the file short in place: ``keep`` of its bytes stay."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path
