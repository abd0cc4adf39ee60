"""The waterfall: from the plain network step by step to ours, and what a user would otherwise pick, side by side."""

from __future__ import annotations

import copy
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from yardsticks import square_linears, square_operations

from aedmae_fast.config import ScoringPreset
from aedmae_fast.engine.runner import MICRO_BATCH
from aedmae_fast.model.network import AedMae
from aedmae_fast.model.onnx import export_onnx

from . import onnx_contenders
from .contender import Contender, Inputs, Way
from .torch_contenders import Ours, baseline, compiled, load_baseline, plain, states_dtype

PAPER_BATCH = 32
PRODUCTS = 16  # large linear layers per thread and turn: the device's matrix rate
OPTIONAL = ("compile", "onnxruntime", "openvino")
OURS_ALONE = ("int8", "fp8")  # precisions that the plain network has not


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the waterfall is of."""

    model: AedMae
    preset: ScoringPreset
    precisions: tuple[str, ...]  # besides fp32, those that the device computes in
    threads: int  # of the CPU
    batch: int  # on a GPU
    baseline: str | None
    without: tuple[str, ...]  # of OPTIONAL


def contenders(wanted: Wanted, inputs: Inputs) -> tuple[list[Contender], dict[str, str]]:
    """Those that can be had here, in the order of the waterfall; and why the others cannot, by their names."""
    found: list[Contender] = []
    missing: dict[str, str] = {}

    def add(name: str, make: Callable[[], Iterable[Contender]]) -> None:
        if name in wanted.without:
            missing[name] = "left out by --without"
            return
        try:
            found.extend(make())
        except Exception as error:  # Triton's and the compilers' are of many kinds, and one is no reason to lose all
            missing[name] = _why(error)
            print(f"  no {name}: {missing[name]}", file=sys.stderr)

    add("plain", lambda: _plain(wanted, inputs))
    ways = _best_ways(wanted, inputs)
    ours = {p: Ours(wanted.model, inputs, p, wanted.preset) for p in ("fp32", *wanted.precisions) if p != "tf32"}
    add("ours", lambda: (each.contender(way) for each in ours.values() for way in ways))
    if inputs.device.type == "cuda":
        add("graph", lambda: (each.captured(wanted.batch) for each in ours.values()))
    shared = [p for p in ours if p not in OURS_ALONE]
    add("compile", lambda: (compiled(wanted.model, inputs, p, way) for p in shared for way in ways))
    _add_onnx(wanted, inputs, ways, add)
    if (spec := wanted.baseline) is not None:
        network = load_baseline(spec)
        add("baseline", lambda: (baseline(network, inputs, way) for way in _eager_ways(wanted, inputs)))
    return found, missing


def _eager_ways(wanted: Wanted, inputs: Inputs) -> list[Way]:
    """The paper's protocol first."""
    if inputs.device.type == "cuda":
        return [Way(PAPER_BATCH, 1), Way(wanted.batch, 1)]
    return [Way(PAPER_BATCH, wanted.threads), Way(1, wanted.threads), *_best_ways(wanted, inputs)]


def _best_ways(wanted: Wanted, inputs: Inputs) -> list[Way]:
    """On a CPU a frame per thread, and as many as ours takes at a time."""
    if inputs.device.type == "cuda":
        return [Way(wanted.batch, 1)]
    return [Way(batch, wanted.threads, apart=True) for batch in (1, MICRO_BATCH["cpu"])]


def _plain(wanted: Wanted, inputs: Inputs) -> Iterable[Contender]:
    for way in _eager_ways(wanted, inputs):
        yield plain(wanted.model, inputs, "fp32", way)
    for precision in wanted.precisions:
        for way in _best_ways(wanted, inputs) if precision not in OURS_ALONE else ():
            yield plain(wanted.model, inputs, precision, way)


