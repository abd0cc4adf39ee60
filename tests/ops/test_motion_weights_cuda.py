"""The CUDA kernels of motion_weights: run on the host, in several orders of the threads, and on a GPU."""

from __future__ import annotations

import ctypes

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.config import CONFIGS
from aedmae_fast.ops import motion_weights, native
from aedmae_fast.ops.motion_gradient import motion_gradient
from aedmae_fast.ops.motion_weights import motion_weights_reference, write_cuda
from tests.cuda_on_host import ORDERS, library

KINDS = ("paper", "release")
SHAPES = [  # T, H, W, C, patch
    (1, 4, 4, 1, 4),
    (2, 6, 9, 3, 3),  # rows of 27 bytes: no load but single bytes
    (3, 16, 32, 3, 16),  # one row of patches
    (4, 80, 160, 3, 4),  # several rows of patches a block, the last block half empty
    (3, 12, 52, 4, 4),  # 13 vectors a row: less than a warp
    (2, 8, 2800, 3, 8),  # more vectors a row than threads
    (2, 2, 16384, 3, 2),  # the widest
    (3, 21, 14, 9, 7),
    (3, 4, 6, 3, 1),  # patches of one pixel
    (2, 5, 7, 1, 1),
]


class Args(ctypes.Structure):
    """``aedmae::MotionWeights`` (csrc/cuda/motion_weights.h)."""

    _fields_ = (
        ("frames", ctypes.c_int64),
        ("out", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("count", "height", "width", "channels", "patch", "release")),
    )


def on_host(frames, shape, patch, release, out, order):  # type: ignore[no-untyped-def]
    """The kernels compiled for the host, with the signature of ``_cuda.motion_weights``; ``order`` for the stream."""
    args = Args(frames, out, *shape, patch, release)
    library("motion_weights").motion_weights(ctypes.byref(args), order)


def exact(frames: Tensor, patch: int, kind: str) -> Tensor:
    """The weights in float64, from the definition."""
    t, h, w, c = frames.shape
    patches = motion_gradient(frames, kind).double().reshape(t, h // patch, patch, w // patch, patch, c)
    motion = patches.amax(dim=(2, 4)).mean(dim=-1).flatten(1)  # [T, L]
    total = motion.sum(dim=1, keepdim=True)
    return torch.where(total > 0, motion / total, 1 / motion.shape[1])


def run(kernel, frames: Tensor, patch: int, kind: str, stream: int) -> Tensor:  # type: ignore[no-untyped-def]
    """Every weight is written, and right to the last bit but one."""
    t, h, w, _ = frames.shape
    out = torch.full((t, h // patch * (w // patch)), torch.nan, device=frames.device)
    write_cuda(kernel, frames, patch, kind, out, stream)
    torch.testing.assert_close(out.double(), exact(frames, patch, kind), rtol=2**-23, atol=0)
    return out


def noise(*shape: int, device: str = "cpu") -> Tensor:
    """Frames in which no patch is like another: noise of a strength that grows along the tokens."""
    strength = torch.linspace(0, 255, shape[1] * shape[2]).reshape(1, shape[1], shape[2], 1)
    return (torch.rand(shape) * strength).to(torch.uint8).to(device)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_on_host_equals_float64_in_every_order(shape: tuple[int, int, int, int, int], kind: str) -> None:
    *size, patch = shape
    frames = noise(*size)
    found = [run(on_host, frames, patch, kind, order) for order in ORDERS]
    assert all(torch.equal(other, found[0]) for other in found)


@pytest.mark.parametrize("name", CONFIGS)
def test_on_host_every_configuration(name: str) -> None:
    config = CONFIGS[name]
    run(on_host, noise(3, config.height, config.width, 3), config.patch, "release", 2)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 4),
    tokens=st.tuples(st.integers(1, 6), st.integers(1, 12)),
    patch=st.integers(1, 17),
    channels=st.integers(1, 4),
    offset=st.integers(0, 17),
    kind=st.sampled_from(KINDS),
    order=st.sampled_from(ORDERS),
)
def test_on_host_any_shape_and_address(
    count: int, tokens: tuple[int, int], patch: int, channels: int, offset: int, kind: str, order: int
) -> None:
    shape = (count, tokens[0] * patch, tokens[1] * patch, channels)
    memory = torch.empty(offset + noise(*shape).numel(), dtype=torch.uint8)
    frames = memory[offset:].view(shape).copy_(noise(*shape))
    run(on_host, frames, patch, kind, order)


def test_on_host_no_motion_is_uniform_and_extremes_are_exact() -> None:
    still = torch.full((3, 16, 32, 3), 255, dtype=torch.uint8)
    assert (run(on_host, still, 8, "release", 0) == 1 / 8).all()
    blinking = still * torch.tensor([0, 1, 0]).to(torch.uint8).reshape(3, 1, 1, 1)
    assert (run(on_host, blinking, 8, "paper", 0) == 1 / 8).all()
    one = torch.zeros(2, 16, 32, 3, dtype=torch.uint8)
    one[1, 15, 31, 2] = 1
    assert run(on_host, one, 8, "paper", 1).tolist() == [[1 / 8] * 8, [0.0] * 7 + [1.0]]


# On a GPU


@pytest.mark.needs_cuda
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_on_gpu_equals_float64(shape: tuple[int, int, int, int, int], kind: str) -> None:
    *size, patch = shape
    module = native.cuda()
    assert module is not None, native.why_no_cuda()
    frames = noise(*size, device="cuda")
    found = [run(module.motion_weights, frames, patch, kind, torch.cuda.current_stream().cuda_stream) for _ in "12"]
    assert torch.equal(*found)


@pytest.mark.needs_cuda
def test_on_gpu_operator() -> None:
    frames = noise(5, 64, 128, 3, device="cuda")
    for each in (frames, frames[:, ::2, ::2], frames[:1], frames[:0]):
        torch.testing.assert_close(motion_weights(each, 8), motion_weights_reference(each, 8), rtol=1e-6, atol=0)
    torch.library.opcheck(torch.ops.aedmae.motion_weights.default, (frames, 8))
    with pytest.raises(ValueError, match=r"frames: expected width \* channels in 1..49152, found 49155"):
        motion_weights(torch.zeros(1, 1, 16385, 3, dtype=torch.uint8, device="cuda"), 1)
