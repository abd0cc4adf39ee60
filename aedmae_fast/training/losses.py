"""The losses of the paper (Eq. 3 to 5).

The teacher's has the reduction observed in the authors' release; self-distillation comes as printed and as released.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.model.network import normalise
from aedmae_fast.ops.patches import patchify


def patch_target(frames: Tensor, anomaly_map: Tensor | None, patch: int) -> Tensor:
    """What the teacher shall predict: the clean frame and, as a 4th channel, the anomaly map.

    Args:
        frames: uint8 [B, H, W, 3], BGR, without the synthetic anomaly.
        anomaly_map: uint8 [B, H, W], 0 normal, 255 abnormal; None: all normal.
        patch: side of the patches in pixels.

    Returns:
        float32 [B, L, 4*patch*patch] in -1..1, a token's values ordered (row, column, channel).
    """
    if anomaly_map is None:
        anomaly_map = frames.new_zeros(frames.shape[:3])
    image = torch.cat([frames, anomaly_map[..., None]], dim=-1)  # [B, H, W, 4]
    return patchify(normalise(image, torch.float32), patch).flatten(2)


def teacher_loss(prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Eq. 3: squared error averaged over a patch's values, weighted, summed over tokens and batch.

    Its backward is autograd's: with the target and the weights it is below 2 % of a training step on a CPU, of which a
    fused one would save half (``benchmarks/ops.py --ops weighted_mse``).

    Args:
        prediction, target: float32 [B, L, 4*d*d], in units of normalised pixels (-1..1).
        weights: float32 [B, L], each row summing to 1 (:func:`aedmae_fast.ops.patch_weights`).

    Returns:
        float32 scalar, >= 0.
    """
    return ((prediction - target).square().mean(dim=-1) * weights).sum()


def student_loss(student: Tensor, teacher: Tensor, ids_shuffle: Tensor, kept: int) -> Tensor:
    """Self-distillation (Eq. 4) as the release reduces it: the mean over masked tokens, unweighted.

    Gradients flow into the student only.

    Args:
        student, teacher: float32 [B, L, 4*d*d], in units of normalised pixels (-1..1).
        ids_shuffle: int64 [B, L]; the tokens from position ``kept`` on are masked.

    Returns:
        float32 scalar, >= 0.
    """
    masked = torch.ones_like(student[..., 0]).scatter(1, ids_shuffle[:, :kept], 0.0)  # [B, L]
    return ((student - teacher.detach()).square().mean(dim=-1) * masked).sum() / masked.sum()


def weighted_student_loss(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """Self-distillation as printed (Eq. 4): all tokens, weighted by motion, reduced as :func:`teacher_loss` is.

    Gradients flow into the student only.

    Args:
        student, teacher: float32 [B, L, 4*d*d], in units of normalised pixels (-1..1).
        weights: float32 [B, L], each row summing to 1: the weights of the teacher's loss.

    Returns:
        float32 scalar, >= 0.
    """
    return teacher_loss(student, teacher.detach(), weights)


def class_loss(logit: Tensor, abnormal: Tensor) -> Tensor:
    """Eq. 5: binary cross-entropy of "the frame holds a synthetic anomaly", its mean over the batch.

    Args:
        logit: float32 [B], any real number: the logarithm of the odds.
        abnormal: bool [B].

    Returns:
        float32 scalar, >= 0.
    """
    return F.binary_cross_entropy_with_logits(logit, abnormal.to(logit.dtype))
