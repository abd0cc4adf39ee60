"""What other pipelines build on: arrays through DLPack, the header and the library, the programs in examples/."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

import aedmae_fast
from aedmae_fast import linking, ops
from aedmae_fast.ops import dlpack
from aedmae_fast.video import open_video
from tests.ops.data import random_bytes

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "other_pipeline"
CLIP = ROOT / "examples" / "scene" / "test" / "01.mp4"
SIZE, PATCH = (160, 320), 8  # of the examples


class Array:
    """An array of a library that torch knows nothing of."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __dlpack__(self, **options: Any) -> Any:
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.tensor.__dlpack_device__()

    def __array_namespace__(self) -> type[Array]:
        return Array

    @staticmethod
    def from_dlpack(x: Any) -> Array:
        return Array(torch.from_dlpack(x))


# DLPack


def test_every_op_takes_arrays() -> None:
    for name in ops.__all__:
        assert getattr(dlpack, name).__doc__ == getattr(ops, name).__doc__
    with pytest.raises(AttributeError, match=r"'aedmae_fast\.ops\.dlpack' has no attribute 'other'"):
        dlpack.other  # noqa: B018


def test_numpy_arrays_in_and_out() -> None:
    frames = random_bytes(3, 16, 24, 3)
    weights = dlpack.motion_weights(frames.numpy()[:, ::2], patch=4)
    assert isinstance(weights, np.ndarray)
    np.testing.assert_array_equal(weights, ops.motion_weights(frames[:, ::2], 4))
    resized = dlpack.frame_prep([frames.numpy()], 8, 12)  # arrays in a list
    np.testing.assert_array_equal(resized, ops.frame_prep([frames], 8, 12))
    anomaly = np.ones((3, 16, 24), np.uint8)
    np.testing.assert_array_equal(
        dlpack.patch_weights(frames.numpy(), 4, anomaly_map=anomaly),
        ops.patch_weights(frames, 4, torch.from_numpy(anomaly)),
    )


def test_results_are_of_the_first_arguments_library() -> None:
    maps, windows = torch.rand(3, 5, 7), torch.tensor([[0, 1, 2]])
    found = dlpack.mean_map(Array(maps), windows.numpy())
    assert isinstance(found, Array)
    assert torch.equal(found.tensor, ops.mean_map(maps, windows))
    assert isinstance(dlpack.mean_map(maps, windows), torch.Tensor)
    states, head, bias = torch.randn(1, 4, 6), torch.randn(16, 6), torch.randn(16)
    arrays = [x.numpy() for x in (states, states, head, bias, head, bias, random_bytes(1, 4, 4, 3))]
    error_map, means = dlpack.discrepancy_map(*arrays, patch=2, error="L1", weights=(1.0, 0.5, 0.0))
    assert (error_map.shape, means.shape) == ((1, 4, 4), (1, 3))
    assert isinstance(means, np.ndarray)


def test_arrays_lend_their_memory() -> None:
    """Read-only ones too; nothing is copied on the way in."""
    seen: list[int] = []
    array = random_bytes(2, 4, 4, 3).numpy()
    array.flags.writeable = False
    dlpack._of_arrays(lambda x: seen.append(x.data_ptr()) or x)(array)
    assert seen == [array.ctypes.data]


def test_errors_are_those_of_the_ops() -> None:
    with pytest.raises(TypeError, match=r"frames: expected uint8, found torch\.float32"):
        dlpack.motion_gradient(np.zeros((2, 4, 4, 3), np.float32))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x]], ids=["array", "list"])
def test_an_array_that_runs_backwards_is_refused(wrap: Callable[[Any], Any]) -> None:
    """torch.from_dlpack would end the process."""
    frames = random_bytes(3, 8, 8, 3).numpy()
    with pytest.raises(ValueError, match=r"\(3, 8, 8, 3\): expected no negative strides, .* np\.ascontiguousarray"):
        dlpack.frame_prep(wrap(frames[::-1]), 8, 8)
    one = frames[:1][::-1]  # of a single frame it says nothing
    np.testing.assert_array_equal(dlpack.motion_gradient(one), ops.motion_gradient(torch.from_numpy(frames[:1])))


