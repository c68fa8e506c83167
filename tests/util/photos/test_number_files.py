"""The numbers of a face in files: they agree with one another and with the face, in any unit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.io import loadmat

from models.face_model import FaceModel
from options.output_options import OutputOptions
from tests.util.outputs.faces import photo_face, pixels_of
from util.photos.face_result import FaceResult
from util.photos.number_files import SpaceFiles, number_files, space_record
from util.photos.pixel_face import PixelFace


@pytest.fixture
def face(tiny_face_model: FaceModel, tmp_path: Path) -> FaceResult:
    return photo_face(tiny_face_model, tmp_path, written=False)


def vertices_of(path: Path) -> np.ndarray:
    return trimesh.load_mesh(path, process=False, maintain_order=True).vertices


@pytest.mark.parametrize(("unit", "in_a_dm"), [("dm", 1), ("m", 0.1), ("mm", 100)])
def test_camera_and_mesh_show_the_face_where_the_photo_has_it(
    face: FaceResult, tmp_path: Path, unit: str, in_a_dm: float
):
    """The `.json` and the `.mat` alone, with the `.obj` in its unit."""
    options = OutputOptions(unit=unit)  # pyright: ignore[reportArgumentType]
    files = number_files(face)
    files.write(tmp_path, face, options)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files.names(face.stem))
    mesh = vertices_of(tmp_path / f"{face.stem}.obj") / in_a_dm
    record = json.loads((tmp_path / f"{face.stem}.json").read_text(encoding="utf-8"))
    image = (mesh @ np.transpose(record["mesh_R"]) + record["mesh_t"]) @ np.transpose(record["K"])
    np.testing.assert_allclose(image[:, :2] / image[:, 2:], pixels_of(face), atol=0.01)
    stored = loadmat(tmp_path / f"{face.stem}.mat")
    for name in ("K", "R", "t"):
        np.testing.assert_allclose(stored[name].squeeze(), record[name], rtol=1e-6)
    np.testing.assert_allclose(stored["photo_to_crop"], record["photo_to_crop"])


def test_the_record_goes_there_and_back(face: FaceResult):
    record = space_record(face)
    there, back = np.eye(3), np.eye(3)
    there[:2], back[:2] = record["photo_to_crop"], record["crop_to_photo"]
    np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(record["landmarks"], face.landmarks_photo)
    angles = np.radians(record["angles_deg"])
    np.testing.assert_allclose(angles, face.coefficients.angles_rad[0], atol=1e-6)
    rotation = np.array(record["R"])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    assert record["face_model"] == face.face_model.record and record["photo"] == face.photo.name
    assert json.loads(json.dumps(record)) == record, "plain values alone"


def test_who_counts_in_pixels_has_other_files(face: FaceResult, tmp_path: Path):
    """Without the coefficients of a space that the method does not know; the unit is the pixel."""
    pixels = 100 + 20 * face.vertices
    flat = replace(face, pixels=PixelFace({"pose": [1, 2]}, pixels))
    files = number_files(flat)
    assert not isinstance(files, SpaceFiles) and isinstance(number_files(face), SpaceFiles)
    files.write(tmp_path, flat, OutputOptions(unit="mm"))
    assert {path.name for path in tmp_path.iterdir()} == {f"{face.stem}.obj", f"{face.stem}.json"}
    np.testing.assert_allclose(vertices_of(tmp_path / f"{face.stem}.obj"), pixels, atol=1e-4)
    record = json.loads((tmp_path / f"{face.stem}.json").read_text(encoding="utf-8"))
    assert record == {"photo": face.photo.name, "face": face.number, "pose": [1, 2]}


def test_a_camera_that_is_none_is_named(face: FaceResult, tmp_path: Path):
    broken = replace(face, camera=replace(face.camera, t=np.array([0, np.nan, 1])))
    with pytest.raises(ValueError, match=r"not finite|non-finite"):
        number_files(broken).write(tmp_path, broken, OutputOptions())
    assert not (tmp_path / f"{face.stem}.json").exists()
