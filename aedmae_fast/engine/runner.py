"""From windows to the terms of the score: one step of fixed shape, in threads on a CPU, as a captured graph on a GPU.

On a CPU every thread computes a few frames at a time, with single-threaded operations: no barrier inside a frame, so
that a core that is busy elsewhere slows down its frames and not all (benchmarks/threads.py: 1.2 to 2.2 times as fast as
two threads on the same frame). A few frames share what an operation costs whatever its size, Python's part and the
packing of weights. Our kernels compute each frame by itself, so its terms are the same bits in any company, and on any
number of cores. On a GPU the micro-batch is of one fixed size, one graph (engine/graph.py), since a library's matrix
product may round differently for another; only its numbers are waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from aedmae_fast.config import TARGET_CHANNELS, WINDOW, ScoringPreset
from aedmae_fast.engine.graph import GraphRunner
from aedmae_fast.engine.ring import Window
from aedmae_fast.model.inference import InferenceModel
from aedmae_fast.model.masks import mask_bank
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops import discrepancy_map, mean_filter

MICRO_BATCH = {"cpu": 4, "cuda": 64}  # frames at a time, on a CPU in each thread and at most


class FrameTerms(NamedTuple):
    """The terms of one frame's score."""

    colour: float  # teacher error of the colours, mean over the frame's pixels
    abnormal: float  # of the anomaly map, likewise
    gap: float  # teacher to student, likewise
    class_prob: float  # NaN without a class head
    map: Tensor | None  # float32 [H, W], Eq. 6 after the filter's spatial part; None where the preset pools by the mean

    @property
    def teacher_error(self) -> float:
        return self.colour + self.abnormal


class Runner:
    """Holds the network on its device in its precision.

    Args:
        model: a network in float32; it stays as it is.
        precision: ``fp32`` or ``bf16`` (weights and activations; errors and sums are float32 in both).
        threads: on a CPU, those that compute, each its own frames. Sets torch to one thread an operation.
    """

    def __init__(self, model: AedMae, preset: ScoringPreset, device: str, precision: str, threads: int) -> None:
        self.device = torch.device(device)
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self._model = InferenceModel(model, self.device, dtype)
        self._preset = preset
        self._masks = mask_bank(model.config).to(self.device)  # [K, L]
        self._size, self._threads = MICRO_BATCH[self.device.type], threads
        self._map: Callable[..., Iterable[Callable[[], list[FrameTerms]]]] = map
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # of this thread; the pool's threads set theirs
            self._map = ThreadPoolExecutor(threads, "compute", lambda: torch.set_num_threads(1)).map
            self._graph = None
        else:
            c = model.config
            frames = torch.zeros(1, len(WINDOW), c.height, c.width, 3, dtype=torch.uint8)
            number = torch.zeros(1, dtype=torch.int64)
            self._graph = GraphRunner(self.step, [self._masks], [frames, number], [self._size])

    def __call__(self, windows: Sequence[Window]) -> list[FrameTerms]:
        """Terms of each window, in order."""
        return self.submit(windows)()

    def submit(self, windows: Sequence[Window]) -> Callable[[], list[FrameTerms]]:
        """Start computing; call what is returned to wait for the terms."""
        size = min(self._size, -(-len(windows) // self._threads)) or 1  # of few windows, every thread has its share
        parts = [windows[start : start + size] for start in range(0, len(windows), size)]
        started = self._map(self._start, parts)
        if self._graph is not None:
            started = list(started)  # launched now, waited for later
        return lambda: [terms for part in started for terms in part()]

    @torch.inference_mode()
    def step(self, masks: Tensor, frames: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """All that is computed of b windows: launches only, nothing that a captured graph could not hold.

        Args:
            masks: int64 [K, L].
            frames: uint8 [b, 3, H, W, 3].
            numbers: int64 [b], which mask each takes.

        Returns:
            float32 [b, 4], colour error, abnormality, gap and class probability; float32 [b, H, W], the maps of
            Eq. 6 after the spatial part of the preset's filter (unfiltered where it pools by the mean).
        """
        m, p = self._model, self._preset
        every = frames.flatten(0, 1)  # [b*3, H, W, 3]
        windows = torch.arange(len(every), device=frames.device).view(-1, len(WINDOW))  # [b, 3]
        states = m(every, windows, masks.index_select(0, numbers))
        share = 1.0 if p.channels == "sum" else 1 / TARGET_CHANNELS
        weights = (share * p.colour_weight, share * p.abnormal_weight, share * p.gap_weight)
        maps, means = discrepancy_map(
            states.teacher, states.student, *m.heads, frames[:, WINDOW.index(0)], m.config.patch, p.error, weights
        )
        prob = means.new_full((len(means),), torch.nan)
        if states.class_logit is not None:
            prob = states.class_logit.sigmoid()
        if p.pool == "max":
            if p.class_weight:
                maps = maps + p.class_weight * prob[:, None, None]
            maps = torch.stack([mean_filter(one, p.map_filter[1:]) for one in maps])
        return torch.cat([share * means, prob[:, None]], dim=1), maps

    def _start(self, windows: Sequence[Window]) -> Callable[[], list[FrameTerms]]:
        """Compute a micro-batch, of the size of the others or smaller."""
        frames = torch.stack([torch.stack(w.frames) for w in windows])  # [b, 3, H, W, 3]
        numbers = torch.tensor([w.frame % len(self._masks) for w in windows])  # [b]
        if self._graph is None:
            columns, maps = self.step(self._masks, frames, numbers)
            return lambda: self._terms(columns, maps)
        outputs = self._graph(frames, numbers.pin_memory())
        maps = outputs[1].clone()  # the next replay writes over it
        columns = torch.empty(outputs[0].shape, pin_memory=True)
        columns.copy_(outputs[0], non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()

        def wait() -> list[FrameTerms]:
            arrived.synchronize()
            return self._terms(columns, maps)

        return wait

    def _terms(self, columns: Tensor, maps: Tensor) -> list[FrameTerms]:
        filtered: Sequence[Tensor | None] = list(maps) if self._preset.pool == "max" else [None] * len(maps)
        return [FrameTerms(c, a, g, p, m) for (c, a, g, p), m in zip(columns.tolist(), filtered, strict=True)]
