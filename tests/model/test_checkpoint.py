"""Checkpoints: what is written comes back, what is foreign, broken or hostile is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aedmae_fast.config import CONFIGS
from aedmae_fast.model.checkpoint import FORMAT, CheckpointError, bundled_names, load_model, save_model
from aedmae_fast.model.network import AedMae
from tests.conftest import TINY


@pytest.fixture
def saved(tiny_model: AedMae, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(tiny_model, path, {"data": "a test"})
    return path


def test_round_trip(tiny_model: AedMae, saved: Path) -> None:
    loaded = load_model(saved)
    assert loaded.config == tiny_model.config
    assert not loaded.training
    for key, tensor in tiny_model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_half_precision_storage_is_read_as_float32(tiny_model: AedMae, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path / "half.safetensors", dtype=torch.float16)
    save_model(tiny_model, tmp_path / "full.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "full.safetensors").stat().st_size
    for key, tensor in load_model(tmp_path / "half.safetensors").state_dict().items():
        assert tensor.dtype == tiny_model.state_dict()[key].dtype
        torch.testing.assert_close(tensor, tiny_model.state_dict()[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_weights(name: str) -> None:
    assert load_model(name).class_head is not None


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_untrained_networks_are_the_same_every_time(name: str) -> None:
    first, second = load_model(f"untrained-{name}"), load_model(f"untrained-{name}")
    assert first.config == CONFIGS[name]
    assert torch.equal(first.decoder_pred.weight, second.decoder_pred.weight)


def test_a_name_that_begins_as_an_untrained_networks_may_be_a_file(
    tiny_model: AedMae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("untrained-runs").mkdir()
    save_model(tiny_model, "untrained-runs/model.safetensors")
    assert load_model("untrained-runs/model.safetensors").config == TINY


@pytest.mark.parametrize("source", ["scene", "untrained-ped2"])
def test_loading_leaves_the_callers_random_numbers_alone(source: str) -> None:
    before = torch.random.get_rng_state()
    load_model(source)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_header_is_our_own_whatever_else_is_said(tiny_model: AedMae, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path / "model.safetensors", {"format": "pt", "config": "{}", "data": "a test"})
    assert load_model(tmp_path / "model.safetensors").config == TINY


# ---- refused ----


def refused(source: Path | str) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(source)
    message = str(caught.value)
    assert str(source) in message
    assert "\n" not in message
    return message


def test_missing_file(tmp_path: Path) -> None:
    assert "no such checkpoint" in refused(tmp_path / "none.safetensors")
    assert "or one of ped2, scene, untrained-avenue, untrained-shanghaitech" in refused("untrained-nothing")


def test_truncated_file(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-100])
    assert "not a whole safetensors file" in refused(saved)


def test_a_name_that_says_nothing_of_the_format(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "model.bin")
    assert "a PyTorch file's name ends in .pth or .pt" in refused(tmp_path / "model.bin")
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "checkpoint-best-student.pth")
    (tmp_path / "checkpoint-best-student.pth").rename(tmp_path / "MODEL.PTH")
    assert "needs checkpoint-best-student.pth" in refused(tmp_path / "MODEL.PTH")


def test_empty_file(tmp_path: Path) -> None:
    for name in ("empty.safetensors", "empty.pth"):
        (tmp_path / name).touch()
        assert "not a whole" in refused(tmp_path / name)


def test_foreign_safetensors(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, str(tmp_path / "x.safetensors"))
    assert "expected a header with format 'aedmae_fast 1', found 'no format'" in refused(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{}",
        "[1]",
        '{"height": 32, "width": 64, "patch": 8, "colour": 1}',
        '{"height": 32, "width": 64, "patch": 8, "encoder_dim": 256.0}',
        '{"height": 32, "width": 64, "patch": 8, "dropout": 5}',
        '{"height": 32, "width": 64, "patch": 8, "mask_seed": -1}',
    ],
)
def test_unusable_configuration(tmp_path: Path, config: str) -> None:
    save_file({"x": torch.zeros(1)}, str(tmp_path / "x.safetensors"), {"format": FORMAT, "config": config})
    assert "no usable configuration" in refused(tmp_path / "x.safetensors")


def rewrite(saved: Path, change: dict[str, torch.Tensor | None]) -> Path:
    tensors: dict[str, torch.Tensor | None] = {**load_model(saved).state_dict(), **change}
    header = {"format": FORMAT, "config": json.dumps(TINY.to_dict())}
    save_file({k: v for k, v in tensors.items() if v is not None}, str(saved), header)
    return saved


def test_missing_key(saved: Path) -> None:
    assert "1 keys are missing, first 'norm.weight'" in refused(rewrite(saved, {"norm.weight": None}))


def test_unknown_key(saved: Path) -> None:
    assert "1 unknown keys, first 'extra'" in refused(rewrite(saved, {"extra": torch.zeros(1)}))


def test_wrong_shape(saved: Path) -> None:
    message = refused(rewrite(saved, {"norm.weight": torch.zeros(3)}))
    assert "key 'norm.weight': expected [16], found [3]" in message


def test_nan_in_the_weights(saved: Path) -> None:
    message = refused(rewrite(saved, {"norm.weight": torch.full((16,), torch.nan)}))
    assert "key 'norm.weight': 16 of 16 values are NaN or infinite" in message


# ---- the release's pickles ----


class Evil:
    """A pickle that creates a file when it is loaded the unsafe way."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_malicious_pickle_is_refused_and_does_nothing(tmp_path: Path, legacy: bool) -> None:
    target = tmp_path / "owned"
    path = tmp_path / "checkpoint-best-student.pth"
    torch.save({"model": {}, "args": Evil(target)}, path, _use_new_zipfile_serialization=not legacy)
    assert "could run code" in refused(path)
    assert not target.exists()
    torch.load(path, weights_only=False)  # the trap is armed: the unsafe way does spring it
    assert target.exists()


