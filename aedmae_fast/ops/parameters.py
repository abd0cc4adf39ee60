"""What several ops have in common: the LayerNorm's epsilon, and the checks of what they are given."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from aedmae_fast.ops.native import DTYPES

__all__ = ["EPS", "check_like", "check_parameters", "check_patches", "check_row", "check_states", "rows_contiguous"]

EPS = 1e-6  # of LayerNorm


def check_states(name: str, states: Tensor) -> None:
    """They are of a dtype that the network's kernels compute in.

    Raises:
        TypeError: they are not.
    """
    if states.dtype not in DTYPES:
        raise TypeError(f"{name}: expected float32 or bfloat16, found {states.dtype}")


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


def check_row(name: str, frames: Tensor, anomaly_map: Tensor | None, most: int) -> None:
    """A row of ``frames`` [T, H, W, C], and of the maps beside it, fits into what a CUDA kernel has for it.

    Raises:
        ValueError: it does not.
    """
    channels = frames.shape[3] + (anomaly_map is not None)
    if frames.shape[2] * channels > most:
        raise ValueError(f"{name}: expected width * channels in 1..{most}, found {frames.shape[2]} * {channels}")


def check_like(name: str, value: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    """A tensor has this shape, and the device of ``like``.

    Raises:
        ValueError: another shape or device.
    """
    if value.shape != shape or value.device != like.device:
        expected = f"{shape} on {like.device}"
        raise ValueError(f"{name}: expected {expected}, found {tuple(value.shape)} on {value.device}")


def rows_contiguous(frames: Tensor) -> Tensor:
    """``frames`` [T, H, W, C] itself if the bytes of each row lie side by side, else a copy."""
    _, _, width, channels = frames.shape
    whole = (channels == 1 or frames.stride(3) == 1) and (width == 1 or frames.stride(2) == channels)
    return frames if whole else frames.contiguous()
