"""Packed weights: what they are, and that every op computes the same bits with them, on every instruction set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from aedmae_fast.ops import dwconv_qkv, linear, mlp, native, patch_embed
from aedmae_fast.ops.dwconv_qkv import dwconv_qkv_reference
from aedmae_fast.ops.linear import linear_reference
from aedmae_fast.ops.mlp import mlp_reference
from aedmae_fast.ops.packing import pack_weight, unpack_weight
from aedmae_fast.ops.patch_embed import patch_embed_reference
from aedmae_fast.ops.quantize import quantize_weight
from tests.ops.network_kernels import normal

WEIGHTS = torch.float32, torch.bfloat16, torch.int8


class Call(NamedTuple):
    """An op's arguments, as torch.ops has them, and which of them are weights to be packed."""

    op: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    arguments: list[Any]
    weights: tuple[int, ...]

    def packed(self) -> list[Any]:
        return [pack_weight(a) if i in self.weights else a for i, a in enumerate(self.arguments)]


def weight(*shape: int, dtype: torch.dtype, int8: bool) -> tuple[Tensor, Tensor | None]:
    exact = normal(*shape, dtype=torch.float64, std=shape[-1] ** -0.5)
    return quantize_weight(exact, torch.int8) if int8 else (exact.to(dtype), None)


def linear_call(b: int, c: int, other: int, dtype: torch.dtype, int8: bool) -> Call:
    levels, scale = weight(other, c, dtype=dtype, int8=int8)
    arguments = [normal(b, 7, c, dtype=dtype), levels, normal(other, dtype=dtype), None, scale]
    return Call(torch.ops.aedmae.linear, linear_reference, arguments, (1,))


def mlp_call(b: int, c: int, other: int, dtype: torch.dtype, int8: bool) -> Call:
    (up, up_scale), (down, down_scale) = (weight(*s, dtype=dtype, int8=int8) for s in ((other, c), (c, other)))
    norm = [normal(c, dtype=dtype) for _ in range(2)]
    arguments = [normal(b, 9, c, dtype=dtype), *norm, up, normal(other, dtype=dtype), down, normal(c, dtype=dtype)]
    return Call(torch.ops.aedmae.mlp, mlp_reference, [*arguments, up_scale, down_scale], (3, 5))


def dwconv_call(b: int, c: int, other: int, dtype: torch.dtype, int8: bool) -> Call:
    levels, scale = weight(3, c, c, dtype=dtype, int8=int8)
    width = 1 + other % 5
    shapes = (b, 1 + 3 * width, c), (c,), (c,), (3, 3, 3, c), (3, c)
    arguments = [*[normal(*s, dtype=dtype) for s in shapes], levels, normal(3, c, dtype=dtype), 3, width, scale]
    return Call(torch.ops.aedmae.dwconv_qkv, dwconv_qkv_reference, arguments, (5,))


def patch_call(b: int, c: int, other: int, dtype: torch.dtype, int8: bool) -> Call:
    patch = 1 + other % 5
    levels, scale = weight(c, 9 * patch * patch, dtype=dtype, int8=int8)
    frames = torch.randint(0, 256, (3, 2 * patch, 3 * patch, 3), dtype=torch.uint8)
    ids = torch.stack([torch.randperm(6)[:4] for _ in range(b)]) if b else torch.empty(0, 4, dtype=torch.int64)
    rest = [normal(c, dtype=dtype) for _ in range(3)]
    arguments = [frames, torch.randint(0, 3, (b, 3)), ids, levels, *rest, patch, scale]
    return Call(torch.ops.aedmae.patch_embed, patch_embed_reference, arguments, (3,))


CALLS = [linear_call, mlp_call, dwconv_call, patch_call]
EVERY_OP = pytest.mark.parametrize("make", CALLS, ids=lambda make: make.__name__.removesuffix("_call"))
PRECISIONS = pytest.mark.parametrize("int8", [False, True], ids=["", "int8"])
STATES = pytest.mark.parametrize("dtype", native.DTYPES, ids=["fp32", "bf16"])


