"""Anomaly maps: what a frame's raw score is pooled from, frame by frame."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aedmae_fast.engine.results import ClipScores

__all__ = ["ClipMaps", "FrameMap"]


class FrameMap(NamedTuple):
    """One frame's map, of its preset's weighted terms after its filter over space and time.

    Where the preset pools by the maximum (``paper``, ``anomaly-map``), ``float(values.max()) + offset`` is the raw
    score bit for bit, and the pixel at ``ClipScores.x`` and ``.y`` has that maximum; it is the first one that has,
    unless the filter spans several frames: sums that differ in their last bit may have one mean. Where the preset pools
    by the mean (``release-*``), ``values.mean() + offset`` is the raw score up to rounding.
    """

    frame: int
    time_s: float
    values: NDArray[np.float32]  # [H, W] at the model's size, over the whole frame, whatever its shape
    offset: float  # preset's weight times class probability, mean over the filter's frames: the same for every pixel


class ClipMaps(Iterator[FrameMap]):
    """The maps of one clip in order; of every frame, or with a stride of those that are scored. Iterate once.

    Made by :meth:`Scorer.maps`. A few frames are in memory, whatever the clip's length. A clip that cannot be read has
    no maps, and one that is cut or damaged those of what was decoded: :attr:`scores` tells.
    """

    def __init__(self, steps: Generator[FrameMap, None, ClipScores]) -> None:
        self._steps = steps
        self._scores: ClipScores | None = None

    def __next__(self) -> FrameMap:
        try:
            return next(self._steps)
        except StopIteration as end:
            self._scores = end.value or self._scores
            raise StopIteration from None

    @property
    def scores(self) -> ClipScores:
        """The clip's scores and status, as :meth:`Scorer.score` returns them.

        Raises:
            RuntimeError: not all maps were taken.
        """
        if self._scores is None:
            raise RuntimeError("a clip's scores are known only once all of its maps were taken")
        return self._scores

    def close(self) -> None:
        """Stop, and let go of the video. Maps handed out stay valid."""
        self._steps.close()
