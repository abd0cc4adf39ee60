"""What a precision is, by its name, and what scores' last bits depend on beside it."""

from __future__ import annotations

from typing import NamedTuple

import torch

from aedmae_fast.ops import native
from aedmae_fast.ops.triton import why_no_fp8

PRECISIONS = ("fp32", "bf16", "int8", "fp8")


class Dtypes(NamedTuple):
    """As :class:`aedmae_fast.model.inference.InferenceModel` takes them."""

    states: torch.dtype  # and all weights that are not quantized
    quantized: torch.dtype | None


def dtypes_of(precision: str) -> Dtypes:
    """Of a name in :data:`PRECISIONS`. With int8 goes the faster of the two others on this CPU, with fp8 bf16."""
    states = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if precision == "int8":
        return Dtypes(states["bf16" if native.cpu_has_bf16() else "fp32"], torch.int8)
    if precision == "fp8":
        return Dtypes(torch.bfloat16, torch.float8_e4m3fn)
    return Dtypes(states[precision], None)


def computed_in(precision: str) -> str:
    """A name for what is really computed here: with int8, the rest's precision depends on the CPU."""
    states, quantized = dtypes_of(precision)
    return f"int8+{'bf16' if states == torch.bfloat16 else 'fp32'}" if quantized == torch.int8 else precision


def computed_on(device: torch.device) -> str:
    """A name for what computes there. Other instruction sets, and other GPUs, add up in another order."""
    if device.type == "cpu":
        return f"cpu ({native.cpu().isa()})"
    return f"{device.type} ({torch.cuda.get_device_name(device)})"


def eight_bits_on(device: torch.device) -> str | None:
    """The precision with linear layers in 8 bits that a device computes in; None where it has none."""
    if device.type == "cpu":
        return "int8"
    return None if why_no_fp8(device) else "fp8"
