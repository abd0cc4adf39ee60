"""What is chosen where the user says "auto", and what cannot be had."""

from __future__ import annotations

import pytest

from aedmae_fast import Scorer
from aedmae_fast.engine import choose
from aedmae_fast.engine.choose import ChoiceError, choose_precision
from aedmae_fast.model.network import AedMae

MULTIPLY_BF16 = ("avx512_bf16", "amx")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"device": "tpu"}, "device: expected auto, cpu, cuda or cuda:N, found 'tpu'"),
        ({"device": "cuda:99"}, "torch sees . CUDA devices"),
        ({"precision": "fp16"}, "precision: expected auto or one of fp32, bf16, int8, fp8, found 'fp16'"),
        ({"preset": "best"}, "preset: expected auto or one of"),
        ({"batch_size": 0}, "batch_size: expected auto or a whole number from 1, found 0"),
        ({"batch_size": 2.7}, "batch_size: expected auto or a whole number from 1, found 2.7"),
        ({"threads": "1.0"}, "threads: expected auto or a whole number from 1, found '1.0'"),
        ({"workers": "many"}, "workers: expected auto or"),
        ({"stride": 0}, "stride: expected a whole number from 1"),
        ({"stride": 1.5}, "stride: expected a whole number from 1, found 1.5"),
        ({"decoder": "ffmpeg"}, "decoder: expected auto, pyav, dali, nvdec, found 'ffmpeg'"),
        ({"decoder": "dali", "device": "cpu"}, "decoder: 'dali' decodes on a GPU, but the device is cpu"),
    ],
)
def test_choices_that_cannot_be_had(tiny_model: AedMae, setting: dict[str, str], message: str) -> None:
    with pytest.raises(ChoiceError, match=message):
        Scorer(tiny_model, **setting)  # type: ignore[arg-type]


def test_threads_are_a_matter_of_cpus() -> None:
    assert choose.choose_threads("8", "cpu") == ("8", "asked for")
    assert choose.choose_threads("auto", "cuda") == ("1", "the compute is on cuda")
    assert choose.choose_threads("8", "cuda") == ("1", "the compute is on cuda; 8 asked for: a matter of CPUs")
    with pytest.raises(ChoiceError, match="threads: expected auto or a whole number from 1, found 'x'"):
        choose.choose_threads("x", "cuda")


def test_the_cpu_has_no_index(tiny_model: AedMae) -> None:
    assert Scorer(tiny_model, device="cpu:0").choices["device"].value == "cpu"


def test_a_device_too_many_is_told_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(choose.torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ChoiceError, match="'cuda:5' asked for, but torch sees 2 CUDA devices; use cuda:0 or cuda:1 or"):
        choose.choose_device("cuda:5")


def test_choices_say_why(tiny_model: AedMae) -> None:
    choices = Scorer(tiny_model).choices
    assert choices["preset"].value == "anomaly-map"
    assert choices["preset"].why.startswith("the network has a class head")
    assert all(choice.why for choice in choices.values())


def test_int8_is_refused_on_a_gpu() -> None:
    with pytest.raises(
        ChoiceError, match="'int8' is computed on CPUs only, but the device is cuda:1; use bf16 or fp32"
    ):
        choose_precision("int8", "cuda:1")


def test_fp8_is_refused_on_a_cpu_and_on_a_gpu_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ChoiceError, match="'fp8' is computed on GPUs only, but the device is cpu; use int8, bf16 or fp32"
    ):
        choose_precision("fp8", "cpu")
    reason = "compute capability 8.6 of the device is below 8.9"
    monkeypatch.setattr(choose, "why_no_fp8", lambda device: reason if device.index == 1 else "")
    with pytest.raises(ChoiceError, match=f"'fp8' cannot be computed on cuda:1: {reason}; use bf16 or fp32"):
        choose_precision("fp8", "cuda:1")
    assert choose_precision("fp8", "cuda:0") == ("fp8", "asked for; linear layers in float8, the rest in bf16")


def test_auto_is_bf16_where_the_cpu_computes_in_it(isa: str, tiny_model: AedMae) -> None:
    assert Scorer(tiny_model, device="cpu").choices["precision"].value == ("bf16" if isa in MULTIPLY_BF16 else "fp32")
