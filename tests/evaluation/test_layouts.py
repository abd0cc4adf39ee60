"""Each reader on a small tree in its published layout, and what it says of a wrong one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from aedmae_fast.evaluation.layouts import LAYOUTS, Dataset, LabelledClip, LayoutError, read_dataset
from aedmae_fast.evaluation.rbdc_tbdc import truth_of
from tests.evaluation.trees import SIZE, mask, write_frames, write_mask, write_video

BOX = (9, 0, 15, 8)  # top, left, bottom, right


def names(data: Dataset) -> tuple[list[str], list[str]]:
    return [path.name for path in data.train], [clip.name for clip in data.test]


def stacked(clip: LabelledClip) -> np.ndarray:
    found = np.stack(list(clip.masks()))
    assert found.dtype == bool
    assert found.shape[1:] == SIZE
    np.testing.assert_array_equal(found, np.stack(list(clip.masks())))  # read anew
    return found


# ---- UCSD Ped1 and Ped2


@pytest.fixture
def ped(tmp_path: Path) -> Path:
    for n in (1, 2):
        write_frames(tmp_path / "Train" / f"Train00{n}", 3, ".tif")
        write_frames(tmp_path / "Test" / f"Test00{n}", 4, ".tif")
        for t in range(1, 5):
            write_mask(tmp_path / "Test" / f"Test00{n}_gt" / f"00{t}.bmp", 255, BOX if t > n else None)
    (tmp_path / "Test" / "Test001" / "._001.tif").write_bytes(b"a leftover of macOS")
    return tmp_path


def test_ped_with_masks(ped: Path) -> None:
    data = read_dataset(ped, "ped")
    assert names(data) == (["Train001", "Train002"], ["Test001", "Test002"])  # no Test001_gt among the clips
    assert [clip.labels.tolist() for clip in data.test] == [[0, 1, 1, 1], [0, 0, 1, 1]]
    np.testing.assert_array_equal(stacked(data.test[1])[2], mask(1, BOX) > 0)
    assert not stacked(data.test[1])[1].any()


def test_ped_with_the_labels_of_the_m_file(ped: Path) -> None:
    """Ped1: labels for all clips, masks for some."""
    for path in (ped / "Test" / "Test002_gt").iterdir():
        path.unlink()
    (ped / "Test" / "Test002_gt").rmdir()
    script = "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [2:4];\nTestVideoFile{end+1}.gt_frame = [1, 3:4];\n"
    (ped / "Test" / "UCSDped1.m").write_text(script)
    first, second = read_dataset(ped, "ped").test
    assert (first.labels.tolist(), second.labels.tolist()) == ([0, 1, 1, 1], [1, 0, 1, 1])
    assert (first.has_masks, second.has_masks) == (True, False)
    with pytest.raises(ValueError, match="clip Test002: the data set has no pixel masks"):
        second.masks()


def test_ped_refuses_an_m_file_of_other_clips(ped: Path) -> None:
    (ped / "Test" / "UCSDped2.m").write_text("TestVideoFile{end+1}.gt_frame = [2:4];\n")
    with pytest.raises(LayoutError, match=r"labels for 1 clips, but .*Test holds 2"):
        read_dataset(ped, "ped")
    (ped / "Test" / "UCSDped2.m").write_text("TestVideoFile{end+1}.gt_frame = [a:b];\n")
    with pytest.raises(ValueError, match=r"expected ranges such as 60:152, found \[a:b\]"):
        read_dataset(ped, "ped")


def test_ped_without_ground_truth_says_what_is_missing(ped: Path) -> None:
    (ped / "Test" / "Test002_gt").rename(ped / "elsewhere")
    with pytest.raises(LayoutError, match=r"looked for: Test/Test002_gt or Test/UCSDped\*\.m\n.*Test001_gt/"):
        read_dataset(ped, "ped")


# ---- Avenue


@pytest.fixture
def avenue(tmp_path: Path) -> Path:
    root = tmp_path / "Avenue Dataset"
    for n in (1, 2):
        write_video(root / "training_videos" / f"0{n}.avi", 3)
    write_video(root / "testing_videos" / "01.avi", 3)
    write_frames(root / "testing_videos" / "10", 3)  # frames instead of a video will do
    (root / "testing_vol").mkdir()
    folder = root / "ground_truth_demo" / "testing_label_mask"
    folder.mkdir(parents=True)
    for n in (1, 10):
        cells = np.empty((1, 3), dtype=object)
        for t in range(3):
            cells[0, t] = mask(1, BOX if t == n % 3 else None)
        savemat(folder / f"{n}_label.mat", {"volLabel": cells})
    return root


def test_avenue(avenue: Path) -> None:
    data = read_dataset(avenue, "avenue")
    assert names(data) == (["01.avi", "02.avi"], ["01", "10"])
    assert [clip.labels.tolist() for clip in data.test] == [[0, 1, 0], [0, 1, 0]]
    np.testing.assert_array_equal(stacked(data.test[0])[1], mask(1, BOX) > 0)


def test_avenue_with_the_ground_truth_beside_it(avenue: Path) -> None:
    (avenue / "ground_truth_demo").rename(avenue.parent / "ground_truth_demo")
    assert read_dataset(avenue, "avenue").test[1].labels.tolist() == [0, 1, 0]


def test_avenue_refuses(avenue: Path) -> None:
    folder = avenue / "ground_truth_demo" / "testing_label_mask"
    (folder / "10_label.mat").write_bytes(b"no mat file")
    broken = read_dataset(avenue, "avenue").test[1]
    with pytest.raises(ValueError, match=r"10_label\.mat: expected a MATLAB file with the cell array volLabel"):
        broken.labels  # noqa: B018 (a property)
    (folder / "10_label.mat").unlink()
    with pytest.raises(LayoutError, match=r"looked for: .*10_label\.mat\n  found: .*1_label\.mat"):
        read_dataset(avenue, "avenue")
    (avenue / "ground_truth_demo").rename(avenue / "gt")
    with pytest.raises(LayoutError, match=r"looked for: ground_truth_demo/testing_label_mask\n  found: .* gt/"):
        read_dataset(avenue, "avenue")


# ---- ShanghaiTech


@pytest.fixture
def shanghaitech(tmp_path: Path) -> Path:
    write_video(tmp_path / "training" / "videos" / "01_001.avi", 3)
    for name, anomalous in (("01_0014", [0, 1, 1]), ("01_0015", [0, 0, 0])):
        write_frames(tmp_path / "testing" / "frames" / name, 3, ".jpg")
        masks = np.stack([mask(1, BOX if label else None) for label in anomalous])
        for kind, values in (("test_frame_mask", np.array(anomalous, np.int8)), ("test_pixel_mask", masks)):
            (tmp_path / "testing" / kind).mkdir(exist_ok=True)
            np.save(tmp_path / "testing" / kind / f"{name}.npy", values)
    return tmp_path


def test_shanghaitech(shanghaitech: Path) -> None:
    data = read_dataset(shanghaitech, "shanghaitech")
    assert names(data) == (["01_001.avi"], ["01_0014", "01_0015"])
    assert [clip.labels.tolist() for clip in data.test] == [[0, 1, 1], [0, 0, 0]]
    assert stacked(data.test[0]).any((1, 2)).tolist() == [False, True, True]


def test_shanghaitech_without_pixel_masks(shanghaitech: Path) -> None:
    (shanghaitech / "testing" / "test_pixel_mask").rename(shanghaitech / "elsewhere")
    assert not any(clip.has_masks for clip in read_dataset(shanghaitech, "shanghaitech").test)


def test_shanghaitech_refuses(shanghaitech: Path) -> None:
    np.save(shanghaitech / "testing" / "test_frame_mask" / "01_0014.npy", np.zeros((2, 2)))
    clip = read_dataset(shanghaitech, "shanghaitech").test[0]
    with pytest.raises(ValueError, match=r"01_0014\.npy: expected an array of 1 dimensions, found \(2, 2\)"):
        clip.labels  # noqa: B018 (a property)
    (shanghaitech / "testing" / "test_frame_mask" / "01_0015.npy").unlink()
    with pytest.raises(LayoutError, match=r"looked for: testing/test_frame_mask/01_0015\.npy\n  found: .*01_0014\.npy"):
        read_dataset(shanghaitech, "shanghaitech")


# ---- UBnormal


@pytest.fixture
def ubnormal(tmp_path: Path) -> Path:
    scene = tmp_path / "Scene3"
    for name in ("normal_scene_3_scenario_1", "normal_scene_3_scenario_2", "abnormal_scene_3_scenario_1"):
        write_video(scene / f"{name}.mp4", 6)
    name = "abnormal_scene_3_scenario_1"
    (scene / f"{name}_annotations").mkdir()
    (scene / f"{name}_annotations" / f"{name}_tracks.txt").write_text("7.0,1.0,2.0\n9.0,4.0,4.0\n")
    for t in (1, 2, 4):
        write_mask(scene / f"{name}_annotations" / f"{name}_{t:04}_gt.png", 7, BOX)  # in frame 4 object 7 is normal
    (tmp_path / "scripts").mkdir()
    for n, kind in enumerate(("normal_training", "normal_test"), start=1):
        (tmp_path / "scripts" / f"{kind}_video_names.txt").write_text(f"normal_scene_3_scenario_{n}\n")
    (tmp_path / "scripts" / "abnormal_test_video_names.txt").write_text(name)
    return tmp_path


def test_ubnormal(ubnormal: Path) -> None:
    data = read_dataset(ubnormal, "ubnormal")
    assert names(data) == (
        ["normal_scene_3_scenario_1.mp4"],
        ["abnormal_scene_3_scenario_1", "normal_scene_3_scenario_2"],
    )
    abnormal, normal = data.test
    assert abnormal.labels.tolist() == [0, 1, 1, 0, 1, 0]
    assert normal.labels.tolist() == [0] * 6
    np.testing.assert_array_equal(stacked(abnormal)[2], mask(1, BOX) > 0)
    assert stacked(abnormal).any((1, 2)).tolist() == [False, True, True, False, False, False]
    assert not stacked(normal).any()


def test_ubnormal_has_a_region_for_each_track_and_frame(ubnormal: Path) -> None:
    """As its own script: objects that touch stay two, of an object's parts the largest box counts."""
    name = "abnormal_scene_3_scenario_1"
    folder = ubnormal / "Scene3" / f"{name}_annotations"
    (folder / f"{name}_tracks.txt").write_text("7.0,1.0,2.0\n9.0,1.0,1.0\n7.0,4.0,4.0\n5.0,4.0,4.0\n")
    both = np.zeros(SIZE, np.uint8)
    both[9:15, :8], both[9:15, 8:12], both[0:2, 20:22] = 7, 9, 7
    Image.fromarray(both).save(folder / f"{name}_0001_gt.png")
    clip = read_dataset(ubnormal, "ubnormal").test[0]
    assert clip.read_objects is not None
    truth = truth_of(clip.name, clip.masks(), clip.read_objects())
    assert [boxes.tolist() for boxes in truth.boxes] == [
        *([], [[9, 0, 15, 8], [9, 8, 15, 12]], [[*BOX]]),
        *([], [[*BOX]], []),  # object 5 is nowhere
    ]
    assert truth.tracks.tolist() == [0, 1, 0, 2]
    assert truth.size == SIZE


