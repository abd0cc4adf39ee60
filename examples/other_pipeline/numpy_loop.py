"""A NumPy loop that takes single ops: frames in, a smoothed motion score and its place out. So with CuPy and JAX.

    python examples/other_pipeline/numpy_loop.py examples/scene/test/01.mp4

The score is the maximum of the frame difference after a 9x9x9 mean filter: Eq. 6 with a model that predicts that
nothing changes.
"""

from __future__ import annotations

import sys

import av
import numpy as np

from aedmae_fast.ops import dlpack as ops  # arrays in, arrays out, nothing copied

HEIGHT, WIDTH = 160, 320


def main(path: str) -> None:
    recent = np.zeros((9, HEIGHT, WIDTH), np.float32)  # maps of the last frames, each filtered in space
    before = None
    with av.open(path) as video:
        for t, frame in enumerate(video.decode(video=0)):
            bgr = frame.to_ndarray(format="bgr24")[None]  # [1, H, W, 3]
            small = ops.frame_prep([bgr], HEIGHT, WIDTH)
            pair = np.concatenate([small if before is None else before, small])
            change = ops.motion_gradient(pair, kind="paper")[1].astype(np.float32).mean(axis=-1)  # [HEIGHT, WIDTH]
            recent[t % 9] = ops.mean_filter(change, (9, 9))
            window = np.array([[i % 9 for i in range(max(t - 8, 0), t + 1)]])  # oldest first
            score, pixel = ops.mean_max(recent, window)
            y, x = divmod(int(pixel[0]), WIDTH)
            print(f"{t} {float(score[0]):.6f} {x} {y}")
            before = small


if __name__ == "__main__":
    main(sys.argv[1])
