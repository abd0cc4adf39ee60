"""patch_weights: how much each token counts, from the motion in its patch (Eq. 2).

    m_i = mean over channels of (max over the pixels of patch i),    w_i = m_i / sum_j m_j

With a synthetic anomaly its map joins the gradient before the maximum: clipped to [0, 1] and multiplied by
``max(128, max of the sample's gradient)``, as in the release. A frame without motion gets uniform weights (the
release's 0/0 gives NaN).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.parameters import check_patches, check_row, rows_contiguous
from aedmae_fast.ops.triton import cuda_or_triton, with_triton

__all__ = ["patch_weights"]


def patch_weights(gradient: Tensor, patch: int, anomaly_map: Tensor | None = None) -> Tensor:
    """Token weights of each frame, which sum to 1.

    Args:
        gradient: uint8 [B, H, W, C] motion gradients; H and W are multiples of ``patch``, they and C not 0; frames
            and rows may be strided.
        patch: side of the patches in pixels.
        anomaly_map: uint8 [B, H, W] on the same device, 0 normal, above 0 abnormal; or None.

    Returns:
        float32 [B, L], L = H/patch * W/patch, rows first.

    Raises:
        TypeError: ``gradient`` or ``anomaly_map`` is not uint8.
        ValueError: shapes or devices that do not fit, or (CUDA) rows of more than 48 KiB, the anomaly map's included,
            or more rows of patches than a grid takes (65 535 at least).
    """
    return torch.ops.aedmae.patch_weights(gradient, patch, anomaly_map)


def patch_weights_reference(gradient: Tensor, patch: int, anomaly_map: Tensor | None = None) -> Tensor:
    """:func:`patch_weights` in plain PyTorch: the executable specification."""
    b, h, w, c = gradient.shape
    g = gradient.float()
    if anomaly_map is not None:
        strength = g.flatten(1).amax(dim=1).clamp(min=128)  # [B]
        g = g + (anomaly_map.clamp(max=1) * strength[:, None, None])[..., None]
    patches = g.reshape(b, h // patch, patch, w // patch, patch, c)
    motion = patches.amax(dim=(2, 4)).mean(dim=-1).flatten(1)  # [B, L]
    total = motion.sum(dim=1, keepdim=True)
    return torch.where(total > 0, motion / total.clamp(min=torch.finfo(motion.dtype).tiny), 1 / motion.shape[1])


def _check(gradient: Tensor, patch: int, anomaly_map: Tensor | None = None) -> None:
    check_patches("gradient", gradient, patch, "B, H, W, C")
    if anomaly_map is not None and anomaly_map.dtype != torch.uint8:
        raise TypeError(f"anomaly_map: expected uint8, found {anomaly_map.dtype}")
    if anomaly_map is not None and anomaly_map.shape != gradient.shape[:3]:
        raise ValueError(f"anomaly_map: expected {tuple(gradient.shape[:3])}, found {tuple(anomaly_map.shape)}")
    if anomaly_map is not None and anomaly_map.device != gradient.device:
        raise ValueError(f"anomaly_map: expected on {gradient.device} as gradient, found on {anomaly_map.device}")


def _fake(gradient: Tensor, patch: int, anomaly_map: Tensor | None = None) -> Tensor:
    b, h, w, _ = gradient.shape
    return gradient.new_empty((b, h // patch * (w // patch)), dtype=torch.float32)


def _cpu(gradient: Tensor, patch: int, anomaly_map: Tensor | None = None) -> Tensor:
    out, gradient = _fake(gradient, patch), rows_contiguous(gradient)
    maps = None if anomaly_map is None else rows_contiguous(anomaly_map[..., None])
    native.cpu().patch_weights(
        gradient.data_ptr(),
        gradient.stride()[:2],
        tuple(gradient.shape),
        0 if maps is None else maps.data_ptr(),
        (0, 0) if maps is None else maps.stride()[:2],
        patch,
        out.data_ptr(),
    )
    return out


def write_cuda(
    kernel: Callable[..., None], gradient: Tensor, patch: int, anomaly_map: Tensor | None, out: Tensor, stream: int
) -> Tensor:
    """Fills ``out`` [B, L] by the CUDA kernels; tensors are contiguous, and the arguments have been checked."""
    maps, peaks = 0, None
    if anomaly_map is not None:
        maps, peaks = anomaly_map.data_ptr(), torch.empty_like(out, dtype=torch.uint8)
    kernel(
        gradient.data_ptr(),
        tuple(gradient.shape),
        maps,
        0 if peaks is None else peaks.data_ptr(),
        patch,
        out.data_ptr(),
        stream,
    )
    return out


_triton = with_triton("patch_weights", patch_weights_reference, "motion_weights")


def _cuda(gradient: Tensor, patch: int, anomaly_map: Tensor | None = None) -> Tensor:
    module = native.cuda()
    if module is None:
        return _triton(gradient, patch, anomaly_map)
    check_row("gradient", gradient, anomaly_map, module.MAX_ROW_BYTES)
    maps = None if anomaly_map is None else anomaly_map.contiguous()
    with torch.cuda.device(gradient.device):
        stream = torch.cuda.current_stream().cuda_stream
        return write_cuda(module.patch_weights, gradient.contiguous(), patch, maps, _fake(gradient, patch), stream)


register(
    "patch_weights(Tensor gradient, int patch, Tensor? anomaly_map=None) -> Tensor",
    check=_check,
    cpu=_cpu,
    cuda=_cuda,
    fake=_fake,
    backends=cuda_or_triton,
    of_integers=True,
)
