"""frame_prep: planes as decoded -> BGR at the model's size, in one pass.

The formula is in integers, so that every backend gives the same bytes on every machine. Three steps:

1. Chroma to the luma grid, centre-sited bilinear, edges clamped. In a direction sub-sampled by 2, luma position 2k
   takes ``3 c[k] + c[k - 1]`` and 2k + 1 takes ``3 c[k] + c[k + 1]``; in one that is not, x takes ``4 c[x]``. Both
   directions together are at 16 times chroma's scale; less 2048, that is U16 and V16 in [-2048, 2032].
2. Colour, with ``Y16 = 16 (Y - offset)`` and Q13 coefficients of the matrix and range:
   ``R = clip8((cY Y16 + cRV V16 + 2^16) >> 17)``, B likewise with U16, G with both. Coefficients fit int16, sums int32.
3. Bilinear resize, half-pixel centres, edges clamped, no antialiasing, 11-bit weights:
   ``hq = (a0 p[ix] + a1 p[ix + 1] + 8) >> 4`` (fits int16), then ``out = (b0 hq[iy] + b1 hq[iy + 1] + 2^17) >> 18``.

Colours are within 1 level of float64 arithmetic; resizing BGR is within 1 level of ``cv2.resize(INTER_LINEAR)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.triton import cuda_or_triton, with_triton

__all__ = ["frame_prep", "frame_prep_reference"]

# Luma weights of red and blue (Kr, Kb) in units of 1e-4: ITU-R BT.601, BT.709, BT.2020 (non-constant luminance)
MATRICES = {"bt601": (2990, 1140), "bt709": (2126, 722), "bt2020": (2627, 593)}
MAX_SIZE = 16384  # pixels a side: every product of the formula stays within its integer type
DTYPES = (torch.uint8, torch.bfloat16)  # of the result: bfloat16's 8 significant bits hold every level exactly


def frame_prep(
    planes: Sequence[Tensor],
    height: int,
    width: int,
    matrix: str = "bt601",
    full_range: bool = False,
    dtype: torch.dtype = torch.uint8,
) -> Tensor:
    """Converts frames to BGR and resizes them.

    Args:
        planes: uint8 on one device, strided in any way, never copied:
            ``(Y [T, H, W], U [T, Hc, Wc], V [T, Hc, Wc])`` with ``Hc`` in {H, ceil(H/2)}, ``Wc`` in {W, ceil(W/2)};
            ``(Y [T, H, W],)`` for grey; ``(BGR [T, H, W, 3],)``, which is only resized. T >= 0; H, W in 1..16384.
            Packed formats are views: NV12's ``uv`` [T, Hc, Wc, 2] gives ``(y, *uv.unbind(-1))``, YCbCr 4:4:4 in one
            tensor ``ycc`` [T, H, W, 3] gives ``ycc.unbind(-1)``. These, planes and BGR are the fast layouts.
        height: Output height in pixels, 1..16384.
        width: Output width in pixels, 1..16384.
        matrix: ``bt601``, ``bt709`` or ``bt2020``; what YUV means. Without effect on grey and BGR.
        full_range: Y, U, V span 0..255 rather than Y 16..235 and U, V 16..240. Without effect on BGR.
        dtype: of the result: uint8, or bfloat16 for networks that take it. Both hold the same levels, each exactly:
            the normalisation is the network's own, best folded into its first layer (as ``patch_embed`` has it).

    Returns:
        ``dtype`` [T, height, width, 3], whole levels 0..255, BGR, contiguous, on the device of ``planes``.

    Raises:
        TypeError: ``planes`` is no list or tuple of uint8 tensors, a size is no int, or ``dtype`` is another.
        ValueError: Plane shapes do not fit each other, devices differ, a size or ``matrix`` is out of range, or (CUDA)
            strides spread one frame over 4 GiB or more.
        ImportError: The tensors are on the CPU, and the package was never built.
    """
    _check_types(planes, height, width, dtype)
    return _OPERATOR(list(planes), height, width, matrix, full_range, dtype)


def frame_prep_reference(
    planes: Sequence[Tensor],
    height: int,
    width: int,
    matrix: str = "bt601",
    full_range: bool = False,
    dtype: torch.dtype = torch.uint8,
) -> Tensor:
    """:func:`frame_prep` in plain PyTorch: the executable specification."""
    first = planes[0].int()
    bgr = first if first.dim() == 4 else _colour(first, planes[1:], matrix, full_range)  # [T, H, W, 3]
    left, right, a = _taps(bgr.shape[2], width, bgr.device)
    a = a[:, None]
    hq = ((2048 - a) * bgr[:, :, left] + a * bgr[:, :, right] + 8) >> 4  # [T, H, width, 3]
    top, bottom, b = _taps(bgr.shape[1], height, bgr.device)
    b = b[:, None, None]
    return (((2048 - b) * hq[:, top] + b * hq[:, bottom] + 2**17) >> 18).to(dtype)


def _colour(y: Tensor, chroma: Sequence[Tensor], matrix: str, full_range: bool) -> Tensor:
    """Steps 1 and 2: y [T, H, W] int32, chroma (U, V) or () -> BGR [T, H, W, 3] int32 in 0..255."""
    offset, cy, crv, cgu, cgv, cbu = coefficients(matrix, full_range)
    luma = 16 * (y - offset)
    u, v = (_upsample(_upsample(c.int(), 1, y.shape[1]), 2, y.shape[2]) - 2048 for c in chroma) if chroma else (0, 0)
    bgr = torch.stack([cy * luma + cbu * u, cy * luma + cgu * u + cgv * v, cy * luma + crv * v], dim=-1)
    return ((bgr + 2**16) >> 17).clamp(0, 255)


def _upsample(c: Tensor, dim: int, size: int) -> Tensor:
    """``c`` on the luma grid of ``size`` positions along ``dim``, times 4."""
    if c.shape[dim] == size:
        return 4 * c
    x = torch.arange(size, device=c.device)
    near, far = x // 2, (x // 2 + 2 * (x % 2) - 1).clamp(0, c.shape[dim] - 1)
    return 3 * c.index_select(dim, near) + c.index_select(dim, far)


def _taps(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Index of both taps and weight of the second, of 2048: int64, int64, int32, each [target]."""
    num, den = (2 * torch.arange(target, device=device) + 1) * source - target, 2 * target
    index = num // den
    weight = ((num - index * den) * 2048 + target) // den
    weight = torch.where((index < 0) | (index >= source - 1), 0, weight)
    return index.clamp(0, source - 1), (index + 1).clamp(0, source - 1), weight.int()


