"""ImageFolder: natural order, grey and colour in 8 bit, upright; a broken image is left out and named."""

from __future__ import annotations

import errno
import struct
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from aedmae_fast.video import Decoder, Outcome, Status, VideoError, open_video
from aedmae_fast.video.images import FRAMES_FPS, ImageFolder, is_frame_folder, natural_key
from tests.clips import picture, read_index
from tests.video.nobody import needs_root, run_as_nobody


def fill(folder: Path, count: int = 12, name: str = "frame_{}.png") -> Path:
    for index in range(count):
        Image.fromarray(picture(index)).save(folder / name.format(index))
    return folder


def only_plane(folder: Path) -> torch.Tensor:
    (chunk,) = ImageFolder(folder)
    (plane,) = chunk.planes
    assert plane.dtype == torch.uint8
    assert plane.stride(-1) == 1
    assert chunk.full_range == (plane.ndim == 3)
    return plane[0]


def test_the_decoder_is_one_of_files(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    for decoder in get_args(Decoder):
        assert open_video(tmp_path, decoder).info.decoder == "images"


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "bmp", "jpg", "jpeg", "webp", "JPG"])
def test_every_format_in_natural_order(tmp_path: Path, suffix: str) -> None:
    video = open_video(fill(tmp_path, 12, f"frame_{{}}.{suffix}"))  # frame_10 after frame_9, not after frame_1
    assert (video.info.width, video.info.height, video.info.expected_frames) == (128, 96, 12)
    assert (video.info.fps, video.info.codec, video.info.decoder) == (FRAMES_FPS, "images", "images")
    chunks = list(video)
    assert [chunk.first for chunk in chunks] == list(range(12))
    assert [chunk.times for chunk in chunks] == [(index / FRAMES_FPS,) for index in range(12)]
    lumas = [chunk.planes[0][0].numpy() for chunk in chunks]
    lumas = [luma if luma.ndim == 2 else luma[..., 1] for luma in lumas]  # WebP has no grey
    assert [read_index(luma) for luma in lumas] == list(range(12))
    assert video.outcome == Outcome(Status.OK, "")


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_grey_is_kept_to_the_bit(tmp_path: Path, suffix: str) -> None:
    fill(tmp_path, 1, f"{{}}.{suffix}")
    assert (only_plane(tmp_path).numpy() == picture(0)).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_rounded_and_clipped(tmp_path: Path, suffix: str) -> None:
    samples = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    Image.fromarray(samples).save(tmp_path / f"deep.{suffix}")
    exact = np.minimum(255, np.floor(samples / 256 + 0.5))
    assert (only_plane(tmp_path).numpy() == exact).all()


