"""Preparing folders: what is written, what is skipped, what is reported, and nothing lost."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data.preparation
from data.alignment import Alignment
from data.detection import DlibDetector
from data.fitted_labels import FittedLabel, LabelMaker, crop_numbers, read_label
from data.images import read_image, read_mask, write_image
from data.landmarks import five_from_68, read_landmarks, write_landmarks
from data.merging import merge_shards
from data.preparation import (
    PhotoFiles,
    PreparationOptions,
    prepare_folders,
    prepare_photo,
)
from data.skin_mask import skin_mask
from data.tar_shards import pack_photos, sample_ranges
from options.data_options import DetectionOptions
from util.errors import InputError


@pytest.fixture(autouse=True)
def one_detector(monkeypatch, detector: DlibDetector) -> None:
    """Load dlib's weights once for all tests, not once a test."""
    monkeypatch.setattr(data.preparation, "create_detector", lambda options: detector)


def prepare(tmp_path: Path, *folders: str, **settings):
    settings = {"num_workers": 0, "data_root": str(tmp_path / "datasets"), **settings}
    return prepare_folders(
        PreparationOptions(img_folder=folders, **settings),
        list_root=tmp_path / "datalist",
        progress=False,
    )


@pytest.fixture(scope="module")
def astronaut(astronaut: np.ndarray) -> np.ndarray:
    """Her head alone, so that the tests are quick."""
    return np.ascontiguousarray(astronaut[:256, 100:340])


