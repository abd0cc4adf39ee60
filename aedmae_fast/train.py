"""``python -m aedmae_fast.train --data DIR --layout clips --out RUN/``: train on normal videos; one checkpoint.

With several GPUs: ``torchrun --nproc-per-node 8 -m aedmae_fast.train ...``; the batch size is that of all together.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import torch

from aedmae_fast.engine.choose import Choice, choose_device, choose_precision, choose_workers
from aedmae_fast.model.checkpoint import save_model
from aedmae_fast.model.network import AedMae
from aedmae_fast.model.region import load_region
from aedmae_fast.report.console import Console
from aedmae_fast.text import duration, printable, table
from aedmae_fast.training.data import Batch, Loader, TrainingFrames
from aedmae_fast.training.gather import Gathering
from aedmae_fast.training.journal import Journal
from aedmae_fast.training.loop import Hooks, Trainer
from aedmae_fast.training.options import (
    CHECKPOINT,
    choices_of,
    config_of,
    make_parser,
    note_on_average,
    settings_of,
)
from aedmae_fast.training.parallel import Place, barrier, place_from_environment, process_group
from aedmae_fast.training.progress import Progress
from aedmae_fast.training.state import STATE_FILE, State, load_state
from aedmae_fast.version import __version__

OK, USAGE, INTERRUPTED = 0, 2, 130  # exit codes
PICTURED = 8  # samples in a picture


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 trained, 2 usage, 130 interrupted."""
    options = make_parser().parse_args(arguments)
    place = place_from_environment()
    console = Console(options.quiet or not place.first)
    try:
        _train(options, console, place)
        return OK
    except (FloatingPointError, ImportError, OSError, ValueError) as error:
        console.error(f"error: {error}")
        return USAGE
    except KeyboardInterrupt:
        kept = "no epoch is finished yet, and the same command starts again"
        if (options.out / STATE_FILE).exists():
            kept = "finished epochs are kept, and the same command with --resume goes on from there"
        console.error(f"interrupted; {kept}")
        return INTERRUPTED
    finally:
        console.close()


def _train(options: argparse.Namespace, console: Console, place: Place) -> None:
    started = time.perf_counter()
    settings, config = settings_of(options), config_of(options)
    if options.frames is not None and options.frames < 1:
        raise ValueError(f"--frames: expected at least 1, found {options.frames}")
    if settings.batch_size % place.world:
        raise ValueError(f"--batch-size: {settings.batch_size} does not divide among {place.world} processes")
    if (options.out / STATE_FILE).exists() and not options.resume:
        raise ValueError(f"{options.out} holds a run already: add --resume to go on with it, or name another --out")
    own_gpu = place.world > 1 and torch.cuda.is_available() and options.device in ("auto", "cuda")
    device = choose_device(f"cuda:{place.local_rank}" if own_gpu else options.device)
    precision = choose_precision(options.precision, device.value)
    workers = choose_workers(options.workers, device.value)
    region = None if options.region is None else load_region(options.region, (config.height, config.width))
    identity = {
        "version": __version__,
        "frames": options.frames,
        "precision": precision.value,
        **config.to_dict(),
        **settings.to_dict(),
        **({} if region is None else {"region": region.fingerprint()}),
    }
    gathering = Gathering(options, config, region, int(workers.value), console, place)
    decoded = None
    if options.resume:  # all that can be compared is, before hours of decoding
        state = load_state(options.out / STATE_FILE, identity, unknown=("data", "anomalies"))
        decoded = gathering.decoded_before(state.identity["data"])
    paths = [] if decoded is not None else gathering.paths()
    options.out.mkdir(parents=True, exist_ok=True)
    count = len(paths) if decoded is None else len(decoded.frames)
    console.say(f"aedmae_fast {__version__}: {count} training clips of {options.data} -> {options.out}")
    console.choices(choices_of(options, settings, config, place))
    chosen = {"device": device, "precision": precision, "workers": workers}
    if region is not None:
        chosen["region"] = Choice(f"{region.share:.0%} of the picture", f"white in {options.region}")
    console.choices(chosen)
    ubnormal = gathering.ubnormal()
    with process_group(place, torch.device(device.value)):
        clips = gathering.clips(decoded, paths)
        frames = gathering.frames(clips, ubnormal, settings)
        settings = frames.settings
        pin = device.value != "cpu"
        loader = Loader(frames, settings.batch_size, place.rank, place.world, int(workers.value), pin)
        if note := note_on_average(settings, loader.steps):
            console.say(f"  {note}")
        torch.manual_seed(settings.seed)
        model = AedMae(config).to(device.value)
        model.region = region
        identity |= {"data": clips.fingerprint, "anomalies": frames.source.name}
        trainer = Trainer(
            model, loader, settings, options.out, identity, torch.device(device.value), precision.value, place
        )
        if place.first:
            _run(trainer, options, console, frames)
        else:
            trainer.train(options.resume)
        barrier(place)
    console.say(f"{options.out / CHECKPOINT}: ready after {duration(time.perf_counter() - started)}")


