"""mlp in Triton against float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.triton_device import BOUND, DEVICE, DTYPES, check, triton_version


def make(b: int, n: int, c: int, r: int, dtype: torch.dtype) -> list[Tensor]:
    tensors = [
        torch.randn(b, n, c) + 1,
        *(torch.randn(c), torch.randn(c)),
        *(torch.randn(r, c) * c**-0.5, torch.randn(r)),
        *(torch.randn(c, r) * r**-0.5, torch.randn(c)),
    ]
    return [x.to(DEVICE, dtype) for x in tensors]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n", "c"), [(37, 256), (70, 128), (11, 7), (5, 3)])
def test_the_networks_widths_and_small_ones(n: int, c: int, dtype: torch.dtype) -> None:
    check("mlp", *make(2, n, c, 2 * c, dtype), bound=BOUND[dtype])


@pytest.mark.needs_cuda
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n", "c"), [(401, 256), (801, 128)])
def test_the_networks_sizes(n: int, c: int, dtype: torch.dtype) -> None:
    check("mlp", *make(3, n, c, 2 * c, dtype), bound=BOUND[dtype])


@settings(deadline=None, max_examples=25)
@given(
    b=st.integers(1, 3),
    n=st.integers(1, 50),
    c=st.integers(8, 70),  # the fewer values, the more LayerNorm magnifies rounding
    seed=st.integers(0, 2**31),
    r=st.integers(1, 70),
    dtype=st.sampled_from(DTYPES),
)
def test_any_shape(b: int, n: int, c: int, seed: int, r: int, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    check("mlp", *make(b, n, c, r, dtype), bound=BOUND[dtype], least=1)


def test_awkward_strides() -> None:
    x, *weights = make(2, 21, 24, 40, torch.float32)
    spread = [w.mT.contiguous().mT if w.ndim == 2 else w.repeat_interleave(2)[::2] for w in weights]
    check("mlp", x.transpose(0, 1).contiguous().transpose(0, 1), *spread, bound=BOUND[torch.float32])


def test_cls_gains_its_norm_alone() -> None:
    x, gain, shift, up, up_bias, down, _ = make(2, 3, 16, 32, torch.float32)
    found = triton_version("mlp")(x, gain, shift, up, up_bias, down, torch.full_like(gain, torch.nan))
    expected = x + torch.nn.functional.layer_norm(x, (16,), gain, shift, 1e-6)
    torch.testing.assert_close(found[:, 0], expected[:, 0])
    assert found[:, 1:].isnan().all()


def test_no_frames() -> None:
    assert triton_version("mlp")(*make(0, 5, 16, 32, torch.float32)).shape == (0, 5, 16)


def test_a_frame_has_the_same_bits_in_every_batch() -> None:
    x, *weights = make(3, 29, 32, 64, torch.bfloat16)
    assert torch.equal(triton_version("mlp")(x, *weights)[1:2], triton_version("mlp")(x[1:2], *weights))
