"""Where a C or C++ program finds the CPU kernels: ``aedmae_fast/cpu.h`` and ``libaedmae_fast.so``."""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_include", "get_library_dir"]

PACKAGE = Path(__file__).resolve().parent


def get_include() -> str:
    """The folder for a compiler's ``-I``: ``#include <aedmae_fast/cpu.h>`` is found there."""
    return str(PACKAGE / "include")


def get_library_dir() -> str:
    """The folder for a linker's ``-L`` and ``-rpath``: ``libaedmae_fast.so``, link it with ``-laedmae_fast``.

    Raises:
        FileNotFoundError: The package was never built, as in a plain source checkout.
    """
    if not (PACKAGE / "libaedmae_fast.so").exists():
        raise FileNotFoundError(f"{PACKAGE}/libaedmae_fast.so: never built; in a source checkout, `pip install -e .`")
    return str(PACKAGE)
