"""Maps of a face in its photo: they say what the mesh is, pixel by pixel, and in which pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.face_model import FaceModel
from tests.util.outputs.faces import centred_alignment, output_source, photo_face, pixels_of
from util.outputs.maps import DepthOutput, MaskOutput, NormalsOutput, VisibilityOutput
from util.photos import face_maps
from util.photos.face_result import FaceResult

KINDS = (DepthOutput, NormalsOutput, MaskOutput, VisibilityOutput)


def write_all(face_model: FaceModel, face: FaceResult, folder: Path, **options) -> None:
    source = output_source(face_model, **options)
    for kind in KINDS:
        kind(source).write(folder, face)


def read(folder: Path, face: FaceResult, ending: str) -> np.ndarray:
    path = folder / f"{face.stem}{ending}"
    return np.load(path) if ending.endswith(".npy") else np.asarray(Image.open(path))


def inner_vertices(face: FaceResult, pixels: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Vertices near the middle of the face with the pixel that they lie in."""
    middle = pixels.mean(axis=0)
    reach = 0.5 * (np.ptp(pixels, axis=0) / 2)
    for number in np.flatnonzero((np.abs(pixels - middle) < reach).all(axis=1)):
        column, row = np.floor(pixels[number]).astype(int).tolist()
        yield int(number), row, column


@pytest.mark.parametrize(("unit", "scale"), [("dm", 1.0), ("mm", 100.0)])
def test_depth_is_that_of_the_vertices(
    tiny_face_model: FaceModel, tmp_path: Path, unit: str, scale: float
):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    write_all(tiny_face_model, face, tmp_path, unit=unit)
    levels, depth = (read(tmp_path, face, f"_depth.{kind}") for kind in ("png", "npy"))
    assert levels.dtype == np.uint16 and depth.dtype == np.float32
    assert levels.shape == depth.shape == face.alignment.photo_size[::-1]
    np.testing.assert_allclose(levels / 1000, depth / scale, atol=6e-4)
    true, found = [], []
    for vertex, row, column in inner_vertices(face, pixels_of(face)):
        true.append(10 - face.vertices[vertex, 2])
        found.append(levels[row, column] / 1000)
    assert len(true) > 20
    # Beside the vertex, within its pixel, and where a fold hides it.
    assert np.median(np.abs(np.subtract(true, found))) < 5e-3


def test_normals_are_those_of_the_vertices(tiny_face_model: FaceModel, tmp_path: Path):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    write_all(tiny_face_model, face, tmp_path)
    colours = read(tmp_path, face, "_normals.png").astype(float)
    mask = read(tmp_path, face, "_mask.png")
    vectors = colours / 127.5 - 1
    np.testing.assert_allclose(np.linalg.norm(vectors[mask > 0], axis=1), 1, atol=0.01)
    assert not colours[mask == 0].any() and set(np.unique(mask)) == {0, 255}
    import torch

    normals = tiny_face_model.normals(torch.from_numpy(face.vertices)[None])[0].numpy()
    agree = [
        float(vectors[row, column] @ normals[vertex])
        for vertex, row, column in inner_vertices(face, pixels_of(face))
    ]
    assert np.median(agree) > 0.99


def test_mask_depth_and_normals_cover_the_same_pixels(tiny_face_model: FaceModel, tmp_path: Path):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    write_all(tiny_face_model, face, tmp_path)
    mask = read(tmp_path, face, "_mask.png") > 0
    np.testing.assert_array_equal(mask, read(tmp_path, face, "_depth.png") > 0)
    np.testing.assert_array_equal(mask, read(tmp_path, face, "_normals.png").any(axis=2))
    rows, columns = np.nonzero(mask)
    pixels = pixels_of(face).clip(0, face.alignment.photo_size)
    assert columns.min() >= np.floor(pixels[:, 0].min()) - 1
    assert rows.max() <= np.ceil(pixels[:, 1].max())


def test_a_large_photo_has_maps_of_the_face_alone(tiny_face_model: FaceModel, tmp_path: Path):
    """Equal to those of the whole photo, cut out."""
    alignment = centred_alignment((3000, 2000), 1.0)
    face = photo_face(tiny_face_model, tmp_path / "photos", "large.png", alignment, written=False)
    write_all(tiny_face_model, face, tmp_path)
    with Image.open(tmp_path / "large_mask.png") as picture:
        words = picture.text  # pyright: ignore[reportAttributeAccessIssue]
        mask = np.asarray(picture)
    left, top, width, height = map(int, words["box"].split())
    assert mask.shape == (height, width) and max(width, height) < 400
    rows, columns = np.nonzero(mask)
    centre = np.array([columns.mean() + left, rows.mean() + top])
    assert np.abs(centre - pixels_of(face).mean(axis=0)).max() < 15

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_maps, "WHOLE_PHOTO_PX", 1 << 30)
        MaskOutput(output_source(tiny_face_model)).write(tmp_path, face)
    whole = read(tmp_path, face, "_mask.png")
    assert whole.shape == (2000, 3000)
    np.testing.assert_array_equal(whole[top : top + height, left : left + width], mask)
    assert whole.astype(bool).sum() == mask.astype(bool).sum()


def test_visibility_has_a_row_for_each_vertex(tiny_face_model: FaceModel, tmp_path: Path):
    """Of a face in profile those of the far side are missing."""
    face = photo_face(tiny_face_model, tmp_path / "photos")
    sine, cosine = np.sin(-1.2), np.cos(-1.2)
    turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], np.float32)
    profile = replace(face, vertices=face.head_vertices.astype(np.float32) @ turn.T)
    VisibilityOutput(output_source(tiny_face_model)).write(tmp_path, profile)
    seen = read(tmp_path, face, "_visibility.npy")
    assert seen.dtype == bool and seen.shape == (len(face.vertices),)
    across = face.head_vertices[:, 0]
    assert seen[across > 0.5].mean() > 0.8 and seen[across < -0.5].mean() < 0.2


def test_a_face_is_drawn_once_for_all_kinds(
    tiny_face_model: FaceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    drawn = []
    real = face_maps.surface_maps
    monkeypatch.setattr(face_maps, "surface_maps", lambda *given: drawn.append(1) or real(*given))
    write_all(tiny_face_model, face, tmp_path)
    assert len(drawn) == 1


def test_what_cannot_be_drawn_is_refused(tiny_face_model: FaceModel, tmp_path: Path):
    face = photo_face(tiny_face_model, tmp_path / "photos")
    broken = replace(face, vertices=np.full_like(face.vertices, np.nan))
    outside = replace(face, vertices=face.vertices + np.array([90, 0, 0], np.float32))
    away = replace(face, vertices=face.vertices - np.array([0, 0, 4], np.float32))
    source = output_source(tiny_face_model)
    for kind in KINDS:
        with pytest.raises(ValueError, match="vertices are not finite"):
            kind(source).write(tmp_path, broken)
        with pytest.raises(ValueError, match="outside of its photo"):
            kind(source).write(tmp_path, outside)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("util.outputs.maps.DEPTH_LEVELS_A_DM", 5000)
        with pytest.raises(ValueError, match=r"1\.[34] m away"):
            DepthOutput(source).write(tmp_path, away)
    assert not list(tmp_path.glob("*.p*"))
