"""From windows to the terms of the score, eagerly: the plain runner, which a captured one must agree with.

Computes in micro-batches of one fixed size, because a GPU library's matrix product may round differently for another
batch size: so a frame's terms depend on its window alone. On a CPU that is one frame at a time, one frame per thread,
with single-threaded operations: no barrier inside a frame, so that a core that is busy elsewhere slows down one frame
and not all (benchmarks/threads.py: 1.2 to 2.2 times as fast as two threads on the same frame), and the same bits
whatever the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from aedmae_fast.config import TARGET_CHANNELS, WINDOW, ScoringPreset
from aedmae_fast.engine.ring import Window
from aedmae_fast.model.inference import InferenceModel
from aedmae_fast.model.masks import mask_bank
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops import discrepancy_map, mean_filter

MICRO_BATCH = {"cpu": 1, "cuda": 16}


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
        threads: on a CPU, frames computed at the same time. Sets torch to one thread an operation.
    """

    def __init__(self, model: AedMae, preset: ScoringPreset, device: str, precision: str, threads: int) -> None:
        self.device = torch.device(device)
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self._model = InferenceModel(model, self.device, dtype)
        self._preset = preset
        self._masks = mask_bank(model.config).to(self.device)  # [K, L]
        self._size = MICRO_BATCH[self.device.type]
        self._windows = torch.arange(self._size * len(WINDOW), device=self.device).view(-1, len(WINDOW))  # [b, 3]
        self._map: Callable[..., Iterable[list[FrameTerms]]] = lambda compute, parts: [compute(p) for p in parts]
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # of this thread; the pool's threads set theirs
            self._map = ThreadPoolExecutor(threads, "compute", lambda: torch.set_num_threads(1)).map

    def __call__(self, windows: Sequence[Window]) -> list[FrameTerms]:
        """Terms of each window, in order."""
        return self.submit(windows)()

    def submit(self, windows: Sequence[Window]) -> Callable[[], list[FrameTerms]]:
        """Start computing; call what is returned to wait for the terms."""
        parts = [windows[start : start + self._size] for start in range(0, len(windows), self._size)]
        results = self._map(self._micro_batch, parts)
        return lambda: [terms for part in results for terms in part]

    @torch.inference_mode()
    def _micro_batch(self, windows: Sequence[Window]) -> list[FrameTerms]:
        padded = [*windows, *[windows[-1]] * (self._size - len(windows))]
        frames = torch.stack([torch.stack(w.frames) for w in padded])  # [b, 3, H, W, 3]
        m, p = self._model, self._preset
        states = m(frames.flatten(0, 1), self._windows, self._masks[[w.frame % len(self._masks) for w in padded]])
        share = 1.0 if p.channels == "sum" else 1 / TARGET_CHANNELS
        weights = (share * p.colour_weight, share * p.abnormal_weight, share * p.gap_weight)
        maps, means = discrepancy_map(
            states.teacher, states.student, *m.heads, frames[:, WINDOW.index(0)], m.config.patch, p.error, weights
        )
        prob = means.new_full((len(means),), torch.nan)
        if states.class_logit is not None:
            prob = states.class_logit.sigmoid()
        columns = torch.cat([share * means, prob[:, None]], dim=1).tolist()  # one copy to the host
        filtered: Sequence[Tensor | None] = [None] * len(columns)
        if p.pool == "max":
            filtered = self._filtered(maps, prob)
        return [FrameTerms(c, a, g, prob, filtered[i]) for i, (c, a, g, prob) in enumerate(columns[: len(windows)])]

    def _filtered(self, maps: Tensor, prob: Tensor) -> list[Tensor]:
        """Eq. 6 with the class probability, after the filter's spatial part."""
        p = self._preset
        if p.class_weight:
            maps = maps + p.class_weight * prob[:, None, None]
        return [mean_filter(m, p.map_filter[1:]) for m in maps]
