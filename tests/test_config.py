"""Presets of one's own: a name that is none of the choices is an error, not another formula."""

from __future__ import annotations

import dataclasses
import math

import pytest

from aedmae_fast.config import PRESETS, Gaussian


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("error", "l2", r"ScoringPreset.error: expected 'L1' or 'L2', found 'l2'"),
        ("channels", "max", r"ScoringPreset.channels: expected 'sum' or 'mean', found 'max'"),
        ("pool", "Max", r"ScoringPreset.pool: expected 'mean' or 'max', found 'Max'"),
        ("gap_weight", math.nan, r"ScoringPreset.gap_weight: expected a finite number, found nan"),
        ("class_weight", math.inf, r"ScoringPreset.class_weight: expected a finite number, found inf"),
        ("map_filter", (9, 9), r"ScoringPreset.map_filter: expected three odd numbers, found \(9, 9\)"),
    ],
)
def test_a_preset_that_is_none(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PRESETS["paper"], **{field: value})


def test_a_gaussian_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"Gaussian.kind: expected 'release' or 'centred', found 'Release'"):
        Gaussian(37, 11, "Release")  # type: ignore[arg-type]
    for sigma in (0, math.nan, math.inf):
        with pytest.raises(ValueError, match="expected an odd number of taps and a finite sigma > 0, found 37"):
            Gaussian(37, sigma)
