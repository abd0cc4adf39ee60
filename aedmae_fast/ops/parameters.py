"""What the network's ops have in common: the LayerNorm's epsilon, and the check of the parameters they are given."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

__all__ = ["EPS", "check_like", "check_parameters"]

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


def check_like(name: str, value: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    """A tensor has this shape, and the device of ``like``.

    Raises:
        ValueError: another shape or device.
    """
    if value.shape != shape or value.device != like.device:
        expected = f"{shape} on {like.device}"
        raise ValueError(f"{name}: expected {expected}, found {tuple(value.shape)} on {value.device}")
