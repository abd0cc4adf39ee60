"""discrepancy_map: teacher error and teacher-student gap at every pixel, two of the terms of Eq. 6, from hidden states.

    x^ = teacher @ teacher_weight^T + teacher_bias        x~ = student @ student_weight^T + student_bias
    colour   = sum over B, G, R of |x - x^|^p
    abnormal = |-1 - x^_4|^p
    gap      = sum over the 4 channels of |x^ - x~|^p     p = 1 (L1) or 2 (L2)
    map      = weights . (colour, abnormal, gap)

x is the frame as ``(pixels - 127.5) / 127.5``; its 4th channel is -1, the anomaly map of a normal frame: a pixel that
the teacher paints as abnormal counts as an error. The teacher's error is ``colour + abnormal``. The predictions x^ and
x~ (6.5 MB a frame) exist in the plain version only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.parameters import check_parameters, check_patches, check_states, rows_contiguous
from aedmae_fast.ops.patches import patchify, unpatchify
from aedmae_fast.ops.triton import cpp_or_triton, with_triton

__all__ = ["discrepancy_map"]

NORMAL = -1.0  # the anomaly map of a normal frame, in the units of normalised pixels


def discrepancy_map(
    teacher: Tensor,
    student: Tensor,
    teacher_weight: Tensor,
    teacher_bias: Tensor,
    student_weight: Tensor,
    student_bias: Tensor,
    frames: Tensor,
    patch: int,
    error: Literal["L1", "L2"] = "L2",
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """Per-pixel map of the weighted terms, and each term's mean over a frame.

    Args:
        teacher, student: float32 or bfloat16 [B, L, C], the decoders' last hidden states after their norms, without
            [CLS]; tokens may be strided.
        teacher_weight, student_weight: [4*patch*patch, C], the heads; a token's values are ordered (row, column,
            channel). Of the hidden states' dtype.
        teacher_bias, student_bias: [4*patch*patch].
        frames: uint8 [B, H, W, 3] BGR, the frames predicted; H and W are multiples of ``patch``, and not 0.
        patch: side of the patches in pixels.
        error: L1 or squared (L2) difference.
        weights: of colour error, abnormality and gap in the map.

    Returns:
        float32 [B, H, W], and float32 [B, 3]: the means over the pixels of colour error, abnormality and gap, each
        unweighted. Units are those of normalised pixels (a full swing from black to white is 2), to the power p.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes or devices that do not fit, an unknown ``error``, or not three weights.
    """
    _check_weights(weights)  # here too: of a single number the operator would make three
    return torch.ops.aedmae.discrepancy_map(
        teacher, student, teacher_weight, teacher_bias, student_weight, student_bias, frames, patch, error, weights
    )


def discrepancy_map_reference(
    teacher: Tensor,
    student: Tensor,
    teacher_weight: Tensor,
    teacher_bias: Tensor,
    student_weight: Tensor,
    student_bias: Tensor,
    frames: Tensor,
    patch: int,
    error: str = "L2",
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """:func:`discrepancy_map` in plain PyTorch: the executable specification. In float64 where the states are."""
    dtype = torch.float64 if teacher.dtype == torch.float64 else torch.float32
    predicted = F.linear(teacher, teacher_weight, teacher_bias).to(dtype).unflatten(2, (-1, 4))  # [B, L, d*d, 4]
    distilled = F.linear(student, student_weight, student_bias).to(dtype).unflatten(2, (-1, 4))
    target = patchify(frames.to(dtype).sub_(127.5).div_(127.5), patch)  # [B, L, d*d, 3]
    colour = _distance(target, predicted[..., :3], error).sum(-1)
    abnormal = _distance(torch.tensor(NORMAL, dtype=dtype, device=frames.device), predicted[..., 3], error)
    gap = _distance(predicted, distilled, error).sum(-1)  # [B, L, d*d]
    combined = weights[0] * colour + weights[1] * abnormal + weights[2] * gap
    size = frames.shape[1], frames.shape[2]
    means = torch.stack([term.mean((1, 2)) for term in (colour, abnormal, gap)], dim=1)
    return unpatchify(combined, size, patch)[..., 0], means


def _distance(a: Tensor, b: Tensor, error: str) -> Tensor:
    return (a - b).abs() if error == "L1" else (a - b).square()


def _check(
    teacher: Tensor,
    student: Tensor,
    teacher_weight: Tensor,
    teacher_bias: Tensor,
    student_weight: Tensor,
    student_bias: Tensor,
    frames: Tensor,
    patch: int,
    error: str = "L2",
    weights: Sequence[float] = (1.0, 1.0, 1.0),
) -> None:
    _check_weights(weights)
    check_patches("frames", frames, patch, "B, H, W, 3")
    check_states("teacher", teacher)
    if teacher.ndim != 3:
        raise ValueError(f"teacher: expected [B, L, C], found {tuple(teacher.shape)}")
    b, h, w, _ = frames.shape
    c, values = teacher.shape[-1], 4 * patch * patch
    if frames.device != teacher.device:
        raise ValueError(f"frames: expected on {teacher.device} as teacher, found on {frames.device}")
    parameters = (
        ("teacher", teacher, (b, h // patch * (w // patch), c)),
        ("student", student, (b, h // patch * (w // patch), c)),
        ("teacher_weight", teacher_weight, (values, c)),
        ("teacher_bias", teacher_bias, (values,)),
        ("student_weight", student_weight, (values, c)),
        ("student_bias", student_bias, (values,)),
    )
    check_parameters("teacher", teacher, parameters)
    if error not in ("L1", "L2"):
        raise ValueError(f"error: expected 'L1' or 'L2', found {error!r}")


def _check_weights(weights: Sequence[float]) -> None:
    if not isinstance(weights, (list, tuple)) or len(weights) != 3:
        raise ValueError(f"weights: expected three numbers, found {weights!r}")


def _fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    frames: Tensor = arguments[6]
    b, h, w, _ = frames.shape
    return frames.new_empty((b, h, w), dtype=torch.float32), frames.new_empty((b, 3), dtype=torch.float32)


def _cpu(
    teacher: Tensor,
    student: Tensor,
    teacher_weight: Tensor,
    teacher_bias: Tensor,
    student_weight: Tensor,
    student_bias: Tensor,
    frames: Tensor,
    patch: int,
    error: str = "L2",
    weights: Sequence[float] = (1.0, 1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    heads = [x.contiguous() for x in (teacher_weight, teacher_bias, student_weight, student_bias)]
    states = [x if x.stride(2) == 1 else x.contiguous() for x in (teacher, student)]
    frames = rows_contiguous(frames)
    maps = frames.new_empty(frames.shape[:3], dtype=torch.float32)
    means = frames.new_empty((len(frames), 3), dtype=torch.float32)
    native.cpu().discrepancy_map(
        *[(x.data_ptr(), x.stride(0), x.stride(1)) for x in states],
        *[(heads[i].data_ptr(), heads[i + 1].data_ptr()) for i in (0, 2)],
        teacher.dtype == torch.bfloat16,
        teacher.shape[2],
        frames.data_ptr(),
        frames.stride()[:2],
        tuple(frames.shape[:3]),
        patch,
        error == "L2",
        tuple(weights),
        maps.data_ptr(),
        means.data_ptr(),
    )
    return maps, means


register(
    "discrepancy_map(Tensor teacher, Tensor student, Tensor teacher_weight, Tensor teacher_bias,"
    ' Tensor student_weight, Tensor student_bias, Tensor frames, int patch, str error="L2",'
    " float[3] weights=[1.0, 1.0, 1.0]) -> (Tensor, Tensor)",
    check=_check,
    cpu=_cpu,
    cuda=with_triton("discrepancy_map", discrepancy_map_reference),
    fake=_fake,
    backends=cpp_or_triton,
)