def test_ubnormal_refuses(ubnormal: Path) -> None:
    (ubnormal / "Scene3" / "normal_scene_3_scenario_2.mp4").unlink()
    with pytest.raises(LayoutError, match=r"looked for: Scene3/normal_scene_3_scenario_2\.mp4\n  found: .*Scene3: "):
        read_dataset(ubnormal, "ubnormal")
    (ubnormal / "scripts" / "normal_training_video_names.txt").unlink()
    with pytest.raises(LayoutError, match=r"/normal_training_video_names\.txt \(from https.*\n.*Scene3/, scripts/"):
        read_dataset(ubnormal, "ubnormal")
    (ubnormal / "Scene3").rename(ubnormal / "scenes")
    with pytest.raises(LayoutError, match=r"looked for: Scene1/ \.\.\. Scene29/\n"):
        read_dataset(ubnormal, "ubnormal")


# ---- our own


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    write_video(tmp_path / "train" / "01.mp4", 3)
    for n, labels in ((2, "0 1 1"), (10, "0 0 1")):
        write_video(tmp_path / "test" / f"{n}.mp4", 3)
        for folder in ("labels", "masks"):
            (tmp_path / "test" / folder).mkdir(exist_ok=True)
        (tmp_path / "test" / "labels" / f"{n}.txt").write_text(labels.replace(" ", "\n"))
    masks = np.stack([mask(1, BOX if t else None) for t in range(3)])
    packed = np.packbits(masks, axis=-1)
    np.savez_compressed(tmp_path / "test" / "masks" / "2.npz", bits=packed, shape=masks.shape)
    return tmp_path


