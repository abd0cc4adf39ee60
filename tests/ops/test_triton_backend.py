"""Who is asked on CUDA tensors: Triton where it can be, else the plain version, and never in silence."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aedmae_fast.ops import native
from aedmae_fast.ops import triton as backend
from aedmae_fast.ops.library import BACKENDS
from tests.ops import (
    test_attention_triton,
    test_discrepancy_map_triton,
    test_dwconv_qkv_triton,
    test_mlp_triton,
    test_motion_weights_triton,
    test_patch_embed_triton,
)
from tests.ops.triton_device import triton_version

BF16 = torch.bfloat16
OPS: dict[str, Callable[[], list[Any]]] = {  # op -> arguments, on the device under test
    "attention": lambda: [*test_attention_triton.make(2, 2, 37, 16, BF16), 0.25],
    "discrepancy_map": lambda: [*test_discrepancy_map_triton.make(2, (3, 4), 4, 32, BF16), "L2", [0.4, 0.4, 0.3]],
    "dwconv_qkv": lambda: [*test_dwconv_qkv_triton.make(2, (3, 4), 32, BF16), 3, 4],
    "mlp": lambda: test_mlp_triton.make(2, 13, 32, 64, BF16),
    "motion_gradient": lambda: [test_motion_weights_triton.make(3, (3, 4), 4), "release"],
    "motion_weights": lambda: [test_motion_weights_triton.make(3, (3, 4), 4), 4, "release"],
    "patch_weights": lambda: [
        test_motion_weights_triton.make(3, (3, 4), 4),
        4,
        test_motion_weights_triton.make(3, (3, 4), 4)[..., 0] // 128,
    ],
    "patch_embed": lambda: test_patch_embed_triton.make(2, (3, 4), 4, 32, BF16),
}
IN_CUDA = ["frame_prep", "motion_gradient", "motion_weights", "patch_weights"]  # which prefer their CUDA C++ version
FIRST = [op for op in OPS if op not in IN_CUDA]


def test_ops_can_be_imported_without_triton() -> None:
    """And where Triton is there, importing them does not import it."""
    script = """
import sys
import aedmae_fast.ops
assert "triton" not in sys.modules, "triton was imported"
sys.modules["triton"] = None
from aedmae_fast.ops.library import BACKENDS
print(BACKENDS["attention"]()["cuda"])
"""
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert found.startswith("PyTorch (triton cannot be imported: ")


@pytest.mark.parametrize(
    ("devices", "capability", "reason"),
    [
        (0, (0, 0), "no CUDA device"),
        (1, (7, 5), "compute capability 7.5 of the device is below 8.0"),
        (1, (8, 6), ""),
    ],
)
def test_the_reason(monkeypatch: pytest.MonkeyPatch, devices: int, capability: tuple[int, int], reason: str) -> None:
    pretend(monkeypatch, [capability] * devices)
    assert backend.why_no_triton() == reason
    assert backend.triton_backend().startswith(f"PyTorch ({reason})" if reason else "Triton 3.")


def test_the_device_of_the_tensors_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a new one, an old one and one without float8, whichever is current."""
    pretend(monkeypatch, [(9, 0), (7, 5), (8, 6)])
    devices = [torch.device("cuda", i) for i in range(3)]
    old = "compute capability 7.5 of the device is below 8.0"
    assert [backend.why_no_triton(device) for device in devices] == ["", old, ""]
    assert [backend.why_no_fp8(device) for device in devices] == [
        "",
        old,
        "compute capability 8.6 of the device is below 8.9",
    ]
    monkeypatch.setattr(backend.importlib, "import_module", lambda name: SimpleNamespace(op=lambda *_: "triton"))
    run = backend.with_triton("op", lambda *_: "plain")
    for dtype, expected in (
        (torch.bfloat16, ["triton", "plain", "triton"]),
        (backend.FP8, ["triton", "plain", "plain"]),
    ):
        assert [run(Placed(dtype, device)) for device in devices] == expected
        assert [run([Placed(dtype, device)], 3) for device in devices] == expected


class Placed(torch.Tensor):
    """A tensor without values that says where it is."""

    def __new__(cls, dtype: torch.dtype, device: torch.device) -> Placed:
        return torch.empty(0, dtype=dtype).as_subclass(cls)

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.place = device

    @property
    def device(self) -> torch.device:
        return self.place


