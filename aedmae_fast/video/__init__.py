"""Decoding: a path goes in, chunks of raw planes come out, in display order.

This is the seam between decoders and the engine. A decoder never converts or resizes what it can hand over as planes:
:func:`aedmae_fast.ops.frame_prep` does both in one pass, with one formula on every backend.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol, get_args

from torch import Tensor

__all__ = [
    "Chunk",
    "Decoder",
    "Matrix",
    "Outcome",
    "Status",
    "Video",
    "VideoError",
    "VideoInfo",
    "open_part",
    "open_video",
    "pictures_of",
    "read_frames",
    "read_still",
]

Matrix = Literal["bt601", "bt709", "bt2020"]
Decoder = Literal["auto", "pyav", "dali", "nvdec"]  # of files; a folder of frames is always read by Pillow


class Status(str, Enum):
    """What became of one input. Only ``ok`` counts as success for the exit code."""

    OK = "ok"
    TRUNCATED = "truncated"  # fewer frames decoded than the container promises; those decoded are scored
    CORRUPT = "corrupt"  # some packets or frames were damaged; those decoded are scored
    UNREADABLE = "unreadable"  # nothing can be decoded: not a video, unknown codec, no video stream, no permission
    TOO_SHORT = "too_short"  # a video stream without a single frame
    FAILED = "failed"  # our side: a disk that is full, a NaN in the scores, a decoder that crashed


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is decoded."""

    path: Path
    width: int  # pixels, the right way up (after the rotation flag)
    height: int
    fps: float  # average frames per second; 0 < fps < inf
    expected_frames: int | None  # from the container; None where it does not say
    codec: str  # e.g. "h264"; "images" for a folder of frames
    decoder: str  # what decoded it: "pyav", "dali", "nvdec"; "images" for a folder of frames
    aspect: float = 1.0  # a pixel's width over its height; other than 1 for anamorphic video


@dataclass(frozen=True)
class Outcome:
    """How decoding ended, known once the iterator is exhausted."""

    status: Status
    reason: str  # empty for ``ok``
    passing: bool = False  # the disk's, the network's or a permission's trouble: another time the file may be read
    # Each time leads to one place: frames have times, of one clock. A matter of all frames, so known at the end too.
    seekable: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Chunk:
    """T >= 1 consecutive frames of one geometry, as decoded.

    ``planes`` are uint8 tensors, possibly strided (padded rows; U and V that take turns in memory):
    ``(Y [T, H, W], U [T, Hc, Wc], V [T, Hc, Wc])`` with ``Hc`` in {H, ceil(H/2)} and ``Wc`` in {W, ceil(W/2)};
    ``(Y [T, H, W],)`` for grey; ``(BGR [T, H, W, 3],)`` for sources that are RGB already.
    """

    first: int  # index of the first frame, counted in output order from 0
    times: tuple[float, ...]  # presentation time in seconds, one per frame
    planes: tuple[Tensor, ...]
    matrix: Matrix = "bt601"
    full_range: bool = False


class Video(Protocol):
    """One open video. Iterate once; then ``outcome`` tells how it ended."""

    info: VideoInfo

    def __iter__(self) -> Iterator[Chunk]: ...

    @property
    def outcome(self) -> Outcome: ...

    def close(self) -> None: ...


class VideoError(Exception):
    """A video that yields nothing. ``status`` is ``unreadable`` or ``too_short``; ``reason`` is one line.

    ``passing``: as in :class:`Outcome`.
    """

    def __init__(self, path: Path, status: Status, reason: str, passing: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.status, self.reason, self.passing = path, status, reason, passing


def open_video(path: str | Path, decoder: Decoder = "auto", device: str = "cuda") -> Video:
    """Open a video file or a folder of frames.

    Args:
        path: A video file, or a folder whose images are the frames in natural order.
        decoder: of a file; ``auto`` is ``pyav``. ``dali`` and ``nvdec`` (PyAV) decode on a GPU, and leave files that
            they are not good at to ``pyav``.
        device: Where ``dali`` and ``nvdec`` decode to; the others hand over planes on the host.

    Raises:
        ImportError: ``dali`` is asked for and not installed.
        VideoError: Nothing can be decoded from ``path`` (missing, not a video, no video stream, unknown codec).
        ValueError: ``decoder`` is none of these, or there is no GPU for it.
    """
    from aedmae_fast.video import images, pyav  # not above: they import this module, and DALI is large and optional

    path = Path(path)
    if decoder not in get_args(Decoder):
        raise ValueError(f"decoder: expected one of {', '.join(get_args(Decoder))}, found {decoder!r}")
    if path.is_dir():
        return images.ImageFolder(path)
    if decoder == "dali":
        from aedmae_fast.video import dali

        return dali.open_file(path, device)
    if decoder == "nvdec":
        from aedmae_fast.video import nvdec

        return nvdec.open_file(path, device)
    return pyav.PyavVideo(path)


def open_part(path: str | Path, start_s: float, frames: int | None = None, seek: bool = True) -> Video:
    """Open a part of a video file or of a folder of frames, sought by the file's index where it has one.

    Args:
        path: as for :func:`open_video`; decoded on the CPU.
        start_s: Seconds from the first frame on, as in :class:`Chunk`. The part begins with the frame shown then, or
            the next one. In a folder with images that cannot be read, it may begin a little before.
        frames: How many there are in it at most; None: all to the end.
        seek: False decodes all before it instead: where recordings follow one another in one file, each with times of
            its own, an index may lead to another one.

    Its chunks' times are those in the whole video; its outcome is that of the part.

    Raises:
        VideoError: Nothing can be decoded from ``path``, or not at that time.
    """
    from aedmae_fast.video import images, pyav

    path = Path(path)
    return images.open_part(path, start_s, frames) if path.is_dir() else pyav.open_part(path, start_s, frames, seek)


def read_frames(path: str | Path, start_s: float, seek: bool = True) -> Generator[tuple[float, Tensor], None, None]:
    """Frames for people to look at, from a time on, each with its own: uint8 [H, W, 3], BGR, the right way up.

    Args and errors are those of :func:`open_part`, the latter on the way.
    """
    with closing(open_part(path, start_s, seek=seek)) as video:
        empty = True
        for chunk in video:
            yield from zip(chunk.times, pictures_of(chunk), strict=True)
            empty = False
        if empty:
            raise VideoError(Path(path), video.outcome.status, video.outcome.reason)


def pictures_of(chunk: Chunk) -> Tensor:
    """A chunk's frames for people to look at: uint8 [T, H, W, 3], BGR, the right way up."""
    from aedmae_fast.ops import frame_prep

    height, width = chunk.planes[0].shape[1:3]
    return frame_prep(list(chunk.planes), height, width, matrix=chunk.matrix, full_range=chunk.full_range)


def read_still(path: str | Path, time_s: float, seek: bool = True) -> Tensor:
    """The first of :func:`read_frames`, and its errors."""
    with closing(read_frames(path, time_s, seek)) as frames:
        return next(frames)[1]
