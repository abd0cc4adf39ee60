"""What every test gets: fixed seeds, poisoned fresh memory, the marks, and where the shared real data lies."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from aedmae_fast.config import ModelConfig
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops import native

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses to be deterministic
if not torch.cuda.is_available() and os.environ.get("FAIL_WITHOUT_CUDA") != "1":
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton, as parts of PyTorch do
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="aedmae-tests-")  # of whoever runs them, nothing is changed
SHARED = Path(os.environ.get("AEDMAE_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared")
for _name in [*os.environ]:  # what the caller's shell chooses, such as an instruction set, is no test's
    if _name.startswith("AEDMAE_"):
        del os.environ[_name]


def pytest_configure() -> None:
    """A cluster's ranks are no test's. Not above: processes that tests start have ranks, and import this, too."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        os.environ.pop(name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available() or os.environ.get("FAIL_WITHOUT_CUDA") == "1":
        return
    skip = pytest.mark.skip(reason="no CUDA device (FAIL_WITHOUT_CUDA=1 makes this a failure)")
    for item in items:
        if "needs_cuda" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _fixed_seeds_and_poisoned_memory() -> Iterator[None]:
    """Uninitialised memory reads as NaN (or as the largest integer), so that a value nobody wrote shows."""
    np.random.seed(0)  # noqa: NPY002 (for libraries that still use the global one)
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Golden tensors and real data that are no part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: real data is not part of the repository ($AEDMAE_TEST_DATA)")
    return SHARED


@pytest.fixture(params=native.cpu().isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set that this machine has, forced."""
    native.cpu().set_isa(request.param)
    yield request.param
    native.cpu().set_isa("auto")


TINY = ModelConfig(
    height=32, width=64, patch=8, encoder_dim=16, decoder_dim=8, heads=2, encoder_depth=2, decoder_depth=2, mask_count=4
)


@pytest.fixture
def tiny_model() -> AedMae:
    """A network that scores thousands of frames a second; seeded random weights, batch statistics off their start."""
    model = AedMae(TINY)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()