@pytest.fixture(scope="module")
def hopper(hopper: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(hopper[50:400, 80:400])


@pytest.fixture(scope="module")
def astronaut_landmarks(astronaut: np.ndarray, detector: DlibDetector) -> np.ndarray:
    return detector.detect(astronaut, largest_only=True)[0].landmarks_px


def report(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of the report by photo."""
    with (folder / "preparation_report.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def faces(tmp_path: Path, astronaut, hopper) -> Path:
    """datasets/faces with two portraits."""
    folder = tmp_path / "datasets" / "faces"
    write_image(folder / "astronaut.png", astronaut)
    write_image(folder / "hopper.jpg", hopper)
    return folder


def test_writes_landmarks_masks_detections_and_lists(tmp_path: Path, faces: Path, astronaut):
    summary = prepare(tmp_path, "faces")
    assert (summary.done, summary.skipped, summary.failed) == (2, 0, 0)
    landmarks = read_landmarks(faces / "landmarks" / "astronaut.txt")
    assert landmarks.shape == (68, 2)
    five = read_landmarks(faces / "detections" / "astronaut.txt")
    np.testing.assert_allclose(five, five_from_68(landmarks), atol=2e-4)
    np.testing.assert_array_equal(read_mask(faces / "mask" / "astronaut.png"), skin_mask(astronaut))
    root = faces.as_posix()
    lists = tmp_path / "datalist" / "train"
    assert lines(lists / "images.txt") == [f"{root}/astronaut.png", f"{root}/hopper.jpg"]
    assert lines(lists / "landmarks.txt") == [
        f"{root}/landmarks/astronaut.txt",
        f"{root}/landmarks/hopper.txt",
    ]
    assert lines(lists / "masks.txt") == [f"{root}/mask/astronaut.png", f"{root}/mask/hopper.png"]


def test_lists_name_paths_as_given(tmp_path: Path, faces: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare_folders(
        PreparationOptions(img_folder=("faces/",), num_workers=0, mode="val"), progress=False
    )
    assert lines(Path("datalist/val/masks.txt"))[0] == "datasets/faces/mask/astronaut.png"


def test_finished_photos_are_skipped_and_overwrite_redoes_them(tmp_path, faces) -> None:
    prepare(tmp_path, "faces")
    mask = faces / "mask" / "astronaut.png"
    write_image(mask, np.zeros((256, 240), np.uint8))
    again = prepare(tmp_path, "faces")
    assert (again.skipped, again.done) == (2, 0)
    assert read_mask(mask).max() == 0
    assert len(lines(again.lists / "masks.txt")) == 2
    redone = prepare(tmp_path, "faces", overwrite=True)
    assert redone.done == 2
    assert read_mask(mask).max() > 200


def test_an_interrupted_run_goes_on(tmp_path, faces) -> None:
    prepare(tmp_path, "faces")
    (faces / "mask" / "hopper.png").unlink()  # the file written last
    summary = prepare(tmp_path, "faces")
    assert (summary.done, summary.skipped) == (1, 1)
    assert (faces / "mask" / "hopper.png").is_file()


def test_the_users_detections_are_used_and_kept(tmp_path, faces, detector) -> None:
    photo = read_image(faces / "hopper.jpg")
    (face,) = detector.detect(photo, largest_only=True)
    given = five_from_68(face.landmarks_px) - [-1.5, 1.0]
    path = faces / "detections" / "hopper.txt"
    write_landmarks(path, given)
    before = path.read_bytes()
    prepare(tmp_path, "faces", overwrite=True)
    assert path.read_bytes() == before
    expected = detector.landmarks_from_five(photo, read_landmarks(path))
    found = read_landmarks(faces / "landmarks" / "hopper.txt")
    np.testing.assert_allclose(found, expected, atol=1e-4)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_our_own_detections_are_not_taken_for_the_users(tmp_path, faces) -> None:
    """Overwriting any number of times gives the files of the first run."""
    prepare(tmp_path, "faces")
    first = contents(faces)
    for _ in range(2):
        prepare(tmp_path, "faces", overwrite=True)
        assert contents(faces) == first


def test_overwriting_detects_anew(tmp_path, faces, detector) -> None:
    """Also where landmarks and our points of them were those of another detector."""
    prepare(tmp_path, "faces")
    first = contents(faces)
    moved = read_landmarks(faces / "landmarks" / "hopper.txt") + 3
    write_landmarks(faces / "landmarks" / "hopper.txt", moved)
    write_landmarks(faces / "detections" / "hopper.txt", five_from_68(moved))
    prepare(tmp_path, "faces", overwrite=True)
    assert contents(faces) == first


@pytest.mark.parametrize(("overwrite", "again"), [(False, False), (True, True), (True, False)])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_run_stopped_at_any_file_ends_alike(
    tmp_path, faces, detector, monkeypatch, overwrite, again, step
) -> None:
    """Landmarks are written first, then detections, then masks."""
    prepare(tmp_path, "faces")
    first = contents(faces)
    if not overwrite:
        for folder in ("detections", "landmarks", "mask"):
            shutil.rmtree(faces / folder)
    written = []

    def stopping(write):
        def stop(path, content):
            if len(written) == step:
                raise KeyboardInterrupt
            written.append(path.parent.name)
            write(path, content)

        return stop

    files = PhotoFiles(faces / "hopper.jpg", "hopper")
    with monkeypatch.context() as patch:
        patch.setattr(data.preparation, "write_landmarks", stopping(write_landmarks))
        patch.setattr(data.preparation, "write_image", stopping(write_image))
        with pytest.raises(KeyboardInterrupt):
            prepare_photo(files, detector, overwrite=overwrite)
    assert written == ["landmarks", "detections", "mask"][:step]
    prepare(tmp_path, "faces", overwrite=again)
    assert contents(faces) == first


def test_the_users_landmarks_are_used_and_kept(tmp_path, faces, astronaut_landmarks) -> None:
    path = faces / "landmarks" / "astronaut.txt"
    write_landmarks(path, astronaut_landmarks + 0.25)
    prepare(tmp_path, "faces")
    np.testing.assert_allclose(read_landmarks(path), astronaut_landmarks + 0.25, atol=1e-4)
    assert (faces / "mask" / "astronaut.png").is_file()
    five = read_landmarks(faces / "detections" / "astronaut.txt")
    np.testing.assert_allclose(five, five_from_68(astronaut_landmarks + 0.25), atol=1e-4)


def test_what_cannot_be_used_is_reported_and_left_where_it_is(
    tmp_path, faces, astronaut, astronaut_landmarks
) -> None:
    bad = {
        "empty.png": b"",
        "text.PNG": b"just words",
        "cut.jpg": (faces / "hopper.jpg").read_bytes()[:9000],
    }
    for name, content in bad.items():
        (faces / name).write_bytes(content)
    write_image(faces / "dot.png", np.zeros((1, 1), np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    write_image(faces / "noface.png", noise)
    write_image(faces / "swapped.png", astronaut)
    five = five_from_68(astronaut_landmarks)
    write_landmarks(faces / "detections" / "swapped.txt", five[[1, 0, 2, 4, 3]])
    write_image(faces / "outside.png", astronaut)
    write_landmarks(faces / "detections" / "outside.txt", five - [0, -900])
    write_image(faces / "short.png", astronaut)
    (faces / "detections" / "short.txt").write_text("1 2\n3 4\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in faces.rglob("*") if path.is_file()}

    summary = prepare(tmp_path, "faces")
    kinds = {name: row["kind"] for name, row in report(faces).items()}
    assert kinds == {
        "cut.jpg": "picture",
        "dot.png": "picture",
        "empty.png": "picture",
        "noface.png": "no face",
        "outside.png": "landmarks",
        "short.png": "landmarks",
        "swapped.png": "landmarks",
        "text.PNG": "picture",
    }
    assert summary.done == 2
    assert len(lines(summary.lists / "images.txt")) == 2
    assert all(path.read_bytes() == content for path, content in before.items())
    rows = report(faces)
    assert summary.failures == Counter(kinds.values())
    assert "swapped" in rows["swapped.png"]["reason"]
    assert "turn the photo if it stands on its head" in rows["noface.png"]["reason"]
    assert "far outside the image" in rows["outside.png"]["reason"]
    assert "done 2, skipped 0, failed 8" in str(summary)
    assert "4 x picture" in str(summary)


def test_nothing_usable_leaves_the_lists_as_they_were(tmp_path) -> None:
    folder = tmp_path / "datasets" / "bad"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"")
    (tmp_path / "datalist" / "train").mkdir(parents=True)
    (tmp_path / "datalist" / "train" / "masks.txt").write_text("old\n", encoding="utf-8")
    summary = prepare(tmp_path, "bad")
    assert summary.usable == 0
    assert lines(tmp_path / "datalist" / "train" / "masks.txt") == ["old"]
    assert "No photo can be used" in str(summary)


def test_a_repaired_photo_leaves_the_report(tmp_path, faces, astronaut) -> None:
    (faces / "bad.png").write_bytes(b"")
    assert prepare(tmp_path, "faces").failed
    write_image(faces / "bad.png", astronaut)
    assert not prepare(tmp_path, "faces").failed
    assert lines(faces / "preparation_report.csv") == ["image,kind,reason"]


def test_folders_merge_into_one_list_and_count_once(tmp_path, faces, astronaut) -> None:
    second = tmp_path / "datasets" / "more"
    write_image(second / "b.png", astronaut)
    summary = prepare(tmp_path, "faces", str(second), "more/")
    assert [Path(line).name for line in lines(summary.lists / "images.txt")] == [
        "astronaut.png",
        "hopper.jpg",
        "b.png",
    ]


@pytest.mark.parametrize("folder", ["mask", "png_faces", "Gesichter für später 顔", "facemask"])
def test_names_that_break_path_surgery(tmp_path, astronaut, folder: str) -> None:
    root = tmp_path / "datasets" / folder
    write_image(root / "mask of png.png", astronaut)
    summary = prepare(tmp_path, folder)
    assert summary.done == 1
    assert (root / "mask" / "mask of png.png").is_file()
    assert (root / "landmarks" / "mask of png.txt").is_file()
    assert lines(summary.lists / "masks.txt") == [(root / "mask" / "mask of png.png").as_posix()]


def test_two_photos_with_one_stem(tmp_path, astronaut, hopper) -> None:
    root = tmp_path / "datasets" / "twins"
    write_image(root / "a.jpg", astronaut)
    write_image(root / "a.png", hopper)
    assert prepare(tmp_path, "twins").done == 2
    assert read_mask(root / "mask" / "a.png").shape == (256, 240)
    assert read_mask(root / "mask" / "a.png.png").shape == (350, 320)
    assert (root / "landmarks" / "a.png.txt").is_file()


def test_exif_rotated_photo(tmp_path, astronaut, astronaut_landmarks) -> None:
    root = tmp_path / "datasets" / "side"
    root.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 8
    side = np.ascontiguousarray(np.rot90(astronaut[:, 20:], -1))
    Image.fromarray(side).save(root / "a.png", exif=exif)
    prepare(tmp_path, "side")
    assert read_mask(root / "mask" / "a.png").shape == read_image(root / "a.png").shape[:2]
    found = read_landmarks(root / "landmarks" / "a.txt")
    assert np.linalg.norm(found - (astronaut_landmarks - [20, 0]), axis=1).mean() < 3


def test_two_processes_give_the_files_of_none(tmp_path, faces) -> None:
    prepare(tmp_path, "faces")
    copy = tmp_path / "datasets" / "copy"
    copy.mkdir()
    for name in ("astronaut.png", "hopper.jpg"):
        shutil.copy(faces / name, copy / name)
    assert prepare(tmp_path, "copy", num_workers=2).done == 2
    for name in ("landmarks/astronaut.txt", "mask/hopper.png", "detections/hopper.txt"):
        assert (copy / name).read_bytes() == (faces / name).read_bytes()


@dataclass
class DeadlyDetector:
    """Ends the process on dark images: a crash in a native library, or the system's kill."""

    kill: bool

    def detect(self, image, *, largest_only=False, tilted=True):
        if image.max() < 10:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(11)
        return DlibDetector().detect(image, largest_only=largest_only, tilted=tilted)

    def landmarks_from_five(self, image, five):
        raise NotImplementedError


@pytest.mark.parametrize("kill", [False, hasattr(signal, "SIGKILL")])
def test_a_worker_that_dies_costs_one_photo(tmp_path, faces, monkeypatch, kill: bool) -> None:
    write_image(faces / "dark.png", np.zeros((100, 100, 3), np.uint8))
    monkeypatch.setattr(data.preparation, "create_detector", lambda options: DeadlyDetector(kill))
    summary = prepare(tmp_path, "faces", num_workers=1)
    assert summary.done == 2
    ((name, row),) = report(faces).items()
    assert (name, row["kind"]) == ("dark.png", "process died")
    assert f"exit code {-9 if kill else 11}" in row["reason"]
    assert not (faces / "mask" / "dark.png").exists()


def test_a_failed_write_is_reported_and_leaves_no_parts(faces, monkeypatch, detector) -> None:
    def full(path, image):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data.preparation, "write_image", full)
    files = PhotoFiles(faces / "astronaut.png", "astronaut")
    failure = prepare_photo(files, detector)
    assert failure is not None
    assert failure.kind == "writing"
    assert "No space left" in failure.reason
    assert not files.finished()
    assert not list(faces.rglob("*.part"))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ((), "--img_folder is missing"),
        (("nowhere",), "--img_folder nowhere does not exist .*nowhere"),
        (("void",), "void has no pictures"),
        (("one.png",), "one.png is not a folder"),
    ],
)
def test_bad_folders(tmp_path: Path, folders, message: str) -> None:
    (tmp_path / "datasets" / "void").mkdir(parents=True)
    (tmp_path / "datasets" / "one.png").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        prepare(tmp_path, *folders)


