"""Video files through PyAV (FFmpeg), one thread a file: the CPU decoder, and the yardstick for every other one.

Packets are decoded one at a time, so that a bad one costs its own frames and not the rest of the file. Frames are
numbered in output order, and their planes are handed over as they lie in FFmpeg's buffers. With nvdec.py, which leaves
them on a GPU, and mp4.py, which writes, this is the only module that imports ``av``.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from aedmae_fast.ops.frame_prep import MAX_SIZE
from aedmae_fast.video import Chunk, Status, VideoError, VideoInfo
from aedmae_fast.video.planes import MATRICES, NATIVE, Turn, is_full_range, planes_of, rows_of
from aedmae_fast.video.promise import expected_frames, read_promise
from aedmae_fast.video.pulse import pulse
from aedmae_fast.video.read_once import ReadOnce
from aedmae_fast.video.survey import Survey
from aedmae_fast.video.verdict import Clock, Met, Promise, judge

__all__ = ["FALLBACK_FPS", "PyavVideo", "open_part", "survey"]

FALLBACK_FPS = 25.0  # for a stream that states no frame rate
SEEK_BEFORE = 3.0  # seconds: in MPEG-TS the key frame that a seek finds may lie after the time sought

# What a disk, a network or the system does to a file that may be whole; a file that is damaged has others.
_PASSING = {
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}

_SWSCALE = 0x2 | 0x40000 | 0x2000  # SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT: exact to 1 level

# A title in another encoding than UTF-8 is no reason to refuse a file; from PyAV 19 on it never is one.
_OF_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


class PyavVideo(ReadOnce):
    """One video file as a :class:`aedmae_fast.video.Video`, in chunks of one frame.

    The planes of 8-bit formats are views of FFmpeg's buffers: valid for as long as the tensors live, after
    :meth:`close` too, but **read-only**, since the decoder predicts later frames from them. The first frame is decoded
    on opening: only a frame tells the rotation flag, and with it the displayed size.

    Raises:
        VideoError: ``path`` cannot be read, is not a video, or has no video stream with a known codec.
    """

    def __init__(self, path: str | Path, hwaccel: HWAccel | None = None) -> None:
        self._path = Path(path)
        self._container = _open_container(self._path, hwaccel)
        self._met = Met()
        self._timed: Iterator[tuple[float, VideoFrame]] | None = None  # the frames asked for, where not all are
        self._reformatter = VideoReformatter()
        try:
            self._stream = _pick_stream(self._container, self._path)
            self._fps = _frame_rate(self._container, self._stream)
            self._promise = read_promise(self._container, self._stream, self._fps)
            self._frames = self._decode()
            self._first = next(self._frames, None)
            self._turn = Turn.of(self._first) if self._first else Turn()
            self.info = self._describe()
        except BaseException:
            self._container.close()
            raise

    def close(self) -> None:
        """Let go of the file and the decoder, at any time and any number of times. Chunks handed out stay valid."""
        super().close()
        self._first = None
        self._frames.close()  # before the container: a demuxer that reads on from a closed one crashes the process
        self._container.close()

    def take(self, start_s: float, frames: int | None, *, seek: bool) -> bool:
        """Before iterating: keep the frame shown at a time or the next one, and what follows, no more than ``frames``.

        With ``seek`` by the container's index of key frames, which may be missing or lead too far. False: there is no
        such frame, or the index does not lead there; then the video is good for nothing but :meth:`close`.
        """
        clock, first, unit = self._clock(), self._first, self._stream.time_base
        if first is None:
            return False
        shown = chain([first], self._frames)
        early = 0.5 / self._fps  # to the nearest frame, where all that is known of times is the rate
        if clock.unit is not None and first.pts is not None and unit is not None:
            early = max(0.5 * clock.unit, 1e-6)  # times that were written down are rounded to microseconds
            sought = first.pts + round(start_s / unit)
            if seek and (before := first.pts + round((start_s - SEEK_BEFORE) / unit)) > first.pts:
                clock.tell(first.pts)  # from which times count
                self._container.seek(before, stream=self._stream)
                start = next(self._frames, None)  # goes on with what is decoded from there
                if start is None or start.pts is None or start.pts > sought:
                    return False
                shown = chain([start], self._frames)
        timed = clock.timed(shown)
        found = next((each for each in timed if each[0] >= start_s - early), None)
        if found is None:
            return False
        self._timed = islice(chain([found], timed), frames)
        vars(self._met).update(vars(Met(packets=1, frames=1)))  # what was met before has no part in the outcome
        self._promise = Promise(self._fps)
        return True

    def _describe(self) -> VideoInfo:
        shown = self._first or self._stream.codec_context
        width, height = (shown.height, shown.width) if self._turn.transpose else (shown.width, shown.height)
        return VideoInfo(
            path=self._path,
            width=width,
            height=height,
            fps=self._fps,
            expected_frames=expected_frames(self._container, self._stream, self._promise),
            codec=self._stream.codec_context.codec.canonical_name,
            decoder="pyav",
            aspect=1 / self._aspect() if self._turn.transpose else self._aspect(),
        )

    def _aspect(self) -> float:
        """A stored pixel's width over its height; 1 where it is not stated, or cannot be meant."""
        stated = float(self._stream.sample_aspect_ratio or 1)
        return stated if 0.25 <= stated <= 4 else 1.0

    def _chunks(self) -> Iterator[Chunk]:
        clock, shown = self._clock(), chain([self._first] if self._first else [], self._frames)
        timed = self._timed or clock.timed(shown)
        self._first = self._timed = None
        for index, (time, frame) in enumerate(timed):
            yield self._chunk(frame, index, time)
            if self._closed:
                return
        self._outcome = replace(judge(self._met, self._promise), seekable=clock.seekable)
        self.close()

    def _clock(self) -> Clock:
        # AVI stores no presentation times. Where frames are reordered, those that FFmpeg makes up are out of order.
        made_up = self._container.format.name == "avi" and self._stream.codec_context.has_b_frames
        unit = self._stream.time_base
        return Clock(None if made_up or unit is None else float(unit), self._fps)

    def _chunk(self, frame: VideoFrame, index: int, time: float) -> Chunk:
        planes = self._turn.apply(self._planes(frame))
        if planes[0].dim() == 4:
            return Chunk(index, (time,), planes)
        return Chunk(index, (time,), planes, MATRICES.get(frame.colorspace, "bt601"), is_full_range(frame))

    def _planes(self, frame: VideoFrame) -> tuple[Tensor, ...]:
        """A frame's planes as they are stored: those of a :class:`Chunk` of one frame."""
        # A negative line size (rows stored bottom-up) is rare and PyAV < 18 shows wrong memory for it: swscale's work.
        if frame.format.name not in NATIVE or any(plane.line_size < 0 for plane in frame.planes):
            return (self._bgr(frame),)
        return tuple(planes_of(frame))

    def _bgr(self, frame: VideoFrame) -> Tensor:
        """A frame in any other format as BGR, uint8 [1, H, W, 3], through swscale."""
        # BGR to BGR would be no work to swscale, and the rows of a bottom-up frame would stay as they are.
        bottom_up = frame.planes[0].line_size < 0
        order = "rgb24" if bottom_up and frame.format.name == "bgr24" else "bgr24"
        try:
            packed = self._reformatter.reformat(frame, format=order, interpolation=_SWSCALE, threads=1)
        except av.FFmpegError as error:
            reason = f"pixel format {frame.format.name} cannot be converted: {error.strerror}"
            raise VideoError(self._path, Status.UNREADABLE, reason) from error
        rows = rows_of(packed.planes[0], np.uint8)[:, : packed.width * 3]
        pixels = torch.from_numpy(rows.reshape(packed.height, packed.width, 3))[None]
        return pixels.flip(-1) if order == "rgb24" else pixels

    def _decode(self) -> Generator[VideoFrame, None, None]:
        """Decode to the end of the file. What goes wrong on the way is counted in ``self._met``, not raised."""
        decoder = self._stream.codec_context
        decoder.thread_count = 1  # files run in parallel; frame threads also lose frames of a cut file, silently
        decoder.thread_type = "NONE"
        packets = _packets(self._container, self._stream, self._promise, self._met)
        for packet in chain(packets, [None]):  # None: give out what is still held back
            try:
                frames = decoder.decode(packet)
            except av.FFmpegError as error:
                self._met.reject(str(error.strerror))
                continue
            for frame in frames:
                if max(frame.width, frame.height) > MAX_SIZE:
                    self._met.reject(f"a picture of {frame.width}x{frame.height}, expected at most {MAX_SIZE} a side")
                    continue
                self._met.frame(damaged=frame.is_corrupt)  # AV_FRAME_FLAG_CORRUPT or decode_error_flags
                yield frame


