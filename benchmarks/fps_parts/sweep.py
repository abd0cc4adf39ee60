"""Ours at several batch sizes, and how long a single frame takes.

On a GPU each batch size has a graph of its own here. The engine has one, of MICRO_BATCH frames, which it fills up
whatever it is given: a live stream pays for all of them with every frame, and is measured by itself.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
from torch import Tensor

from aedmae_fast import Scorer
from aedmae_fast.engine.runner import MICRO_BATCH
from aedmae_fast.engine.stream import FrameStream

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
    return _percentiles([_call(contender, i % n, 1, inputs) for i in range(LATENCIES)])


def stream_latency(scorer: Scorer, frames: Tensor) -> dict[str, float]:
    """The same of the engine's live stream, from a frame that is pushed to the scores that are due then.

    Args:
        frames: uint8 [T, H, W, 3], of the model's size; pushed from the host, over and over.
    """
    stream = FrameStream(scorer.runner, scorer.config, scorer.preset, False, 25.0, "bgr", scorer.region)
    host, times = frames.cpu(), []
    for i in range(LATENCIES):
        started = time.perf_counter()
        stream.push(host[i % len(host)])
        times.append(time.perf_counter() - started)
    stream.finish()
    return _percentiles(times)


def _percentiles(seconds: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(seconds[LATENCIES // 10 :], [50, 99])
    return {"p50_ms": round(1e3 * float(p50), 2), "p99_ms": round(1e3 * float(p99), 2)}


def _contender(ours: Ours, inputs: Inputs, batch: int, threads: int) -> Contender:
    """On a GPU a captured graph, where graphs can be had."""
    if inputs.device.type == "cpu":
        share = -(-batch // threads)  # as the engine deals them
        return ours.contender(Way(min(MICRO_BATCH["cpu"], share), threads, apart=True))
    try:
        return ours.captured(batch)
    except RuntimeError:  # said by the graph runner
        return ours.contender(Way(batch, threads))