def _add_onnx(
    wanted: Wanted, inputs: Inputs, ways: list[Way], add: Callable[[str, Callable[[], Iterable[Contender]]], None]
) -> None:
    """ONNX Runtime and OpenVINO from one exported file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"

        def file() -> Path:
            if inputs.device.type != "cpu":
                raise RuntimeError("timed on CPUs only")
            if not path.exists():
                export_onnx(wanted.model, path)
            return path

        add("onnxruntime", lambda: [onnx_contenders.onnxruntime(file(), inputs, way) for way in ways])
        precisions = [p for p in ("fp32", *wanted.precisions) if p in onnx_contenders.OPENVINO_PRECISIONS]
        add("openvino", lambda: [onnx_contenders.openvino(file(), inputs, p, w) for p in precisions for w in ways])


Rows = list[dict[str, Any]]


def measure(
    wanted: Wanted, inputs: Inputs, rounds: int, keep: Callable[[Rows], None] = lambda rows: None
) -> tuple[Rows, dict[str, str]]:
    """A row for each contender, and why those that are missing are. ``keep`` is given the rows after each round.

    ``fps`` is the median over the rounds; ``over_eager`` the median of the rounds' ratios to the first row; ``share``
    that of operations a second to those of large matrix products, which take their turn in every round (the faster of
    PyTorch's and ours; for int8 and fp8, those in the precision of all else); ``error`` the relative RMSE of the
    predictions against the plain network in float64.
    """
    entrants, missing = contenders(wanted, inputs)
    device, frames = inputs.device, len(inputs.windows)
    exact = _exact(wanted.model, inputs)
    errors, running = [], []
    for contender in entrants:
        try:
            errors.append(_error(contender, exact, inputs))  # the warm-up as well
            running.append(contender)
        except Exception as error:
            label = f"{contender.name} {contender.precision}, {contender.way}"
            missing[label] = _why(error)
            print(f"  no {label}: {missing[label]}", file=sys.stderr)
    entrants = running
    products = {p: _matrix_products(p, inputs, wanted.threads) for p in dict.fromkeys(c.precision for c in entrants)}
    rates: list[list[float]] = [[] for _ in entrants]
    peaks: dict[str, list[float]] = {precision: [] for precision in products}
    rows: Rows = []
    for i in range(rounds):
        for precision, each in products.items():
            rate = max(product.rate(PRODUCTS * wanted.threads, device) for product in each)
            peaks[precision].append(rate * square_operations(device.type))
        for values, contender in zip(rates, entrants, strict=True):
            values.append(contender.rate(frames, device))
        print(f"  waterfall, round {i + 1}/{rounds}", flush=True)
        rows = _rows(entrants, rates, errors, peaks, wanted.model.flops_per_frame())
        keep(rows)
    return rows, missing


def _rows(
    entrants: list[Contender],
    rates: list[list[float]],
    errors: list[float | None],
    peaks: dict[str, list[float]],
    flops: int,
) -> Rows:
    """What the rounds so far say of each contender."""
    rows = []
    for contender, values, error in zip(entrants, rates, errors, strict=True):
        peak = peaks[contender.precision]
        rows.append(
            {
                "step": contender.name,
                "precision": contender.precision,
                "way": str(contender.way),
                "fps": round(statistics.median(values), 2),
                "over_eager": _median_ratio(values, rates[0]),
                "matrix_share": round(statistics.median(flops * v / p for v, p in zip(values, peak, strict=True)), 4),
                "matrix_gflops": round(statistics.median(peak) / 1e9, 1),
                "error": error,
                "counts": contender.counts,
                "rounds": [round(v, 2) for v in values],
            }
        )
    return rows


def _why(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]


def _matrix_products(precision: str, inputs: Inputs, threads: int) -> list[Contender]:
    """Large linear layers as contenders, on a CPU one in each thread: the fastest is what the device has to give."""
    device = inputs.device
    way = Way(1, threads, apart=device.type == "cpu")
    products = [
        Contender("matrix product", precision, way, lambda _, run=run: run(), "a matrix product")
        for run in square_linears(states_dtype(precision), device.type)
    ]
    for product in products:
        product.rate(threads, device)  # warm-up
    return products


def _median_ratio(values: list[float], base: list[float]) -> float:
    return round(statistics.median(v / b for v, b in zip(values, base, strict=True)), 3)


@torch.inference_mode()
def _exact(model: AedMae, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions of the first window in float64."""
    network = copy.deepcopy(model).to(inputs.device, torch.float64)
    output = network(inputs.windows[:1], inputs.ids[:1])
    return output.teacher, output.student


def _error(contender: Contender, exact: tuple[torch.Tensor, torch.Tensor], inputs: Inputs) -> float | None:
    """Relative RMSE of the predictions for the first window, of teacher and student the larger; None: not to be had."""
    frames, found = min(contender.way.batch, len(inputs.windows)), []
    contender.rate(frames, inputs.device)
    if (predict := contender.predict) is None:
        return None
    contender.way.run(lambda part: found.append(predict(part)), frames, inputs.device)
    ratios = [float((f[:1].double() - e).norm() / e.norm()) for f, e in zip(found[0][:2], exact, strict=True)]
    return float(f"{max(ratios):.1e}")
