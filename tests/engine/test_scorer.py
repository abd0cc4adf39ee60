"""The streaming loop: every frame gets a score, and the same one whatever else happens."""

from __future__ import annotations

import math
import multiprocessing
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aedmae_fast import Scorer
from aedmae_fast.config import PRESETS
from aedmae_fast.engine.choose import ChoiceError, choose_device
from aedmae_fast.engine.memory import FramesInMemory
from aedmae_fast.engine.postprocess import final_score
from aedmae_fast.engine.precision import eight_bits_on
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.model.masks import mask_bank
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops import frame_prep, smooth_max
from aedmae_fast.ops.patches import unpatchify
from aedmae_fast.video import Status
from tests.clips import write_clip
from tests.engine.scored import pixels

MULTIPLY_BF16 = ("avx512_bf16", "amx")
COLUMNS = ("time_s", "score", "raw", "teacher_error", "discrepancy", "class_prob", "x", "y")


def assert_same(a: ClipScores, b: ClipScores) -> None:
    """Bit for bit."""
    assert (a.status, a.frames) == (b.status, b.frames)
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(a, column), getattr(b, column), err_msg=column)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_clip(folder / f"{n}.mp4", frames=n, size=(72, 40)) for n in (1, 5, 13, 30)]


# ---- what is computed ----


def terms_by_hand(model: AedMae, frames: np.ndarray, preset: str) -> dict[str, torch.Tensor]:
    """A clip's terms without an engine: all windows at once, float64; those of pixels [T, H, W], weighted and not."""
    config, p = model.config, PRESETS[preset]
    small = frame_prep([torch.from_numpy(frames)], config.height, config.width)
    count = len(small)
    t = torch.arange(count)
    before, after = torch.where(t >= 3, t - 3, t), torch.where(t + 3 < count, t + 3, t)
    windows = torch.stack([small[before], small, small[after]], dim=1)
    masks = mask_bank(config)[t % config.mask_count]
    with torch.inference_mode():
        out = model.double()(windows, masks)
    model.float()
    reduce = torch.sum if p.channels == "sum" else torch.mean
    power = 1 if p.error == "L1" else 2
    teacher, student = (unpatchify(x, small.shape[1:3], config.patch) for x in (out.teacher, out.student))
    target = torch.cat([(small.double() - 127.5) / 127.5, -torch.ones(*small.shape[:3], 1)], dim=3)  # [T, H, W, 4]
    errors = (target - teacher).abs() ** power
    weights = torch.tensor([p.colour_weight] * 3 + [p.abnormal_weight])
    gap = reduce((teacher - student).abs() ** power, dim=3)
    weighted = reduce(weights * errors, dim=3) + p.gap_weight * gap
    return {"map": weighted, "error": reduce(errors, dim=3), "gap": gap, "prob": out.class_logit.sigmoid()}


def score_by_hand(model: AedMae, frames: np.ndarray, preset: str) -> dict[str, np.ndarray]:
    """The same scores without an engine."""
    terms, p = terms_by_hand(model, frames, preset), PRESETS[preset]
    combined = terms["map"] + p.class_weight * terms["prob"][:, None, None]
    raw = smooth_max(combined.float(), p.map_filter) if p.pool == "max" else combined.mean((1, 2))
    return {
        "raw": raw.numpy(),
        "score": final_score(raw.double().numpy(), p),
        "teacher_error": terms["error"].mean((1, 2)).numpy(),
        "discrepancy": terms["gap"].mean((1, 2)).numpy(),
        "class_prob": terms["prob"].numpy(),
    }


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("count", [1, 2, 6, 25])
def test_scores_are_those_of_the_formula(tiny_model: AedMae, preset: str, count: int) -> None:
    found = Scorer(tiny_model, preset=preset, device="cpu", precision="fp32").score_frames(pixels(count))
    assert found.status is Status.OK
    assert found.frames == count
    for column, expected in score_by_hand(tiny_model, pixels(count), preset).items():
        np.testing.assert_allclose(getattr(found, column), expected, rtol=2e-5, err_msg=column)


