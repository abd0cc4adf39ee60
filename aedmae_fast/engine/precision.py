"""What a precision is, by its name."""

from __future__ import annotations

from typing import NamedTuple

import torch

from aedmae_fast.ops import native

PRECISIONS = ("fp32", "bf16", "int8")


class Dtypes(NamedTuple):
    """As :class:`aedmae_fast.model.inference.InferenceModel` takes them."""

    states: torch.dtype  # and all weights that are not quantized
    quantized: torch.dtype | None


def dtypes_of(precision: str) -> Dtypes:
    """``fp32``, ``bf16``, or ``int8``, which goes with the faster of the two on this CPU."""
    states = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if precision == "int8":
        return Dtypes(states["bf16" if native.cpu_has_bf16() else "fp32"], torch.int8)
    return Dtypes(states[precision], None)
