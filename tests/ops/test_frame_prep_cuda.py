"""The CUDA kernel of frame_prep: run on the host, and on a GPU where there is one."""

from __future__ import annotations

import ctypes

import pytest
import torch

from aedmae_fast.ops import frame_prep, native
from aedmae_fast.ops.frame_prep import MATRICES, frame_prep_reference
from tests.cuda_on_host import library
from tests.ops.test_frame_prep import KINDS, SHAPES, check_kernel, make_planes


class Args(ctypes.Structure):
    """``aedmae::FramePrep`` (csrc/common/frame_prep.h)."""

    _fields_ = (
        ("plane", ctypes.c_int64 * 3),
        ("frame_stride", ctypes.c_int64 * 3),
        ("row_stride", ctypes.c_int64 * 3),
        ("pixel_stride", ctypes.c_int64 * 3),
        *((name, ctypes.c_int32) for name in ("planes", "is_bgr", "sub_y", "sub_x", "kr", "kb", "full_range")),
        *((name, ctypes.c_int32) for name in ("frames", "height", "width")),
        ("out", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("out_height", "out_width", "bfloat16")),
    )


def on_host(planes, is_bgr, sub, kr, kb, full_range, source, out, size, bfloat16):  # type: ignore[no-untyped-def]
    """The kernel compiled for the host, with the signature of ``_cuda.frame_prep``."""
    columns = [(ctypes.c_int64 * 3)(*column) for column in zip(*planes, strict=True)]
    args = Args(*columns, len(planes), is_bgr, *sub, kr, kb, full_range, *source, out, *size, bfloat16)
    library("frame_prep").frame_prep(ctypes.byref(args))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_on_host_equals_the_reference(kind: str, shape: tuple[int, int, int, int]) -> None:
    h, w, height, width = shape
    check_kernel(on_host, make_planes(kind, 2, h, w, padding=7), height, width, "bt709", False)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full_range", [False, True])
def test_on_host_every_matrix_and_no_frames(matrix: str, full_range: bool) -> None:
    for frames in (0, 1):
        check_kernel(on_host, make_planes("420", frames, 21, 35), 16, 24, matrix, full_range)


def test_on_host_frames_one_after_another_in_a_thread() -> None:
    for kind in ("420", "bgr"):
        check_kernel(on_host, make_planes(kind, 19, 6, 10), 4, 7, "bt601", False)


def test_frames_beyond_32_bit_offsets_are_refused() -> None:
    module = pytest.importorskip("aedmae_fast._cuda", reason="the CUDA kernels were not built")
    with pytest.raises(ValueError, match="planes: expected frames that span less than 4 GiB"):
        module.frame_prep([(0, 0, 2**32, 1)], False, (1, 1), 2990, 1140, False, (1, 2, 1), 0, (1, 1), False, 0)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_on_gpu_equals_the_reference(kind: str, shape: tuple[int, int, int, int]) -> None:
    h, w, height, width = shape
    module = native.cuda()
    assert module is not None, native.why_no_cuda()
    planes = tuple(plane.cuda() for plane in make_planes(kind, 2, h, w, padding=7))
    stream = torch.cuda.current_stream().cuda_stream
    check_kernel(lambda *args: module.frame_prep(*args, stream), planes, height, width, "bt709", False)


@pytest.mark.needs_cuda
def test_on_gpu_operator_equals_the_cpu() -> None:
    planes = make_planes("420", 3, 90, 160)
    expected = frame_prep_reference(planes, 64, 128)
    with torch.cuda.stream(torch.cuda.Stream()):
        found = frame_prep([plane.cuda() for plane in planes], 64, 128).cpu()
    assert torch.equal(found, expected)
    on_gpu = [plane.cuda() for plane in planes]
    assert torch.equal(frame_prep(on_gpu, 64, 128, dtype=torch.bfloat16).cpu(), expected.bfloat16())
    torch.library.opcheck(torch.ops.aedmae.frame_prep.default, (on_gpu, 64, 128))
