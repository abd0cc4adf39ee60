"""What ``benchmarks/ops.py`` measures: a file an op, each with one function that yields its cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from op_cases import (
    attention,
    attention_gradient,
    discrepancy_map,
    dwconv_qkv,
    frame_prep,
    linear,
    mlp,
    motion_weights,
    patch_embed,
    smooth_max,
    weighted_mse,
)
from op_cases.case import Case

# op file -> its cases on a device; add an op here
CASES: dict[str, Callable[[str], Iterator[Case]]] = {
    "frame_prep": frame_prep.cases,
    "motion_weights": motion_weights.cases,
    "discrepancy_map": discrepancy_map.cases,
    "smooth_max": smooth_max.cases,
    "attention": attention.cases,
    "attention_gradient": attention_gradient.cases,
    "dwconv_qkv": dwconv_qkv.cases,
    "linear": linear.cases,
    "mlp": mlp.cases,
    "patch_embed": patch_embed.cases,
    "weighted_mse": weighted_mse.cases,
}
