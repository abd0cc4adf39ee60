"""``python -m aedmae_fast.evaluate`` as a person uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from aedmae_fast import score
from aedmae_fast.evaluate import INTERRUPTED, OK, TROUBLE, main
from aedmae_fast.evaluation.baseline import frame_difference
from aedmae_fast.files import PICTURES_MARK
from aedmae_fast.model.checkpoint import save_model
from aedmae_fast.model.network import AedMae
from tests.conftest import TINY
from tests.evaluation.trees import mask, write_frames

Run = Callable[..., tuple[int, str, str]]
CLIPS = ("01", "02", "03")
FRAMES, START = 20, 12  # in two of the clips something starts to move in frame 12


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two clips with movement from a frame on, which is the anomaly, and one in which nothing happens."""
    root = tmp_path / "data"
    for name, start in (("01", START), ("02", START), ("03", FRAMES)):
        write_frames(root / "test" / name, FRAMES, start=start)
        labels = [int(t > start) for t in range(FRAMES)]
        for folder in ("labels", "masks"):
            (root / "test" / folder).mkdir(exist_ok=True)
        (root / "test" / "labels" / f"{name}.txt").write_text("\n".join(map(str, labels)))
        lefts = [2 * (t - start) - 2 for t in range(FRAMES)]  # the square and where it was a frame before
        boxes = [(9, left, 15, left + 8) if label else None for left, label in zip(lefts, labels, strict=True)]
        masks = np.stack([mask(1, box) for box in boxes])
        np.savez(root / "test" / "masks" / f"{name}.npz", bits=np.packbits(masks, axis=-1), shape=masks.shape)
    return root


