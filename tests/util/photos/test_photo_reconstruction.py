"""Photos to results: meshes of any camera, twice the same, landmarks in the public origin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data.alignment import AlignedFace
from data.photo_folder import PhotoFace
from models import create_model
from models.assets import ModelAssets
from models.face_model import FaceModel
from models.facerecon_model import FaceReconModel
from options import parse_command
from tests.util.photos.test_photo_camera import make_alignment
from util.photos.photo_reconstruction import reconstruct_faces


def model_of(face_model: FaceModel, *argv: str) -> FaceReconModel:
    line = ["--net_recon", "resnet18", "--renderer", "torch", *argv]
    options = parse_command(FaceReconModel.inference_groups, line)
    model = create_model("facerecon", options, ModelAssets(face_model), torch.device("cpu"))
    assert isinstance(model, FaceReconModel)
    heads = model.net_recon.final_layers
    assert heads is not None
    with torch.no_grad():
        heads[3].get_parameter("bias").copy_(torch.tensor([0.05, 0.2, -0.05]))
    model.eval()
    return model


def photo_face(number: int = 1) -> PhotoFace:
    image = np.random.default_rng(number).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    landmarks = np.random.default_rng(number).uniform(60, 160, (68, 2))
    face = AlignedFace(image, landmarks, None, make_alignment())
    return PhotoFace(Path("a.jpg"), number, f"a_{number}", face, landmarks)


@pytest.mark.parametrize("distance", [10.0, 9.0])
def test_a_second_mesh_is_the_first(tiny_face_model: FaceModel, distance: float):
    """Neither asking again nor the camera's distance turns the mesh inside out."""
    model = model_of(tiny_face_model, "--camera_d", str(distance))
    ((first, _),) = reconstruct_faces(model, [photo_face()], appearance=False)
    before = first.vertices.copy()
    model.visuals()
    ((second, _),) = reconstruct_faces(model, [photo_face()], appearance=False)
    np.testing.assert_array_equal(second.vertices, before)
    np.testing.assert_array_equal(first.vertices, before)
    assert model.reconstruction is not None
    depth = model.reconstruction.posed.vertices_camera[0, :, 2].numpy()
    np.testing.assert_allclose(second.vertices[:, 2], distance - depth, atol=1e-5)
    assert np.abs(second.vertices[:, 2]).max() < 2


@pytest.mark.parametrize(("origin", "shift"), [("index", (0.0, 1.0)), ("centre", (0.5, 0.5))])
def test_landmarks_are_written_in_the_networks_origin(
    tiny_face_model: FaceModel, origin: str, shift: tuple[float, float]
):
    model = model_of(tiny_face_model, "--landmark_origin", origin)
    ((face, _),) = reconstruct_faces(model, [photo_face()], appearance=False)
    assert model.reconstruction is not None
    projected = model.reconstruction.posed.landmarks_px[0].numpy()
    np.testing.assert_allclose(face.landmarks_index, projected - shift, atol=1e-4)


def test_faces_of_a_batch_keep_their_own(tiny_face_model: FaceModel):
    model = model_of(tiny_face_model)
    results = list(
        reconstruct_faces(model, [photo_face(1), photo_face(2), photo_face(3)], appearance=False)
    )
    assert [(face.stem, face.number) for face, _ in results] == [("a_1", 1), ("a_2", 2), ("a_3", 3)]
    assert [row.files for _, row in results] == ["a_1", "a_2", "a_3"]
    # What the network sees: RGB / 255, and nothing else.
    first = torch.from_numpy(photo_face(1).face.image).permute(2, 0, 1).float() / 255
    torch.testing.assert_close(model.batch.images[0], first, rtol=0, atol=0)
    for (face, _), number in zip(results, (1, 2, 3), strict=True):
        assert face.picture is not None
        np.testing.assert_array_equal(face.picture[:, :224], photo_face(number).face.image)
