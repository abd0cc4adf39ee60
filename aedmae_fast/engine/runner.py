"""From windows to the terms of the score: one step of fixed shape, in threads on a CPU, as a captured graph on a GPU.

On a CPU every thread computes a few frames at a time, with single-threaded operations: no barrier inside a frame, so
that a core that is busy elsewhere slows down its frames and not all (benchmarks/threads.py: 1.2 to 2.2 times as fast as
two threads on the same frame). A few frames share what an operation costs whatever its size, which is Python's part.
Our kernels compute each frame by itself, so its terms are the same bits in any company, and on any number of cores. On
a GPU the micro-batch is of one fixed size, since a library's matrix product may round differently for another: one
graph (engine/graph.py), whose inputs are indices.

Frames and maps lie in memory that stays where it is (engine/resident.py): a step reads its frames there and leaves its
maps there, and the filter in time reads those of a whole batch in one launch. On a GPU all of it is launched on the
runner's own stream, so that it runs in the order in which it was submitted, and beside what the decoders do; what comes
back of a batch is a few numbers a frame, in one copy that nobody waits for but who asks for them.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import torch
from torch import Tensor

from aedmae_fast.config import CHANNELS, TARGET_CHANNELS, WINDOW, ScoringPreset
from aedmae_fast.engine.graph import Capture, CudaCapture, GraphRunner
from aedmae_fast.engine.precision import dtypes_of
from aedmae_fast.engine.resident import Resident, Rows
from aedmae_fast.engine.ring import Window
from aedmae_fast.engine.streams import compute_stream, current
from aedmae_fast.model.inference import InferenceModel
from aedmae_fast.model.masks import mask_bank
from aedmae_fast.model.network import AedMae
from aedmae_fast.model.region import Region
from aedmae_fast.ops import discrepancy_map, mean_filter, mean_map, mean_max

__all__ = ["Batch", "Computed", "FrameTerms", "Maximum", "Runner", "Session", "score_windows"]

_runners: weakref.WeakSet[Runner] = weakref.WeakSet()  # all there are
MICRO_BATCH = {"cpu": 4, "cuda": 64}  # frames at a time, on a CPU in each thread and at most


class FrameTerms(NamedTuple):
    """The terms of one frame's score."""

    colour: float  # teacher error of the colours, mean over the frame's pixels
    abnormal: float  # of the anomaly map, likewise
    gap: float  # teacher to student, likewise
    class_prob: float  # NaN without a class head

    @property
    def teacher_error(self) -> float:
        return self.colour + self.abnormal


class Batch(NamedTuple):
    """What is computed together: of windows of frames terms and maps, then of windows of maps, these among them."""

    windows: Sequence[Window]  # of frames
    map_rows: Sequence[int]  # row for the map of each; empty where no map is kept
    due: Sequence[Window]  # of maps


class Maximum(NamedTuple):
    """Where a map is greatest."""

    value: float
    x: float  # middle of the pixel, from the left, 0..1 of the frame's width
    y: float  # from the top, 0..1 of its height


class Computed(NamedTuple):
    """What came of a batch."""

    terms: list[FrameTerms]  # of each window of frames
    maxima: list[Maximum]  # of the mean over each window of maps
    means: Tensor | None  # these means, float32 [len(due), H, W] on the host, where asked for


def score_windows(
    model: InferenceModel, preset: ScoringPreset, frames: Tensor, windows: Tensor, masks: Tensor
) -> tuple[Tensor, Tensor]:
    """What the network says of b windows.

    Args:
        frames: uint8 [R, H, W, 3].
        windows: int64 [b, 3], rows of ``frames``: t-3, t, t+3.
        masks: int64 [b, L], the mask of each.

    Returns:
        float32 [b, H, W], the preset's weighted terms without the class probability, not filtered; and float32 [b, 4]:
        colour error, abnormality, gap and class probability.
    """
    m, p = model, preset
    states = m(frames, windows, masks)
    share = 1.0 if p.channels == "sum" else 1 / TARGET_CHANNELS
    weights = (share * p.colour_weight, share * p.abnormal_weight, share * p.gap_weight)
    targets = frames.index_select(0, windows[:, WINDOW.index(0)])  # [b, H, W, 3]
    errors, means = discrepancy_map(states.teacher, states.student, *m.heads, targets, m.config.patch, p.error, weights)
    prob = means.new_full((len(means),), torch.nan)
    if states.class_logit is not None:
        prob = states.class_logit.sigmoid()
    return errors, torch.cat([share * means, prob[:, None]], dim=1)


