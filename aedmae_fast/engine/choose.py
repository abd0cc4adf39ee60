"""Backends are chosen aloud: every ``auto`` becomes a value and a reason, an explicit wish is met or refused."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import NamedTuple, get_args

import torch

from aedmae_fast.config import PRESETS, ModelConfig, ScoringPreset
from aedmae_fast.engine.calibrate import calibrated
from aedmae_fast.engine.cores import usable_cores
from aedmae_fast.engine.precision import PRECISIONS
from aedmae_fast.engine.runner import MICRO_BATCH
from aedmae_fast.model.network import AedMae
from aedmae_fast.model.region import Region, load_region
from aedmae_fast.ops import native
from aedmae_fast.ops.triton import why_no_fp8
from aedmae_fast.video import Decoder
from aedmae_fast.video.nvdec import why_no_nvdec
from aedmae_fast.video.survey import why_no_dali

HARDWARE = ("dali", "nvdec")  # decoders of a GPU
SESSIONS = 16  # files that they decode at a time at most: two for each NVDEC, of which a GPU has eight or fewer


class Choice(NamedTuple):
    """What was chosen, and why, as the command prints it."""

    value: str
    why: str


class ChoiceError(ValueError):
    """An explicit choice that cannot be had here. The message says what to choose instead."""


def choose_all(
    config: ModelConfig,
    *,
    preset: str | ScoringPreset = "auto",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | str = "auto",
    threads: int | str = "auto",
    workers: int | str = "auto",
    decoder: str = "auto",
    stride: int = 1,
) -> tuple[ScoringPreset, dict[str, Choice]]:
    """What a :class:`aedmae_fast.Scorer`'s settings become on a device: the preset, and every choice by its name."""
    if _whole(stride) < 1:
        raise ChoiceError(f"stride: expected a whole number from 1, found {stride!r}")
    of_preset, chosen_preset = choose_preset(preset, config)
    place = choose_device(device)
    check_decoder(decoder, place.value)
    choices = {
        "device": place,
        "precision": choose_precision(precision, place.value),
        "preset": chosen_preset,
        "threads": choose_threads(threads, place.value),
        "workers": choose_workers(workers, place.value, decoder),
    }
    choices["batch size"] = choose_batch_size(batch_size, place.value, int(choices["threads"].value))
    return of_preset, choices


def choose_region(wish: str | Path | None, model: AedMae) -> tuple[Region | None, dict[str, Choice]]:
    """That of an image file, or the network's own; None and no choice where neither is there: the whole picture."""
    if wish is not None:
        region, why = load_region(wish, (model.config.height, model.config.width)), f"white in {wish}"
    elif model.region is not None:
        region, why = model.region, "which the network was trained on"
    else:
        return None, {}
    return region, {"region": Choice(f"{region.share:.0%} of the picture", why)}


