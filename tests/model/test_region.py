"""The region: read from an image, kept in a checkpoint, and nothing outside of it has a part in any score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from aedmae_fast import Scorer, load_model
from aedmae_fast.config import PRESETS
from aedmae_fast.engine.runner import Runner
from aedmae_fast.model.checkpoint import FORMAT, CheckpointError, save_model
from aedmae_fast.model.network import AedMae
from aedmae_fast.model.region import Region, load_region
from tests.conftest import TINY
from tests.engine.graph_twin import CaptureTwin
from tests.training.scenes import write_frames

SIZE = TINY.height, TINY.width
CUT = 24  # columns from here on are not looked at


def inside() -> torch.Tensor:
    region = torch.zeros(SIZE, dtype=torch.bool)
    region[:, :CUT] = True
    return region


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(inside().numpy().astype(np.uint8) * 255).save(tmp_path / "region.png")
    return tmp_path / "region.png"


def clip(seed: int, count: int = 20) -> np.ndarray:
    """uint8 [T, H, W, 3], the same up to the cut whatever the seed."""
    frames = np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)
    frames[:, :, CUT:] = np.random.default_rng(seed).integers(0, 256, (count, SIZE[0], SIZE[1] - CUT, 3))
    return frames


# ---- what it is ----


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("times", [1, 3])
def test_an_image_of_any_size_and_kind(tmp_path: Path, mode: str, times: int) -> None:
    picture = Image.fromarray(inside().numpy().astype(np.uint8) * 255).resize((SIZE[1] * times, SIZE[0] * times), 0)
    picture.convert(mode).save(tmp_path / "region.png")
    found = load_region(tmp_path / "region.png", SIZE)
    assert torch.equal(found.inside, inside())
    assert found.share == CUT / SIZE[1]


def test_a_pixel_is_looked_at_where_at_least_half_of_it_is_white(tmp_path: Path) -> None:
    columns = np.array([[255, 255, 255, 0, 254, 0, 0, 0]], np.uint8)  # in pairs: white, half, a little less, black
    Image.fromarray(columns).save(tmp_path / "region.png")
    assert load_region(tmp_path / "region.png", (1, 4)).inside.tolist() == [[True, True, False, False]]


def test_what_is_no_region(tmp_path: Path) -> None:
    path = tmp_path / "region.png"
    with pytest.raises(FileNotFoundError, match=r"region\.png"):
        load_region(path, SIZE)
    path.write_text("no image")
    with pytest.raises(ValueError, match=r"region\.png is no whole image; expected one that is white where to look"):
        load_region(path, SIZE)
    Image.fromarray(clip(0)[0]).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"region\.png is no whole image"):
        load_region(path, SIZE)
    Image.new("L", (4, 4)).save(path)
    with pytest.raises(ValueError, match=r"region\.png is black all over"):
        load_region(path, SIZE)
    with pytest.raises(TypeError, match=r"expected bool, found torch\.uint8"):
        Region(inside().to(torch.uint8))
    with pytest.raises(ValueError, match=r"expected \[H, W\], found \(1, \d+, \d+\)$"):
        Region(inside()[None])
    with pytest.raises(ValueError, match="expected True where to look, found it nowhere"):
        Region(torch.zeros(SIZE, dtype=torch.bool))


def test_an_image_too_large_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "region.png"
    Image.new("L", (40, 40), 255).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40 // 2 - 1)
    with pytest.raises(ValueError, match=r"region\.png is no whole image"):
        load_region(path, SIZE)


def test_hidden_is_black_and_the_rest_as_it_was() -> None:
    frames = torch.from_numpy(clip(1))
    before = frames.clone()
    Region(inside()).hide(frames)
    assert torch.equal(frames[:, :, :CUT], before[:, :, :CUT])
    assert not frames[:, :, CUT:].any()


@pytest.mark.needs_cuda
def test_on_gpu_it_hides_the_same() -> None:
    frames = torch.from_numpy(clip(1))
    on_gpu, region = frames.cuda(), Region(inside())
    region.hide(frames)
    region.hide(on_gpu)
    assert torch.equal(on_gpu.cpu(), frames)


# ---- what it does ----


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_what_lies_outside_has_no_part_in_any_score(tiny_model: AedMae, image: Path, preset: str) -> None:
    scorer = Scorer(tiny_model, preset=preset, device="cpu", precision="fp32", region=image)
    one, other = (scorer.score_frames(clip(seed)) for seed in (1, 2))
    for column in ("score", "raw", "teacher_error", "discrepancy", "class_prob", "x", "y"):
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), err_msg=column)
    whole = Scorer(tiny_model, preset=preset, device="cpu", precision="fp32")
    assert (whole.score_frames(clip(1)).raw != whole.score_frames(clip(2)).raw).all()
    assert (whole.score_frames(clip(1)).raw != one.raw).all()


@pytest.mark.parametrize("preset", ["paper", "anomaly-map"])
def test_maps_are_nothing_outside_and_no_place_lies_there(tiny_model: AedMae, image: Path, preset: str) -> None:
    maps = Scorer(tiny_model, preset=preset, device="cpu", precision="fp32", region=image).maps_of_frames(clip(1))
    reach = PRESETS[preset].map_filter[2] // 2
    for of_frame in maps:
        assert (of_frame.values[:, : CUT + reach] > 0).all()
        assert not of_frame.values[:, CUT + reach :].any()
    assert (maps.scores.x < CUT + reach).all()


def test_a_stream_and_a_file_look_where_a_clip_does(tiny_model: AedMae, image: Path, tmp_path: Path) -> None:
    scorer = Scorer(tiny_model, preset="paper", device="cpu", precision="fp32", smoothing=False, region=image)
    frames = clip(1)
    expected = scorer.score_frames(frames).raw
    stream, given = scorer.stream(), frames.copy()
    found = [due.raw for frame in given for due in stream.push(frame)] + [due.raw for due in stream.finish()]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(given, frames)  # what was pushed is left alone
    np.testing.assert_array_equal(scorer.score(write_frames(tmp_path / "clip", frames)).raw, expected)


@pytest.mark.parametrize("preset", ["paper", "release-avenue"])
def test_a_graph_looks_there_too(tiny_model: AedMae, image: Path, preset: str) -> None:
    scorer = Scorer(tiny_model, preset=preset, device="cpu", precision="fp32", region=image)
    expected = list(scorer.maps_of_frames(clip(1)))
    scorer.runner = Runner(tiny_model, PRESETS[preset], "cpu", "fp32", 1, scorer.region, capture=CaptureTwin)
    for one, other in zip(scorer.maps_of_frames(clip(1)), expected, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


def test_the_whole_picture_is_as_none(tiny_model: AedMae, tmp_path: Path) -> None:
    Image.new("L", (4, 4), 255).save(tmp_path / "white.png")
    scorers = [Scorer(tiny_model, device="cpu", precision="fp32", region=r) for r in (None, tmp_path / "white.png")]
    np.testing.assert_array_equal(*(scorer.score_frames(clip(1)).raw for scorer in scorers))


# ---- where it is kept ----


def test_a_checkpoint_brings_it_along(tiny_model: AedMae, image: Path, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path / "without.safetensors")
    assert load_model(tmp_path / "without.safetensors").region is None
    tiny_model.region = Region(inside())
    save_model(tiny_model, tmp_path / "with.safetensors", dtype=torch.float16)
    loaded = load_model(tmp_path / "with.safetensors").region
    assert loaded is not None
    assert torch.equal(loaded.inside, inside())
    tiny_model.region = None
    given = Scorer(tiny_model, device="cpu", precision="fp32", region=image)
    tiny_model.region = loaded
    brought = Scorer(tiny_model, device="cpu", precision="fp32")
    assert given.choices["region"] == ("38% of the picture", f"white in {image}")
    assert brought.choices["region"] == ("38% of the picture", "which the network was trained on")
    np.testing.assert_array_equal(given.score_frames(clip(1)).raw, brought.score_frames(clip(2)).raw)
    Image.new("L", (4, 4), 255).save(image)
    assert Scorer(tiny_model, device="cpu", region=image).choices["region"].value == "100% of the picture"


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (torch.ones(8, 8, dtype=torch.bool), r"key 'region': expected \[32, 64\], found \[8, 8\]"),
        (torch.ones(SIZE), "key 'region': inside: expected bool, found torch.float32"),
        (torch.zeros(SIZE, dtype=torch.bool), "key 'region': inside: .*True where to look, found it nowhere"),
    ],
)
def test_a_checkpoint_with_another_kind_of_region(
    tiny_model: AedMae, tmp_path: Path, region: torch.Tensor, message: str
) -> None:
    path = tmp_path / "model.safetensors"
    save_model(tiny_model, path)
    header = {"format": FORMAT, "config": json.dumps(TINY.to_dict())}
    save_file({**load_file(path), "region": region}, path, header)
    with pytest.raises(CheckpointError, match=message):
        load_model(path)