def test_clips(clips: Path) -> None:
    data = read_dataset(clips, "clips")
    assert names(data) == (["01.mp4"], ["2", "10"])  # natural order
    assert [clip.labels.tolist() for clip in data.test] == [[0, 1, 1], [0, 0, 1]]
    assert [clip.has_masks for clip in data.test] == [True, False]
    np.testing.assert_array_equal(stacked(data.test[0])[1], mask(1, BOX) > 0)  # 36 columns are no whole bytes
    assert data.test[0].labels.dtype == np.int64


def test_dots_in_the_name_of_a_folder_of_frames_are_no_suffix(tmp_path: Path) -> None:
    """Recorders name by the date: ``cam.2024-01-01``."""
    name = "cam.2024-01-01"
    (tmp_path / "test" / name).mkdir(parents=True)
    (tmp_path / "test" / name / "1.png").touch()
    (tmp_path / "test" / "labels").mkdir()
    (tmp_path / "test" / "labels" / f"{name}.txt").write_text("1\n")
    (clip,) = read_dataset(tmp_path, "clips").test
    assert clip.name == name
    assert clip.labels.tolist() == [1]


def test_clips_refuses(clips: Path) -> None:
    (clips / "test" / "labels" / "2.txt").write_text("0\n1\nx\n")
    (clips / "test" / "masks" / "2.npz").write_bytes(b"PK")
    clip = read_dataset(clips, "clips").test[0]
    with pytest.raises(ValueError, match=r"2\.txt: expected one 0 or 1 a frame, found 'x'"):
        clip.labels  # noqa: B018 (a property)
    with pytest.raises(ValueError, match=r"2\.npz: expected a NumPy archive"):
        next(clip.masks())
    (clips / "test" / "labels" / "10.txt").unlink()
    with pytest.raises(LayoutError, match=r"looked for: test/labels/10\.txt\n  found: .*2\.txt"):
        read_dataset(clips, "clips")


