"""linear, mlp and dwconv_qkv with weights in int8: every instruction set against the specification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from aedmae_fast.config import CONFIGS
from aedmae_fast.ops import dwconv_qkv, linear, mlp
from aedmae_fast.ops.dwconv_qkv import dwconv_qkv_reference
from aedmae_fast.ops.linear import linear_reference
from aedmae_fast.ops.mlp import mlp_reference
from aedmae_fast.ops.packing import pack_weight
from aedmae_fast.ops.quantize import quantize_weight
from tests.ops.data import rmse_ratio
from tests.ops.network_kernels import BOUNDS, DTYPES, doubled, normal

# Where a value that LayerNorm, GELU or convolution made lies next to the middle of two levels, the last bit of float32
# chooses: about one value in 2e4, which then is off by one of the 40 that a level is in the root mean square.
FLIPS = 1e-3  # of all values together, with a margin
FLIP = 0.1  # of a single one among few, times the root of their number


class Case(NamedTuple):
    """A call, and its specification's."""

    op: Callable[..., Tensor]
    arguments: list[Any]
    reference: Callable[..., Tensor]
    expected: list[Any]
    flips: bool = True  # quantizes what it computed itself


def weight(*shape: int) -> tuple[Tensor, Tensor]:
    return quantize_weight(normal(*shape, dtype=torch.float64, std=shape[-1] ** -0.5), torch.int8)


def linear_case(b: int, rows: int, k: int, n: int, dtype: torch.dtype) -> Case:
    levels, scale = weight(n, k)
    arguments = [
        normal(b, rows, k, dtype=dtype),
        levels,
        normal(n, dtype=dtype, mean=3),  # a few sums near 0 would be all rounding
        normal(b, rows, n, dtype=dtype),
        scale,
    ]
    return Case(linear, arguments, linear_reference, arguments, flips=False)


def mlp_case(b: int, n: int, c: int, r: int, dtype: torch.dtype) -> Case:
    (up, up_scale), (down, down_scale) = weight(r, c), weight(c, r)
    arguments = [
        normal(b, n, c, dtype=dtype, mean=1, std=2),
        normal(c, dtype=dtype, mean=1, std=0.2),
        normal(c, dtype=dtype),
        *(up, normal(r, dtype=dtype), down, normal(c, dtype=dtype), up_scale, down_scale),
    ]
    return Case(mlp, arguments, mlp_reference, arguments)


def dwconv_case(b: int, c: int, height: int, width: int, dtype: torch.dtype) -> Case:
    levels, scale = weight(3, c, c)
    tensors = [
        normal(b, 1 + height * width, c, dtype=dtype, mean=3, std=2),
        normal(c, dtype=dtype, mean=1, std=0.2),
        normal(c, dtype=dtype),
        normal(3, 3, 3, c, dtype=dtype, std=1 / 3),
        normal(3, c, dtype=dtype),
        levels,
        normal(3, c, dtype=dtype, mean=3),
    ]
    grid = height, width
    return Case(dwconv_qkv, [*tensors, grid, scale], dwconv_qkv_reference, [*tensors, *grid, scale])


def check(case: Case) -> None:
    """The op agrees with its specification in float64, written into memory that held NaN (see tests/conftest.py)."""
    found = case.op(*case.arguments)
    expected = case.reference(*map(doubled, case.expected))
    assert found.is_contiguous()
    assert found.shape == expected.shape
    values = case.arguments[0].numel()
    flips = FLIPS + FLIP / max(values, 1) ** 0.5 if case.flips else 0
    assert rmse_ratio(found, expected) < BOUNDS[found.dtype] + flips
    rows = (found.double() - expected).norm(dim=-1) / expected.norm(dim=-1)
    if rows.numel() >= 16:  # most rows have no such value
        assert rows.median() < BOUNDS[found.dtype]


C = CONFIGS.values()
LINEAR = {(1, 401, 256, 256), (1, 401, 256, 128), (2, 1, 2304, 256), (3, 7, 5, 1), (1, 97, 17, 67), (2, 3, 1, 66)}
MLP = {(1, 1 + c.kept, c.encoder_dim, c.encoder_dim * c.mlp_ratio) for c in C} | {
    *((1, 1 + c.tokens, c.decoder_dim, c.decoder_dim * c.mlp_ratio) for c in C),
    *((2, 1, 8, 16), (3, 18, 9, 5), (1, 98, 33, 70)),
}
DWCONV = {(1, c.encoder_dim, *c.encoder_grid) for c in C} | {
    *((1, c.decoder_dim, *c.grid) for c in C),
    *((2, 9, 3, 5), (3, 33, 1, 50), (1, 130, 50, 1)),
}
SHAPES = [
    *((linear_case, shape) for shape in sorted(LINEAR)),
    *((mlp_case, shape) for shape in sorted(MLP)),
    *((dwconv_case, shape) for shape in sorted(DWCONV)),
]
CASES = pytest.mark.parametrize("make", [linear_case, mlp_case, dwconv_case], ids=["linear", "mlp", "dwconv_qkv"])


