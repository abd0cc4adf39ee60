"""The state file of a run: all that it takes to go on after a kill, written whole or not at all.

No generator's state is in it: order, samples, masks and dropout follow from the seed and the position.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aedmae_fast.files import replacing

STATE_FILE = "state.pt"  # in a run's folder
FORMAT = "aedmae_fast training 1"


class ResumeError(ValueError):
    """A run that cannot be gone on with. The message says why and what to do."""


@dataclass
class State:
    """A run between two epochs."""

    identity: dict[str, Any]  # settings, network and data that the run was started with
    phase: int = 0
    epoch: int = 0  # finished in this phase
    weights: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)  # averaged weights; empty without
    history: list[dict[str, Any]] = field(default_factory=list)  # one row per finished epoch


def save_state(state: State, path: Path) -> None:
    """Raises OSError where it cannot be written. torch.save by itself says of a full disk that a file is corrupt."""
    content = io.BytesIO()
    torch.save({"format": FORMAT, **vars(state)}, content)
    with replacing(path) as part:
        part.write_bytes(content.getbuffer())


def load_state(path: Path, identity: dict[str, Any], unknown: Collection[str] = ()) -> State:
    """Read a state and check that it belongs to the same run.

    Args:
        unknown: what of the identity is not known yet, and not compared.

    Raises:
        ResumeError: there is none, it is damaged, or it was started with other settings or data.
    """
    if not path.is_file():
        raise ResumeError(f"{path}: nothing to resume; leave out --resume to start")
    try:
        with zipfile.ZipFile(path) as whole:  # PyTorch does not compare the checksums
            if damaged := whole.testzip():
                raise ValueError(f"{damaged} is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ResumeError(f"{path}: not a whole state file ({str(error).splitlines()[0]}); start again") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ResumeError(f"{path}: not a state of this version; start again in another folder")
    state = State(**content)
    differing = [
        f"{key}: was {state.identity.get(key)!r}, now {identity.get(key)!r}"
        for key in sorted((identity.keys() | state.identity.keys()) - set(unknown))
        if state.identity.get(key) != identity.get(key)
    ]
    if differing:
        raise ResumeError(
            f"{path}: was started with other settings: {'; '.join(differing)}; give those again, or another --out"
        )
    return state
