"""Ours at several batch sizes, and how long a single frame takes."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from aedmae_fast.engine.runner import MICRO_BATCH

from .contender import Contender, Inputs, Way
from .torch_contenders import Ours

BATCHES = {"cpu": (1, 2, 4, 8, 16, 32), "cuda": (1, 4, 16, 32, 64, 128, 256, 512)}
LATENCIES = 200  # frames, one after the other; the first tenth is a warm-up


def sweep(ours: Ours, inputs: Inputs, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Frames per second where so many frames are handed over at once and waited for."""
    batches = BATCHES[inputs.device.type]
    contenders = [_contender(ours, inputs, batch, threads) for batch in batches]
    rates: list[list[float]] = [[] for _ in batches]
    for i in range(-1, rounds):  # the first to warm up
        for values, contender, batch in zip(rates, contenders, batches, strict=True):
            starts = range(0, len(inputs.windows) - batch + 1, batch)
            seconds = sum(_call(contender, start, batch, inputs) for start in starts)
            if i >= 0:
                values.append(len(starts) * batch / seconds)
    return [{"batch": b, "fps": round(statistics.median(values), 2)} for b, values in zip(batches, rates, strict=True)]


def _call(contender: Contender, start: int, batch: int, inputs: Inputs) -> float:
    """Seconds of one batch; each has other windows than the last."""

    def step(part: slice) -> None:
        contender.step(slice(start + part.start, start + part.stop))

    return contender.way.run(step, batch, inputs.device)


def latency(ours: Ours, inputs: Inputs) -> dict[str, float]:
    """Milliseconds from a window in memory to its results, one frame at a time: median and 99th percentile."""
    contender, n = _contender(ours, inputs, 1, threads=1), len(inputs.windows)
    times = [1e3 * _call(contender, i % n, 1, inputs) for i in range(LATENCIES)]
    p50, p99 = np.percentile(times[LATENCIES // 10 :], [50, 99])
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def _contender(ours: Ours, inputs: Inputs, batch: int, threads: int) -> Contender:
    """On a GPU a captured graph, where graphs can be had."""
    if inputs.device.type == "cpu":
        share = -(-batch // threads)  # as the engine deals them
        return ours.contender(Way(min(MICRO_BATCH["cpu"], share), threads, apart=True))
    try:
        return ours.captured(batch)
    except RuntimeError:  # said by the graph runner
        return ours.contender(Way(batch, threads))
