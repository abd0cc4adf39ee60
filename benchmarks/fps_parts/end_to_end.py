"""Decoding alone, the model alone, and both end to end on the same clips: which of the two is the ceiling?

"decode" is what the engine's feed delivers: demuxing, decoding, colour and resizing to the model's input. "model" is
the engine's runner on frames that lie in memory: teacher, student, class head, pixel maps, their filter in space and
time and its maxima. "end to end" is ``Scorer.score_many``: files in, final scores out.

Decoders of a GPU leave files to software where they have to; "decoded_by" tells all that decoded in "decode".
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aedmae_fast import Scorer
from aedmae_fast.engine.feed import Block, Ended, Opened
from aedmae_fast.engine.postprocess import RawScore
from aedmae_fast.engine.ring import FrameRing, Window
from aedmae_fast.engine.runner import Batch, Computed
from aedmae_fast.video import Status


class Measured(NamedTuple):
    """Of all parts."""

    rates: dict[str, list[float]]  # frames per second, one value a round
    decoded_by: set[str]


class Decoded(NamedTuple):
    """Clips that were decoded, together."""

    frames: int
    seconds: float
    by: set[str]  # what decoded them


def measure(scorer: Scorer, clips: list[Path], rounds: int) -> Measured:
    """Each part, which has its turn in each round."""
    decoded_by: set[str] = set()

    def decode_all() -> int:
        found = decode(scorer, clips, int(scorer.choices["workers"].value))
        decoded_by.update(found.by)
        return found.frames

    clip = frames_of(scorer, clips[0])
    count = len(clip) * len(clips)
    parts: dict[str, Callable[[], int]] = {
        "decode": decode_all,
        "model": lambda: _run_model(scorer, clip, count),
        "end_to_end": lambda: sum(result.frames for result in scorer.score_many(clips)),
    }
    _run_model(scorer, clip, len(clip))  # warm-up
    for _ in scorer.score_many(clips[:1]):  # in its own room: on a GPU another capture
        pass
    rates: dict[str, list[float]] = {name: [] for name in parts}
    for i in range(rounds):
        for name, part in parts.items():
            started = time.perf_counter()
            frames = part()
            assert frames == count, f"{name}: {frames} of {count} frames"
            rates[name].append(frames / (time.perf_counter() - started))
        latest = ", ".join(f"{name} {values[-1]:.1f}" for name, values in rates.items())
        print(f"  end to end, round {i + 1}/{rounds}: {latest} frames/s", flush=True)
    return Measured(rates, decoded_by)


def summarise(measured: Measured) -> dict[str, Any]:
    """Medians, and what the lower ceiling leaves."""
    rates = measured.rates
    median = {name: statistics.median(values) for name, values in rates.items()}
    # The ratio of each round, whose three parts ran within seconds of each other; then their median.
    paired = [e / min(d, m) for d, m, e in zip(rates["decode"], rates["model"], rates["end_to_end"], strict=True)]
    return {
        "decoded_by": sorted(measured.decoded_by),
        "decode_fps": round(median["decode"], 2),
        "model_ceiling_fps": round(median["model"], 2),
        "end_to_end_fps": round(median["end_to_end"], 2),
        "bound_by": "decode" if median["decode"] <= median["model"] else "model",
        "end_to_end_over_ceiling": round(statistics.median(paired), 3),
    }


def decode(scorer: Scorer, clips: list[Path], sessions: int) -> Decoded:
    """Decode the clips, so many at a time."""
    started, frames, by = time.perf_counter(), 0, set[str]()
    for event in _events(scorer, clips, sessions):
        if isinstance(event, Block):
            frames += len(event.frames)
        else:
            by.add(event.info.decoder)
    if scorer.runner.device.type == "cuda":
        torch.cuda.synchronize(scorer.runner.device)
    return Decoded(frames, time.perf_counter() - started, by)


def frames_of(scorer: Scorer, clip: Path) -> Tensor:
    """A clip's frames as the engine's feed delivers them, uint8 [T, H, W, 3] on the scorer's device."""
    blocks = [event.frames for event in _events(scorer, [clip], 1) if isinstance(event, Block)]
    return torch.cat(blocks).to(scorer.runner.device)


def _events(scorer: Scorer, clips: list[Path], sessions: int) -> Iterator[Opened | Block]:
    """What the feed delivers. Raises RuntimeError where a clip is not decoded whole."""
    for event in scorer.feed(clips, sessions):
        if not isinstance(event, Ended):
            yield event
        elif event.outcome.status is not Status.OK:
            raise RuntimeError(f"{clips[event.clip]}: {event.outcome.status.value}: {event.outcome.reason}")


def _run_model(scorer: Scorer, frames: Tensor, count: int) -> int:
    """Compute ``count`` frames of a clip that lies in memory, over and over, one batch ahead of the one waited for."""
    batch, reach = int(scorer.choices["batch size"].value), scorer.preset.map_filter[0] // 2
    session = scorer.runner.session(len(frames), 2 * batch + 2 * reach if scorer.preset.pool == "max" else 0)
    ring, raw = FrameRing(session.frames), RawScore(scorer.preset, session.maps)
    windows = [*ring.push(frames), *ring.finish()]
    in_flight: deque[tuple[list[Window], list[Window], Callable[[], Computed]]] = deque()
    submitted = done = 0
    try:
        while done < count:
            while submitted < count and len(in_flight) < 2:
                numbers = range(submitted, min(submitted + batch, count))
                chunk = [windows[i % len(windows)]._replace(frame=i) for i in numbers]
                launched = [raw.launch(i) for i in numbers]
                due = [window for _, complete in launched for window in complete]
                in_flight.append(
                    (chunk, due, session.submit(Batch(chunk, [row for rows, _ in launched for row in rows], due)))
                )
                submitted += len(chunk)
            chunk, due, wait = in_flight.popleft()
            computed = wait()
            for window, terms in zip(chunk, computed.terms, strict=True):
                raw.of_terms(window.frame, terms)
            for window in due:
                raw.of_maps(window)
            done += len(computed.terms)
    finally:
        session.close()
    return done