@pytest.mark.parametrize("dtype", WEIGHTS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (64, 32), (67, 17), (3, 130, 9)], ids=str)
def test_it_is_the_weight_in_blocks_with_zeros_around_it(isa: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    plain = torch.randint(-127, 128, shape).to(dtype)
    packed = pack_weight(plain)
    assert packed.is_contiguous()
    assert packed.element_size() * packed.shape[-1] == 4  # a step is 32 bits
    n, k = shape[-2:]
    columns, elements = packed.shape[-2:]
    for i, j in {(0, 0), (n - 1, k - 1), (n // 2, k // 3)}:
        assert torch.equal(
            packed[..., i // columns, j // elements, i % columns, j % elements].to(dtype), plain[..., i, j]
        )
    restored = unpack_weight(packed, n, k)
    assert restored.dtype == (torch.int8 if dtype == torch.int8 else packed.dtype)
    assert torch.equal(restored.to(dtype), plain)
    assert packed.count_nonzero() == plain.count_nonzero()


@EVERY_OP
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    b=st.integers(0, 2),
    c=st.integers(8, 140),
    other=st.integers(1, 140),
    dtype=st.sampled_from(native.DTYPES),
    int8=st.booleans(),
)
def test_every_op_computes_the_same_bits(
    isa: str, make: Callable[..., Call], b: int, c: int, other: int, dtype: torch.dtype, int8: bool
) -> None:
    call = make(b, c, other, dtype, int8)
    assert torch.equal(call.op(*call.packed()), call.op(*call.arguments))
    assert torch.equal(call.reference(*call.packed()), call.reference(*call.arguments))


@EVERY_OP
@PRECISIONS
@STATES
def test_another_instruction_sets_are_refused_or_the_same(
    isa: str, make: Callable[..., Call], dtype: torch.dtype, int8: bool
) -> None:
    call = make(1, 70, 33, dtype, int8)
    packed = call.packed()
    for other in native.cpu().isas():
        native.cpu().set_isa(other)
        if all(torch.equal(packed[i], pack_weight(call.arguments[i])) for i in call.weights):
            assert torch.equal(call.op(*packed), call.op(*call.arguments))
        else:
            with pytest.raises(ValueError, match=rf"weight: packed for {other}, .* is \(.*\) in torch\..*, found \("):
                call.op(*packed)


def test_instruction_sets_differ(isa: str) -> None:
    """So that the test above refuses some."""
    forms = set()
    for other in native.cpu().isas():
        native.cpu().set_isa(other)
        packed = pack_weight(torch.zeros(70, 33, dtype=torch.int8))
        forms.add((packed.shape, packed.dtype))
    assert len(forms) == len({isa for isa in native.cpu().isas() if isa != "avx512_bf16"})  # as avx512_vnni


@EVERY_OP
@PRECISIONS
@STATES
def test_opcheck(make: Callable[..., Call], dtype: torch.dtype, int8: bool) -> None:
    call = make(2, 8, 12, dtype, int8)
    torch.library.opcheck(call.op.default, tuple(call.packed()))  # type: ignore[attr-defined]


def test_torch_compile_takes_it_whole() -> None:
    x, plain, bias, *_ = linear_call(2, 8, 12, torch.float32, False).arguments
    packed = pack_weight(plain)
    compiled = torch.compile(lambda *a: linear(*a) + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, packed, bias), linear(x, plain, bias) + 1)


def test_the_public_ops_take_it() -> None:
    """Their checks let it through; torch.ops, as above, has none."""
    for make, op in zip(CALLS, (linear, mlp, dwconv_qkv, patch_embed), strict=True):
        for int8 in (False, True):
            call = make(1, 70, 33, torch.bfloat16, int8)
            packed = call.packed()
            if op is dwconv_qkv:
                packed[7:9] = [tuple(packed[7:9])]
            assert torch.equal(op(*packed), call.op(*call.arguments))


def test_what_cannot_be_packed() -> None:
    with pytest.raises(
        TypeError, match=r"weight: torch.float64 is not computed on a CPU; expected float32, bfloat16 or"
    ):
        pack_weight(torch.zeros(3, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="weight: expected on the cpu, whose kernels it is packed for, found on meta"):
        pack_weight(torch.zeros(3, 4, device="meta"))


def test_errors_name_the_argument() -> None:
    x, plain, bias = torch.zeros(2, 40), torch.zeros(50, 40), torch.zeros(50)
    with pytest.raises(ValueError, match=r"weight: packed for \w+, \(50, 40\) in torch.float32 is \(.*\) in .*, found"):
        linear(x, pack_weight(plain[:, 1:]), bias)
    with pytest.raises(
        ValueError, match=r"weight: packed for \w+, .* is .* in torch.float32, found .* in torch.float64"
    ):
        linear(x, pack_weight(plain).double(), bias)
    with pytest.raises(ValueError, match=r"weight: expected .* on cpu, found .* on meta"):
        linear(x, pack_weight(plain).to("meta"), bias)
    with pytest.raises(ValueError, match=r"scale: expected \(50,\) on cpu, found \(49,\) on cpu"):
        linear(x, pack_weight(plain.to(torch.int8)), bias, scale=torch.zeros(49))
    arguments = mlp_call(1, 8, 12, torch.float32, False).arguments
    with pytest.raises(ValueError, match="down_weight: expected packed where up_weight is packed and only there"):
        mlp(*arguments[:5], pack_weight(arguments[5]), arguments[6])


def test_a_gpu_refuses_it() -> None:
    refused = pytest.raises(ValueError, match="weight: packed weights are for CPUs, but x is on cuda")
    with FakeTensorMode(), refused:
        x, packed, bias = (torch.empty(shape, device="cuda") for shape in ((3, 4), (1, 4, 16, 1), (5,)))
        linear(x, packed, bias)
