"""frame_prep: the specification against float64 and OpenCV; the C++ of every instruction set against it, bit by bit."""

from __future__ import annotations

import ctypes
import mmap
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.ops import frame_prep, native
from aedmae_fast.ops.frame_prep import DTYPES, MATRICES, coefficients, frame_prep_reference, write

Planes = tuple[Tensor, ...]
KINDS = {  # chroma's sub-sampling (y, x)
    "420": (2, 2),
    "422": (1, 2),
    "440": (2, 1),
    "444": (1, 1),
    "nv12": (2, 2),  # U and V take turns
    "nv21": (2, 2),  # V and U do
    "nv16": (1, 2),
    "ycc": (1, 1),  # Y, U and V do
    "grey": None,
    "bgr": None,
}
SHAPES = [  # H, W -> height, width
    (1, 1, 1, 1),
    (1, 1, 7, 9),
    (1, 9, 5, 3),
    (9, 1, 3, 5),
    (2, 2, 5, 5),
    (37, 53, 20, 31),  # down, odd
    (37, 53, 80, 131),  # up, odd
    (40, 64, 20, 64),  # same width: nothing to interpolate
    (48, 192, 16, 64),  # a third: every weight is 0
    (27, 129, 9, 43),  # a third, odd
    (34, 130, 17, 65),  # a half: the most a whole row is converted for
    (20, 131, 10, 65),  # just over a half: only what is read
    (18, 259, 6, 65),  # nearly a quarter: windows of 16 bytes still hold four pairs
    (18, 300, 6, 65),
    (30, 1000, 10, 100),  # a tenth: they no longer do
    (12, 1100, 4, 100),  # an eleventh: every weight is 0
    (2, 8191, 3, 8192),  # weights that round to 2048 of 2048
]


