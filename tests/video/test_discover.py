"""find_videos: what counts as a video, in which order, and what is reported instead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aedmae_fast.files import replacing_picture
from aedmae_fast.video.discover import Discovery, find_videos
from tests.video.nobody import needs_root, run_as_nobody


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root: Path, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    search = find_videos(root, include, exclude)
    assert search.problems == []
    return [path.relative_to(root).as_posix() for path in search.videos]


def test_files_by_extension_at_any_depth_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "10.mp4", "9.avi", "b/cam2/x.MKV", "b/cam10/x.webm", "b/a.ts", "notes.txt", "b/mp4", "a.mp4.part")
    assert found(tmp_path) == ["9.avi", "10.mp4", "b/a.ts", "b/cam2/x.MKV", "b/cam10/x.webm"]


def test_data_set_layouts(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "UCSDped2/Test/Test001/001.tif",
        "UCSDped2/Test/Test001/._001.tif",
        "UCSDped2/Test/Test001_gt/frame001.bmp",
        "UCSDped2/Test/Test010/001.tif",
        "UCSDped2/Test/Test002/001.tif",
        "UCSDped2/Test/UCSDped2.m",
        "shanghaitech/testing/frames/01_0014/000.jpg",
        "shanghaitech/training/videos/01_001.avi",
        "avenue/testing_videos/01.avi",
        "avenue/testing_videos/thumbnail.png",
    )
    assert found(tmp_path, exclude=("*_gt",)) == [
        "avenue/testing_videos/01.avi",  # videos beside it: the image is no clip
        "shanghaitech/testing/frames/01_0014",
        "shanghaitech/training/videos/01_001.avi",
        "UCSDped2/Test/Test001",
        "UCSDped2/Test/Test002",
        "UCSDped2/Test/Test010",
    ]


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, ".a.mp4", ".cache/b.mp4", "c.mp4", "d/.e.png")
    assert found(tmp_path) == ["c.mp4"]


def test_thumbnails_of_a_nas_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "@eaDir/a.mp4/SYNOVIDEO_VIDEO_SCREENSHOT.jpg", "sub/@eaDir/b.jpg")
    assert found(tmp_path) == ["a.mp4"]


def test_what_is_neither_video_nor_image_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.xyz", "c/d.XYZ", "c/notes", ".hidden", "c/e.png")
    assert find_videos(tmp_path).others == {".xyz": 2, "": 1}


def test_pictures_of_ours_are_no_frames(tmp_path: Path) -> None:
    touch(tmp_path, "run/samples/1.png", "run/02.mp4", "frames/1.png")
    for folder in ("run", "run/samples"):
        with replacing_picture(tmp_path / folder / "plot.png") as part:
            part.touch()
    assert found(tmp_path) == ["frames", "run/02.mp4"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ["a.mp4", "cam1/a.mp4", "cam1/day/b.avi", "cam2/b.mp4"]),
        (("*.mp4",), (), ["a.mp4", "cam1/a.mp4", "cam2/b.mp4"]),
        (("a.*",), (), ["a.mp4", "cam1/a.mp4"]),  # the name alone
        (("cam1/*",), (), ["cam1/a.mp4", "cam1/day/b.avi"]),  # * crosses /
        (("**/b.*",), (), ["cam1/day/b.avi", "cam2/b.mp4"]),
        (("**/a.mp4",), (), ["a.mp4", "cam1/a.mp4"]),  # **/ also for no folder
        (("cam1/**/b.avi",), (), ["cam1/day/b.avi"]),
        (("cam1/**/a.mp4",), (), ["cam1/a.mp4"]),
        (("cam[12]/?.mp4", "*.avi"), (), ["cam1/a.mp4", "cam1/day/b.avi", "cam2/b.mp4"]),
        ((), ("cam1",), ["a.mp4", "cam2/b.mp4"]),  # a whole folder
        ((), ("day",), ["a.mp4", "cam1/a.mp4", "cam2/b.mp4"]),
        (("*.mp4",), ("cam2/*",), ["a.mp4", "cam1/a.mp4"]),
        (("*.MP4",), (), []),
    ],
)
def test_patterns(tmp_path: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]) -> None:
    touch(tmp_path, "a.mp4", "cam1/a.mp4", "cam1/day/b.avi", "cam2/b.mp4")
    assert found(tmp_path, include, exclude) == expected


def test_names_of_any_kind(tmp_path: Path) -> None:
    names = [b"a b.mp4", b"two\nlines.mp4", "视频.mp4".encode(), b"latin-\xe4.mp4", b"[x]*.mp4"]
    touch(tmp_path, *(os.fsdecode(name) for name in names))
    assert sorted(os.fsencode(path.name) for path in find_videos(tmp_path).videos) == sorted(names)
    assert found(tmp_path, include=("latin-*",)) == [os.fsdecode(b"latin-\xe4.mp4")]


def test_links_are_followed_once_and_loops_are_cut(tmp_path: Path) -> None:
    touch(tmp_path, "real/x.mp4", "elsewhere/y.mp4")
    root = tmp_path / "root"
    touch(root, "z/inside.mp4")
    (root / "a_link").symlink_to(root / "z")  # sorts first, but the real folder is the one to name
    (root / "z" / "up").symlink_to(root)
    (root / "outside").symlink_to(tmp_path / "real")
    (root / "again").symlink_to(root / "outside")
    (root / "file.mp4").symlink_to(tmp_path / "elsewhere" / "y.mp4")
    assert found(root) == ["again/x.mp4", "file.mp4", "z/inside.mp4"]


def test_what_cannot_be_read_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "good.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "absent")
    (tmp_path / "self.avi").symlink_to(tmp_path / "self.avi")
    os.mkfifo(tmp_path / "pipe.mkv")
    search = find_videos(tmp_path)
    assert search.videos == [tmp_path / "good.mp4"]
    assert search.problems == [
        (tmp_path / "gone.mp4", "a link to nothing"),
        (tmp_path / "pipe.mkv", "not a regular file"),
        (tmp_path / "self.avi", "too many levels of symbolic links"),
    ]


@needs_root
def test_a_folder_without_permission_is_a_problem_and_a_root_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "good.mp4", "closed/hidden.mp4")
    (tmp_path / "closed").chmod(0o700)
    imports = "from pathlib import Path; from aedmae_fast.video.discover import find_videos"
    program = """
search = find_videos(Path("."))
print(search.videos, search.problems)
try:
    find_videos(Path("closed"))
except PermissionError as error:
    print(error)
"""
    assert run_as_nobody(tmp_path, imports, program).splitlines() == [
        "[PosixPath('good.mp4')] [(PosixPath('closed'), 'permission denied')]",
        "closed: this user may not read it; run as a user who may, or change its permissions (chmod u+rx)",
    ]


def test_the_root_itself(tmp_path: Path) -> None:
    touch(tmp_path, "odd.name", "frames/1.png", "frames/2.png")
    assert find_videos(tmp_path / "odd.name") == Discovery([tmp_path / "odd.name"])
    assert find_videos(tmp_path / "frames") == Discovery([tmp_path / "frames"])
    (tmp_path / "empty").mkdir()
    assert find_videos(tmp_path / "empty") == Discovery()


def test_a_root_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent: no such file or folder; give a video, a folder of frames"):
        find_videos(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotADirectoryError, match="expected a folder or a video file, found a pipe"):
        find_videos(tmp_path / "pipe")
