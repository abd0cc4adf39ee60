"""How many decoder threads beside the threads that compute? End to end on a CPU, by network and format of the clips.

    python benchmarks/workers.py                    # writes benchmarks/results/workers-<device>-<commit>.json

Computing threads are as many as cores, and decoders wait when they are ahead: more of them cost memory, and fewer leave
cores idle where decoding takes longer than the network. Contenders take turns, round by round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from clips import make_clip
from stamp import result_path, stamp, write_report

from aedmae_fast import Scorer
from aedmae_fast.engine.cores import usable_cores

NETWORKS = ("untrained-avenue", "ped2")
FORMATS = (("libx264", (640, 360)), ("libx264", (1920, 1080)), ("libx265", (1920, 1080)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60, help="of a clip (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path = result_path("workers", "cpu", options.json)
    cores = usable_cores()[0]
    ways = sorted({1, max(1, cores // 2), cores, 2 * cores})
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS:
            scorers = {workers: Scorer.from_pretrained(network, device="cpu", workers=workers) for workers in ways}
            for codec, size in FORMATS:
                name = f"{size[0]}x{size[1]}-{codec}"
                clips = [make_clip(Path(folder) / f"{name}.mp4", options.frames, size, codec)] * (4 * cores)
                rates = measure(scorers, clips, options.rounds)
                ratios = {
                    w: statistics.median(a / b for a, b in zip(r, rates[1], strict=True)) for w, r in rates.items()
                }
                for workers, of_way in rates.items():
                    rate, ratio = round(statistics.median(of_way), 2), round(ratios[workers], 3)
                    rows.append(
                        {"network": network, "format": name, "workers": workers, "fps": rate, "over_one": ratio}
                    )
                    print(f"{network:<17} {name:<18} {workers:>3} decoders: {rate:7.1f} frames/s, {ratio:.2f} of one's")
    settings = {"frames": options.frames, "clips": 4 * cores, "rounds": options.rounds}
    write_report(path, {**stamp("cpu"), "settings": settings, "rows": rows})


def measure(scorers: dict[int, Scorer], clips: list[Path], rounds: int) -> dict[int, list[float]]:
    """Frames per second of each, one value a round."""
    rates: dict[int, list[float]] = {workers: [] for workers in scorers}
    for i in range(rounds + 1):
        for workers, scorer in scorers.items():
            started = time.perf_counter()
            frames = sum(result.frames for result in scorer.score_many(clips))
            if i:  # the first is a warm-up
                rates[workers].append(frames / (time.perf_counter() - started))
    return rates


if __name__ == "__main__":
    main()
