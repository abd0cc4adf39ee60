"""The gradient of attention: every instruction set against autograd of the specification in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.ops import attention
from aedmae_fast.ops.attention import attention_gradient_reference, attention_reference
from tests.ops.network_kernels import BOUNDS, DTYPES
from tests.ops.test_attention import SHAPES, heads_of, of_other_strides

Three = tuple[Tensor, Tensor, Tensor]


def gradients(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, scale: float) -> Three:
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    return torch.autograd.grad(attention(*leaves, scale), leaves, grad)  # type: ignore[return-value]


def expected(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, scale: float) -> Three:
    """In float64, by autograd."""
    leaves = [x.detach().double().requires_grad_() for x in (q, k, v)]
    return torch.autograd.grad(attention_reference(*leaves, scale), leaves, grad.double())  # type: ignore[return-value]


def sizes(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, scale: float) -> Three:
    """The gradients with every term's absolute value: what their rounding errors are to be measured by.

    The gradient of the scores is a difference. Of one key, or of equal values, nothing is left of it but rounding.
    """
    q, k, v, grad = (x.double() for x in (q, k, v, grad))
    weights = (q @ k.transpose(2, 3) * scale).softmax(dim=-1)
    grad = grad.unflatten(2, (q.shape[1], q.shape[3])).transpose(1, 2).abs()
    terms = grad @ v.transpose(2, 3).abs() + (grad * (weights @ v).abs()).sum(-1, keepdim=True)
    scores = weights * terms * abs(scale)
    return scores @ k.abs(), scores.transpose(2, 3) @ q.abs(), weights.transpose(2, 3) @ grad


def check(q: Tensor, k: Tensor, v: Tensor, scale: float, *, of_itself: bool = False) -> Three:
    """Within the bound of the dtype, written into memory that held NaN (see tests/conftest.py).

    ``of_itself``: and within 2 % of the gradient, where it is known to be more than rounding.
    """
    b, heads, n, d = q.shape
    arguments = q, k, v, torch.randn(b, n, heads * d).to(q.dtype), scale
    found = gradients(*arguments)
    for gradient, exact, size, of in zip(found, expected(*arguments), sizes(*arguments), (q, k, v), strict=True):
        assert (gradient.dtype, gradient.shape) == (of.dtype, of.shape)
        assert (gradient - exact).norm() <= BOUNDS[q.dtype] * size.norm()
        if of_itself:
            assert (gradient - exact).norm() <= 0.02 * exact.norm()
    return found


@DTYPES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_isa_agrees_with_float64(isa: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    """Of hundreds of tokens the gradients of q and k are 1/400 of their terms' size, less than the bound in bf16."""
    check(*heads_of(*shape, dtype), (shape[1] * max(shape[3], 1)) ** -0.5, of_itself=shape[2] > 100)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 140), st.integers(1, 70)),
    dtype=st.sampled_from(list(BOUNDS)),
    scale=st.just(0.0) | st.floats(1e-3, 1) | st.floats(-1, -1e-3),  # nothing that float32 cannot hold
)
def test_any_shape(isa: str, shape: tuple[int, int, int, int], dtype: torch.dtype, scale: float) -> None:
    check(*heads_of(*shape, dtype), scale)


@DTYPES
def test_other_strides(isa: str, dtype: torch.dtype) -> None:
    for qkv in of_other_strides(dtype):
        check(*qkv, 0.2)


def test_the_specification_is_the_gradient() -> None:
    """What computes it on a GPU, in float64, against autograd."""
    q, k, v = (x.double() for x in heads_of(2, 3, 17, 5, torch.float32))
    grad = torch.randn(2, 17, 15, dtype=torch.float64)
    out = attention_reference(q, k, v, -0.3)
    for found, exact in zip(
        attention_gradient_reference(q, k, v, out, grad, -0.3), expected(q, k, v, grad, -0.3), strict=True
    ):
        assert found.is_contiguous()
        torch.testing.assert_close(found.transpose(1, 2), exact)


@DTYPES
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_of_thousands(isa: str, dtype: torch.dtype, sign: int) -> None:
    """One key takes all: the gradient of the scores is 0, and nothing is infinite."""
    q, k, v = heads_of(1, 2, 50, 16, dtype)
    found = gradients(100 * q, 100 * k, v, torch.ones(1, 50, 32, dtype=dtype), sign * 1.0)
    assert all(gradient.isfinite().all() for gradient in found)


@DTYPES
@pytest.mark.parametrize("largest", [59, 61])  # powers of 2 up to which weights take no maximum off, and above
@pytest.mark.parametrize("n", [6, 7, 66])
def test_the_largest_exponents(isa: str, dtype: torch.dtype, n: int, largest: float) -> None:
    q, k, v = heads_of(1, 1, n, 32, dtype)
    scale = largest * 0.693 / float((q @ k.transpose(2, 3)).abs().max())
    check(q, k, v, scale)


@DTYPES
def test_a_frame_does_not_depend_on_its_batch_or_the_threads(isa: str, dtype: torch.dtype) -> None:
    q, k, v = heads_of(5, 4, 67, 32, dtype)
    grad = torch.randn(5, 67, 128).to(dtype)
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            whole = gradients(q, k, v, grad, 0.1)
            result = attention(q, k, v, 0.1)
        finally:
            torch.set_num_threads(before)
        for i in range(5):
            one = slice(i, i + 1)
            assert torch.equal(attention(q[one], k[one], v[one], 0.1)[0], result[i])
            alone = gradients(q[one], k[one], v[one], grad[one], 0.1)
            assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, whole, strict=True))


@DTYPES
def test_opcheck(dtype: torch.dtype) -> None:
    q, k, v = (x.detach().requires_grad_() for x in heads_of(2, 2, 9, 8, dtype))
    torch.library.opcheck(torch.ops.aedmae.attention.default, (q, k, v, 0.3))
    out, grad = (torch.randn(2, 9, 16).to(dtype) for _ in range(2))
    operands = q.detach(), k.detach(), v.detach()
    torch.library.opcheck(torch.ops.aedmae.attention_gradient.default, (*operands, out, grad, 0.3))


def test_autocast_trains_in_bfloat16() -> None:
    """As in a training step: the operands come from layers under autocast."""
    x = torch.randn(2, 9, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        heads = torch.nn.functional.linear(x, torch.eye(16)).unflatten(2, (2, 8)).transpose(1, 2)
        out = attention(heads, heads, heads, 0.3)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32
