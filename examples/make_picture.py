"""The README's picture: three frames of an example clip and the score over time, with the labelled frames shaded.

python examples/make_picture.py          # writes examples/scene.png
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from aedmae_fast import Scorer
from aedmae_fast.video import read_still

HERE = Path(__file__).parent
CLIP, SHOWN = "04", (20, 72, 131)  # before, cyclist, runner
RING = 22  # pixels


def main() -> None:
    path = HERE / "scene" / "test" / f"{CLIP}.mp4"
    scorer = Scorer.from_pretrained("scene")
    scores = scorer.score(path)
    labels = np.loadtxt(HERE / "scene" / "test" / "labels" / f"{CLIP}.txt")
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplot_mosaic([["a", "b", "c"], ["plot"] * 3], height_ratios=(3, 2))
    for name, t in zip("abc", SHOWN, strict=True):
        axes[name].imshow(read_still(path, scores.time_s[t]).flip(-1))  # BGR -> RGB
        axes[name].add_patch(Circle((scores.x[t], scores.y[t]), RING, fill=False, color="white", linewidth=1.8))
        axes[name].set_title(f"{scores.time_s[t]:.1f} s, raw score {scores.raw[t]:.2f}", fontsize=10)
        axes[name].set_axis_off()
    plot = axes["plot"]
    plot.plot(scores.time_s, scores.raw, color="0.6", linewidth=0.9, label="raw")
    plot.plot(scores.time_s, scores.score, color="tab:red", linewidth=1.8, label=f"score (preset {scorer.preset.name})")
    span = scores.time_s[labels > 0]
    plot.axvspan(span[0], span[-1], color="tab:red", alpha=0.12, label="labelled unusual")
    for t in SHOWN:
        plot.axvline(scores.time_s[t], color="0.3", linewidth=0.8, linestyle=":")
    plot.set_xlim(scores.time_s[0], scores.time_s[-1])
    plot.set_xlabel("time [s]")
    plot.legend(loc="upper left", fontsize=9)
    figure.savefig(HERE / "scene.png", dpi=90)
    print(f"wrote {HERE / 'scene.png'}")


if __name__ == "__main__":
    main()
