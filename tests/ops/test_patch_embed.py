"""patch_embed: every instruction set against the specification in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.config import CONFIGS
from aedmae_fast.ops import patch_embed
from aedmae_fast.ops.patch_embed import patch_embed_reference
from aedmae_fast.ops.quantize import quantize_weight
from tests.ops.network_kernels import BOUNDS, DTYPES, check, normal


def inputs(
    rows: int, columns: int, patch: int, visible: int, dtype: torch.dtype, *, batch: int = 2, c: int = 256, t: int = 4
) -> list[Tensor]:
    values = 9 * patch * patch
    return [
        torch.randint(0, 256, (t, rows * patch, columns * patch, 3), dtype=torch.uint8),
        torch.randint(0, t, (batch, 3)),
        torch.stack([torch.randperm(rows * columns)[:visible] for _ in range(batch)])
        if batch
        else torch.empty(0, visible, dtype=torch.int64),
        normal(c, values, dtype=dtype, std=values**-0.5 / 127.5),
        normal(c, dtype=dtype),
        normal(c, dtype=dtype, mean=1, std=0.2),
        normal(c, dtype=dtype),
    ]


def in_int8(arguments: list[Tensor], patch: int) -> list[Tensor | int]:
    """All arguments, the weight quantized."""
    *before, weight, bias, norm_weight, norm_bias = arguments
    levels, scale = quantize_weight(weight, torch.int8)
    return [*before, levels, bias, norm_weight, norm_bias, patch, scale]


@DTYPES
@pytest.mark.parametrize("int8", [False, True], ids=["", "int8"])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_configuration_agrees_with_float64(isa: str, name: str, dtype: torch.dtype, int8: bool) -> None:
    c = CONFIGS[name]
    arguments = inputs(*c.grid, c.patch, c.kept, dtype, batch=1)
    check(patch_embed, patch_embed_reference, *(in_int8(arguments, c.patch) if int8 else [*arguments, c.patch]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    patch=st.integers(1, 9),
    share=st.floats(0, 1),
    batch=st.integers(0, 2),
    c=st.integers(8, 70),  # the fewer values, the more LayerNorm magnifies rounding
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(list(BOUNDS)),
    int8=st.booleans(),
)
def test_any_shape(
    isa: str,
    grid: tuple[int, int],
    patch: int,
    share: float,
    batch: int,
    c: int,
    seed: int,
    dtype: torch.dtype,
    int8: bool,
) -> None:
    torch.manual_seed(seed)
    arguments = inputs(*grid, patch, int(share * grid[0] * grid[1]), dtype, batch=batch, c=c)
    check(patch_embed, patch_embed_reference, *(in_int8(arguments, patch) if int8 else [*arguments, patch]))


@DTYPES
@pytest.mark.parametrize("c", [0, 2, 3, 7])
def test_few_channels(isa: str, c: int, dtype: torch.dtype) -> None:
    check(patch_embed, patch_embed_reference, *inputs(3, 5, 4, 7, dtype, c=c), 4)


@DTYPES
@pytest.mark.parametrize("fill", [0, 255])
def test_extremes(isa: str, fill: int, dtype: torch.dtype) -> None:
    frames, *rest = inputs(3, 5, 4, 7, dtype, c=40)
    frames.fill_(fill)
    check(patch_embed, patch_embed_reference, frames, *rest, 4)
    check(patch_embed, patch_embed_reference, *in_int8([frames, *rest], 4))


def test_pixels_are_those_of_their_window_patch_and_place(isa: str) -> None:
    """Each output picks one pixel value; LayerNorm keeps their order, so that a wrong pixel shows."""
    d, c = 2, 36
    frames, windows, ids, *_ = inputs(4, 6, d, 11, torch.float32, c=c)
    one, none = torch.ones(c), torch.zeros(c)
    found = patch_embed(frames, windows, ids, torch.eye(c), none, one, none, d)
    for b in range(2):
        for i, token in enumerate(ids[b].tolist()):
            y, x = token // 6 * d, token % 6 * d
            pixels = torch.cat([frames[t, y : y + d, x : x + d].flatten() for t in windows[b]]).double()
            expected = (pixels - pixels.mean()) / (pixels.var(correction=0) + 1e-6).sqrt()
            torch.testing.assert_close(found[b, i].double(), expected, rtol=1e-5, atol=1e-5)


@DTYPES
def test_a_window_does_not_depend_on_its_batch(isa: str, dtype: torch.dtype) -> None:
    frames, windows, ids, *parameters = inputs(8, 9, 4, 55, dtype, batch=4, c=48)
    whole = patch_embed(frames, windows, ids, *parameters, 4)
    for i in range(4):
        alone = patch_embed(frames[windows[i]], torch.arange(3)[None], ids[i : i + 1], *parameters, 4)
        assert torch.equal(alone[0], whole[i])


def test_int8_pixels_are_those_of_their_window_patch_and_place(isa: str) -> None:
    """As above; and no other value than the pixel's own takes part."""
    c = 36
    frames, windows, ids, *_ = inputs(4, 6, 2, 11, torch.float32, c=c)
    one, none = torch.ones(c), torch.zeros(c)
    plain = patch_embed(frames, windows, ids, torch.eye(c), none, one, none, 2)
    found = patch_embed(frames, windows, ids, torch.eye(c, dtype=torch.int8), none, one, none, 2, one)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)


