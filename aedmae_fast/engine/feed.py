"""Decoding in threads of its own: files in, blocks of model-sized frames out, through a bounded queue.

Every frame is decoded, converted and resized once, in the decoder's thread, so that only small frames wait in the
queue. The queue's bound is the back-pressure: memory does not depend on a video's length. What a thread launches on a
GPU lies on a stream of its own (engine/streams.py).

A thread that hangs, in a decoder that never returns or on a disk that does not answer, cannot be stopped. It is left
behind, its clip ends as failed, and another thread takes the next one. When more of them hang in a row than decode at a
time, with no sign of life between them, it is no clip's trouble any more, and the feed ends.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aedmae_fast.engine.silence import LOOK, Silence
from aedmae_fast.engine.streams import current, decode_stream, hand_over
from aedmae_fast.model.region import Region
from aedmae_fast.ops import frame_prep
from aedmae_fast.video import Outcome, Status, Video, VideoError, VideoInfo
from aedmae_fast.video.pulse import on_pulse

BLOCK = 8  # frames handed over at a time: enough to make the hand-over's cost vanish, few enough to keep memory small
DEPTH = 4  # blocks that may wait per worker
HANGS = 600.0  # seconds without a sign of life after which a clip is given up
CLOSING = 10.0  # seconds to wait for the workers' files to be closed

Source = Callable[[], Video]


class Opened(NamedTuple):
    """A clip's first event; absent where it cannot be opened."""

    clip: int
    info: VideoInfo


class Block(NamedTuple):
    """Consecutive frames of a clip."""

    clip: int
    frames: Tensor  # uint8 [n, H, W, 3], BGR, model size
    times: list[float]  # seconds


class Ended(NamedTuple):
    """A clip's last event."""

    clip: int
    outcome: Outcome


class _GivenUp(Ended):
    """Of a clip whose worker hangs."""


class NoAnswerError(OSError):
    """The disk or the network does not answer."""


FeedEvent = Opened | Block | Ended
Taking = Callable[[], None]  # what the consumer has to do before it may use a block's frames
CPU = torch.device("cpu")


class _Worker:
    """A decoder's thread, and what others know of it."""

    def __init__(self, work: Callable[[_Worker], None], name: str) -> None:
        self.thread = threading.Thread(target=work, args=(self,), name=name, daemon=True)
        self.clip: int | None = None  # that it decodes
        self.beats = 0  # one for every sign of life: what was read, decoded, or waits for room
        self.silence = Silence()
        self.lock = threading.Lock()  # held while an event of it is queued
        self.left_behind = False

    def beat(self) -> None:
        self.beats += 1