@pytest.mark.parametrize("stride", [1, 4])
def test_the_place_of_the_score_is_the_maximum_of_its_map(tiny_model: AedMae, tmp_path: Path, stride: int) -> None:
    """In pixels of the video; frames between scored ones have the place of the last one scored."""
    path = write_clip(tmp_path / "clip.mp4", frames=13, size=(144, 80))  # width, height
    clip = Scorer(tiny_model, preset="anomaly-map", stride=stride).maps(path)
    maps, found = {of_frame.frame: of_frame.values for of_frame in clip}, clip.scores
    height, width = tiny_model.config.height, tiny_model.config.width
    for frame in range(13):
        row, column = divmod(int(maps[frame // stride * stride].argmax()), width)
        expected = (column + 0.5) * 144 / width, (row + 0.5) * 80 / height
        assert (found.x[frame], found.y[frame]) == pytest.approx(expected)
    assert len(set(zip(found.x, found.y, strict=True))) > 1


def test_without_a_map_there_is_no_place(tiny_model: AedMae) -> None:
    found = Scorer(tiny_model, preset="release-avenue").score_frames(pixels(4))
    assert np.isnan([found.x, found.y]).all()


def test_bf16_is_close_to_fp32(tiny_model: AedMae) -> None:
    single = Scorer(tiny_model, precision="fp32").score_frames(pixels(20))
    half = Scorer(tiny_model, precision="bf16").score_frames(pixels(20))
    assert not np.array_equal(single.raw, half.raw)
    np.testing.assert_allclose(half.raw, single.raw, rtol=0.02)


def test_int8_is_near_fp32(isa: str, tiny_model: AedMae) -> None:
    single = Scorer(tiny_model, device="cpu", precision="fp32").score_frames(pixels(20))
    scorer = Scorer(tiny_model, device="cpu", precision="int8")
    quantized = scorer.score_frames(pixels(20))
    assert not np.array_equal(single.raw, quantized.raw)
    np.testing.assert_allclose(quantized.raw, single.raw, rtol=0.05)
    rest = "bf16" if isa in MULTIPLY_BF16 else "fp32"
    assert scorer.choices["precision"].why.startswith("asked for; linear layers in int8 (")
    assert scorer.choices["precision"].why.endswith(f"), the rest in {rest}")


def test_smoothing_can_be_left_out(tiny_model: AedMae) -> None:
    for preset in PRESETS:
        found = Scorer(tiny_model, preset=preset, smoothing=False).score_frames(pixels(9))
        np.testing.assert_array_equal(found.score, found.raw)


def test_columns_of_a_network_without_a_class_head(tiny_model: AedMae) -> None:
    headless = AedMae(replace(tiny_model.config, class_head=False))
    found = Scorer(headless, preset="release-avenue").score_frames(pixels(4))
    assert np.isnan(found.class_prob).all()
    assert np.isfinite(found.score).all()
    with pytest.raises(ChoiceError, match="no class head"):
        Scorer(headless, preset="paper")


# ---- bit for bit ----


@pytest.fixture(params=["fp32", "bf16", "8 bits"])
def precision(request: pytest.FixtureRequest) -> str:
    if request.param != "8 bits":
        return str(request.param)
    if (found := eight_bits_on(torch.device(choose_device("auto").value))) is None:
        pytest.skip("the GPU has no float8")
    return found


@pytest.fixture
def reference(tiny_model: AedMae, clips: list[Path], precision: str) -> list[ClipScores]:
    """Each clip alone, one frame at a time, one decoder, one thread."""
    scorer = Scorer(tiny_model, precision=precision, batch_size=1, workers=1, threads=1)
    return [scorer.score(clip) for clip in clips]


@pytest.mark.parametrize("batch_size", [7, 32])
@pytest.mark.parametrize("workers", [1, 4])
def test_batch_size_company_and_workers_change_nothing(
    tiny_model: AedMae, clips: list[Path], precision: str, reference: list[ClipScores], batch_size: int, workers: int
) -> None:
    scorer = Scorer(tiny_model, precision=precision, batch_size=batch_size, workers=workers, threads=workers)
    for found, expected in zip(scorer.score_many(clips), reference, strict=True):
        assert_same(found, expected)


def test_order_changes_nothing(
    tiny_model: AedMae, clips: list[Path], precision: str, reference: list[ClipScores]
) -> None:
    scorer = Scorer(tiny_model, precision=precision, batch_size=8, workers=2)
    for found, expected in zip(scorer.score_many(clips[::-1]), reference[::-1], strict=True):
        assert_same(found, expected)


def test_the_full_network_is_reproducible_too(precision: str) -> None:
    """The matrix sizes of a real configuration, where a library may choose other kernels for other batches."""
    from aedmae_fast import load_model

    model, frames = load_model("untrained-ped2"), pixels(9, 80, 160)
    sizes = ((1, 1), (7, 2), (32, 3))
    results = [Scorer(model, precision=precision, batch_size=b, threads=n).score_frames(frames) for b, n in sizes]
    for result in results[1:]:
        assert_same(result, results[0])


def test_a_longer_clip_does_not_change_earlier_frames(tiny_model: AedMae) -> None:
    """Frame t looks at t - 7 .. t + 7 (window and map filter), no further."""
    scorer = Scorer(tiny_model, smoothing=False)
    short, long = scorer.score_frames(pixels(40)[:20]), scorer.score_frames(pixels(40))
    np.testing.assert_array_equal(short.raw[: 20 - 7], long.raw[: 20 - 7])
    assert short.raw[19] != long.raw[19]


# ---- files ----


def test_every_frame_of_every_file_is_scored(tiny_model: AedMae, clips: list[Path]) -> None:
    results = list(Scorer(tiny_model, batch_size=16).score_many(clips))
    assert [r.path for r in results] == clips
    assert [r.frames for r in results] == [1, 5, 13, 30]
    for result in results:
        assert result.status is Status.OK
        assert result.info is not None
        assert np.isfinite(result.score).all()
        assert not result.interpolated.any()
        np.testing.assert_allclose(result.time_s, np.arange(result.frames) / result.info.fps, atol=1e-3)


def test_results_come_in_order_though_clips_finish_out_of_order(
    tiny_model: AedMae, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from aedmae_fast.engine import scorer as module

    order = [clips[3], clips[0], clips[0], clips[2], clips[1]]
    scorer, others = Scorer(tiny_model, workers=4, batch_size=1), threading.Event()
    opened, unordered, finished = module.open_video, scorer.score_unordered, []

    def the_first_one_late(path: Path, *choices: str) -> object:
        assert path != order[0] or others.wait(30)
        return opened(path, *choices)

    def noted(paths: list[Path]) -> Iterator[tuple[int, ClipScores]]:
        for index, result in unordered(paths):
            finished.append(index)
            others.set()
            yield index, result

    monkeypatch.setattr(module, "open_video", the_first_one_late)
    monkeypatch.setattr(scorer, "score_unordered", noted)
    assert [r.path for r in scorer.score_many(order)] == order
    assert sorted(finished) == [0, 1, 2, 3, 4]
    assert finished[0] != 0


def test_paths_are_taken_one_by_one_as_they_are_needed(tiny_model: AedMae, clips: list[Path]) -> None:
    """An endless list of videos can be scored."""

    def forever() -> Iterator[Path]:
        while True:
            yield clips[1]

    results = Scorer(tiny_model).score_many(forever())
    assert [next(results).frames for _ in range(3)] == [5, 5, 5]
    results.close()  # type: ignore[attr-defined]


def test_one_bad_file_among_good_ones(tiny_model: AedMae, clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    results = list(Scorer(tiny_model, batch_size=32).score_many([clips[2], tmp_path / "text.mp4", clips[1]]))
    assert [r.status for r in results] == [Status.OK, Status.UNREADABLE, Status.OK]
    assert results[1].frames == 0
    assert results[1].reason
    assert results[1].peak is None


def test_a_decoder_that_crashes_is_one_files_trouble(
    tiny_model: AedMae, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from aedmae_fast.engine import scorer as module

    def crash(path: Path, *choices: str) -> object:
        if path == clips[1]:
            raise RuntimeError("a bug")
        return original(path, *choices)

    original = module.open_video
    monkeypatch.setattr(module, "open_video", crash)
    results = list(Scorer(tiny_model).score_many(clips))
    assert [r.status for r in results] == [Status.OK, Status.FAILED, Status.OK, Status.OK]
    assert results[1].reason == "RuntimeError: a bug"


def test_an_error_in_the_list_of_paths_reaches_the_caller(tiny_model: AedMae, clips: list[Path]) -> None:
    def paths() -> Iterator[Path]:
        yield clips[0]
        raise KeyError("the caller's")

    with pytest.raises(KeyError, match="the caller's"):
        list(Scorer(tiny_model).score_many(paths()))


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_is_not_several(tiny_model: AedMae, clips: list[Path], kind: type) -> None:
    """At once, not when the first result is asked for."""
    scorer = Scorer(tiny_model)
    for method in (scorer.score_many, scorer.score_unordered):
        with pytest.raises(TypeError, match=r"paths: expected several, found .*mp4'; score\(\) takes one"):
            method(kind(clips[0]))


@pytest.mark.parametrize(("value", "named"), [(math.nan, "NaN"), (math.inf, "infinite")])
def test_what_is_no_number_is_a_failure_not_a_score(tiny_model: AedMae, value: float, named: str) -> None:
    with torch.no_grad():
        tiny_model.decoder_pred.bias[0] = value
    result = Scorer(tiny_model, preset="paper").score_frames(pixels(3))  # the map's own smoothing makes NaN of both
    assert result.status is Status.FAILED
    assert result.reason.startswith(f"the score of frame 0 and of 2 more is {named}")


# ---- stride ----


@pytest.mark.parametrize("stride", [2, 5, 100])
def test_stride(tiny_model: AedMae, stride: int) -> None:
    frames, scored = pixels(23), np.arange(0, 23, stride)
    every = Scorer(tiny_model, preset="release-avenue").score_frames(frames)
    some = Scorer(tiny_model, preset="release-avenue", stride=stride).score_frames(frames)
    np.testing.assert_array_equal(some.teacher_error[scored], every.teacher_error[scored])  # on their true neighbours
    np.testing.assert_array_equal(np.flatnonzero(~some.interpolated), scored)
    np.testing.assert_allclose(some.raw, np.interp(np.arange(23), scored, every.raw[scored]))
    np.testing.assert_allclose(some.score, final_score(some.raw, PRESETS["release-avenue"]))


# ---- frames from memory, and as a stream ----


def test_frames_from_memory(tiny_model: AedMae) -> None:
    scorer, frames = Scorer(tiny_model), pixels(12)
    result = scorer.score_frames(frames, fps=10)
    np.testing.assert_allclose(result.time_s, np.arange(12) / 10)
    assert_same(scorer.score_frames(torch.from_numpy(frames), fps=10), result)
    assert_same(scorer.score_frames(frames[..., ::-1], fps=10, order="rgb"), result)
    assert scorer.score_frames(frames[:0]).status is Status.TOO_SHORT


@pytest.mark.parametrize("order", ["bgr", "rgb"])
def test_a_clip_in_memory_is_not_copied(order: str) -> None:
    """Whatever its order, but for the block that is looked at."""
    frames = pixels(20)
    video = FramesInMemory(frames, 25, order)
    assert np.shares_memory(video._frames.numpy(), frames)
    found = np.concatenate([chunk.planes[0].numpy() for chunk in video])
    np.testing.assert_array_equal(found, frames if order == "bgr" else frames[..., ::-1])


@pytest.mark.filterwarnings("error")
def test_frames_that_are_read_only() -> None:
    """As those of a mapped file, or of a Pillow image."""
    frames = pixels(3)
    frames.flags.writeable = False
    torch.set_warn_always(True)
    try:
        found = [chunk.planes[0].numpy() for chunk in FramesInMemory(frames, 25, "bgr")]
    finally:
        torch.set_warn_always(False)
    np.testing.assert_array_equal(np.concatenate(found), frames)


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        (np.zeros((2, 4, 4, 3)), TypeError, "frames: expected uint8, found torch.float64"),
        (np.zeros((4, 4, 3), np.uint8), ValueError, r"frames: expected \[T, H, W, 3\], found \(4, 4, 3\)"),
        (np.zeros((2, 4, 4, 1), np.uint8), ValueError, "frames: expected"),
        (np.zeros((2, 0, 4, 3), np.uint8), ValueError, "frames: expected"),
    ],
)
def test_wrong_frames(tiny_model: AedMae, frames: np.ndarray, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Scorer(tiny_model).score_frames(frames)
    with pytest.raises(ValueError, match="order"):
        Scorer(tiny_model).score_frames(pixels(1), order="gbr")


@pytest.mark.parametrize("fps", [0.0, -25.0, math.nan, math.inf])
def test_what_is_no_rate_is_refused_at_once(tiny_model: AedMae, fps: float) -> None:
    scorer = Scorer(tiny_model)
    for of_frames in (lambda: scorer.score_frames(pixels(1), fps=fps), lambda: scorer.stream(fps=fps)):
        with pytest.raises(ValueError, match="fps: expected frames per second"):
            of_frames()


def test_a_scorer_goes_on_in_a_forked_process(tiny_model: AedMae) -> None:
    scorer = Scorer(tiny_model, device="cpu")  # CUDA by itself refuses to be used after a fork
    expected = scorer.score_frames(pixels(6)).score
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send(scorer.score_frames(pixels(6)).score))
    with scorer.runner._lock, scorer.runner._frames._lock, scorer.runner._maps._lock:  # as other threads may just then
        child.start()
    try:
        assert ours.poll(60), "it waits for threads that are not there"
        np.testing.assert_array_equal(ours.recv(), expected)
    finally:
        child.kill()
        child.join()


def test_a_scorer_leaves_the_callers_model_and_random_numbers_alone(tiny_model: AedMae) -> None:
    before, state = tiny_model.norm.weight.dtype, torch.get_rng_state()
    Scorer(tiny_model, precision="bf16").score_frames(pixels(2))
    assert tiny_model.norm.weight.dtype == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.needs_cuda
def test_cuda_agrees_with_the_cpu(tiny_model: AedMae) -> None:
    cpu = Scorer(tiny_model, device="cpu", precision="fp32").score_frames(pixels(20))
    cuda = Scorer(tiny_model, device="cuda", precision="fp32").score_frames(pixels(20))
    np.testing.assert_allclose(cuda.raw, cpu.raw, rtol=1e-4)


@pytest.mark.needs_cuda
def test_on_gpu_fp8_is_near_fp32(tiny_model: AedMae) -> None:
    if eight_bits_on(torch.device("cuda")) is None:
        pytest.skip("the GPU has no float8")
    single = Scorer(tiny_model, device="cuda", precision="fp32").score_frames(pixels(20))
    quantized = Scorer(tiny_model, device="cuda", precision="fp8").score_frames(pixels(20))
    assert not np.array_equal(single.raw, quantized.raw)
    np.testing.assert_allclose(quantized.raw, single.raw, rtol=0.1)