def test_twelve_bits_in_sixteen_are_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However often the folder is opened, and of no part that is merely dark."""
    dark, dawn = tmp_path / "dark", tmp_path / "dawn"
    for folder in (dark, dawn):
        folder.mkdir()
        for i in range(3):
            levels = 8 if folder == dawn and i == 0 else 4
            Image.fromarray(picture(i).astype(np.uint16) << levels).save(folder / f"{i}.png")
    assert all(chunk.planes[0].max() < 16 for chunk in ImageFolder(dark))
    assert len(list(ImageFolder(dark))) == 3
    assert capsys.readouterr().err.count(f"{dark}: 16-bit grey, but no pixel above 3520 of 65535") == 1
    assert len(list(ImageFolder(dawn))) + len(list(ImageFolder(dawn, first=1))) == 3 + 2
    assert capsys.readouterr().err == ""


def write_pages(path: Path, count: int, after: bytes, place: int = 0) -> None:
    """A TIFF of ``count`` pictures, the first of them ``picture(3)``, then ``after``; it says that the next is there.

    ``place``: or that many bytes further on.
    """
    first, *others = (Image.fromarray(picture(3 + index)) for index in range(count))
    first.save(path, save_all=True, append_images=others)
    content = bytearray(path.read_bytes())
    pointer = 4
    while directory := struct.unpack_from("<I", content, pointer)[0]:
        pointer = directory + 2 + 12 * struct.unpack_from("<H", content, directory)[0]
    struct.pack_into("<I", content, pointer, len(content) + place)
    path.write_bytes(content + after)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # as Pillow calls it
@pytest.mark.parametrize(
    ("after", "place"),
    [
        pytest.param(b"", 1000, id="beyond the end"),
        pytest.param(bytes(64), 0, id="zeros"),
        pytest.param(bytes(range(1, 255)), 0, id="bytes"),
        pytest.param(struct.pack("<H9I", 2, 256 | 4 << 16, 1, 7, 257 | 4 << 16, 1, 5, 0, 0, 0), 0, id="a size alone"),
    ],
)
def test_what_a_tiff_says_of_a_next_page_may_be_garbage(tmp_path: Path, after: bytes, place: int) -> None:
    """It is no picture; those before it are, as many as there are."""
    write_pages(tmp_path / "1.tif", 1, after, place)
    assert (only_plane(tmp_path).numpy() == picture(3)).all()
    write_pages(tmp_path / "2.tif", 3, after, place)
    video = ImageFolder(tmp_path)
    assert len(list(video)) == 1
    assert video.outcome.status is Status.CORRUPT
    assert "(2.tif: 3 pictures in one file, expected one" in video.outcome.reason


def test_bilevel_and_grey_with_alpha_are_grey(tmp_path: Path) -> None:
    black_and_white = picture(0) > 128
    Image.fromarray(black_and_white).save(tmp_path / "1.png")
    Image.merge("LA", [Image.fromarray(picture(1)), Image.new("L", (128, 96), 7)]).save(tmp_path / "2.png")
    first, second = (chunk.planes[0][0].numpy() for chunk in ImageFolder(tmp_path))
    assert (first == black_and_white * 255).all()
    assert (second == picture(1)).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_colour_is_bgr(tmp_path: Path, mode: str) -> None:
    colour = Image.new("RGB", (64, 48), (0, 102, 204)).convert(mode)  # a colour of the web palette
    colour.save(tmp_path / ("colour.tif" if mode == "CMYK" else "colour.png"))
    plane = only_plane(tmp_path)
    assert plane.shape == (48, 64, 3)
    assert (plane.int() - torch.tensor([204, 102, 0])).abs().max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.fromarray(picture(3))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Transpose members that turn the upright image into the stored
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"turned{suffix}", exif=exif)
    info = ImageFolder(tmp_path).info
    assert (info.width, info.height) == (128, 96)
    assert (only_plane(tmp_path).numpy() == picture(3)).all()


def test_sizes_may_change(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    Image.fromarray(picture(1, (64, 48))).save(tmp_path / "1.png")
    assert [tuple(chunk.planes[0].shape) for chunk in ImageFolder(tmp_path)] == [(1, 96, 128), (1, 48, 64)]


def test_a_broken_image_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path)
    whole = (tmp_path / "frame_4.png").read_bytes()
    (tmp_path / "frame_4.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "frame_9.png").write_text("no picture")
    video = ImageFolder(tmp_path)
    chunks = list(video)
    assert [read_index(chunk.planes[0][0].numpy()) for chunk in chunks] == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11]
    assert [chunk.first for chunk in chunks] == list(range(10))
    assert video.outcome.status is Status.CORRUPT
    start = "2 of 12 images could not be read and are left out, later frames move up (frame_4.png: "
    assert video.outcome.reason.startswith(start)
    assert "\n" not in video.outcome.reason


def test_an_image_that_the_disk_did_not_give_is_told_apart_from_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run may get it; a broken one stays broken."""
    fill(tmp_path, 3)
    (tmp_path / "frame_0.png").write_bytes(b"no image")
    video = ImageFolder(tmp_path)
    assert len(list(video)) == 2
    assert not video.outcome.passing
    opened = Image.open

    def faulty(path: Path, **how: Any) -> Image.Image:
        if path.name in missing:
            raise OSError(errno.EIO, "Input/output error")
        return opened(path, **how)

    missing = {"frame_1.png"}
    monkeypatch.setattr(Image, "open", faulty)
    video = ImageFolder(tmp_path)
    assert len(list(video)) == 1
    assert video.outcome.passing
    missing = {"frame_1.png", "frame_2.png"}
    with pytest.raises(VideoError) as refused:
        ImageFolder(tmp_path)
    assert refused.value.passing


def test_other_formats_are_no_images_whatever_their_names(tmp_path: Path) -> None:
    """An EPS would be run by Ghostscript."""
    fill(tmp_path, 1)
    Image.fromarray(picture(1)).save(tmp_path / "z.jpg", "EPS")
    Image.fromarray(picture(2)).save(tmp_path / "y.png", "GIF")
    video = ImageFolder(tmp_path)
    assert len(list(video)) == 1
    assert video.outcome.reason.startswith("2 of 3 images could not be read")


