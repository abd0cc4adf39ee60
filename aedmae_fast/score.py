"""``python -m aedmae_fast.score --dir videos/``: score a folder of videos, one CSV a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from aedmae_fast import env
from aedmae_fast.config import PRESETS
from aedmae_fast.engine import choose
from aedmae_fast.engine.choose import Choice
from aedmae_fast.engine.entry import Entry
from aedmae_fast.engine.feed import NoAnswerError
from aedmae_fast.engine.fleet import Fleet
from aedmae_fast.engine.job import Item, Job, JobError, name_items
from aedmae_fast.engine.precision import PRECISIONS, computed_in, computed_on
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.scorer import Scorer
from aedmae_fast.interruption import stops_interrupt
from aedmae_fast.model.checkpoint import (
    DEFAULT,
    UNTRAINED,
    CheckpointError,
    bundled_names,
    load_model,
    weights_hash,
)
from aedmae_fast.model.network import AedMae
from aedmae_fast.model.region import Region
from aedmae_fast.report import html, plot
from aedmae_fast.report.console import Console, closing_table
from aedmae_fast.report.normal import NormalScores, read_normal
from aedmae_fast.text import printable
from aedmae_fast.version import __version__
from aedmae_fast.video import Decoder
from aedmae_fast.video.discover import find_videos
from aedmae_fast.video.pulse import on_pulse

REPORT = "report.html"
OK, SOME_NOT_OK, USAGE, BROKEN_OFF, INTERRUPTED = 0, 1, 2, 3, 130  # exit codes


@stops_interrupt()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 all ok, 1 some files not, 2 usage, 3 unexpected, 130 interrupted."""
    options = _parser().parse_args(arguments)
    console = Console(options.quiet)
    try:
        return _score(options, console)
    except NoAnswerError as error:
        console.error(f"error: {error}; {_how_it_goes_on(options)}")
        return SOME_NOT_OK
    except (CheckpointError, JobError, ImportError, OSError, ValueError) as error:
        console.error(f"error: {error}")
        return USAGE
    except KeyboardInterrupt:
        console.error(f"interrupted; {_how_it_goes_on(options)}")
        return INTERRUPTED
    except Exception:
        console.close()
        traceback.print_exc()
        return BROKEN_OFF
    finally:
        console.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m aedmae_fast.score", description="Score videos: where does something unusual happen?"
    )
    where = parser.add_argument_group("what to score")
    where.add_argument("files", nargs="*", type=Path, help="videos, or folders of frames")
    where.add_argument("--dir", type=Path, help="folder of videos, searched recursively")
    where.add_argument("--include", action="append", default=[], metavar="GLOB", help="only these; may be repeated")
    where.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="not these; may be repeated")
    where.add_argument(
        "--stride",
        type=int,
        default=1,
        metavar="N",
        help="score every N-th frame and interpolate between (default: %(default)s)",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--checkpoint",
        default=DEFAULT,
        help=".safetensors, the release's .pth, a name of bundled weights, or untrained-CONFIG (default: %(default)s)",
    )
    how.add_argument(
        "--preset",
        default="auto",
        choices=["auto", *PRESETS],
        help="formula of the score (default: anomaly-map; the release's for networks without a class head)",
    )
    how.add_argument("--region", metavar="IMAGE", help="white where to look (default: what the network was trained on)")
    how.add_argument("--smooth", default="preset", choices=["preset", "none"], help="over time (default: the preset's)")
    how.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:N; a process each: cuda:0,cuda:1, or all for every GPU (default: %(default)s)",
    )
    how.add_argument("--decoder", default="auto", choices=get_args(Decoder), help="(default: %(default)s)")
    how.add_argument("--precision", default="auto", choices=["auto", *PRECISIONS], help="(default: %(default)s)")
    how.add_argument("--batch-size", default="auto", metavar="N", help="frames per step (default: %(default)s)")
    how.add_argument("--threads", default="auto", metavar="N", help="CPU threads that compute (default: %(default)s)")
    how.add_argument("--workers", default="auto", metavar="N", help="decoder threads (default: %(default)s)")
    result = parser.add_argument_group("results")
    result.add_argument("--out", type=Path, default=Path("scores"), help="output folder (default: %(default)s)")
    result.add_argument("--overwrite", action="store_true", help="score again what is finished")
    result.add_argument(
        "--maps", action="store_true", help="a .npy per file: float16 [frames, H, W], what scores come from"
    )
    result.add_argument("--report", action="store_true", help="report.html: what stood out in all files, with films")
    result.add_argument(
        "--normal",
        type=Path,
        metavar="DIR",
        help="--out of normal videos scored alike: the report says how often they reach each event's score",
    )
    result.add_argument("--plot", action="store_true", help="a PNG per file (needs the 'report' extra)")
    result.add_argument("--quiet", action="store_true", help="print troubles only")
    result.add_argument("--json", action="store_true", help="print the closing report to stdout as JSON")
    parser.add_argument("--version", action="version", version=f"aedmae_fast {__version__}")
    return parser


