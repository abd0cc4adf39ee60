"""attention of one frame in the encoder and in a decoder, the same in every configuration, in both precisions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from aedmae_fast.ops import attention
from aedmae_fast.ops.attention import attention_reference
from op_cases.case import Case, size_of, torch_baselines

SHAPES = {"encoder": (4, 401, 64), "decoder": (4, 801, 32)}  # heads, N, D


def cases(device: str) -> Iterator[Case]:
    for dtype in (torch.float32, torch.bfloat16):
        for name, shape in SHAPES.items():
            yield make_case(name, *shape, dtype, device)


def make_case(name: str, heads: int, n: int, d: int, dtype: torch.dtype, device: str) -> Case:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(3, 1, n, heads * d, generator=generator).to(device, dtype)
    q, k, v = qkv.unflatten(3, (heads, d)).transpose(2, 3)  # views, as a block hands them over
    arguments = q, k, v, (heads * d) ** -0.5

    def sdpa() -> torch.Tensor:
        out = F.scaled_dot_product_attention(q, k, v, scale=arguments[3])
        return out.transpose(1, 2).flatten(2)

    return Case(
        op="attention",
        case=f"{name} 1x{heads}x{n}x{d} {str(dtype)[6:]}",
        run=lambda: attention(*arguments),
        bytes=size_of(qkv) * 4 // 3,
        baselines={**torch_baselines(attention_reference, *arguments), "sdpa": sdpa},
        operations=4 * heads * n * n * d,
        dtype=dtype,
        atol=1e-5 if dtype == torch.float32 else 0.02,
    )