# The header and the library


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    found = ctypes.CDLL(str(Path(aedmae_fast.get_library_dir(), "libaedmae_fast.so")))
    found.aedmae_isa.restype = ctypes.c_char_p
    found.aedmae_mean_max.restype = ctypes.c_float
    return found


def test_the_header_is_plain_c(tmp_path: Path) -> None:
    source = tmp_path / "use.c"
    same = "aedmae_isa() != 0 && aedmae_abi() == AEDMAE_FAST_ABI"
    source.write_text(f"#include <aedmae_fast/cpu.h>\nint main(void) {{ return !({same}); }}\n")
    library_dir = aedmae_fast.get_library_dir()
    link = [f"-L{library_dir}", "-laedmae_fast", f"-Wl,-rpath,{library_dir}"]
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", str(source), "-o", str(tmp_path / "use")]
    subprocess.run([*command, f"-I{aedmae_fast.get_include()}", *link], check=True)
    subprocess.run([str(tmp_path / "use")], check=True)


def test_the_library_and_the_module_share_the_instruction_set(library: ctypes.CDLL) -> None:
    assert library.aedmae_set_isa(b"base") == 0
    assert ops.native.cpu().isa() == "base"
    assert library.aedmae_set_isa(b"sse9") == -1
    assert library.aedmae_isa() == b"base"
    assert library.aedmae_set_isa(b"auto") == 0


@pytest.mark.parametrize("first", ["aedmae_isa()", "aedmae_mean_max(maps, 1, ctypes.c_int64(1), None)"])
def test_the_library_does_without_an_instruction_set_that_is_not_to_be_had(first: str) -> None:
    """An exception would end a program in C: the best one is taken."""
    program = f"""
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.aedmae_isa.restype = ctypes.c_char_p
value = ctypes.c_float(1)
maps = (ctypes.c_void_p * 1)(ctypes.addressof(value))
library.{first}
print(library.aedmae_isa().decode(), library.aedmae_set_isa(b"base"), library.aedmae_isa().decode())
print(library.aedmae_set_isa(b"sse9"), library.aedmae_set_isa(None), library.aedmae_isa().decode())
"""
    path = Path(aedmae_fast.get_library_dir(), "libaedmae_fast.so")
    environment = {**os.environ, "AEDMAE_CPU_ISA": "sse9"}
    done = subprocess.run([sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [ops.native.cpu().isas()[-1], "0", "base", "-1", "-1", "base"], done.stderr


def test_the_librarys_functions_are_the_ops(library: ctypes.CDLL) -> None:
    image, out = torch.rand(9, 20), torch.empty(9, 20)
    address = [ctypes.c_void_p(x.data_ptr()) for x in (image, out)]
    library.aedmae_mean_filter(address[0], ctypes.c_int64(20), 9, 20, 3, 5, address[1])
    assert torch.equal(out, ops.mean_filter(image, (3, 5)))
    maps = (ctypes.c_void_p * 2)(image.data_ptr(), out.data_ptr())
    value, pixel = ops.mean_max(torch.stack([image, out]), torch.tensor([[0, 1]]))
    found = ctypes.c_int64()
    for place in (ctypes.byref(found), None):
        assert library.aedmae_mean_max(maps, 2, ctypes.c_int64(180), place) == value
    assert found.value == pixel


class Planes(ctypes.Structure):
    """aedmae_planes of the header."""

    _fields_ = [
        ("plane", ctypes.c_void_p * 3),
        *[(f"{name}_stride", ctypes.c_int64 * 3) for name in ("frame", "row", "pixel")],
        *[(name, ctypes.c_int32) for name in ("planes", "is_bgr", "sub_y", "sub_x", "kr", "kb", "full_range")],
        *[(name, ctypes.c_int32) for name in ("count", "height", "width", "out_height", "out_width", "bfloat16")],
        ("out", ctypes.c_void_p),
    ]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16], ids=["uint8", "bf16"])
