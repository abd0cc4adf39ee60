"""discrepancy_map: the specification against NumPy loops, the C++ of every instruction set against float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.config import CONFIGS
from aedmae_fast.ops import discrepancy_map
from aedmae_fast.ops.discrepancy_map import discrepancy_map_reference
from tests.ops.data import random_bytes, rmse_ratio

# Bound of the RMSE ratio. bfloat16 inputs are exact in float64, and sums are float32 in both: one bound.
BOUND = 2e-6
WEIGHTS = (0.4, 0.2, 0.3)


class Case(NamedTuple):
    """The tensors that discrepancy_map takes, in its order."""

    teacher: Tensor
    student: Tensor
    teacher_weight: Tensor
    teacher_bias: Tensor
    student_weight: Tensor
    student_bias: Tensor
    frames: Tensor

    def double(self) -> Case:
        return Case(*[x.double() for x in self[:6]], self.frames)


def make_case(
    batch: int, grid: tuple[int, int], patch: int, width: int, dtype: torch.dtype = torch.float32, padding: int = 0
) -> Case:
    """Random inputs; tokens are ``padding`` tokens and channels apart, as after [CLS] is dropped."""
    tokens, values = grid[0] * grid[1], 4 * patch * patch
    states = [torch.randn(batch, tokens + padding, width + padding)[:, padding:, padding:] for _ in range(2)]
    head = [torch.randn(values, width) / width**0.5, torch.randn(values) / 3]
    tensors = [x.to(dtype) for x in (*states, *head, *[x + torch.randn_like(x) / 9 for x in head])]
    return Case(*tensors, random_bytes(batch, grid[0] * patch, grid[1] * patch, 3))


def check(case: Case, patch: int, error: str = "L2") -> None:
    expected_map, expected_means = discrepancy_map_reference(*case.double(), patch, error, WEIGHTS)
    found_map, found_means = discrepancy_map(*case, patch, error, WEIGHTS)  # type: ignore[arg-type]
    assert (found_map.dtype, found_means.dtype) == (torch.float32, torch.float32)
    assert (found_map.shape, found_means.shape) == (expected_map.shape, expected_means.shape)
    if len(case.frames):
        assert rmse_ratio(found_map, expected_map) < BOUND
        # Differences of values of about 1: of a frame of a single pixel, one may be as good as nothing.
        np.testing.assert_allclose(found_means, expected_means, rtol=BOUND, atol=BOUND / 4)


@pytest.mark.parametrize("error", ["L1", "L2"])
def test_specification(error: str) -> None:
    d, (rows, columns), width = 3, (2, 4), 5
    case = make_case(2, (rows, columns), d, width).double()
    found, means = discrepancy_map_reference(*case, d, error, WEIGHTS)
    teacher, student, tw, tb, sw, sb, frames = (x.numpy() for x in case)
    predicted, distilled = teacher @ tw.T + tb, student @ sw.T + sb
    terms = np.zeros((3, 2, rows * d, columns * d))
    power = 1 if error == "L1" else 2
    for b, y, x, c in np.ndindex(2, rows * d, columns * d, 4):
        token, value = y // d * columns + x // d, ((y % d) * d + x % d) * 4 + c
        target = (int(frames[b, y, x, c]) - 127.5) / 127.5 if c < 3 else -1.0
        t, s = predicted[b, token, value], distilled[b, token, value]
        terms[0 if c < 3 else 1, b, y, x] += abs(target - t) ** power
        terms[2, b, y, x] += abs(t - s) ** power
    np.testing.assert_allclose(found, np.tensordot(WEIGHTS, terms, 1), rtol=1e-10)
    np.testing.assert_allclose(means, terms.mean(axis=(2, 3)).T, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CONFIGS)
def test_configurations(isa: str, name: str, dtype: torch.dtype) -> None:
    c = CONFIGS[name]
    check(make_case(1, (c.height // c.patch, c.width // c.patch), c.patch, c.decoder_dim, dtype, padding=1), c.patch)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(0, 3),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    patch=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 16, 19]),
    width=st.integers(1, 40),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    padding=st.integers(0, 3),
    error=st.sampled_from(["L1", "L2"]),
)
def test_any_shape(
    isa: str,
    batch: int,
    grid: tuple[int, int],
    patch: int,
    width: int,
    dtype: torch.dtype,
    padding: int,
    error: str,
) -> None:
    check(make_case(batch, grid, patch, width, dtype, padding), patch, error)


@pytest.mark.parametrize("value", [0, 255])
def test_extremes_of_the_frame(isa: str, value: int) -> None:
    """Heads that predict black and normal, for both: a white frame is off by 2 in each colour."""
    case = make_case(1, (2, 3), 4, 6)
    zero, black = torch.zeros(64, 6), torch.full((64,), -1.0)
    frames = torch.full_like(case.frames, value)
    found, means = discrepancy_map(case.teacher, case.student, zero, black, zero, black, frames, 4)
    assert (found == (0 if value == 0 else 12)).all()
    assert means.tolist() == [[0 if value == 0 else 12, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frame_does_not_depend_on_its_batch(isa: str, dtype: torch.dtype) -> None:
    case = make_case(4, (3, 5), 8, 32, dtype)
    maps, means = discrepancy_map(*case, 8)
    for i in range(4):
        one = Case(case.teacher[i : i + 1], case.student[i : i + 1], *case[2:6], case.frames[i : i + 1])
        alone = discrepancy_map(*one, 8)
        assert torch.equal(alone[0], maps[i : i + 1])
        assert torch.equal(alone[1], means[i : i + 1])


def test_awkward_strides(isa: str) -> None:
    case = make_case(4, (4, 6), 4, 12)
    expected = discrepancy_map(*case, 4)
    wide = random_bytes(8, 32, 24, 3)
    wide[::2, ::2] = case.frames
    states = torch.stack([case.teacher, case.student], dim=-1).unbind(-1)  # channels strided: copied
    heads = [x.repeat_interleave(2, 0)[::2] for x in case[2:6]]
    found = discrepancy_map(*states, *heads, wide[::2, ::2], 4)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_not_a_number_shows(isa: str) -> None:
    case = make_case(2, (2, 2), 4, 8)
    case.student[1, 3, 5] = torch.nan
    maps, means = discrepancy_map(*case, 4)
    assert maps.isnan().sum() == 16  # one patch
    assert means.isnan().tolist() == [[False] * 3, [False, False, True]]


def test_opcheck_and_compile() -> None:
    case = make_case(2, (2, 3), 4, 8, padding=1)
    torch.library.opcheck(torch.ops.aedmae.discrepancy_map.default, (*case, 4, "L1", WEIGHTS))
    compiled = torch.compile(lambda *x: discrepancy_map(*x, 4)[0] + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*case), discrepancy_map(*case, 4)[0] + 1)


def test_errors_name_the_argument() -> None:
    case = make_case(1, (2, 2), 2, 5)
    for error, match, changes, rest in (
        (TypeError, "frames: expected uint8", {"frames": case.frames.float()}, (2,)),
        (ValueError, "frames: expected .* in whole patches of 3", {}, (3,)),
        (ValueError, r"frames: expected \[B, H, W, 3\] with pixels", {"frames": case.frames[:, :0]}, (2,)),
        (ValueError, r"teacher: expected \[B, L, C\], found \(\)", {"teacher": torch.tensor(1.0)}, (2,)),
        (ValueError, "student: expected", {"student": case.student[:, :3]}, (2,)),
        (TypeError, "teacher: expected float32 or bfloat16", {"teacher": case.teacher.double()}, (2,)),
        (ValueError, "teacher_weight: expected", {"teacher_weight": case.teacher_weight[:8]}, (2,)),
        (TypeError, r"student_bias: expected torch\.float32", {"student_bias": case.student_bias.double()}, (2,)),
        (ValueError, "teacher_bias: expected .* on cpu", {"teacher_bias": case.teacher_bias.to("meta")}, (2,)),
        (ValueError, "error: expected 'L1' or 'L2', found 'L3'", {}, (2, "L3")),
    ):
        with pytest.raises(error, match=match):
            discrepancy_map(*case._replace(**changes), *rest)  # type: ignore[arg-type]
