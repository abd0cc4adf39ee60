"""The ``aedmae`` operator namespace of PyTorch: ``torch.ops.aedmae.<op>``.

``torch.library.Library`` and not ``custom_op``: a call costs a third.

Only ``attention`` has a gradient, which has none itself. One that is asked of another operator is a
NotImplementedError, not nothing: the plain versions, ``<op>_reference``, are differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["BACKENDS", "register"]

# It lives as long as the process: with it, the operators would go.
_LIBRARY = torch.library.Library("aedmae", "FRAGMENT")
BACKENDS: dict[str, Callable[[], dict[str, str]]] = {}  # op -> what it runs on, per device type (for env.py)


def register(
    schema: str,
    *,
    check: Callable[..., None],
    cpu: Callable[..., Any],
    cuda: Callable[..., Any],
    fake: Callable[..., Any],
    backends: Callable[[], dict[str, str]],
    gradient: Callable[..., Any] | None = None,
    save: Callable[..., None] | None = None,
    of_integers: bool = False,
) -> None:
    """Defines an operator.

    Args:
        schema: Its signature in PyTorch's schema language, e.g. ``"f(Tensor x, int n) -> Tensor"``.
        check: Raises for arguments that are not taken, before any of the three below is called: they may be called by
            ``torch.ops.aedmae.<op>``, and what C++ is given is not looked at again.
        cpu: Implementation for CPU tensors.
        cuda: Implementation for CUDA tensors.
        fake: Shapes and dtypes of the results only, for meta tensors and ``torch.compile``.
        backends: What ``cpu`` and ``cuda`` run on and why on nothing faster, by device type.
        gradient: ``(ctx, gradients of the results...) -> gradients of the arguments``; None: a NotImplementedError.
        save: ``(ctx, arguments, results)``: keeps in ``ctx`` what ``gradient`` needs.
        of_integers: Its tensors are integers, of which nobody can ask a gradient; not to be ready for that saves 10 us
            a call outside of ``torch.inference_mode()``.
    """
    name = schema.split("(")[0]
    _LIBRARY.define(schema, tags=torch.Tag.pt2_compliant_tag)
    _LIBRARY.impl(name, _checked(check, cpu), "CPU")
    _LIBRARY.impl(name, _checked(check, cuda), "CUDA")
    torch.library.register_fake(f"aedmae::{name}", _checked(check, fake), lib=_LIBRARY)
    if not of_integers:
        gradient = gradient or _no_gradient(name)
        torch.library.register_autograd(f"aedmae::{name}", gradient, setup_context=save, lib=_LIBRARY)
    BACKENDS[name] = backends


def _checked(check: Callable[..., None], run: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        check(*args, **kwargs)
        return run(*args, **kwargs)

    return call


def _no_gradient(name: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise NotImplementedError(
            f"aedmae::{name} has no gradient; compute under torch.no_grad(), or use {name}_reference, which has one"
        )

    return refuse