def test_the_librarys_frame_prep_is_the_op(library: ctypes.CDLL, dtype: torch.dtype) -> None:
    y, uv, out = random_bytes(2, 12, 20), random_bytes(2, 6, 10, 2), torch.empty(2, 6, 9, 3, dtype=dtype)
    planes = y, *uv.unbind(-1)  # NV12
    strides = [(ctypes.c_int64 * 3)(*[p.stride(i) for p in planes]) for i in range(3)]
    addresses = (ctypes.c_void_p * 3)(*[p.data_ptr() for p in planes])
    bfloat16 = dtype == torch.bfloat16
    args = Planes(addresses, *strides, 3, 0, 2, 2, 2126, 722, 1, 2, 12, 20, 6, 9, bfloat16, out.data_ptr())
    library.aedmae_frame_prep(ctypes.byref(args))
    assert torch.equal(out, ops.frame_prep(planes, 6, 9, "bt709", full_range=True, dtype=dtype))


def test_a_tree_that_was_never_built_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "PACKAGE", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"libaedmae_fast\.so: never built"):
        linking.get_library_dir()


# The examples


def small_frames() -> torch.Tensor:
    with av.open(str(CLIP)) as video:
        bgr = np.stack([frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)])
    return ops.frame_prep([torch.from_numpy(bgr)], *SIZE)


def run(*command: object, feed: bytes = b"") -> list[list[float]]:
    done = subprocess.run([str(part) for part in command], input=feed, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [[float(value) for value in line.split()] for line in done.stdout.decode().splitlines()]


def strongest(weights: torch.Tensor) -> list[list[float]]:
    """Frame, top and left of its strongest patch, and its weight."""
    share, patch = weights.max(dim=1)
    across = SIZE[1] // PATCH
    places = [(p // across * PATCH, p % across * PATCH) for p in patch.tolist()]
    return [[t, y, x, s] for t, ((y, x), s) in enumerate(zip(places, share.tolist(), strict=True))]


def test_cpp_program(tmp_path: Path) -> None:
    program, library_dir = tmp_path / "motion", aedmae_fast.get_library_dir()
    compile_ = ["g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", EXAMPLES / "motion.cpp", "-o", program]
    link = [f"-L{library_dir}", "-laedmae_fast", f"-Wl,-rpath,{library_dir}"]
    subprocess.run([*map(str, compile_), f"-I{aedmae_fast.get_include()}", *link], check=True)
    frames = small_frames()
    found = run(program, SIZE[1], SIZE[0], PATCH, feed=frames.numpy().tobytes())
    np.testing.assert_allclose(found, strongest(ops.motion_weights(frames, PATCH, "paper")), atol=1e-6)


def test_numpy_loop() -> None:
    frames = small_frames()
    change = ops.motion_gradient(frames, "paper").float().mean(-1)
    windows = torch.arange(len(change))[:, None] - torch.arange(9).flip(0)  # the last nine frames, oldest first
    score, pixel = ops.mean_max(ops.mean_filter(change, (9, 9)), windows)
    expected = torch.stack([torch.arange(len(score)), score, pixel % SIZE[1], pixel // SIZE[1]], dim=1)
    np.testing.assert_allclose(run(sys.executable, EXAMPLES / "numpy_loop.py", CLIP), expected, rtol=1e-4)


def test_torch_loop() -> None:
    planes = [torch.cat(plane) for plane in zip(*[chunk.planes for chunk in open_video(CLIP)], strict=True)]
    frames = ops.frame_prep(planes, *SIZE)
    found = run(sys.executable, EXAMPLES / "torch_loop.py", CLIP)
    assert len(found) > 16  # the loader's batches: where they meet shows in nothing
    np.testing.assert_allclose(found, strongest(ops.motion_weights(frames, PATCH, "paper")), atol=1e-6)
