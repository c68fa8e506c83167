"""The identity loss against the public code's steps, written out from their description."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.face_model import FaceModel
from models.landmarks import five_from_68, from_index, to_index
from models.losses import identity_loss
from models.networks.iresnet import create_iresnet
from models.networks.recognition import ArcFaceRecognitionNet
from models.similarity import estimate_similarity
from tests.util.model_files.iresnet_onnx import randomise

HEIGHT = 224


@pytest.fixture(scope="module")
def net() -> ArcFaceRecognitionNet:
    torch.manual_seed(0)
    return ArcFaceRecognitionNet(randomise(create_iresnet("r18")))


@pytest.fixture
def landmarks_up(tiny_face_model: FaceModel) -> np.ndarray:
    """(2, 68, 2) as the public code has them: pixel indices, y up; faces rolled and shifted."""
    points = tiny_face_model.landmarks(tiny_face_model.mean_shape.reshape(1, -1, 3))[0, :, :2]
    flat = 100 * points.numpy().astype(np.float64)
    faces = []
    for angle, scale, shift in ((0.1, 0.8, (110.0, 115.0)), (-0.4, 0.6, (100.3, 125.8))):
        c, s = scale * math.cos(angle), scale * math.sin(angle)
        faces.append(flat @ np.array([[c, s], [-s, c]]) + shift)
    return np.stack(faces)


def public_transform(landmarks_up: np.ndarray) -> np.ndarray:
    """Five points of 68, y turned down, fitted to the template: scikit-image as there."""
    transform = pytest.importorskip("skimage.transform")
    pick = np.array([31, 37, 40, 43, 46, 49, 55]) - 1
    nose, a, b, c, d, left, right = landmarks_up[pick]
    five = np.stack([(a + b) / 2, (c + d) / 2, nose, left, right])
    five[:, 1] = HEIGHT - 1 - five[:, 1]
    template = np.array(
        [
            [38.2946, 51.6963],
            [73.5318, 51.5014],
            [56.0252, 71.7366],
            [41.5493, 92.3655],
            [70.7299, 92.2041],
        ]
    )
    return transform.SimilarityTransform.from_estimate(five, template).params[:2]


def public_crop(image: np.ndarray, matrix: np.ndarray, size: int = 112) -> np.ndarray:
    """Bilinear, pixel centres at their index, zero outside: what OpenCV and kornia 0.5 compute."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    x, y, _ = inverse @ np.stack([columns.ravel(), rows.ravel(), np.ones(size * size)])
    wide = np.pad(image, ((0, 0), (300, 300), (300, 300)))
    x, y = x + 300, y + 300
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - x0, y - y0
    out = wide[:, y0, x0] * (1 - fx) * (1 - fy) + wide[:, y0, x0 + 1] * fx * (1 - fy)
    out += wide[:, y0 + 1, x0] * (1 - fx) * fy + wide[:, y0 + 1, x0 + 1] * fx * fy
    return out.reshape(3, size, size)


def ours_transform(landmarks_up: np.ndarray, net: ArcFaceRecognitionNet) -> torch.Tensor:
    """From the points in our frame: y down, continuous pixels of the public origin."""
    down = torch.from_numpy(landmarks_up).clone()
    down[..., 1] = HEIGHT - 1 - down[..., 1]
    five = five_from_68(from_index(down, "index"))
    return estimate_similarity(to_index(five, "index"), net.template.double())


def test_the_transform_is_scikit_images(landmarks_up: np.ndarray, net: ArcFaceRecognitionNet):
    ours = ours_transform(landmarks_up, net).numpy()
    expected = np.stack([public_transform(face) for face in landmarks_up])
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_the_loss_is_the_public_one(landmarks_up: np.ndarray, net: ArcFaceRecognitionNet):
    """Crop, colours to [-1, 1], unit features, mean of 1 - cosine."""
    random = np.random.default_rng(0)
    photos, renderings = random.random((2, 2, 3, HEIGHT, HEIGHT))
    renderings = 0.5 * (photos + renderings)
    faces = [
        public_crop(image, public_transform(face))
        for images in (renderings, photos)
        for image, face in zip(images, landmarks_up, strict=True)
    ]
    inputs = torch.from_numpy(2 * np.stack(faces) - 1).float()
    with torch.no_grad():
        # About their mean: the features of an untrained network are almost the same for all.
        net.network.features.bias -= net.network(inputs).mean(dim=0)  # type: ignore
        raw = net.network(inputs).double().numpy().reshape(2, 2, -1)
    features = raw / np.linalg.norm(raw, axis=2, keepdims=True)
    expected = (1 - (features[0] * features[1]).sum(axis=1)).mean()
    assert expected > 0.1

    transforms = ours_transform(landmarks_up, net).float()
    with torch.no_grad():
        embeddings = [
            net(torch.from_numpy(images).float(), transforms) for images in (renderings, photos)
        ]
    loss = identity_loss(embeddings[0], embeddings[1], net.distance)
    assert float(loss) == pytest.approx(expected, abs=2e-5)
