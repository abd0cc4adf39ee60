"""The network for scoring against the plain network in float64, and against the release's tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.config import CONFIGS, WINDOW, ModelConfig
from aedmae_fast.model.checkpoint import load_model
from aedmae_fast.model.inference import InferenceModel, States
from aedmae_fast.model.masks import mask_bank
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops import discrepancy_map
from aedmae_fast.ops.discrepancy_map import discrepancy_map_reference

Dtypes = tuple[torch.dtype, torch.dtype | None]  # of states, and of quantized weights
FP32: Dtypes = (torch.float32, None)
BF16: Dtypes = (torch.bfloat16, None)
INT8: Dtypes = (torch.float32, torch.int8)
INT8_BF16: Dtypes = (torch.bfloat16, torch.int8)
# Relative error of states, predictions and class logits (root mean square) and of a frame's terms: float32 after some
# 60 roundings in a row, bfloat16 (unit roundoff 2e-3) likewise. The plain network in bfloat16 is at 9e-3. Weights and
# rows in int8, whose steps are 1/127 of the largest value, add 1.7e-2.
STATES = {FP32: 5e-6, BF16: 1.5e-2, INT8: 4e-2, INT8_BF16: 5e-2}
TERMS = {FP32: 1e-5, BF16: 1e-2, INT8: 1e-2, INT8_BF16: 1e-2}
DTYPES = pytest.mark.parametrize("dtypes", STATES, ids=["fp32", "bf16", "int8-fp32", "int8-bf16"])


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def trained(config: ModelConfig) -> AedMae:
    """Random weights with nothing at its start: biases, norms and batch statistics included."""
    model = AedMae(config)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn(tensor.shape))
    return model.eval()


def inputs(config: ModelConfig, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """A clip with texture at several scales, its windows and their masks."""
    size = config.height, config.width
    noise = [torch.rand(1, 3, max(1, size[0] // s), max(1, size[1] // s)) for s in (1, 8, 40)]
    scene = sum(F.interpolate(n, size, mode="bilinear") for n in noise)[0].permute(1, 2, 0) * 85  # type: ignore[index]
    frames = torch.stack([scene.roll((t, 3 * t), (0, 1)) for t in range(count)]).to(torch.uint8)
    t = torch.arange(count)
    windows = torch.stack([torch.where((t + o < 0) | (t + o >= count), t, t + o) for o in WINDOW], dim=1)
    return frames, windows, mask_bank(config)[t % config.mask_count]


def exact_states(model: AedMae, frames: Tensor, windows: Tensor, ids_shuffle: Tensor) -> States:
    """The plain network's, in float64."""
    model.double()
    with torch.inference_mode():
        latent = model.encode(frames[windows], ids_shuffle)
        logit = None if model.class_head is None else model.class_head(latent[:, 0]).squeeze(1)
        shared = model._shared(latent, ids_shuffle)
        states = States(model._teacher(shared), model._student(shared), logit)
    model.float()
    return states


class Exact:
    """A configuration's network, a window, and what float64 makes of it."""

    def __init__(self, config: ModelConfig) -> None:
        self.model = trained(config)
        frames, windows, ids = inputs(config, 4)
        self.inputs = frames, windows[3:], ids[3:]  # frame 3, whose window is (0, 3, 3)
        self.states = exact_states(self.model, *self.inputs)
        heads = self.model.decoder_pred, self.model.decoder_student_pred
        self.heads = [p.detach().double() for head in heads for p in (head.weight, head.bias)]


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def exact(request: pytest.FixtureRequest) -> Exact:
    torch.manual_seed(0)
    return Exact(CONFIGS[request.param])


@DTYPES
def test_agrees_with_the_plain_network_in_float64(exact: Exact, dtypes: Dtypes) -> None:
    fast = InferenceModel(exact.model, "cpu", *dtypes)
    found = fast(*exact.inputs)
    for part in States._fields:
        assert relative_error(getattr(found, part), getattr(exact.states, part)) < STATES[dtypes], part
    frames, patch = exact.inputs[0][3:], fast.config.patch
    for error in ("L1", "L2"):
        _, terms = discrepancy_map(found.teacher, found.student, *fast.heads, frames, patch, error)  # type: ignore[arg-type]
        _, expected = discrepancy_map_reference(*exact.states[:2], *exact.heads, frames, patch, error)  # type: ignore[arg-type]
        assert ((terms - expected).abs() <= TERMS[dtypes] * expected).all(), error