def pretend(monkeypatch: pytest.MonkeyPatch, capabilities: list[tuple[int, int]]) -> None:
    """Devices of these compute capabilities, the first of them current; until the test ends."""

    def capability(device: torch.device | None = None) -> tuple[int, int]:
        return capabilities[0 if device is None else device.index]

    cuda = SimpleNamespace(is_available=lambda: bool(capabilities), get_device_capability=capability)
    monkeypatch.setattr(backend.torch, "cuda", cuda)
    monkeypatch.setattr(backend, "why_no_triton", functools.cache(backend.why_no_triton.__wrapped__))
    monkeypatch.setattr(backend, "why_no_fp8", functools.cache(backend.why_no_fp8.__wrapped__))


@pytest.mark.parametrize("op", FIRST)
def test_every_op_says_what_it_runs_on(op: str) -> None:
    assert BACKENDS[op]()["cuda"] == backend.triton_backend()


@pytest.mark.parametrize("op", IN_CUDA)
def test_ops_in_cuda_say_what_they_run_on_and_why(monkeypatch: pytest.MonkeyPatch, op: str) -> None:
    monkeypatch.setattr(native, "cuda", lambda: object())
    assert BACKENDS[op]()["cuda"] == "CUDA C++"
    monkeypatch.setattr(native, "cuda", lambda: None)
    monkeypatch.setattr(native, "why_no_cuda", lambda: "the CUDA kernels were not built: nvcc was not found")
    monkeypatch.setattr(backend, "why_no_triton", lambda *_: "")
    found = BACKENDS[op]()["cuda"]
    assert found.startswith("Triton 3.")
    assert found.endswith(" (the CUDA kernels were not built: nvcc was not found)")
    monkeypatch.setattr(backend, "why_no_triton", lambda *_: "no CUDA device")
    assert BACKENDS[op]()["cuda"] == "PyTorch (the CUDA kernels were not built: nvcc was not found; no CUDA device)"


def test_triton_is_asked_where_it_can_be_and_not_for_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    run = backend.with_triton("attention", plain := lambda *_: "plain")
    q, k, v, scale = OPS["attention"]()
    monkeypatch.setattr(backend, "why_no_triton", lambda *_: "")
    assert torch.equal(run(q, k, v, scale), triton_version("attention")(q, k, v, scale))
    assert run(q.double(), k.double(), v.double(), scale) == plain()
    monkeypatch.setattr(backend, "why_no_triton", lambda *_: "no CUDA device")
    assert run(q, k, v, scale) == plain()


# What only a GPU shows


def operator(op: str) -> Any:
    return getattr(torch.ops.aedmae, op)


def same(found: Any, expected: Any) -> bool:
    if isinstance(found, torch.Tensor):
        return torch.equal(found, expected)
    return all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.mark.needs_cuda
@pytest.mark.parametrize("op", FIRST)
def test_the_operator_is_the_triton_version_and_never_waits(op: str) -> None:
    args = OPS[op]()
    expected = triton_version(op)(*args)  # compiled by now
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = operator(op)(*args)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert same(found, expected)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("op", OPS)
def test_opcheck(op: str) -> None:
    torch.library.opcheck(operator(op).default, tuple(OPS[op]()))


@pytest.mark.needs_cuda
@pytest.mark.parametrize("op", OPS)
def test_torch_compile_takes_it_whole(op: str) -> None:
    args = OPS[op]()
    compiled = torch.compile(operator(op), fullgraph=True, backend="aot_eager")
    assert same(compiled(*args), operator(op)(*args))


@pytest.mark.needs_cuda
@pytest.mark.parametrize("op", OPS)
def test_a_captured_graph_replays_with_new_inputs(op: str) -> None:
    args, others = OPS[op](), OPS[op]()
    expected = operator(op)(*others)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        operator(op)(*args)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        found = operator(op)(*args)
    for arg, other in zip(args, others, strict=True):
        if isinstance(arg, torch.Tensor):
            arg.copy_(other)
    graph.replay()
    torch.cuda.synchronize()
    assert same(found, expected)