def test_memory_does_not_grow_with_what_happens(tmp_path: Path) -> None:
    """A name and a few bytes for each photo, whether it fails or was finished before."""
    few, many = 500, 3000
    for count in (few, many):
        root = tmp_path / str(count)
        for folder in ("mask", "landmarks"):
            (root / folder).mkdir(parents=True)
        for number in range(count):
            (root / f"{number:08d}.jpg").touch()
            if number % 2:
                (root / "mask" / f"{number:08d}.png").touch()
                (root / "landmarks" / f"{number:08d}.txt").touch()
    # In a process of its own: threads that other tests left allocate too.
    result = subprocess.run(
        [sys.executable, "-c", PEAKS, str(tmp_path), str(few), str(few), str(many)],
        capture_output=True,
        text=True,
        check=True,
    )
    _, first, second = (line.split() for line in result.stdout.splitlines()[-3:])
    assert [int(word) for word in second[:2]] == [many // 2, many // 2]
    assert int(second[2]) - int(first[2]) < 400 * (many - few)


PEAKS = """
import gc, sys, tracemalloc
from pathlib import Path
from data.preparation import PreparationOptions, prepare_folders

root = Path(sys.argv[1])
for count in sys.argv[2:]:
    options = PreparationOptions(
        img_folder=(str(root / count),), num_workers=0, data_root=str(root)
    )
    gc.collect()
    tracemalloc.start()
    summary = prepare_folders(options, list_root=root / "datalist", progress=False)
    print(summary.skipped, summary.failed, tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="--num_workers is -1"):
        PreparationOptions(num_workers=-1)
    assert DetectionOptions().detection_upsample == 1


class GivenFit:
    """Fits by writing down what it was given; dark photos are doubtful."""

    standard_points = np.array(
        [
            [-0.31, 0.29, 0.13],
            [0.31, 0.29, 0.13],
            [0, 0, 0.4],
            [-0.25, -0.34, 0.17],
            [0.25, -0.34, 0.17],
        ]
    )

    def __init__(self, preset: str = "fast", fingerprint: str = "0123", rules: str = "1") -> None:
        self.maker = LabelMaker("tiny 1", fingerprint, preset, rules)
        self.fitted: list[str] = []

    def __call__(self, path: Path, image: np.ndarray, landmarks: np.ndarray) -> FittedLabel:
        self.fitted.append(path.name)
        alignment = Alignment.from_landmarks(landmarks, image.shape[1::-1], self.standard_points)
        doubt = "it is dark" if image.mean() < 60 else ""
        found = None if doubt else landmarks[:3].reshape(-1).astype(np.float32)
        return FittedLabel(self.maker, crop_numbers(alignment), 0.02, found, doubt)


def fit(tmp_path: Path, labeller: GivenFit | None, *folders: str, lists="datalist", **settings):
    settings = {"num_workers": 0, "data_root": str(tmp_path / "datasets"), **settings}
    return prepare_folders(
        PreparationOptions(img_folder=folders or ("faces",), **settings),
        labeller=labeller,
        list_root=tmp_path / lists,
        progress=False,
    )


@pytest.fixture
def dark(faces: Path, astronaut, astronaut_landmarks) -> Path:
    """A third portrait, whose fit is doubtful."""
    write_image(faces / "dark.png", astronaut // 8)
    write_landmarks(faces / "landmarks" / "dark.txt", astronaut_landmarks)
    return faces


def test_fits_are_written_beside_the_landmarks_and_doubtful_ones_are_not(tmp_path, dark) -> None:
    labeller = GivenFit()
    summary = fit(tmp_path, labeller)
    assert (summary.done, summary.failed) == (3, 0)
    assert (summary.fitted, summary.doubts) == (2, 1)
    assert "fitted 2, doubtful 1" in str(summary)
    assert "1 x doubtful fit, such as" in str(summary) and "it is dark" in str(summary)
    assert {path.name for path in (dark / "coefficients").iterdir()} == {
        *("astronaut.json", "hopper.json")
    }
    label = read_label(dark / "coefficients" / "astronaut.json")
    landmarks = read_landmarks(dark / "landmarks" / "astronaut.txt")
    np.testing.assert_array_equal(label.coefficients, landmarks[:3].reshape(-1).astype(np.float32))
    assert read_label(dark / "doubtful" / "dark.json").doubt == "it is dark"
    # It can be trained on all the same.
    assert len(lines(summary.lists / "masks.txt")) == 3
    assert {name: row["kind"] for name, row in report(dark).items()} == {"dark.png": "doubtful fit"}


def test_fits_are_made_once_also_of_photos_prepared_before(tmp_path, dark) -> None:
    without = fit(tmp_path, None)
    assert without.fitted is None and "fitted" not in str(without)
    mask = dark / "mask" / "hopper.png"
    before = mask.stat().st_mtime_ns
    first, again = GivenFit(), GivenFit()
    assert fit(tmp_path, first).done == 3
    assert mask.stat().st_mtime_ns == before
    summary = fit(tmp_path, again)
    assert (len(first.fitted), again.fitted) == (3, [])
    assert (summary.skipped, summary.fitted, summary.doubts) == (3, 2, 1)
    assert report(dark)["dark.png"]["kind"] == "doubtful fit"
    # A run without fitting leaves them where they are.
    fit(tmp_path, None)
    assert (dark / "coefficients" / "hopper.json").is_file()


def test_fits_of_another_model_preset_or_crop_are_made_anew(tmp_path, dark) -> None:
    fit(tmp_path, GivenFit())
    for other in (GivenFit("best"), GivenFit("best", "abcd"), GivenFit("best", "abcd", "2")):
        assert fit(tmp_path, other).done == 3
        assert read_label(dark / "coefficients" / "hopper.json").maker == other.maker
    points = dark / "landmarks" / "hopper.txt"
    write_landmarks(points, read_landmarks(points) + 3)
    moved = GivenFit("best", "abcd", "2")
    fit(tmp_path, moved)
    assert moved.fitted == ["hopper.jpg"]
    (dark / "coefficients" / "astronaut.json").write_bytes(b"{")
    fit(tmp_path, moved)
    assert moved.fitted == ["hopper.jpg", "astronaut.png"]
    # A corner of the mouth and the chin, by which no photo is aligned.
    for number, name in ((8, "hopper.jpg"), (51, "hopper.jpg")):
        corrected = read_landmarks(points)
        corrected[number] += 2
        write_landmarks(points, corrected)
        fit(tmp_path, moved)
        assert moved.fitted.pop() == name
    label = dark / "coefficients" / "hopper.json"
    old = json.loads(label.read_text(encoding="utf-8"))
    del old["landmarks"]  # a label of an earlier version
    label.write_text(json.dumps(old), encoding="utf-8")
    fit(tmp_path, moved)
    assert moved.fitted == ["hopper.jpg", "astronaut.png"]
    del old["rules"]  # a label of a version that does not say how it was fitted
    label.write_text(json.dumps(old), encoding="utf-8")
    fit(tmp_path, moved)
    assert moved.fitted.pop() == "hopper.jpg"
    assert read_label(label).maker == moved.maker


def test_a_fit_that_is_no_longer_doubtful_takes_the_place_of_the_doubt(tmp_path, dark) -> None:
    fit(tmp_path, GivenFit())
    write_image(
        dark / "dark.png", np.clip(read_image(dark / "dark.png") * 7.0, 0, 255).astype("u1")
    )
    assert fit(tmp_path, GivenFit(), overwrite=True).doubts == 0
    assert not (dark / "doubtful" / "dark.json").exists()
    assert (dark / "coefficients" / "dark.json").is_file()


def test_overwriting_without_fitting_removes_what_belonged_to_the_old_landmarks(tmp_path, dark):
    fit(tmp_path, GivenFit())
    fit(tmp_path, None, overwrite=True)
    assert not list((dark / "coefficients").iterdir()) and not list((dark / "doubtful").iterdir())


def test_a_stopped_run_fits_the_rest(tmp_path, dark, monkeypatch) -> None:
    class Stopping(GivenFit):
        def __call__(self, path, image, landmarks):
            if len(self.fitted) == 2:
                raise KeyboardInterrupt
            return super().__call__(path, image, landmarks)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, Stopping())
    rest = GivenFit()
    summary = fit(tmp_path, rest)
    assert rest.fitted == ["hopper.jpg"]
    assert (summary.fitted, summary.doubts) == (2, 1)


@pytest.mark.parametrize("count", [1, 3])
def test_parts_with_fits_merge_to_one_run(tmp_path, dark, count: int) -> None:
    (dark / "empty.png").touch()
    whole = fit(tmp_path, GivenFit(), lists="whole")
    rows = (dark / "preparation_report.csv").read_bytes()
    (dark / "preparation_report.csv").unlink()
    for index in range(count):
        fit(tmp_path, GivenFit(), shard=f"{index}/{count}")
    merged = merge_shards(tmp_path / "datalist" / "train")
    assert not merged.missing
    assert (merged.fitted, merged.doubts, merged.failed) == (2, 1, 1)
    assert merged.examples == whole.examples and merged.failures == whole.failures
    assert (dark / "preparation_report.csv").read_bytes() == rows


def test_what_fails_in_a_fit_is_reported_and_costs_no_other_photo(
    tmp_path, faces, monkeypatch
) -> None:
    class Broken(GivenFit):
        def __call__(self, path, image, landmarks):
            if path.stem == "hopper":
                raise InputError("the landmarks put the face outside of the photo")
            return super().__call__(path, image, landmarks)

    summary = fit(tmp_path, Broken())
    assert (summary.done, summary.failures) == (1, Counter({"landmarks": 1}))
    assert "outside of the photo" in report(faces)["hopper.jpg"]["reason"]
    # A defect of the fitter leaves a photo that can be used.
    monkeypatch.setattr(GivenFit, "__call__", lambda *_: 1 / 0)
    summary = fit(tmp_path, GivenFit("best"))
    assert (summary.usable, summary.fitted, summary.doubts) == (2, 0, 2)
    assert "ZeroDivisionError" in report(faces)["astronaut.png"]["reason"]


def test_labels_travel_into_tar_files(tmp_path, dark) -> None:
    summary = fit(tmp_path, GivenFit())
    columns = [lines(summary.lists / f"{name}.txt") for name in ("images", "landmarks", "masks")]
    pack_photos(zip(*columns, strict=True), tmp_path / "tars", 2**30, None)
    with tarfile.open(tmp_path / "tars" / "faces-000000.tar") as tar:
        names = tar.getnames()
        assert [name for name in names if name.endswith(".coefficients.json")] == [
            *("00000000.coefficients.json", "00000002.coefficients.json")
        ]
        member = tar.extractfile("00000000.coefficients.json")
        assert member is not None
        assert member.read() == (dark / "coefficients" / "astronaut.json").read_bytes()
    assert len(sample_ranges(tmp_path / "tars" / "faces-000000.tar")) == 3
