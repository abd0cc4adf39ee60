"""AED-MAE, readable: the definition that trains and that every faster version must agree with.

Ristea et al., "Self-Distilled Masked Auto-Encoders are Efficient Video Anomaly Detectors", CVPR 2024. Parameter names
are those of the authors' checkpoints. Shapes: B frames, L tokens of a frame, V visible ones, C channels, d patch side.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aedmae_fast.config import CHANNELS, TARGET_CHANNELS, WINDOW, ModelConfig
from aedmae_fast.model.dropout import Dropout
from aedmae_fast.model.region import Region
from aedmae_fast.ops.attention import attention
from aedmae_fast.ops.parameters import EPS

Grid = tuple[int, int]


class Output(NamedTuple):
    """What the network says of B frames."""

    latent: Tensor  # [B, 1+V, C] encoder output, [CLS] first
    teacher: Tensor  # [B, L, 4*d*d] prediction, a token's values ordered (row, column, channel)
    student: Tensor | None  # [B, L, 4*d*d]; None where it was not asked for
    class_logit: Tensor | None  # [B] "holds a (synthetic) anomaly" (Eq. 5); None without a class head


class ConvProjection(nn.Module):
    """Depth-wise 3x3 convolution and BatchNorm on the tokens as a grid; [CLS] bypasses it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:  # [B, 1+T, C] -> [B, 1+T, C]
        cls, tokens = _apart(x)
        tokens = from_grid(self.bn(self.conv(to_grid(tokens, grid))))
        if tokens.requires_grad:  # what is joined gets slices as gradients: BatchNorm takes ten times as long on those
            tokens.register_hook(Tensor.contiguous)
        return torch.cat([cls, tokens], dim=1)


