"""The exported network in ONNX Runtime and OpenVINO against the plain network."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aedmae_fast import export
from aedmae_fast.config import WINDOW, ModelConfig
from aedmae_fast.model.masks import mask_bank
from aedmae_fast.model.network import AedMae
from aedmae_fast.model.onnx import OPSET, export_onnx
from aedmae_fast.model.region import Region
from tests.conftest import TINY
from tests.model.test_inference import relative_error, trained

OUTPUTS = ["teacher", "student", "class_logit"]
BOUND = 1e-5  # relative RMSE: float32 in another order
BATCHES = pytest.mark.parametrize("batch", [1, 3])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[AedMae, Path]:
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    torch.manual_seed(0)
    model, path = trained(TINY).train(), tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(model, path)
    assert model.training, "the network stays as it is"
    return model.eval(), path


def inputs(batch: int) -> dict[str, NDArray[Any]]:
    """Random windows of frames from near the end of the bank of masks and beyond it."""
    size = batch, len(WINDOW), TINY.height, TINY.width, 3
    windows = np.random.default_rng(batch).integers(0, 256, size, dtype=np.uint8)
    return {"windows": windows, "frame": np.arange(batch, dtype=np.int64) + TINY.mask_count - 1}


def check(model: AedMae, arrays: dict[str, NDArray[Any]], found: list[NDArray[Any]]) -> None:
    ids = mask_bank(model.config)[torch.from_numpy(arrays["frame"]) % model.config.mask_count]
    with torch.inference_mode():
        output = model(torch.from_numpy(arrays["windows"]), ids)
    for name, array in zip(OUTPUTS, found, strict=True):
        expected = getattr(output, name)
        assert array.shape == tuple(expected.shape), name
        assert relative_error(torch.from_numpy(np.array(array)), expected) < BOUND, name


@BATCHES
def test_onnxruntime_agrees(exported: tuple[AedMae, Path], batch: int) -> None:
    ort = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    model, path = exported
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["windows", "frame"]
    assert [o.name for o in session.get_outputs()] == OUTPUTS
    check(model, inputs(batch), session.run(None, inputs(batch)))


@BATCHES
def test_openvino_agrees(exported: tuple[AedMae, Path], batch: int) -> None:
    ov = pytest.importorskip("openvino", reason="the extra 'onnx' is not installed")
    model, path = exported
    core = ov.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled(inputs(batch))
    check(model, inputs(batch), [result[i] for i in range(len(OUTPUTS))])


def test_the_file_is_complete_and_says_what_it_is(exported: tuple[AedMae, Path]) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
    model, path = exported
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    found = onnx.load(path)
    onnx.checker.check_model(found)
    assert {entry.domain: entry.version for entry in found.opset_import} == {"": OPSET}
    (config,) = (entry.value for entry in found.metadata_props if entry.key == "aedmae_fast.config")
    assert ModelConfig.from_dict(json.loads(config)) == model.config


def test_a_region_is_in_the_file(tmp_path: Path) -> None:
    """What windows show outside of it counts for nothing, as in scoring."""
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    ort = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    model, inside = trained(TINY), torch.zeros(TINY.height, TINY.width, dtype=torch.bool)
    inside[5:20, 10:51] = True
    model.region = Region(inside)
    export_onnx(model, tmp_path / "model.onnx")
    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    arrays = inputs(3)
    found = session.run(None, arrays)
    check(model, {**arrays, "windows": arrays["windows"] * inside.numpy()[..., None]}, found)


def test_without_a_class_head_there_are_two_outputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    seen: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def stop(module: torch.nn.Module, arguments: tuple[Any, ...], **settings: Any) -> None:
        seen.update(settings, outputs=module(*arguments))
        raise Stop

    monkeypatch.setattr(torch.onnx, "export", stop)
    with pytest.raises(Stop):
        export_onnx(AedMae(dataclasses.replace(TINY, class_head=False)), tmp_path / "model.onnx")
    assert seen["output_names"] == ["teacher", "student"]
    assert len(seen["outputs"]) == 2


def test_the_extra_that_is_needed_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert export.main(["--checkpoint", "untrained-ped2", "--out", str(tmp_path / "model.onnx")]) == export.USAGE
    assert "pip install onnx onnxscript" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_file_is_whole_or_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    exports: list[torch.nn.Module] = []

    def save(path: Path) -> None:
        path.write_text("half of")
        raise OSError("no space left")

    def program(module: torch.nn.Module, *_: Any, **settings: Any) -> SimpleNamespace:
        exports.append(module)
        return SimpleNamespace(model=SimpleNamespace(metadata_props={}), save=save)

    monkeypatch.setattr(torch.onnx, "export", program)
    (tmp_path / "model.onnx").write_text("an earlier one")
    with pytest.raises(OSError, match="no space left"):
        export_onnx(AedMae(TINY), tmp_path / "model.onnx")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["an earlier one"]
    with pytest.raises(FileNotFoundError):
        export_onnx(AedMae(TINY), tmp_path / "nowhere" / "model.onnx")
    assert len(exports) == 1, "where nothing can be written nothing is exported"