def make_planes(kind: str, frames: int, height: int, width: int, fill: int | None = None, padding: int = 0) -> Planes:
    """Planes of one kind: random, or all ``fill``; every row followed by ``padding`` samples, every frame by a row."""

    def plane(rows: int, columns: int, *channels: int) -> Tensor:
        size = (frames, rows + (padding > 0), columns + padding, *channels)
        full = torch.randint(0, 256, size) if fill is None else torch.full(size, fill)
        return full.to(torch.uint8)[:, :rows, :columns]

    if kind in ("grey", "bgr"):
        return (plane(height, width, *([3] if kind == "bgr" else [])),)
    sub_y, sub_x = KINDS[kind]
    chroma = (-(-height // sub_y), -(-width // sub_x))
    if kind == "ycc":
        return plane(height, width, 3).unbind(-1)
    if kind.startswith("nv"):
        u, v = plane(*chroma, 2).unbind(-1)
        return (plane(height, width), v, u) if kind == "nv21" else (plane(height, width), u, v)
    return plane(height, width), plane(*chroma), plane(*chroma)


def exact_colours(planes: Planes, matrix: str, full_range: bool) -> np.ndarray:
    """Float64 BGR of 4:4:4 planes, by the standards' formulas and not by this project's: [T, H, W, 3]."""
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[matrix]
    y, u, v = (p.numpy().astype(np.float64) for p in planes)
    offset, y_range, c_range = (0, 255, 255) if full_range else (16, 219, 224)
    y, u, v = (y - offset) / y_range, (u - 128) / c_range, (v - 128) / c_range
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(255 * np.stack([blue, green, red], -1), 0, 255)


def check_kernel(kernel: object, planes: Planes, height: int, width: int, *args: object) -> None:
    """A kernel writes every level, and each is the specification's, in both dtypes."""
    expected = frame_prep_reference(planes, height, width, *args)
    for sentinel, dtype in ((0x55, torch.uint8), (0xAA, torch.uint8), (torch.nan, torch.bfloat16)):
        out = torch.full_like(expected, sentinel, dtype=dtype)
        write(kernel, planes, out, *args)
        torch.testing.assert_close(out, expected.to(dtype), rtol=0, atol=0)


# The specification


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_are_within_one_level_of_float64(matrix: str, full_range: bool) -> None:
    planes = make_planes("444", 2, 61, 67)
    found = frame_prep_reference(planes, 61, 67, matrix, full_range).numpy()
    assert np.abs(found - exact_colours(planes, matrix, full_range)).max() <= 1


def test_grey_and_neutral_chroma_agree() -> None:
    y = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    neutral = torch.full((1, 8, 8), 128, dtype=torch.uint8)
    for full_range in (False, True):
        grey = frame_prep_reference((y,), 16, 16, "bt709", full_range)
        torch.testing.assert_close(grey, frame_prep_reference((y, neutral, neutral), 16, 16, "bt709", full_range))
        assert (grey[..., :1] == grey).all()
    assert torch.equal(grey[..., 0], y)  # full range: luma itself


@pytest.mark.parametrize("kind", ["420", "422", "440"])
def test_chroma_is_centre_sited_bilinear(kind: str) -> None:
    """As by resizing chroma with half-pixel centres to the luma grid, then converting: within 2 levels."""
    planes = make_planes(kind, 1, 24, 36)
    whole = tuple(torch.from_numpy(cv2.resize(p[0].numpy(), (36, 24)))[None] for p in planes)
    found, expected = frame_prep_reference(planes, 24, 36).int(), frame_prep_reference(whole, 24, 36).int()
    assert (found - expected).abs().max() <= 2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_resizing_is_within_one_level_of_opencv(shape: tuple[int, int, int, int]) -> None:
    h, w, height, width = shape
    (bgr,) = make_planes("bgr", 1, h, w)
    expected = cv2.resize(bgr[0].numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
    found = frame_prep_reference((bgr,), height, width)[0].numpy()
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_whole_path_is_close_to_opencv() -> None:
    """Colour by OpenCV (which repeats chroma, and takes luma under 16 for 16), then its resize: within 3 levels."""
    y = (16 + np.add.outer(np.arange(96), np.arange(128))).astype(np.uint8)
    u, v = np.ascontiguousarray(y[::2, ::2] // 2 + 60), np.ascontiguousarray(200 - y[::2, ::2] // 2)
    i420 = np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(-1, 128)
    expected = cv2.resize(cv2.cvtColor(i420, cv2.COLOR_YUV2BGR_I420), (80, 40))
    found = frame_prep_reference([torch.from_numpy(p)[None] for p in (y, u, v)], 40, 80)[0].numpy()
    assert np.abs(found.astype(int) - expected).max() <= 3


def test_coefficients_fit_their_types() -> None:
    for matrix in MATRICES:
        for full_range in (False, True):
            offset, y, *chroma = coefficients(matrix, full_range)
            assert all(-(2**15) <= c < 2**15 for c in (y, *chroma))
            assert 4080 * y + 2048 * sum(abs(c) for c in chroma) + 2**16 < 2**31
            assert offset == (0 if full_range else 16)


def test_bfloat16_holds_the_same_levels() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3)
    found = frame_prep_reference((levels,), 16, 16, dtype=torch.bfloat16)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.double(), levels.double())


# The C++ kernels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_isa_equals_the_reference(isa: str, kind: str, shape: tuple[int, int, int, int]) -> None:
    h, w, height, width = shape
    kernel = native.cpu().frame_prep
    for padding in (0, 13):
        check_kernel(kernel, make_planes(kind, 2, h, w, padding=padding), height, width, "bt709", False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fill", [0, 255])
def test_extremes(isa: str, kind: str, fill: int) -> None:
    for matrix in MATRICES:
        for full_range in (False, True):
            planes = make_planes(kind, 1, 21, 70, fill)
            check_kernel(native.cpu().frame_prep, planes, 11, 90, matrix, full_range)
            if len(planes) == 3:  # luma at one end, chroma at the other
                mixed = (255 - planes[0], planes[1], 255 - planes[2])
                check_kernel(native.cpu().frame_prep, mixed, 11, 90, matrix, full_range)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(KINDS)),
    frames=st.integers(0, 3),
    source=st.tuples(st.integers(1, 70), st.integers(1, 700)),
    target=st.tuples(st.integers(1, 70), st.integers(1, 300)),
    matrix=st.sampled_from(sorted(MATRICES)),
    full_range=st.booleans(),
    padding=st.integers(0, 70),
)
def test_any_shape(
    isa: str,
    kind: str,
    frames: int,
    source: tuple[int, int],
    target: tuple[int, int],
    matrix: str,
    full_range: bool,
    padding: int,
) -> None:
    planes = make_planes(kind, frames, *source, padding=padding)
    check_kernel(native.cpu().frame_prep, planes, *target, matrix, full_range)


def test_nothing_around_the_result_is_written(isa: str) -> None:
    planes = make_planes("420", 1, 36, 100)
    for dtype in DTYPES:
        room = torch.full((3, 20, 50, 3), 9, dtype=dtype)
        write(native.cpu().frame_prep, planes, room[1:2], "bt601", False)
        assert torch.equal(room[1:2], frame_prep_reference(planes, 20, 50, dtype=dtype))
        assert (room[::2] == 9).all()


def test_a_plan_is_kept_for_its_geometry_alone(isa: str) -> None:
    """Whatever a call differs in from the one before: sizes, layout, matrix, range, the number of planes."""
    calls = [(kind, 21, 70, 11, 90, "bt601", False) for kind in KINDS]
    calls += [
        ("420", 21, 71, 11, 90, "bt601", False),
        ("420", 21, 71, 11, 30, "bt601", False),
        ("420", 21, 71, 11, 30, "bt709", False),
        ("420", 21, 71, 11, 30, "bt709", True),
        ("grey", 40, 71, 9, 30, "bt709", True),
    ]
    for kind, h, w, height, width, matrix, full_range in [*calls, *calls[::-1]]:
        planes = make_planes(kind, 1, h, w)
        check_kernel(native.cpu().frame_prep, planes, height, width, matrix, full_range)


def before_forbidden_memory(planes: Planes) -> Planes:
    """Copies, packed alike, that end where a page begins that must not be read."""
    found: list[Tensor] = []
    for storage in {plane.untyped_storage().data_ptr(): plane.untyped_storage() for plane in planes}.values():
        size, page = storage.nbytes(), mmap.PAGESIZE
        memory = mmap.mmap(-1, 2 * page)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + page), ctypes.c_size_t(page), 0) == 0
        copy = torch.frombuffer(memory, dtype=torch.uint8, count=size, offset=page - size)
        copy.copy_(torch.empty(0, dtype=torch.uint8).set_(storage))
        of_storage = [p for p in planes if p.untyped_storage().data_ptr() == storage.data_ptr()]
        start = copy.storage_offset()
        found += [copy.as_strided(p.shape, p.stride(), start + p.storage_offset()) for p in of_storage]
    return tuple(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [20, 50, 101, 150])
