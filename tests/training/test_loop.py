"""The loop: it learns, it freezes what it must, it survives being killed, and two processes are one."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aedmae_fast.model.checkpoint import load_model
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops.patches import unpatchify
from aedmae_fast.training.data import Loader
from aedmae_fast.training.loop import Hooks, Trainer, learning_rate
from aedmae_fast.training.parallel import Place
from aedmae_fast.training.phases import StudentPhase, TeacherPhase
from aedmae_fast.training.settings import TrainSettings
from aedmae_fast.training.state import ResumeError
from aedmae_fast.training.synthetic import AnomalySource
from tests.conftest import TINY
from tests.training import runs
from tests.training.runs import SETTINGS
from tests.training.scenes import WhiteSquares, training_frames, without_dropout

ROOT = Path(__file__).resolve().parents[2]


def trainer(
    settings: TrainSettings, run: Path, model: AedMae | None = None, source: AnomalySource | None = None, **more: Any
) -> Trainer:
    model = model or AedMae(TINY)
    frames = training_frames(settings, model.config, source)
    return Trainer(model, Loader(frames, settings.batch_size), settings, run, {"run": "test"}, **more)


def here(out: Path, *options: str) -> None:
    """A run of :mod:`tests.training.runs` in this process, computing as :func:`launch` does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runs.main([str(out), *options])
    finally:
        torch.set_num_threads(threads)


def launch(out: Path, *options: str, processes: int = 1, check: bool = True) -> subprocess.CompletedProcess[str]:
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *start, "-m", "tests.training.runs", str(out), *options]
    return subprocess.run(command, cwd=ROOT, env=environment, check=check, capture_output=True, text=True, timeout=120)


def losses(run: Path) -> list[float]:
    with (run / "log.csv").open() as file:
        return [float(row["total"]) for row in csv.DictReader(file)]


def test_a_small_network_learns_to_paint_the_anomaly_map(tmp_path: Path) -> None:
    """On samples that it has not seen, abnormal pixels come out brighter than the rest, and the student follows."""
    settings = TrainSettings(
        teacher_epochs=8, student_epochs=4, batch_size=8, lr=1e-2, anomaly_share=0.7, normal_share=0, schedule="cosine"
    )
    history: list[dict[str, Any]] = []
    hooks = Hooks(on_epoch=lambda state, _: history.append(state.history[-1]))
    model = trainer(settings, tmp_path, AedMae(without_dropout()), WhiteSquares(), hooks=hooks).train()
    losses = [row["total"] for row in history]
    assert losses[7] < 0.6 * losses[0]
    assert losses[11] < 0.6 * losses[8]
    unseen = training_frames(replace(settings, anomaly_share=1, seed=1), source=WhiteSquares()).batch(
        range(80), epoch=0
    )
    abnormal = unseen.anomaly_map > 0
    with torch.no_grad():
        output = model(unseen.windows, unseen.ids_shuffle)
    for prediction in (output.teacher, output.student):
        painted = unpatchify(prediction, (TINY.height, TINY.width), TINY.patch)[..., 3]
        assert painted[abnormal].mean() > painted[~abnormal].mean() + 0.5


