"""Meshes and poses for the benchmarks: the open face model and a synthetic dome."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.camera import Camera
from util.assets import OPEN_FACE_MODEL
from util.model_files.face_model_file import read_face_model


def dome(columns: int, rows: int) -> tuple[Tensor, Tensor]:
    """A face-sized dome over a grid: vertices (V, 3) in decimetres, triangles (F, 3) int32."""
    x, y = np.meshgrid(np.linspace(-0.65, 0.65, columns), np.linspace(0.8, -0.8, rows))
    z = 0.6 - 0.9 * x**2 - 0.5 * y**2 + 0.25 * np.exp(-((x / 0.15) ** 2) - (y / 0.25) ** 2)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    below, right = corner + columns, corner + 1
    pairs = [
        np.stack([corner, below, right], axis=-1),
        np.stack([right, below, below + 1], axis=-1),
    ]
    triangles = np.stack(pairs, axis=1).reshape(-1, 3)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    return (
        torch.from_numpy(vertices.astype(np.float32)),
        torch.from_numpy(triangles.astype(np.int32)),
    )


def benchmark_meshes() -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> vertices, triangles: about 10k and 36k vertices."""
    data = read_face_model(OPEN_FACE_MODEL)
    shape = torch.from_numpy(np.asarray(data.mean_shape, np.float32)).reshape(-1, 3)
    triangles = torch.from_numpy(np.ascontiguousarray(data.triangles))
    meshes = {"open face model": (shape, triangles), "dome": dome(180, 199)}
    return {f"{name}, {len(mesh[0])} vertices": mesh for name, mesh in meshes.items()}


def in_front_of_camera(vertices: Tensor, batch: int, camera: Camera) -> Tensor:
    """A batch (B, V, 3) in the camera frame, each item turned and moved a little."""
    generator = torch.Generator().manual_seed(0)
    yaw = 0.4 * torch.randn(batch, 1, generator=generator)
    x, y, z = vertices.unbind(-1)
    turned = torch.stack(
        [yaw.cos() * x + yaw.sin() * z, y.expand(batch, -1), yaw.cos() * z - yaw.sin() * x], dim=-1
    )
    return camera.from_object(turned + 0.1 * torch.randn(batch, 1, 3, generator=generator))