@DTYPES
@pytest.mark.parametrize(("make", "shape"), SHAPES, ids=lambda value: str(getattr(value, "__name__", value)))
def test_every_isa_agrees_with_the_specification(
    isa: str, make: Callable[..., Case], shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    check(make(*shape, dtype))


@CASES
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],  # under sanitizers
)
@given(
    # 8 channels: the fewer values, the more LayerNorm magnifies rounding
    shape=st.tuples(st.integers(0, 2), st.integers(8, 70), st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(list(BOUNDS)),
)
def test_any_shape(
    isa: str, make: Callable[..., Case], shape: tuple[int, int, int, int], seed: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(seed)
    b, c, height, width = shape
    check(make(b, height * width, c, 7 * width + 1, dtype) if make is not dwconv_case else make(*shape, dtype))


def test_sums_are_exact(isa: str) -> None:
    """Levels as the input, scales of 1: sums up to 127 * 127 * 515, just below 2^23, come out to the bit."""
    x, levels = (torch.randint(-127, 128, shape) for shape in ((19, 515), (75, 515)))
    x[:, 0] = 127  # so that a row's scale is 1
    x[0], levels[0], x[1], levels[1] = 127, 127, 127, -127
    found = linear(x.float(), levels.to(torch.int8), torch.zeros(75), scale=torch.ones(75))
    assert torch.equal(found.long(), x @ levels.t())


MOST = (2**31 - 1) // 127**2  # products in a sum


def test_the_longest_sums_are_exact(isa: str) -> None:
    x, levels = torch.full((2, MOST), 127), torch.full((17, MOST), 127)
    x[1], levels[1] = -127, -127
    found = linear(x.float(), levels.to(torch.int8), torch.zeros(17), scale=torch.ones(17))
    assert torch.equal(found, (x @ levels.t()).float())


def test_sums_that_int32_may_not_hold_are_refused() -> None:
    x, levels, scale = torch.ones(1, MOST + 1), torch.full((4, MOST + 1), 127, dtype=torch.int8), torch.ones(4)
    error = f"weight: expected at most {MOST} products in a sum, which int8 adds up in int32, found {MOST + 1}"
    for weight in (levels, pack_weight(levels)):
        with pytest.raises(ValueError, match=error):
            linear(x, weight, torch.zeros(4), scale=scale)


def test_ties_go_to_even_and_zeros_stay(isa: str) -> None:
    x = torch.tensor([[127, 0.5, -1.5, 2.5], [254, 1, -3, 5], [0, 0, -0.0, 0], [1e-35, 1e-36, 0, -1e-35]])
    eye, bias, scale = torch.eye(4, dtype=torch.int8), torch.zeros(4), torch.full((4,), 0.5)
    assert torch.equal(linear(x, eye, bias, scale=scale), linear_reference(x, eye, bias, scale=scale))
    assert not linear(x, eye, bias, scale=scale)[2:].any()


def test_an_outlier_takes_the_levels_of_its_row_alone(isa: str) -> None:
    x = torch.ones(3, 40)
    x[1, 7] = 1e30
    eye = torch.eye(40, dtype=torch.int8)
    found = linear(x, eye, torch.zeros(40), scale=torch.full((40,), 1.0))
    assert torch.equal(found[1], torch.where(torch.arange(40) == 7, x[1], 0))
    torch.testing.assert_close(found[::2], x[::2])


@CASES
def test_nan_stays_in_its_row(isa: str, make: Callable[..., Case]) -> None:
    case = make(1, 9, 24, 48, torch.float32) if make is not dwconv_case else make(1, 24, 2, 4, torch.float32)
    case.arguments[0][0, 0, 7] = torch.nan  # of dwconv_qkv and mlp, [CLS]: no other token sees it
    found = case.op(*case.arguments)
    assert torch.equal(found.isnan().any(-1).flatten(), torch.arange(found[..., 0].numel()) % 9 == 0)


@CASES
@DTYPES
def test_a_frame_does_not_depend_on_its_batch(isa: str, make: Callable[..., Case], dtype: torch.dtype) -> None:
    op, (x, *parameters), *_ = make(4, 103, 40, 80, dtype) if make is not dwconv_case else make(4, 48, 6, 9, dtype)
    whole = op(x, *parameters)
    for i in range(4):
        own = [p[i : i + 1] if make is linear_case and j == 2 else p for j, p in enumerate(parameters)]  # the residual
        frame = whole[:, i] if make is dwconv_case else whole[i]
        assert torch.equal(op(x[i : i + 1], *own).squeeze(1 if make is dwconv_case else 0), frame)


def test_cls_takes_its_norm_only(isa: str) -> None:
    """Of mlp: its result is the same without quantized layers."""
    x, norm, shift, up, up_bias, down, down_bias, *scales = mlp_case(2, 5, 24, 48, torch.float32).arguments
    plain = mlp(x, norm, shift, up.float(), up_bias, down.float(), down_bias)
    assert torch.equal(mlp(x, norm, shift, up, up_bias, down, down_bias, *scales)[:, 0], plain[:, 0])


def test_cls_bypasses_the_convolutions(isa: str) -> None:
    first, second = (dwconv_case(1, 20, 4, 6, torch.float32).arguments for _ in range(2))
    mixed = [first[0].clone(), *first[1:3], *second[3:5], *first[5:]]
    mixed[0][:, 1:] = second[0][:, 1:]
    assert torch.equal(dwconv_qkv(*mixed)[:, :, 0], dwconv_qkv(*first)[:, :, 0])


@CASES
def test_strided_arguments_are_copied(make: Callable[..., Case]) -> None:
    case = make(2, 7, 12, 20, torch.float32) if make is not dwconv_case else make(2, 12, 3, 4, torch.float32)
    strided = [
        a if not isinstance(a, Tensor) else a.mT.contiguous().mT if a.ndim > 1 else a.repeat_interleave(2)[::2]
        for a in case.arguments
    ]
    assert torch.equal(case.op(*strided), case.op(*case.arguments))


@CASES
@DTYPES
def test_opcheck(make: Callable[..., Case], dtype: torch.dtype) -> None:
    case = make(2, 7, 8, 12, dtype) if make is not dwconv_case else make(2, 8, 2, 3, dtype)
    torch.library.opcheck(getattr(torch.ops.aedmae, case.op.__name__).default, tuple(case.expected))


@CASES
def test_torch_compile_takes_it_whole(make: Callable[..., Case]) -> None:
    case = make(2, 7, 8, 12, torch.float32) if make is not dwconv_case else make(2, 8, 2, 3, torch.float32)
    compiled = torch.compile(lambda *a: case.op(*a) + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*case.arguments), case.op(*case.arguments) + 1)


X, LEVELS, BIAS, SCALE = torch.zeros(3, 4), torch.zeros(5, 4, dtype=torch.int8), torch.zeros(5), torch.ones(5)
FP8 = torch.float8_e4m3fn


@pytest.mark.parametrize(
    ("error", "match", "levels", "scale"),
    [
        (TypeError, "weight: expected torch.float32 as x, found torch.int8", LEVELS, None),
        (TypeError, "weight: expected torch.int8 or .*_e4m3fn, as it has a scale, found torch.f", LEVELS + 0.5, SCALE),
        (
            TypeError,
            "weight: .*_e4m3fn is not computed on a cpu device; quantize it to torch.int8",
            LEVELS.to(FP8),
            SCALE,
        ),
        (ValueError, r"weight: expected \(5, 4\) on cpu, found \(5, 3\) on cpu", LEVELS[:, 1:], SCALE),
        (TypeError, "^scale: expected torch.float32, found torch.float64", LEVELS, SCALE.double()),
        (ValueError, r"^scale: expected \(5,\) on cpu, found \(4,\) on cpu", LEVELS, SCALE[1:]),
        (ValueError, r"^scale: expected \(5,\) on cpu, found \(5,\) on meta", LEVELS, SCALE.to("meta")),
    ],
)
def test_errors_name_the_argument(error: type[Exception], match: str, levels: Tensor, scale: Tensor | None) -> None:
    with pytest.raises(error, match=match):
        linear(X, levels, BIAS, scale=scale)


def test_errors_name_the_layer() -> None:
    *arguments, up_scale, down_scale = mlp_case(1, 7, 8, 12, torch.float32).arguments
    with pytest.raises(ValueError, match="down_scale: expected where up_scale is given and only there"):
        mlp(*arguments, up_scale)
    with pytest.raises(ValueError, match=r"down_scale: expected \(8,\) on cpu, found \(7,\) on cpu"):
        mlp(*arguments, up_scale, down_scale[1:])
    with pytest.raises(TypeError, match=r"down_weight: expected torch.int8 as up_weight, found torch.float8_e4m3fn"):
        mlp(*arguments[:5], arguments[5].to(FP8), arguments[6], up_scale, down_scale)
    *arguments, scale = dwconv_case(1, 8, 2, 3, torch.float32).arguments
    with pytest.raises(ValueError, match=r"proj_scale: expected \(3, 8\) on cpu, found \(3, 7\) on cpu"):
        dwconv_qkv(*arguments, scale[:, 1:])


def test_a_gpu_refuses_it() -> None:
    refused = pytest.raises(TypeError, match=r"weight: torch\.int8 is not computed on a cuda device")
    with FakeTensorMode(), refused:
        x, levels, bias, scale = (torch.empty(t.shape, dtype=t.dtype, device="cuda") for t in (X, LEVELS, BIAS, SCALE))
        linear(x, levels, bias, scale=scale)
