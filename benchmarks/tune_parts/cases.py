"""What is tuned: the Triton ops at the networks' sizes, and the launch parameters that are worth trying for each."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from aedmae_fast.config import CONFIGS, ModelConfig
from aedmae_fast.ops.quantize import quantize_weight

FP8 = torch.float8_e4m3fn
# op -> values of its launch parameters, each with each; those that are not named stay as they are.
SPACES: dict[str, dict[str, tuple[int, ...]]] = {
    "attention": {"BLOCK_M": (64, 128), "BLOCK_N": (32, 64, 128), "num_warps": (4, 8), "num_stages": (2, 3)},
    "dwconv_qkv": {"BLOCK_M": (32, 64), "BLOCK_N": (64, 128), "BLOCK_K": (16, 32, 64), "num_warps": (4, 8)},
    "mlp": {"BLOCK_M": (32, 64, 128), "BLOCK_R": (32, 64, 128), "num_warps": (4, 8)},
    "linear": {
        "BLOCK_M": (64, 128),
        "BLOCK_N": (64, 128),
        "BLOCK_K": (32, 64, 128),
        "num_warps": (4, 8),
        "num_stages": (2, 3),
    },
    "discrepancy_map": {"BLOCK_M": (32, 64, 128), "BLOCK_V": (16, 32, 64), "num_warps": (4, 8)},
    "patch_embed": {"BLOCK_M": (32, 64, 128), "BLOCK_K": (32, 64), "num_warps": (4, 8), "num_stages": (2, 3)},
}
QUANTIZED = ("linear", "mlp", "dwconv_qkv")

Parameters = dict[str, int]


@dataclass(frozen=True)
class Case:
    """An op at one size, in one precision.

    ``make(frames)`` makes random arguments of its Triton version. Those that have ``frames`` for their first extent are
    activations.
    """

    op: str
    part: str  # of the network, and of which configurations
    dtype: torch.dtype  # of the weights: the key in the op's table
    make: Callable[[int], list[Any]] = field(compare=False)

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"aedmae_fast.ops.triton.{self.op}")

    @property
    def shipped(self) -> Parameters:
        return dict(self.module.LAUNCH[self.dtype])

    def candidates(self) -> Iterator[Parameters]:
        """The shipped parameters, then every other combination, those first that differ from them in the least."""
        shipped, space = self.shipped, SPACES[self.op]
        combinations = (
            {**shipped, **dict(zip(space, values, strict=True))} for values in itertools.product(*space.values())
        )
        others = [found for found in combinations if found != shipped and self._compiles(found)]
        yield shipped
        yield from sorted(others, key=lambda found: sum(found[name] != shipped[name] for name in found))

    def _compiles(self, parameters: Parameters) -> bool:
        """Products of float8 are added up in steps of 32 (ops/triton/product.py)."""
        steps = [parameters[name] for name in ("BLOCK_K", "BLOCK_R") if name in parameters]
        return self.dtype != FP8 or all(step == 32 for step in steps)

    def run(self, arguments: list[Any]) -> Any:
        return getattr(self.module, self.op)(*arguments)

    def reference(self, arguments: list[Any]) -> Any:
        """The specification in float64; quantized weights stay what they are."""
        exact = [
            x.double() if isinstance(x, Tensor) and x.is_floating_point() and x.itemsize > 1 else x for x in arguments
        ]
        return getattr(importlib.import_module(f"aedmae_fast.ops.{self.op}"), f"{self.op}_reference")(*exact)


def cases(device: str, dtypes: tuple[torch.dtype, ...]) -> list[Case]:
    """Every size once that a configuration has, named after all that have it."""
    found: dict[tuple[Any, ...], tuple[Case, list[str]]] = {}
    for name, config in CONFIGS.items():
        for dtype in dtypes:
            for key, case in _cases_of(config, dtype, device):
                found.setdefault((dtype, *key), (case, []))[1].append(name)
    return [Case(c.op, f"{c.part} ({', '.join(names)})".strip(), c.dtype, c.make) for c, names in found.values()]


def _cases_of(config: ModelConfig, dtype: torch.dtype, device: str) -> Iterator[tuple[tuple[Any, ...], Case]]:
    """Of one configuration, each with what tells it from others."""
    for part, c, grid in (
        ("encoder", config.encoder_dim, config.encoder_grid),
        ("decoder", config.decoder_dim, config.grid),
    ):
        makers = _block(c, c * config.mlp_ratio, config.heads, grid, dtype, device)
        for op, make in makers.items():
            if dtype != FP8 or op in QUANTIZED:
                yield (op, c, grid), Case(op, f"{part} {grid[0]}x{grid[1]}x{c}", dtype, make)
    if dtype == FP8:
        return
    d, size = config.patch, f"{config.height}x{config.width}"
    for op, make in _ends(config, dtype, device).items():
        yield (op, size, d), Case(op, f"{size}, patch {d}", dtype, make)


def _block(
    c: int, r: int, heads: int, grid: tuple[int, int], dtype: torch.dtype, device: str
) -> dict[str, Callable[[int], list[Any]]]:
    """The ops of a block: op -> its arguments for so many frames."""
    n, states = 1 + grid[0] * grid[1], torch.bfloat16 if dtype == FP8 else dtype

    def new(*shape: int, std: float = 1.0) -> Tensor:
        return (torch.randn(shape, device=device) * std).to(states)

    def weight(*shape: int) -> tuple[Tensor, Tensor, Tensor | None]:  # with its bias and its scale
        value = torch.randn(shape, device=device) * shape[-1] ** -0.5
        levels, scale = quantize_weight(value, dtype) if dtype == FP8 else (value.to(dtype), None)
        return levels, new(*shape[:-1]), scale

    def attention(frames: int) -> list[Any]:
        q, k, v = new(3, frames, n, c).unflatten(3, (heads, -1)).transpose(2, 3)
        return [q, k, v, c**-0.5]

    def linear(frames: int) -> list[Any]:
        levels, bias, scale = weight(c, c)
        return [new(frames, n, c), levels, bias, new(frames, n, c), scale]

    def mlp(frames: int) -> list[Any]:
        (up, up_bias, up_scale), (down, down_bias, down_scale) = weight(r, c), weight(c, r)
        return [new(frames, n, c), new(c), new(c), up, up_bias, down, down_bias, up_scale, down_scale]

    def dwconv_qkv(frames: int) -> list[Any]:
        levels, bias, scale = weight(3, c, c)
        convolutions = new(3, 3, 3, c, std=1 / 3), new(3, c)
        return [new(frames, n, c), new(c), new(c), *convolutions, levels, bias, *grid, scale]

    return {"attention": attention, "linear": linear, "mlp": mlp, "dwconv_qkv": dwconv_qkv}


def _ends(config: ModelConfig, dtype: torch.dtype, device: str) -> dict[str, Callable[[int], list[Any]]]:
    """What comes before the blocks and after them."""
    d, c, tokens, kept = config.patch, config.encoder_dim, config.tokens, config.kept

    def new(*shape: int, std: float = 1.0) -> Tensor:
        return (torch.randn(shape, device=device) * std).to(dtype)

    def pixels(frames: int) -> Tensor:
        return torch.randint(0, 256, (frames, config.height, config.width, 3), dtype=torch.uint8, device=device)

    def patch_embed(frames: int) -> list[Any]:
        windows = torch.randint(0, frames, (frames, 3), device=device)
        ids = torch.rand(frames, tokens, device=device).argsort(1)[:, :kept]
        return [pixels(frames), windows, ids, new(c, 9 * d * d, std=1e-3), new(c), new(c), new(c), d]

    def discrepancy_map(frames: int) -> list[Any]:
        states = [new(frames, 1 + tokens, config.decoder_dim)[:, 1:] for _ in range(2)]
        heads = [new(4 * d * d, config.decoder_dim, std=0.05), new(4 * d * d)] * 2
        return [*states, *heads, pixels(frames), d, "L2", (0.4, 0.4, 0.3)]

    return {"patch_embed": patch_embed, "discrepancy_map": discrepancy_map}
