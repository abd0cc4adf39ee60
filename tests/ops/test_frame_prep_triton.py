"""frame_prep in Triton: the specification, bit by bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aedmae_fast.ops import frame_prep as operator
from aedmae_fast.ops.frame_prep import MATRICES, frame_prep_reference
from aedmae_fast.ops.triton.frame_prep import frame_prep
from tests.ops.test_frame_prep import KINDS, SHAPES, Planes, make_planes
from tests.ops.triton_device import DEVICE

# Interpreted, a program takes a tenth of a second: results of one program, and of a few
FEW = [(1, 9, 5, 3), (9, 1, 3, 5), (37, 53, 20, 31), (27, 129, 9, 43), (20, 131, 10, 65), (18, 300, 6, 65)]


def check(
    planes: Planes,
    height: int,
    width: int,
    matrix: str = "bt709",
    full_range: bool = False,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Every level is written, and each is the specification's; memory that nobody wrote is NaN in bfloat16."""
    expected = frame_prep_reference(planes, height, width, matrix, full_range)
    found = frame_prep([plane.to(DEVICE) for plane in planes], height, width, matrix, full_range, dtype)
    assert found.dtype == dtype
    assert torch.equal(found.cpu(), expected.to(dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", FEW if DEVICE == "cpu" else SHAPES, ids=str)
def test_equals_the_reference(kind: str, shape: tuple[int, int, int, int]) -> None:
    h, w, height, width = shape
    check(make_planes(kind, 1, h, w, padding=7), height, width)


@pytest.mark.parametrize("kind", ["nv12", "grey", "bgr"])
def test_bytes(kind: str) -> None:
    check(make_planes(kind, 2, 37, 53), 12, 16, dtype=torch.uint8)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full_range", [False, True])
def test_every_matrix_and_extremes(matrix: str, full_range: bool) -> None:
    for fill in (0, 255, None):
        y, u, v = make_planes("420", 1, 21, 35, fill)
        check((255 - y, u, 255 - v), 13, 17, matrix, full_range)


@settings(deadline=None, max_examples=20)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    frames=st.integers(0, 3),
    source=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    padding=st.integers(0, 5),
)
def test_any_shape(kind: str, frames: int, source: tuple[int, int], target: tuple[int, int], padding: int) -> None:
    check(make_planes(kind, frames, *source, padding=padding), *target)


def test_awkward_strides() -> None:
    y, u, v = make_planes("420", 3, 32, 48)
    for planes in (
        (y[::2], u[::2], v[:1].expand(2, -1, -1)),
        (y.mT, u.mT, v.mT),
        (y[:, :, ::2], u[:, :, ::2], v[:, :, ::2]),
        (torch.randint(0, 256, (2, 32, 48, 4), dtype=torch.uint8)[..., :3],),
        (y, u[:, :1, :1].expand_as(u), v),
    ):
        check(planes, 12, 20)


@pytest.mark.needs_cuda
def test_on_gpu_it_is_used_where_the_cuda_kernel_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aedmae_fast.ops.native.cuda", lambda: None)
    planes = make_planes("420", 2, 30, 50)
    on_gpu = [plane.cuda() for plane in planes]
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = operator(on_gpu, 16, 24)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found.cpu(), frame_prep_reference(planes, 16, 24))
