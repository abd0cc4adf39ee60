"""The network against the release's tensors, and against values of our own that every clone carries."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from aedmae_fast.config import CONFIGS, TARGET_CHANNELS, ModelConfig
from aedmae_fast.model.checkpoint import load_model
from aedmae_fast.model.masks import mask_bank
from aedmae_fast.model.network import AedMae, Output
from aedmae_fast.ops import discrepancy_map, patch_weights
from aedmae_fast.training.losses import patch_target, student_loss, teacher_loss

BOUND = 1e-5  # relative error in fp32


def relative_error(found: Tensor | float, expected: Tensor | float) -> float:
    found, expected = torch.as_tensor(found, dtype=torch.float64), torch.as_tensor(expected, dtype=torch.float64)
    return float((found - expected).norm() / expected.norm())


class Golden:
    """One configuration's tensors as the authors' release computed them, and our network's output on the same input."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "golden.npz") as file:
            self.expected = {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}
        self.model = load_model(folder / "checkpoint-best.pth")
        self.patch = self.model.config.patch
        self.ids_shuffle = torch.argsort(self.expected["noise"], dim=1, stable=True)
        self.frames = self.expected["frames"][:, 1]
        with torch.inference_mode():
            self.output: Output = self.model(self.expected["frames"], self.ids_shuffle)

    def error(self, key: str, found: Tensor) -> float:
        return relative_error(found, self.expected[key])


@pytest.fixture(scope="module", params=["avenue", "shanghai"])
def golden(request: pytest.FixtureRequest, shared: Path) -> Golden:
    return Golden(shared / "golden" / request.param)


@pytest.mark.parametrize("part", ["latent", "teacher", "student"])
def test_predictions_agree_with_the_release(golden: Golden, part: str) -> None:
    assert golden.error(part, getattr(golden.output, part)[:1]) < BOUND


def test_mask_agrees_with_the_release(golden: Golden) -> None:
    assert torch.equal(torch.argsort(golden.ids_shuffle, dim=1), golden.expected["ids_restore"].long())


def test_token_weights_agree_with_the_release(golden: Golden) -> None:
    gradient, anomaly_map = golden.expected["gradient"], golden.expected["anomaly_map"]
    assert golden.error("weights_clean", patch_weights(gradient, golden.patch)) < BOUND
    assert golden.error("weights_anomaly", patch_weights(gradient, golden.patch, anomaly_map)) < BOUND


def test_losses_agree_with_the_release(golden: Golden) -> None:
    teacher, g = golden.output.teacher, golden.expected
    clean = teacher_loss(teacher, patch_target(golden.frames, None, golden.patch), g["weights_clean"])
    target = patch_target(golden.frames, g["anomaly_map"], golden.patch)
    abnormal = teacher_loss(teacher, target, g["weights_anomaly"])
    student = student_loss(golden.output.student, teacher, golden.ids_shuffle, golden.model.config.kept)
    assert golden.error("loss_teacher_clean", clean) < BOUND
    assert golden.error("loss_teacher_anomaly", abnormal) < BOUND
    assert golden.error("loss_student", student) < BOUND


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_frame_scores_agree_with_the_release(golden: Golden, kind: str) -> None:
    out = golden.output
    head = torch.eye(out.teacher.shape[2]), torch.zeros(out.teacher.shape[2])  # the states are the predictions
    _, means = discrepancy_map(out.teacher, out.student, *head, *head, golden.frames, golden.patch, kind)  # type: ignore[arg-type]
    assert golden.error(f"teacher_error_{kind}", means[:, :2].sum(1) / TARGET_CHANNELS) < BOUND
    assert golden.error(f"gap_{kind}", means[:, 2] / TARGET_CHANNELS) < BOUND


# ---- without the shared data ----

WAVES = ModelConfig(height=16, width=32, patch=4, encoder_dim=16, decoder_dim=8, heads=4, mask_count=2)


