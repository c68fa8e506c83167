"""From coefficients to landmarks and colours by the public formulas, written out in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.landmarks import to_index
from models.stages import pose_face, shape_face

FOCAL, CENTRE, DISTANCE = 1015.0, 112.0, 10.0


def public_rotation(angles: np.ndarray) -> np.ndarray:
    """What row vectors are multiplied by: the transpose of Rz Ry Rx."""
    x, y, z = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return (about_z @ about_y @ about_x).T


def public_normals(shape: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit face normals, summed around each vertex, made unit again."""
    sums = np.zeros_like(shape)
    for a, b, c in triangles:
        normal = np.cross(shape[a] - shape[b], shape[b] - shape[c])
        normal /= max(np.linalg.norm(normal), 1e-12)
        for vertex in (a, b, c):
            sums[vertex] += normal
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def public_colour(albedo: np.ndarray, normals: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Nine harmonics with the constants of the public code; 0.8 more of the first."""
    a = [math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8)]
    c = [
        1 / math.sqrt(4 * math.pi),
        math.sqrt(3) / math.sqrt(4 * math.pi),
        3 * math.sqrt(5) / math.sqrt(12 * math.pi),
    ]
    light = gamma.reshape(3, 9) + 0.8 * np.eye(1, 9)
    x, y, z = normals.T
    basis = np.stack(
        [
            a[0] * c[0] * np.ones_like(x),
            -a[1] * c[1] * y,
            a[1] * c[1] * z,
            -a[1] * c[1] * x,
            a[2] * c[2] * x * y,
            -a[2] * c[2] * y * z,
            0.5 * a[2] * c[2] / math.sqrt(3) * (3 * z**2 - 1),
            -a[2] * c[2] * x * z,
            0.5 * a[2] * c[2] * (x**2 - y**2),
        ],
        axis=1,
    )
    return albedo * (basis @ light.T)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
def test_the_chain_is_the_public_one(
    tiny_face_data: FaceModelData,
    tiny_face_model: FaceModel,
    dtype: torch.dtype,
    tolerance: float,
):
    data, model = tiny_face_data, tiny_face_model.to(dtype)
    flat = 0.3 * torch.randn(4, model.layout.size)
    coefficients = model.layout.split(flat.to(dtype))
    camera = Camera.rnet().to(dtype)
    shaped = shape_face(model, coefficients)
    posed = pose_face(model, shaped, coefficients, camera)

    def close(found: torch.Tensor, expected: np.ndarray) -> None:
        np.testing.assert_allclose(found.numpy(), expected, atol=tolerance, rtol=tolerance)

    y_up = 224 - posed.landmarks_px[..., 1]
    lm68 = to_index(posed.landmarks_px, "index")

    for item in range(4):
        one = {name: block[item].double().numpy() for name, block in coefficients.items()}
        shape = data.mean_shape + data.identity_basis.astype(float) @ one["identity"]
        shape = shape + data.expression_basis.astype(float) @ one["expression"]
        albedo = data.mean_albedo + data.albedo_basis.astype(float) @ one["texture"]
        rotation = public_rotation(one["angles_rad"])
        normals = public_normals(shape, data.triangles) @ rotation
        vertices = shape @ rotation + one["translation_dm"]
        vertices[:, 2] = DISTANCE - vertices[:, 2]
        corners = vertices[data.landmark_vertices]
        points = (corners * data.landmark_barycentrics[:, :, None].astype(float)).sum(axis=1)
        # Row vectors times the transposed intrinsics; y counts from the bottom.
        image = points @ np.array([[FOCAL, 0, CENTRE], [0, FOCAL, CENTRE], [0, 0, 1]]).T
        image = image[:, :2] / image[:, 2:]

        close(posed.vertices_camera[item], vertices)
        close(posed.normals[item], normals)
        colours = public_colour(albedo, normals, one["gamma"])
        close(posed.colours[item], colours)
        close(posed.landmarks_px[item, :, 0], image[:, 0])
        close(y_up[item], image[:, 1])
        # The file: rows counted as 223 - y, columns as they are.
        written = np.stack([image[:, 0], 223 - image[:, 1]], axis=1)
        close(lm68[item], written)
