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


FRAMES, MAPS, X = random_bytes(2, 8, 8, 3), torch.zeros(2, 4, 4), torch.zeros(1, 5, 8)
HEADS = torch.zeros(1, 2, 5, 4)
MISFITS: dict[str, tuple[tuple[object, ...], type[Exception], str]] = {  # an operator's arguments, and what it says
    "attention": ((HEADS, HEADS[:, :1], HEADS, 1.0), ValueError, "k: expected"),
    "attention_gradient": ((HEADS, HEADS, HEADS, X, X[:, :4], 1.0), ValueError, r"grad: expected \(1, 5, 8\)"),
    "discrepancy_map": ((X, X[:, :4], C, C, C, C, FRAMES, 4), ValueError, r"teacher: expected \(2, 4, 8\)"),
    "dwconv_qkv": ((X, C, C, C, C, C, C, 2, 2), ValueError, r"proj_weight: expected \(3, 8, 8\)"),
    "frame_prep": (([FRAMES], 0, 4), ValueError, r"height: expected 1\.\.16384, found 0"),
    "linear": ((X, torch.zeros(4, 7), torch.zeros(4)), ValueError, r"weight: expected \(4, 8\)"),
    "mean_filter": ((MAPS, [3, 3, 3]), ValueError, r"size: expected two odd numbers, found \(3, 3, 3\)"),
    "mean_map": ((MAPS, torch.zeros(2, 1)), TypeError, "windows: expected int64"),
    "mean_max": ((MAPS, torch.zeros(2, dtype=torch.int64)), ValueError, r"windows: expected \[N, F\]"),
    "mlp": ((X, C, C, torch.eye(8), C, torch.eye(7), C), ValueError, r"down_weight: expected \(8, 8\)"),
    "motion_gradient": ((FRAMES.float(),), TypeError, "frames: expected uint8"),
    "motion_weights": ((FRAMES, 3), ValueError, "frames: expected .* in whole patches of 3"),
    "patch_embed": ((FRAMES, WINDOWS, WINDOWS, X, C, C, C, 4), ValueError, r"windows: expected \[B, 3\]"),
    "patch_weights": ((FRAMES, 0), ValueError, "gradient: expected .* in whole patches of 0"),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_operators_check_what_they_are_given(name: str, device: str) -> None:
    """Called by torch.ops, without the Python function around them."""
    arguments, error, message = MISFITS[name]
    some, *others = arguments
    moved = [x.to(device) if isinstance(x, Tensor) else x for x in others]
    first = [x.to(device) for x in some] if isinstance(some, list) else some.to(device)
    with pytest.raises(error, match=message):
        getattr(torch.ops.aedmae, name)(first, *moved)


@pytest.mark.parametrize(
    ("windows", "ids", "message"),
    [
        ([0, 1, 3], [0, 3], "windows: expected 0 to 2, found 0 to 3"),
        ([0, -1, 2], [0, 3], "windows: expected 0 to 2, found -1 to 2"),
        ([0, 1, 2], [0, 2**40], f"ids_keep: expected 0 to 3, found 0 to {2**40}"),
        ([0, 1, 2], [-1, 3], "ids_keep: expected 0 to 3, found -1 to 3"),
    ],
)
def test_patch_embed_looks_at_its_indices(windows: list[int], ids: list[int], message: str) -> None:
    weight, index = torch.randn(8, 9), (torch.tensor([windows]), torch.tensor([ids]))
    with pytest.raises(IndexError, match=message):
        ops.patch_embed(random_bytes(3, 2, 2, 3), *index, weight, C, C, C, 1)


@pytest.mark.parametrize("op", [ops.mean_max, ops.mean_map])
def test_means_look_at_their_indices(op: Callable[..., object]) -> None:
    op(MAPS, torch.tensor([[-5, 1]]))  # no map, and the last
    with pytest.raises(IndexError, match=r"windows: expected indices of 2 maps, found 2"):
        op(MAPS, torch.tensor([[0, 1], [2, -1]]))


@pytest.mark.parametrize("weights", [(1.0, 2.0), (1.0, 2.0, 3.0, 4.0), 2.0, None])
def test_discrepancy_map_takes_three_weights(weights: object) -> None:
    states, head = torch.zeros(2, 4, 8), torch.zeros(64, 8)
    arguments = states, states, head, torch.zeros(64), head, torch.zeros(64), FRAMES, 4, "L2"
    with pytest.raises(ValueError, match="weights: expected three numbers, found"):
        ops.discrepancy_map(*arguments, weights)  # type: ignore[arg-type]
