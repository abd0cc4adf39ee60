"""``python -m aedmae_fast.export --checkpoint model.safetensors --out model.onnx``: the network as an ONNX file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from aedmae_fast.model.checkpoint import DEFAULT, CheckpointError, load_model
from aedmae_fast.model.onnx import OPSET, export_onnx
from aedmae_fast.version import __version__

OK, USAGE = 0, 2  # exit codes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m aedmae_fast.export",
        description="Write a network to an ONNX file, for ONNX Runtime, OpenVINO and the like. It is in float32, from"
        " which they make other precisions.",
    )
    parser.add_argument("--checkpoint", default=DEFAULT, help="as for aedmae_fast.score (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--version", action="version", version=f"aedmae_fast {__version__}")
    options = parser.parse_args(arguments)
    try:
        export_onnx(load_model(options.checkpoint), options.out)
    except (CheckpointError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    print(f"wrote {options.out}: opset {OPSET}, float32, {options.out.stat().st_size / 2**20:.1f} MiB")
    return OK


if __name__ == "__main__":
    sys.exit(main())