def test_float8_is_not_for_pixels() -> None:
    """It holds few of the integers up to 255."""
    frames, windows, ids, weight, *rest = inputs(4, 6, 2, 11, torch.float32, c=12)
    with pytest.raises(TypeError, match=r"weight: expected torch.int8, as it has a scale, found torch.float8_e4m3fn"):
        patch_embed(frames, windows, ids, *quantize_weight(weight, torch.float8_e4m3fn)[:1], *rest, 2, torch.ones(12))


def test_int8_of_the_largest_patch_that_its_sums_hold(isa: str) -> None:
    """White everywhere, and levels of 127 in the first channel: a sum just below 2^31."""
    frames, windows, ids, weight, *rest = inputs(1, 1, 85, 1, torch.float32, batch=1, c=8)
    levels = torch.randint(-127, 128, weight.shape, dtype=torch.int8)
    levels[0] = 127
    white, scale = frames.fill_(255), torch.full((8,), 1e-7)
    check(patch_embed, patch_embed_reference, white, windows, ids, levels, *rest, 85, scale)


def test_int8_of_larger_patches_is_refused() -> None:
    arguments = in_int8(inputs(1, 1, 86, 1, torch.float32, batch=1, c=8), 86)
    with pytest.raises(ValueError, match=r"weight: expected at most 66311 products in a sum.* found 66564"):
        patch_embed(*arguments)


def test_strided_arguments_are_copied() -> None:
    frames, *rest = inputs(3, 4, 2, 5, torch.float32, c=12)
    strided = [t.mT.contiguous().mT if t.ndim > 1 else t.repeat_interleave(2)[::2] for t in (frames, *rest)]
    assert torch.equal(patch_embed(*strided, 2), patch_embed(frames, *rest, 2))


@DTYPES
def test_opcheck(dtype: torch.dtype) -> None:
    arguments = inputs(2, 3, 2, 4, dtype, c=8)
    torch.library.opcheck(torch.ops.aedmae.patch_embed.default, (*arguments, 2))
    torch.library.opcheck(torch.ops.aedmae.patch_embed.default, tuple(in_int8(arguments, 2)))


def test_torch_compile_takes_it_whole() -> None:
    compiled = torch.compile(lambda *a: patch_embed(*a, 2) + 1, fullgraph=True, backend="aot_eager")
    for batch in (1, 2):
        arguments = inputs(2, 3, 2, 4, torch.float32, batch=batch, c=8)
        assert torch.equal(compiled(*arguments), patch_embed(*arguments, 2) + 1)


NAMES = ("frames", "windows", "ids_keep", "weight", "bias", "norm_weight", "norm_bias")


@pytest.mark.parametrize(
    ("name", "error", "match", "change"),
    [
        ("frames", TypeError, "expected uint8, found torch.float32", lambda t: t.float()),
        ("frames", ValueError, r"whole patches of 2, found \(4, 3, 6, 3\)", lambda t: t[:, 1:]),
        ("frames", ValueError, r"expected \[T, H, W, 3\] with pixels, .* found \(4, 0, 6, 3\)", lambda t: t[:, :0]),
        ("windows", TypeError, "expected int64, found torch.int32", lambda t: t.int()),
        ("windows", ValueError, r"expected \[B, 3\], found \(2, 2\)", lambda t: t[:, 1:]),
        ("windows", ValueError, "expected on cpu as frames, found on meta", lambda t: t.to("meta")),
        ("ids_keep", TypeError, "expected int64, found torch.int32", lambda t: t.int()),
        ("ids_keep", ValueError, r"expected \[2, V\], found \(1, 4\)", lambda t: t[1:]),
        ("weight", TypeError, "expected torch.float32 as bias, found torch.bfloat16", lambda t: t.bfloat16()),
        ("weight", TypeError, "expected torch.float32 as bias, found torch.int8", lambda t: t.to(torch.int8)),
        ("weight", TypeError, "expected torch.float32 or torch.int8", lambda t: t.to(torch.float8_e4m3fn)),
        ("weight", ValueError, r"expected \(8, 36\) on cpu, found \(8, 35\)", lambda t: t[:, 1:]),
        ("bias", TypeError, "expected float32 or bfloat16, found torch.float64", lambda t: t.double()),
        ("bias", ValueError, r"expected \[C\], found \(8, 1\)", lambda t: t[:, None]),
        ("norm_weight", ValueError, r"expected \(8,\) on cpu, found \(7,\) on cpu", lambda t: t[1:]),
        ("norm_bias", ValueError, r"expected \(8,\) on cpu, found \(8,\) on meta", lambda t: t.to("meta")),
    ],
)
def test_errors_name_the_argument(name: str, error: type[Exception], match: str, change: object) -> None:
    arguments = dict(zip(NAMES, inputs(2, 3, 2, 4, torch.float32, c=8), strict=True))
    arguments[name] = change(arguments[name])  # type: ignore[operator]
    with pytest.raises(error, match=f"{name}: .*{match}"):
        patch_embed(*arguments.values(), 2)
