"""One frame through the network on one thread: the plain network, the same compiled, and InferenceModel.

    python benchmarks/inference.py            # writes benchmarks/results/inference-<device>-<commit>.json

From uint8 frames to the decoders' last states: all before ``discrepancy_map``. Times are the thread's own, on the
processor, so that what else runs on the machine counts little; all contenders take turns. The minimum of the times and
the median of the ratios within a turn are given. ``error`` is that of the states against the plain network in float64,
relative, root mean square; ``share`` is of a large matrix product's rate.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stamp import result_path, stamp

from aedmae_fast import load_model
from aedmae_fast.config import TARGET_CHANNELS, ModelConfig
from aedmae_fast.model.inference import InferenceModel
from aedmae_fast.model.masks import mask_bank
from aedmae_fast.model.network import AedMae

CONFIGS = ("avenue", "shanghaitech", "ped2")  # ubnormal's shapes are shanghaitech's
Contender = Callable[[], tuple[torch.Tensor, torch.Tensor]]  # -> the teacher's and the student's states


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", choices=CONFIGS, default=CONFIGS)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--compile", action="store_true", help="the compiled network as well, which takes minutes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in options.configs for row in measure(name, options.iterations, options.compile)]
    path = options.json or result_path("inference", "cpu")
    path.write_text(json.dumps({**stamp("cpu"), "rows": rows}, indent=1) + "\n")
    print(f"wrote {path}")


def measure(name: str, iterations: int, compiled: bool) -> list[dict[str, Any]]:
    """A row for each contender and precision."""
    model = load_model(f"untrained-{name}")
    frames = torch.randint(0, 256, (3, model.config.height, model.config.width, 3), dtype=torch.uint8)
    exact = plain(copy.deepcopy(model).double(), frames)()
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        network = copy.deepcopy(model).to(dtype)
        contenders = {"plain": plain(network, frames)}
        if compiled:
            contenders["compile"] = plain(torch.compile(network, dynamic=False), frames)
        contenders["ours"] = fast(InferenceModel(model, "cpu", dtype), frames)
        errors = {
            contender: max(relative_error(*pair) for pair in zip(run(), exact, strict=True))
            for contender, run in contenders.items()
        }
        times = interleaved(contenders, iterations)
        rate = matrix_rate(dtype)
        for contender, values in times.items():
            row = {
                "config": name,
                "precision": str(dtype)[6:],
                "contender": contender,
                "ms": round(min(values) * 1e3, 2),
                "over_plain": ratio(times["plain"], values),
                "gflops": round(operations(model) / min(values) / 1e9, 1),
                "share": round(operations(model) / min(values) / rate, 3),
                "error": float(f"{errors[contender]:.1e}"),
            }
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            rows.append(row)
    return rows


def plain(network: AedMae, frames: torch.Tensor) -> Contender:
    ids = mask_bank(network.config)[:1]

    @torch.inference_mode()
    def run() -> tuple[torch.Tensor, torch.Tensor]:
        return network.hidden(network.encode(frames[None], ids), ids)

    return run


def fast(network: InferenceModel, frames: torch.Tensor) -> Contender:
    ids, windows = mask_bank(network.config)[:1], torch.arange(3)[None]

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        states = network(frames, windows, ids)
        return states.teacher, states.student

    return run


def operations(model: AedMae) -> int:
    """Of a frame up to the states: without the heads."""
    c: ModelConfig = model.config
    return model.flops_per_frame() - 2 * 2 * c.tokens * TARGET_CHANNELS * c.patch**2 * c.decoder_dim


def matrix_rate(dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product."""
    a, b = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
    return 2 * 1024**3 / min(interleaved({"product": lambda: a @ b}, 20)["product"])


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


def ratio(baseline: list[float], values: list[float]) -> float:
    return round(statistics.median(b / t for b, t in zip(baseline, values, strict=True)), 2)


def interleaved(contenders: dict[str, Callable[[], Any]], iterations: int) -> dict[str, list[float]]:
    """Processor seconds of each contender, one value an iteration, after a warm-up."""
    for run in contenders.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(iterations):
        for name, run in contenders.items():
            started = time.thread_time()
            run()
            times[name].append(time.thread_time() - started)
    return times


if __name__ == "__main__":
    main()
