"""Checkpoints: safetensors with the configuration in the header, and the import of the authors' ``.pth`` pair.

The release's files are pickles. They are read by torch's weights-only unpickler, which executes nothing that a file
brings along; the one foreign class in them, ``ml_collections.ConfigDict``, is read into an inert stand-in.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from aedmae_fast.config import CONFIGS, ModelConfig
from aedmae_fast.files import replacing
from aedmae_fast.model.network import AedMae
from aedmae_fast.model.region import Region

FORMAT = "aedmae_fast 1"
BUNDLED = Path(__file__).resolve().parents[1] / "weights"  # NAME.safetensors each, loaded by NAME
DEFAULT = "ped2"  # the weights that commands take where none are named
# Names of networks with seeded random weights, for trying things out and for timing.
UNTRAINED = {f"untrained-{name}": config for name, config in CONFIGS.items()}
PICKLES = ".pth", ".pt"  # how the names of PyTorch's files end
STUDENT_FILE = "checkpoint-best-student.pth"  # stands beside checkpoint-best.pth in the release
PARALLEL = "module."  # before every key that DataParallel and the like have saved
REGION = "region"  # key of the network's region in our files, where it has one
# How torch's unpickler says what it refuses to import, to make or to call. What else it says is of a damaged file.
REFUSED = re.compile(r"GLOBAL \w+(\.\w+)+|Can only create new object|unrecognized function")
UNUSED = ("erosion", "dilation")  # parameters in the release's files that its network never uses
OTHER_NETWORK = "weights of another network; expected what save_model writes, or the release's pair"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used. The message names the file, what was expected and what was found."""


def load_model(source: str | Path) -> AedMae:
    """Load a network in float32 on the CPU, in evaluation mode.

    Args:
        source: a ``.safetensors`` file of :func:`save_model`; the release's ``checkpoint-best.pth`` (the student's file
            is looked for beside it); the name of bundled weights, such as ``scene``; or ``untrained-avenue``,
            ``-shanghaitech``, ``-ubnormal``, ``-ped2`` for random weights from a fixed seed, whose scores mean nothing.

    Raises:
        CheckpointError: a missing, truncated or foreign file, another architecture, NaN or infinite weights.
    """
    if str(source) in UNTRAINED:
        return _untrained(UNTRAINED[str(source)])
    bundled = bundled_names()
    path = BUNDLED / f"{source}.safetensors" if str(source) in bundled else Path(source)
    if not path.is_file():
        names = ", ".join([*bundled, *UNTRAINED])
        raise CheckpointError(f"{path}: no such checkpoint; expected a .safetensors or .pth file, or one of {names}")
    config, weights = _read_release(path) if path.suffix.lower() in PICKLES else _read_safetensors(path)
    with torch.random.fork_rng(devices=[]):  # the start that the weights replace is not of the caller's numbers
        model = AedMae(config)
    region = weights.pop(REGION, None)
    _check_weights(path, model, weights)
    model.load_state_dict(weights)
    if region is not None:
        model.region = _region(path, config, region)
    return model.eval()


def bundled_names() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.stem for path in BUNDLED.glob("*.safetensors"))