class Feed:
    """Iterate to get the events of all clips; those of one clip in order, those of several workers' clips interleaved.

    Whoever stops before the end closes the iterator: then the workers stop, and their files are closed.

    Args:
        sources: functions that open one video each; called in order, in the workers' threads.
        size: model input (height, width).
        workers: decoder threads; each decodes whole files.
        device: where the frames will be used. For a GPU, those on the host are left in pinned memory, from where it
            takes them without anyone waiting; those on the GPU are ready on the stream that is current for whoever
            iterates.
        region: outside of it frames are black.

    A trouble with one clip ends that clip with its status, never the feed.

    Raises:
        NoAnswerError: one clip after the other hangs.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        size: tuple[int, int],
        workers: int,
        *,
        device: torch.device = CPU,
        region: Region | None = None,
    ) -> None:
        self._sources = enumerate(sources)
        self._size, self._device, self._region = size, device, region
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._queue: queue.Queue[tuple[FeedEvent, Taking] | BaseException | None] = queue.Queue(maxsize=DEPTH * workers)
        self._workers = [_Worker(self._work, f"decode-{i}") for i in range(workers)]

    def __iter__(self) -> Generator[FeedEvent, None, None]:
        running = len(self._workers)
        silent = 0  # clips in a row that were given up
        try:
            for worker in self._workers:
                worker.thread.start()
            while running:
                self._leave_behind_what_hangs()
                try:
                    item = self._queue.get(timeout=LOOK)
                except queue.Empty:
                    continue
                if item is None:
                    running -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    event, take = item
                    silent = silent + 1 if isinstance(event, _GivenUp) else 0
                    if silent > len(self._workers):
                        raise NoAnswerError(
                            f"{silent} files in a row gave nothing for {HANGS:.0f} seconds: the disk or the network"
                            " does not answer; run again when it does"
                        )
                    take()
                    yield event
        finally:
            self._close()

    def _close(self) -> None:
        """Stop the workers and wait until their files are closed, but for those of workers that hang.

        Garbage collection may call in any thread. A worker's own waits for none: it may hold what the others wait for.
        """
        self._stop.set()
        threads = [w.thread for w in self._workers if w.thread.ident is not None and not w.left_behind]
        if threading.current_thread() in threads:
            return
        deadline = time.monotonic() + CLOSING
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _leave_behind_what_hangs(self) -> None:
        for i, worker in enumerate(self._workers):
            beats, clip = worker.beats, worker.clip
            if worker.silence.seconds(beats) < HANGS or clip is None:
                continue
            with worker.lock:  # so that it says nothing of its clip after this
                if worker.beats != beats:
                    continue
                reason = f"nothing read or decoded for {HANGS:.0f} seconds: the decoder or the disk hangs; given up"
                try:
                    self._queue.put_nowait((_GivenUp(clip, Outcome(Status.FAILED, reason)), lambda: None))
                except queue.Full:  # then the next time
                    continue
                worker.left_behind = True
            self._workers[i] = _Worker(self._work, worker.thread.name)
            self._workers[i].thread.start()

    def _work(self, worker: _Worker) -> None:
        on_pulse(worker.beat)
        try:
            with current(decode_stream(self._device)):
                while not self._stop.is_set() and not worker.left_behind:
                    with self._lock:
                        index, source = next(self._sources, (-1, None))
                    if source is None:
                        break
                    worker.beat()
                    worker.clip = index
                    self._decode(worker, index, source)
                    worker.clip = None
        except BaseException as error:  # the iterable of sources itself failed: the consumer's error, not a clip's
            self._put(worker, error)
        self._put(worker, None)

    def _decode(self, worker: _Worker, clip: int, source: Source) -> None:
        try:
            video = source()
            try:
                self._tell(worker, Opened(clip, video.info))
                for block in self._blocks(worker, clip, video):
                    if not self._put(worker, (block, hand_over(block.frames))):
                        return
                outcome = video.outcome
            finally:
                video.close()
            self._tell(worker, Ended(clip, outcome))
        except VideoError as error:
            self._tell(worker, Ended(clip, Outcome(error.status, error.reason, error.passing)))
        except Exception as error:  # whatever a hostile file provokes stays that file's trouble
            self._tell(worker, Ended(clip, Outcome(Status.FAILED, f"{type(error).__name__}: {error}")))

    def _blocks(self, worker: _Worker, clip: int, video: Video) -> Iterator[Block]:
        frames: list[Tensor] = []
        times: list[float] = []
        for chunk in video:
            worker.beat()
            frames.append(frame_prep(list(chunk.planes), *self._size, matrix=chunk.matrix, full_range=chunk.full_range))
            times.extend(chunk.times)
            if len(times) >= BLOCK:
                yield Block(clip, self._join(frames), times)
                frames, times = [], []
        if frames:
            yield Block(clip, self._join(frames), times)

    def _tell(self, worker: _Worker, event: FeedEvent) -> None:
        self._put(worker, (event, lambda: None))

    def _put(self, worker: _Worker, item: tuple[FeedEvent, Taking] | BaseException | None) -> bool:
        """Wait for room; False if the feed is being closed meanwhile, or the worker was left behind."""
        while not self._stop.is_set():
            worker.beat()
            with worker.lock:
                if worker.left_behind:
                    return False
                try:
                    self._queue.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
        return False

    def _join(self, frames: list[Tensor]) -> Tensor:
        """Concatenate, on a CPU without torch: its copies would start a second team of OpenMP threads."""
        on_gpu = frames[0].is_cuda
        if on_gpu:
            joined = frames[0] if len(frames) == 1 else torch.cat(frames)
        else:
            joined = torch.from_numpy(np.concatenate([f.numpy() for f in frames]))
        if self._region is not None:
            self._region.hide(joined)
        return joined.pin_memory() if self._device.type == "cuda" and not on_gpu else joined