def test_nothing_past_the_planes_is_read(isa: str, kind: str, width: int) -> None:
    """Reading on would end the process: vectors are wider than rows."""
    planes = make_planes(kind, 1, 7, 101)
    guarded = before_forbidden_memory(planes)
    assert all(torch.equal(g, p) and g.stride() == p.stride() for g, p in zip(guarded, planes, strict=True))
    assert torch.equal(frame_prep(guarded, 5, width), frame_prep_reference(planes, 5, width))


# The operator


def test_operator_equals_the_reference_on_awkward_strides() -> None:
    y, u, v = make_planes("420", 3, 32, 48)
    variants: list[Planes] = [
        (y[::2], u[::2], v[::2]),  # strided frames
        (y.flip(0)[1:], u[1:], v[:1].expand(2, -1, -1)),  # one frame of V for all
        (y.mT, u.mT, v.mT),  # columns contiguous
        (y[:, :, ::2], u[:, :, ::2], v[:, :, ::2]),  # every second column
        (torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8).movedim(1, 3),),  # BGR as planes
        (torch.randint(0, 256, (2, 32, 48, 4), dtype=torch.uint8)[..., :3],),  # BGRA
        (y[:1].expand(3, -1, -1), u, v),
        torch.randint(0, 256, (2, 32, 48, 3), dtype=torch.uint8).flip(-1).unbind(-1)[::-1],  # V, U, Y in memory
        (y, u[:, :1, :1].expand_as(u), v),  # one sample for all
    ]
    for planes in variants:
        for width in (24, 30, 48):
            assert torch.equal(frame_prep(planes, 20, width), frame_prep_reference(planes, 20, width))


def test_packed_formats_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "contiguous", lambda *_: pytest.fail("copied"))
    monkeypatch.setattr(Tensor, "clone", lambda *_: pytest.fail("copied"))
    seen: list[tuple[int, ...]] = []
    for kind in ("nv12", "ycc", "bgr"):
        planes = make_planes(kind, 1, 8, 12)
        write(lambda rows, *_: seen.extend(rows), planes, torch.empty(1, 4, 6, 3, dtype=torch.uint8), "bt601", False)
        starts = [planes[0][..., c] for c in range(3)] if kind == "bgr" else planes
        assert seen == [(p.data_ptr(), *p.stride()) for p in starts]
        seen.clear()