@DTYPES
@pytest.mark.parametrize("name", ["avenue", "shanghai"])
def test_predictions_agree_with_the_release(shared: Path, name: str, dtypes: Dtypes) -> None:
    folder = shared / "golden" / name
    with np.load(folder / "golden.npz") as file:
        golden = {key: torch.from_numpy(np.asarray(file[key])) for key in ("frames", "noise", "teacher", "student")}
    model = InferenceModel(load_model(folder / "checkpoint-best.pth"), "cpu", *dtypes)
    batch = len(golden["frames"])
    ids = torch.argsort(golden["noise"], dim=1, stable=True)
    states = model(golden["frames"].flatten(0, 1), torch.arange(3 * batch).view(batch, 3), ids)
    assert states.class_logit is None  # the release has no class head
    for part, weight, bias in (("teacher", *model.heads[:2]), ("student", *model.heads[2:])):
        predicted = F.linear(getattr(states, part).float(), weight.float(), bias.float())[:1]
        assert (
            relative_error(predicted, golden[part]) < {FP32: 1e-5, BF16: 2e-2, INT8: 4e-2, INT8_BF16: 5e-2}[dtypes]
        ), part


@DTYPES
def test_a_window_does_not_depend_on_its_batch(dtypes: Dtypes) -> None:
    """Bit for bit: alone, in a batch, with its frames alone or among others."""
    model = InferenceModel(trained(CONFIGS["ped2"]), "cpu", *dtypes)
    frames, windows, ids = inputs(model.config, 5)
    whole = model(frames, windows, ids)
    for i in range(5):
        alone = model(frames[windows[i]], torch.arange(3)[None], ids[i : i + 1])
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, whole, strict=True))  # type: ignore[index]


@DTYPES
def test_every_isa_agrees(isa: str, tiny_model: AedMae, dtypes: Dtypes) -> None:
    frames, windows, ids = inputs(tiny_model.config, 4)
    found = InferenceModel(tiny_model, "cpu", *dtypes)(frames, windows, ids)
    for a, b in zip(found, exact_states(tiny_model, frames, windows, ids), strict=True):
        assert relative_error(a, b) < 2 * STATES[dtypes]  # 8 channels average less than 128


def test_no_windows(tiny_model: AedMae) -> None:
    frames, windows, ids = inputs(tiny_model.config, 1)
    states = InferenceModel(tiny_model, "cpu", torch.float32)(frames, windows[:0], ids[:0])
    assert states.teacher.shape == states.student.shape == (0, tiny_model.config.tokens, tiny_model.config.decoder_dim)


def test_the_network_stays_as_it_is_and_may_change_afterwards(tiny_model: AedMae) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    arguments = inputs(tiny_model.config, 2)
    fast = InferenceModel(tiny_model, "cpu", torch.float32)
    first = fast(*arguments)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_model.state_dict().items())
    with torch.no_grad():
        for parameter in tiny_model.parameters():
            parameter.zero_()
    assert torch.equal(fast(*arguments).teacher, first.teacher)


def test_the_pixels_of_large_patches_stay_unquantized() -> None:
    """Of 88x88x9 of them, times levels, no int32 holds the sum."""
    config = ModelConfig(88, 176, 88, encoder_dim=32, decoder_dim=16, heads=2, mask_count=2)
    model = AedMae(config).eval()
    given = torch.full((3, 88, 176, 3), 255, dtype=torch.uint8), torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1]])
    exact, found = (InferenceModel(model, "cpu", torch.float32, q)(*given).teacher for q in (None, torch.int8))
    assert (found - exact).norm() < 0.05 * exact.norm()


def test_weights_that_the_device_does_not_compute_with(tiny_model: AedMae) -> None:
    with pytest.raises(TypeError, match=r"float8_e4m3fn is not computed on a CPU; expected float32, bfloat16 or int8"):
        InferenceModel(tiny_model, "cpu", torch.float32, torch.float8_e4m3fn)


def test_wrong_input_is_named(tiny_model: AedMae) -> None:
    model = InferenceModel(tiny_model, "cpu", torch.float32)
    frames, windows, ids = inputs(tiny_model.config, 2)
    with pytest.raises(ValueError, match=r"frames: expected \[T, 32, 64, 3\], found \(2, 32, 56, 3\)"):
        model(frames[:, :, 8:], windows, ids)
    with pytest.raises(ValueError, match=r"ids_shuffle: expected \[B, 32\], found \(2, 16\)"):
        model(frames, windows, ids[:, :16])
    with pytest.raises(TypeError, match="windows: expected int64"):
        model(frames, windows.int(), ids)
