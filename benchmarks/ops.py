"""Operations against what a pipeline would use instead, one thread against one thread.

    python benchmarks/ops.py                        # writes benchmarks/results/ops-<device>-<commit>.json

Each iteration runs all contenders in turn, so that a busy machine disturbs all of them alike; medians of the times and
of the per-iteration ratios are given.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stamp import result_path, stamp

from aedmae_fast.ops import frame_prep, native

CASES = [((1920, 1080), (640, 320)), ((1280, 720), (640, 320)), ((640, 360), (640, 320)), ((360, 240), (320, 160))]
LAYOUTS = {"I420": cv2.COLOR_YUV2BGR_I420, "NV12": cv2.COLOR_YUV2BGR_NV12}
ISAS = ("base", "avx2", "avx512")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows = [
        row
        for source, target in CASES
        for layout in LAYOUTS
        for row in frame_prep_rows(source, target, layout, options.iterations)
    ]
    for row in rows:
        print(f"{row['op']}  {row['case']:<30} {row['backend']:<12} {row['us']:8.0f} us   x{row['over_opencv']:.2f}")
    path = options.json or result_path("ops", "cpu")
    path.write_text(json.dumps({**stamp("cpu"), "opencv": cv2.__version__, "rows": rows}, indent=1) + "\n")
    print(f"wrote {path}")


def frame_prep_rows(
    source: tuple[int, int], target: tuple[int, int], layout: str, iterations: int
) -> list[dict[str, Any]]:
    """One 4:2:0 frame of ``source`` (width, height) to BGR of ``target``: ours on every ISA, and OpenCV."""
    width, height = source
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8), source)
    i420 = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    chroma = i420[height:].reshape(2, height // 2, width // 2)
    if layout == "NV12":
        chroma = np.stack([*chroma], axis=-1)
    frame = np.concatenate([i420[:height], chroma.reshape(-1, width)])
    y = torch.from_numpy(frame[:height])[None]
    u, v = torch.from_numpy(frame[height:].reshape(chroma.shape))[None].unbind(-1 if layout == "NV12" else 1)
    converted, resized = np.empty((height, width, 3), np.uint8), np.empty((target[1], target[0], 3), np.uint8)

    def opencv() -> None:
        cv2.cvtColor(frame, LAYOUTS[layout], dst=converted)
        cv2.resize(converted, target, dst=resized, interpolation=cv2.INTER_LINEAR)

    def ours(isa: str) -> Callable[[], None]:
        def run() -> None:
            native.cpu().set_isa(isa)
            frame_prep([y, u, v], target[1], target[0])

        return run

    contenders = {"opencv": opencv, **{isa: ours(isa) for isa in ISAS if isa in native.cpu().isas()}}
    times = interleaved(contenders, iterations)
    case = f"{layout} {width}x{height} -> {target[0]}x{target[1]}"
    return [
        {
            "op": "frame_prep",
            "case": case,
            "backend": name,
            "us": round(statistics.median(values) * 1e6, 1),
            "over_opencv": round(statistics.median(o / t for o, t in zip(times["opencv"], values, strict=True)), 3),
        }
        for name, values in times.items()
    ]


def interleaved(contenders: dict[str, Callable[[], None]], iterations: int) -> dict[str, list[float]]:
    """Seconds of each contender, one value an iteration, after a warm-up."""
    for run in contenders.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(iterations):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()
