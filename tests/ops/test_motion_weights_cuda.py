"""The CUDA kernels of motion_weights and its halves: on the host, in several orders of the threads, and on a GPU."""

from __future__ import annotations

import ctypes

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.config import CONFIGS
from aedmae_fast.ops import motion_gradient, motion_weights, native, patch_weights
from aedmae_fast.ops.motion_gradient import motion_gradient_reference
from aedmae_fast.ops.motion_gradient import write_cuda as write_gradient
from aedmae_fast.ops.motion_weights import motion_weights_reference, write_cuda
from aedmae_fast.ops.patch_weights import patch_weights_reference
from aedmae_fast.ops.patch_weights import write_cuda as write_patches
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
        *((name, ctypes.c_int64) for name in ("frames", "anomaly", "peaks", "out")),
        *((name, ctypes.c_int32) for name in ("count", "height", "width", "channels", "patch", "span")),
    )


class GradientArgs(ctypes.Structure):
    """``aedmae::MotionGradient``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("frames", "out", "size")),
        *((name, ctypes.c_int32) for name in ("count", "span")),
    )


# The kernels compiled for the host, with the signatures of ``_cuda``; ``order`` for the stream.


def call(name: str, args: ctypes.Structure, order: int) -> None:
    error = ctypes.create_string_buffer(200)
    getattr(library("motion_weights"), name)(ctypes.byref(args), order, error, ctypes.c_size_t(len(error)))
    if error.value:
        raise RuntimeError(error.value.decode())


def on_host(frames, shape, span, patch, out, order):  # type: ignore[no-untyped-def]
    call("motion_weights", Args(frames, 0, 0, out, *shape, patch, span), order)


def patches_on_host(gradient, shape, anomaly, peaks, patch, out, order):  # type: ignore[no-untyped-def]
    call("motion_weights", Args(gradient, anomaly, peaks, out, *shape, patch, 0), order)


def gradient_on_host(frames, shape, span, out, order):  # type: ignore[no-untyped-def]
    call("motion_gradient", GradientArgs(frames, out, shape[1] * shape[2] * shape[3], shape[0], span), order)


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


# Its halves


def run_gradient(kernel, frames: Tensor, kind: str, stream: int) -> None:  # type: ignore[no-untyped-def]
    """Every byte is written, and is the specification's."""
    for sentinel in (0x55, 0xAA):
        out = torch.full_like(frames, sentinel)
        write_gradient(kernel, frames, kind, out, stream)
        assert torch.equal(out, motion_gradient_reference(frames, kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 19])
def test_on_host_gradient(count: int, kind: str) -> None:
    for width in (7, 16, 400):  # 21 bytes a frame's row, 48; more than a block
        for order in (0, 2):
            run_gradient(gradient_on_host, noise(count, 4, width, 3), kind, order)


MOST_BLOCKS = 256  # of a grid along y (cuda_on_host.h; a GPU has 65535)


@pytest.mark.parametrize("kind", KINDS)
def test_on_host_gradient_of_more_frames_than_a_grid_takes(kind: str) -> None:
    run_gradient(gradient_on_host, noise(MOST_BLOCKS * 8 * 2 + 3, 1, 1, 3), kind, 0)


@pytest.mark.parametrize("anomaly", [False, True])
def test_more_rows_of_patches_than_a_grid_takes_are_refused(anomaly: bool) -> None:
    rows = MOST_BLOCKS * 4  # of a warp each
    run_patches(patches_on_host, noise(1, rows, 1, 3), 1, maps(0.3, 1, rows, 1) if anomaly else None, 0)
    gradient = noise(1, rows + 1, 1, 3)
    with pytest.raises(RuntimeError, match="gradient: expected at most 1024 rows of patches, found 1025"):
        run_patches(patches_on_host, gradient, 1, maps(0.3, 1, rows + 1, 1) if anomaly else None, 0)
    with pytest.raises(RuntimeError, match="frames: expected at most 1024 rows of patches, found 1025"):
        run(on_host, gradient, 1, "release", 0)


