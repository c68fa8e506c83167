"""`--save camera`: every convention of the file puts the mesh over the photo's face."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.face_model import FaceModel
from tests.util.outputs.faces import centred_alignment, output_source, photo_face, pixels_of
from util.outputs.camera import CameraOutput
from util.photos.face_result import FaceResult

ROOT = Path(__file__).resolve().parents[3]


def written(face_model: FaceModel, face: FaceResult, folder: Path, **options) -> dict[str, Any]:
    CameraOutput(output_source(face_model, **options)).write(folder, face)
    text = (folder / f"{face.stem}_camera.json").read_text(encoding="utf-8")
    return json.loads(text)


@pytest.mark.parametrize(("unit", "scale"), [("dm", 1.0), ("m", 0.1), ("mm", 100.0)])
def test_conventions_agree_with_the_photo(
    tiny_face_model: FaceModel, tmp_path: Path, unit: str, scale: float
):
    """The head at rest by its pose, and the posed mesh by its own, in each convention."""
    face = photo_face(tiny_face_model, tmp_path / "photos")
    record = written(tiny_face_model, face, tmp_path, unit=unit)
    assert record["unit"] == unit and record["photo"] == face.photo.name
    width, height = record["photo_size"]
    expected = pixels_of(face)
    for prefix, points in (("", face.head_vertices), ("mesh_", face.vertices)):
        points = scale * points
        one = np.c_[points, np.ones(len(points))]

        opencv = record["opencv"]
        turned = points @ np.array(opencv[f"{prefix}R"]).T + opencv[f"{prefix}t"]
        image = turned @ np.array(opencv["K"]).T
        np.testing.assert_allclose(image[:, :2] / image[:, 2:] + 0.5, expected, atol=1e-3)

        opengl = record["opengl"]
        matrix = np.array(opengl["projection"]) @ opengl[f"{prefix}model_view"]
        clip = one @ matrix.T
        ndc = clip[:, :3] / clip[:, 3:]
        window = np.c_[(ndc[:, 0] + 1) / 2 * width, (1 - ndc[:, 1]) / 2 * height]
        np.testing.assert_allclose(window, expected, atol=1e-3)
        assert (np.abs(ndc[:, 2]) < 1).all()

        torch3d = record["pytorch3d"]
        x, y, z = (points @ np.array(torch3d[f"{prefix}R"]) + torch3d[f"{prefix}T"]).T
        (focal_x, focal_y), (centre_x, centre_y) = (
            torch3d["focal_length"],
            torch3d["principal_point"],
        )
        screen = np.c_[centre_x - focal_x * x / z, centre_y - focal_y * y / z]
        np.testing.assert_allclose(screen, expected, atol=1e-3)
        assert torch3d["image_size"] == [height, width] and torch3d["in_ndc"] is False


def test_distances(tiny_face_model: FaceModel, tmp_path: Path):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    record = written(tiny_face_model, face, tmp_path, unit="mm")
    assert record["distance"] == pytest.approx(100 * np.linalg.norm(face.camera.t))
    assert record["depth"] == pytest.approx(960, abs=1e-3)
    assert (record["near"], record["far"]) == (500, 1500)
    assert record["focal_px"] == pytest.approx(face.camera.K.diagonal()[:2].tolist())
    diagonal = np.hypot(*record["photo_size"])
    assert record["focal_35mm"] == pytest.approx(record["focal_px"][0] * 43.2666 / diagonal, 1e-3)
    assert record["focal_fitted"] is False
    half = np.radians(record["field_of_view_deg"][0] / 2)
    assert np.tan(half) * record["focal_px"][0] == pytest.approx(record["photo_size"][0] / 2)


def test_every_entry_is_documented(tiny_face_model: FaceModel, tmp_path: Path):
    record = written(tiny_face_model, photo_face(tiny_face_model, tmp_path / "p"), tmp_path)
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    inner = [key for name in ("opencv", "opengl", "pytorch3d") for key in record[name]]
    for key in (*record, *inner):
        assert f"`{key}`" in page, key


def test_the_box_of_maps_is_named(tiny_face_model: FaceModel, tmp_path: Path):
    """Of a large photo it is that of the face."""
    alignment = centred_alignment((3000, 2000), 0.5)
    face = photo_face(tiny_face_model, tmp_path / "p", alignment=alignment, written=False)
    box = written(tiny_face_model, face, tmp_path)["maps"]
    low = [box["left"], box["top"]]
    size = np.array([box["width"], box["height"]])
    inside = pixels_of(face) - low
    assert (inside >= 15).all() and (inside <= size - 15).all() and (size < 600).all()


def test_a_broken_camera_is_refused(tiny_face_model: FaceModel, tmp_path: Path):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    broken = replace(face, camera=replace(face.camera, t=np.array([0, np.inf, 10])))
    with pytest.raises(ValueError, match=r"_camera\.json: the camera is not finite"):
        written(tiny_face_model, broken, tmp_path)
    assert not list(tmp_path.glob("*.json"))
