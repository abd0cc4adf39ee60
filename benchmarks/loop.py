"""What the engine's own bookkeeping costs a frame: the streaming loop without decoding and without arithmetic.

    python benchmarks/loop.py                       # writes benchmarks/results/loop-<device>-<commit>.json

One thread does it for all frames of a process, in Python: so many frames a second are the most that any device can
score, however fast it is. Then what it takes to write a day of video, two million frames.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stamp import result_path, stamp, write_report

from aedmae_fast import Scorer
from aedmae_fast.config import ModelConfig
from aedmae_fast.engine import runner
from aedmae_fast.engine.clip import ClipState
from aedmae_fast.engine.feed import BLOCK, Block, Ended, Feed, FeedEvent, Opened
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.table import write_csv
from aedmae_fast.model.network import AedMae
from aedmae_fast.video import Outcome, Status, VideoInfo

TINY = ModelConfig(height=32, width=32, patch=8)
PRESETS = ("anomaly-map", "paper", "release-avenue")
BATCH, MICRO_BATCH = 256, 64  # as on a GPU
DAY = 24 * 3600 * 25  # frames


class Ready:
    """A feed whose frames are there already."""

    def __init__(self, frames: int) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[FeedEvent]:
        block = torch.zeros(BLOCK, TINY.height, TINY.width, 3, dtype=torch.uint8)
        yield Opened(0, VideoInfo(Path("clip"), TINY.width, TINY.height, 25.0, self._frames, "none", "auto"))
        for start in range(0, self._frames, BLOCK):
            yield Block(0, block, [(start + i) / 25 for i in range(BLOCK)])
        yield Ended(0, Outcome(Status.OK, ""))

    def close(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path = result_path("loop", "cpu", options.json)
    rows: dict[str, Any] = {}
    frames = options.frames // BLOCK * BLOCK
    with without_arithmetic():
        for preset in PRESETS:
            seconds = [loop(preset, frames) for _ in range(options.rounds + 1)][1:]  # the first is a warm-up
            rows[preset] = {"microseconds_a_frame": round(1e6 * statistics.median(seconds) / frames, 2)}
            print(f"{preset:<15} {rows[preset]['microseconds_a_frame']:6.1f} us a frame")
    day = {name: round(seconds, 2) for name, seconds in a_day().items()}
    print(f"a day of video: {', '.join(f'{name} {seconds} s' for name, seconds in day.items())}")
    settings = {"frames": frames, "rounds": options.rounds, "batch": BATCH}
    report = {**stamp("cpu"), "settings": settings, "loop": rows, "day_seconds": day}
    write_report(path, report)


def without_arithmetic() -> contextlib.ExitStack:
    """The runner's step and its filter in time give zeros at once."""

    def step(self: runner.Runner, masks: Tensor, frames: Tensor, maps: Tensor, windows: Tensor, *_: Tensor) -> Any:
        return (torch.zeros(len(windows), 4),)

    def mean_max(maps: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(windows)), torch.zeros(len(windows), dtype=torch.int64)

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.multiple(runner, mean_max=mean_max, MICRO_BATCH={"cpu": MICRO_BATCH}))
    stack.enter_context(mock.patch.object(runner.Runner, "step", step))
    return stack


def loop(preset: str, frames: int) -> float:
    """Seconds that one clip takes."""
    scorer = Scorer(AedMae(TINY), preset=preset, device="cpu", precision="fp32", batch_size=BATCH, threads=1, workers=1)
    with mock.patch.object(scorer, "_feed", return_value=cast(Feed, Ready(frames))):
        started = time.perf_counter()
        ((_, clip),) = scorer._run([])
        seconds = time.perf_counter() - started
    assert isinstance(clip, ClipState)
    assert clip.result(None).frames == frames
    return seconds


def a_day() -> dict[str, float]:
    """Seconds for the events and the CSV of 24 hours at 25 frames a second."""
    random = np.random.default_rng(0)
    raw = random.random(DAY)
    zeros, flags = np.zeros(DAY), np.zeros(DAY, dtype=bool)
    times = np.arange(DAY) / 25
    scores = ClipScores(
        Path("clip"), Status.OK, "", None, times, raw, raw, zeros, zeros, zeros, zeros, zeros, flags, 1.0
    )
    started = time.perf_counter()
    events = scores.events
    middle = time.perf_counter()
    assert events
    with tempfile.TemporaryFile("w") as file:
        write_csv(file, scores)
    return {"events": middle - started, "csv": time.perf_counter() - middle}


if __name__ == "__main__":
    main()
