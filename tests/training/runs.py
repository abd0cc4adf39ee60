"""A small run for the tests that kill or join processes: ``python -m tests.training.runs OUT [options]``."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import torch

from aedmae_fast.model.checkpoint import save_model
from aedmae_fast.model.network import AedMae
from aedmae_fast.training.data import Loader
from aedmae_fast.training.journal import write_csv
from aedmae_fast.training.loop import Hooks, Trainer
from aedmae_fast.training.parallel import place_from_environment, process_group
from aedmae_fast.training.settings import TrainSettings
from tests.conftest import TINY
from tests.training.scenes import training_frames, without_dropout

SETTINGS = TrainSettings(teacher_epochs=3, student_epochs=2, batch_size=16, lr=2e-3, ema=0.9, schedule="cosine")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill-at-step", type=int, default=-1)
    parser.add_argument("--no-dropout", action="store_true")
    parser.add_argument("--other-data", action="store_true", help="in each process")
    options = parser.parse_args(arguments)
    options.out.mkdir(exist_ok=True)
    place = place_from_environment()
    config = without_dropout() if options.no_dropout else TINY
    steps = 0

    def on_step(_: int) -> None:
        nonlocal steps
        steps += 1
        if steps == options.kill_at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch(state: object, _: AedMae) -> None:
        write_csv(state.history, options.out / "log.csv")  # type: ignore[attr-defined]

    with process_group(place, torch.device("cpu")):
        torch.manual_seed(0)
        loader = Loader(training_frames(SETTINGS, config), SETTINGS.batch_size, place.rank, place.world)
        hooks, identity = Hooks(on_step, on_epoch), {"run": "test", "data": place.rank if options.other_data else 0}
        trainer = Trainer(AedMae(config), loader, SETTINGS, options.out, identity, place=place, hooks=hooks)
        model = trainer.train(options.resume)
    if place.first:
        save_model(model, options.out / "model.safetensors")


if __name__ == "__main__":
    main()
