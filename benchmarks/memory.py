"""Is memory flat in the video's length? Peak resident memory of the command for a short and a long generated video.

python benchmarks/memory.py                     # 2 and 40 minutes, 320x240 at 25 frames/s
python benchmarks/memory.py --maps              # with anomaly maps written beside the scores
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from child import run_child
from clips import make_clip
from stamp import result_path, stamp, write_report

from aedmae_fast.config import ModelConfig
from aedmae_fast.model.checkpoint import save_model
from aedmae_fast.model.network import AedMae

FPS = 25
SMALL = ModelConfig(
    height=64, width=128, patch=32, encoder_dim=32, decoder_dim=16, encoder_depth=1, decoder_depth=2, mask_count=2
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs=2, default=(2, 40), help="(default: 2 40)")
    parser.add_argument("--maps", action="store_true", help="write the maps, too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path = result_path("memory", "cpu", options.json)
    with tempfile.TemporaryDirectory() as folder:
        save_model(AedMae(SMALL), f"{folder}/small.safetensors")
        runs = [measure(Path(folder), minutes, options.maps) for minutes in options.minutes]
    ratio = runs[1]["peak_mib"] / runs[0]["peak_mib"]
    print(f"peak {runs[0]['peak_mib']:.0f} MiB and {runs[1]['peak_mib']:.0f} MiB: ratio {ratio:.3f}")
    report = {
        **stamp("cpu"),
        "model": SMALL.to_dict(),
        "maps": options.maps,
        "runs": runs,
        "summary": {"ratio": round(ratio, 4)},
    }
    write_report(path, report)


def measure(folder: Path, minutes: float, maps: bool) -> dict[str, Any]:
    """Score one video in a process of its own; its peak resident memory and speed."""
    frames = round(minutes * 60 * FPS)
    clip = make_clip(folder / f"{minutes}.mp4", frames, (320, 240), fps=FPS)
    command = [sys.executable, "-m", "aedmae_fast.score", str(clip), "--checkpoint", str(folder / "small.safetensors")]
    command += [
        "--out",
        str(folder / f"scores-{minutes}"),
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--quiet",
        "--json",
        *(["--maps"] if maps else []),
    ]
    output, seconds, peak = run_child(command)
    assert json.loads(output)["frames"] == frames
    print(f"{minutes:g} minutes: {frames} frames, {frames / seconds:.0f} frames/s, peak {peak:.0f} MiB", flush=True)
    return {"minutes": minutes, "frames": frames, "seconds": round(seconds, 1), "peak_mib": round(peak, 1)}


if __name__ == "__main__":
    main()
