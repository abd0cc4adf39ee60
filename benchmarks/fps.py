"""Throughput, honestly: the waterfall of the model, batch sizes and latency, end to end and its ceilings, a profile.

    python benchmarks/fps.py                        # 320x640, patch 16, on the best device there is
    python benchmarks/fps.py --device cpu --scaling --configurations    # about a quarter of an hour on two cores
    python benchmarks/fps.py --baseline path/to/network.py:Network --json /tmp/fps.json
    python benchmarks/fps.py --formats              # and decoding by sessions, from 640x360 to 1920x1080
    python benchmarks/fps.py --formats-only         # nothing but that

Writes JSON, CSV and PNG. Whatever is compared takes turns, round by round, so that a busy machine disturbs all alike;
medians over the rounds are given, ratios are medians of the rounds' ratios.

The waterfall goes from the plain network, eagerly in float32 and batches of 32 (the paper's protocol), to
``InferenceModel``, in int8 (on a CPU) or fp8 (on a GPU) as well; beside it the plain network compiled, exported to ONNX
Runtime and OpenVINO, and any other implementation (``--baseline``). All compute teacher, student and class head; ours
goes on to the pixel maps, which the predictions of the others are yet to be made into. The paper's own figure is
without the student.

On a GPU the waterfall, the batch sizes and the latency read frames and windows that lie in the device's memory, and a
graph is given indices alone: what is copied to the device and back is in end to end only, and in the live stream's
latency. Each batch size has a graph of its own there; the engine, and so the stream, has one of 64 frames.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from child import run_child
from clips import make_clip
from fps_parts import configurations, end_to_end, formats, waterfall
from fps_parts.contender import Inputs, Way
from fps_parts.output import print_formats, print_tables, waterfall_summary, write, write_unfinished
from fps_parts.profile import profile
from fps_parts.scaling import scaling
from fps_parts.sweep import latency, stream_latency, sweep
from fps_parts.torch_contenders import Ours, states_dtype
from stamp import result_path, stamp

from aedmae_fast import Scorer, load_model
from aedmae_fast.engine.choose import choose_precision
from aedmae_fast.engine.precision import eight_bits_on
from aedmae_fast.engine.runner import MICRO_BATCH
from aedmae_fast.model.network import AedMae
from aedmae_fast.video import Decoder

INPUTS = {"cpu": 32, "cuda": 1024}  # windows in memory, more than the caches hold: 1.8 MB each
BATCH = 256  # on a GPU
ROUNDS = {"cpu": 7, "cuda": 20}
PROFILE_ROUNDS = 30  # a step with clocks and one without in each


def main() -> None:
    options = _parser().parse_args()
    model = load_model(options.checkpoint)
    scorer = Scorer(
        model,
        preset=options.preset,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch_size,
        threads=options.threads,
        workers=options.workers,
        decoder=options.decoder,
    )
    for name, choice in scorer.choices.items():
        print(f"  {name:<10}  {choice.value}  ({choice.why})")
    with tempfile.TemporaryDirectory() as folder:
        clips = [Path(folder) / "clips" / f"{i}.mp4" for i in range(options.clips)]
        make_clip(clips[0], options.frames, tuple(options.size), options.codec)
        for clip in clips[1:]:
            shutil.copyfile(clips[0], clip)
        path = result_path("fps", scorer.choices["device"].value, options.json)
        report = measure(model, scorer, clips, options, partial(write_unfinished, path))
    if options.formats_only:
        print_formats(report["formats"])
    else:
        print_tables(report)
    write(report, path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="untrained-avenue", help="(default: %(default)s)")
    parser.add_argument("--preset", default="paper", help="(default: %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="of the summary and of end to end; the waterfall has all")
    parser.add_argument("--batch-size", default="auto", help="of the engine")
    parser.add_argument("--threads", default="auto")
    parser.add_argument("--workers", default="auto")
    parser.add_argument("--decoder", default="auto", choices=get_args(Decoder))
    parser.add_argument("--size", type=int, nargs=2, default=(640, 360), metavar=("W", "H"), help="of the clips")
    parser.add_argument("--codec", default="libx264", help="encoder of the clips (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=60, help="per clip (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=4, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS['cpu']} on a CPU, {ROUNDS['cuda']} on a GPU")
    parser.add_argument(
        "--baseline",
        metavar="PATH:CLASS",
        help="time another implementation too: CLASS() is called with float32 windows [B, 9, H, W] in -1..1",
    )
    parser.add_argument(
        "--without", nargs="+", choices=waterfall.OPTIONAL, default=(), help="leave out of the waterfall"
    )
    parser.add_argument(
        "--configurations", action="store_true", help="the networks of the other data sets as well, on a CPU"
    )
    parser.add_argument(
        "--formats",
        nargs="*",
        metavar="WxH:CODEC",
        help=f"decode sessions and end to end for clips of these as well (alone: {' '.join(formats.STANDARD)})",
    )
    parser.add_argument("--formats-only", action="store_true", help="--formats, and nothing else")
    parser.add_argument("--scaling", action="store_true", help="threads against processes as well, on a CPU")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/fps-<device>-<commit>.json")
    return parser


def measure(
    model: AedMae,
    scorer: Scorer,
    clips: list[Path],
    options: argparse.Namespace,
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """The whole report; its summary comes last. ``keep`` is given what there is of it after each part."""
    device, precision = scorer.runner.device, scorer.choices["precision"].value
    threads, rounds = int(scorer.choices["threads"].value), options.rounds or ROUNDS[device.type]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    mark = stamp(str(device))
    settings = {
        **{name: choice.value for name, choice in scorer.choices.items()},
        "decoder": options.decoder,  # asked for; what did is in decoded_by
        "checkpoint": options.checkpoint,
        "model": scorer.config.to_dict(),
        "gflop_per_frame": round(model.flops_per_frame() / 1e9, 3),
        "clips": f"{options.clips} x {options.frames} frames, {options.size[0]}x{options.size[1]} {options.codec}",
        "rounds": rounds,
    }
    report: dict[str, Any] = {**mark, "settings": settings}

    def have(**parts: Any) -> None:
        report.update(parts)
        keep(report)

    def have_formats() -> None:
        found: list[dict[str, Any]] = []
        have(formats=found)
        for row in _formats(scorer, clips[0].parents[1], options, rounds):
            found.append(row)
            have()

    if options.formats_only:
        have_formats()
        return report
    whole = end_to_end.measure(scorer, clips, rounds)
    have(end_to_end_rounds={name: [round(v, 2) for v in values] for name, values in whole.rates.items()})
    have(memory=_memory(clips, options, device))
    frames = end_to_end.frames_of(scorer, clips[0])
    inputs = Inputs.of(scorer.config, frames, INPUTS[device.type])
    wanted = waterfall.Wanted(
        model, scorer.preset, _precisions(precision, device), threads, BATCH, options.baseline, tuple(options.without)
    )
    rows, missing = waterfall.measure(wanted, inputs, rounds, lambda rows: have(waterfall=rows))
    have(waterfall=rows, missing=missing)
    networks = []
    if options.configurations and device.type == "cpu":
        networks = _configurations(wanted, rows, clips[0], options.checkpoint, rounds)
    have(configurations=networks, profile=_profile(wanted, inputs))
    ours = Ours(model, inputs, precision, scorer.preset)
    have(sweep=sweep(ours, inputs, threads, rounds=min(rounds, 3)), latency=latency(ours, inputs))
    have(stream_latency=stream_latency(scorer, frames))
    have(scaling=_scaling(options, precision, device, rounds))
    have_formats()
    head = {"device": mark["device"], "commit": mark["commit"], "precision": precision}
    summary = {**head, **waterfall_summary(rows, precision, missing), **end_to_end.summarise(whole)}
    return {**report, "summary": summary}


def _precisions(precision: str, device: torch.device) -> tuple[str, ...]:
    """Those of the waterfall besides fp32."""
    reduced = "bf16" in (precision, choose_precision("auto", str(device)).value)
    eight_bits = eight_bits_on(device)
    return (
        *(["tf32"] if device.type == "cuda" else []),
        *(["bf16"] if reduced else []),
        *([eight_bits] if eight_bits else []),
    )


def _memory(clips: list[Path], options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Peak of the command that scores the clips, on the host; on a GPU the engine's peak there too. In MiB."""
    command = [
        sys.executable,
        "-m",
        "aedmae_fast.score",
        *map(str, clips),
        "--checkpoint",
        options.checkpoint,
        "--quiet",
    ]
    for name in ("preset", "device", "precision", "batch_size", "threads", "workers", "decoder"):
        command += [f"--{name.replace('_', '-')}", getattr(options, name)]
    peaks = {"host": round(run_child([*command, "--out", str(clips[0].parents[1] / "scores")]).peak_mib, 1)}
    if device.type == "cuda":
        peaks["device"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return peaks


def _configurations(
    wanted: waterfall.Wanted, rows: list[dict[str, Any]], clip: Path, checkpoint: str, rounds: int
) -> list[dict[str, Any]]:
    """The network of the waterfall, then the others."""
    found = configurations.rows_of(checkpoint, wanted.model, rows)
    for network in configurations.NETWORKS:
        if network != checkpoint:
            found += configurations.measure(network, wanted, clip, INPUTS["cpu"], min(rounds, 5))
    return found


def _profile(wanted: waterfall.Wanted, inputs: Inputs) -> dict[str, Any]:
    """Of ours, by precision; on a CPU."""
    if inputs.device.type != "cpu":
        return {}
    found, batch = {}, MICRO_BATCH["cpu"]
    for precision in ("fp32", *wanted.precisions):
        ours = Ours(wanted.model, inputs, precision, wanted.preset).contender(Way(batch, threads=1, apart=True))
        found[precision] = profile(ours.step, inputs, states_dtype(precision), batch, PROFILE_ROUNDS)
    return found


def _formats(scorer: Scorer, folder: Path, options: argparse.Namespace, rounds: int) -> Iterable[dict[str, Any]]:
    if options.formats is None and not options.formats_only:
        return ()
    wanted = options.formats or formats.STANDARD
    return formats.measure(scorer, folder / "formats", wanted, options.frames, min(rounds, 3))


def _scaling(options: argparse.Namespace, precision: str, device: torch.device, rounds: int) -> list[dict[str, Any]]:
    if not options.scaling or device.type != "cpu":
        return []
    return scaling(options.checkpoint, options.preset, precision, seconds=4, rounds=min(rounds, 3))


if __name__ == "__main__":
    main()
