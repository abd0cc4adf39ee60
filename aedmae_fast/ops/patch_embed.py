"""patch_embed: frames of a ring -> the visible tokens of each window.

    token = LayerNorm(weight @ pixels + bias)    of the visible patches only, pixels of t-3, t and t+3

``weight`` and ``bias`` hold the normalisation ``(pixels - 127.5) / 127.5``: they are
``w / 127.5`` and ``b - sum(w)`` of a layer that takes normalised pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.packing import check_packed, is_packed
from aedmae_fast.ops.parameters import EPS, check_parameters, check_patches, check_states
from aedmae_fast.ops.quantize import PIXEL, between, check_weight, plain
from aedmae_fast.ops.triton import cpp_or_triton, with_triton

__all__ = ["patch_embed"]


def patch_embed(
    frames: Tensor,
    windows: Tensor,
    ids_keep: Tensor,
    weight: Tensor,
    bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    patch: int,
    scale: Tensor | None = None,
) -> Tensor:
    """Visible tokens of B windows.

    Args:
        frames: uint8 [T, H, W, 3], the ring of prepared frames, BGR. H and W are multiples of ``patch``, and not 0.
            What is not contiguous is copied: all of the ring, too.
        windows: int64 [B, 3], indices into ``frames``: t-3, t, t+3. On a GPU not checked: there what lies outside is
            undefined, as it is of ``ids_keep``.
        ids_keep: int64 [B, V], visible tokens in the order they are wanted, rows first.
        weight: [C, 3*patch*patch*3] of the dtype of ``bias``: out; frame, row, column, colour. Or int8, quantized as
            :mod:`aedmae_fast.ops.quantize` says; pixels are integers as they are, and have no scale. On a CPU also
            packed, as :mod:`aedmae_fast.ops.packing` says.
        bias: float32 or bfloat16 [C].
        norm_weight, norm_bias: [C], of the dtype of ``bias``.
        patch: side of the patches in pixels.
        scale: float32 [C] of a quantized weight, else None.

    Returns:
        [B, V, C], contiguous, in the dtype of ``bias``.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes or devices that do not fit each other; more products than the sums of int8 hold.
        IndexError: (CPU) an index of ``windows`` or ``ids_keep`` that lies outside.
    """
    arguments = frames, windows, ids_keep, weight, bias, norm_weight, norm_bias, patch, scale
    return torch.ops.aedmae.patch_embed(*arguments)


def patch_embed_reference(
    frames: Tensor,
    windows: Tensor,
    ids_keep: Tensor,
    weight: Tensor,
    bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    patch: int,
    scale: Tensor | None = None,
) -> Tensor:
    """:func:`patch_embed` in plain PyTorch: the executable specification."""
    t, h, w, c = frames.shape
    rows, columns = h // patch, w // patch
    patches = frames.reshape(t, rows, patch, columns, patch * c).transpose(2, 3)  # [T, rows, columns, d, d*3]
    patches = patches.reshape(t, rows * columns, -1)  # [T, L, d*d*3]
    seen = patches[windows[:, None], ids_keep[..., None]]  # [B, V, 3, d*d*3]
    dtype = between(bias, scale)
    weight = plain(weight, len(bias), seen.shape[2] * seen.shape[3], bias, scale)
    if scale is not None:
        weight = weight.to(dtype) * scale.to(dtype)[:, None]
    tokens = F.linear(seen.flatten(2).to(dtype), weight, bias.to(dtype))
    return F.layer_norm(tokens, (len(weight),), norm_weight.to(dtype), norm_bias.to(dtype), EPS).to(bias.dtype)


def _check(
    frames: Tensor,
    windows: Tensor,
    ids_keep: Tensor,
    weight: Tensor,
    bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    patch: int,
    scale: Tensor | None = None,
) -> None:
    check_patches("frames", frames, patch)
    for name, index in (("windows", windows), ("ids_keep", ids_keep)):
        if index.dtype != torch.int64:
            raise TypeError(f"{name}: expected int64, found {index.dtype}")
    check_states("bias", bias)
    if windows.ndim != 2 or windows.shape[1] != 3:
        raise ValueError(f"windows: expected [B, 3], found {tuple(windows.shape)}")
    if ids_keep.ndim != 2 or len(ids_keep) != len(windows):
        raise ValueError(f"ids_keep: expected [{len(windows)}, V], found {tuple(ids_keep.shape)}")
    if bias.ndim != 1:
        raise ValueError(f"bias: expected [C], found {tuple(bias.shape)}")
    c = len(bias)
    if scale is not None and weight.dtype != torch.int8 and not is_packed(weight):
        raise TypeError(f"weight: expected torch.int8, as it has a scale, found {weight.dtype}")
    if weight.dtype == torch.float8_e4m3fn:
        raise TypeError(f"weight: expected {bias.dtype} or torch.int8, found {weight.dtype}")
    check_weight("weight", weight, scale, (c, 9 * patch * patch), bias, "bias", PIXEL)
    check_parameters("bias", bias, [("norm_weight", norm_weight, (c,)), ("norm_bias", norm_bias, (c,))])
    for name, value in (("windows", windows), ("ids_keep", ids_keep), ("bias", bias)):
        if value.device != frames.device:
            raise ValueError(f"{name}: expected on {frames.device} as frames, found on {value.device}")


def _check_indices(name: str, indices: Tensor, count: int) -> None:
    if not indices.numel():
        return
    least, most = map(int, indices.aminmax())
    if least < 0 or most >= count:
        raise IndexError(f"{name}: expected 0 to {count - 1}, found {least} to {most}")


def _fake(frames: Tensor, windows: Tensor, ids_keep: Tensor, weight: Tensor, bias: Tensor, *_: object) -> Tensor:
    return bias.new_empty((*ids_keep.shape, len(bias)))


def _cpu(
    frames: Tensor,
    windows: Tensor,
    ids_keep: Tensor,
    weight: Tensor,
    bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    patch: int,
    scale: Tensor | None = None,
) -> Tensor:
    _check_indices("windows", windows, len(frames))
    _check_indices("ids_keep", ids_keep, frames.shape[1] // patch * (frames.shape[2] // patch))
    given = frames, windows, ids_keep, weight, bias, scale, norm_weight, norm_bias
    inputs = [None if t is None else t.contiguous() for t in given]
    out = bias.new_empty((*ids_keep.shape, len(bias)))
    shape = (*ids_keep.shape[:1], *frames.shape[1:3], ids_keep.shape[1], len(bias), patch)
    plain_dtype = bias.dtype if scale is None else torch.int8
    packed = check_packed("weight", weight, (len(bias), 9 * patch * patch), plain_dtype)
    native.cpu().patch_embed(bias.dtype == torch.bfloat16, packed, *map(native.address, inputs), out.data_ptr(), shape)
    return out


register(
    "patch_embed(Tensor frames, Tensor windows, Tensor ids_keep, Tensor weight, Tensor bias, Tensor norm_weight,"
    " Tensor norm_bias, int patch, Tensor? scale=None) -> Tensor",
    check=_check,
    cpu=_cpu,
    cuda=with_triton("patch_embed", patch_embed_reference),
    fake=_fake,
    backends=cpp_or_triton,
)