@pytest.fixture
def evaluate(data: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["--data", str(data), "--layout", "clips", *map(str, arguments)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """CSV files as ``score`` writes them, with a score that errs in one frame of the first clip."""
    folder = tmp_path / "scores"
    folder.mkdir()
    for name in CLIPS:
        values = [0.1 + 0.01 * t for t in range(FRAMES)]
        if name == "01":
            values[0] = 0.9
        rows = [f"{t},{t / 25},{value},{value},0,0," for t, value in enumerate(values)]
        head = "frame,time_s,score,raw,teacher_error,discrepancy,class_prob"
        (folder / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")
    settings = {"preset": "paper", "precision": "bf16", "device": "cuda", "weights_sha256": "abc"}
    (folder / "manifest.json").write_text(json.dumps({"settings": settings, "files": {}}))
    return folder


def test_finished_scores(evaluate: Run, scores: Path, data: Path) -> None:
    code, out, _ = evaluate("--scores", scores, "--json", "-")
    report = json.loads(out)
    assert code == OK
    # 7 anomalous frames in clips 01 and 02; of 01's 13 normal ones, one is above all anomalous ones
    assert report["macro_auc_plain"] == pytest.approx((12 / 13 + 1) / 2)
    assert report["macro_auc_two_class"] == pytest.approx((1 - 7 / (8 * 14) + 1) / 2)
    assert report["macro_auc"] == pytest.approx((1 - 7 / (8 * 14) + 1 + 1) / 3)
    labels = [np.loadtxt(data / "test" / "labels" / f"{n}.txt") for n in CLIPS]
    values = [np.loadtxt(scores / f"{n}.csv", delimiter=",", skiprows=1, usecols=2) for n in CLIPS]
    assert report["micro_auc"] == pytest.approx(roc_auc_score(np.concatenate(labels), np.concatenate(values)))
    assert report["one_class_clips"] == ["03"]
    assert (report["frames"], report["anomalous_frames"]) == (60, 14)
    assert (report["preset"], report["precision"], report["device"]) == ("paper", "bf16", "cuda")
    assert (report["pixel_auc"], report["rbdc"], report["tbdc"]) == (None, None, None)  # without maps
    assert report["environment"]
    first = report["clips"][0]
    assert (first["name"], first["frames"], first["anomalous"]) == ("01", 20, 7)
    assert first["auc_plain"] == pytest.approx(12 / 13)
    assert report["clips"][2]["auc_plain"] is None


def test_the_baseline_stands_beside(evaluate: Run, scores: Path, data: Path) -> None:
    """Where movement is the anomaly, the frame difference finds frames, pixels, regions and tracks."""
    report = json.loads(evaluate("--scores", scores, "--json", "-")[1])
    expected = roc_auc_score([int(t > START) for t in range(FRAMES)], frame_difference(data / "test" / "01"))
    assert report["clips"][0]["baseline_auc_plain"] == pytest.approx(expected)
    baseline = report["baseline"]
    assert set(baseline) <= set(report)
    assert baseline["macro_auc_plain"] == 1.0
    assert baseline["pixel_auc"] > 0.9
    assert baseline["tbdc"] == 1.0
    assert baseline["rbdc"] > 0.5  # not 1: where the square lies across four blocks, their IoU with it is below 0.1


def test_tables(evaluate: Run, scores: Path) -> None:
    code, out, _ = evaluate("--scores", scores)
    assert code == OK
    assert [line.split() for line in out.splitlines() if line.startswith("03")] == [
        ["03", "20", "0", "1.0000", "-", "1.0000", "-"]
    ]
    assert "macro AUC, plain, two-class clips                 96.15            100.00" in out
    assert "preset paper, precision bf16, device cuda" in out
    assert "1 of 3 clips have one label only (03): the release's end points give them an area of 1" in out
    assert "no pixel-level figures of the model: 3 of 3 clips have no maps (score --maps)" in out


def test_plots_and_json(evaluate: Run, scores: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, _ = evaluate("--scores", scores, "--out", out, "--plot", "--json", tmp_path / "figures.json", "--quiet")
    assert code == OK
    assert sorted(p.name for p in out.iterdir()) == [
        PICTURES_MARK,
        *(f"{n}.png" for n in CLIPS),
        "detection.png",
        "evaluation.json",
        "roc.png",
    ]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in out.glob("*.png"))
    assert 0 < json.loads((tmp_path / "figures.json").read_text())["micro_auc"] < 1


def test_a_checkpoint(evaluate: Run, tiny_model: AedMae, tmp_path: Path) -> None:
    """Scores with the model, and leaves CSV files from which the same figures come again."""
    save_model(tiny_model, tmp_path / "tiny.safetensors")
    out = tmp_path / "out"
    given = ("--checkpoint", tmp_path / "tiny.safetensors", "--preset", "release-avenue", "--precision", "fp32")
    code, text, _ = evaluate(*given, "--device", "cpu", "--out", out, "--json", "-")
    assert code == OK
    report = json.loads(text)
    assert (report["preset"], report["precision"], report["device"]) == ("release-avenue", "fp32", "cpu")
    again = json.loads(evaluate("--scores", out, "--json", "-")[1])
    assert (again["preset"], again["precision"]) == ("release-avenue", "fp32")
    assert again["micro_auc"] == pytest.approx(report["micro_auc"], abs=1e-6)
    assert again["clips"][0]["auc_plain"] == pytest.approx(report["clips"][0]["auc_plain"], abs=1e-6)


def test_maps_of_a_model(evaluate: Run, tmp_path: Path) -> None:
    model = AedMae(replace(TINY, class_head=True)).eval()
    save_model(model, tmp_path / "tiny.safetensors")
    code, text, _ = evaluate("--checkpoint", tmp_path / "tiny.safetensors", "--preset", "paper", "--json", "-")
    report: dict[str, Any] = json.loads(text)
    assert code == OK
    assert 0 < report["pixel_auc"] < 1
    assert 0 <= report["rbdc"] <= 1
    assert 0 <= report["tbdc"] <= 1


def test_maps_beside_the_scores(evaluate: Run, tmp_path: Path, data: Path) -> None:
    """The figures are those of scoring here; a clip whose maps are gone, or cut short, takes all of them away."""
    save_model(AedMae(replace(TINY, class_head=True)).eval(), tmp_path / "tiny.safetensors")
    how = ("--checkpoint", str(tmp_path / "tiny.safetensors"), "--preset", "paper", "--precision", "fp32")
    here = json.loads(evaluate(*how, "--json", "-")[1])
    out = tmp_path / "scores"
    assert score.main(["--dir", str(data / "test"), "--out", str(out), "--maps", "--quiet", *how]) == OK
    figures = ("micro_auc", "pixel_auc", "rbdc", "tbdc")
    report = json.loads(evaluate("--scores", out, "--json", "-")[1])
    assert [report[name] for name in figures] == pytest.approx([here[name] for name in figures], abs=1e-6)
    assert report["maps"] == "those of score --maps"
    code, _, err = evaluate(*how, "--out", out)
    assert code == TROUBLE
    assert "holds scores of aedmae_fast.score, which stay" in err
    np.save(out / "02.npy", np.load(out / "02.npy")[:-1])
    report = json.loads(evaluate("--scores", out, "--json", "-")[1])
    assert (report["pixel_auc"], report["maps"]) == (None, "1 of 3 clips have no maps (score --maps)")


def test_without_masks(evaluate: Run, scores: Path, data: Path) -> None:
    for path in (data / "test" / "masks").iterdir():
        path.unlink()
    code, out, err = evaluate("--scores", scores, "--json", "-")
    assert code == OK
    assert json.loads(out)["baseline"]["rbdc"] is None
    assert "no clip has pixel masks" in err


def test_masks_of_some_clips(evaluate: Run, scores: Path, data: Path) -> None:
    """As in Ped1: the figures are those of the clips that have masks."""
    (data / "test" / "masks" / "01.npz").unlink()
    report = json.loads(evaluate("--scores", scores, "--json", "-")[1])
    assert report["clips_with_masks"] == 2
    assert report["baseline"]["tbdc"] == 1.0


def test_what_goes_wrong_is_said_in_a_line(evaluate: Run, scores: Path, data: Path) -> None:
    text = (scores / "02.csv").read_text().splitlines()
    (scores / "02.csv").write_text("\n".join(text[:-1]))
    code, _, err = evaluate("--scores", scores)
    assert code == TROUBLE
    assert "clip 02: (20,) labels but (19,) scores" in err

    (scores / "02.csv").write_text("\n".join([*text[:-1], f"{FRAMES - 1},0,,0,0,0,"]))
    code, _, err = evaluate("--scores", scores)
    assert (code, "clip 02: the score of frame 19 is nan" in err) == (TROUBLE, True)

    (scores / "02.csv").unlink()
    code, _, err = evaluate("--scores", scores)
    assert (code, "no scores of 02 in" in err) == (TROUBLE, True)

    code, _, err = evaluate("--scores", scores / "nowhere")
    assert (code, "nowhere is no folder" in err) == (TROUBLE, True)

    for name in ("untrained-mars", ""):  # a variable that is not set
        code, _, err = evaluate("--checkpoint", name)
        assert (code, f"{name}: no such checkpoint" in err) == (TROUBLE, True)

    code, _, err = evaluate("--scores", scores, "--plot")
    assert (code, "say where to with --out" in err) == (TROUBLE, True)


def test_a_clip_that_cannot_be_read(evaluate: Run, tiny_model: AedMae, tmp_path: Path, data: Path) -> None:
    save_model(tiny_model, tmp_path / "tiny.safetensors")
    for path in (data / "test" / "02").iterdir():
        path.write_bytes(b"no image")
    code, _, err = evaluate("--checkpoint", tmp_path / "tiny.safetensors", "--preset", "release-avenue")
    assert code == TROUBLE
    assert "clip 02: unreadable:" in err


def test_a_damaged_clip_with_a_score_for_each_label(
    evaluate: Run, tiny_model: AedMae, tmp_path: Path, data: Path
) -> None:
    """It is evaluated, and told."""
    save_model(tiny_model, tmp_path / "tiny.safetensors")
    test = data / "test"
    sorted((test / "03").iterdir())[5].write_bytes(b"no image")
    (test / "labels" / "03.txt").write_text("0\n" * (FRAMES - 1))
    (test / "masks" / "03.npz").unlink()
    checkpoint = ["--checkpoint", tmp_path / "tiny.safetensors", "--preset", "release-avenue"]
    code, out, err = evaluate(*checkpoint, "--json", "-")
    assert code == OK
    assert json.loads(out)["frames"] == 3 * FRAMES - 1
    assert "03: corrupt: " in err


def test_a_wrong_layout(evaluate: Run, scores: Path, data: Path) -> None:
    code, _, err = evaluate("--scores", scores, "--layout", "avenue")
    assert code == TROUBLE
    assert "looked for: training_videos/" in err
    assert f"found:      in {data}: test/" in err


def test_it_needs_scores_or_a_model(evaluate: Run) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate()


def test_masks_that_show_nothing_leave_the_figures_of_frames(evaluate: Run, scores: Path, data: Path) -> None:
    for name in ("01", "02"):
        (data / "test" / "masks" / f"{name}.npz").unlink()
    code, out, _ = evaluate("--scores", scores)
    assert code == OK
    assert "no pixel-level figures of the model" in out
    assert "micro AUC" in out


@pytest.mark.parametrize("label", [0, 1])
def test_labels_without_a_roc_are_told_before_anything_is_scored(
    evaluate: Run, scores: Path, data: Path, label: int
) -> None:
    for name in CLIPS:
        (data / "test" / "labels" / f"{name}.txt").write_text(f"{label}\n" * FRAMES)
    code, _, err = evaluate("--scores", scores)
    assert (code, f"all {3 * FRAMES} frames have label {label}: there is no ROC; expected" in err) == (TROUBLE, True)
    assert "scoring" not in err


def test_the_folder_of_the_figures_is_made(evaluate: Run, scores: Path, tmp_path: Path) -> None:
    assert evaluate("--scores", scores, "--json", tmp_path / "new" / "figures.json")[0] == OK
    assert (tmp_path / "new" / "figures.json").is_file()


def test_names_of_any_kind_in_the_tables(evaluate: Run, scores: Path, data: Path) -> None:
    name = os.fsdecode(b"0\n3\xff")
    for old in (data / "test" / "03", data / "test" / "labels" / "03.txt", data / "test" / "masks" / "03.npz"):
        old.rename(old.with_name(name + old.suffix))
    (scores / "03.csv").rename(scores / f"{name}.csv")
    code, out, _ = evaluate("--scores", scores)
    assert code == OK
    assert r"0\n3\xff" in out


def test_sigterm_leaves_no_maps_behind(scores: Path, data: Path, tmp_path: Path) -> None:
    """As a service manager or a container stops it, while it scores."""
    program = """
import sys, time
from aedmae_fast import evaluate
evaluate.frame_difference = lambda *_, **__: print("at work", flush=True) or time.sleep(1000)
sys.exit(evaluate.main(sys.argv[1:]))
"""
    maps = tmp_path / "temporary"
    maps.mkdir()
    command = [sys.executable, "-c", program, "--data", data, "--layout", "clips", "--scores", scores]
    environment = {**os.environ, "TMPDIR": str(maps)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        assert len(list(maps.glob("aedmae-maps-*"))) == 2
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert list(maps.iterdir()) == []


def test_help_names_every_kind_of_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "a name of bundled weights" in " ".join(capsys.readouterr().out.split())
