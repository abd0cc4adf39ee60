"""The instruction sets of the CPU's kernels: which there are, which is best, and what is special about AMX."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aedmae_fast.ops import linear, native
from aedmae_fast.ops.packing import pack_weight

needs_amx = pytest.mark.skipif(
    "amx" not in native.cpu().isas(), reason=f"no AMX: {native.cpu().why_no_amx() or 'the CPU lacks its AVX-512'}"
)


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_last_one_is_in_use() -> None:
    assert native.cpu().isa() == native.cpu().isas()[-1]
    assert native.cpu().isas()[0] == "base"


def test_an_isa_this_machine_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match="'sse9' is not to be had; this build and this CPU have: base"):
        native.cpu().set_isa("sse9")
    assert native.cpu().isa() == native.cpu().isas()[-1]


@pytest.mark.parametrize("name", [*native.cpu().isas(), "sse9"])
def test_environment_forces_an_isa(name: str) -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import _cpu; print(_cpu.isa())"  # without torch: quick
    command = [sys.executable, "-c", program, str(Path(native.cpu().__file__).parent)]
    run = subprocess.run(
        command, env={**os.environ, "AEDMAE_CPU_ISA": name}, capture_output=True, text=True, check=False
    )
    if name == "sse9":
        assert "ValueError: CPU instruction set 'sse9' is not to be had" in run.stderr
    else:
        assert run.stdout.strip() == name


def test_an_isa_is_forced_whatever_the_environment_says() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import _cpu; _cpu.set_isa('base'); print(_cpu.isa())"
    command = [sys.executable, "-c", program, str(Path(native.cpu().__file__).parent)]
    run = subprocess.run(
        command, env={**os.environ, "AEDMAE_CPU_ISA": "sse9"}, capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "base", run.stderr


def test_where_bf16_is_slow_in_avx512_it_is_not_the_best() -> None:
    isas = native.cpu().isas()
    if "avx512_bf16" not in isas:
        pytest.skip("the CPU has no AVX512_BF16")
    intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    assert (isas.index("avx512_bf16") < isas.index("avx512_vnni")) == intel


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [1, 31, 32, 33, 96])
def test_a_row_does_not_depend_on_how_many_there_are(isa: str, k: int, dtype: torch.dtype) -> None:
    """Blocks of rows end anywhere: in the middle of a tile, after one, after two."""
    x, weight, bias = randn(70, k, seed=1).to(dtype), randn(40, k, seed=2).to(dtype), randn(40, seed=3).to(dtype)
    whole = linear(x, weight, bias)
    for rows in range(71):
        assert torch.equal(linear(x[:rows], weight, bias), whole[:rows])


@needs_amx
def test_tiles_are_a_thread_s_own() -> None:
    """Threads in different operations, PyTorch's among them, which has tiles of its own."""
    x, weight, bias = (
        randn(300, 128, seed=6).bfloat16(),
        randn(96, 128, seed=7).bfloat16(),
        randn(96, seed=8).bfloat16(),
    )
    packed = pack_weight(weight)
    ways: list[Callable[[], Tensor]] = [
        lambda: linear(x, packed, bias),
        lambda: linear(x[:5], packed, bias),
        lambda: torch.nn.functional.linear(x, weight, bias),
    ]
    expected = [way() for way in ways]
    with ThreadPoolExecutor(6) as threads:
        for i, found in enumerate(threads.map(lambda i: ways[i % 3](), range(300))):
            assert torch.equal(found, expected[i % 3])


@needs_amx
def test_a_process_that_may_not_use_amx_does_without_and_says_why() -> None:
    """Linux refuses it where the stack for signals has no room for the tiles."""
    program = """
import ctypes, sys
class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
room = ctypes.create_string_buffer(4096)
stack = Stack(ctypes.cast(room, ctypes.c_void_p), 0, len(room))
assert ctypes.CDLL(None, use_errno=True).sigaltstack(ctypes.byref(stack), None) == 0, ctypes.get_errno()
sys.path.insert(0, sys.argv[1])
import _cpu
print(_cpu.isas()[-1], _cpu.isa(), _cpu.why_no_amx(), sep="|")
"""
    folder = Path(native.cpu().__file__).parent
    run = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    last, used, reason = run.stdout.strip().split("|")
    assert last == used == native.cpu().isas()[-2]
    assert reason.startswith("the system refuses it to this process: ")