def _score(options: argparse.Namespace, console: Console) -> int:
    if options.plot:
        plot.require_matplotlib()
    if options.normal and not options.report:
        raise ValueError("--normal is for the report; add --report")
    if options.normal and options.normal.resolve() == options.out.resolve():
        raise ValueError(f"--normal: {options.normal} is --out itself; expected the --out of other, normal videos")
    items, left_out = _items(options, console)
    model = load_model(options.checkpoint)
    scorer = _scorer(options, model)
    region, of_region = choose.choose_region(options.region, model)
    settings = _settings(options, model, scorer, region)
    if options.report and scorer.preset.min_max and options.smooth != "none":
        raise ValueError(
            f"--report: the preset {scorer.preset.name} stretches each clip's scores to 0..1, so that those of two"
            " clips do not compare; choose another --preset, or --smooth none"
        )
    normal = read_normal(options.normal, settings) if options.normal else None
    console.say(f"aedmae_fast {__version__}: {len(items)} videos -> {options.out}")
    of_normal = {"normal": Choice(normal.length, f"scores in {options.normal}")} if normal else {}
    console.choices({**_choices(options, scorer), **of_region, **of_normal})
    with Job(options.out, settings, overwrite=options.overwrite, maps=options.maps) as job:
        todo = job.todo(items)
        try:
            report = _run(options, console, model, scorer, job, items, todo)
            is_whole = not report["not_ok"] and not left_out
            try:
                job.finish(env.describe(), left_out)
            except OSError as error:
                console.error(f"error: cannot write {job.out}/manifest.json: {error.strerror}; make room and run again")
                is_whole = False
            else:
                if options.report:
                    _report(console, job, items, region, normal)
            if options.json:  # last: whoever reads it finds the files finished
                is_whole &= _print_json(report, console)
        except NoAnswerError:
            raise
        except Exception as error:  # of whatever kind: it is not the usage's any more
            raise RuntimeError(f"scoring broke off; {_how_it_goes_on(options)}") from error
    return OK if is_whole else SOME_NOT_OK


