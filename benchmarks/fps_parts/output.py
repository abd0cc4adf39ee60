"""The report as tables on the screen, and as JSON, CSV and a picture beside each other."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from stamp import write_report

from .contender import OURS
from .torch_contenders import PREDICTIONS

COLUMNS = ("step", "precision", "way", "fps", "over_eager", "matrix_share", "matrix_gflops", "error", "counts")
# Of the waterfall, in the summary: key -> step and precision; None: the precision that is asked for.
SUMMARY = {
    "eager_fp32_fps": ("plain", "fp32"),
    "compile_fps": ("torch.compile", None),
    "onnxruntime_fps": ("ONNX Runtime", "fp32"),
    "openvino_fps": ("OpenVINO", None),
    "baseline_fps": ("baseline", "fp32"),
}
MISSING = {  # under which name it is there
    "plain": "plain",
    "torch.compile": "compile",
    "ONNX Runtime": "onnxruntime",
    "OpenVINO": "openvino",
    "baseline": "baseline",
}


def waterfall_summary(rows: list[dict[str, Any]], precision: str, missing: dict[str, str]) -> dict[str, Any]:
    """The figures that are compared, each the best of its kind, in ``precision`` (ONNX Runtime in float32).

    ``eager_fp32_fps`` is the first row, the paper's protocol; ``int8_fps`` and ``fp8_fps`` are ours with linear
    layers in 8 bits. A figure that is missing is null, with its reason in ``missing``.
    """
    ours = max((r for r in rows if r["step"].startswith(OURS) and r["precision"] == precision), key=_fps, default={})
    summary: dict[str, Any] = {"model_fps": ours.get("fps"), "matrix_peak_share": ours.get("matrix_share")}
    reasons = {} if ours else {"model_fps": "see missing"}
    for eight_bits, where in (("int8", "on CPUs only"), ("fp8", "on GPUs of compute capability 8.9 or above only")):
        found = [row for row in rows if row["precision"] == eight_bits]
        summary[f"{eight_bits}_fps"] = max(map(_fps, found)) if found else None
        if not found:
            reasons[f"{eight_bits}_fps"] = where
    for key, (step, fixed) in SUMMARY.items():
        found = [r for r in rows if r["step"] == step and r["precision"] == (fixed or precision)]
        if key == "eager_fp32_fps":
            found = found[:1]
        summary[key] = max(map(_fps, found)) if found else None
        if not found:
            reasons[key] = missing.get(MISSING[step], "not asked for")
    return {**summary, "missing": reasons}


def _fps(row: dict[str, Any]) -> float:
    return float(row["fps"])


def write_unfinished(path: Path, report: dict[str, Any]) -> None:
    """What is measured so far, beside ``path`` until :func:`write`: a run that is cut short leaves it."""
    _unfinished(path).write_text(json.dumps(report, indent=1) + "\n")


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.stem}.unfinished.json")


def write(report: dict[str, Any], path: Path) -> None:
    """``path``, and of the same name the waterfall, if there is one, as .csv and, with matplotlib, as .png."""
    write_report(path, report)
    _unfinished(path).unlink(missing_ok=True)
    if "waterfall" not in report:
        return
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(report["waterfall"])
    try:
        _plot(report, path.with_suffix(".png"))
    except ImportError:
        print("no picture: it needs matplotlib: pip install matplotlib", file=sys.stderr)
    print("and the waterfall beside it as .csv and .png")


def _plot(report: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    rows = report["waterfall"]
    figure = Figure(figsize=(10, 1.2 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    colours = ["tab:red" if row["step"].startswith(OURS) else "0.6" for row in rows]
    bars = axes.barh([_label(row) for row in rows], [row["fps"] for row in rows], color=colours)
    axes.bar_label(
        bars, [f"{row['fps']:.4g}  ({row['matrix_share']:.0%} of the matrix rate)" for row in rows], padding=3
    )
    axes.invert_yaxis()
    axes.set_xlim(right=1.6 * max(row["fps"] for row in rows))  # room for the labels
    axes.set_xlabel("frames/s")
    axes.set_title(f"{report['device']}, commit {report['commit']}", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _label(row: dict[str, Any]) -> str:
    return f"{row['step']} {row['precision']}, {row['way']}"


def _network_line(row: dict[str, Any]) -> str:
    others = ", ".join(f"{step} {fps:.1f}" for step, fps in row["others"].items())
    ours = f"{row['fps']:.1f} frames/s, {row['over_best_other']:.2f} x {row['best_other']}"
    return f"  {row['network']} {row['precision']} ({row['input']}): {ours} ({others})"


def _print_profile(precision: str, found: dict[str, Any]) -> None:
    """Of the operations, those that take a hundredth of the step."""
    rows = [row for row in found["rows"] if row["share"] >= 0.01]
    width = max(len(row["op"]) for row in rows)
    whole = f"{found['frame_ms']:.2f} ms a frame, {found['batch']} at a time, {found['matrix_gflops']:.0f} GFLOP/s"
    print(f"  profile, {precision}, one thread: {whole}; around the operations {found['around_share']:.1%}")
    for row in rows:
        floor = f"{row['over_floor']:5.2f} x its floor ({row['bound']})" if row["bound"] else ""
        print(f"    {row['op']:<{width}}  {row['calls']:3d} calls {row['ms']:8.3f} ms {row['share']:6.1%}  {floor}")


def print_tables(report: dict[str, Any]) -> None:
    """Everything that the report says, for people."""
    rows, summary = report["waterfall"], report["summary"]
    print(f"\n{summary['device']}, commit {summary['commit']}")
    width = max(len(_label(row)) for row in rows)
    print(f"  {'':<{width}}  {'frames/s':>9} {'x eager':>8} {'of matrix rate':>15} {'error':>8}")
    for row in rows:
        error = "" if row["error"] is None else f"{row['error']:.0e}"
        share, ratio = f"{row['matrix_share']:.1%}", f"{row['over_eager']:.2f}"
        print(f"  {_label(row):<{width}}  {row['fps']:9.1f} {ratio:>8} {share:>15} {error:>8}")
    for name, why in report["missing"].items():
        print(f"  no {name}: {why}")
    counts = next((row["counts"] for row in rows if row["step"].startswith(OURS)), "nothing")
    print(f"  counted: {PREDICTIONS}; from {OURS} the {counts}")
    for row in report["configurations"]:
        print(_network_line(row))
    for precision, found in report["profile"].items():
        _print_profile(precision, found)
    print("  batch  " + "  ".join(f"{row['batch']}: {row['fps']:.1f}" for row in report["sweep"]) + "  frames/s")
    print(f"  one frame at a time: {report['latency']['p50_ms']} ms (p50), {report['latency']['p99_ms']} ms (p99)")
    stream = report["stream_latency"]
    print(f"  as a live stream: {stream['p50_ms']} ms (p50), {stream['p99_ms']} ms (p99)")
    for row in report["scaling"]:
        layout = f"{row['processes']} x {row['threads']} threads"
        print(f"  processes {layout}: {row['fps']:.1f} frames/s, {row['over_one_thread']:.2f} times one thread")
    print("  peak memory: " + ", ".join(f"{name} {mib:.0f} MiB" for name, mib in report["memory"].items()))
    print_formats(report["formats"])
    for name, values in report["end_to_end_rounds"].items():
        print(f"  {name:<11} {min(values):.1f} to {max(values):.1f} frames/s")
    print(ceilings(summary))


def print_formats(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        sessions = "  ".join(f"{s['sessions']}: {s['decode_fps']:.1f}" for s in row["sessions"])
        print(f"  {row['format']}, decoding by sessions  {sessions}  frames/s")
        print(f"  {row['format']}, {ceilings(row)}")


def ceilings(summary: dict[str, Any]) -> str:
    """What bounds the whole, in a line."""
    decoded = f"{summary['decode_fps']:.1f} (by {' and '.join(summary['decoded_by'])})"
    found = f"decode ceiling {decoded}, model ceiling {summary['model_ceiling_fps']:.1f}"
    share = f"bound by {summary['bound_by']}: {summary['end_to_end_over_ceiling']:.2f} of it"
    return f"{found}, achieved {summary['end_to_end_fps']:.1f}, {share}"