def devices_of(wish: str) -> list[str]:
    """The devices of ``--device``: a list with commas, ``all`` for every CUDA device; ``auto`` and ``cuda`` are one."""
    if wish != "all":
        return wish.split(",")
    if not torch.cuda.is_available():
        raise ChoiceError("device: 'all' asked for, but torch sees no CUDA device; use cpu")
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def choose_device(wish: str) -> Choice:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    if wish == "auto":
        if torch.cuda.is_available():
            return Choice("cuda", torch.cuda.get_device_name())
        build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        return Choice("cpu", f"no CUDA device; torch {torch.__version__} is built {build}")
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise ChoiceError(f"device: expected auto, cpu, cuda or cuda:N, found {wish!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ChoiceError(f"device: expected auto, cpu, cuda or cuda:N, found {wish!r}")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            instead = " or ".join([*(f"cuda:{i}" for i in range(count)), "cpu"])
            raise ChoiceError(f"device: {wish!r} asked for, but torch sees {count} CUDA devices; use {instead}")
    return Choice("cpu" if device.type == "cpu" else str(device), "asked for")  # the CPU has no index


def choose_precision(wish: str, device: str) -> Choice:
    """``auto`` or one of :data:`PRECISIONS`.

    ``auto`` never chooses int8 or fp8, whose scores are farther from those of fp32, and fp16 is none of them: on CPUs
    it is over ten times slower than fp32.
    """
    if wish == "int8":
        return _choose_int8(device)
    if wish == "fp8":
        return _choose_fp8(device)
    if wish in PRECISIONS:
        return Choice(wish, "asked for")
    if wish != "auto":
        raise ChoiceError(f"precision: expected auto or one of {', '.join(PRECISIONS)}, found {wish!r}")
    if torch.device(device).type == "cpu":
        # benchmarks/fps.py: bf16 is 1.8 times as fast as fp32 with AVX512_BF16, 2.7 times with AMX. On the example
        # scene, raw scores within 0.5 % of those in fp32 (median 0.1 %), AUC 97.36 % and 97.37 %.
        if native.cpu_has_bf16():
            return Choice(
                "bf16", f"the CPU computes in bf16 ({native.cpu().isa()}); scores within about 0.5 % of fp32's"
            )
        return Choice("fp32", f"the CPU's kernels in use, {native.cpu().isa()}, have no bf16 arithmetic")
    if torch.cuda.get_device_capability(device) >= (8, 0):
        return Choice("bf16", "the GPU computes in bf16")
    return Choice("fp32", "the GPU has no bf16 arithmetic")


def _choose_int8(device: str) -> Choice:
    if torch.device(device).type != "cpu":
        raise ChoiceError(f"precision: 'int8' is computed on CPUs only, but the device is {device}; use bf16 or fp32")
    rest = "bf16" if native.cpu_has_bf16() else "fp32"
    isa = native.cpu().isa()
    how = isa if native.cpu_has_vnni() else f"{isa} has no instruction for it: less is gained"
    return Choice("int8", f"asked for; linear layers in int8 ({how}), the rest in {rest}")


def _choose_fp8(device: str) -> Choice:
    if torch.device(device).type == "cpu":
        raise ChoiceError("precision: 'fp8' is computed on GPUs only, but the device is cpu; use int8, bf16 or fp32")
    if reason := why_no_fp8(torch.device(device)):
        raise ChoiceError(f"precision: 'fp8' cannot be computed on {device}: {reason}; use bf16 or fp32")
    return Choice("fp8", "asked for; linear layers in float8, the rest in bf16")


def check_decoder(wish: str, device: str) -> None:
    """Raise where there is no such decoder, it does not go with a device, or it cannot be had."""
    if wish not in get_args(Decoder):
        raise ChoiceError(f"decoder: expected {', '.join(get_args(Decoder))}, found {wish!r}")
    if wish in HARDWARE and torch.device(device).type != "cuda":
        raise ChoiceError(f"decoder: {wish!r} decodes on a GPU, but the device is {device}; use auto or pyav")
    if wish == "nvdec" and (reason := why_no_nvdec()):
        raise ChoiceError(f"decoder: 'nvdec' asked for, but {reason}; use auto, pyav or dali")
    if wish == "dali" and (reason := why_no_dali()):
        raise ChoiceError(f"decoder: 'dali' asked for, but {reason}; use auto, pyav or nvdec")


def choose_preset(wish: str | ScoringPreset, config: ModelConfig) -> tuple[ScoringPreset, Choice]:
    """A name, ``auto``, or a preset of one's own."""
    if isinstance(wish, ScoringPreset):
        preset, why = wish, "asked for"
    elif wish == "auto" and config.class_head:
        preset, why = PRESETS["anomaly-map"], "the network has a class head: it was trained to point at anomalies"
    elif wish == "auto":
        preset = PRESETS["release-avenue" if config.patch == 16 else "release-shanghaitech"]
        why = f"the network has no class head and patch {config.patch}, as in the release"
    elif wish in PRESETS:
        preset, why = PRESETS[wish], "asked for"
    else:
        raise ChoiceError(f"preset: expected auto or one of {sorted(PRESETS)}, found {wish!r}")
    if preset.class_weight and not config.class_head:
        raise ChoiceError(
            f"preset: {preset.name!r} weighs the class probability, but this network has no class head;"
            " use release-avenue or release-shanghaitech"
        )
    return preset, Choice(preset.name, why)


def choose_threads(wish: int | str, device: str) -> Choice:
    """CPU threads that compute, each frames of its own. Scores do not depend on it."""
    asked = None if wish == "auto" else _positive("threads", wish)
    if device != "cpu":
        unused = "" if asked is None else f"; {asked} asked for: a matter of CPUs"
        return Choice("1", f"the compute is on {device}{unused}")
    if asked is not None:
        return Choice(str(asked), "asked for")
    cores, limit = usable_cores()
    return Choice(str(cores), f"{limit}; each thread computes its own frames")


def choose_batch_size(wish: int | str, device: str, threads: int) -> Choice:
    """Frames computed per step. Scores do not depend on it."""
    if wish != "auto":
        return Choice(str(_positive("batch_size", wish)), "asked for")
    if device == "cpu":
        return Choice(str(MICRO_BATCH["cpu"] * threads), f"{MICRO_BATCH['cpu']} frames a thread")
    return Choice(str(MICRO_BATCH["cuda"]), "fills a GPU")


def choose_way(config: ModelConfig, precision: str) -> dict[str, Choice]:
    """Threads and batch size of a CPU, as measured to be fastest there. Scores do not depend on them."""
    way, known = calibrated(config, precision)
    limit = usable_cores()[1]
    return {
        "threads": Choice(str(way.threads), f"{limit}; each thread computes its own frames; {known}"),
        "batch size": Choice(str(way.threads * way.frames), f"{way.frames} frames a thread; measured with the threads"),
    }


def choose_workers(wish: int | str, device: str, decoder: str = "auto", processes: int = 1) -> Choice:
    """Decoder threads of one of so many processes, which share the cores.

    On a CPU one for two that compute: no core is idle as long as decoding a frame takes no longer than computing it,
    and decoders wait when they are ahead (benchmarks/workers.py: up to two for each that computes are as fast; each is
    a file more in hand; measured on two cores only). A GPU takes all that the cores can decode; its own decoders are a
    few, however many cores there are, and each file in hand takes room there (with dali 3 times 64 frames in 4:4:4).
    """
    if wish != "auto":
        return Choice(str(_positive("workers", wish)), "asked for")
    cores, limit = usable_cores()
    cores = max(1, cores // processes)
    if processes > 1:
        limit = f"{limit} for {processes} processes"
    if decoder in HARDWARE and cores > SESSIONS:
        return Choice(str(SESSIONS), f"enough for the decoders of a GPU; {limit}")
    return Choice(str(max(1, cores // 2) if device == "cpu" else cores), f"{limit}, compute on {device}")


def _positive(name: str, wish: int | str) -> int:
    try:
        value = int(wish) if isinstance(wish, str) else _whole(wish)
    except ValueError:
        value = 0
    if value < 1:
        raise ChoiceError(f"{name}: expected auto or a whole number from 1, found {wish!r}")
    return value


def _whole(value: object) -> int:
    return int(value) if isinstance(value, Integral) else 0  # NumPy's too
