"""What a file's packets tell without decoding them, and whether that makes it one for a decoder in hardware.

No decoder in here: :func:`aedmae_fast.video.pyav.survey` reads the packets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from aedmae_fast.video import Matrix, VideoInfo
from aedmae_fast.video.verdict import Met, Promise

__all__ = ["NVDEC_CODECS", "Survey", "why_no_dali", "why_not_dali"]

NVDEC_CODECS = {"av1", "h264", "hevc", "vp9"}  # those of NVDEC whose every bit is specified: the planes of any decoder
_CODECS = {"cuda": NVDEC_CODECS, "cpu": {"mjpeg", "vp8", "vp9"}}
_PIXEL_FORMATS = {"nv12", "yuv420p", "yuvj420p"}


@dataclass(frozen=True)
class Survey:
    """What is known of a file once its packets were read, but only its first frame was decoded."""

    info: VideoInfo
    matrix: Matrix
    full_range: bool
    container: str  # FFmpeg's names, e.g. "mov,mp4,m4a,3gp,3g2,mj2"
    pixel_format: str
    upright: bool  # no rotation flag
    hidden: int  # packets that an edit list hides
    times: tuple[float, ...]  # seconds from the first frame on, of every shown frame; empty where a packet tells none
    promise: Promise
    met: Met  # as if every shown packet had given a frame


def why_no_dali() -> str:
    """Why DALI cannot decode on a GPU here, in one line; empty where it can be tried. Loads it where a GPU is there."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    try:
        from nvidia.dali import backend  # not above: large and optional
    except (ImportError, RuntimeError) as error:  # not installed; its libraries do not fit
        return f"DALI cannot be imported ({error}): pip install nvidia-dali-cuda130"
    return "" if backend.GetCUDADeviceCount() else "DALI sees no CUDA device"


def why_not_dali(found: Survey, device: Literal["cuda", "cpu"]) -> str:
    """Why a file is not one for DALI on a device, in a few words; empty where it is."""
    steps = [after - before for before, after in zip(found.times, found.times[1:], strict=False)]
    uneven = steps and max(steps) - min(steps) > max(0.0011, 0.1 * min(steps))  # ticks are often milliseconds
    reasons = {
        f"codec {found.info.codec}": found.info.codec not in _CODECS[device],
        f"pixel format {found.pixel_format}": found.pixel_format not in _PIXEL_FORMATS,
        f"odd size {found.info.width}x{found.info.height}": found.info.width % 2 or found.info.height % 2,
        "AVI, which holds no time stamps": "avi" in found.container.split(","),
        "packets without time stamps": not found.times,
        "variable frame rate": uneven,
        "rotation flag": not found.upright,
        f"edit list that hides {found.hidden} frames": found.hidden,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
