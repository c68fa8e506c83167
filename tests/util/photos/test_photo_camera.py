"""The camera of a photo: what OpenCV's formula projects is where the crop's camera draws."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.alignment import Alignment
from models.camera import Camera
from models.face_model import FaceModel, IdentityCard
from models.stages import pose_face, shape_face
from options.face_options import CameraOptions
from util.photos.face_result import FaceResult
from util.photos.number_files import space_record
from util.photos.photo_camera import PhotoCamera, camera_in_photo
from util.photos.record_file import write_record

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = [CameraOptions(), CameraOptions(focal=900.0, center=110.0, camera_d=9.0)]


def make_alignment() -> Alignment:
    """A face high on the left of a photo, whose two axes are resized by unequal factors."""
    return Alignment(
        photo_size=(613, 407),
        scale=0.777,
        translation_px=(150.25, 260.5),
        resized_size=(476, 316),
        left=-17,
        top=31,
    )


@pytest.fixture
def posed(tiny_face_model: FaceModel):
    """Coefficients of a turned face, its unposed vertices, and what the stages make of them."""
    coefficients = tiny_face_model.layout.split(torch.randn(1, tiny_face_model.layout.size) * 0.2)
    shaped = shape_face(tiny_face_model, coefficients)
    return coefficients, shaped


def project(K: np.ndarray, R: np.ndarray, t: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The textbook: p ~ K (R X + t)."""
    image = (points @ R.T + t) @ K.T
    return image[:, :2] / image[:, 2:]


@pytest.mark.parametrize("options", OPTIONS)
def test_opencv_projects_where_the_crop_shows_it(
    tiny_face_model: FaceModel, posed, options: CameraOptions
):
    coefficients, shaped = posed
    camera, alignment = Camera.rnet(options), make_alignment()
    face = pose_face(tiny_face_model, shaped, coefficients, camera)
    in_crop = camera.project(face.vertices_camera)[0].double().numpy()
    inverse = alignment.inverse_matrix
    expected = in_crop @ inverse[:, :2].T + inverse[:, 2]

    found = PhotoCamera.of(camera, alignment, coefficients)
    neutral = shaped.vertices_object[0].double().numpy()
    np.testing.assert_allclose(project(found.K, found.R, found.t, neutral), expected, atol=2e-3)
    mesh = camera.to_object(face.vertices_camera)[0].double().numpy()
    placed = project(found.K, found.mesh_R, found.mesh_t, mesh)
    np.testing.assert_allclose(placed, expected, atol=2e-3)


def test_rotations_are_proper_and_depths_positive(posed):
    found = PhotoCamera.of(Camera.rnet(), make_alignment(), posed[0])
    for rotation in (found.R, found.mesh_R):
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
    assert found.t[2] > 5 and found.mesh_t[2] == 10


def test_the_photo_s_camera_is_the_crop_s_in_other_pixels():
    alignment = make_alignment()
    view = camera_in_photo(Camera.rnet(), alignment)
    assert (view.width, view.height) == alignment.photo_size
    points = torch.randn(1, 30, 3, dtype=torch.float64) + torch.tensor([0.0, 0.0, 10.0])
    back = view.project(points)[0].numpy() @ alignment.matrix[:, :2].T + alignment.matrix[:, 2]
    crop = Camera.rnet().to(torch.float64).project(points)[0].numpy()
    np.testing.assert_allclose(back, crop, atol=1e-9)


def example_face(posed) -> FaceResult:
    coefficients = posed[0]
    alignment = make_alignment()
    return FaceResult(
        photo=Path('photos/größe, ".jpg'),
        number=2,
        stem="a_2",
        picture=np.zeros((2, 2, 3), np.uint8),
        vertices=np.zeros((3, 3), np.float32),
        triangles=np.array([[0, 1, 2]], np.int32),
        colours=np.zeros((3, 3), np.float32),
        albedo=np.zeros((3, 3), np.float32),
        coefficients=coefficients,
        landmarks_index=np.random.default_rng(0).uniform(0, 223, (68, 2)),
        alignment=alignment,
        camera=PhotoCamera.of(Camera.rnet(), alignment, coefficients),
        face_model=IdentityCard("open", "1.0", "CC0-1.0", "0123456789abcdef"),
    )


def test_the_file_holds_what_is_documented(tmp_path: Path, posed):
    face = example_face(posed)
    write_record(tmp_path / "a_2.json", space_record(face))
    record = json.loads((tmp_path / "a_2.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for key in record:
        assert f"| `{key}` |" in page, key
    assert record["photo"] == face.photo.name and record["face"] == 2
    np.testing.assert_array_equal(record["K"], face.camera.K)
    np.testing.assert_array_equal(record["t"], face.camera.t)
    np.testing.assert_allclose(np.radians(record["angles_deg"]), posed[0].angles_rad[0], rtol=1e-6)
    # Pixel indices in the photo: those of the crop, moved as the image content is moved.
    landmarks = np.array(record["landmarks"])
    matrix = np.array(record["photo_to_crop"])
    back = (landmarks + 0.5) @ matrix[:, :2].T + matrix[:, 2] - 0.5
    np.testing.assert_allclose(back, face.landmarks_index, atol=1e-9)


def test_broken_numbers_are_refused(tmp_path: Path, posed):
    face = example_face(posed)
    broken = replace(face, landmarks_index=np.full((68, 2), np.nan))
    with pytest.raises(ValueError, match=r"a\.json.*not finite"):
        write_record(tmp_path / "a.json", space_record(broken))
    assert not list(tmp_path.iterdir())