def wave_model() -> AedMae:
    """Weights from a formula: the same in every version of every library."""
    model = AedMae(WAVES).eval()
    with torch.no_grad():
        for i, (name, tensor) in enumerate(sorted(model.state_dict().items())):
            if tensor.is_floating_point():
                wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * (0.7 + 0.13 * i))
                offset = 1.0 if name.endswith(("running_var", "norm.weight", "norm1.weight", "norm2.weight")) else 0.0
                tensor.copy_((offset + 0.3 * wave).view(tensor.shape))
    return model


def wave_windows() -> Tensor:
    pixels = torch.arange(2 * 3 * WAVES.height * WAVES.width * 3)
    return ((pixels * 31 + pixels // 7 * 17) % 256).to(torch.uint8).view(2, 3, WAVES.height, WAVES.width, 3)


def wave_values() -> dict[str, list[float]]:
    """A few numbers of every part of the output, in float64."""
    model = wave_model().double()
    model.class_head.bias.data += 0.25  # type: ignore[union-attr]
    with torch.inference_mode():
        out = model(wave_windows(), mask_bank(WAVES))
    assert out.class_logit is not None
    values = {name: getattr(out, name).flatten()[:: max(1, getattr(out, name).numel() // 24)] for name in out._fields}
    return {name: [round(v, 12) for v in tensor.tolist()] for name, tensor in values.items()}


def test_own_golden_values() -> None:
    """Recorded from the version that agreed with the release's tensors; ``python -m tests.model.test_network``."""
    expected = json.loads(Path(__file__).with_name("golden_waves.json").read_text())
    found = wave_values()
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert relative_error(torch.tensor(found[name]), torch.tensor(values)) < 1e-9, name


def test_fp32_agrees_with_float64() -> None:
    model, windows, masks = wave_model(), wave_windows(), mask_bank(WAVES)
    with torch.inference_mode():
        single, double = model(windows, masks), model.double()(windows, masks)
    for found, expected in zip(single, double, strict=True):
        assert relative_error(found, expected) < BOUND


def test_a_frames_output_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    model, windows, masks = wave_model().double(), wave_windows(), mask_bank(WAVES)
    with torch.inference_mode():
        both, second = model(windows, masks), model(windows[1:], masks[1:])
    for a, b in zip(both, second, strict=True):
        torch.testing.assert_close(a[1:], b)


def test_only_visible_patches_are_seen() -> None:
    """Changing every masked pixel changes nothing; changing a visible one does."""
    model, windows, masks = wave_model(), wave_windows()[:1], mask_bank(WAVES)[:1]
    d, (_, columns) = WAVES.patch, WAVES.grid
    changed = windows.clone()
    for token in masks[0, WAVES.kept :].tolist():
        row, column = divmod(token, columns)
        changed[:, :, row * d : (row + 1) * d, column * d : (column + 1) * d] ^= 0xFF
    assert not torch.equal(changed, windows)
    with torch.inference_mode():
        assert torch.equal(model(changed, masks).teacher, model(windows, masks).teacher)
        row, column = divmod(int(masks[0, 0]), columns)
        changed[:, :, row * d, column * d] ^= 0xFF
        assert not torch.equal(model(changed, masks).teacher, model(windows, masks).teacher)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_flops_are_those_of_the_layers(name: str) -> None:
    """Against PyTorch's own counter, which sees the matrix products (the depth-wise convolutions included)."""
    model = AedMae(CONFIGS[name]).to("meta").eval()
    config = model.config
    windows = torch.empty(1, 3, config.height, config.width, 3, dtype=torch.uint8, device="meta")
    masks = torch.empty(1, config.tokens, dtype=torch.int64, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(windows, masks)
    assert math.isclose(model.flops_per_frame(), counter.get_total_flops(), rel_tol=1e-3)


def test_published_count_of_operations() -> None:
    """2.67 GMAC at 320x640 with all patches embedded, less the half of the embedding that is never computed."""
    macs = AedMae(CONFIGS["avenue"]).flops_per_frame() / 2
    assert math.isclose(macs, 2.668e9 - 0.236e9, rel_tol=2e-3)


def test_parameters() -> None:
    assert sum(p.numel() for p in AedMae(CONFIGS["avenue"]).parameters()) == pytest.approx(3.0e6, rel=0.05)


def test_student_learns_alone() -> None:
    model = wave_model().requires_grad_(False)
    for parameter in model.student_parameters():
        parameter.requires_grad_(True)
    masks = mask_bank(WAVES)
    out = model(wave_windows(), masks)
    student_loss(out.student, out.teacher, masks, WAVES.kept).backward()
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert learning == {"decoder_student_block", "decoder_student_norm", "decoder_student_pred"}


def test_gradients_in_bfloat16_are_those_of_float32() -> None:
    """Up to rounding, though attention and its gradient are other kernels: PyTorch's, and ours under autocast."""
    masks = mask_bank(WAVES)
    found: list[dict[str, Tensor]] = []
    for bf16 in (False, True):
        model = wave_model()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            teacher = model(wave_windows(), masks).teacher
        teacher.float().square().mean().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    exact, rounded = found
    assert exact.keys() == rounded.keys()
    together = [torch.cat([gradient.flatten() for gradient in gradients.values()]) for gradients in found]
    assert relative_error(together[1], together[0]) < 0.015
    for name in [name for name in exact if name.endswith(("proj_q.weight", "proj_k.weight", "proj_v.weight"))]:
        assert torch.cosine_similarity(rounded[name].flatten(), exact[name].flatten(), dim=0) > 0.97, name


@pytest.mark.parametrize(
    ("windows", "ids", "message"),
    [
        (torch.zeros(1, 3, 16, 32, 3), torch.zeros(1, 32, dtype=torch.int64), "windows: expected uint8"),
        (torch.zeros(1, 3, 16, 16, 3, dtype=torch.uint8), torch.zeros(1, 32, dtype=torch.int64), "windows: expected"),
        (torch.zeros(1, 3, 16, 32, 3, dtype=torch.uint8), torch.zeros(1, 16, dtype=torch.int64), "ids_shuffle"),
    ],
)
def test_wrong_input_is_named(windows: Tensor, ids: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wave_model()(windows, ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 30}, "not a multiple of patch"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"mask_ratio": 0.999}, "0 visible tokens do not fill"),
        ({"mask_count": 3}, "mask_count=3 is not a multiple of 2"),
        ({"heads": 3}, "multiple of heads"),
        ({"width": 36}, "do not fill"),
        ({"decoder_depth": 1}, "decoder_depth"),
        ({"colour": 1}, r"unknown fields \['colour'\]"),
        ({"dropout": 5}, "dropout: expected 0 to 1, found 5"),
        ({"mask_seed": -1}, r"mask_seed: expected 0 to 2\^64 - 1, found -1"),
        ({"mask_seed": 2**64}, r"mask_seed: expected 0 to 2\^64 - 1"),
    ],
)
def test_wrong_configuration_is_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict({**WAVES.to_dict(), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 16.0}, "height: expected int, found 16.0"),
        ({"mask_count": 2.0}, "mask_count: expected int, found 2.0"),
        ({"heads": True}, "heads: expected int, found True"),
        ({"class_head": "no"}, "class_head: expected bool, found 'no'"),
        ({"class_head": 0}, "class_head: expected bool, found 0"),
        ({"mask_ratio": "0.5"}, "mask_ratio: expected float, found '0.5'"),
        ({"dropout": None}, "dropout: expected float, found None"),
    ],
)
def test_a_value_of_another_type_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ModelConfig.from_dict({**WAVES.to_dict(), **change})


@pytest.mark.parametrize(
    ("ratio", "kept"), [(0.1, 720), (0.25, 600), (0.5, 400), (0.75, 200), (0.8, 160), (0.9, 80), (0.95, 40)]
)
def test_the_share_of_visible_tokens_is_what_it_says(ratio: float, kept: int) -> None:
    """1 - 0.8 is a little less than 0.2."""
    config = replace(CONFIGS["avenue"], mask_ratio=ratio, mask_count=-(-800 // kept))
    assert (config.kept, config.encoder_grid) == (kept, (20, kept // 20))


if __name__ == "__main__":
    target = Path(__file__).with_name("golden_waves.json")
    target.write_text(json.dumps(wave_values(), indent=1) + "\n")
    print(f"wrote {target.name}")
