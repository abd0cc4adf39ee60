"""Video files through DALI, decoded on a GPU (NVDEC) and handed over as YCbCr 4:4:4 on the device: the GPU decoder.

One pipeline reads one file from front to back, 64 frames at a time and none twice. DALI pads the last 64 and starts
over for ever: the frames' indices tell the padding, and the number of sequences the end. PyAV surveys each file first
and takes those that DALI is known to get wrong; where a pipeline fails midway, or gives fewer frames than the file has
packets, PyAV reads on from that frame, and the verdict is PyAV's. Damage that the hardware conceals goes unnoticed.

Only this module decodes with ``nvidia.dali``. Written against DALI 2.4. On a CPU it decodes VP8, VP9 and Motion
JPEG, to BGR: for tests of what is said above. On a GPU it has not been run yet.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from aedmae_fast.video import Chunk, Video
from aedmae_fast.video.pyav import PyavVideo, survey
from aedmae_fast.video.read_once import ReadOnce
from aedmae_fast.video.survey import Survey, why_no_dali, why_not_dali
from aedmae_fast.video.verdict import judge

try:
    from nvidia.dali import Pipeline, fn, types
except ImportError as error:
    raise ImportError(f"decoder='dali' needs DALI: pip install nvidia-dali-cuda130 ({error})") from error

__all__ = ["CHUNK", "DaliVideo", "open_file"]

CHUNK = 64  # frames: longer gains nothing, shorter costs a call each

_read: dict[str, tuple[int, int, int]] = {}  # by file name, what DALI has made an index of in this process


def open_file(path: Path, device: str = "cuda") -> Video:
    """A file through DALI, or through PyAV where :func:`why_not_dali` has a reason; ``info.decoder`` tells which.

    PyAV also has a file that took the place of one that DALI has read in this process.

    Raises:
        VideoError: as :class:`aedmae_fast.video.pyav.PyavVideo`.
        ValueError: ``device`` is a CUDA device, and DALI sees none.
    """
    kind: Literal["cuda", "cpu"] = "cpu" if torch.device(device).type == "cpu" else "cuda"
    if kind == "cuda" and (reason := why_no_dali()):
        raise ValueError(f"decoder='dali': {reason}; use 'pyav'")
    found = survey(path)
    return PyavVideo(path) if why_not_dali(found, kind) or _replaced(path) else DaliVideo(found, device)


def _replaced(path: Path) -> bool:
    """Whether DALI has read another file of this name: it would go by that one's index, which it keeps for good."""
    found = path.stat()
    mark = (found.st_ino, found.st_size, found.st_mtime_ns)
    return _read.setdefault(str(path), mark) != mark


class DaliVideo(ReadOnce):
    """One surveyed file as a :class:`aedmae_fast.video.Video`, in chunks of up to 64 frames.

    Planes are views of DALI's buffers, ready on the stream that is current where the chunk is asked for; read-only.

    Attributes:
        note: Why PyAV read on, and from which frame, as printed to stderr; empty where it did not have to.
    """

    def __init__(self, found: Survey, device: str = "cuda") -> None:
        self._survey, self._device = found, torch.device(device)
        self.info = replace(found.info, decoder="dali")
        self.note = ""

    def _chunks(self) -> Iterator[Chunk]:
        known, first = self._survey, 0
        failure = "DALI gave fewer frames than the file has packets"
        try:
            for frames in self._sequences():
                times = known.times[first : first + len(frames)]
                yield Chunk(first, times, self._planes(frames), known.matrix, known.full_range)
                first += len(frames)
                if self._closed:
                    return
        except RuntimeError as error:  # the pipeline is dead for good
            failure = str(error).strip().splitlines()[0]
        if first == known.met.frames:
            self._outcome = replace(judge(known.met, known.promise), seekable=True)  # the times are the packets'
        else:
            self.note = f"PyAV read on from frame {first}: {failure}"
            print(f"{self.info.path}: {self.note}", file=sys.stderr)
            yield from self._rest(first)

    def _sequences(self) -> Iterator[Tensor]:
        """uint8 [n <= CHUNK, H, W, 3] each, all of them together at most the frames that the file has packets for."""
        pipeline = _pipeline(self.info.path, self._device)
        left = self._survey.met.frames
        for _ in range(pipeline.epoch_size("video")):
            # Bound to our stream, the outputs are ready on it, and their memory is used again only after its work.
            stream = torch.cuda.current_stream(self._device) if self._device.type == "cuda" else None
            frames, index = pipeline.run(stream)
            count = min(left, sum(i >= 0 for i in _host_list(index)))
            left -= count
            if count:
                yield from_dlpack(frames.as_tensor())[0, :count]

    def _planes(self, frames: Tensor) -> tuple[Tensor, ...]:
        return (frames.flip(-1),) if self._device.type == "cpu" else frames.unbind(-1)

    def _rest(self, first: int) -> Iterator[Chunk]:
        """From a frame on, through PyAV, with its verdict on the whole file."""
        video = PyavVideo(self.info.path)
        try:
            for chunk in video:
                if chunk.first >= first:
                    yield replace(chunk, planes=tuple(plane.to(self._device) for plane in chunk.planes))
                if self._closed:
                    return
            self._outcome = video.outcome
        finally:
            video.close()


def _pipeline(path: Path, device: torch.device) -> Any:
    on_gpu = device.type == "cuda"
    pipeline = Pipeline(
        batch_size=1,
        num_threads=1,
        device_id=(device.index or 0) if on_gpu else None,
        prefetch_queue_depth=1,  # what is prefetched past the end is decoded for nothing
        exec_dynamic=True,  # outputs belong to us, and are not overwritten by the next run
    )
    with pipeline:
        outputs = fn.experimental.readers.video(
            device="gpu" if on_gpu else "cpu",
            filenames=[str(path)],
            sequence_length=CHUNK,
            step=CHUNK,
            stride=1,
            pad_mode="constant",  # "none" would drop the last frames
            enable_frame_num="sequence",
            image_type=types.YCbCr if on_gpu else types.RGB,  # DALI's own matrix is always BT.601
            name="video",
        )
        pipeline.set_outputs(*outputs)
    pipeline.build()
    return pipeline


def _host_list(index: Any) -> list[int]:
    """The frame numbers of one sequence, -1 for padding."""
    numbers: list[int] = from_dlpack(index.as_cpu().as_tensor())[0].tolist()
    return numbers
