"""benchmarks/fps.py: what its report holds and writes, with a network that takes no time; and what goes into it."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from aedmae_fast import Scorer
from aedmae_fast.config import PRESETS
from aedmae_fast.engine.cores import usable_cores
from aedmae_fast.engine.graph import GraphRunner
from aedmae_fast.engine.runner import Runner
from aedmae_fast.model.checkpoint import save_model
from aedmae_fast.model.network import AedMae
from aedmae_fast.video.pyav import PyavVideo
from tests.clips import write_clip
from tests.conftest import TINY
from tests.engine.graph_twin import CaptureTwin

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
BASELINE = """
import torch

class Network(torch.nn.Module):
    def forward(self, windows):
        assert windows.dtype == torch.float32 and windows.shape[1:] == (9, 32, 64)
        assert windows.abs().max() <= 1 and not self.training
"""
SUMMARY = {
    *("device", "commit", "precision", "model_fps", "eager_fp32_fps", "compile_fps", "matrix_peak_share"),
    *("int8_fps", "fp8_fps"),
    *("decode_fps", "model_ceiling_fps", "end_to_end_fps", "end_to_end_over_ceiling", "bound_by", "decoded_by"),
    *("onnxruntime_fps", "openvino_fps", "baseline_fps", "missing"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The report of one run with the least of everything, and what it printed."""
    folder = tmp_path_factory.mktemp("fps")
    torch.manual_seed(0)  # a fixture of a module comes before those of its tests, which seed
    save_model(AedMae(TINY), folder / "tiny.safetensors")
    (folder / "baseline.py").write_text(BASELINE)
    command = [sys.executable, str(BENCHMARKS / "fps.py"), "--device", "cpu", "--threads", "1", "--precision", "fp32"]
    command += ["--checkpoint", str(folder / "tiny.safetensors"), "--json", str(folder / "out" / "fps.json")]
    command += ["--rounds", "1", "--clips", "1", "--frames", "8", "--size", "64", "32"]
    command += ["--formats", "64x32:libx264", "96x64:libx265"]
    command += ["--baseline", f"{folder}/baseline.py:Network", "--without", "compile", "onnxruntime", "openvino"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return folder / "out" / "fps.json", run.stdout


def test_the_summary_is_last_and_complete(written: tuple[Path, str]) -> None:
    report = json.loads(written[0].read_text())
    assert list(report)[-1] == "summary"
    summary = report["summary"]
    assert set(summary) == SUMMARY
    assert summary["precision"] == "fp32"
    for name in ("compile", "onnxruntime", "openvino"):
        assert summary[f"{name}_fps"] is None
        assert summary["missing"][f"{name}_fps"] == "left out by --without"
    rates = (
        "model_fps",
        "int8_fps",
        "eager_fp32_fps",
        "baseline_fps",
        "decode_fps",
        "end_to_end_fps",
        "end_to_end_over_ceiling",
    )
    assert all(summary[name] > 0 for name in rates)
    assert report["memory"]["host"] > 50
    assert [row["batch"] for row in report["sweep"]] == [1, 2, 4, 8, 16, 32]
    for name in ("latency", "stream_latency"):
        assert 0 < report[name]["p50_ms"] <= report[name]["p99_ms"]
    assert (report["settings"]["decoder"], summary["decoded_by"]) == ("auto", ["pyav"])


def test_the_waterfall_begins_with_the_papers_protocol_and_states_errors(written: tuple[Path, str]) -> None:
    rows = json.loads(written[0].read_text())["waterfall"]
    assert (rows[0]["step"], rows[0]["precision"], rows[0]["over_eager"]) == ("plain", "fp32", 1)
    assert rows[0]["way"].startswith("batch 32")
    assert {row["step"] for row in rows} == {"plain", "InferenceModel", "baseline"}
    for row in rows:
        assert row["fps"] > 0
        assert 0 < row["matrix_share"] < 1 or row["step"] == "baseline"
        bound = {"fp32": 2e-6, "bf16": 3e-2, "int8": 6e-2}[row["precision"]]
        assert row["error"] is None if row["step"] == "baseline" else 0 < row["error"] < bound


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_profile_accounts_for_the_step_and_for_every_product_of_matrices(
    written: tuple[Path, str], precision: str
) -> None:
    found = json.loads(written[0].read_text())["profile"][precision]
    rows = found["rows"]
    assert sum(row["share"] for row in rows) + found["around_share"] == pytest.approx(1, abs=0.01)
    assert sum(row["ms"] for row in rows) + found["around_ms"] == pytest.approx(found["frame_ms"], rel=0.01)
    kernels = {row["op"].split(" -> ")[0] for row in rows if row["bound"]}
    assert kernels == {
        *("attention", "discrepancy_map", "dwconv_qkv", "linear", "mean_filter", "mlp", "patch_embed"),
    }
    c = TINY
    convolutions = (
        2 * 3 * 9 * (c.encoder_depth * c.encoder_dim * c.kept + (c.decoder_depth + 1) * c.decoder_dim * c.tokens)
    )
    assert sum(row["gflop"] for row in rows) * 1e9 == pytest.approx(
        AedMae(c).flops_per_frame() - convolutions, rel=1e-3
    )


def test_each_format_has_its_sessions_and_its_ceilings(written: tuple[Path, str]) -> None:
    rows = json.loads(written[0].read_text())["formats"]
    assert [row["format"] for row in rows] == ["64x32:libx264", "96x64:libx265"]
    for row in rows:
        assert [s["sessions"] for s in row["sessions"]] == list(range(1, usable_cores()[0] + 1))
        assert all(s["decode_fps"] > 0 for s in row["sessions"])
        assert row["end_to_end_fps"] > 0
        assert row["decoded_by"] == ["pyav"]
        assert f"{row['format']}, decode ceiling {row['decode_fps']:.1f} (by pyav), model ceiling" in written[1]


def test_what_was_decoded_by_another_decoder_is_told(part: Any, tiny_model: AedMae, tmp_path: Path) -> None:
    """As where a GPU's decoder leaves a file to software."""
    end_to_end = part("end_to_end")
    clips = [write_clip(tmp_path / f"{name}.mp4", frames=9) for name in ("hard", "soft")]

    class InHardware(PyavVideo):
        def __init__(self, path: str | Path) -> None:
            super().__init__(path)
            self.info = dataclasses.replace(self.info, decoder="nvdec" if Path(path).stem == "hard" else "pyav")

    scorer = Scorer(tiny_model, device="cpu", workers=2)
    scorer._source = lambda path: lambda: InHardware(path)  # type: ignore[method-assign]
    assert end_to_end.decode(scorer, clips, 2).by == {"nvdec", "pyav"}
    assert end_to_end.measure(scorer, clips[:1], 1).decoded_by == {"nvdec"}


def test_a_clip_that_is_not_decoded_says_why(part: Any, tiny_model: AedMae, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("no video")
    scorer = Scorer(tiny_model, device="cpu")
    with pytest.raises(RuntimeError, match=r"clip\.mp4: unreadable: not a video"):
        part("end_to_end").measure(scorer, [tmp_path / "clip.mp4"], 1)


def test_a_format_that_is_none(part: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--formats: expected WxH:CODEC such as 640x360:libx264, found '720p'"):
        next(part("formats").measure(None, tmp_path, ["720p"], 8, 1))


def test_formats_alone_are_kept_one_by_one(tmp_path: Path) -> None:
    save_model(AedMae(TINY), tmp_path / "tiny.safetensors")
    command = [sys.executable, str(BENCHMARKS / "fps.py"), "--device", "cpu", "--threads", "1", "--precision", "fp32"]
    command += ["--checkpoint", str(tmp_path / "tiny.safetensors"), "--json", str(tmp_path / "out" / "formats.json")]
    command += ["--rounds", "1", "--clips", "1", "--frames", "8", "--formats-only", "--formats", "64x32:libx264"]
    run = subprocess.run([*command, "64x32:no_such_codec"], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    left = json.loads((tmp_path / "out" / "formats.unfinished.json").read_text())
    assert [row["format"] for row in left["formats"]] == ["64x32:libx264"]
    assert "waterfall" not in left
    subprocess.run(command, check=True)
    (path,) = (tmp_path / "out").iterdir()
    assert json.loads(path.read_text())["formats"][0]["end_to_end_fps"] > 0


def test_csv_picture_and_screen(written: tuple[Path, str]) -> None:
    path, printed = written
    rows = json.loads(path.read_text())["waterfall"]
    with path.with_suffix(".csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["step"], row["way"], float(row["fps"])) for row in found] == [
        (row["step"], row["way"], row["fps"]) for row in rows
    ]
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "decode ceiling " in printed
    assert "no openvino: left out by --without" in printed


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of benchmarks/fps_parts."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"fps_parts.{name}")


def row(step: str, precision: str, fps: float) -> dict[str, Any]:
    return {"step": step, "precision": precision, "fps": fps, "matrix_share": fps / 100}


def test_the_summary_takes_the_best_of_its_precision(part: Any) -> None:
    rows = [
        *(row("plain", "fp32", fps) for fps in (10, 12)),
        *(row("InferenceModel", precision, fps) for precision, fps in (("fp32", 20), ("bf16", 30))),
        row("InferenceModel, CUDA graph", "bf16", 40),
        *(row("torch.compile", precision, fps) for precision, fps in (("fp32", 15), ("bf16", 25), ("bf16", 26))),
        *(row("OpenVINO", precision, fps) for precision, fps in (("fp32", 14), ("bf16", 24))),
        row("ONNX Runtime", "fp32", 13),
    ]
    summary = part("output").waterfall_summary(rows, "bf16", {})
    assert summary["missing"] == {
        "baseline_fps": "not asked for",
        "int8_fps": "on CPUs only",
        "fp8_fps": "on GPUs of compute capability 8.9 or above only",
    }
    int8 = part("output").waterfall_summary([*rows, row("InferenceModel", "int8", 50)], "bf16", {})
    assert (int8["model_fps"], int8["int8_fps"]) == (40, 50)
    assert (summary["model_fps"], summary["matrix_peak_share"]) == (40, 0.4)
    names = ("eager_fp32_fps", "compile_fps", "onnxruntime_fps", "openvino_fps", "baseline_fps")
    assert [summary[name] for name in names] == [10, 26, 13, 24, None]


def test_what_cannot_run_is_missing_and_the_others_are_timed(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoError(Exception):
        """As compilers have errors of their own."""

    def refuse(_: slice) -> None:
        raise NoError("out of registers\nand more")

    waterfall, contender, way = part("waterfall"), part("contender").Contender, part("contender").Way(1, 1)
    both = [contender(name, "fp32", way, step, "") for name, step in (("one", lambda _: None), ("other", refuse))]
    monkeypatch.setattr(waterfall, "contenders", lambda *_: (both, {}))
    inputs = part("contender").Inputs.of(TINY, torch.zeros(4, TINY.height, TINY.width, 3, dtype=torch.uint8), 4)
    wanted = waterfall.Wanted(AedMae(TINY).eval(), PRESETS["paper"], (), 1, 1, None, ())
    kept: list[Any] = []
    rows, missing = waterfall.measure(wanted, inputs, 2, kept.append)
    assert [row["step"] for row in rows] == ["one"]
    assert [len(each[0]["rounds"]) for each in kept] == [1, 2]
    assert not torch.backends.cudnn.allow_tf32
    assert missing == {"other fp32, batch 1, 1 thread": "out of registers"}
    summary = part("output").waterfall_summary(rows, "fp32", missing)
    assert (summary["model_fps"], summary["missing"]["model_fps"]) == (None, "see missing")


def test_a_run_that_is_cut_short_leaves_what_it_has(part: Any, tmp_path: Path) -> None:
    output = part("output")
    (tmp_path / "out").mkdir()
    output.write_unfinished(tmp_path / "out" / "fps.json", {"waterfall": []})
    (left,) = (tmp_path / "out").iterdir()
    assert json.loads(left.read_text()) == {"waterfall": []}
    whole = {"waterfall": [{**row("plain", "fp32", 1.0), "way": ""}], "device": "d", "commit": "c"}
    output.write(whole, tmp_path / "out" / "fps.json")
    assert not left.exists()


def test_a_network_is_compared_with_the_best_of_the_others_round_by_round(part: Any) -> None:
    def rounds(step: str, precision: str, *fps: float) -> dict[str, Any]:
        return {**row(step, precision, sorted(fps)[1]), "rounds": list(fps), "error": 1e-6}

    rows = [
        rounds("plain", "fp32", 5, 6, 7),
        rounds("plain", "fp32", 8, 9, 10),
        rounds("InferenceModel", "fp32", 20, 30, 40),
        rounds("InferenceModel", "bf16", 40, 40, 40),
        rounds("InferenceModel", "int8", 60, 60, 60),
        rounds("OpenVINO", "fp32", 10, 20, 30),
        rounds("ONNX Runtime", "fp32", 11, 12, 13),
        rounds("torch.compile", "bf16", 50, 50, 50),
    ]
    fp32, bf16, int8 = part("configurations").rows_of("tiny", AedMae(TINY), rows)
    assert (fp32["precision"], fp32["fps"], fp32["input"]) == ("fp32", 30, "32x64, patch 8, 16 of 32 tokens")
    assert fp32["others"] == {"plain": 9, "ONNX Runtime": 12, "OpenVINO": 20}
    assert (fp32["best_other"], fp32["over_best_other"]) == ("OpenVINO", 1.5)  # of 2, 1.5 and 1.33
    assert (bf16["best_other"], bf16["over_best_other"]) == ("torch.compile", 0.8)
    assert (int8["best_other"], int8["over_best_other"]) == ("torch.compile", 1.2)  # nobody else has it: of any


@pytest.mark.parametrize(
    ("spec", "message"),
    [("Network", "found 'Network'"), ("{}/none.py:Network", "existing file"), ("{}/a.py:B", "no 'B'")],
)
def test_a_baseline_that_is_not_there(part: Any, tmp_path: Path, spec: str, message: str) -> None:
    (tmp_path / "a.py").write_text("A = 1\n")
    with pytest.raises(ValueError, match=message):
        part("torch_contenders").load_baseline(spec.format(tmp_path))


def test_what_is_timed_is_what_the_engine_computes(part: Any, tiny_model: AedMae) -> None:
    """Of a preset that takes means over the channels."""
    frames = torch.randint(0, 256, (6, TINY.height, TINY.width, 3), dtype=torch.uint8)
    preset = PRESETS["release-avenue"]
    inputs = part("contender").Inputs.of(TINY, frames, 6)
    ours = part("torch_contenders").Ours(tiny_model, inputs, "fp32", preset)
    maps, terms = ours.contender(part("contender").Way(6, 1)).step(slice(0, 6))
    runner = Runner(tiny_model, preset, "cpu", "fp32", threads=1)
    windows, rows = torch.arange(18).view(6, 3), torch.arange(6)
    written = torch.empty(6, TINY.height, TINY.width)
    (expected,) = runner.step(
        inputs.masks, inputs.windows.flatten(0, 1), written, windows, rows % len(inputs.masks), rows
    )
    assert torch.equal(terms, expected)
    assert torch.equal(maps, written)


@pytest.fixture
def ours(part: Any, tiny_model: AedMae) -> Any:
    frames = torch.randint(0, 256, (6, TINY.height, TINY.width, 3), dtype=torch.uint8)
    inputs = part("contender").Inputs.of(TINY, frames, 6)
    return part("torch_contenders").Ours(tiny_model, inputs, "fp32", PRESETS["paper"])


def test_a_graph_that_cannot_be_had_says_why(ours: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="eager: CUDA graphs need a CUDA device, found cpu"):
        ours.captured(2)


def test_the_captured_step_computes_what_the_eager_one_does(
    part: Any, ours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded by a twin that refuses what a CUDA graph cannot hold."""
    module: ModuleType = part("torch_contenders")
    monkeypatch.setattr(module, "GraphRunner", partial(GraphRunner, capture=CaptureTwin))
    captured, eager = ours.captured(2), ours.contender(part("contender").Way(2, 1))
    for start in (0, 4):
        found, expected = (c.step(slice(start, start + 2)) for c in (captured, eager))
        assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))
