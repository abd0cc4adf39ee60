"""Compiles every launch of the Triton ops at the networks' real sizes, without a GPU, and says what came out.

    python -m tests.ops.triton_gates [--arch 90] [--config avenue] [--dtype bfloat16]

The ops are called on meta tensors and their launches are recorded instead of run: what is compiled is what a GPU would
be given, its constants, warps and stages. Registers and instructions are read from the machine code by the tools that
come with Triton.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from aedmae_fast.config import CONFIGS, ModelConfig
from aedmae_fast.ops.triton.attention import attention
from aedmae_fast.ops.triton.discrepancy_map import discrepancy_map
from aedmae_fast.ops.triton.dwconv_qkv import dwconv_qkv
from aedmae_fast.ops.triton.mlp import mlp
from aedmae_fast.ops.triton.motion_weights import motion_weights
from aedmae_fast.ops.triton.patch_embed import patch_embed
from aedmae_fast.ops.triton.smooth_max import mean_filter, mean_map, mean_max

ARCHS = (80, 90, 100)
BATCH = 32
TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
MATRIX = r"\b(HMMA|HGMMA|UTCHMMA)\b"  # tensor cores: sm_80, sm_90, sm_100
SPILL = r"\b(STL|LDL)\b"
ASYNC = r"\b(LDGSTS|UBLKCP|UTMALDG)\b"  # copies to shared memory that do not wait


@dataclass
class Launch:
    """A kernel and what it was launched with."""

    kernel: JITFunction[Any]
    args: dict[str, Any]
    options: dict[str, int]

    def source(self) -> ASTSource:
        """As the run-time would specialise it: 1 is a constant, multiples of 16 are known as such."""
        signature, constants, attrs = {}, {}, {}
        for index, parameter in enumerate(self.kernel.params):
            value = self.args[parameter.name]
            if parameter.is_constexpr or (isinstance(value, int) and value == 1):
                signature[parameter.name], constants[parameter.name] = "constexpr", value
                continue
            signature[parameter.name] = _type(value)
            for place, item in _leaves(value, (index,)):
                if isinstance(item, Tensor) or (isinstance(item, int) and item % 16 == 0):
                    attrs[place] = [["tt.divisibility", 16]]
        return ASTSource(self.kernel, signature, constants, attrs)

    @property
    def key(self) -> tuple[str, str]:
        source = self.source()
        return source.hash(), str(self.options)


def _type(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_type(item) for item in value)
    if isinstance(value, Tensor):
        return "*" + {"float32": "fp32", "bfloat16": "bf16", "uint8": "u8", "int64": "i64"}[str(value.dtype)[6:]]
    return "fp32" if isinstance(value, float) else "i32" if value < 2**31 else "i64"


def _leaves(value: Any, place: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Any]]:
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, (*place, index))
    else:
        yield place, value


@dataclass
class Code:
    """What a launch was compiled to."""

    op: str
    config: str
    kernel: str
    arch: int
    registers: int
    spills: int  # instructions that store a register to memory or load it from there
    shared: int  # bytes a program
    warps: int
    matrix: int  # instructions
    asynchronous: int
    seconds: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        return (
            f"{self.op:<16} {self.config:<20} {self.kernel:<18} sm_{self.arch:<4} {self.registers:4} registers"
            f" x {self.warps:2} warps {self.spills:5} spills {self.shared:7} shared {self.matrix:5} matrix"
            f" {self.asynchronous:4} async"
        )


def compile_launch(op: str, config: str, launch: Launch, arch: int) -> Code:
    compiled = triton.compile(launch.source(), target=GPUTarget("cuda", arch, 32), options=launch.options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        usage = _tool("cuobjdump", "-res-usage", cubin.name)
        listing = _tool("nvdisasm", "-c", cubin.name)
    return Code(
        op,
        config,
        launch.kernel.__name__,
        arch,
        int(re.findall(r"\bREG:(\d+)", usage)[0]),
        len(re.findall(SPILL, listing)),
        compiled.metadata.shared,
        launch.options["num_warps"],
        len(re.findall(MATRIX, listing)),
        len(re.findall(ASYNC, listing)),
    )


def _tool(name: str, *args: str) -> str:
    return subprocess.run([TOOLS / name, *args], check=True, capture_output=True, text=True).stdout


def record(call: Callable[[], object]) -> list[Launch]:
    """The launches that ``call`` makes."""
    launches: list[Launch] = []

    def run(self: JITFunction[Any], *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        named = dict(zip(self.arg_names, args, strict=False))
        options = {name: kwargs.pop(name) for name in ("num_warps", "num_stages")}
        launches.append(Launch(self, {**named, **kwargs}, options))

    original, JITFunction.run = JITFunction.run, run
    try:
        call()
    finally:
        JITFunction.run = original
    return launches


def calls(config: ModelConfig, dtype: torch.dtype) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """(op, part of the network, call) for everything that scores a batch of frames."""

    def new(*shape: int, of: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=of, device="meta")

    d, values = config.patch, 4 * config.patch**2
    frames = new(BATCH + 6, config.height, config.width, 3, of=torch.uint8)
    for part, c, tokens, grid in (
        ("encoder", config.encoder_dim, config.kept, config.encoder_grid),
        ("decoder", config.decoder_dim, config.tokens, config.grid),
    ):
        n, r = 1 + tokens, c * config.mlp_ratio
        x = new(BATCH, n, c)
        qkv = new(3, BATCH, n, c).unflatten(3, (config.heads, -1)).transpose(2, 3)  # [3, B, heads, N, D]
        yield "attention", part, lambda qkv=qkv, c=c: attention(*qkv, c**-0.5)
        yield (
            "dwconv_qkv",
            part,
            lambda x=x, c=c, grid=grid: dwconv_qkv(
                x, new(c), new(c), new(3, 3, 3, c), new(3, c), new(3, c, c), new(3, c), *grid
            ),
        )
        yield (
            "mlp",
            part,
            lambda x=x, c=c, r=r: mlp(x, new(c), new(c), new(r, c), new(r), new(c, r), new(c)),
        )
    c = config.encoder_dim
    windows, kept = new(BATCH, 3, of=torch.int64), new(BATCH, config.kept, of=torch.int64)
    yield (
        "patch_embed",
        "",
        lambda: patch_embed(frames, windows, kept, new(c, 9 * d * d), new(c), new(c), new(c), d),
    )
    states = new(BATCH, 1 + config.tokens, config.decoder_dim)[:, 1:]
    head = new(values, config.decoder_dim), new(values)
    for error in ("L1", "L2"):
        yield (
            "discrepancy_map",
            error,
            lambda error=error: discrepancy_map(
                states, states, *head, *head, frames[:BATCH], d, error, (0.4, 0.4, 0.3)
            ),
        )
    for kind in ("paper", "release"):
        yield "motion_weights", kind, lambda kind=kind: motion_weights(frames, d, kind)
    maps = new(9, config.height, config.width, of=torch.float32)
    yield "mean_filter", "9x9", lambda: mean_filter(maps, (9, 9))
    yield "mean_map", "9", lambda: mean_map(list(maps))
    yield "mean_max", "9", lambda: mean_max(list(maps))


def compile_all(configs: list[str], dtype: torch.dtype, archs: list[int], only: str = "") -> Iterator[Code]:
    """Every different launch of the configurations, once for each architecture."""
    seen = set()
    for name in configs:
        for op, part, call in calls(CONFIGS[name], dtype):
            if only and op != only:
                continue
            for launch in record(call):
                if launch.key not in seen:
                    seen.add(launch.key)
                    for arch in archs:
                        yield compile_launch(op, f"{name} {part}".strip(), launch, arch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=int, action="append", choices=ARCHS)
    parser.add_argument("--config", action="append", choices=sorted(CONFIGS))
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--op", default="")
    options = parser.parse_args()
    configs = options.config or ["avenue", "shanghaitech", "ped2"]
    for code in compile_all(configs, getattr(torch, options.dtype), options.arch or list(ARCHS), options.op):
        print(code, flush=True)


if __name__ == "__main__":
    main()
