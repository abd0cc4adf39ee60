"""motion_gradient, patch_weights, and both in one, per clip of 8 frames; OpenCV's absdiff with PyTorch's reductions."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from aedmae_fast.ops import motion_gradient, motion_weights, patch_weights
from aedmae_fast.ops.motion_gradient import motion_gradient_reference
from aedmae_fast.ops.motion_weights import motion_weights_reference
from aedmae_fast.ops.patch_weights import patch_weights_reference
from op_cases.case import SIZES, Case, size_of, torch_baselines, triton_version

FRAMES = 8


def opencv_gradient(frames: np.ndarray) -> np.ndarray:
    last = len(frames) - 1
    return np.stack([cv2.absdiff(frames[max(t - 1, 0)], frames[min(t + 1, last)]) for t in range(last + 1)])


def opencv_weights(frames: np.ndarray, patch: int) -> Tensor:
    gradient = torch.from_numpy(opencv_gradient(frames))
    t, h, w, c = gradient.shape
    peaks = gradient.view(t, h // patch, patch, w // patch, patch, c).amax(dim=(2, 4))
    motion = peaks.float().mean(-1).flatten(1)  # [T, L]
    return motion / motion.sum(1, keepdim=True)


def cases(device: str) -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    for name, (height, width, patch) in SIZES.items():
        frames = torch.randint(0, 256, (FRAMES, height, width, 3), dtype=torch.uint8, generator=generator).to(device)
        gradient = motion_gradient(frames)
        anomaly = torch.zeros(FRAMES, height, width, dtype=torch.uint8, device=device)
        anomaly[::4, height // 4 : height // 2, width // 4 : width // 2] = (
            1  # in a quarter of the frames, as in training
        )
        weights = patch_weights(gradient, patch)
        yield make_case(name, "motion_gradient", frames, (frames,), size_of(frames, gradient))
        yield make_case(name, "patch_weights", frames, (gradient, patch), size_of(gradient, weights))
        yield make_case(
            f"{name}, anomaly maps",
            "patch_weights",
            frames,
            (gradient, patch, anomaly),
            size_of(gradient, anomaly, weights),
        )
        yield make_case(name, "motion_weights", frames, (frames, patch), size_of(frames, weights))


def make_case(name: str, op: str, frames: Tensor, arguments: tuple[object, ...], least: int) -> Case:
    run, reference = {
        "motion_gradient": (motion_gradient, motion_gradient_reference),
        "patch_weights": (patch_weights, patch_weights_reference),
        "motion_weights": (motion_weights, motion_weights_reference),
    }[op]
    baselines = torch_baselines(reference, *arguments)
    if frames.device.type == "cpu" and op == "motion_gradient":
        baselines["opencv"] = lambda: opencv_gradient(frames.numpy())
    if frames.device.type == "cpu" and op == "motion_weights":
        baselines["opencv"] = lambda: opencv_weights(frames.numpy(), *arguments[1:])
    height, width = frames.shape[1:3]
    return Case(
        op,
        f"{name} {FRAMES}x{height}x{width}",
        lambda: run(*arguments),
        least,
        baselines,
        atol=1e-6,
        triton=triton_version(op, *arguments, file="motion_weights"),
    )
