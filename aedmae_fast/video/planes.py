"""A decoded frame's planes as they lie in FFmpeg's buffers: which formats have them, which way up, in what range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aedmae_fast.video import Matrix

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["MATRICES", "NATIVE", "Turn", "is_full_range", "planes_of", "rows_of", "to_8_bit"]

_JPEG_RANGE, _NO_RANGE = 2, 0  # AVCOL_RANGE_JPEG, AVCOL_RANGE_UNSPECIFIED
# By AVCOL_SPC_*; everything else is BT.601. SMPTE 240M (7) is within 0.015 of BT.709.
MATRICES: dict[int, Matrix] = {1: "bt709", 7: "bt709", 9: "bt2020", 10: "bt2020"}


def _native_formats() -> dict[str, int]:
    """Pixel formats handed over as planes -> how many low bits a sample loses to become 8 bit (0: no copy)."""
    planar = ("yuv420p", "yuv422p", "yuv440p", "yuv444p")
    shifts = dict.fromkeys([*planar, *(name.replace("yuv", "yuvj") for name in planar), "gray", "nv12"], 0)
    for bits in (9, 10, 12, 14, 16):
        shifts |= {f"{name}{bits}le": bits - 8 for name in ("gray", *planar)}
    return shifts | dict.fromkeys(["p010le", "p012le", "p016le"], 8)  # their samples fill the high bits of 16


NATIVE = _native_formats()
_INTERLEAVED = {"nv12", "p010le", "p012le", "p016le"}  # U and V take turns in plane 1


@dataclass(frozen=True)
class Turn:
    """What the rotation flag asks for, as steps on ``[T, H, W, ...]``: transpose first, then flip."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Turn:
        """Read the display matrix, ``x' = a x + c y, y' = b x + d y``, to the nearest of the 8 upright positions."""
        try:
            matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # PyAV knows no name for some other side data, e.g. EXIF: the angle alone has to do
            quarters = round(frame.rotation / 90) % 4  # counter-clockwise
            return (cls(), cls(True, True, False), cls(False, True, True), cls(True, False, True))[quarters]
        if matrix is None:
            return cls()
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
        return cls(True, b < 0, c < 0) if abs(b) > abs(a) else cls(False, d < 0, a < 0)

    def apply(self, planes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Turn planes [T, H, W, ...] upright; the same tensors where there is nothing to do."""
        if not (self.transpose or self.flip_rows or self.flip_columns):
            return planes
        if self.transpose:
            planes = tuple(plane.transpose(1, 2) for plane in planes)
        flips = [dim for dim, flip in ((1, self.flip_rows), (2, self.flip_columns)) if flip]
        return tuple(plane.flip(flips).contiguous() for plane in planes)


def planes_of(frame: VideoFrame) -> Iterator[Tensor]:
    """The planes of a frame in a native format, uint8 [1, H, W] each: Y, U, V, or Y alone."""
    name, shift = frame.format.name, NATIVE[frame.format.name]
    for index, plane in enumerate(frame.planes):
        parts = 2 if index and name in _INTERLEAVED else 1
        samples = rows_of(plane, np.uint16 if shift else np.uint8)[:, : plane.width * parts]
        if shift:
            samples = to_8_bit(samples, shift)
        for part in range(parts):
            yield torch.from_numpy(samples[:, part::parts])[None]


def rows_of(plane: Any, dtype: type[np.uint8] | type[np.uint16]) -> npt.NDArray[Any]:
    """All rows of a VideoPlane with their padding: a view, which keeps the frame alive. No negative line sizes."""
    rows: npt.NDArray[Any] = np.frombuffer(plane, dtype).reshape(plane.height, -1)  # Any: stubs hide plane's buffer
    return rows


def to_8_bit(samples: npt.NDArray[np.uint16], shift: int) -> npt.NDArray[np.uint8]:
    """Reduce samples to 8 bit: ``min(255, (v + half) >> shift)`` with ``half = 2 ** (shift - 1)``.

    Video levels are defined in 8 bit and scaled by powers of two (white is 235, 940, 3760), so a shift is exact for
    limited range. For full range the factor would be 1023 / 255 rather than 4: the shift is off by at most one level,
    and only near white, where rounding up would leave the byte: hence the clip. It comes first, because ``v + half``
    does not fit into 16 bits for the largest 16-bit samples, while ``(255 << shift) + half`` does.
    """
    return ((np.minimum(samples, 255 << shift) + (1 << shift >> 1)) >> shift).astype(np.uint8)


def is_full_range(frame: VideoFrame) -> bool:
    """Whether black is 0 and white 255, rather than 16 and 235.

    The tag decides. Untagged grey is full range: measured, FFmpeg leaves grey untagged only for codecs that store a
    picture's values as they are (MJPEG, FFV1, raw, PNG). HEVC and AV1 always come with a tag, H.264 gives
    monochrome video as yuv420p with neutral chroma, VP9 has none. Untagged colour is limited range.
    """
    name = frame.format.name
    untagged_grey = name.startswith("gray") and frame.color_range == _NO_RANGE
    return frame.color_range == _JPEG_RANGE or name.startswith("yuvj") or untagged_grey
