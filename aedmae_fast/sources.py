"""Which C++ and CUDA sources compiled kernels belong to: the build and the check of it ask here, without torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["OURS", "fingerprint"]

FOLDERS = "csrc", "aedmae_fast/include"
SUFFIXES = ".cpp", ".cu", ".h"
OURS = "csrc/cpu/isa.h"  # in every checkout: a folder csrc beside an installed wheel is another package's


def fingerprint(root: Path) -> str:
    """A short hash of all sources in a checkout; empty where there are none, as beside an installed wheel."""
    digest = hashlib.sha256()
    if not (root / OURS).is_file():
        return ""
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in SUFFIXES):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]
