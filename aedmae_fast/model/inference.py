"""AED-MAE for scoring: the weights of a trained network, folded, and every step one of :mod:`aedmae_fast.ops`.

The same function as :class:`aedmae_fast.model.network.AedMae` in evaluation mode, which is its reference. What is
folded is computed in float64 and rounded once: BatchNorm into the depth-wise convolutions, ``(pixels - 127.5) / 127.5``
into the patch embedding. The predictions are never formed: the decoders' last states and the heads go to
:func:`aedmae_fast.ops.discrepancy_map`. Shapes: B windows, L tokens of a frame, V visible ones, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aedmae_fast.config import CHANNELS, WINDOW
from aedmae_fast.model.network import AedMae, Block, ConvProjection, Grid, PatchEmbed
from aedmae_fast.ops import attention, dwconv_qkv, linear, mlp, patch_embed
from aedmae_fast.ops.packing import pack_weight
from aedmae_fast.ops.parameters import EPS
from aedmae_fast.ops.quantize import PIXEL, most_products, quantize_weight

__all__ = ["InferenceModel", "States"]


class States(NamedTuple):
    """What the scores are made of."""

    teacher: Tensor  # [B, L, C], the decoders' last states after their norms, without [CLS]
    student: Tensor  # [B, L, C]
    class_logit: Tensor | None  # float32 [B]; None without a class head


class Affine(NamedTuple):
    """The parameters of a norm, a convolution, or a layer that is never quantized."""

    weight: Tensor
    bias: Tensor


class Linear(NamedTuple):
    """The parameters of a linear layer, quantized or not; the weight packed on a CPU."""

    weight: Tensor
    bias: Tensor
    scale: Tensor | None  # of a quantized weight


class InferenceModel:
    """A network that scores, on one device and in one precision.

    A window's states depend on that window, its mask and the weights; on a CPU bit for bit, whatever the batch.

    Args:
        model: the trained network; it stays as it is.
        device: where the frames will be.
        dtype: float32 or bfloat16, of weights and states. Sums are in float32 in both.
        quantized: int8 or float8_e4m3fn, of the weights of the blocks' linear layers and of the one between encoder and
            decoders, int8 of the patch embedding too (:mod:`aedmae_fast.ops.quantize`); None leaves them in ``dtype``.

    Raises:
        TypeError: weights quantized as a CPU does not compute with them.
    """

    def __init__(
        self, model: AedMae, device: torch.device | str, dtype: torch.dtype, quantized: torch.dtype | None = None
    ) -> None:
        place = _Placement(torch.device(device), dtype, quantized)

        def layer(module: nn.Linear | nn.LayerNorm) -> Affine:
            return place.affine(module.weight, module.bias)

        self.config = model.config
        self.heads = *layer(model.decoder_pred), *layer(model.decoder_student_pred)  # as discrepancy_map takes them
        self._embed, self._embed_norm = _fold_pixels(model.patch_embed, place), layer(model.patch_embed.norm)
        self._cls_token, self._mask_token = place.affine(model.cls_token, model.mask_token)  # [1, 1, C] each
        self._encoder = [_Block(block, place) for block in model.blocks]
        self._norm = layer(model.norm)
        self._bridge = place.linear(model.decoder_embed.weight, model.decoder_embed.bias)
        self._teacher = [_Block(block, place) for block in model.decoder_blocks]
        self._student = _Block(model.decoder_student_block, place)
        self._teacher_norm, self._student_norm = layer(model.decoder_norm), layer(model.decoder_student_norm)
        self._class_head = None
        if (head := model.class_head) is not None:
            self._class_head = Affine(*[p.detach().to(device, copy=True) for p in (head.weight, head.bias)])

    @torch.inference_mode()
    def __call__(self, frames: Tensor, windows: Tensor, ids_shuffle: Tensor) -> States:
        """Encode the visible patches of B windows and decode to the states before the heads.

        Args:
            frames: uint8 [T, H, W, 3], contiguous, BGR, of the configuration's size.
            windows: int64 [B, 3], indices into ``frames``: t-3, t, t+3 (a missing neighbour being t itself).
            ids_shuffle: int64 [B, L], a permutation of the tokens per window; the first ``config.kept`` are visible.

        Raises:
            TypeError, ValueError: arguments that do not fit the configuration or each other, or weights quantized as
                the device does not compute with them.
        """
        self._check(frames, ids_shuffle)
        c = self.config
        weight, bias, scale = self._embed
        tokens = patch_embed(
            frames, windows, ids_shuffle[:, : c.kept], weight, bias, *self._embed_norm, c.patch, scale
        )  # [B, V, C]
        x = torch.cat([self._cls_token.expand(len(tokens), -1, -1), tokens], dim=1)  # [B, 1+V, C]
        for block in self._encoder:
            x = block(x, c.encoder_grid)
        latent = _layer_norm(x, self._norm)
        tokens = linear(latent, self._bridge.weight, self._bridge.bias, scale=self._bridge.scale)
        shared = self._teacher[0](self._restore(tokens, ids_shuffle), c.grid)  # [B, 1+L, C]
        x = shared
        for block in self._teacher[1:]:
            x = block(x, c.grid)
        teacher = _layer_norm(x[:, 1:], self._teacher_norm)
        student = _layer_norm(self._student(shared, c.grid)[:, 1:], self._student_norm)
        logit = None if self._class_head is None else linear(latent[:, 0].float(), *self._class_head).squeeze(1)
        return States(teacher, student, logit)

    def tensors(self) -> Iterator[Tensor]:
        """Every parameter, where it lies."""
        return _tensors(vars(self).values())

    def _restore(self, x: Tensor, ids_shuffle: Tensor) -> Tensor:  # [B, 1+V, C] -> [B, 1+L, C]
        """Every token in its place, the mask token where a patch was not seen."""
        b, n, c = x.shape  # n = 1 + V
        rows = torch.cat([x, self._mask_token.expand(b, -1, -1)], dim=1)  # [B, 1+V+1, C]
        index = torch.argsort(ids_shuffle, dim=1).clamp_(max=n - 1) + 1  # [B, L]
        index = F.pad(index, (1, 0)) + (n + 1) * torch.arange(b, device=x.device)[:, None]  # [CLS] in front
        return rows.view(-1, c).index_select(0, index.flatten()).view(*index.shape, c)

    def _check(self, frames: Tensor, ids_shuffle: Tensor) -> None:
        c = self.config
        if frames.shape[1:] != (c.height, c.width, CHANNELS):
            raise ValueError(f"frames: expected [T, {c.height}, {c.width}, {CHANNELS}], found {tuple(frames.shape)}")
        if ids_shuffle.ndim != 2 or ids_shuffle.shape[1] != c.tokens:
            raise ValueError(f"ids_shuffle: expected [B, {c.tokens}], found {tuple(ids_shuffle.shape)}")


class _Placement(NamedTuple):
    """Copies of parameters, where and in what they are computed with."""

    device: torch.device
    dtype: torch.dtype
    quantized: torch.dtype | None

    def tensor(self, parameter: Tensor) -> Tensor:
        return parameter.detach().to(self.device, self.dtype, copy=True).contiguous()

    def affine(self, weight: Tensor, bias: Tensor) -> Affine:
        return Affine(self.tensor(weight), self.tensor(bias))

    def linear(self, weight: Tensor, bias: Tensor) -> Linear:
        return self.packed(self.rounded(weight, bias))

    def rounded(self, weight: Tensor, bias: Tensor) -> Linear:
        if self.quantized is None:
            return Linear(*self.affine(weight, bias), None)
        levels, scale = quantize_weight(weight, self.quantized)
        return Linear(levels.to(self.device), self.tensor(bias), scale.to(self.device))

    def packed(self, layer: Linear) -> Linear:
        return layer._replace(weight=pack_weight(layer.weight)) if self.device.type == "cpu" else layer


class _Block:
    """A CvT block as three ops and a linear layer."""

    def __init__(self, block: nn.Module, place: _Placement) -> None:
        assert isinstance(block, Block)
        a, up, down = block.attn, block.mlp.net[0], block.mlp.net[3]
        assert isinstance(up, nn.Conv2d)
        assert isinstance(down, nn.Conv2d)
        assert up.bias is not None
        assert down.bias is not None
        kernels, shifts = zip(*[_fold_norm(c) for c in (a.conv_proj_q, a.conv_proj_k, a.conv_proj_v)], strict=True)
        layers = (a.proj_q, a.proj_k, a.proj_v)
        self._heads, self._scale = a.heads, a.scale
        self._norm1, self._norm2 = (place.affine(norm.weight, norm.bias) for norm in (block.norm1, block.norm2))
        self._conv = place.affine(torch.stack(kernels), torch.stack(shifts))
        self._qkv = place.linear(torch.stack([p.weight for p in layers]), torch.stack([p.bias for p in layers]))
        self._proj = place.linear(a.proj.weight, a.proj.bias)
        self._up = place.linear(up.weight.flatten(1), up.bias)
        self._down = place.linear(down.weight.flatten(1), down.bias)

    def __call__(self, x: Tensor, grid: Grid) -> Tensor:  # [B, 1+T, C] -> [B, 1+T, C]
        (qkv_weight, qkv_bias, qkv_scale), (weight, bias, scale) = self._qkv, self._proj
        qkv = dwconv_qkv(x, *self._norm1, *self._conv, qkv_weight, qkv_bias, grid, qkv_scale)  # [3, B, 1+T, C]
        q, k, v = qkv.unflatten(3, (self._heads, -1)).transpose(2, 3)  # [B, heads, 1+T, C/heads] each
        x = linear(attention(q, k, v, self._scale), weight, bias, x, scale)
        up, down = self._up, self._down
        return mlp(x, *self._norm2, up.weight, up.bias, down.weight, down.bias, up.scale, down.scale)


def _tensors(parts: Iterable[object]) -> Iterator[Tensor]:
    for part in parts:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, _Block):
            yield from _tensors(vars(part).values())
        elif isinstance(part, (tuple, list)):
            yield from _tensors(part)


def _fold_norm(projection: ConvProjection) -> tuple[Tensor, Tensor]:
    """BatchNorm(conv(x)) as one convolution: kernel [3, 3, C] and shift [C] in float64."""
    bn = projection.bn
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight.double() * (bn.running_var.double() + bn.eps).rsqrt()  # [C]
    kernel = projection.conv.weight.double()[:, 0] * scale[:, None, None]  # [C, 3, 3]
    return kernel.permute(1, 2, 0), bn.bias.double() - bn.running_mean.double() * scale


def _fold_pixels(embed: PatchEmbed, place: _Placement) -> Linear:
    """Weight [C, 3*d*d*3] and bias [C] that take pixels 0..255; quantized to int8 only, which multiplies integers, and
    not where they are more than its sums hold.

    The bias is made from the weight as it was rounded, in float64, so that the rounding meets pixels less their middle
    and not the pixels themselves, whose mean it would magnify.
    """
    conv = embed.proj
    assert conv.bias is not None
    # The convolution's weights are ordered (frame, colour, row, column), the pixels (frame, row, column, colour).
    weight = conv.weight.double().unflatten(1, (len(WINDOW), CHANNELS)).permute(0, 1, 3, 4, 2).flatten(1) / 127.5
    in_8_bits = place.quantized == torch.int8 and weight.shape[1] <= most_products(PIXEL)
    place = place._replace(quantized=torch.int8 if in_8_bits else None)
    layer = place.rounded(weight, conv.bias)
    rounded = layer.weight.double().sum(1) * (1 if layer.scale is None else layer.scale.double())
    bias = place.tensor(conv.bias.double() - 127.5 * rounded.to(conv.bias.device))
    return place.packed(layer._replace(bias=bias))


def _layer_norm(x: Tensor, norm: Affine) -> Tensor:
    return F.layer_norm(x, x.shape[2:], *norm, EPS)
