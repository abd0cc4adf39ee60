"""The plain network, the same compiled, ours, and somebody else's: what runs in PyTorch."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aedmae_fast.config import WINDOW, ScoringPreset
from aedmae_fast.engine.graph import GraphRunner
from aedmae_fast.engine.precision import dtypes_of
from aedmae_fast.engine.runner import score_windows
from aedmae_fast.model.inference import InferenceModel
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops import mean_filter

from .contender import OURS, Contender, Inputs, Step, Way, use_tf32

PREDICTIONS = "teacher and student predictions, class logit"
MAPS = "class probability, pixel maps of teacher's and student's errors, their means, the maps' spatial filter"


def states_dtype(precision: str) -> torch.dtype:
    """What is computed in; ``int8`` and ``fp8`` are for some of the products only."""
    return torch.float32 if precision == "tf32" else dtypes_of(precision).states


def plain(model: AedMae, inputs: Inputs, precision: str, way: Way) -> Contender:
    """``model/network.py`` as it stands, which encodes the visible patches only."""
    network = copy.deepcopy(model).to(inputs.device, states_dtype(precision))
    step = _on_windows(network, inputs)
    return Contender("plain", precision, way, step, PREDICTIONS, step)


def compiled(model: AedMae, inputs: Inputs, precision: str, way: Way) -> Contender:
    """The plain network through ``torch.compile``, tuned as far as it goes on a GPU.

    Raises:
        RuntimeError: it does not compile here; says why.
    """
    network = copy.deepcopy(model).to(inputs.device, states_dtype(precision))
    mode = "max-autotune" if inputs.device.type == "cuda" else "default"
    use_tf32(False)  # is compiled in
    step = _on_windows(torch.compile(network, dynamic=False, mode=mode), inputs)
    way.run(step, way.batch, inputs.device)
    return Contender("torch.compile", precision, way, step, PREDICTIONS, step)


def _on_windows(network: Callable[..., Any], inputs: Inputs) -> Step:
    @torch.inference_mode()
    def step(part: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        output = network(inputs.windows[part], inputs.ids[part])
        return output.teacher, output.student, output.class_logit

    return step


class Ours:
    """The engine's step: ``InferenceModel`` and what makes maps of its states, folded weights and our ops."""

    def __init__(self, model: AedMae, inputs: Inputs, precision: str, preset: ScoringPreset) -> None:
        self._model = InferenceModel(model, inputs.device, *dtypes_of(precision))
        self._inputs, self._preset, self._precision = inputs, preset, precision
        self._frames = inputs.windows.flatten(0, 1)  # [3*N, H, W, 3]
        n = len(inputs.windows)
        self._windows = torch.arange(len(WINDOW) * n, device=inputs.device).view(n, len(WINDOW))

    def contender(self, way: Way) -> Contender:
        return Contender(OURS, self._precision, way, self._eager, MAPS, self._predict)

    def captured(self, batch: int) -> Contender:
        """As one CUDA graph.

        Raises:
            RuntimeError: graphs cannot be had here; says why.
        """
        examples = self._windows[:batch], self._inputs.ids[:batch]
        runner = GraphRunner(self._scored, [self._frames], examples, [batch], weights=self._model.heads)
        if not runner.mode.startswith("graphs"):
            raise RuntimeError(runner.mode)

        def step(part: slice) -> tuple[Tensor, ...]:
            return runner(self._windows[part], self._inputs.ids[part])

        name = f"{OURS}, CUDA graph"
        return Contender(name, self._precision, Way(batch, threads=1), step, MAPS, self._predict)

    @torch.inference_mode()
    def _eager(self, part: slice) -> tuple[Tensor, ...]:
        return self._scored(self._frames, self._windows[part], self._inputs.ids[part])

    def _scored(self, frames: Tensor, windows: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
        maps, terms = score_windows(self._model, self._preset, frames, windows, ids)
        return mean_filter(maps, self._preset.map_filter[1:]), terms

    @torch.inference_mode()
    def _predict(self, part: slice) -> tuple[Tensor, Tensor]:
        """The predictions that :func:`discrepancy_map` does not form, in float32 from the states."""
        states = self._model(self._frames, self._windows[part], self._inputs.ids[part])
        heads = [parameter.float() for parameter in self._model.heads]
        return F.linear(states.teacher.float(), *heads[:2]), F.linear(states.student.float(), *heads[2:])


def load_baseline(spec: str) -> nn.Module:
    """The network of ``PATH:CLASS``.

    The contract: ``CLASS()`` is a torch module that is called, in evaluation mode, with float32 windows [B, 9, H, W]
    in -1..1 (the frames t-3, t, t+3, each BGR); it draws its masks itself, and its result is not looked at.

    Raises:
        ValueError: not of the form ``PATH:CLASS``, no such file, or no such class in it.
    """
    path, _, name = spec.rpartition(":")
    if not path or not Path(path).is_file():
        raise ValueError(f"--baseline: expected PATH:CLASS with an existing file, found {spec!r}")
    found = importlib.util.spec_from_file_location("baseline", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    if not hasattr(module, name):
        raise ValueError(f"--baseline: {path} has no {name!r}")
    return getattr(module, name)().eval()


def baseline(network: nn.Module, inputs: Inputs, way: Way) -> Contender:
    """Another implementation, eagerly in float32."""
    network = network.to(inputs.device)

    @torch.inference_mode()
    def step(part: slice) -> Any:
        return network(inputs.floats[part])

    return Contender("baseline", "fp32", way, step, "what it computes: not looked at")