class Attention(nn.Module):
    """Multi-head attention with convolutional projections (CvT). The scale is the full width's, not the head's."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = dim**-0.5
        self.conv_proj_q = ConvProjection(dim)
        self.conv_proj_k = ConvProjection(dim)
        self.conv_proj_v = ConvProjection(dim)
        self.proj_q = nn.Linear(dim, dim)
        self.proj_k = nn.Linear(dim, dim)
        self.proj_v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:  # [B, N, C] -> [B, N, C]
        x = _autocast(x)
        q = self._split(self.proj_q(self.conv_proj_q(x, grid)))  # [B, heads, N, C/heads]
        k = self._split(self.proj_k(self.conv_proj_k(x, grid)))
        v = self._split(self.proj_v(self.conv_proj_v(x, grid)))
        return self.proj(_attend(q, k, v, self.scale))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    """Two 1x1 convolutions on the tokens; [CLS] passes through unchanged (so its residual adds the norm's output)."""

    def __init__(self, dim: int, ratio: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(dim, dim * ratio, 1), nn.GELU(), Dropout(dropout), nn.Conv2d(dim * ratio, dim, 1)
        )

    def forward(self, x: Tensor) -> Tensor:  # [B, 1+T, C] -> [B, 1+T, C]
        up, gelu, drop, down = self.net
        cls, tokens = _apart(x)
        hidden = drop(gelu(_pointwise(up, tokens)))
        return torch.cat([cls, _pointwise(down, hidden)], dim=1)


class Block(nn.Module):
    """CvT block: attention and MLP, each with LayerNorm in front and a residual around."""

    def __init__(self, dim: int, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, config.heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, config.mlp_ratio, config.dropout)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:  # [B, 1+T, C] -> [B, 1+T, C]
        x = x + self.attn(self.norm1(x), grid)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """d x d convolution of stride d, then LayerNorm, for the visible patches only (the others would be dropped)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.proj = nn.Conv2d(len(WINDOW) * CHANNELS, config.encoder_dim, config.patch, stride=config.patch)
        self.norm = nn.LayerNorm(config.encoder_dim, eps=EPS)

    def forward(self, windows: Tensor, ids_keep: Tensor) -> Tensor:  # [B, 3, H, W, 3], [B, V] -> [B, V, C]
        b, n, h, w, c = windows.shape
        d, columns = self.patch, w // self.patch
        patches = windows.reshape(b, n, h // d, d, columns, d * c).permute(0, 2, 4, 1, 3, 5)
        patches = patches.reshape(-1, n * d * d * c)  # [B*L, 9*d*d]
        start = torch.arange(b, device=windows.device)[:, None] * (h // d * columns)
        visible = patches.index_select(0, (start + ids_keep).flatten()).unflatten(0, (b, -1))  # [B, V, 9*d*d]
        # The convolution's weights are ordered (frame, colour, row, column), the pixels (frame, row, column, colour).
        weight = self.proj.weight.unflatten(1, (n, c)).permute(0, 1, 3, 4, 2).flatten(1)
        return self.norm(F.linear(normalise(visible, weight.dtype), weight, self.proj.bias))


class AedMae(nn.Module):
    """Masked auto-encoder with a teacher decoder, a self-distilled student decoder and a class head.

    A pure function of its inputs: the mask is an argument. In evaluation mode nothing is random.

    Attributes:
        region: what of its frames it was trained to look at; None: all of it. Whoever adds the frames hides the rest.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.region: Region | None = None
        dim, out = config.decoder_dim, TARGET_CHANNELS * config.patch**2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.encoder_dim))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.patch_embed = PatchEmbed(config)
        self.blocks = nn.ModuleList(Block(config.encoder_dim, config) for _ in range(config.encoder_depth))
        self.norm = nn.LayerNorm(config.encoder_dim, eps=EPS)
        self.class_head = nn.Linear(config.encoder_dim, 1) if config.class_head else None
        self.decoder_embed = nn.Linear(config.encoder_dim, dim)
        self.decoder_blocks = nn.ModuleList(Block(dim, config) for _ in range(config.decoder_depth))
        self.decoder_norm = nn.LayerNorm(dim, eps=EPS)
        self.decoder_pred = nn.Linear(dim, out)
        self.decoder_student_block = Block(dim, config)
        self.decoder_student_norm = nn.LayerNorm(dim, eps=EPS)
        self.decoder_student_pred = nn.Linear(dim, out)
        self.apply(_initialise)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, windows: Tensor, ids_shuffle: Tensor, student: bool = True) -> Output:
        """Encode the visible patches of B windows and predict all patches of their middle frames.

        Args:
            windows: uint8 [B, 3, H, W, 3], the frames t-3, t, t+3 (a missing neighbour being t itself), BGR.
            ids_shuffle: int64 [B, L], a permutation of the tokens per frame; the first ``config.kept`` are visible.
            student: whether the student is to predict them too.

        Raises:
            ValueError: A shape or dtype that does not fit the configuration.
        """
        self._check(windows, ids_shuffle)
        latent = self.encode(windows, ids_shuffle)
        logit = None if self.class_head is None else self.class_head(latent[:, 0]).squeeze(1)
        shared = self._shared(latent, ids_shuffle)
        teacher = self.decoder_pred(self._teacher(shared))
        distilled = self.decoder_student_pred(self._student(shared)) if student else None
        return Output(latent, teacher, distilled, logit)

    def encode(self, windows: Tensor, ids_shuffle: Tensor) -> Tensor:  # -> [B, 1+V, C]
        """The latent tokens of what is visible, [CLS] first; the arguments as in :meth:`forward`, not checked."""
        tokens = self.patch_embed(windows, ids_shuffle[:, : self.config.kept])
        x = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks:
            x = block(x, self.config.encoder_grid)
        return self.norm(x)

    def _shared(self, latent: Tensor, ids_shuffle: Tensor) -> Tensor:  # -> [B, 1+L, C]
        """All tokens back in place, through the block that both decoders begin with."""
        x = self.decoder_embed(latent)  # [B, 1+V, C]
        masked = self.mask_token.expand(len(x), self.config.tokens - self.config.kept, -1)
        shuffled = torch.cat([x[:, 1:], masked], dim=1)  # [B, L, C]
        ids_restore = torch.argsort(ids_shuffle, dim=1)
        restored = shuffled.gather(1, ids_restore[..., None].expand(-1, -1, x.shape[2]))
        return self.decoder_blocks[0](torch.cat([x[:, :1], restored], dim=1), self.config.grid)

    def _teacher(self, shared: Tensor) -> Tensor:  # [B, 1+L, C] -> [B, L, C]
        """What the teacher's head sees."""
        for block in self.decoder_blocks[1:]:
            shared = block(shared, self.config.grid)
        return self.decoder_norm(shared)[:, 1:]

    def _student(self, shared: Tensor) -> Tensor:  # [B, 1+L, C] -> [B, L, C]
        """What the student's head sees."""
        return self.decoder_student_norm(self.decoder_student_block(shared, self.config.grid))[:, 1:]

    def student_parameters(self) -> list[nn.Parameter]:
        """What the second training phase may change; everything else is frozen then."""
        parts = (self.decoder_student_block, self.decoder_student_norm, self.decoder_student_pred)
        return [p for part in parts for p in part.parameters()]

    def flops_per_frame(self) -> int:
        """Floating-point operations of one frame, 2 per multiply-add, counted from the layers.

        Visible patches only in the embedding, student and both heads included; norms, GELU and softmax are not counted.
        """
        c = self.config
        seen, every = c.kept, c.tokens
        embed = seen * self.patch_embed.proj.weight.numel()
        encoder = c.encoder_depth * _block_macs(c.encoder_dim, seen, c.mlp_ratio)
        decoder = (c.decoder_depth + 1) * _block_macs(c.decoder_dim, every, c.mlp_ratio)
        heads = every * (self.decoder_pred.weight.numel() + self.decoder_student_pred.weight.numel())
        bridge = (1 + seen) * self.decoder_embed.weight.numel()
        classes = 0 if self.class_head is None else self.class_head.weight.numel()
        return 2 * (embed + encoder + bridge + decoder + heads + classes)

    def _check(self, windows: Tensor, ids_shuffle: Tensor) -> None:
        c = self.config
        expected = (len(windows), len(WINDOW), c.height, c.width, CHANNELS)
        if windows.shape != expected or windows.dtype != torch.uint8:
            raise ValueError(f"windows: expected uint8 {expected}, found {windows.dtype} {tuple(windows.shape)}")
        if ids_shuffle.shape != (len(windows), c.tokens):
            raise ValueError(f"ids_shuffle: expected {(len(windows), c.tokens)}, found {tuple(ids_shuffle.shape)}")


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:  # 3 x [B, heads, N, D] -> [B, N, heads*D]
    """Attention through PyTorch's own kernels, or ours where they train faster."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad:
        return attention(q, k, v, scale)  # a training step takes half of the time with 600 tokens, 0.75 with 200
    return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).flatten(2)


def _autocast(x: Tensor) -> Tensor:
    """As autocast has it, if it is on: once, where several layers would each cast the same."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return x.to(torch.get_autocast_dtype(device))
    return x


