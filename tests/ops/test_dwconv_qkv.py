"""dwconv_qkv: every instruction set against the specification in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.config import CONFIGS
from aedmae_fast.ops import dwconv_qkv
from aedmae_fast.ops.dwconv_qkv import dwconv_qkv_reference
from tests.ops.network_kernels import BOUNDS, DTYPES, check, normal

SHAPES = {  # B, C, height, width
    *((1, c.encoder_dim, *c.encoder_grid) for c in CONFIGS.values()),
    *((1, c.decoder_dim, *c.grid) for c in CONFIGS.values()),
    (2, 7, 3, 5),
    (1, 1, 1, 1),
    (3, 33, 1, 50),  # a single row: most of every kernel lies in the border
    (1, 130, 50, 1),
}


def inputs(b: int, c: int, height: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    return [
        normal(b, 1 + height * width, c, dtype=dtype, mean=3, std=2),
        normal(c, dtype=dtype, mean=1, std=0.2),
        normal(c, dtype=dtype),
        normal(3, 3, 3, c, dtype=dtype, std=1 / 3),
        normal(3, c, dtype=dtype),
        normal(3, c, c, dtype=dtype, std=c**-0.5),
        normal(3, c, dtype=dtype, mean=3),  # a few sums near 0 would be all rounding
    ]


def specification(*arguments: object) -> Tensor:
    *tensors, (height, width) = arguments  # type: ignore[misc]
    return dwconv_qkv_reference(*tensors, height, width)


@DTYPES
@pytest.mark.parametrize("shape", sorted(SHAPES), ids=str)
def test_every_isa_agrees_with_float64(isa: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    check(dwconv_qkv, specification, *inputs(*shape, dtype), shape[2:])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # 8 channels: the fewer values, the more LayerNorm magnifies rounding
    shape=st.tuples(st.integers(0, 2), st.integers(8, 70), st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(list(BOUNDS)),
)
def test_any_shape(isa: str, shape: tuple[int, int, int, int], seed: int, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    check(dwconv_qkv, specification, *inputs(*shape, dtype), shape[2:])


def test_cls_bypasses_the_convolutions(isa: str) -> None:
    """Other tokens, kernels and shifts leave [CLS] as it is, and [CLS] leaves the tokens."""
    first, second = (inputs(1, 20, 4, 6, torch.float32) for _ in range(2))
    mixed = [first[0].clone(), *first[1:3], *second[3:5], *first[5:]]
    mixed[0][:, 1:] = second[0][:, 1:]
    assert torch.equal(dwconv_qkv(*mixed, (4, 6))[:, :, 0], dwconv_qkv(*first, (4, 6))[:, :, 0])
    other_cls = [first[0].clone(), *first[1:]]
    other_cls[0][:, 0] += 1
    assert torch.equal(dwconv_qkv(*other_cls, (4, 6))[:, :, 1:], dwconv_qkv(*first, (4, 6))[:, :, 1:])


@DTYPES
def test_a_frame_does_not_depend_on_its_batch(isa: str, dtype: torch.dtype) -> None:
    x, *parameters = inputs(4, 48, 6, 9, dtype)
    whole = dwconv_qkv(x, *parameters, (6, 9))
    for i in range(4):
        assert torch.equal(dwconv_qkv(x[i : i + 1], *parameters, (6, 9))[:, 0], whole[:, i])


def test_strided_arguments_are_copied() -> None:
    x, *parameters = inputs(2, 12, 3, 4, torch.float32)
    strided = [t.mT.contiguous().mT if t.ndim > 1 else t.repeat_interleave(2)[::2] for t in (x, *parameters)]
    assert torch.equal(dwconv_qkv(*strided, (3, 4)), dwconv_qkv(x, *parameters, (3, 4)))


@DTYPES
def test_opcheck(dtype: torch.dtype) -> None:
    torch.library.opcheck(torch.ops.aedmae.dwconv_qkv.default, (*inputs(2, 8, 2, 3, dtype), 2, 3))


def test_torch_compile_takes_it_whole() -> None:
    compiled = torch.compile(lambda *a: dwconv_qkv(*a, (2, 3)) + 1, fullgraph=True, backend="aot_eager")
    for b in (1, 2):
        arguments = inputs(b, 8, 2, 3, torch.float32)
        assert torch.equal(compiled(*arguments), dwconv_qkv(*arguments, (2, 3)) + 1)


NAMES = ("x", "norm_weight", "norm_bias", "conv_weight", "conv_bias", "proj_weight", "proj_bias")


@pytest.mark.parametrize("index", range(1, 7), ids=NAMES[1:])
def test_errors_name_the_argument(index: int) -> None:
    arguments = inputs(1, 8, 2, 3, torch.float32)
    for error, match, value in (
        (TypeError, "expected torch.float32 as x, found torch.bfloat16", arguments[index].bfloat16()),
        (ValueError, "on cpu, found", arguments[index][..., 1:]),
        (ValueError, "on cpu, found .* on meta", arguments[index].to("meta")),
    ):
        with pytest.raises(error, match=f"{NAMES[index]}: .*{match}"):
            dwconv_qkv(*arguments[:index], value, *arguments[index + 1 :], (2, 3))


def test_errors_name_x() -> None:
    x, *parameters = inputs(1, 8, 2, 3, torch.float32)
    with pytest.raises(TypeError, match=r"x: expected float32 or bfloat16, found torch\.float16"):
        dwconv_qkv(x.half(), *parameters, (2, 3))
    with pytest.raises(ValueError, match=r"x: expected \[B, 9, C\] for a grid 2 x 4, found \(1, 7, 8\)"):
        dwconv_qkv(x, *parameters, (2, 4))
    with pytest.raises(ValueError, match=r"x: expected \[B, 7, C\] for a grid 2 x 3, found \(7, 8\)"):
        dwconv_qkv(x[0], *parameters, (2, 3))
    with pytest.raises(ValueError, match=r"x: expected at least one channel, found \(1, 7, 0\)"):
        dwconv_qkv(x[..., :0], *parameters, (2, 3))
    for of, grid in ((x, (-2, -3)), (x[:, :1], (0, -100)), (x[:, :1], (0, 5))):
        with pytest.raises(ValueError, match=f"grid: expected 1 x 1 or more, found {grid[0]} x {grid[1]}"):
            dwconv_qkv(of, *parameters, grid)