def test_the_student_phase_changes_the_student_only(tmp_path: Path) -> None:
    after_teacher: dict[str, Tensor] = {}

    def on_epoch(state: Any, model: AedMae) -> None:
        if state.history[-1]["phase"] == "teacher":
            after_teacher.update({name: value.clone() for name, value in model.state_dict().items()})

    settings = TrainSettings(teacher_epochs=1, student_epochs=1, batch_size=16, lr=1e-2)
    model = trainer(settings, tmp_path, hooks=Hooks(on_epoch=on_epoch)).train()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, after_teacher[name])}
    student = {name for name in after_teacher if name.startswith("decoder_student_")}
    assert changed <= student
    buffers_too = {name for name in student if "running_mean" in name or "pred.weight" in name}
    assert buffers_too <= changed
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_teacher_phase_leaves_the_student_alone() -> None:
    model = AedMae(TINY)
    trained = TeacherPhase(SETTINGS, TINY.patch).prepare(model)
    student = {id(p) for p in model.student_parameters()}
    assert {id(p) for p in trained} == {id(p) for p in model.parameters()} - student
    assert all(not module.training for module in model.decoder_student_block.modules())
    trained = StudentPhase(SETTINGS, TINY.patch, TINY.kept).prepare(model)
    assert {id(p) for p in trained} == student
    assert [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.training] == [
        m for m in model.decoder_student_block.modules() if isinstance(m, nn.BatchNorm2d)
    ]


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Killed in the teacher's second epoch and again in the student's first."""
    here(tmp_path / "whole")
    run = tmp_path / "killed"
    for options in (["--kill-at-step", "8"], ["--resume", "--kill-at-step", "13"]):
        assert launch(run, *options, check=False).returncode == -signal.SIGKILL
        assert (run / "state.pt").exists()
        assert not (run / "model.safetensors").exists()
    here(run, "--resume")
    assert losses(run) == losses(tmp_path / "whole")
    expected = load_model(tmp_path / "whole" / "model.safetensors").state_dict()
    for name, value in load_model(run / "model.safetensors").state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_two_processes_are_one(tmp_path: Path) -> None:
    """Gloo, half of the batch each, BatchNorm over both: the same losses and the same network but for rounding.

    Without dropout, which draws another stream in each process.
    """
    here(tmp_path / "one", "--no-dropout")
    launch(tmp_path / "two", "--no-dropout", processes=2)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == SETTINGS.epochs
    assert two == pytest.approx(one, rel=1e-4)
    expected = load_model(tmp_path / "one" / "model.safetensors").state_dict()
    for name, value in load_model(tmp_path / "two" / "model.safetensors").state_dict().items():
        if "running" in name:
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


def test_dropout_differs_in_every_process_step_and_epoch(tmp_path: Path) -> None:
    """And is the same again where a run is resumed."""

    def seeds() -> list[int]:
        places = [trainer(SETTINGS, tmp_path, place=Place(rank, 2)) for rank in (0, 1)]
        return [one._dropout_seed(epoch, step) for one in places for epoch in range(3) for step in range(3)]

    assert len(set(seeds())) == 2 * 3 * 3
    assert seeds() == seeds()


def test_processes_with_other_data_do_not_train(tmp_path: Path) -> None:
    done = launch(tmp_path, "--other-data", processes=2, check=False)
    assert done.returncode != 0
    assert "processes 0 and 1 would train different things: data: 0 and 1; where it is the data" in done.stderr
    assert not (tmp_path / "state.pt").exists()


def test_averaged_weights_are_what_a_phase_ends_with(tmp_path: Path) -> None:
    settings = TrainSettings(teacher_epochs=1, student_epochs=0, batch_size=16, lr=1e-2, ema=0.5)
    torch.manual_seed(0)
    averaged = trainer(settings, tmp_path).train().state_dict()
    torch.manual_seed(0)
    steps: list[dict[str, Tensor]] = []
    run = trainer(replace(settings, ema=0.0), tmp_path)
    run.hooks = Hooks(on_step=lambda _: steps.append({k: v.clone() for k, v in run.model.state_dict().items()}))
    run.train()
    for name in ("norm.weight", "blocks.0.attn.conv_proj_q.bn.running_mean"):
        expected = steps[0][name]
        for step in steps[1:]:
            expected = 0.5 * expected + 0.5 * step[name]
        torch.testing.assert_close(averaged[name], expected)


def test_learning_rate_rises_then_falls_like_a_cosine() -> None:
    settings = TrainSettings(lr=1.0, warmup_epochs=0.5, schedule="cosine")
    rates = [learning_rate(step, 24, 8, settings) for step in range(24)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[14] == pytest.approx(0.5)
    assert rates == sorted(rates[:4]) + sorted(rates[4:], reverse=True)
    assert {learning_rate(step, 24, 8, TrainSettings(lr=1.0)) for step in range(24)} == {1.0}


def test_another_run_cannot_be_resumed(tmp_path: Path) -> None:
    settings = TrainSettings(teacher_epochs=1, student_epochs=0, batch_size=16)
    with pytest.raises(ResumeError, match="nothing to resume"):
        trainer(settings, tmp_path).train(resume=True)
    trainer(settings, tmp_path).train()
    other = trainer(settings, tmp_path)
    other.identity = {"run": "another"}
    with pytest.raises(ResumeError, match="run: was 'test', now 'another'"):
        other.train(resume=True)
    content = bytearray((tmp_path / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1  # in a tensor, which PyTorch reads without a word
    for damaged in (bytes(content), b""):
        (tmp_path / "state.pt").write_bytes(damaged)
        with pytest.raises(ResumeError, match="not a whole state file"):
            trainer(settings, tmp_path).train(resume=True)
    (tmp_path / "state.pt").write_bytes(b"cut")
    with pytest.raises(ResumeError, match="not a whole state file"):
        trainer(settings, tmp_path).train(resume=True)


def test_a_state_that_does_not_fit_on_the_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    """In a process whose files may not grow beyond 4 kB; the state before it stays."""
    code = (
        "import resource, signal, sys; from pathlib import Path; import torch\n"
        "from aedmae_fast.training.state import State, save_state\n"
        "path = Path(sys.argv[1])\n"
        "save_state(State({}), path)\n"
        "before = path.read_bytes()\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: save_state(State({}, weights={'w': torch.zeros(9999)}), path)\n"
        "except OSError: print(path.read_bytes() == before, [p.name for p in path.parent.iterdir()])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "state.pt"], capture_output=True, text=True)
    assert done.stdout == "True ['state.pt']\n", done.stderr


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    model = AedMae(TINY)
    nn.init.constant_(model.decoder_pred.bias, math.inf)
    settings = TrainSettings(teacher_epochs=1, student_epochs=0, batch_size=16)
    with pytest.raises(FloatingPointError, match="teacher epoch 1: the loss is"):
        trainer(settings, tmp_path, model).train()
    assert not (tmp_path / "state.pt").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0},
        {"lr": math.nan},
        {"lr": math.inf},
        {"teacher_epochs": 0, "student_epochs": 0},
        {"ema": 1},
        {"anomaly_share": 2},
        {"light": math.nan},
        {"class_weight": math.nan},
        {"clip_norm": math.nan},
        {"warmup_epochs": math.inf},
        {"optimizer": "Adam"},
        {"schedule": "linear"},
        {"distillation": "none"},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainSettings(**wrong)
