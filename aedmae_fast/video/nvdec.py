"""Video files through PyAV with the GPU's decoder (NVDEC), planes left on the device: the second GPU decoder.

It is :class:`aedmae_fast.video.pyav.PyavVideo` with frames that lie elsewhere: the same packets, times, rotation and
verdicts, and the same YCbCr. What NVDEC does not take, FFmpeg's software decodes; so it does where NVDEC gives up
midway. Damage that the hardware conceals goes unnoticed.

PyAV's wheels are built with it, and load the driver's libraries when they are asked to. Written against PyAV 18.1
(FFmpeg 8.1). It has not been run on a GPU yet.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import torch
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.frame import VideoFrame
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from aedmae_fast.video import Chunk, Video, VideoError
from aedmae_fast.video.pyav import PyavVideo
from aedmae_fast.video.survey import NVDEC_CODECS

__all__ = ["CHUNK", "NvdecVideo", "open_file", "why_no_nvdec"]

CHUNK = 8  # frames: a launch for all of them instead of one each


def why_no_nvdec() -> str:
    """Why PyAV cannot decode on a GPU here, in one line; empty where it can be tried."""
    if "cuda" not in (built := hwdevices_available()):
        return f"the FFmpeg of PyAV {av.__version__} is built without CUDA (with: {', '.join(built) or 'no hardware'})"
    return "" if torch.cuda.is_available() else "no CUDA device"


def open_file(path: Path, device: str = "cuda") -> Video:
    """A file through NVDEC, or through software where NVDEC refuses it; ``info.decoder`` tells which, stderr why.

    Raises:
        VideoError: as :class:`aedmae_fast.video.pyav.PyavVideo`.
        ValueError: PyAV cannot decode on a GPU here.
    """
    if reason := why_no_nvdec():
        raise ValueError(f"decoder='nvdec': {reason}; use 'pyav'")
    try:
        video = NvdecVideo(path, device)
        if not (reason := video.refused):
            return video
        video.close()
    except VideoError as error:  # of the file, or of the device: software tells
        reason = f"FFmpeg could not open it for the GPU ({error.reason})"
    software = PyavVideo(path)
    print(f"{path}: decoded on the CPU: {reason}", file=sys.stderr)
    return software


class NvdecVideo(PyavVideo):
    """One file as a :class:`aedmae_fast.video.Video`, in chunks of up to 8 frames.

    Planes are copies on the device, ready on the stream that is current where the chunk is asked for.

    Attributes:
        refused: Why NVDEC does not decode this file; empty where it does. Known from the first frame.

    Raises:
        VideoError: as :class:`PyavVideo`; also where FFmpeg cannot use the device.
    """

    def __init__(self, path: str | Path, device: str = "cuda") -> None:
        self._device = torch.device(device)
        with _acceleration(self._device) as hwaccel:
            super().__init__(path, hwaccel)
        self.info = replace(self.info, decoder="nvdec")
        self.refused = self._why_refused()

    def _why_refused(self) -> str:
        if self.info.codec not in NVDEC_CODECS:
            return f"codec {self.info.codec}"
        if (frame := self._first) is None:
            return "NVDEC gave no frame"
        if not _on_device(frame):
            if not (decoder := self._stream.codec_context.codec).hardware_configs:
                return f"PyAV decodes {self.info.codec} with {decoder.name}, in software alone; dali may take it"
            return f"NVDEC does not take {self.info.codec} in {frame.format.name}, {frame.width}x{frame.height}"
        if frame.width % 2 or frame.height % 2:  # PyAV's planes would lack the last chroma
            return f"odd size {frame.width}x{frame.height}"
        try:
            _samples(frame)
        except NotImplementedError as error:  # neither NV12 nor P010
            return f"surfaces of another format: {error}"
        return ""

    def _chunks(self) -> Iterator[Chunk]:
        group: list[Chunk] = []
        for chunk in super()._chunks():
            if group and (len(group) == CHUNK or not _alike(group[0], chunk)):
                yield _joined(group)
                group = []
            group.append(chunk)
        if group and self._outcome is not None:  # read to the end, and not closed before
            yield _joined(group)

    def _planes(self, frame: VideoFrame) -> tuple[Tensor, ...]:
        if not _on_device(frame):
            return tuple(plane.to(self._device) for plane in super()._planes(frame))
        with _reading(self._device):
            luma, chroma = (_to_8_bit(samples)[None] for samples in _samples(frame))
        return luma, *chroma.unbind(-1)


def _on_device(frame: VideoFrame) -> bool:
    return frame.format.name == "cuda"


def _samples(frame: VideoFrame) -> tuple[Tensor, ...]:
    """Views of a surface: luma [H, W] and chroma [H/2, W/2, 2], uint8, or uint16 with their bits at the high end.

    Capsules, since PyAV refuses to be told a stream, which PyTorch would do.
    """
    return tuple(from_dlpack(plane.__dlpack__()) for plane in frame.planes)


def _to_8_bit(samples: Tensor) -> Tensor:
    """A copy in 8 bit, rounded as :mod:`aedmae_fast.video.pyav` rounds."""
    if samples.dtype == torch.uint8:
        return samples.clone()
    return ((samples.to(torch.int32).clamp_(max=255 << 8) + 128) >> 8).to(torch.uint8)


def _alike(first: Chunk, chunk: Chunk) -> bool:
    """Whether two chunks can be one: their planes have one shape, and their colours one meaning."""
    shapes = [tuple(plane.shape for plane in c.planes) for c in (first, chunk)]
    return shapes[0] == shapes[1] and (first.matrix, first.full_range) == (chunk.matrix, chunk.full_range)


def _joined(group: Sequence[Chunk]) -> Chunk:
    planes = tuple(torch.cat(parts) for parts in zip(*(chunk.planes for chunk in group), strict=True))
    return replace(group[0], times=tuple(time for chunk in group for time in chunk.times), planes=planes)


@contextlib.contextmanager
def _acceleration(device: torch.device) -> Iterator[HWAccel]:
    """What FFmpeg is to decode with, in PyTorch's context: it is to be opened inside.

    FFmpeg refuses a device's primary context that is active with other flags than its own, as it is once PyTorch has
    used it. The context that is current on this thread it takes as it is; PyTorch's is, after its first launch here.
    """
    with torch.cuda.device(device):
        torch.zeros(1, device=device)
        options: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
        yield HWAccel("cuda", str(torch.cuda.current_device()), options=options, is_hw_owned=True)


@contextlib.contextmanager
def _reading(device: torch.device) -> Iterator[None]:
    """Surfaces may be read inside, on the current stream; when it ends, they have been.

    FFmpeg fills them on the default stream, and fills them again, on that, as soon as it has them back. It cannot be
    told to wait for another stream, so this thread, which decodes one file and nothing else, does.
    """
    stream = torch.cuda.current_stream(device)
    stream.wait_stream(torch.cuda.default_stream(device))
    yield
    stream.synchronize()
