"""The operations that carry the speed: one file each, with its formula, a plain PyTorch version and its backends.

Of them only ``attention`` is differentiable; another's gradient is a NotImplementedError. The plain versions,
``<op>_reference`` in the op's file, are differentiable. ``quantize.py`` makes the weights that the network's ops take
in 8 bits, ``packing.py`` those that they need not pack in every call.
"""

from aedmae_fast.ops.attention import attention
from aedmae_fast.ops.discrepancy_map import discrepancy_map
from aedmae_fast.ops.dwconv_qkv import dwconv_qkv
from aedmae_fast.ops.frame_prep import frame_prep
from aedmae_fast.ops.linear import linear
from aedmae_fast.ops.mlp import mlp
from aedmae_fast.ops.motion_gradient import motion_gradient
from aedmae_fast.ops.motion_weights import motion_weights
from aedmae_fast.ops.patch_embed import patch_embed
from aedmae_fast.ops.patch_weights import patch_weights
from aedmae_fast.ops.smooth_max import mean_filter, mean_map, mean_max, smooth_max

__all__ = [
    "attention",
    "discrepancy_map",
    "dwconv_qkv",
    "frame_prep",
    "linear",
    "mean_filter",
    "mean_map",
    "mean_max",
    "mlp",
    "motion_gradient",
    "motion_weights",
    "patch_embed",
    "patch_weights",
    "smooth_max",
]
