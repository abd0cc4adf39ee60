"""The exported network in ONNX Runtime and in OpenVINO, on a CPU: what a user would otherwise pick."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .contender import Contender, Inputs, Way
from .torch_contenders import PREDICTIONS

OPENVINO_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


def onnxruntime(path: Path, inputs: Inputs, way: Way) -> Contender:
    """In float32; its CPU kernels have no bfloat16.

    Raises:
        ImportError: ONNX Runtime is not installed.
    """
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1 if way.apart else way.threads
    settings.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    windows, numbers = inputs.windows.numpy(), inputs.numbers.numpy()

    def step(part: slice) -> list[torch.Tensor]:
        return _tensors(session.run(None, {"windows": windows[part], "frame": numbers[part]}))

    return Contender("ONNX Runtime", "fp32", way, step, PREDICTIONS, step)


def openvino(path: Path, inputs: Inputs, precision: str, way: Way) -> Contender:
    """With as many streams as threads where the threads work apart.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    import openvino as ov

    settings = {
        "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": way.threads,
        "NUM_STREAMS": way.threads if way.apart else 1,
    }
    core = ov.Core()
    model = core.compile_model(core.read_model(path), "CPU", settings)
    windows, numbers = inputs.windows.numpy(), inputs.numbers.numpy()
    own = threading.local()  # a request serves one caller at a time

    def step(part: slice) -> list[torch.Tensor]:
        if not hasattr(own, "request"):
            own.request = model.create_infer_request()
        own.request.infer([windows[part], numbers[part]], share_inputs=True)
        return _tensors([own.request.get_output_tensor(i).data for i in range(len(model.outputs))])

    return Contender("OpenVINO", precision, way, step, PREDICTIONS, step)


def _tensors(arrays: list[Any]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.asarray(array)) for array in arrays]