class Runner:
    """Holds the network on its device in its precision, and the frames and maps of all sessions.

    Args:
        model: a network in float32; it stays as it is.
        precision: ``fp32`` or ``bf16`` (weights and activations; errors and sums are float32 in both); ``int8`` on a
            CPU and ``fp8`` on a GPU for the linear layers.
        threads: on a CPU, those that compute, each its own frames. Sets torch to one thread an operation, in
            the thread that makes it and in all that have not used torch before.
        region: outside of it every map is 0. That frames are black there is the matter of whoever adds them.
        capture: makes the recorder of graphs for a device; by default CUDA's on a GPU, and none on a CPU.

    Attributes:
        stream: on a GPU, the one that all of it runs on.
    """

    def __init__(
        self,
        model: AedMae,
        preset: ScoringPreset,
        device: str,
        precision: str,
        threads: int,
        region: Region | None = None,
        capture: Callable[[torch.device], Capture] | None = None,
    ) -> None:
        self.device = torch.device(device)
        if device == "cuda":  # by its number: each decoder's thread has a current device of its own
            self.device = torch.device("cuda", torch.cuda.current_device())
        c = model.config
        self.stream = compute_stream(self.device)
        self._preset = preset
        with current(self.stream):
            self._model = InferenceModel(model, self.device, *dtypes_of(precision))
            self._masks = mask_bank(c).to(self.device)  # [K, L]
            self._inside = None if region is None else region.inside.to(self.device, torch.float32)  # [H, W]
            self._frames = Resident((c.height, c.width, CHANNELS), torch.uint8, self.device, self.stream)
            self._maps = Resident((c.height, c.width), torch.float32, self.device, self.stream)
        self._size, self._threads = MICRO_BATCH[self.device.type], threads
        self._start_threads()
        _runners.add(self)
        self._closed: deque[Rows] = deque()  # of closed sessions, to be taken back when nobody can be writing there
        self._graphs: dict[bool, GraphRunner] = {}  # by whether they write maps
        self._capture = capture or (None if self.device.type == "cpu" else CudaCapture)
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # of this thread; the pool's threads set theirs

    def _start_threads(self) -> None:
        """Those that a CPU computes on."""
        self._lock = threading.Lock()  # nothing is submitted while rows move
        self._running: list[Future[Tensor]] = []
        self._pool = ThreadPoolExecutor(self._threads, "compute", lambda: torch.set_num_threads(1))

    def start_anew(self) -> None:
        """In a forked process: it has none of its parent's threads, one of which may hold any lock for ever."""
        self._start_threads()
        self._frames.renew_lock()
        self._maps.renew_lock()

    def session(self, frames: int, maps: int) -> Session:
        """Room for so many frames and maps at a time; close it to give it back.

        Args:
            maps: 0 where none is to be kept, as a preset that pools by the mean can do without.
        """
        with self._lock, current(self.stream):
            self._wait()
            while self._closed:
                self._closed.popleft().give_back()
            before = self._frames.tensor, self._maps.tensor
            room = self._frames.lend(frames), self._maps.lend(maps)
            needed = {maps > 0}
            if self._frames.tensor is not before[0] or self._maps.tensor is not before[1]:
                needed |= self._graphs.keys()
                self._graphs.clear()  # they would go on reading the memory that was left
            del before
            if self._capture is not None:
                try:
                    self._graphs |= {m: self._record(self._capture, maps=m) for m in needed - self._graphs.keys()}
                except BaseException:  # no graph now: whoever submits before the next session hears of it
                    for rows in room:
                        rows.give_back()
                    raise
        return Session(self, *room)

    def _record(self, capture: Callable[[torch.device], Capture], maps: bool) -> GraphRunner:
        """The step as a graph, with maps or without."""
        examples = [torch.zeros(1, len(WINDOW), dtype=torch.int64), torch.zeros(1, dtype=torch.int64)]
        if maps:
            examples.append(torch.zeros(1, dtype=torch.int64))
        first = self._maps.tensor[:1]
        kept = first.clone()
        try:
            return GraphRunner(
                self.step, self._resident(), examples, [self._size], weights=self._weights(), capture=capture
            )
        finally:
            first.copy_(kept)  # captures run the step, which writes there

    def submit(self, batch: Batch, means: bool) -> Callable[[], Computed]:
        """See :meth:`Session.submit`."""
        count, size = len(batch.windows), self._size
        if self._capture is None:
            size = min(size, -(-count // self._threads)) or 1  # of few windows, every thread has its share
        parts = [self._indices(batch, slice(start, start + size)) for start in range(0, count, size)]
        with self._lock, current(self.stream):
            if self._capture is None:
                started = [self._pool.submit(self._step_alone, part) for part in parts]
                self._running = [f for f in self._running if not f.done()] + started
                return lambda: self._computed([f.result() for f in started], *self._in_time(batch.due, means))
            graph = self._graphs.get(bool(batch.map_rows))
            if parts and graph is None:
                raise RuntimeError("no graph: its capture failed when a session was opened; open another")
            columns = [_to_host(graph(*part)[0]) for part in parts] if graph is not None else []
            values, pixels, maps = self._in_time(batch.due, means)
            values, pixels, maps = _to_host(values), _to_host(pixels), None if maps is None else _to_host(maps)
            arrived = self._mark()

        def finish() -> Computed:
            arrived()
            return self._computed(columns, values, pixels, maps)

        return finish

    def close(self, session: Session) -> None:
        """See :meth:`Session.close`."""
        self._closed.extend((session.frames, session.maps))

    @torch.inference_mode()
    def step(
        self,
        masks: Tensor,
        frames: Tensor,
        maps: Tensor,
        windows: Tensor,
        mask_ids: Tensor,
        map_rows: Tensor | None = None,
    ) -> tuple[Tensor]:
        """All that is computed of b windows by themselves: launches only, nothing that a graph could not hold.

        Args:
            masks: int64 [K, L].
            frames: uint8 [R, H, W, 3].
            maps: float32 [M, H, W]. The windows' maps of the preset's weighted terms, without the class probability,
                are written there, after the spatial part of its filter.
            windows: int64 [b, 3], rows of ``frames``: t-3, t, t+3.
            mask_ids: int64 [b], which mask each takes.
            map_rows: int64 [b], rows of ``maps``; a row that comes twice must be for the same window. None: no map is
                written.

        Returns:
            float32 [b, 4]: colour error, abnormality, gap and class probability.
        """
        errors, terms = score_windows(self._model, self._preset, frames, windows, masks.index_select(0, mask_ids))
        if map_rows is not None:
            if self._inside is not None:
                errors = errors * self._inside
            maps.index_copy_(0, map_rows, mean_filter(errors, self._preset.map_filter[1:]))
        return (terms,)

    def _resident(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._masks, self._frames.tensor, self._maps.tensor

    def _weights(self) -> list[Tensor]:
        """All that :meth:`step` reads beside its arguments."""
        return [*self._model.tensors(), *([] if self._inside is None else [self._inside])]

    def _indices(self, batch: Batch, part: slice) -> list[Tensor]:
        """Arguments of :meth:`step` for one micro-batch."""
        windows, map_rows = batch.windows[part], batch.map_rows[part]
        indices = [self._ready([w.rows for w in windows]), self._ready([w.frame % len(self._masks) for w in windows])]
        return [*indices, self._ready(map_rows)] if map_rows else indices

    def _ready(self, rows: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        """int64, to be copied to the device without waiting."""
        return torch.tensor(rows, dtype=torch.int64, pin_memory=self.device.type == "cuda")

    def _step_alone(self, part: Sequence[Tensor]) -> Tensor:
        return self.step(*self._resident(), *part)[0]

    def _in_time(self, due: Sequence[Window], means: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """The filter's part in time, of maps that are there or launched: its maxima and their pixels [len(due)]."""
        if not due:
            return torch.empty(0), torch.empty(0), None
        extent = self._preset.map_filter[0]  # always: a kernel is compiled for it
        padded = self._ready([[*w.rows, *[-1] * (extent - len(w.rows))] for w in due])
        windows = padded.to(self.device, non_blocking=True)
        maps = self._maps.tensor
        return *mean_max(maps, windows), mean_map(maps, windows) if means else None

    def _computed(self, columns: Sequence[Tensor], values: Tensor, pixels: Tensor, means: Tensor | None) -> Computed:
        height, width = self._maps.tensor.shape[1:]
        terms = [FrameTerms(*row) for part in columns for row in part.tolist()]
        places = [((p % width + 0.5) / width, (p // width + 0.5) / height) for p in pixels.tolist()]
        return Computed(terms, [Maximum(v, *place) for v, place in zip(values.tolist(), places, strict=True)], means)

    def _wait(self) -> None:
        wait(self._running)
        if self.stream is not None:
            self.stream.synchronize()

    def _mark(self) -> Callable[[], None]:
        """Waits until everything that is on the runner's stream by now is done."""
        return (lambda: None) if self.stream is None else self.stream.record_event().synchronize


class Session:
    """Room for the frames and maps of one loop, and what computes with them. Made by :meth:`Runner.session`.

    Attributes:
        frames, maps: the rows to put frames in, and to have maps put in. A row is to be held until every batch that
            reads or writes it has been waited for.
    """

    def __init__(self, runner: Runner, frames: Rows, maps: Rows) -> None:
        self._runner = runner
        self.frames, self.maps = frames, maps

    def submit(self, batch: Batch, means: bool = False) -> Callable[[], Computed]:
        """Start computing; call what is returned to wait for the results, batch by batch in order.

        Args:
            means: return the means over windows of maps too, not only their maxima.
        """
        return self._runner.submit(batch, means)

    def close(self) -> None:
        """Nothing more is submitted: the next session that is opened may have the room. A second time does nothing.

        Never waits, and takes no lock: garbage collection may call in any thread, one that computes among them.
        """
        self._runner.close(self)


def _after_fork() -> None:
    for runner in _runners:
        runner.start_anew()


os.register_at_fork(after_in_child=_after_fork)


def _to_host(x: Tensor) -> Tensor:
    """A copy on the host; from a GPU it arrives when the stream has come so far."""
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=x.is_cuda).copy_(x, non_blocking=True)
