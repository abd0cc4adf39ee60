"""patch_weights: how much each token counts, from the motion in its patch (Eq. 2).

    m_i = mean over channels of (max over the pixels of patch i),    w_i = m_i / sum_j m_j

With a synthetic anomaly its map joins the gradient before the maximum: clipped to [0, 1] and multiplied by
``max(128, max of the sample's gradient)``, as in the release. A frame without motion gets uniform weights (the
release's 0/0 gives NaN).
"""

from __future__ import annotations

import torch
from torch import Tensor


def patch_weights(gradient: Tensor, patch: int, anomaly_map: Tensor | None = None) -> Tensor:
    """Token weights of each frame, which sum to 1.

    Args:
        gradient: uint8 [B, H, W, C] motion gradients; H and W are multiples of ``patch``.
        patch: side of the patches in pixels.
        anomaly_map: uint8 [B, H, W], 0 normal, above 0 abnormal; or None.

    Returns:
        float32 [B, L], L = H/patch * W/patch, rows first.

    Raises:
        TypeError: ``gradient`` or ``anomaly_map`` is not uint8.
        ValueError: shapes that do not fit.
    """
    _check(gradient, patch, anomaly_map)
    b, h, w, c = gradient.shape
    g = gradient.float()
    if anomaly_map is not None:
        strength = g.flatten(1).amax(dim=1).clamp(min=128)  # [B]
        g = g + (anomaly_map.clamp(max=1) * strength[:, None, None])[..., None]
    patches = g.reshape(b, h // patch, patch, w // patch, patch, c)
    motion = patches.amax(dim=(2, 4)).mean(dim=-1).flatten(1)  # [B, L]
    total = motion.sum(dim=1, keepdim=True)
    return torch.where(total > 0, motion / total.clamp(min=torch.finfo(motion.dtype).tiny), 1 / motion.shape[1])


def _check(gradient: Tensor, patch: int, anomaly_map: Tensor | None) -> None:
    if gradient.dtype != torch.uint8:
        raise TypeError(f"gradient: expected uint8, found {gradient.dtype}")
    if gradient.ndim != 4 or patch < 1 or gradient.shape[1] % patch or gradient.shape[2] % patch:
        raise ValueError(f"gradient: expected [B, H, W, C] in whole patches of {patch}, found {tuple(gradient.shape)}")
    if anomaly_map is not None and anomaly_map.dtype != torch.uint8:
        raise TypeError(f"anomaly_map: expected uint8, found {anomaly_map.dtype}")
    if anomaly_map is not None and anomaly_map.shape != gradient.shape[:3]:
        raise ValueError(f"anomaly_map: expected {tuple(gradient.shape[:3])}, found {tuple(anomaly_map.shape)}")