def open_part(path: Path, start_s: float, frames: int | None, seek: bool = True) -> PyavVideo:
    """See :func:`aedmae_fast.video.open_part`."""
    for by_index in (True, False) if seek else (False,):
        video = PyavVideo(path)
        found = False
        try:
            with suppress(av.FFmpegError):
                found = video.take(start_s, frames, seek=by_index)
        finally:
            if not found:
                video.close()
        if found:
            return video
    raise VideoError(path, Status.TOO_SHORT, f"no frame at {start_s:.2f} s")


def survey(path: str | Path) -> Survey:
    """Read a file's packets from end to end without decoding them.

    Raises:
        VideoError: as :class:`PyavVideo`, or there is no frame in it.
    """
    with closing(PyavVideo(path)) as video:
        first = video._first
        chunk = next(iter(video), None)
    if first is None or chunk is None:
        raise VideoError(Path(path), video.outcome.status, video.outcome.reason, video.outcome.passing)
    with _open_container(Path(path)) as container:
        stream = _pick_stream(container, Path(path))
        promise, met = read_promise(container, stream, video.info.fps), Met()
        stamps = array("q")  # of the shown packets that have one; 8 bytes each, of which a day has millions
        for packet in _packets(container, stream, promise, met):
            if not packet.is_discard:
                met.frames += 1
                if packet.pts is not None:
                    stamps.append(packet.pts)
        known, unit = np.sort(stamps), float(stream.time_base or 0)
        times = tuple(((known - known[0]) * unit).tolist()) if len(known) == met.frames > 0 else ()
        return Survey(
            info=video.info,
            matrix=chunk.matrix,
            full_range=chunk.full_range,
            container=container.format.name,
            pixel_format=first.format.name,
            upright=video._turn == Turn(),
            hidden=met.packets - met.frames,
            times=times,
            promise=promise,
            met=met,
        )


