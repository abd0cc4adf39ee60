"""Throughput, honestly: decoding alone, the model alone, and both end to end on the same clips.

    python benchmarks/fps.py                        # 320x640, patch 16, on the best device there is
    python benchmarks/fps.py --device cpu --precision fp32 --json /tmp/fps.json

Each round runs the three in turn, so that a busy machine disturbs all of them alike; medians over the rounds are given.
"decode" is what the engine's feed delivers: demuxing, decoding, colour and resizing to the model's input. "model" is
teacher, student, class head, pixel maps and their reduction, on windows that lie in memory. "end to end" is
``Scorer.score_many``: files in, final scores out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from clips import make_clip
from stamp import result_path, stamp

from aedmae_fast import Scorer, load_model
from aedmae_fast.engine.feed import Block, Feed
from aedmae_fast.engine.ring import FrameRing, Window
from aedmae_fast.engine.runner import FrameTerms
from aedmae_fast.video import open_video


def main() -> None:
    options = _parser().parse_args()
    scorer = Scorer(
        load_model(options.checkpoint),
        preset=options.preset,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch_size,
        threads=options.threads,
        workers=options.workers,
    )
    for name, choice in scorer.choices.items():
        print(f"  {name:<10}  {choice.value}  ({choice.why})")
    with tempfile.TemporaryDirectory() as folder:
        clips = [
            make_clip(Path(folder) / f"{i}.mp4", options.frames, tuple(options.size), options.codec)
            for i in range(options.clips)
        ]
        rounds = measure(scorer, clips, options.rounds)
    report = summarise(scorer, options, rounds)
    print_table(report)
    path = options.json or result_path("fps", scorer.choices["device"].value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="untrained-avenue", help="(default: %(default)s)")
    parser.add_argument("--preset", default="paper", help="(default: %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch-size", default="auto")
    parser.add_argument("--threads", default="auto")
    parser.add_argument("--workers", default="auto")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 360), metavar=("W", "H"), help="of the clips")
    parser.add_argument("--codec", default="libx264", help="encoder of the clips (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=60, help="per clip (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=4, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/fps-<device>-<commit>.json")
    return parser


def measure(scorer: Scorer, clips: list[Path], rounds: int) -> dict[str, list[float]]:
    """Frames per second of each part, one value a round."""
    windows = _windows(scorer, clips[0])
    count = len(windows) * len(clips)
    parts: dict[str, Callable[[], int]] = {
        "decode": lambda: sum(len(block.frames) for block in _blocks(scorer, clips)),
        "model": lambda: _run_model(scorer, windows, count),
        "end_to_end": lambda: sum(result.frames for result in scorer.score_many(clips)),
    }
    _run_model(scorer, windows, len(windows))  # warm-up
    rates: dict[str, list[float]] = {name: [] for name in parts}
    for i in range(rounds):
        for name, part in parts.items():
            started = time.perf_counter()
            frames = part()
            assert frames == count, f"{name}: {frames} of {count} frames"
            rates[name].append(frames / (time.perf_counter() - started))
        latest = ", ".join(f"{name} {values[-1]:.1f}" for name, values in rates.items())
        print(f"  round {i + 1}/{rounds}: {latest} frames/s", flush=True)
    return rates


def _blocks(scorer: Scorer, clips: list[Path]) -> Iterator[Block]:
    size, workers = (scorer.config.height, scorer.config.width), int(scorer.choices["workers"].value)
    feed = Feed([partial(open_video, clip) for clip in clips], size, workers)
    return (event for event in feed if isinstance(event, Block))


def _windows(scorer: Scorer, clip: Path) -> list[Window]:
    ring, device = FrameRing(), scorer.choices["device"].value
    windows = [w for block in _blocks(scorer, [clip]) for w in ring.push(block.frames.to(device))]
    return windows + list(ring.finish())


def _run_model(scorer: Scorer, windows: list[Window], count: int) -> int:
    """Compute ``count`` frames, one batch ahead of the one that is waited for, as the engine does."""
    batch, submitted, done = int(scorer.choices["batch size"].value), 0, 0
    in_flight: deque[Callable[[], list[FrameTerms]]] = deque()
    while done < count:
        while submitted < count and len(in_flight) < 2:
            start = submitted % len(windows)
            chunk = windows[start : start + min(batch, count - submitted)]
            in_flight.append(scorer.runner.submit(chunk))
            submitted += len(chunk)
        done += len(in_flight.popleft()())  # waits, since terms are numbers on the host
    return done


def summarise(scorer: Scorer, options: argparse.Namespace, rates: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, the ceiling, and everything that a figure must carry."""
    device = scorer.choices["device"].value
    median = {name: statistics.median(values) for name, values in rates.items()}
    ceiling = min(median["decode"], median["model"])
    # The ratio of each round, whose three parts ran within seconds of each other; then their median.
    paired = [e / min(d, m) for d, m, e in zip(rates["decode"], rates["model"], rates["end_to_end"], strict=True)]
    mark = stamp(device)
    return {
        **mark,
        "settings": {
            **{name: choice.value for name, choice in scorer.choices.items()},
            "checkpoint": options.checkpoint,
            "model": scorer.config.to_dict(),
            "clips": f"{options.clips} x {options.frames} frames, {options.size[0]}x{options.size[1]} {options.codec}",
        },
        "rounds": {name: [round(v, 2) for v in values] for name, values in rates.items()},
        "summary": {
            "device": mark["device"],
            "commit": mark["commit"],
            "precision": scorer.choices["precision"].value,
            "model_fps": round(median["model"], 2),
            "decode_fps": round(median["decode"], 2),
            "end_to_end_fps": round(median["end_to_end"], 2),
            "bound_by": "decode" if median["decode"] == ceiling else "model",
            "end_to_end_over_ceiling": round(statistics.median(paired), 3),
        },
    }


def print_table(report: dict[str, Any]) -> None:
    summary, settings = report["summary"], report["settings"]
    print(f"\n{summary['device']}, {summary['precision']}, batch {settings['batch size']}, commit {summary['commit']}")
    for name in ("decode", "model", "end_to_end"):
        values = report["rounds"][name]
        print(f"  {name:<11} {summary[name + '_fps']:9.1f} frames/s   ({min(values):.1f} to {max(values):.1f})")
    ceilings = f"decode ceiling {summary['decode_fps']:.1f}, model ceiling {summary['model_fps']:.1f}"
    share = f"bound by {summary['bound_by']}: {summary['end_to_end_over_ceiling']:.2f} of it"
    print(f"{ceilings}, achieved {summary['end_to_end_fps']:.1f}, {share}")


if __name__ == "__main__":
    main()