@pytest.mark.parametrize("suffix", ["tif", "webp", "png"])
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, suffix: str) -> None:
    """All but the first would be lost without a word."""
    fill(tmp_path, 1)
    first, *others = (Image.fromarray(picture(i)).convert("RGB") for i in range(3))
    first.save(tmp_path / f"z.{suffix}", save_all=True, append_images=others)
    video = ImageFolder(tmp_path)
    assert len(list(video)) == 1
    assert f"(z.{suffix}: 3 pictures in one file, expected one" in video.outcome.reason


def test_a_cameras_jpeg_may_hold_another_view(tmp_path: Path) -> None:
    first, second = (Image.fromarray(picture(i)) for i in range(2))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert read_index(only_plane(tmp_path).numpy()) == 0


def test_pixels_without_a_range_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    Image.fromarray(np.ones((96, 128), np.float32)).save(tmp_path / "z.tif")
    video = ImageFolder(tmp_path)
    assert len(list(video)) == 1
    assert video.outcome.reason.endswith("(z.tif: floating-point pixels, expected 8 or 16 bit)")


def test_folders_without_frames(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._001.tif").write_text("what macOS leaves in archives")
    with pytest.raises(VideoError, match="no image in this folder") as empty:
        open_video(tmp_path)
    assert empty.value.status is Status.TOO_SHORT
    with pytest.raises(VideoError, match="no such file or directory") as absent:
        ImageFolder(tmp_path / "absent")
    assert absent.value.status is Status.UNREADABLE
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(VideoError, match=r"none of 1 images can be read: a\.png") as broken:
        ImageFolder(tmp_path)
    assert broken.value.status is Status.UNREADABLE


def test_headers_without_pixels(tmp_path: Path) -> None:
    fill(tmp_path, 2, "frame_{}.jpg")
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    video = ImageFolder(tmp_path)
    assert list(video) == []
    assert video.outcome.status is Status.UNREADABLE
    assert video.outcome.reason.startswith("none of 2 images can be read (frame_0.jpg: ")


@needs_root
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    imports = "from aedmae_fast.video import VideoError; from aedmae_fast.video.images import ImageFolder"
    program = """
try:
    ImageFolder("closed")
except VideoError as error:
    print(error.status.value, error.reason)
"""
    assert run_as_nobody(tmp_path, imports, program) == "unreadable permission denied\n"


def test_is_frame_folder(tmp_path: Path) -> None:
    assert not is_frame_folder(tmp_path)
    (tmp_path / "folder.png").mkdir()
    assert not is_frame_folder(tmp_path)
    fill(tmp_path, 1)
    assert is_frame_folder(tmp_path)
    assert not is_frame_folder(tmp_path / "frame_0.png")
    assert not is_frame_folder(tmp_path / "absent")


def test_natural_key() -> None:
    names = ["b1", "frame_10", "frame_2", "Frame_3", "002", "1", "01", "10", "²", "frame"]
    expected = ["01", "1", "002", "10", "b1", "frame", "frame_2", "Frame_3", "frame_10", "²"]
    assert sorted(names, key=natural_key) == expected


def test_life_cycle(tmp_path: Path) -> None:
    video = ImageFolder(fill(tmp_path, 3))
    with pytest.raises(RuntimeError, match="outcome is known only"):
        _ = video.outcome
    for _ in video:
        video.close()
    video.close()
    with pytest.raises(RuntimeError, match="read once"):
        iter(video)


def test_a_link_that_leads_nowhere_is_a_broken_image(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    (tmp_path / "frame_4.png").symlink_to(tmp_path / "gone.png")
    video = open_video(tmp_path)
    assert len(list(video)) == 4
    assert video.outcome.status is Status.CORRUPT
    assert "frame_4.png" in video.outcome.reason


def test_sixteen_bits_whose_white_is_zero(tmp_path: Path) -> None:
    luma = picture(3)
    Image.fromarray(luma.astype(np.uint16) * 257).save(tmp_path / "1.tif")
    black_is_zero = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    content = (tmp_path / "1.tif").read_bytes()
    assert black_is_zero in content
    (tmp_path / "1.tif").write_bytes(content.replace(black_is_zero, struct.pack("<HHIHH", 262, 3, 1, 0, 0)))
    found = only_plane(tmp_path).numpy().astype(int)
    assert np.abs(found - (255 - luma.astype(int))).max() <= 1
