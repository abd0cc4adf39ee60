"""What ``python -m aedmae_fast.train`` can be asked for, and what it makes of that: settings and network of a run."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from aedmae_fast.config import CONFIGS, ModelConfig
from aedmae_fast.engine.choose import Choice
from aedmae_fast.evaluation.layouts import LAYOUTS, LAYOUTS_HELP
from aedmae_fast.training.parallel import Place
from aedmae_fast.training.settings import RECIPES, TrainSettings
from aedmae_fast.version import __version__

CHECKPOINT = "model.safetensors"
LARGEST_AVERAGE = 0.25  # share of the teacher's steps that --ema may average over
CONFIG = "shanghaitech"  # of layouts that have none of their own: the smallest frames at 800 tokens
OF_LAYOUT = {"ped": "ped2", "avenue": "avenue", "shanghaitech": "shanghaitech", "ubnormal": "ubnormal"}


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments. Those that settings or network are made of are None where they were not given."""
    parser = argparse.ArgumentParser(
        prog="python -m aedmae_fast.train",
        description="Train on videos in which nothing unusual happens.",
        epilog=LAYOUTS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to learn from")
    what.add_argument("--data", type=Path, required=True, help="folder of the data set, or of normal videos")
    what.add_argument("--layout", default="videos", choices=sorted(LAYOUTS), help="see below (default: %(default)s)")
    what.add_argument("--frames", type=int, metavar="N", help="train on about so many, spread over all (default: all)")
    what.add_argument("--anomalies", type=Path, metavar="UBNORMAL", help="cut anomalies from UBnormal, not from --data")
    net = parser.add_argument_group("network")
    net.add_argument(
        "--config",
        default="auto",
        choices=["auto", *CONFIGS],
        help=f"(default: the layout's; of {' and '.join(sorted(LAYOUTS.keys() - OF_LAYOUT))}: {CONFIG})",
    )
    net.add_argument("--height", type=int, help="input height, pixels (default: the config's)")
    net.add_argument("--width", type=int, help="input width, pixels (default: the config's)")
    net.add_argument("--patch", type=int, help="side of the patches, pixels (default: the config's)")
    net.add_argument("--region", type=Path, metavar="IMAGE", help="white where to look (default: the whole picture)")
    net.add_argument("--mask-ratio", type=float, help=f"share of the patches that is hidden {_defaults('mask_ratio')}")
    net.add_argument("--dropout", type=float, help=f"share dropped in the MLPs {_defaults('dropout')}")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--recipe",
        default="auto",
        choices=["auto", *RECIPES],
        help="defaults of all this, --mask-ratio and --dropout: the paper's, or short, for two cores (default: short"
        " for --layout videos, else paper)",
    )
    how.add_argument(
        "--schedule", choices=["constant", "cosine"], help=f"learning rate in each phase {_defaults('schedule')}"
    )
    how.add_argument("--optimizer", choices=["adam", "adamw"], help=_defaults("optimizer"))
    how.add_argument(
        "--motion-weights",
        action=argparse.BooleanOptionalAction,
        help=f"weigh tokens by motion, Eq. 2 {_defaults('motion_weights')}",
    )
    how.add_argument(
        "--distillation",
        choices=["paper", "release"],
        help=f"student's loss: by motion, or masked tokens {_defaults('distillation')}",
    )
    numbers = {
        "teacher_epochs": "epochs of the first phase", "student_epochs": "epochs of the second phase",
        "batch_size": "frames per step, of all processes together", "lr": "highest learning rate",
        "warmup_epochs": "epochs of linear rise, in each phase", "clip_norm": "largest norm of the gradient; 0: any",
        "ema": "decay of averaged weights per step; 0: none", "anomaly_share": "frames with a synthetic anomaly",
        "normal_share": "frames with a normal paste", "light": "contrast and brightness of a sample: largest change",
        "mirror": "samples that are mirrored; for places where both directions are normal",
        "class_weight": "weight of the class head's loss", "seed": "of everything random",
    }  # fmt: skip
    for name, text in numbers.items():
        kind = type(getattr(TrainSettings(), name))
        how.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{text} {_defaults(name)}")
    where = parser.add_argument_group("where")
    where.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: %(default)s)")
    where.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"], help="(default: %(default)s)")
    where.add_argument(
        "--workers",
        default="auto",
        metavar="N",
        help="threads that decode, and that build batches (default: %(default)s)",
    )
    where.add_argument(
        "--cache", default="disk", choices=["disk", "memory"], help="decoded frames (default: OUT/cache)"
    )
    result = parser.add_argument_group("results")
    result.add_argument("--out", type=Path, required=True, help=f"folder for {CHECKPOINT}, logs and state")
    result.add_argument("--resume", action="store_true", help="go on with the run in --out")
    result.add_argument(
        "--pictures", type=int, default=10, metavar="N", help="samples every N epochs; 0: never (default: %(default)s)"
    )
    result.add_argument("--quiet", action="store_true", help="print troubles only")
    parser.add_argument("--version", action="version", version=f"aedmae_fast {__version__}")
    return parser


