"""The operators and autograd: a gradient that is not there is an error, and costs nothing where none is asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from aedmae_fast import ops
from aedmae_fast.ops.attention import attention_reference
from aedmae_fast.ops.library import BACKENDS
from aedmae_fast.ops.linear import linear_reference
from tests.ops.data import random_bytes

OF_INTEGERS = {"frame_prep", "motion_gradient", "motion_weights", "patch_weights"}
C, WINDOWS = torch.randn(8), torch.tensor([[0, 1]])
CALLS: dict[str, Callable[[Tensor], Tensor]] = {  # of a tensor [8, 8]
    "discrepancy_map": lambda x: ops.discrepancy_map(
        *[x[None, :4]] * 2, *[x[:4], torch.zeros(4)] * 2, random_bytes(1, 2, 2, 3), 1
    )[0],
    "dwconv_qkv": lambda x: ops.dwconv_qkv(
        x[None, :5], C, C, torch.randn(3, 3, 3, 8), torch.randn(3, 8), torch.randn(3, 8, 8), torch.randn(3, 8), (2, 2)
    ),
    "linear": lambda x: ops.linear(x, torch.eye(8), C),
    "mean_filter": lambda x: ops.mean_filter(x, (3, 3)),
    "mean_map": lambda x: ops.mean_map(x.view(2, 4, 8), WINDOWS),
    "mean_max": lambda x: ops.mean_max(x.view(2, 4, 8), WINDOWS)[0],
    "mlp": lambda x: ops.mlp(x[None], C, C, x, C, x, C),
    "patch_embed": lambda x: ops.patch_embed(
        random_bytes(3, 2, 2, 3), torch.tensor([[0, 1, 2]]), torch.tensor([[0, 3]]), x.repeat(1, 2)[:, :9], C, C, C, 1
    ),
}


def test_every_operator_is_looked_at() -> None:
    assert set(CALLS) | OF_INTEGERS | {"attention", "attention_gradient"} == set(BACKENDS)


@pytest.mark.parametrize("name", CALLS)
def test_a_gradient_that_is_not_there_is_an_error(name: str) -> None:
    x = torch.randn(8, 8, requires_grad=True)
    out = CALLS[name](x)
    with pytest.raises(NotImplementedError, match=rf"aedmae::{name} has no gradient; .* or use {name}_reference"):
        (x.sum() + out.sum()).backward()
    with torch.no_grad():
        assert not CALLS[name](x).requires_grad
    with torch.inference_mode():
        assert torch.equal(CALLS["linear"](x), CALLS["linear"](x.detach()))


def test_a_second_derivative_of_attention_is_an_error() -> None:
    q, k, v = (torch.randn(1, 2, 5, 8, requires_grad=True) for _ in range(3))
    for op in (attention_reference, ops.attention):
        (first,) = torch.autograd.grad(op(q, k, v, 0.3).square().sum(), q, create_graph=True)
        if op is ops.attention:
            with pytest.raises(NotImplementedError, match="aedmae::attention_gradient has no gradient"):
                first.square().sum().backward()
        else:
            first.square().sum().backward()


def test_integers_take_part_in_a_graph() -> None:
    """As the token weights of a training step."""
    frames, error = random_bytes(2, 8, 8, 3), torch.randn(2, 4, requires_grad=True)
    weights = ops.patch_weights(ops.motion_gradient(frames), 4)
    assert torch.equal(torch.autograd.grad((error * weights).sum(), error)[0], weights)


def test_layers_are_compiled_and_exported_without_a_gradient() -> None:
    layer, x = torch.nn.Linear(8, 8), torch.randn(3, 8)

    class Ours(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return ops.linear(x, self.layer.weight, self.layer.bias)

    expected = linear_reference(x, layer.weight, layer.bias)
    with torch.no_grad():
        compiled = torch.compile(Ours(), fullgraph=True, backend="aot_eager")
        exported = torch.export.export(Ours(), (x,)).module()
        for found in (compiled(x), exported(x)):
            torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.export.export(Ours(), (x,)).module()(x), expected)
