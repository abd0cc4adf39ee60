"""linear: every instruction set against the specification in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.ops import linear
from aedmae_fast.ops.linear import linear_reference
from tests.ops.network_kernels import BOUNDS, DTYPES, check, normal

SHAPES = [  # B, rows, K, N
    (1, 401, 256, 256),  # the encoder's output projection
    (1, 801, 128, 128),  # the decoders'
    (1, 401, 256, 128),  # the decoders' embedding
    (2, 1, 2304, 256),  # a long chain of additions
    (3, 7, 5, 1),
    (1, 97, 17, 67),
    (2, 3, 1, 66),
    (2, 3, 4, 0),  # nothing to compute
]


def inputs(b: int, rows: int, k: int, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        normal(b, rows, k, dtype=dtype),
        normal(n, k, dtype=dtype, std=k**-0.5),
        normal(n, dtype=dtype, mean=3),  # a few sums near 0 would be all rounding
        normal(b, rows, n, dtype=dtype),
    )


@DTYPES
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_isa_agrees_with_float64(
    isa: str, shape: tuple[int, int, int, int], with_residual: bool, dtype: torch.dtype
) -> None:
    x, weight, bias, residual = inputs(*shape, dtype)
    check(linear, linear_reference, x, weight, bias, residual if with_residual else None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 140), st.integers(1, 140)),
    dtype=st.sampled_from(list(BOUNDS)),
)
def test_any_shape(isa: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    check(linear, linear_reference, *inputs(*shape, dtype))


def test_products_are_those_of_their_row_and_column(isa: str) -> None:
    """Small integers: exact in both precisions, so that a value in a wrong place shows."""
    for dtype in BOUNDS:
        x, weight = (torch.randint(-3, 4, shape).to(dtype) for shape in ((19, 30), (75, 30)))
        found = linear(x, weight, torch.zeros(75, dtype=dtype))
        assert torch.equal(found.double(), x.double() @ weight.double().t())


def test_the_residual_is_added_before_the_result_is_rounded(isa: str) -> None:
    """257 - 256: bfloat16 has 256 and 258 only, so that a sum of 257 which is rounded first leaves 0."""
    x, weight = torch.ones(19, 257, dtype=torch.bfloat16), torch.ones(75, 257, dtype=torch.bfloat16)
    residual = torch.full((19, 75), -256.0, dtype=torch.bfloat16)
    assert (linear(x, weight, torch.zeros(75, dtype=torch.bfloat16), residual) == 1).all()


@DTYPES
def test_a_row_does_not_depend_on_the_others(isa: str, dtype: torch.dtype) -> None:
    x, weight, bias, residual = inputs(1, 103, 50, 70, dtype)
    whole = linear(x, weight, bias, residual)
    for i in range(0, 103, 17):
        assert torch.equal(linear(x[:, i : i + 1], weight, bias, residual[:, i : i + 1]), whole[:, i : i + 1])


def test_strided_arguments_are_copied() -> None:
    arguments = inputs(2, 7, 12, 20, torch.float32)
    strided = [t.mT.contiguous().mT if t.ndim > 1 else t.repeat_interleave(2)[::2] for t in arguments]
    assert torch.equal(linear(*strided), linear(*arguments))


@DTYPES
def test_opcheck(dtype: torch.dtype) -> None:
    *arguments, residual = inputs(2, 3, 8, 12, dtype)
    torch.library.opcheck(torch.ops.aedmae.linear.default, tuple(arguments))
    torch.library.opcheck(torch.ops.aedmae.linear.default, (*arguments, residual))


def test_torch_compile_takes_it_whole() -> None:
    compiled = torch.compile(lambda *a: linear(*a) + 1, fullgraph=True, backend="aot_eager")
    for b in (1, 2):
        arguments = inputs(b, 7, 8, 12, torch.float32)
        assert torch.equal(compiled(*arguments), linear(*arguments) + 1)


X, WEIGHT, BIAS = torch.zeros(2, 3, 4), torch.zeros(5, 4), torch.zeros(5)


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (TypeError, "x: expected float32 or bfloat16, found torch.float64", (X.double(), WEIGHT, BIAS)),
        (TypeError, "bias: expected torch.float32 as x, found torch.bf", (X, WEIGHT, BIAS.bfloat16())),
        (ValueError, r"x: expected \[..., K\], found \(\)", (torch.zeros(()), WEIGHT, BIAS)),
        (ValueError, r"weight: expected \(5, 4\) on cpu, found \(5, 3\) on cpu", (X, WEIGHT[:, 1:], BIAS)),
        (ValueError, r"bias: expected \(5,\) on cpu, found \(5,\) on meta", (X, WEIGHT, BIAS.to("meta"))),
        (ValueError, r"residual: expected \(2, 3, 5\) on cpu, found \(2, 3, 4\)", (X, WEIGHT, BIAS, X)),
    ],
)
def test_errors_name_the_argument(error: type[Exception], match: str, arguments: tuple[Tensor, ...]) -> None:
    with pytest.raises(error, match=match):
        linear(*arguments)
