"""What several ops have in common: the LayerNorm's epsilon, and the checks of what they are given."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["EPS", "check_like", "check_parameters", "check_patches"]

EPS = 1e-6  # of LayerNorm


def check_parameters(name: str, like: Tensor, parameters: Iterable[tuple[str, Tensor, tuple[int, ...]]]) -> None:
    """Every parameter, a (name, tensor, shape), has its shape, and dtype and device of ``like``, which is ``name``.

    Raises:
        TypeError: another dtype.
        ValueError: another shape or device.
    """
    for parameter, value, shape in parameters:
        if value.dtype != like.dtype:
            raise TypeError(f"{parameter}: expected {like.dtype} as {name}, found {value.dtype}")
        check_like(parameter, value, shape, like)


def check_patches(name: str, frames: Tensor, patch: int, axes: str = "T, H, W, 3") -> None:
    """Frames of four axes, any number of channels where the last is C, are whole patches of bytes, one at least.

    Raises:
        TypeError: another dtype than uint8.
        ValueError: another shape.
    """
    if frames.dtype != torch.uint8:
        raise TypeError(f"{name}: expected uint8, found {frames.dtype}")
    fits = frames.ndim == 4 and (axes.endswith("C") or frames.shape[3] == 3) and 0 not in frames.shape[1:]
    if not fits or patch < 1 or frames.shape[1] % patch or frames.shape[2] % patch:
        expected = f"[{axes}] with pixels, in whole patches of {patch}"
        raise ValueError(f"{name}: expected {expected}, found {tuple(frames.shape)}")


def check_like(name: str, value: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    """A tensor has this shape, and the device of ``like``.

    Raises:
        ValueError: another shape or device.
    """
    if value.shape != shape or value.device != like.device:
        expected = f"{shape} on {like.device}"
        raise ValueError(f"{name}: expected {expected}, found {tuple(value.shape)} on {value.device}")
