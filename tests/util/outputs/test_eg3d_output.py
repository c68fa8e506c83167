"""`--save eg3d` and `panohead`: crops, labels, and lists that say what a folder holds now."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.example_faces import report_row
from data.images import read_image
from models.eg3d_camera import head_pose, of_label, to_world
from models.face_model import FaceModel
from tests.util.outputs.faces import NAME, centred_alignment, output_source, photo_face, pixels_of
from util.outputs import create_outputs
from util.outputs.eg3d import Eg3dOutput
from util.photos.face_result import FaceResult
from util.photos.results import ResultWriter, SummaryRow

LISTS = ("dataset.json", "dataset_cor.json", "dataset_exact.json")


def run(face_model: FaceModel, folder: Path, *faces: FaceResult, kind="eg3d", **options) -> None:
    """One run of a command, that writes faces of one kind."""
    source = output_source(face_model, save=(kind,), **options)
    with ResultWriter(folder, create_outputs(source)) as writer:
        for face in faces:
            writer.add(face, report_row(face))


def listed(folder: Path, name: str = "dataset.json") -> dict[str, Any]:
    """As EG3D's data set reads it: a dictionary of the pairs, in single precision."""
    record = json.loads((folder / name).read_text(encoding="utf-8"))
    assert list(record) == ["labels"] and len(dict(record["labels"])) == len(record["labels"])
    return dict(record["labels"])


def test_the_exact_label_puts_the_head_into_the_crop(tiny_face_model: FaceModel, tmp_path: Path):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    run(tiny_face_model, tmp_path, face)
    labels = listed(tmp_path / "eg3d", "dataset_exact.json")[f"{face.stem}.png"]
    pose, K = of_label(labels)
    world = np.c_[to_world(face.head_vertices), np.ones(len(face.vertices))]
    image = (world @ np.linalg.inv(pose).T)[:, :3] @ K.T
    found = 512 * image[:, :2] / image[:, 2:]
    # Where the photo shows them, through the R-Net's crop, in the middle 238 pixels of it.
    matrix = face.aligned.matrix
    in_crop = pixels_of(face) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(found, 512 * (0.5 + (in_crop - 112) / 238), atol=1e-3)
    R, t = head_pose(pose, 10.0)
    np.testing.assert_allclose(R, face.head_rotation, atol=1e-9)
    np.testing.assert_allclose(t, face.head_translation_dm, atol=1e-9)


def test_published_labels_have_published_intrinsics(tiny_face_model: FaceModel, tmp_path: Path):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    run(tiny_face_model, tmp_path, face)
    exact = of_label(listed(tmp_path / "eg3d", LISTS[2])[f"{face.stem}.png"])[0]
    for name, centre in ((LISTS[0], np.zeros(3)), (LISTS[1], np.array([0, 0, 0.175]))):
        numbers = listed(tmp_path / "eg3d", name)[f"{face.stem}.png"]
        assert len(numbers) == 25 and numbers[16:] == [4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]
        pose, _ = of_label(numbers)
        assert np.linalg.norm(pose[:3, 3] - centre) == pytest.approx(2.7)
        np.testing.assert_array_equal(pose[:3, :3], exact[:3, :3])
        towards = exact[:3, 3] - centre
        np.testing.assert_allclose(np.cross(pose[:3, 3] - centre, towards), 0, atol=1e-12)


def test_every_picture_has_its_label(tiny_face_model: FaceModel, tmp_path: Path):
    """As EG3D finds them: all pictures below the folder, by their names with slashes."""
    one = photo_face(tiny_face_model, tmp_path / "photos")
    two = replace(one, number=2, stem=f"{one.stem}_2")
    run(tiny_face_model, tmp_path, one, two, eg3d_mirror=True)
    root = tmp_path / "eg3d"
    pictures = {path.relative_to(root).as_posix() for path in root.rglob("*.png")}
    stem = Path(NAME).stem
    expected = {f"{stem}.png", f"{stem}_2.png"}
    assert pictures == expected | {f"mirror/{name}" for name in expected}
    for name in LISTS:
        labels = listed(root, name)
        assert set(labels) == pictures
        assert np.array(list(labels.values()), np.float32).shape == (4, 25)
    image = read_image(root / f"{stem}.png")
    assert image.shape == (512, 512, 3) and image.any()
    np.testing.assert_array_equal(read_image(root / f"mirror/{stem}.png"), image[:, ::-1])


