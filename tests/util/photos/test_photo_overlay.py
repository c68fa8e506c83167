"""Faces laid over a photo: where they belong, cut at its edges, the nearer one in front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.alignment import Alignment
from models.camera import Camera
from models.face_model import FaceModel, IdentityCard
from models.mouth import behind_lips
from models.renderer import Renderer
from options.face_options import FaceModelOptions
from util.assets import load_face_model
from util.photos.face_result import FaceResult
from util.photos.photo_camera import PhotoCamera
from util.photos.photo_overlay import lay_over, overlay_opacity

GREEN, RED = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
SIZE = (400, 300)


def face_at(
    model: FaceModel, left: int, top: int, scale: float = 1.0, colour: tuple = GREEN
) -> FaceResult:
    """The mean face, whose crop begins at (left, top) of the photo resized by `scale`."""
    coefficients = model.layout.zeros(1)
    resized = (round(SIZE[0] * scale), round(SIZE[1] * scale))
    alignment = Alignment(SIZE, scale, (0.0, 0.0), resized, left, top)
    return FaceResult(
        photo=Path("a.jpg"),
        number=1,
        stem="a",
        picture=np.zeros((2, 2, 3), np.uint8),
        vertices=model.mean_shape.reshape(-1, 3).numpy(),
        triangles=model.triangles.numpy(),
        colours=np.tile(np.array(colour, np.float32), (model.vertex_count, 1)),
        albedo=None,
        coefficients=coefficients,
        landmarks_index=np.zeros((68, 2)),
        alignment=alignment,
        camera=PhotoCamera.of(Camera.rnet(), alignment, coefficients),
        face_model=IdentityCard("tiny", "1", "none", ""),
    )


def draw(
    *faces: FaceResult, size: tuple[int, int] = SIZE, opacity: np.ndarray | None = None
) -> np.ndarray:
    preview = np.full((size[1], size[0], 3), 100, np.uint8)
    picture = lay_over(preview, faces, Camera.rnet(), Renderer("torch"), opacity)
    assert (preview == 100).all()
    return picture


def box_of(seen: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(seen)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_it_is_the_crop_s_rendering_moved_into_the_photo(tiny_face_model: FaceModel):
    camera = Camera.rnet()
    vertices = camera.from_object(tiny_face_model.mean_shape.reshape(1, -1, 3))
    mask = Renderer("torch").coverage(vertices, tiny_face_model.triangles, camera)
    expected = np.full((SIZE[1], SIZE[0]), False)
    expected[40:264, 130:354] = mask[0, 0].numpy() > 0
    seen = draw(face_at(tiny_face_model, 130, 40))[..., 0] == 0
    assert expected.sum() > 5000
    # The window's own subpixel grid may round an edge differently.
    assert (seen != expected).mean() < 1e-3


@pytest.mark.parametrize("size", [(200, 150), (800, 600)])
def test_a_reduced_photo_shows_the_same(tiny_face_model: FaceModel, size: tuple[int, int]):
    face = face_at(tiny_face_model, 130, 40)
    whole = box_of(draw(face)[..., 0] == 0)
    reduced = box_of(draw(face, size=size)[..., 0] == 0)
    zoom = size[0] / SIZE[0]
    np.testing.assert_allclose(np.array(reduced), zoom * np.array(whole), atol=max(1.0, zoom))


def test_faces_are_cut_at_the_edges(tiny_face_model: FaceModel):
    for left, top in ((-90, -60), (290, -60), (-90, 190), (290, 190)):
        picture = draw(face_at(tiny_face_model, left, top))
        assert 0 < (picture[..., 0] == 0).mean() < 0.3
    for left, top in ((-500, 0), (900, 0), (0, -700), (0, 800)):
        assert (draw(face_at(tiny_face_model, left, top)) == 100).all()


def test_the_larger_face_is_in_front_in_any_order(tiny_face_model: FaceModel):
    near = face_at(tiny_face_model, 100, 40)
    far = face_at(tiny_face_model, 480, 180, scale=2.0, colour=RED)
    picture = draw(near, far)
    np.testing.assert_array_equal(picture, draw(far, near))
    alone = draw(near)[..., 0] == 0
    together = picture[..., 0] == 0
    np.testing.assert_array_equal(together, alone)
    assert (picture[..., 0] > 250).any()


def test_colours_beyond_the_range_are_clipped(tiny_face_model: FaceModel):
    picture = draw(face_at(tiny_face_model, 130, 40, colour=(1.7, -0.4, 0.5)))
    drawn = picture[picture[..., 0] != 100]
    assert len(drawn) > 5000
    assert (np.abs(drawn - [255, 0, 127.5]) <= [0, 0, 0.5]).all()


def test_a_face_shows_through_where_it_is_not_opaque(tiny_face_model: FaceModel):
    face = face_at(tiny_face_model, 130, 40)
    half = np.full(tiny_face_model.vertex_count, 0.5, np.float32)
    whole, picture = draw(face).astype(int), draw(face, opacity=half).astype(int)
    drawn = whole[..., 0] == 0
    assert drawn.sum() > 5000
    expected = np.where(drawn[..., None], (whole + 100) / 2, 100)
    assert np.abs(picture - expected).max() <= 1


def test_a_head_fades_at_its_neck_alone():
    head = load_face_model(FaceModelOptions(face_model="open", face_region="head"))
    opacity = overlay_opacity(head)
    assert opacity.min() == 0 and opacity.max() == 1
    opacity[behind_lips(head).numpy()] = 1
    points = head.mean_shape.reshape(-1, 3).numpy()
    faded, cut = points[opacity < 1], points[opacity == 0]
    neck = head.regions["neck"].numpy()
    assert neck[opacity == 0].all() and len(cut) > 50
    # Below the mouth, on both sides, and nothing of the face itself.
    landmarks = head.landmarks(head.mean_shape.reshape(1, -1, 3))[0].numpy()
    assert faded[:, 1].max() < landmarks[33, 1]
    assert cut[:, 0].min() < -0.4 and cut[:, 0].max() > 0.4
    assert len(faded) < 0.05 * len(points)
    assert opacity[head.landmark_embedding.vertices.long().numpy()].min() == 1


def test_an_open_mouth_shows_the_photo_s():
    """And nothing else of a face does; no model has teeth."""
    face = load_face_model(FaceModelOptions(face_model="open"))
    opacity = overlay_opacity(face)
    assert ((opacity == 0) == behind_lips(face).numpy()).all()
    assert set(np.unique(opacity)) == {0, 1} and 0.05 < (opacity == 0).mean() < 0.25
    shape = face.shape(torch.zeros(1, 80), face.units({"jawOpen": 0.6}))
    inner = (
        Camera.rnet()
        .project(Camera.rnet().from_object(face.landmarks(shape)))[0, [62, 66]]
        .mean(dim=0)
    )
    result = replace(face_at(face, 0, 0), vertices=shape[0].numpy())
    picture = draw(result, opacity=opacity)
    x, y = inner.floor().int().tolist()
    assert (picture[y, x] == 100).all()
    assert draw(result)[y, x].tolist() == [0, 255, 0]
    chin = Camera.rnet().project(Camera.rnet().from_object(face.landmarks(shape)))[0, 8]
    assert picture[int(chin[1]) - 4, int(chin[0])].tolist() == [0, 255, 0]