def _packets(container: InputContainer, stream: VideoStream, promise: Promise, met: Met) -> Iterator[Packet[Any]]:
    """The video stream's packets. Where no header counts the frames, other streams are watched for their end."""
    watched = (stream,) if promise.counted else tuple(container.streams)
    flags = (False, False)  # for lost bytes, of the two packets before
    try:
        for packet in container.demux(watched):
            pulse()
            # An empty packet tells the decoder that the end has come: the demuxer's last word for each stream, but
            # also an AVI's sign for a frame left out.
            if packet.size == 0:
                continue
            is_video = packet.stream_index == stream.index
            _note_end(met, packet, is_video)
            if is_video:
                # FFmpeg's parser flags the packet before the one that lacks bytes. It flags one for the last packet
                # before a joint of files, too, which lacks none: a key frame follows that.
                if flags[0] and not packet.is_keyframe:
                    met.lose_bytes()
                flags = (flags[1], packet.is_corrupt)
                met.packets += 1
                yield packet
        if any(flags):
            met.lose_bytes()
    except av.FFmpegError as error:
        met.read_error = str(error.strerror)
        met.passing = _is_passing(error, container.name.removeprefix("file:"))
    except IndexError:
        # PyAV, at the end of a file in which a stream began on the way (MPEG-TS, MPEG-PS): it wants to give out an
        # empty packet for that stream, too, and does not know it. All others were given out.
        return


def _note_end(met: Met, packet: Packet[Any], is_video: bool) -> None:
    start = packet.pts if packet.pts is not None else packet.dts
    if start is None:
        return
    end = float((start + (packet.duration or 0)) * packet.time_base)
    met.file_end = max(met.file_end, end)
    if is_video:
        met.video_end = max(met.video_end, end)


def _open_container(path: Path, hwaccel: HWAccel | None = None) -> InputContainer:
    """Open ``path``, or raise VideoError with the first thing that stands in the way."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
            raise VideoError(path, Status.UNREADABLE, f"is {kind}, not a file")
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise VideoError(path, Status.UNREADABLE, (error.strerror or str(error)).lower(), passing=True) from error
    if not head:
        raise VideoError(path, Status.UNREADABLE, "is empty (0 bytes)")
    try:
        # "file:", or FFmpeg would take a colon in the name for the end of a protocol's name.
        return av.open(f"file:{os.fspath(path)}", hwaccel=hwaccel, **_OF_METADATA)
    except av.FFmpegError as error:
        hint = " (an MP4 or MOV without its index: cut off, or never finished)" if head[4:8] == b"ftyp" else ""
        reason = f"not a video: {error.strerror}{hint}"
        raise VideoError(path, Status.UNREADABLE, reason, _is_passing(error, path)) from error


def _is_passing(error: av.FFmpegError, path: str | Path) -> bool:
    """Whether it is not the file's own trouble. EIO FFmpeg says of damaged files, too; there the system is asked."""
    if error.errno != errno.EIO:
        return error.errno in _PASSING
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            file.read(1)
    except OSError:
        return True
    return False


def _pick_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that can be decoded and is no cover picture."""
    pictures = [stream for stream in container.streams.video if stream.disposition & Disposition.attached_pic]
    videos = [stream for stream in container.streams.video if stream not in pictures]
    if not videos:
        kinds = Counter(f"{stream.type} stream" for stream in container.streams if stream.type != "video")
        kinds["cover picture"] = len(pictures)
        found = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in kinds.items() if count)
        raise VideoError(path, Status.UNREADABLE, f"no video stream ({found or 'no stream at all'})")
    for stream in videos:
        if stream.codec_context is not None:  # None, whatever the stubs say, where FFmpeg has no decoder
            return stream
    reason = f"unknown codec: no decoder for the video stream of this {container.format.name} file"
    raise VideoError(path, Status.UNREADABLE, reason)


def _frame_rate(container: InputContainer, stream: VideoStream) -> float:
    """Frames per second, by the one that knows.

    The demuxers of raw streams say 25, whatever the stream itself says. Elsewhere the container goes first, unless
    FFmpeg's guess is far below: then the container's is the tick of a clock (an AVI copied from another container, DV).
    """
    average, guessed, own = stream.average_rate, stream.guessed_rate, stream.codec_context.framerate
    rates = (average, guessed)
    if container.format.flags & Flags.no_timestamps.value:  # type: ignore[operator]
        rates = (own, guessed)
    elif average and guessed and average > 1.5 * guessed:
        rates = (guessed, None)
    return next((float(rate) for rate in rates if rate and rate > 0), FALLBACK_FPS)