def test_defaults_are_the_operators() -> None:
    planes = make_planes("420", 1, 16, 16)
    expected = frame_prep_reference(planes, 8, 8, "bt601", False)
    assert torch.equal(frame_prep(planes, 8, 8), expected)
    assert torch.equal(torch.ops.aedmae.frame_prep(planes, 8, 8), expected)
    assert expected.dtype == torch.uint8


def test_no_frames() -> None:
    assert frame_prep(make_planes("420", 0, 16, 16), 8, 12).shape == (0, 8, 12, 3)


@pytest.mark.parametrize("kind", ["420", "grey", "bgr"])
def test_opcheck(kind: str) -> None:
    planes = list(make_planes(kind, 2, 20, 30, padding=3))
    for dtype in DTYPES:
        torch.library.opcheck(torch.ops.aedmae.frame_prep.default, (planes, 16, 24, "bt709", True, dtype))


def test_torch_compile_takes_it_whole() -> None:
    def both(planes: Planes) -> Tensor:
        return frame_prep(planes, 16, 24) + frame_prep(planes, 16, 24, dtype=torch.bfloat16) / 2

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    for frames in (1, 2):
        planes = make_planes("420", frames, 20, 30)
        assert torch.equal(compiled(planes), both(planes))


def test_threads_do_not_disturb_each_other() -> None:
    jobs = [make_planes("420", 2, 90 + 6 * i, 300 - 20 * i) for i in range(8)]
    expected = [frame_prep_reference(planes, 40, 80) for planes in jobs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = list(pool.map(lambda planes: frame_prep(planes, 40, 80), jobs))
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


Y, HALF = torch.zeros(2, 8, 10, dtype=torch.uint8), torch.zeros(2, 4, 5, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("error", "match", "planes", "rest"),
    [
        (TypeError, r"planes: expected a list or tuple of tensors, found Tensor", Y, (4, 4)),
        (TypeError, r"planes: expected a list or tuple of tensors, found Tensor, ndarray", (Y, Y.numpy()), (4, 4)),
        (TypeError, r"planes: expected dtype uint8, found torch.float32", (Y.float(),), (4, 4)),
        (TypeError, r"height: expected an int, found float", (Y,), (4.0, 4)),
        (TypeError, r"width: expected an int, found bool", (Y,), (4, True)),
        (
            TypeError,
            r"dtype: expected torch.uint8 or torch.bfloat16, found torch.float32",
            (Y,),
            (4, 4, "bt601", False, torch.float32),
        ),
        (TypeError, r"dtype: expected torch.uint8 or torch.bfloat16, found bf16", (Y,), (4, 4, "bt601", False, "bf16")),
        (ValueError, r"height: expected 1..16384, found 0", (Y,), (0, 4)),
        (ValueError, r"width: expected 1..16384, found 16385", (Y,), (4, 16385)),
        (ValueError, r"matrix: expected one of bt601, bt709, bt2020, found 'rec709'", (Y,), (4, 4, "rec709")),
        (ValueError, r"planes: .*; found \[\]", (), (4, 4)),
        (ValueError, r"planes: .*; found \[\(2, 8, 10\), \(2, 4, 5\)\]", (Y, HALF), (4, 4)),
        (ValueError, r"planes: .*; found .*\(2, 4, 4\)", (Y, HALF, HALF[..., :4]), (4, 4)),
        (ValueError, r"planes: .*; found .*\(1, 4, 5\)", (Y, HALF[:1], HALF[:1]), (4, 4)),
        (ValueError, r"planes: .*; found .*\(2, 8, 10\)", (Y, HALF, Y), (4, 4)),
        (ValueError, r"planes: .*; found \[\(2, 8, 10, 1\)\]", (Y[..., None],), (4, 4)),
        (ValueError, r"planes: .*; found \[\(2, 0, 10\)\]", (Y[:, :0],), (4, 4)),
        (ValueError, r"planes: expected one device, found cpu, meta, meta", (Y, *[HALF.to("meta")] * 2), (4, 4)),
    ],
)
def test_errors_name_the_argument(error: type[Exception], match: str, planes: object, rest: tuple[object, ...]) -> None:
    with pytest.raises(error, match=match):
        frame_prep(planes, *rest)


def test_a_tree_that_was_never_built_says_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aedmae_fast._cpu", None)
    native.cpu.cache_clear()
    with pytest.raises(ImportError, match=r"_cpu.*cannot be imported; .* build them with `pip install -e .`"):
        frame_prep((Y,), 4, 4)