def normalise(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 0..255 -> -1..1, computed in float32 and then rounded to ``dtype``."""
    return pixels.float().sub_(127.5).div_(127.5).to(dtype)


def _apart(x: Tensor) -> tuple[Tensor, Tensor]:  # [B, 1+T, C] -> [B, 1, C], [B, T, C]
    """[CLS] and the tokens. Their gradients are joined in one copy; those of two slices would be padded and added."""
    cls, tokens = x.split([1, x.shape[1] - 1], dim=1)
    return cls, tokens


def to_grid(tokens: Tensor, grid: Grid) -> Tensor:  # [B, T, C] -> [B, C, h, w]
    """Tokens without [CLS] as channels over their grid, for convolutions."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def from_grid(x: Tensor) -> Tensor:  # [B, C, h, w] -> [B, T, C]
    """The inverse of :func:`to_grid`."""
    return x.flatten(2).transpose(1, 2)


def _pointwise(conv: nn.Module, tokens: Tensor) -> Tensor:  # [B, T, C] -> [B, T, C']
    """A 1x1 convolution on a grid is a linear layer on its tokens."""
    assert isinstance(conv, nn.Conv2d)
    return F.linear(tokens, conv.weight.flatten(1), conv.bias)


def _block_macs(dim: int, tokens: int, mlp_ratio: int) -> int:
    n = 1 + tokens
    linear = 4 * n * dim * dim + 2 * tokens * dim * dim * mlp_ratio
    depthwise = 3 * 9 * tokens * dim
    return linear + depthwise + 2 * n * n * dim


def _initialise(module: nn.Module) -> None:
    """Xavier for matrices (the patch embedding as one), zero biases: the usual start of a masked auto-encoder."""
    if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
        nn.init.xavier_uniform_(module.weight.detach().flatten(1))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
