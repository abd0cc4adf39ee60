"""mlp: every instruction set against the specification in float64, and its GELU on its own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.config import CONFIGS
from aedmae_fast.ops import mlp
from aedmae_fast.ops.mlp import mlp_reference
from tests.ops.network_kernels import BOUNDS, DTYPES, check, normal

SHAPES = {  # B, N, C, R
    *((1, 1 + c.kept, c.encoder_dim, c.encoder_dim * c.mlp_ratio) for c in CONFIGS.values()),
    *((1, 1 + c.tokens, c.decoder_dim, c.decoder_dim * c.mlp_ratio) for c in CONFIGS.values()),
    (2, 1, 8, 16),  # [CLS] alone
    (3, 18, 7, 5),
    (1, 98, 33, 70),
    (1, 4, 1, 1),
    (2, 3, 8, 0),  # no hidden units: the bias alone
    (2, 3, 0, 4),
}


def inputs(b: int, n: int, c: int, r: int, dtype: torch.dtype) -> list[Tensor]:
    return [
        normal(b, n, c, dtype=dtype, mean=1, std=2),
        normal(c, dtype=dtype, mean=1, std=0.2),
        normal(c, dtype=dtype),
        normal(r, c, dtype=dtype, std=max(c, 1) ** -0.5),
        normal(r, dtype=dtype),
        normal(c, r, dtype=dtype, std=max(r, 1) ** -0.5),
        normal(c, dtype=dtype),
    ]


@DTYPES
@pytest.mark.parametrize("shape", sorted(SHAPES), ids=str)
def test_every_isa_agrees_with_float64(isa: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    check(mlp, mlp_reference, *inputs(*shape, dtype))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # 8 channels: the fewer values, the more LayerNorm magnifies rounding
    shape=st.tuples(st.integers(0, 2), st.integers(1, 120), st.integers(8, 70), st.integers(1, 90)),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(list(BOUNDS)),
)
def test_any_shape(isa: str, shape: tuple[int, int, int, int], seed: int, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    check(mlp, mlp_reference, *inputs(*shape, dtype))


def test_gelu(isa: str) -> None:
    """Of erf, within 4e-7 * max(1, |x|): through an MLP whose norm gives ``values`` and whose layers change nothing."""
    c = 64
    values = torch.cat([torch.linspace(-12, 12, 60 * c - 8), torch.tensor([0, -0.0, 50, -50, 1e4, -1e4, 1e30, -1e30])])
    x, none, one = torch.zeros(1, 2, c), torch.zeros(c), torch.eye(c)
    found = torch.stack([mlp(x, none, row, one, none, one, none)[0, 1] for row in values.view(-1, c)]).flatten()
    error = (found.double() - F.gelu(values.double())).abs()
    assert (error <= 4e-7 * values.abs().clamp(min=1)).all()


def test_cls_takes_its_norm_only(isa: str) -> None:
    x, weight, bias, *layers = inputs(2, 5, 24, 48, torch.float32)
    found = mlp(x, weight, bias, *layers)[:, 0]
    expected = (x + F.layer_norm(x, (24,), weight, bias, 1e-6))[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_nan_stays_in_its_token(isa: str) -> None:
    x, *parameters = inputs(1, 9, 24, 48, torch.float32)
    x[0, 4, 7] = torch.nan
    assert torch.equal(mlp(x, *parameters)[0].isnan().any(1), torch.arange(9) == 4)


@DTYPES
def test_a_frame_does_not_depend_on_its_batch(isa: str, dtype: torch.dtype) -> None:
    x, *parameters = inputs(4, 103, 40, 80, dtype)
    whole = mlp(x, *parameters)
    for i in range(4):
        assert torch.equal(mlp(x[i : i + 1], *parameters)[0], whole[i])


def test_strided_arguments_are_copied() -> None:
    arguments = inputs(2, 7, 12, 20, torch.float32)
    strided = [t.mT.contiguous().mT if t.ndim > 1 else t.repeat_interleave(2)[::2] for t in arguments]
    assert torch.equal(mlp(*strided), mlp(*arguments))


@DTYPES
def test_opcheck(dtype: torch.dtype) -> None:
    torch.library.opcheck(torch.ops.aedmae.mlp.default, tuple(inputs(2, 7, 8, 12, dtype)))


def test_torch_compile_takes_it_whole() -> None:
    compiled = torch.compile(lambda *a: mlp(*a) + 1, fullgraph=True, backend="aot_eager")
    for b in (1, 2):
        arguments = inputs(b, 7, 8, 12, torch.float32)
        assert torch.equal(compiled(*arguments), mlp(*arguments) + 1)


NAMES = ("x", "norm_weight", "norm_bias", "up_weight", "up_bias", "down_weight", "down_bias")


@pytest.mark.parametrize("index", range(1, 7), ids=NAMES[1:])
def test_errors_name_the_argument(index: int) -> None:
    arguments = inputs(1, 7, 8, 12, torch.float32)
    cases: list[tuple[type[Exception], str, Tensor]] = [
        (TypeError, f"{NAMES[index]}: expected torch.float32 as x, found torch.bf", arguments[index].bfloat16()),
        (ValueError, f"{NAMES[index]}: .* on cpu, found .* on meta", arguments[index].to("meta")),
    ]
    if NAMES[index] != "up_bias":  # its length says what R is
        cases.append((ValueError, f"{NAMES[index]}: .* on cpu, found", arguments[index][..., 1:]))
    for error, match, value in cases:
        with pytest.raises(error, match=match):
            mlp(*arguments[:index], value, *arguments[index + 1 :])


def test_errors_name_x() -> None:
    x, *parameters = inputs(1, 7, 8, 12, torch.float32)
    with pytest.raises(TypeError, match=r"x: expected float32 or bfloat16, found torch\.float64"):
        mlp(x.double(), *parameters)
    with pytest.raises(ValueError, match=r"x: expected \[B, 1\+T, C\], found \(7, 8\)"):
        mlp(x[0], *parameters)
