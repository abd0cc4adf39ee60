"""attention: every instruction set against the specification in float64."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.ops import attention
from aedmae_fast.ops.attention import attention_reference
from tests.ops.network_kernels import BOUNDS, DTYPES, assert_close, check, normal

SHAPES = [  # B, heads, N, D
    (1, 4, 801, 32),  # the decoders of every configuration
    (2, 4, 401, 64),  # the encoder
    (1, 1, 1, 1),
    (3, 2, 17, 5),
    (1, 3, 64, 33),  # whole vectors of keys, odd D
    (2, 1, 130, 80),  # more columns of values than a panel
    (2, 3, 7, 0),  # nothing to compute
]


def heads_of(b: int, heads: int, n: int, d: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v as a block hands them over: views [B, heads, N, D] of [3, B, N, heads * D].

    The values' mean is not 0: a mean of few values that cancel would be all rounding.
    """
    qkv = torch.stack([normal(b, n, heads * d, dtype=dtype, mean=mean) for mean in (0, 0, 2)])
    q, k, v = (x.unflatten(2, (heads, d)).transpose(1, 2) for x in qkv)
    return q, k, v


@DTYPES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_isa_agrees_with_float64(isa: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    check(attention, attention_reference, *heads_of(*shape, dtype), (shape[1] * max(shape[3], 1)) ** -0.5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 140), st.integers(1, 70)),
    dtype=st.sampled_from(list(BOUNDS)),
    scale=st.floats(-1, 1),
)
def test_any_shape(isa: str, shape: tuple[int, int, int, int], dtype: torch.dtype, scale: float) -> None:
    check(attention, attention_reference, *heads_of(*shape, dtype), scale)


def of_other_strides(dtype: torch.dtype) -> list[tuple[Tensor, Tensor, Tensor]]:
    q, k, v = heads_of(2, 2, 20, 8, dtype)
    return [
        (q.contiguous(), k, v[:, :1].expand_as(v)),
        (q.flip(2)[:, :, ::2], k[:, :, 1::2], v[:, :, :10]),
        (q.mT.contiguous().mT, k, v),  # not contiguous in D: copied
    ]


@DTYPES
def test_other_strides(isa: str, dtype: torch.dtype) -> None:
    for qkv in of_other_strides(dtype):
        check(attention, attention_reference, *qkv, 0.2)


@DTYPES
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_of_thousands(isa: str, dtype: torch.dtype, sign: int) -> None:
    """The maximum comes off before the exponential: one key takes all, with a negative scale too."""
    q, k, v = heads_of(1, 2, 50, 16, dtype)
    found = check(attention, attention_reference, 100 * q, 100 * k, v, sign * 1.0)
    assert found.isfinite().all()


@DTYPES
@pytest.mark.parametrize("largest", [1, 30, 59, 61, 88, 200])
@pytest.mark.parametrize("n", [6, 7, 66])
@pytest.mark.parametrize("size", [1e9, 1e-9], ids=["large", "small"])
def test_the_largest_exponents(isa: str, dtype: torch.dtype, n: int, largest: float, size: float) -> None:
    """From -largest to largest as powers of 2, up to where the maximum must come off first, and beyond."""
    q, k, v = heads_of(1, 1, n, 32, dtype)
    scale = 2.0**-4
    q[..., 1:], k[..., 1:] = 0, 0
    q[..., 0] = (largest * math.log(2) / scale) ** 0.5
    k[0, 0, :, 0] = (q[0, 0, 0, 0] * torch.linspace(-1, 1, n)).to(dtype)
    v = size * v
    check(attention, attention_reference, q, k, v, scale)
    check(attention, attention_reference, q, k[:, :, :1].expand_as(k), v, scale)  # all weights as small as they get


@DTYPES
@pytest.mark.parametrize("sign", [1, -1])
def test_a_score_of_minus_infinity_leaves_a_key_out(isa: str, dtype: torch.dtype, sign: int) -> None:
    q, k, v = (x.clone() for x in heads_of(1, 2, 40, 16, dtype))
    k[:, :, 11] = -sign * torch.inf
    check(attention, attention_reference, q.abs(), k, v, sign * 0.3)