def _defaults(name: str) -> str:
    """What a setting is in each recipe, for ``--help``."""
    of = {title: r.network.get(name, getattr(r.settings, name, "the config's")) for title, r in RECIPES.items()}
    if len(set(of.values())) == 1:
        return f"(default: {of['paper']})"
    return f"({', '.join(f'{title}: {value}' for title, value in of.items())})"


def recipe_of(options: argparse.Namespace) -> Choice:
    """The recipe's name, and why it is this one."""
    if options.recipe != "auto":
        return Choice(options.recipe, "asked for")
    name = "short" if options.layout == "videos" else "paper"
    return Choice(name, f"{RECIPES[name].source}; --recipe takes another")


def settings_of(options: argparse.Namespace) -> TrainSettings:
    """The recipe's, and what was asked for instead. Raises ValueError where that is out of range."""
    return replace(
        RECIPES[recipe_of(options).value].settings, **_given(options, [f.name for f in fields(TrainSettings)])
    )


def config_of(options: argparse.Namespace) -> ModelConfig:
    """The config's, the recipe's, and what was asked for instead. Raises ValueError where they do not fit together.

    Without a weight there is no class head: a score would add what was never trained.
    """
    given = _given(options, ["height", "width", "patch", "mask_ratio", "dropout"])
    of = dataclasses.asdict(CONFIGS[_config_name(options)]) | RECIPES[recipe_of(options).value].network | given
    of["class_head"] = settings_of(options).class_weight > 0
    columns = of["width"] // max(1, of["patch"])
    any_count = ModelConfig(**of | {"mask_count": math.lcm(*range(1, columns + 1))})  # no group is larger than that
    cover = any_count.masks_to_cover
    return replace(any_count, mask_count=math.ceil(of["mask_count"] / cover) * cover)


def _given(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _config_name(options: argparse.Namespace) -> str:
    name: str = options.config
    return OF_LAYOUT.get(options.layout, CONFIG) if name == "auto" else name


def note_on_average(settings: TrainSettings, steps_per_epoch: int) -> str | None:
    """What to say where the averaged weights would be mostly those of the beginning."""
    steps = settings.teacher_epochs * steps_per_epoch
    if not settings.ema or not steps or (averaged := 1 / (1 - settings.ema)) <= LARGEST_AVERAGE * steps:
        return None
    lower = max(0.0, 1 - 1 / (LARGEST_AVERAGE * steps))
    return (
        f"--ema {settings.ema:g} averages over {averaged:.0f} steps, and the teacher has {steps} in all: the result"
        f" will lag behind what it has learned; at most {math.floor(1000 * lower) / 1000:g} suits this schedule"
    )


def choices_of(
    options: argparse.Namespace, settings: TrainSettings, config: ModelConfig, place: Place
) -> dict[str, Choice]:
    """What the run is made of, and why, for the console."""
    if _given(options, ["height", "width", "patch"]):
        why = f"{_config_name(options)}, changed as asked for"
    elif options.config != "auto":
        why = "asked for"
    elif options.layout in OF_LAYOUT:
        why = f"the paper's for {options.layout}"
    else:
        why = f"{CONFIG}'s, the smallest frames at 800 tokens; --config, --height, --width, --patch change it"
    network = f"{config.height}x{config.width}, patch {config.patch}, {config.kept} of {config.tokens} tokens visible"
    epochs = f"{settings.teacher_epochs} + {settings.student_epochs} epochs"
    processes = f"over {place.world} processes" if place.world > 1 else "in one process"
    return {
        "recipe": recipe_of(options),
        "network": Choice(network, why),
        "schedule": Choice(
            f"{epochs}, {settings.optimizer}, lr {settings.lr:g}, {settings.schedule}", "teacher + student"
        ),
        "batch": Choice(f"{settings.batch_size} frames", processes),
        "anomalies": Choice(
            f"in {settings.anomaly_share:.0%} of the frames",
            "procedural, from the clips themselves"
            if options.anomalies is None
            else f"UBnormal in {options.anomalies}",
        ),
        "light": Choice(
            f"contrast and brightness changed by up to {settings.light:.0%}" if settings.light else "as it is",
            "of each sample",
        ),
        "mirror": Choice(f"{settings.mirror:.0%} of the samples", "left for right"),
        "seed": Choice(str(settings.seed), "order, samples, masks, dropout, first weights"),
    }
