"""Compiles the launches of the Triton ops at the networks' real sizes, without a GPU, and says what came out.

    python -m tests.ops.triton_gates [--op OP] [--dtype DTYPE] [--arch ARCH]    # of all launches: minutes
    python -m tests.ops.triton_gates --gates                    # of the rows of triton_gates.csv, as JSON

The ops are called on meta tensors and their launches are recorded instead of run: what is compiled is what a GPU would
be given, its constants, warps and stages. Registers and instructions are read from the machine code by the tools that
come with Triton. Run it in a process of its own: interpreted and compiled kernels do not mix.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from aedmae_fast.ops.triton.frame_prep import frame_prep
from aedmae_fast.ops.triton.linear import linear
from aedmae_fast.ops.triton.mlp import mlp
from aedmae_fast.ops.triton.motion_weights import motion_gradient, motion_weights, patch_weights
from aedmae_fast.ops.triton.patch_embed import patch_embed
from aedmae_fast.ops.triton.smooth_max import mean_filter, mean_max

TABLE = Path(__file__).with_suffix(".csv")
BATCH = 32
ARCHS = (80, 90, 100)
FP8 = torch.float8_e4m3fn
TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", FP8: "fp8e4nv", torch.uint8: "u8", torch.int64: "i64"}
TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
MATRIX = r"\b([HQ]MMA|[HQ]GMMA|UTC\w*MMA)\b"  # tensor cores: sm_80 and sm_89, sm_90, sm_100; Q: float8
ASYNC = r"\b(LDGSTS|UBLKCP|UTMALDG)\b"  # copies to shared memory that nobody waits for
WAIT = r"wgmma\.wait_group\.sync\.aligned [1-9]"  # for all but some of Hopper's products
FROM_REGISTERS = r"wgmma\.mma_async[^;]*?\}, *\{"  # a product whose left side is in registers
SPILL = r"\b(STL|LDL)\b"  # a register stored to memory or loaded from there


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
            if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
                signature[parameter.name], constants[parameter.name] = "constexpr", value
                continue
            signature[parameter.name] = type_of(value)
            for place, item in leaves(value, (index,)):
                if isinstance(item, Tensor) or (isinstance(item, int) and item % 16 == 0):
                    attrs[place] = [["tt.divisibility", 16]]
        return ASTSource(self.kernel, signature, constants, attrs)


def type_of(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(type_of(item) for item in value)
    if isinstance(value, Tensor):
        return f"*{TYPES[value.dtype]}"
    return "fp32" if isinstance(value, float) else "i32" if value < 2**31 else "i64"


def leaves(value: Any, place: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Any]]:
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from leaves(item, (*place, index))
    else:
        yield place, value


@dataclass
class Code:
    """What a launch was compiled to."""

    op: str
    config: str
    dtype: str
    kernel: str
    arch: int
    warps: int  # of a program
    registers: int  # of a thread
    spills: int  # instructions
    shared: int  # bytes of a program
    matrix: int  # instructions
    asynchronous: int  # instructions
    unwaited: int  # products that may still read registers when these are written again (triton#9433)

    def __str__(self) -> str:
        return (
            f"{self.op:<15} {self.config:<16} {self.dtype:<8} {self.kernel:<18} sm_{self.arch:<3} {self.warps:2} warps"
            f" {self.registers:4} registers {self.spills:4} spills {self.shared:6} shared {self.matrix:4} matrix"
            f" {self.asynchronous:3} async {self.unwaited:2} unwaited"
        )


def compile_launch(op: str, config: str, dtype: str, launch: Launch, arch: int) -> Code:
    compiled = triton.compile(launch.source(), target=GPUTarget("cuda", arch, 32), options=launch.options)
    ptx = compiled.asm["ptx"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        usage = tool("cuobjdump", "-res-usage", cubin.name)
        listing = tool("nvdisasm", "-c", cubin.name)
    return Code(
        op,
        config,
        dtype,
        launch.kernel.__name__,
        arch,
        launch.options["num_warps"],
        int(re.findall(r"\bREG:(\d+)", usage)[0]),
        len(re.findall(SPILL, listing)),
        compiled.metadata.shared,
        len(re.findall(MATRIX, listing)),
        len(re.findall(ASYNC, listing)),
        len(re.findall(FROM_REGISTERS, ptx)) if re.search(WAIT, ptx) else 0,
    )


def tool(name: str, *args: str) -> str:
    return subprocess.run([TOOLS / name, *args], check=True, capture_output=True, text=True).stdout


def record(call: Callable[[], object]) -> list[Launch]:
    """The launches that ``call`` makes."""
    launches: list[Launch] = []

    def run(self: JITFunction[Any], *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        options = {name: kwargs.pop(name) for name in ("num_warps", "num_stages")}
        launches.append(Launch(self, {**dict(zip(self.arg_names, args, strict=False)), **kwargs}, options))

    original, JITFunction.run = JITFunction.run, run
    try:
        call()
    finally:
        JITFunction.run = original
    return launches


def calls(config: ModelConfig, dtype: torch.dtype) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """(op, part of the network, call) for everything that scores a batch of frames; for float8, what is quantized."""
    if dtype == FP8:
        yield from quantized_calls(config)
        return

    def new(*shape: int, of: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=of, device="meta")

    for part, c, tokens, grid in parts(config):
        n, r = 1 + tokens, c * config.mlp_ratio
        x, norm = new(BATCH, n, c), (new(c), new(c))
        qkv = new(3, BATCH, n, c).unflatten(3, (config.heads, -1)).transpose(2, 3)  # [3, B, heads, N, D]
        conv = new(3, 3, 3, c), new(3, c), new(3, c, c), new(3, c)
        layers = new(r, c), new(r), new(c, r), new(c)
        yield "attention", part, lambda qkv=qkv, c=c: attention(*qkv, c**-0.5)
        yield "dwconv_qkv", part, lambda x=x, norm=norm, conv=conv, grid=grid: dwconv_qkv(x, *norm, *conv, *grid)
        yield "linear", part, lambda x=x, c=c: linear(x, new(c, c), new(c), x)
        yield "mlp", part, lambda x=x, norm=norm, layers=layers: mlp(x, *norm, *layers)
    c, d = config.encoder_dim, config.patch
    frames = new(BATCH, config.height, config.width, 3, of=torch.uint8)
    windows, kept = new(BATCH, 3, of=torch.int64), new(BATCH, config.kept, of=torch.int64)
    embed = new(c, 9 * d * d), new(c), new(c), new(c)
    yield "patch_embed", "", lambda: patch_embed(frames, windows, kept, *embed, d)
    states = new(BATCH, 1 + config.tokens, config.decoder_dim)[:, 1:]
    head = new(4 * d * d, config.decoder_dim), new(4 * d * d)
    yield (
        "discrepancy_map",
        "",
        lambda: discrepancy_map(states, states, *head, *head, frames, d, "L2", (0.4, 0.4, 0.3)),
    )
    yield "motion_gradient", "", lambda: motion_gradient(frames)
    yield "motion_weights", "", lambda: motion_weights(frames, d)
    yield "patch_weights", "anomaly maps", lambda: patch_weights(frames, d, frames[..., 0])
    y, uv = (new(BATCH, *size, of=torch.uint8) for size in ((1080, 1920), (540, 960, 2)))
    result = torch.bfloat16 if dtype == torch.bfloat16 else torch.uint8
    for part, planes in (
        ("I420", (y, uv[..., 0].contiguous(), uv[..., 1].contiguous())),
        ("NV12", (y, *uv.unbind(-1))),
    ):
        yield (
            "frame_prep",
            part,
            lambda planes=planes: frame_prep(planes, config.height, config.width, dtype=result),
        )
    maps, in_time = new(BATCH, config.height, config.width, of=torch.float32), new(BATCH, 9, of=torch.int64)
    yield "mean_filter", "", lambda: mean_filter(maps, (9, 9))
    yield "mean_max", "", lambda: mean_max(maps, in_time)


def parts(config: ModelConfig) -> Iterator[tuple[str, int, int, tuple[int, int]]]:
    """(name, channels, tokens, their grid)."""
    yield "encoder", config.encoder_dim, config.kept, config.encoder_grid
    yield "decoder", config.decoder_dim, config.tokens, config.grid


def quantized_calls(config: ModelConfig) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """As :func:`calls`, of the ops that take weights in float8; activations are bfloat16."""

    def new(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.bfloat16, device="meta")

    def weight(*shape: int) -> tuple[Tensor, Tensor, Tensor]:  # with bias and scale
        return new(*shape).to(FP8), new(*shape[:-1]), new(*shape[:-1]).float()

    for part, c, tokens, grid in parts(config):
        x, norm = new(BATCH, 1 + tokens, c), (new(c), new(c))
        (proj, proj_bias, scale), conv = weight(3, c, c), (new(3, 3, 3, c), new(3, c))
        qkv = x, *norm, *conv, proj, proj_bias, *grid, scale
        yield "dwconv_qkv", part, lambda qkv=qkv: dwconv_qkv(*qkv)
        (layer, bias, scale) = weight(c, c)
        yield "linear", part, lambda layer=(x, layer, bias, x, scale): linear(*layer)
        r = c * config.mlp_ratio
        (up, up_bias, up_scale), (down, down_bias, down_scale) = weight(r, c), weight(c, r)
        layers = x, *norm, up, up_bias, down, down_bias, up_scale, down_scale
        yield "mlp", part, lambda layers=layers: mlp(*layers)


def compile_all(wanted: Callable[[str, str, str, int], bool]) -> Iterator[Code]:
    """Code of every launch for which ``wanted(op, config, dtype, arch)``."""
    for config in ("avenue", "shanghaitech", "ped2"):
        for dtype in (torch.bfloat16, torch.float32, FP8):
            known = (89, 90, 100) if dtype == FP8 else (86, *ARCHS)
            for op, part, call in calls(CONFIGS[config], dtype):
                row = op, f"{config} {part}".strip(), TYPES[dtype]
                if archs := [arch for arch in known if wanted(*row, arch)]:
                    for launch in record(call):
                        for arch in archs:
                            yield compile_launch(*row, launch, arch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--op")
    parser.add_argument("--dtype", choices=["bf16", "fp32", "fp8e4nv"])
    parser.add_argument("--arch", type=int)
    parser.add_argument("--gates", action="store_true")
    o = parser.parse_args()
    if o.gates:
        with TABLE.open() as file:
            rows = {(row["op"], row["config"], row["dtype"], int(row["arch"])) for row in csv.DictReader(file)}
        for code in compile_all(lambda *row: row in rows):
            print(json.dumps(dataclasses.asdict(code)), flush=True)
    else:
        archs = [o.arch] if o.arch else (89, *ARCHS)
        for code in compile_all(
            lambda op, _config, dtype, arch: op == (o.op or op) and dtype == (o.dtype or dtype) and arch in archs
        ):
            print(code, flush=True)


if __name__ == "__main__":
    main()