def exact_patches(gradient: Tensor, patch: int, anomaly: Tensor | None) -> Tensor:
    """The weights in float64, from the definition."""
    g = gradient.double()
    if anomaly is not None:
        strength = g.flatten(1).amax(dim=1).clamp(min=128)
        g = g + (anomaly.clamp(max=1) * strength[:, None, None])[..., None]
    b, h, w, c = g.shape
    motion = g.reshape(b, h // patch, patch, w // patch, patch, c).amax(dim=(2, 4)).mean(dim=-1).flatten(1)  # [B, L]
    total = motion.sum(dim=1, keepdim=True)
    return torch.where(total > 0, motion / total, 1 / motion.shape[1])


def run_patches(kernel, gradient: Tensor, patch: int, anomaly: Tensor | None, stream: int) -> Tensor:  # type: ignore[no-untyped-def]
    """Every weight is written, and right to the last bit but one."""
    b, h, w, _ = gradient.shape
    out = torch.full((b, h // patch * (w // patch)), torch.nan, device=gradient.device)
    write_patches(kernel, gradient, patch, anomaly, out, stream)
    expected = exact_patches(gradient, patch, anomaly)
    torch.testing.assert_close(out.double(), expected, rtol=2**-23, atol=0)
    return out


def maps(share: float, *shape: int, device: str = "cpu") -> Tensor:
    """Anomaly maps of 1 and 255 in a share of the pixels, and none in the first frame."""
    found = (torch.rand(shape) < share) * torch.randint(0, 2, shape).mul(254).add(1)
    found[:1] = 0
    return found.to(device, torch.uint8)


@pytest.mark.parametrize("share", [None, 0.001, 0.3, 1.0])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[2] < 16384], ids=str)
def test_on_host_patch_weights_in_every_order(shape: tuple[int, int, int, int, int], share: float | None) -> None:
    *size, patch = shape
    gradient = noise(*size) // 2 if share == 0.3 else noise(*size)  # a strength of 128, and of more
    anomaly = None if share is None else maps(share, *size[:3])
    found = [run_patches(patches_on_host, gradient, patch, anomaly, order) for order in ORDERS]
    assert all(torch.equal(other, found[0]) for other in found)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 4),
    tokens=st.tuples(st.integers(1, 6), st.integers(1, 12)),
    patch=st.integers(1, 17),
    channels=st.integers(1, 4),
    share=st.sampled_from([None, 0.0, 0.01, 0.5]),
    order=st.sampled_from(ORDERS),
)
def test_on_host_patch_weights_of_any_shape(
    count: int, tokens: tuple[int, int], patch: int, channels: int, share: float | None, order: int
) -> None:
    gradient = noise(count, tokens[0] * patch, tokens[1] * patch, channels)
    run_patches(patches_on_host, gradient, patch, None if share is None else maps(share, *gradient.shape[:3]), order)


def test_on_host_patch_weights_without_motion_and_with_all_of_it() -> None:
    gradient, anomaly = torch.zeros(2, 8, 16, 3, dtype=torch.uint8), torch.zeros(2, 8, 16, dtype=torch.uint8)
    anomaly[1, 0, 0] = 1
    assert run_patches(patches_on_host, gradient, 4, anomaly, 0).tolist() == [[1 / 8] * 8, [1.0] + [0.0] * 7]
    assert (run_patches(patches_on_host, gradient + 255, 4, anomaly + 255, 0) == 1 / 8).all()


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
    with pytest.raises(ValueError, match=r"frames: expected width \* channels in 1..49152, found 16385 \* 3"):
        motion_weights(torch.zeros(1, 1, 16385, 3, dtype=torch.uint8, device="cuda"), 1)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("share", [None, 0.3])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[2] < 16384], ids=str)
def test_on_gpu_halves(shape: tuple[int, int, int, int, int], share: float | None) -> None:
    *size, patch = shape
    module = native.cuda()
    assert module is not None, native.why_no_cuda()
    frames, stream = noise(*size, device="cuda"), torch.cuda.current_stream().cuda_stream
    run_gradient(module.motion_gradient, frames, "release", stream)
    run_gradient(module.motion_gradient, frames, "paper", stream)
    anomaly = None if share is None else maps(share, *size[:3], device="cuda")
    found = [run_patches(module.patch_weights, frames, patch, anomaly, stream) for _ in "12"]
    assert torch.equal(*found)


@pytest.mark.needs_cuda
def test_on_gpu_operators_of_the_halves() -> None:
    frames, anomaly = noise(5, 64, 128, 3, device="cuda"), maps(0.1, 5, 64, 128, device="cuda")
    for g, a in ((frames, anomaly), (frames[:, ::2, ::2], anomaly[:, ::2, ::2]), (frames[:0], None)):
        assert torch.equal(motion_gradient(g), motion_gradient_reference(g))
        torch.testing.assert_close(patch_weights(g, 8, a), patch_weights_reference(g, 8, a), rtol=1e-6, atol=0)
    torch.library.opcheck(torch.ops.aedmae.motion_gradient.default, (frames,))
    torch.library.opcheck(torch.ops.aedmae.patch_weights.default, (frames, 8, anomaly))
    with pytest.raises(ValueError, match=r"gradient: expected width \* channels in 1..49152, found 16384 \* 4"):
        patch_weights(torch.zeros(1, 1, 16384, 3, dtype=torch.uint8, device="cuda"), 1, anomaly.new_zeros(1, 1, 16384))