def save_model(
    model: AedMae,
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write weights, configuration and region to one safetensors file, whole or not at all.

    Args:
        metadata: further strings for the header, such as the data a model was trained on; not its own ``format`` and
            ``config``.
        dtype: storage of the floating-point tensors; ``torch.float16`` halves the file.
    """
    header = {**(metadata or {}), "format": FORMAT, "config": json.dumps(model.config.to_dict())}
    tensors = {
        key: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for key, tensor in model.state_dict().items()
    }
    if model.region is not None:
        tensors[REGION] = model.region.inside
    with replacing(Path(path)) as part:
        part.write_bytes(save(tensors, header))


def weights_hash(model: AedMae) -> str:
    """Of all weights, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _untrained(config: ModelConfig) -> AedMae:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AedMae(config).eval()


def _read_safetensors(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        whole = path.suffix.lower() == ".safetensors"
        advice = "copy or train it again" if whole else f"a PyTorch file's name ends in {' or '.join(PICKLES)}"
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}); {advice}") from error
    if header.get("format") != FORMAT:
        found = header.get("format", "no format")
        raise CheckpointError(f"{path}: expected a header with format {FORMAT!r}, found {found!r}: not our checkpoint")
    try:
        config = ModelConfig.from_dict(json.loads(header["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: no usable configuration in the header: {error}") from error
    return config, {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}


def _read_release(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The teacher's file with every key that contains "student" taken from the student's."""
    weights = _read_pickle(path)
    student_path = path.with_name(STUDENT_FILE)
    if path.name != STUDENT_FILE:
        if not student_path.is_file():
            raise CheckpointError(f"{path}: the release's pair needs {STUDENT_FILE} in the same folder; none is there")
        weights.update({k: v for k, v in _read_pickle(student_path).items() if "student" in k})
    weights = {k: v for k, v in weights.items() if not k.startswith(UNUSED)}
    return _release_config(path, weights), weights


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals([(_ConfigDict, name) for name in _ConfigDict.NAMES]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may provoke any
        why = _first_line(str(error).split("WeightsUnpickler error:")[-1]) or type(error).__name__
        if isinstance(error, pickle.UnpicklingError) and REFUSED.search(str(error)):
            raise CheckpointError(f"{path}: refused, it holds more than weights and could run code ({why})") from error
        raise CheckpointError(f"{path}: not a whole PyTorch file ({why})") from error
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items()
    ):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: expected a dictionary with 'model', as the release writes it, found {found}")
    if all(key.startswith(PARALLEL) for key in weights):
        return {key.removeprefix(PARALLEL): tensor for key, tensor in weights.items()}
    return dict(weights)


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0]


class _ConfigDict:
    """Inert stand-in for ``ml_collections.ConfigDict``: keeps nothing, runs nothing."""

    NAMES = (
        "ml_collections.config_dict.config_dict.ConfigDict",
        "ml_collections.config_dict.ConfigDict",
        "ml_collections.ConfigDict",
    )

    def __setstate__(self, state: object) -> None:
        pass


def _release_config(path: Path, weights: Mapping[str, Tensor]) -> ModelConfig:
    """The release's files do not say their input size: the patch tells which of its two configurations it is."""
    embed = weights.get("patch_embed.proj.weight")
    if embed is None or embed.ndim != 4:
        raise CheckpointError(f"{path}: key 'patch_embed.proj.weight' [256, 9, d, d] expected, found none: not AED-MAE")
    by_patch = {c.patch: c for c in (CONFIGS["avenue"], CONFIGS["shanghaitech"])}
    config = by_patch.get(embed.shape[-1])
    if config is None:
        raise CheckpointError(f"{path}: patch {embed.shape[-1]} is none of the release's {sorted(by_patch)}")
    return ModelConfig(config.height, config.width, config.patch, class_head=False)


def _region(path: Path, config: ModelConfig, inside: Tensor) -> Region:
    size = config.height, config.width
    if inside.shape != size:
        raise CheckpointError(f"{path}: key {REGION!r}: expected {list(size)}, found {list(inside.shape)}")
    try:
        return Region(inside)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: key {REGION!r}: {error}") from error


def _check_weights(path: Path, model: AedMae, weights: Mapping[str, Tensor]) -> None:
    expected = model.state_dict()
    if missing := sorted(expected.keys() - weights.keys()):
        raise CheckpointError(f"{path}: {len(missing)} keys are missing, first {missing[0]!r}: {OTHER_NETWORK}")
    if surplus := sorted(weights.keys() - expected.keys()):
        raise CheckpointError(f"{path}: {len(surplus)} unknown keys, first {surplus[0]!r}: {OTHER_NETWORK}")
    for key, tensor in expected.items():
        if weights[key].shape != tensor.shape:
            shapes = f"expected {list(tensor.shape)}, found {list(weights[key].shape)}"
            raise CheckpointError(f"{path}: key {key!r}: {shapes}")
        if not torch.isfinite(weights[key]).all():
            bad = int((~torch.isfinite(weights[key])).sum())
            raise CheckpointError(f"{path}: key {key!r}: {bad} of {tensor.numel()} values are NaN or infinite")