def test_clips_may_be_for_training_or_for_testing_only(clips: Path) -> None:
    (clips / "train").rename(clips / "other")
    assert names(read_dataset(clips, "clips")) == ([], ["2", "10"])
    (clips / "test").rename(clips / "train")
    assert names(read_dataset(clips, "clips")) == (["2.mp4", "10.mp4"], [])


def test_videos(clips: Path) -> None:
    (clips / "test" / ".hidden.mp4").touch()
    assert names(read_dataset(clips, "videos")) == (["2.mp4", "10.mp4", "01.mp4"], [])


def test_shared_ped2(shared: Path) -> None:
    data = read_dataset(shared / "data" / "ped2", "clips")
    assert (len(data.train), len(data.test)) == (16, 12)
    assert sum(int(clip.labels.sum()) for clip in data.test) == 1648
    for clip in data.test:
        np.testing.assert_array_equal(clip.labels, [mask.any() for mask in clip.masks()])


# ---- a wrong folder


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_wrong_folder_is_shown(tmp_path: Path, layout: str) -> None:
    (tmp_path / "UCSDped1").mkdir()
    (tmp_path / "README.txt").touch()
    place = re.escape(str(tmp_path))
    expected = rf"not the layout '{layout}'\n  looked for: .+\n  found:      in {place}: README.txt, UCSDped1/"
    with pytest.raises(LayoutError, match=expected):
        read_dataset(tmp_path, layout)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_folder_that_is_not_there(tmp_path: Path, layout: str) -> None:
    (tmp_path / "ped3").mkdir()
    with pytest.raises(LayoutError, match=r"found: .* ped3/"):  # the nearest folder that exists, against typing errors
        read_dataset(tmp_path / "ped2", layout)


def test_a_folder_of_thousands_is_not_listed_whole(tmp_path: Path) -> None:
    for n in range(40):
        (tmp_path / f"{n}.bin").touch()
    with pytest.raises(LayoutError, match=r"10\.bin, 11\.bin, \.\.\. \(40 entries\)$"):
        read_dataset(tmp_path, "clips")


def test_an_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one of ped, avenue, .*, found 'ucsd'"):
        read_dataset(tmp_path, "ucsd")
