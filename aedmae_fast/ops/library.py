"""The ``aedmae`` operator namespace of PyTorch: ``torch.ops.aedmae.<op>``.

``torch.library.Library`` and not ``custom_op``: a call costs a third.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["BACKENDS", "register", "register_gradient"]

# It lives as long as the process: with it, the operators would go.
_LIBRARY = torch.library.Library("aedmae", "FRAGMENT")
BACKENDS: dict[str, Callable[[], dict[str, str]]] = {}  # op -> what it runs on, per device type (for env.py)


def register(
    schema: str,
    *,
    cpu: Callable[..., Any],
    cuda: Callable[..., Any],
    fake: Callable[..., Any],
    backends: Callable[[], dict[str, str]],
) -> None:
    """Defines an operator.

    Args:
        schema: Its signature in PyTorch's schema language, e.g. ``"f(Tensor x, int n) -> Tensor"``.
        cpu: Implementation for CPU tensors.
        cuda: Implementation for CUDA tensors.
        fake: Shapes and dtypes of the results only, for meta tensors and ``torch.compile``.
        backends: What ``cpu`` and ``cuda`` run on and why on nothing faster, by device type.
    """
    name = schema.split("(")[0]
    _LIBRARY.define(schema, tags=torch.Tag.pt2_compliant_tag)
    _LIBRARY.impl(name, cpu, "CPU")
    _LIBRARY.impl(name, cuda, "CUDA")
    torch.library.register_fake(f"aedmae::{name}", fake, lib=_LIBRARY)
    BACKENDS[name] = backends


def register_gradient(name: str, gradient: Callable[..., Any], save: Callable[..., None]) -> None:
    """Makes a registered operator differentiable, as :func:`torch.library.register_autograd` says.

    Args:
        name: The operator's.
        gradient: ``(ctx, gradients of the results...) -> gradients of the arguments``.
        save: ``(ctx, arguments, results)``: keeps in ``ctx`` what ``gradient`` needs.
    """
    torch.library.register_autograd(f"aedmae::{name}", gradient, setup_context=save, lib=_LIBRARY)