def test_equal_scores_give_the_mean(isa: str) -> None:
    q, k, v = heads_of(1, 2, 37, 8, torch.float32)
    found = attention(torch.zeros_like(q), k, v, 1.0)
    assert_close(found, v.double().mean(2).flatten(1)[:, None].expand(-1, 37, -1))


@DTYPES
def test_nan_spreads_as_far_as_it_is_used(isa: str, dtype: torch.dtype) -> None:
    q, k, v = (x.clone() for x in heads_of(1, 2, 40, 8, dtype))
    q[0, 0, 5, 3] = v[0, 1, 7, 2] = torch.nan
    found = attention(q, k, v, 0.3)[0].unflatten(1, (2, 8))  # [N, heads, D]
    expected = torch.zeros(40, 2, 8, dtype=torch.bool)
    expected[5, 0] = expected[:, 1, 2] = True
    assert torch.equal(found.isnan(), expected)


@DTYPES
@pytest.mark.parametrize("where", ["q", "k"])
def test_no_nan_gets_lost(isa: str, dtype: torch.dtype, where: str) -> None:
    """One of all bits set, far from the last of many rows."""
    qkv = {name: x.clone() for name, x in zip("qkv", heads_of(1, 1, 300, 8, dtype), strict=True)}
    bits = torch.int32 if dtype == torch.float32 else torch.int16
    qkv[where].view(bits)[0, 0, 5, 3] = -1
    found = attention(**qkv, scale=0.3)[0]
    assert torch.equal(found.isnan().any(1), found.isnan().all(1))
    assert found.isnan().any(1).sum() == (300 if where == "k" else 1)


@DTYPES
def test_a_frame_does_not_depend_on_its_batch(isa: str, dtype: torch.dtype) -> None:
    q, k, v = heads_of(5, 4, 67, 32, dtype)
    whole = attention(q, k, v, 0.1)
    for i in range(5):
        assert torch.equal(attention(q[i : i + 1], k[i : i + 1], v[i : i + 1], 0.1)[0], whole[i])


def test_threads_do_not_share_their_scratch_memory() -> None:
    jobs = [(*heads_of(1, 2, 30 + 40 * i, 16, torch.float32), 0.25) for i in range(8)]
    expected = [attention(*job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            found = list(pool.map(lambda job: attention(*job), jobs))
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@DTYPES
def test_opcheck(dtype: torch.dtype) -> None:
    torch.library.opcheck(torch.ops.aedmae.attention.default, (*heads_of(2, 2, 9, 8, dtype), 0.3))


def test_torch_compile_takes_it_whole() -> None:
    compiled = torch.compile(lambda q, k, v: attention(q, k, v, 0.3) + 1, fullgraph=True, backend="aot_eager")
    for b in (1, 2):
        inputs = heads_of(b, 2, 9, 8, torch.float32)
        assert torch.equal(compiled(*inputs), attention(*inputs, 0.3) + 1)


X = torch.zeros(2, 2, 5, 4)


@pytest.mark.parametrize(
    ("error", "match", "qkv"),
    [
        (TypeError, "q: expected float32 or bfloat16, found torch.float64", (X.double(), X, X)),
        (TypeError, "v: expected torch.float32 as q, found torch.bfloat16", (X, X, X.bfloat16())),
        (ValueError, r"q: expected \[B, heads, N, D\] with N >= 1, found \(2, 2, 0, 4\)", (X[:, :, :0], X, X)),
        (ValueError, r"k: expected \[B, heads, N, D\] with N >= 1, found \(2, 5, 4\)", (X, X[:, 0], X)),
        (ValueError, r"k: expected \(2, 2, 5, 4\) on cpu, found \(2, 2, 4, 4\)", (X, X[:, :, 1:], X)),
        (ValueError, r"v: expected \(2, 2, 5, 4\) on cpu, found \(2, 2, 5, 4\) on meta", (X, X, X.to("meta"))),
    ],
)
def test_errors_name_the_argument(error: type[Exception], match: str, qkv: tuple[Tensor, Tensor, Tensor]) -> None:
    with pytest.raises(error, match=match):
        attention(*qkv, 1.0)