def test_mirrored_entries_as_eg3d_flips_them(tiny_face_model: FaceModel, tmp_path: Path):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    run(tiny_face_model, tmp_path, face, eg3d_mirror=True)
    labels = listed(tmp_path / "eg3d")
    expected = np.array(labels[f"{face.stem}.png"])
    expected[[1, 2, 3, 4, 8]] *= -1
    np.testing.assert_allclose(labels[f"mirror/{face.stem}.png"], expected, atol=1e-15)
    run(tiny_face_model, tmp_path, face)  # without: the mirrored one goes
    assert list(listed(tmp_path / "eg3d")) == [f"{face.stem}.png"]
    assert not list((tmp_path / "eg3d" / "mirror").iterdir())


def test_runs_add_up_and_faces_that_go_leave(tiny_face_model: FaceModel, tmp_path: Path):
    ann, ben = (photo_face(tiny_face_model, tmp_path / "photos", f"{n}.png") for n in ("a", "b"))
    second = replace(ben, number=2, stem="b_2")
    run(tiny_face_model, tmp_path, ann)
    run(tiny_face_model, tmp_path, ben, second)
    assert list(listed(tmp_path / "eg3d")) == ["a.png", "b.png", "b_2.png"]
    run(tiny_face_model, tmp_path, ben)  # --faces largest now
    for name in LISTS:
        assert list(listed(tmp_path / "eg3d", name)) == ["a.png", "b.png"]
    assert not (tmp_path / "eg3d" / "b_2.png").exists()
    run(tiny_face_model, tmp_path, ben, kind="none")  # --save none: nothing of it is left
    assert list(listed(tmp_path / "eg3d")) == ["a.png"]
    with ResultWriter(tmp_path) as writer:  # a run in which the photo gives no face
        writer.add_failure(SummaryRow(str(ann.photo), "failed"))
    assert list(listed(tmp_path / "eg3d")) == ["a.png"]
    run(tiny_face_model, tmp_path, ann, kind="none")
    assert listed(tmp_path / "eg3d") == {}


def test_what_is_not_ours_stays_out_of_the_lists(tiny_face_model: FaceModel, tmp_path: Path):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    root = tmp_path / "eg3d"
    root.mkdir()
    for name, text in (("x", "{"), ("y", '{"orig": [NaN]}'), ("z", "[1]")):
        (root / f"{name}_label.json").write_text(text, encoding="utf-8")
    run(tiny_face_model, tmp_path, face)
    assert list(listed(root)) == [f"{face.stem}.png"]


def test_a_folder_of_that_name_without_faces_is_left_alone(
    tiny_face_model: FaceModel, tmp_path: Path
):
    (tmp_path / "eg3d").mkdir()
    run(tiny_face_model, tmp_path, photo_face(tiny_face_model, tmp_path / "p"), kind="none")
    assert not list((tmp_path / "eg3d").iterdir())


@pytest.mark.parametrize("part", ["R", "K"])
def test_a_broken_face_leaves_nothing(part: str, tiny_face_model: FaceModel, tmp_path: Path):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    broken = replace(face, camera=replace(face.camera, **{part: np.full((3, 3), np.nan)}))
    (named,) = create_outputs(output_source(tiny_face_model, save=("eg3d",)))
    with pytest.raises(ValueError, match="label is not finite"):
        named.write(tmp_path, broken)
    assert not list((tmp_path / "eg3d").rglob("*.*"))
    Eg3dOutput.collect(tmp_path)
    assert not (tmp_path / "eg3d" / "dataset.json").exists()


def test_panohead_labels_its_own_crops(tiny_face_model: FaceModel, tmp_path: Path):
    square = centred_alignment((300, 300), 0.9)
    face = photo_face(tiny_face_model, tmp_path / "photos", "crop é.jpg", square)
    run(tiny_face_model, tmp_path, face, kind="panohead")
    (numbers,) = listed(tmp_path / "panohead").values()
    assert list(listed(tmp_path / "panohead")) == ["crop é.jpg"]
    pose, K = of_label(numbers)
    np.testing.assert_allclose(pose[:3, 3], 2.7 * face.head_rotation[2], atol=1e-12)
    assert K[0, 0] == 4.2647 and not list((tmp_path / "panohead").glob("*.jpg"))
    for other, problem in (
        (photo_face(tiny_face_model, tmp_path / "photos", "wide.png"), "its own crops.*613 x 407"),
        (replace(face, number=2), "one face"),
    ):
        (named,) = create_outputs(output_source(tiny_face_model, save=("panohead",)))
        with pytest.raises(ValueError, match=problem):
            named.write(tmp_path, other)
