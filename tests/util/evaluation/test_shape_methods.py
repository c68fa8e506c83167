"""Methods that give meshes: what is shared by photos of one person, and which mesh is whose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.renderer import Renderer
from options.face_options import CameraOptions
from util.evaluation.shape_methods import MeanShape, NetworkShape, face_shapes, mean_of, stacked
from util.photos.photo_fitting import face_fitter


def network(face_model: FaceModel, flat: torch.Tensor) -> NetworkShape:
    """An R-Net that predicts given coefficients (N, P)."""
    model = SimpleNamespace(
        predict=lambda images: face_model.layout.split(flat[: len(images)]),
        device=torch.device("cpu"),
        face_model=face_model,
        camera=Camera.rnet(CameraOptions(focal=800.0)),
        landmark_origin="index",
    )
    return NetworkShape(cast(Any, model))


def test_photos_of_one_person_share_the_mean_identity(tiny_face_data: FaceModelData):
    face_model = FaceModel(tiny_face_data)
    flat = torch.randn(3, face_model.layout.size, generator=torch.Generator().manual_seed(0))
    method = network(face_model, flat)
    batch = FaceBatch(torch.zeros(3, 3, 8, 8), ("a", "b", "c"))
    each, together = method(batch), method(batch, one_person=True)
    torch.testing.assert_close(face_model.layout.join(each), flat)
    for name in ("identity", "texture"):
        expected = getattr(each, name).mean(dim=0)
        torch.testing.assert_close(getattr(together, name), expected.expand(3, -1))
    for name in ("expression", "angles_rad", "translation_dm"):
        assert torch.equal(getattr(together, name), getattr(each, name))
    assert method.landmark_origin == "index"


def test_meshes_with_and_without_expression(tiny_face_data: FaceModelData):
    face_model = FaceModel(tiny_face_data)
    flat = torch.randn(2, face_model.layout.size, generator=torch.Generator().manual_seed(1))
    found = face_model.layout.split(flat)
    neutral, shown = (face_shapes(face_model, found, neutral=n) for n in (True, False))
    data = tiny_face_data
    for k in range(2):
        identity = data.mean_shape + data.identity_basis @ found.identity[k].numpy()
        moved = identity + data.expression_basis @ found.expression[k].numpy()
        np.testing.assert_allclose(neutral[k].vertices, identity, atol=1e-6)
        np.testing.assert_allclose(shown[k].vertices, moved, atol=1e-6)
        corners = neutral[k].vertices[data.landmark_vertices]
        landmarks = (corners * data.landmark_barycentrics[..., None]).sum(axis=1)
        np.testing.assert_allclose(neutral[k].landmarks, landmarks, atol=1e-6)


def test_the_mean_has_no_identity(tiny_face_data: FaceModelData):
    face_model = FaceModel(tiny_face_data)
    method = MeanShape(face_fitter(face_model, Camera.rnet(), Renderer("torch")))
    mean = face_model.landmarks(face_model.mean_shape.reshape(1, -1, 3))
    points = Camera.rnet().project(Camera.rnet().from_object(mean))
    found = method(FaceBatch(torch.zeros(1, 3, 224, 224), ("a",), points))
    assert not found.identity.any() and not found.expression.any()
    assert float(found.angles_rad.abs().max()) < 0.02


def test_the_mean_beside_a_method_has_its_camera(tiny_face_data: FaceModelData):
    face_model = FaceModel(tiny_face_data)
    method = network(face_model, torch.zeros(1, face_model.layout.size))
    mean = mean_of(method)
    assert float(method.camera.focal_px[0, 0]) == 800.0
    assert mean.camera is method.camera and mean_of(mean).camera is method.camera


def test_coefficients_are_stacked(tiny_face_data: FaceModelData):
    layout = FaceModel(tiny_face_data).layout
    flat = torch.arange(3.0 * layout.size).reshape(3, -1)
    parts = [layout.split(flat[:1]), layout.split(flat[1:])]
    torch.testing.assert_close(layout.join(stacked(parts)), flat)
