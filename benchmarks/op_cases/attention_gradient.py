"""attention forward and backward, as a training step has it, of a few frames in the encoder and in a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.ops import attention
from aedmae_fast.ops.attention import attention_reference
from op_cases.case import Case, size_of, torch_compiled

SHAPES = {  # B, heads, N, D
    "ped2 encoder": (8, 4, 541, 64),
    "ped2 decoder": (8, 4, 601, 32),
    "80x160 encoder": (8, 4, 181, 64),
}


def cases(device: str) -> Iterator[Case]:
    for dtype in (torch.float32, torch.bfloat16):
        for name, shape in SHAPES.items():
            yield make_case(name, *shape, dtype, device)


def make_case(name: str, b: int, heads: int, n: int, d: int, dtype: torch.dtype, device: str) -> Case:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(3, b, n, heads * d, generator=generator).to(device, dtype)
    grad = torch.randn(b, n, heads * d, generator=generator).to(device, dtype)
    q, k, v = (x.requires_grad_() for x in qkv.unflatten(3, (heads, d)).transpose(2, 3))
    arguments = q, k, v, (heads * d) ** -0.5

    def both_ways(op: Callable[..., Tensor]) -> Callable[[], Any]:
        def run() -> tuple[Tensor, ...]:
            out = op(*arguments)
            return out.detach(), *torch.autograd.grad(out, (q, k, v), grad)

        return run

    def sdpa(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).flatten(2)

    return Case(
        op="attention_gradient",
        case=f"{name} {b}x{heads}x{n}x{d} {str(dtype)[6:]}",
        run=both_ways(attention),
        bytes=size_of(qkv) * 11 // 3,  # q, k, v and out are read twice, the gradient once; out and three are written
        baselines={
            "eager": both_ways(attention_reference),
            "compile": both_ways(torch_compiled(attention_reference)),
            "sdpa": both_ways(sdpa),
        },
        operations=(2 + 5) * 2 * b * heads * n * n * d,
        dtype=dtype,
        atol=1e-5 if dtype == torch.float32 else 0.02,
    )