def _print_json(report: dict[str, Any], console: Console) -> bool:
    """To stdout; False if it cannot be written there. Where nobody reads it, that is the reader's choice."""
    try:
        print(json.dumps(report), flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python says so again at its end
        if not isinstance(error, BrokenPipeError):
            console.error(f"error: cannot write the JSON to stdout: {error.strerror}")
            return False
    return True


def _how_it_goes_on(options: argparse.Namespace) -> str:
    again = "the same command without --overwrite" if options.overwrite else "the same command"
    return f"what is finished is kept, and {again} goes on from there"


def _scorer(options: argparse.Namespace, model: AedMae) -> Scorer | Fleet:
    """Here, or in a process for each of several devices."""
    devices = choose.devices_of(options.device)
    if len(devices) > 1:
        return _fleet(options, model, devices)
    return Scorer(model, device=devices[0], **_how(options))


def _fleet(options: argparse.Namespace, model: AedMae, devices: Sequence[str]) -> Fleet:
    return Fleet(options.checkpoint, model, devices, **_how(options))


def _how(options: argparse.Namespace) -> dict[str, Any]:
    names = ("preset", "precision", "batch_size", "threads", "workers", "decoder", "stride", "region")
    return {**{name: getattr(options, name) for name in names}, "smoothing": options.smooth == "preset"}


def _run(
    options: argparse.Namespace,
    console: Console,
    model: AedMae,
    scorer: Scorer | Fleet,
    job: Job,
    items: list[Item],
    todo: list[Item],
) -> dict[str, Any]:
    """Score what is to be scored and print how it went; returns the closing report, as ``--json`` prints it."""
    if len(todo) < len(items):
        done = len(items) - len(todo)
        console.say(f"  {done} of {len(items)} are finished under these settings (--overwrite: again)")
    report: dict[str, Entry] = {}

    def draw(name: str, entry: Entry) -> None:
        if entry["output"] is None:
            return
        try:
            plot.plot_scores(job.out / entry["output"], job.plot(name), name, scorer.preset.name)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            console.error(f"{printable(name)}: cannot write the plot: {reason}")

    def on_finished(name: str, entry: Entry, scores: ClipScores | None) -> None:
        report[name] = entry
        if options.plot and scores is not None:
            draw(name, entry)
        console.finished(name, entry)

    if options.plot:
        for item in set(items) - set(todo):
            if not job.plot(item.name).is_file():
                draw(item.name, job.entry(item))

    runs = [(scorer, todo)]
    if isinstance(scorer, Scorer) and (suspects := [item for item in todo if job.is_suspect(item)]):
        why = "failed before, or were in hand when a run was killed"
        console.say(f"  {len(suspects)} {why}: they come last, in a process of their own")
        apart = _fleet(options, model, choose.devices_of(options.device))
        runs = [(scorer, [item for item in todo if not job.is_suspect(item)]), (apart, suspects)]
    console.start(len(todo))
    started = time.perf_counter()
    for by, items_of_run in runs:
        job.run(
            by,
            items_of_run,
            on_opened=lambda _, info: console.opened(info.expected_frames),
            on_scored=console.scored,
            on_finished=on_finished,
        )
    seconds = time.perf_counter() - started
    console.close()
    entries = {item.name: report.get(item.name) or job.entry(item) for item in items}
    not_ok = sum(entry["status"] != "ok" for entry in entries.values())
    frames = sum(entry["frames"] for entry in report.values())
    if not options.json:
        console.say(closing_table(entries))
    rate = f", {frames / seconds:.1f} frames/s" if frames else ""
    console.say(f"{len(entries)} files, {not_ok} not ok; {frames} frames scored in {seconds:.1f} s{rate}")
    return {"files": entries, "frames": frames, "seconds": seconds, "not_ok": not_ok}


def _report(console: Console, job: Job, items: list[Item], region: Region | None, normal: NormalScores | None) -> None:
    path = job.out / REPORT
    entries, videos = {item.name: job.entry(item) for item in items}, {item.name: item.path for item in items}
    progress = f"making {path}"

    def on_done(events: int, of: int) -> None:
        nonlocal progress
        progress = f"making {path}: {events} of {of} events are done"

    on_pulse(lambda: console.now_and_then(progress))  # where a file cannot be sought, an event may take long
    try:
        events = html.write_report(path, job.out, job.settings, entries, videos, region, normal, on_done)
    except (OSError, ValueError) as error:  # a full disk, a CSV that somebody has changed
        console.error(f"cannot write {path}: {error.strerror if isinstance(error, OSError) else error}")
    else:
        console.say(f"{path}: the {events} highest events")
    finally:
        on_pulse(lambda: None)


def _items(options: argparse.Namespace, console: Console) -> tuple[list[Item], dict[str, str]]:
    """The videos to score, and what was left out of the search and why."""
    if bool(options.files) == bool(options.dir):
        raise ValueError("give either video files or --dir")
    if options.files:
        if options.include or options.exclude:
            raise ValueError("--include and --exclude choose among the videos of --dir; files are taken as given")
        return name_items(options.files, None), {}
    found = find_videos(options.dir, options.include, options.exclude)
    for path, reason in found.problems:
        console.error(f"{printable(str(path))}: left out: {reason}")
    if found.others:
        kinds = [suffix or "no extension" for suffix, _ in found.others.most_common(8)]
        more = ", ..." if len(found.others) > len(kinds) else ""
        count = found.others.total()
        console.say(f"  {count} other file{'s' * (count > 1)} left out ({printable(', '.join(kinds))}{more})")
    if not found.videos:
        raise ValueError(f"no videos in {printable(str(options.dir))}; looked for video files and folders of frames")
    return name_items(found.videos, options.dir), {str(path): reason for path, reason in found.problems}


def _settings(
    options: argparse.Namespace, model: AedMae, scorer: Scorer | Fleet, region: Region | None
) -> dict[str, Any]:
    """All that a score depends on."""
    devices = scorer.choices["device"].value.split(",")
    return {
        "version": __version__,
        "weights_sha256": weights_hash(model),
        "model": model.config.to_dict(),
        "preset": scorer.preset.name,
        "smooth": options.smooth,
        "stride": options.stride,
        "device": ", ".join(sorted({computed_on(torch.device(name)) for name in devices})),
        "precision": computed_in(scorer.choices["precision"].value),
        "region": region.fingerprint() if region is not None else None,
    }


def _choices(options: argparse.Namespace, scorer: Scorer | Fleet) -> dict[str, Choice]:
    config = scorer.config
    network = f"{config.height}x{config.width}, patch {config.patch}, {config.mask_count} masks"
    about = ""
    if options.checkpoint in UNTRAINED:
        about = "; random weights: the scores mean nothing"
    elif options.checkpoint in bundled_names():
        about = "; it knows the scene it was trained on: for yours, python -m aedmae_fast.train --data NORMAL --out RUN"
    decoder = "PyAV" if options.decoder == "auto" else "asked for"
    choices = {
        "checkpoint": Choice(options.checkpoint, network + about),
        **scorer.choices,
        "decoder": Choice(options.decoder, f"{decoder} for files, Pillow for folders of frames"),
    }
    if options.maps:
        size = f"{config.height}x{config.width}"
        about_size = f"{2 * config.height * config.width / 1000:.0f} kB a frame that is scored, beside each CSV"
        choices["maps"] = Choice(f"float16 {size}", about_size)
    return choices


if __name__ == "__main__":
    sys.exit(main())
