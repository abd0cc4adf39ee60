"""frame_prep: one 4:2:0 frame to BGR at model size, against PyTorch and OpenCV's cvtColor + resize (other rounding)."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch

from aedmae_fast.ops import frame_prep
from aedmae_fast.ops.frame_prep import frame_prep_reference
from op_cases.case import Case, torch_baselines, triton_version

SIZES = [((1920, 1080), (640, 320)), ((1280, 720), (640, 320)), ((640, 360), (640, 320)), ((360, 240), (320, 160))]
LAYOUTS = {"I420": cv2.COLOR_YUV2BGR_I420, "NV12": cv2.COLOR_YUV2BGR_NV12}


def cases(device: str) -> Iterator[Case]:
    for source, target in SIZES:
        for layout in LAYOUTS:
            yield make_case(source, target, layout, torch.uint8, device)
    yield make_case(*SIZES[0], "I420", torch.bfloat16, device)


def make_case(source: tuple[int, int], target: tuple[int, int], layout: str, dtype: torch.dtype, device: str) -> Case:
    """``source`` and ``target`` are (width, height)."""
    width, height = source
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    i420 = cv2.cvtColor(cv2.resize(noise, source), cv2.COLOR_BGR2YUV_I420)
    chroma = i420[height:].reshape(2, height // 2, width // 2)
    if layout == "NV12":
        chroma = np.stack([*chroma], axis=-1)
    frame = np.concatenate([i420[:height], chroma.reshape(-1, width)])
    y = torch.from_numpy(frame[:height])[None].to(device)
    uv = torch.from_numpy(frame[height:].reshape(chroma.shape))[None].to(device)
    converted, resized = np.empty((height, width, 3), np.uint8), np.empty((1, target[1], target[0], 3), np.uint8)

    def opencv() -> torch.Tensor:
        cv2.cvtColor(frame, LAYOUTS[layout], dst=converted)
        cv2.resize(converted, target, dst=resized[0], interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(resized).to(dtype)

    arguments = [y, *uv.unbind(-1 if layout == "NV12" else 1)], target[1], target[0], "bt601", False, dtype
    baselines = torch_baselines(frame_prep_reference, *arguments)
    return Case(
        op="frame_prep",
        case=f"{layout} {width}x{height} -> {target[0]}x{target[1]}{' bfloat16' * (dtype == torch.bfloat16)}",
        run=lambda: frame_prep(*arguments),
        bytes=frame.nbytes + resized.size * dtype.itemsize,
        baselines={**baselines, "opencv": opencv} if device == "cpu" else baselines,
        triton=triton_version("frame_prep", *arguments),
        atol=40,  # OpenCV repeats chroma, which differs at the edges of this noise
    )
