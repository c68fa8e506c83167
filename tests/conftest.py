"""Shared set-up of the tests: checked array shapes, fixed seeds, small synthetic meshes."""

# jaxtyping's hook rewrites the modules while they are imported, so that it stands before any of
# them: from here on every annotated shape in models/ is checked at every call.
from jaxtyping import install_import_hook

install_import_hook("models", "beartype.beartype")

import random  # noqa: E402
from typing import NamedTuple  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

# The suite may run in several processes (pytest -n); one thread each keeps them from contending.
torch.set_num_threads(1)


class Mesh(NamedTuple):
    """A triangle mesh in the object frame (x right, y up, z towards the camera, decimetres)."""

    vertices: torch.Tensor  # (V, 3) float32
    triangles: torch.Tensor  # (F, 3) int32, counter-clockwise seen from +z


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that still read the global state
    torch.manual_seed(0)


def grid_mesh(columns: int = 12, rows: int = 14) -> Mesh:
    """A face-sized dome (1.6 x 2 dm) over a regular grid, with a bump for the nose."""
    x, y = np.meshgrid(np.linspace(-0.8, 0.8, columns), np.linspace(1.0, -1.0, rows))
    z = 0.6 - 0.6 * x**2 - 0.35 * y**2 + 0.25 * np.exp(-((x / 0.15) ** 2) - (y / 0.25) ** 2)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    below, right = corner + columns, corner + 1
    triangles = np.concatenate(
        [
            np.stack([corner, below, right], axis=-1),
            np.stack([right, below, below + 1], axis=-1),
        ]
    )
    return Mesh(
        torch.from_numpy(vertices.astype(np.float32)),
        torch.from_numpy(triangles.astype(np.int32)),
    )


@pytest.fixture
def tiny_mesh() -> Mesh:
    """168 vertices, 286 triangles: an open, face-like surface."""
    return grid_mesh()
