"""Shared set-up of the tests: checked array shapes, fixed seeds, small synthetic meshes."""

# jaxtyping's hook rewrites the modules while they are imported, so that it stands before any of
# them: from here on every annotated shape in models/ is checked at every call.
from jaxtyping import install_import_hook

install_import_hook("models", "beartype.beartype")

import random  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from typing import NamedTuple  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from models.face_model import FaceModel, FaceModelData  # noqa: E402

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


@pytest.fixture(autouse=True)
def _threads_put_back() -> Iterator[None]:
    """The number of threads is global, and commands set it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


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


# iBUG order, image left first; x, y in decimetres on the dome of `grid_mesh`.
_BROW, _EYE = [(-0.5, 0.42), (-0.42, 0.5), (-0.33, 0.52), (-0.23, 0.5), (-0.13, 0.44)], 0.32
_EYE_RING = [(-0.13, 0.0), (-0.05, 0.06), (0.05, 0.06), (0.13, 0.0), (0.05, -0.06), (-0.05, -0.06)]


def landmark_plan() -> np.ndarray:
    """(68, 2) x, y of a symmetric face looking at the camera."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 17)
    jaw = np.stack([0.7 * np.sin(turn), 0.2 - 1.0 * np.cos(turn)], axis=1)
    brows = _BROW + [(-x, y) for x, y in reversed(_BROW)]
    nose = [(0.0, y) for y in (0.3, 0.2, 0.1, 0.0)]
    nose += [(x, -0.12) for x in (-0.12, -0.06, 0.0, 0.06, 0.12)]
    eyes = [(side * _EYE + x, 0.3 + y) for side in (-1, 1) for x, y in _EYE_RING]
    around = np.linspace(np.pi, -np.pi, 12, endpoint=False)
    mouth = [(0.25 * np.cos(a), -0.4 + 0.1 * np.sin(a)) for a in around]
    around = np.linspace(np.pi, -np.pi, 8, endpoint=False)
    mouth += [(0.17 * np.cos(a), -0.4 + 0.04 * np.sin(a)) for a in around]
    return np.concatenate([jaw, brows, nose, eyes, mouth])


def barycentric_points(
    plan: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The triangle below each (x, y) and the weights of its corners."""
    a, b, c = np.moveaxis(vertices[triangles, :2].astype(np.float64), 1, 0)
    corners, weights = [], []
    for point in plan:
        sides = np.stack([a - c, b - c], axis=2)
        first = np.linalg.solve(sides, (point - c)[..., None])[..., 0]
        every = np.concatenate([first, 1 - first.sum(axis=1, keepdims=True)], axis=1)
        inside = int(every.min(axis=1).argmax())
        corners.append(triangles[inside])
        weights.append(every[inside])
    return np.array(corners, np.int32), np.array(weights, np.float32)


def make_tiny_face_data() -> FaceModelData:
    """A face model of 224 vertices and 3 + 2 + 3 components, made of smooth random fields."""
    mesh = grid_mesh(columns=14, rows=16)
    vertices, triangles = mesh.vertices.numpy(), mesh.triangles.numpy()
    random_numbers = np.random.default_rng(1)

    def smooth_basis(columns: int, size: float) -> np.ndarray:
        waves = random_numbers.normal(size=(columns, 3, 2)) * 2.5
        phases = random_numbers.uniform(0, 2 * np.pi, (columns, 3))
        angle = np.einsum("kcd,vd->vck", waves, vertices[:, :2]) + phases.T
        return (size * np.sin(angle)).astype(np.float32)

    corners, weights = barycentric_points(landmark_plan(), vertices, triangles)
    landmarks = (vertices[corners] * weights[:, :, None]).sum(axis=1)
    eyes = [landmarks[[36, 39]].mean(axis=0), landmarks[[42, 45]].mean(axis=0)]
    distance = np.hypot(vertices[:, 0] / 0.75, vertices[:, 1] / 0.95)
    front = (distance < 1)[triangles].all(axis=1)
    tone = 0.5 + 0.1 * np.sin(3 * vertices[:, :1]) * np.array([1.0, 0.8, 0.6])
    return FaceModelData(
        name="tiny",
        version="1",
        licence="none",
        mean_shape=vertices,
        identity_basis=smooth_basis(3, 0.03),
        expression_basis=smooth_basis(2, 0.02),
        mean_albedo=tone.astype(np.float32),
        albedo_basis=smooth_basis(3, 0.04),
        identity_sigma=np.ones(3, np.float32),
        expression_sigma=np.array([0.5, 2.0], np.float32),
        albedo_sigma=np.ones(3, np.float32),
        triangles=triangles,
        landmark_vertices=corners,
        landmark_barycentrics=weights,
        skin_mask=(np.abs(vertices[:, 1]) < 0.6).astype(np.float32),
        front_triangles=triangles[front],
        uv=((vertices[:, :2] + 1) / 2).astype(np.float32),
        alignment_points=np.stack([*eyes, *landmarks[[30, 48, 54]]]).astype(np.float32),
        unit_names=("jawOpen", "mouthSmile"),
        unit_matrix=np.array([[1.0, 0.0], [0.5, -2.0]], np.float32),
        regions={"lips": distance < 0.2},
    )


@pytest.fixture
def tiny_face_data() -> FaceModelData:
    return make_tiny_face_data()


@pytest.fixture
def tiny_face_model(tiny_face_data: FaceModelData) -> FaceModel:
    """A fresh module, so that a test may cast it."""
    return FaceModel(tiny_face_data)


@pytest.fixture(scope="session")
def open_face_data() -> FaceModelData:
    """The face model that comes with the program; only for tests that need a real face."""
    from options.face_options import FaceModelOptions
    from util.assets import read_chosen_face_model

    return read_chosen_face_model(FaceModelOptions(face_model="open"))[0]


@pytest.fixture
def open_face_model(open_face_data: FaceModelData) -> FaceModel:
    return FaceModel(open_face_data)