def _run(trainer: Trainer, options: argparse.Namespace, console: Console, frames: TrainingFrames) -> None:
    """Train in the first process: with progress, logs, pictures and a checkpoint after every epoch."""
    settings, history = trainer.settings, []
    if options.resume:
        history = load_state(options.out / STATE_FILE, trainer.identity).history
        console.say(f"  going on after {len(history)} of {settings.epochs} epochs")
    per_epoch = trainer.loader.steps * settings.batch_size
    total, done = settings.epochs * per_epoch, len(history) * per_epoch
    journal = Journal(options.out)
    for note in journal.notes:
        console.say(f"  {note}")
    if history:  # a kill may have come between the state and the journal
        journal.draw(history)
    metadata = {
        "data": printable(options.data.resolve().name),
        "layout": options.layout,
        "schedule": json.dumps(settings.to_dict()),
        "seed": str(settings.seed),
        "precision": trainer.precision,
        "versions": f"aedmae_fast {__version__}, torch {torch.__version__}",
    }
    pictured = _pictured(frames).to(trainer.device)

    def on_epoch(state: State, model: AedMae) -> None:
        journal.epoch(state.history)
        save_model(model, options.out / CHECKPOINT, {**metadata, "epochs": str(len(state.history))})
        last = len(state.history) == settings.epochs
        if options.pictures and (last or len(state.history) % options.pictures == 0):
            journal.pictures(model, pictured, state.history)
        row = state.history[-1]
        parts = "".join(f", {name} {row[name]:.4f}" for name in ("reconstruction", "class") if name in row)
        of = settings.teacher_epochs if row["phase"] == "teacher" else settings.student_epochs
        console.say(
            f"{row['phase']} {row['epoch']}/{of}: loss {row['total']:.4f}{parts};"
            f" {row['frames_per_second']:.1f} frames/s, {progress.left()}"
        )
        history[:] = state.history

    with Progress("train", "frames", total, options.quiet, done) as progress, closing(journal):
        trainer.hooks = Hooks(progress.advance, on_epoch)
        save_model(
            trainer.train(options.resume), options.out / CHECKPOINT, {**metadata, "epochs": str(settings.epochs)}
        )
    console.say(closing_table(history))


def _pictured(frames: TrainingFrames) -> Batch:
    """Samples for the pictures: spread over the clips, most with an anomaly, the same ones in every epoch."""
    indices = [i * len(frames) // PICTURED for i in range(PICTURED)]
    return frames.with_shares(anomaly=0.75, normal=0.5).batch(indices, epoch=0)


def closing_table(history: Sequence[dict[str, Any]]) -> str:
    """Per phase: epochs, first and last loss, speed, time."""
    lines = [("phase", "epochs", "first loss", "last loss", "frames/s", "time")]
    for phase in dict.fromkeys(row["phase"] for row in history):
        rows = [row for row in history if row["phase"] == phase]
        seconds = sum(row["seconds"] for row in rows)
        rate = sum(row["frames_per_second"] * row["seconds"] for row in rows) / seconds
        first, last = (f"{row['total']:.4f}" for row in (rows[0], rows[-1]))
        lines.append((phase, str(len(rows)), first, last, f"{rate:.1f}", duration(seconds)))
    return table(lines, "<>>>>>")


if __name__ == "__main__":
    sys.exit(main())
