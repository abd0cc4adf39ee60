"""Kernels of csrc/cuda compiled for the host: each .cpp here includes one .cu and gives C functions for ctypes."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
ORDERS = (0, 1, 2, 3)  # of the threads: forward, reverse, two shuffles


@functools.cache
def library(name: str) -> ctypes.CDLL:
    """``tests/cuda_on_host/<name>.cpp``, compiled once."""
    if not shutil.which("g++"):
        pytest.skip("g++ is absent")
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
    with tempfile.TemporaryDirectory() as folder:  # a library that is loaded no longer needs its file
        path = Path(folder) / f"{name}.so"
        subprocess.run(["g++", *flags, str(FOLDER / f"{name}.cpp"), "-o", str(path)], check=True)
        return ctypes.CDLL(str(path))