def test_bare_malicious_pickle(tmp_path: Path) -> None:
    path, target = tmp_path / "checkpoint-best-student.pth", tmp_path / "owned"
    path.write_bytes(pickle.dumps({"model": Evil(target)}))
    refused(path)
    assert not target.exists()


@pytest.fixture
def config_dict(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class of the name that the release's checkpoints mention; importable only while they are written."""

    class ConfigDict:
        def __init__(self, **fields: object) -> None:
            self.__dict__.update(_fields=fields, _locked=True)

    ConfigDict.__module__, ConfigDict.__qualname__ = "ml_collections.config_dict.config_dict", "ConfigDict"
    for name in ("ml_collections", "ml_collections.config_dict", "ml_collections.config_dict.config_dict"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["ml_collections.config_dict.config_dict"].ConfigDict = ConfigDict  # type: ignore[attr-defined]
    return ConfigDict


def release_pair(folder: Path, args: object) -> Path:
    """A pair in the release's format, teacher and student weights told apart by their values."""
    model = load_model("untrained-shanghaitech")
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("class_head")}
    weights["erosion.weight"] = torch.zeros(1, 1, 2, 2)
    for name, value in (("checkpoint-best.pth", 1.0), ("checkpoint-best-student.pth", 2.0)):
        marked = {k: torch.full_like(v, value) for k, v in weights.items()}
        torch.save({"model": marked, "optimizer": {"lr": 1e-4}, "epoch": 3, "args": args}, folder / name)
    return folder / "checkpoint-best.pth"


def test_release_pair(tmp_path: Path, config_dict: type, monkeypatch: pytest.MonkeyPatch) -> None:
    path = release_pair(tmp_path, config_dict(patch=8))
    monkeypatch.undo()
    model = load_model(path)
    assert (model.config.height, model.config.width, model.config.patch) == (160, 320, 8)
    assert model.class_head is None
    for key, tensor in model.state_dict().items():
        assert torch.all(tensor == (2 if "student" in key else 1)), key
    assert "ml_collections" not in sys.modules


def test_release_pair_of_a_parallel_training(tmp_path: Path) -> None:
    path = release_pair(tmp_path, None)
    plain = load_model(path).state_dict()
    for file in tmp_path.iterdir():
        content = torch.load(file, weights_only=True)
        torch.save({"model": {f"module.{k}": v for k, v in content["model"].items()}}, file)
    for key, tensor in load_model(path).state_dict().items():
        assert torch.equal(tensor, plain[key]), key


def test_release_pair_without_its_student(tmp_path: Path) -> None:
    path = release_pair(tmp_path, None)
    path.with_name("checkpoint-best-student.pth").unlink()
    assert "needs checkpoint-best-student.pth in the same folder" in refused(path)


def test_truncated_release_file(tmp_path: Path) -> None:
    path = release_pair(tmp_path, None)
    path.write_bytes(path.read_bytes()[:5000])
    assert "not a whole PyTorch file" in refused(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_release_file_cut_off_anywhere(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "checkpoint-best-student.pth"
    torch.save({"model": {"x": torch.zeros(2)}}, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for size in range(0, len(whole), 3):
        path.write_bytes(whole[:size])
        message = refused(path)
        if "GLOBAL" not in message:  # of half a name nobody knows whose it was
            assert "not a whole PyTorch file" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {1: torch.zeros(1)}}, r"found ['model']"),
        ([1, 2], "expected a dictionary with 'model', as the release writes it, found list"),
        ({"state_dict": {}}, r"found ['state_dict']"),
        ({"model": {"x": torch.zeros(1)}}, "not AED-MAE"),
        ({"model": {"patch_embed.proj.weight": torch.zeros(256, 9, 5, 5)}}, "patch 5 is none of the release's [8, 16]"),
        ({"model": {"patch_embed.proj.weight": torch.zeros(256, 9, 8, 8)}}, "keys are missing"),
    ],
)
def test_another_architecture(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "checkpoint-best-student.pth"
    torch.save(content, path)
    assert message in refused(path)


def test_the_releases_own_files(shared: Path) -> None:
    for name, patch in (("avenue", 16), ("shanghai", 8)):
        assert load_model(shared / "golden" / name / "checkpoint-best.pth").config.patch == patch
