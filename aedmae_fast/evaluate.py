"""``python -m aedmae_fast.evaluate --data DIR --layout NAME``: how good scores are, beside an untrained baseline."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aedmae_fast import env
from aedmae_fast.config import PRESETS
from aedmae_fast.engine.job import MANIFEST
from aedmae_fast.engine.precision import PRECISIONS, computed_in
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.scorer import Scorer
from aedmae_fast.engine.table import read_csv, write_csv
from aedmae_fast.evaluation import score_files
from aedmae_fast.evaluation.auc import ScoredClip, frame_auc
from aedmae_fast.evaluation.baseline import frame_difference
from aedmae_fast.evaluation.figures import Figures, clip_rows, clip_table, figure_table, localise
from aedmae_fast.evaluation.layouts import LAYOUTS, LAYOUTS_HELP, LabelledClip, read_dataset
from aedmae_fast.evaluation.map_store import MapStore
from aedmae_fast.evaluation.rbdc_tbdc import ALPHA, BETA
from aedmae_fast.files import atomic
from aedmae_fast.interruption import stops_interrupt
from aedmae_fast.model.checkpoint import CheckpointError, load_model
from aedmae_fast.report import plot, roc
from aedmae_fast.report.console import Console
from aedmae_fast.text import printable
from aedmae_fast.version import __version__
from aedmae_fast.video import Status, VideoError

OK, TROUBLE, INTERRUPTED = 0, 2, 130  # exit codes
MODEL, BASELINE = "model", "frame difference"


@stops_interrupt()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 evaluated, 2 not (usage, data, scores), 130 interrupted."""
    options = _parser().parse_args(arguments)
    console = Console(options.quiet)
    try:
        return _evaluate(options, console)
    except (CheckpointError, ImportError, OSError, ValueError, VideoError) as error:
        console.error(f"error: {error}")
        return TROUBLE
    except KeyboardInterrupt:
        console.error("interrupted")
        return INTERRUPTED
    finally:
        console.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m aedmae_fast.evaluate",
        description="Evaluate anomaly scores against a data set's ground truth.",
        epilog=LAYOUTS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    labelled = [name for name in LAYOUTS if name != "videos"]
    parser.add_argument("--layout", required=True, choices=labelled, help="how it lies there, see below")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--checkpoint",
        help="score the test clips with this model: .safetensors, the release's .pth, a name of bundled weights, or"
        " untrained-CONFIG",
    )
    what.add_argument("--scores", type=Path, metavar="DIR", help="evaluate finished CSV files")
    how = parser.add_argument_group("how to score, with --checkpoint")
    how.add_argument(
        "--preset",
        default="auto",
        choices=["auto", *PRESETS],
        help="formula of the score (default: anomaly-map; the release's for networks without a class head)",
    )
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: %(default)s)")
    how.add_argument("--precision", default="auto", choices=["auto", *PRECISIONS], help="(default: %(default)s)")
    how.add_argument("--batch-size", default="auto", metavar="N", help="frames per step (default: %(default)s)")
    result = parser.add_argument_group("results")
    result.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for all results: figures as JSON, scores as CSV, plots"
    )
    result.add_argument("--plot", action="store_true", help="ROC, detection curves, scores of each clip (needs --out)")
    result.add_argument("--json", metavar="PATH", help="write every figure by name; - for stdout instead of the tables")
    result.add_argument("--quiet", action="store_true", help="print results and troubles only")
    parser.add_argument("--version", action="version", version=f"aedmae_fast {__version__}")
    return parser


def _evaluate(options: argparse.Namespace, console: Console) -> int:
    if options.plot:
        if options.out is None:
            raise ValueError("--plot: say where to with --out DIR")
        plot.require_matplotlib()
    clips = read_dataset(options.data, options.layout).test
    if not clips:
        raise ValueError(f"{options.data}: no test clips to evaluate on")
    frames = sum(len(clip.labels) for clip in clips)  # read before scoring: damaged labels show at once
    anomalous = sum(int(clip.labels.sum()) for clip in clips)
    console.say(f"aedmae_fast {__version__}: {len(clips)} test clips of {printable(str(options.data))}")
    console.say(f"  {anomalous} of {frames} frames are anomalous")
    if anomalous in (0, frames):
        raise ValueError(
            f"{options.data}: all {frames} frames have label {int(anomalous > 0)}: there is no ROC; expected test clips"
            " with normal frames (0) and with anomalous ones (1) among them"
        )
    report_paths = _report_paths(options)  # where nothing can be written is known before hours of scoring
    with MapStore() as maps, MapStore() as baseline_maps:
        scored, settings = (_score if options.scores is None else _read)(options, console, clips, maps)
        console.say(f"scoring the clips by {BASELINE}, for comparison")
        baseline = [
            ScoredClip(clip.name, clip.labels, frame_difference(clip.path, on_map=partial(baseline_maps.add, index)))
            for index, clip in enumerate(clips)
        ]
        masked = sum(clip.has_masks for clip in clips)
        console.say(f"comparing maps with the pixel masks of {masked} clips" if masked else "no clip has pixel masks")
        stores = {BASELINE: baseline_maps, **({MODEL: maps} if len(maps) else {})}
        where = localise(clips, stores) if masked else {}
    measured = {
        MODEL: Figures(frame_auc(scored), where.get(MODEL)),
        BASELINE: Figures(frame_auc(baseline), where.get(BASELINE)),
    }
    report = {
        **measured[MODEL].by_name(),
        "baseline": measured[BASELINE].by_name(),
        "one_class_clips": list(measured[MODEL].frame.one_class_clips),
        "frames": frames,
        "anomalous_frames": anomalous,
        "clips_with_masks": masked,
        "alpha": ALPHA,
        "beta": BETA,
        "data": str(options.data),
        "layout": options.layout,
        **settings,
        "clips": clip_rows(scored, baseline),
        "environment": env.describe(),
    }
    if options.plot:
        _plot(options.out, {MODEL: scored, BASELINE: baseline}, measured, str(settings["preset"]))
    for path in report_paths:
        with atomic(path) as file:
            json.dump(report, file, indent=1)
    print(json.dumps(report) if options.json == "-" else _tables(report, measured))
    return OK


