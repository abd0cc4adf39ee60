"""A PyTorch loader that takes single ops: decoded planes -> BGR at model size -> where each frame moves.

    python examples/other_pipeline/torch_loop.py examples/scene/test/01.mp4

The loader stands for whatever delivers planes as tensors; with those of DALI's ``fn.experimental.decoders.video`` or of
another GPU decoder the same two calls run on the GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import av
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from aedmae_fast import ops

HEIGHT, WIDTH, PATCH = 160, 320, 8
BATCH = 16  # frames


class Planes(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """The frames of a video as Y [H, W], U and V [H/2, W/2], uint8."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        with av.open(self.path) as video:
            for frame in video.decode(video=0):
                i420 = torch.from_numpy(frame.to_ndarray(format="yuv420p")).flatten()
                size, half = (frame.height, frame.width), (frame.height // 2, frame.width // 2)
                y, u, v = i420.split([size[0] * size[1], *[half[0] * half[1]] * 2])
                yield y.view(size), u.view(half), v.view(half)


def main(path: str) -> None:
    start, before = 0, None
    for planes in DataLoader(Planes(path), batch_size=BATCH):  # Y [T, H, W], U, V [T, H/2, W/2]
        frames = ops.frame_prep(planes, HEIGHT, WIDTH)  # uint8 [T, HEIGHT, WIDTH, 3]
        # The op takes what it is given for a whole clip. A frame's motion is told from the one before it ("release":
        # from the one after it, too), so that the last frame of a batch comes along with the next one.
        joined = torch.cat([frames[:1] if before is None else before, frames])
        weights = ops.motion_weights(joined, PATCH, "paper")[1:]  # [T, L], each row sums to 1
        share, patch = weights.max(dim=1)
        for t, (s, p) in enumerate(zip(share.tolist(), patch.tolist(), strict=True), start):
            y, x = divmod(p, WIDTH // PATCH)
            print(f"{t} {y * PATCH} {x * PATCH} {s:.6f}")  # frame, top and left of the patch that moves most, its share
        start, before = start + len(frames), frames[-1:]


if __name__ == "__main__":
    main(sys.argv[1])
