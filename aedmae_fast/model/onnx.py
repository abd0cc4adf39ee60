"""The network as an ONNX file, for runtimes other than this one: ONNX Runtime, OpenVINO, and what reads their format.

The file is complete: weights and the bank of masks lie in it. Its inputs and outputs, B being free:

    windows      uint8 [B, 3, H, W, 3]    the frames t-3, t, t+3 (a missing neighbour being t itself), BGR
    frame        int64 [B]                t, counted from 0 in the clip: it takes mask t mod K
    teacher      float32 [B, L, 4*d*d]    prediction of frame t; a token's values ordered (row, column, channel)
    student      float32 [B, L, 4*d*d]
    class_logit  float32 [B]              absent without a class head

A network's region lies in it, too: what the windows show outside of it counts for nothing. The frame that predictions
are compared with has to be black there (:meth:`aedmae_fast.model.region.Region.hide`).
:func:`aedmae_fast.ops.discrepancy_map.discrepancy_map_reference` says how a score is made of the predictions.
"""

from __future__ import annotations

import copy
import importlib
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from aedmae_fast.config import CHANNELS, WINDOW
from aedmae_fast.files import replacing
from aedmae_fast.model.masks import mask_bank
from aedmae_fast.model.network import AedMae

__all__ = ["OPSET", "export_onnx"]

OPSET = 20  # the first that has Gelu; every later one adds nothing that the network needs
INPUTS = ("windows", "frame")


class _WithMasks(nn.Module):
    """The plain network with its bank of masks and its region: a function of a window and its place in the clip."""

    def __init__(self, model: AedMae) -> None:
        super().__init__()
        self.network = model
        self.register_buffer("masks", mask_bank(model.config))  # [K, L]
        if model.region is not None:
            self.register_buffer("inside", model.region.inside[..., None].to(torch.uint8))  # [H, W, 1]

    def forward(self, windows: Tensor, frame: Tensor) -> tuple[Tensor, ...]:
        if self.network.region is not None:
            windows = windows * self.get_buffer("inside")
        output = self.network(windows, self.get_buffer("masks")[frame % self.network.config.mask_count])
        parts = (output.teacher, output.student, output.class_logit)
        return tuple(part for part in parts if part is not None)


def export_onnx(model: AedMae, path: str | Path) -> None:
    """Write ``model`` to one ONNX file, whole or not at all.

    It is in float32, of opset 20, batch size free, with the configuration in its metadata.

    Args:
        model: a network in float32 on the CPU; it stays as it is.

    Raises:
        ImportError: onnxscript is not installed.
        OSError: the file cannot be written.
    """
    try:
        importlib.import_module("onnxscript")
    except ImportError as error:
        raise ImportError("the export needs onnxscript: pip install onnx onnxscript") from error
    c, module = model.config, _WithMasks(copy.deepcopy(model)).eval()
    windows = torch.zeros(2, len(WINDOW), c.height, c.width, CHANNELS, dtype=torch.uint8)  # 2: 1 would be a constant
    outputs = ["teacher", "student", "class_logit"][: 3 if c.class_head else 2]
    free = {0: torch.export.Dim.DYNAMIC}
    with replacing(Path(path)) as part, warnings.catch_warnings():
        part.touch()  # where nothing can be written is known before the export, which takes long
        warnings.simplefilter("ignore")  # the exporter's, of its own parts
        program = torch.onnx.export(
            module,
            (windows, torch.arange(2)),
            input_names=INPUTS,
            output_names=outputs,
            dynamic_shapes=(free, free),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props["aedmae_fast.config"] = json.dumps(c.to_dict())
        program.save(part)