def coefficients(matrix: str, full_range: bool) -> tuple[int, int, int, int, int, int]:
    """Luma offset and the Q13 coefficients cY, cRV, cGU, cGV, cBU, rounded to nearest."""
    kr, kb = MATRICES[matrix]
    one, y_range, c_range = 10_000, 255 if full_range else 219, 255 if full_range else 224

    def q13(numerator: int, denominator: int) -> int:
        return (2 * 8192 * 255 * numerator + denominator) // (2 * denominator)

    return (
        0 if full_range else 16,
        q13(1, y_range),
        q13(2 * (one - kr), c_range * one),
        -q13(2 * (one - kb) * kb, c_range * one * (one - kr - kb)),
        -q13(2 * (one - kr) * kr, c_range * one * (one - kr - kb)),
        q13(2 * (one - kb), c_range * one),
    )


def write(
    kernel: Callable[..., None], planes: Sequence[Tensor], out: Tensor, matrix: str, full_range: bool, *stream: int
) -> Tensor:
    """Fills ``out`` [T, height, width, 3] by a native kernel; the arguments must have been checked."""
    first = planes[0]
    shape, chroma, size = first.shape, planes[-1].shape, out.shape
    bgr = len(shape) == 4
    kernel(
        _channels(first) if bgr else [(p.data_ptr(), *p.stride()) for p in planes],
        bgr,
        (1 + (chroma[1] != shape[1]), 1 + (chroma[2] != shape[2])),
        *MATRICES[matrix],
        full_range,
        shape[:3],
        out.data_ptr(),
        size[1:3],
        out.dtype == torch.bfloat16,
        *stream,
    )
    return out


def _channels(bgr: Tensor) -> list[tuple[int, ...]]:
    """The three planes that a packed tensor is."""
    address, (*strides, step) = bgr.data_ptr(), bgr.stride()
    return [(address + channel * step, *strides) for channel in range(3)]


