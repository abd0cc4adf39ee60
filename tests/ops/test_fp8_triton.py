"""linear, mlp and dwconv_qkv in Triton with weights in float8, against the specification in float64.

The bounds tell the specification from something near it: what quantization itself changes is 3 % to 5 %.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast import ops
from aedmae_fast.config import CONFIGS
from aedmae_fast.ops.quantize import quantize_weight
from tests.ops.triton_device import DEVICE, DTYPES, check, reference, rms, triton_version

if DEVICE == "cuda" and torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9):
    pytest.skip("float8 needs compute capability 8.9", allow_module_level=True)

FP8 = torch.float8_e4m3fn
# float32: where a value lies between two levels, and float32 rounds it to the one and float64 to the other, the results
# differ by a step of it. Hopper's tensor cores keep 13 or 14 bits of the sum of 32 products: simulated with 13 bits the
# error of mlp is 5.4e-4, with 12 up to 1.2e-3. bfloat16: the result's rounding.
BOUND = {torch.float32: 3e-3, torch.bfloat16: 4e-3}
Arguments = list[Any]


def quantized(*shape: int) -> tuple[Tensor, Tensor]:
    weight, scale = quantize_weight(torch.randn(shape) * shape[-1] ** -0.5, FP8)
    return weight.to(DEVICE), scale.to(DEVICE)


def normal(*shape: int, dtype: torch.dtype, mean: float = 0.0) -> Tensor:
    return (torch.randn(shape) + mean).to(DEVICE, dtype)


def make_linear(b: int, grid: tuple[int, int], c: int, dtype: torch.dtype) -> Arguments:
    weight, scale = quantized(2 * c, c)
    n = 1 + grid[0] * grid[1]
    bias = normal(2 * c, dtype=dtype)
    return [normal(b, n, c, dtype=dtype), weight, bias, normal(b, n, 2 * c, dtype=dtype), scale]


def make_mlp(b: int, grid: tuple[int, int], c: int, dtype: torch.dtype) -> Arguments:
    x, norm = normal(b, 1 + grid[0] * grid[1], c, dtype=dtype, mean=1), [normal(c, dtype=dtype) for _ in "12"]
    (up, up_scale), (down, down_scale) = quantized(2 * c, c), quantized(c, 2 * c)
    return [x, *norm, up, normal(2 * c, dtype=dtype), down, normal(c, dtype=dtype), up_scale, down_scale]


def make_dwconv_qkv(b: int, grid: tuple[int, int], c: int, dtype: torch.dtype) -> Arguments:
    x, norm = normal(b, 1 + grid[0] * grid[1], c, dtype=dtype, mean=1), [normal(c, dtype=dtype) for _ in "12"]
    conv = (normal(3, 3, 3, c, dtype=torch.float32) / 3).to(dtype), normal(3, c, dtype=dtype)
    weight, scale = quantized(3, c, c)
    return [x, *norm, *conv, weight, normal(3, c, dtype=dtype), *grid, scale]


MAKE: dict[str, Callable[[int, tuple[int, int], int, torch.dtype], Arguments]] = {
    "linear": make_linear,
    "mlp": make_mlp,
    "dwconv_qkv": make_dwconv_qkv,
}
OPS = pytest.mark.parametrize("op", MAKE)
PRECISIONS = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@OPS
@PRECISIONS
@pytest.mark.parametrize(("grid", "c"), [((3, 11), 256), ((5, 7), 128), ((2, 3), 7), ((1, 3), 3)])
def test_the_networks_widths_and_small_ones(op: str, grid: tuple[int, int], c: int, dtype: torch.dtype) -> None:
    check(op, *MAKE[op](2, grid, c, dtype), bound=BOUND[dtype])


@pytest.mark.needs_cuda
@OPS
@PRECISIONS
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_the_networks_sizes(op: str, dtype: torch.dtype, part: str) -> None:
    c = CONFIGS["avenue"]  # blocks are of the same sizes in all of them
    sizes = (c.encoder_grid, c.encoder_dim) if part == "encoder" else (c.grid, c.decoder_dim)
    check(op, *MAKE[op](3, *sizes, dtype), bound=BOUND[dtype])


@settings(deadline=None, max_examples=20)
@given(
    op=st.sampled_from(sorted(MAKE)),
    b=st.integers(1, 3),
    grid=st.tuples(st.integers(1, 5), st.integers(1, 7)),
    c=st.integers(8, 70),  # the fewer values, the more LayerNorm magnifies rounding
    seed=st.integers(0, 2**31),
)
def test_any_shape(op: str, b: int, grid: tuple[int, int], c: int, seed: int) -> None:
    torch.manual_seed(seed)
    check(op, *MAKE[op](b, grid, c, torch.bfloat16), bound=BOUND[torch.bfloat16], least=1)


@OPS
def test_it_is_not_the_weight_as_it_was(op: str) -> None:
    """Activations are rounded too: the result is not that of the same weights in float32."""
    arguments = MAKE[op](2, (3, 5), 64, torch.float32)
    found, count = triton_version(op)(*arguments), 2 if op == "mlp" else 1  # scales, which come last
    scales = iter(arguments[-count:])
    wide = [x.float() * next(scales)[..., None] if _is_quantized(x) else x for x in arguments[:-count]]
    plain = reference(op, *wide)
    assert 5e-3 < rms(found.cpu().double() - plain) / rms(plain) < 0.2


def _is_quantized(x: object) -> bool:
    return isinstance(x, Tensor) and x.dtype == FP8


@PRECISIONS
def test_activations_saturate(dtype: torch.dtype) -> None:
    x = torch.tensor([[1000.0, -1000.0, 448.0, 460.0, 2.0**-9, 2.0**-10, 3 * 2.0**-10, 0.3]]).to(DEVICE, dtype)
    weight, scale = torch.eye(8).to(FP8).to(DEVICE), torch.full((8,), 2.0, device=DEVICE)
    found = triton_version("linear")(x, weight, torch.zeros(8, device=DEVICE, dtype=dtype), None, scale)
    expected = [896, -896, 896, 896, 2.0**-8, 0, 2.0**-7, 0.625]
    assert found.flatten().tolist() == expected


def test_cls_gains_its_norm_as_it_is() -> None:
    arguments = make_mlp(2, (2, 3), 32, torch.float32)
    x, gain, shift = arguments[:3]
    expected = x + torch.nn.functional.layer_norm(x, (32,), gain, shift, 1e-6)
    torch.testing.assert_close(triton_version("mlp")(*arguments)[:, 0], expected[:, 0])


@OPS
def test_no_frames(op: str) -> None:
    arguments = MAKE[op](0, (2, 3), 32, torch.bfloat16)
    assert 0 in triton_version(op)(*arguments).shape


@OPS
def test_a_frame_has_the_same_bits_in_every_batch(op: str) -> None:
    arguments = MAKE[op](3, (4, 7), 32, torch.bfloat16)
    alone = [x[1:2] if isinstance(x, Tensor) and x.shape[:2] == (3, 29) else x for x in arguments]
    frames = 1 if op == "dwconv_qkv" else 0
    found = triton_version(op)(*arguments).narrow(frames, 1, 1)
    assert torch.equal(found, triton_version(op)(*alone))


# What only a GPU shows


@pytest.mark.needs_cuda
@OPS
def test_on_gpu_the_operator_is_the_triton_version(op: str) -> None:
    arguments = MAKE[op](2, (3, 5), 64, torch.bfloat16)
    expected = triton_version(op)(*arguments)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = getattr(torch.ops.aedmae, op)(*arguments)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found, expected)
    if op == "dwconv_qkv":
        arguments[7:9] = [(arguments[7], arguments[8])]
    assert torch.equal(getattr(ops, op)(*arguments), expected)


@pytest.mark.needs_cuda
@OPS
def test_on_gpu_opcheck(op: str) -> None:
    arguments = tuple(MAKE[op](2, (3, 5), 64, torch.bfloat16))
    # All but "test_schema", which asks torch.allclose of float8: CUDA has none.
    tests = ("test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(getattr(torch.ops.aedmae, op).default, arguments, test_utils=tests)