def _report_paths(options: argparse.Namespace) -> list[Path]:
    """Where the figures go; the folders are made."""
    paths = [Path(options.json)] if options.json and options.json != "-" else []
    if options.out is not None:
        if options.checkpoint is not None and (options.out / MANIFEST).exists():
            raise ValueError(f"--out: {options.out} holds scores of aedmae_fast.score, which stay; name another folder")
        paths.append(options.out / score_files.REPORT)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    return paths


def _score(
    options: argparse.Namespace, console: Console, clips: Sequence[LabelledClip], maps: MapStore
) -> tuple[list[ScoredClip], dict[str, Any]]:
    """Score the clips with a model; its maps go to ``maps``."""
    scorer = Scorer(
        load_model(options.checkpoint),
        preset=options.preset,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch_size,
    )
    console.choices(scorer.choices)
    scored: dict[int, ScoredClip] = {}
    console.start(len(clips))
    for index, scores in scorer.score_unordered(
        [clip.path for clip in clips],
        on_opened=lambda _, info: console.opened(info.expected_frames),
        on_scored=console.scored,
        on_map=lambda index, found: maps.add(index, found.frame, found.values),
    ):
        scored[index] = _accept(clips[index], scores, console)
        if options.out is not None:
            with atomic(options.out / f"{clips[index].path.name}.csv") as file:
                write_csv(file, scores)
    console.close()
    return [scored[index] for index in range(len(clips))], {
        "checkpoint": options.checkpoint,
        "preset": scorer.preset.name,
        "precision": computed_in(scorer.choices["precision"].value),
        "device": scorer.choices["device"].value,
        "maps": f"what the raw score is the {scorer.preset.pool} of, but for the class probability",
    }


def _accept(clip: LabelledClip, scores: ClipScores, console: Console) -> ScoredClip:
    """A truncated or corrupt clip is evaluated if it has a score for each label; what cannot be scored ends the run."""
    status = scores.status.value
    if not scores.frames or scores.status is Status.FAILED:
        raise ValueError(f"clip {clip.name}: {status}: {scores.reason}")
    entry = {"status": status, "reason": scores.reason, "frames": scores.frames, "seconds": scores.seconds}
    console.finished(clip.name, entry)
    return ScoredClip(clip.name, clip.labels, scores.score)


def _read(
    options: argparse.Namespace, console: Console, clips: Sequence[LabelledClip], maps: MapStore
) -> tuple[list[ScoredClip], dict[str, Any]]:
    """Take finished scores from CSV files; and maps, where every clip has one for every frame."""
    if not options.scores.is_dir():
        raise ValueError(f"--scores: {options.scores} is no folder")
    files = [score_files.find_csv(options.scores, clip.path, options.data) for clip in clips]
    scored = [ScoredClip(clip.name, clip.labels, read_csv(file)) for clip, file in zip(clips, files, strict=True)]
    settings = score_files.read_settings(options.scores)
    found = score_files.read_maps(options.scores, files)
    lacking = sum(m is None or len(m) != len(clip.scores) for m, clip in zip(found, scored, strict=True))
    for index, of_clip in enumerate(found):
        if not lacking and of_clip is not None:
            maps.take(index, of_clip)
    console.say(f"  {len(scored)} files of scores, {len(maps)} of maps")
    return scored, {
        "scores": str(options.scores),
        "weights_sha256": settings.get("weights_sha256"),
        "preset": settings.get("preset", "unknown"),
        "precision": settings.get("precision", "unknown"),
        "device": settings.get("device", "unknown"),
        "maps": f"{lacking} of {len(clips)} clips have no maps (score --maps)" if lacking else "those of score --maps",
    }


def _tables(report: dict[str, Any], measured: dict[str, Figures]) -> str:
    """What a person reads: the clips, the figures, and what to know of them."""
    lines = [clip_table(report["clips"]), "", figure_table(measured[MODEL], measured[BASELINE]), ""]
    lines.append(f"preset {report['preset']}, precision {report['precision']}, device {report['device']}")
    if names := report["one_class_clips"]:
        lines.append(
            f"{len(names)} of {len(report['clips'])} clips have one label only ({printable(', '.join(names))}): the"
            " release's end points give them an area of 1 or little less; the two-class means leave them out"
        )
    if measured[MODEL].where is None:
        why = "no clip has pixel masks"
        if report["clips_with_masks"]:
            why = report["maps"] if measured[BASELINE].where else "the masks show nothing, or nothing else"
        lines.append(f"no pixel-level figures of the model: {why}")
    return "\n".join(lines)


def _plot(out: Path, scored: dict[str, list[ScoredClip]], measured: dict[str, Figures], preset: str) -> None:
    roc.plot_roc(scored, out / "roc.png", f"frames of {len(scored[MODEL])} clips, preset {preset}")
    curves = {method: figures.where.curves for method, figures in measured.items() if figures.where}
    if curves:
        roc.plot_detection(curves, out / "detection.png", f"regions and tracks, preset {preset}")
    for clip in scored[MODEL]:
        roc.plot_clip(clip, out / f"{clip.name}.png", preset)


if __name__ == "__main__":
    sys.exit(main())