def _check_types(planes: Sequence[Tensor], height: int, width: int, dtype: torch.dtype) -> None:
    """What the operator's schema would say less clearly; the rest is checked by the operator itself."""
    if not isinstance(planes, (list, tuple)) or not all(isinstance(p, Tensor) for p in planes):
        raise TypeError(f"planes: expected a list or tuple of tensors, found {_types(planes)}")
    for name, size in (("height", height), ("width", width)):
        if isinstance(size, bool) or not isinstance(size, (int, torch.SymInt)):
            raise TypeError(f"{name}: expected an int, found {type(size).__name__}")
    if dtype not in DTYPES:
        raise TypeError(f"dtype: expected {' or '.join(map(str, DTYPES))}, found {dtype}")
    if not planes:  # without a tensor there is no device to run on
        raise ValueError(_misfit([]))


def _types(planes: object) -> str:
    return ", ".join(type(p).__name__ for p in planes) if isinstance(planes, (list, tuple)) else type(planes).__name__


def _check(
    planes: Sequence[Tensor],
    height: int,
    width: int,
    matrix: str = "bt601",
    *_: object,
) -> None:
    for name, size in (("height", height), ("width", width)):
        if not 1 <= size <= MAX_SIZE:
            raise ValueError(f"{name}: expected 1..{MAX_SIZE}, found {size}")
    if matrix not in MATRICES:
        raise ValueError(f"matrix: expected one of {', '.join(MATRICES)}, found {matrix!r}")
    shapes = [tuple(p.shape) for p in planes]
    if not _shapes_fit(shapes):
        raise ValueError(_misfit(shapes))
    device = planes[0].device
    for p in planes:
        if p.dtype is not torch.uint8:
            raise TypeError(f"planes: expected dtype uint8, found {', '.join(str(p.dtype) for p in planes)}")
        if p.device != device:
            raise ValueError(f"planes: expected one device, found {', '.join(str(p.device) for p in planes)}")


def _misfit(shapes: Sequence[tuple[int, ...]]) -> str:
    return (
        "planes: expected Y [T, H, W] with U and V [T, H or ceil(H/2), W or ceil(W/2)], or Y alone, "
        f"or BGR [T, H, W, 3], with H and W in 1..{MAX_SIZE}; found {list(shapes)}"
    )


def _shapes_fit(shapes: Sequence[tuple[int, ...]]) -> bool:
    first = shapes[0]
    packed = len(shapes) == 1 and len(first) == 4 and first[3] == 3
    if not packed and (len(shapes) not in (1, 3) or len(first) != 3):
        return False
    frames, height, width = first[:3]
    if not (1 <= height <= MAX_SIZE and 1 <= width <= MAX_SIZE):
        return False
    if len(shapes) == 1:
        return True
    u, v = shapes[1:]
    halves = (height + 1) // 2, (width + 1) // 2
    return len(u) == 3 and u == v and u[0] == frames and u[1] in (height, halves[0]) and u[2] in (width, halves[1])


def _fake(
    planes: list[Tensor],
    height: int,
    width: int,
    matrix: str = "bt601",
    full_range: bool = False,
    dtype: torch.dtype = torch.uint8,
) -> Tensor:
    first = planes[0]
    return torch.empty((first.shape[0], height, width, 3), dtype=dtype, device=first.device)


def _cpu(
    planes: list[Tensor],
    height: int,
    width: int,
    matrix: str = "bt601",
    full_range: bool = False,
    dtype: torch.dtype = torch.uint8,
) -> Tensor:
    out = _fake(planes, height, width, matrix, full_range, dtype)
    return write(native.cpu().frame_prep, planes, out, matrix, full_range)


_triton = with_triton("frame_prep", frame_prep_reference)


def _cuda(
    planes: list[Tensor],
    height: int,
    width: int,
    matrix: str = "bt601",
    full_range: bool = False,
    dtype: torch.dtype = torch.uint8,
) -> Tensor:
    module = native.cuda()
    if module is None:
        return _triton(planes, height, width, matrix, full_range, dtype)
    out = _fake(planes, height, width, matrix, full_range, dtype)
    with torch.cuda.device(out.device):
        stream = torch.cuda.current_stream().cuda_stream
        return write(module.frame_prep, planes, out, matrix, full_range, stream)


register(
    'frame_prep(Tensor[] planes, SymInt height, SymInt width, str matrix="bt601", bool full_range=False, '
    "ScalarType dtype=uint8) -> Tensor",
    check=_check,
    cpu=_cpu,
    cuda=_cuda,
    fake=_fake,
    backends=cuda_or_triton,
    of_integers=True,
)
_OPERATOR = torch.ops.aedmae.frame_prep.default  # looked up once: saves a microsecond or two a call
