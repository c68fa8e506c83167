"""M3DFB (Sariyanidi et al., 2025): the estimators E1 and E12 on meshes of one topology.

    <root>/Gmeshes/<id>.txt              N x 3 points of the truth, any topology
    <root>/Gmeshes/<id>.lmks             51 x 3 landmarks (iBUG without the jaw)
    --predictions DIR/<id>.txt           N x 3 points of the method
    --mesh_info INFO.json                of these: lmk_indices (51), mean_face_shape (N x 3)

E1, the custom that ranks methods wrongly: landmarks, then iterative closest points, then for each
point of the prediction the distance to the nearest true one. E12, what the authors recommend:

1. Similarity by five landmarks (outer and inner eye corners, nose tip).
2. Elastic warp: every point follows the landmarks, the more the nearer it is (1 - d / max d), by
   least squares, and nowhere further than the farthest landmark has to go.
3. The nearest true point of each warped one corresponds. It is always too near: where neighbours
   along an axis do not stay neighbours, true points are moved away (correction of topology), the
   less the nearer a landmark is.
4. Distance of the points of step 1 from these.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.linalg import solveh_banded
from scipy.spatial import Delaunay, KDTree

from options.evaluate_options import M3dfbOptions
from options.flags import ParsedOptions
from util.errors import InputError
from util.evaluation.benchmark_folders import m3dfb_names
from util.evaluation.comparison import error_mesh
from util.evaluation.mesh_benchmark import MeshBenchmark, MeshFolder, Score, Wanted
from util.evaluation.shape_methods import SEVEN
from util.evaluation.tables import BenchmarkTable, Column, mean_and_error
from util.mesh_files.mesh_reader import TriangleMesh
from util.point_fits import fit_similarity
from util.text import decode_text

LANDMARKS = 51
JAW = 17
"""iBUG's landmarks that these are without."""
FIVE = (13, 19, 28, 31, 37)
"""Nose tip and the corners by which meshes are laid over each other."""
OUTER_EYES = (19, 28)
_ICP_ROUNDS, _ICP_SETTLED = 30, 1e-6
_SPREAD = (
    *(0, 2, 4, 5, 7, 9, 20, 21, 23, 24, 26, 27, 29, 30, 19, 22, 25, 28, 13, 14, 18, 31, 33, 34),
    *(35, 37, 44, 45, 46, 39, 40, 41, 49, 48, 50),
)
"""Landmarks whose mean distance tells how central a point is."""
_NEAR, _CENTRAL = 0.01, 0.48
"""In distances of the outer eye corners: landmarks are never nearer; middle of the face."""
_EVERY, _ADMM_STEPS, _ADMM_PENALTY = 10, 500, 1.0
"""Every tenth point is watched that none goes too far; steps of the solver, and its penalty."""

COLUMNS = (
    Column("method", "method"),
    Column("meshes", "meshes"),
    Column("E1", "e1", "e1_error", best="least"),
    Column("E12", "e12", "e12_error", best="least"),
)


@dataclass(frozen=True)
class M3dfbRow:
    """One method, in the unit of the files, which is micrometres in the published ones."""

    method: str
    data: str
    """Fingerprint of the meshes' names and their topology."""
    meshes: int
    e1: float
    e1_error: float
    e12: float
    e12_error: float


@dataclass(frozen=True)
class Topology:
    """What the file about the meshes says."""

    landmarks: np.ndarray
    """(51,) points."""
    stiffness: np.ndarray
    """(N,) how strongly the correction leaves a point where it is."""
    triangles: np.ndarray
    """(F, 3) between neighbours of the mean face, for looking at it: files have none."""


class M3dfb(MeshBenchmark):
    """Files of points of one topology, by two estimators."""

    table = BenchmarkTable(
        "M3DFB: estimators E1 and E12 (standard errors)",
        "E1: nearest points after rigid alignment, whose ranking can be wrong. E12: elastic warp, "
        "nearest points, correction of topology, as recommended; colours and numbers beside names "
        "are its. In the unit of the files.",
        *("m3dfb", M3dfbRow, COLUMNS),
    )
    measures = ("e1", "e12")
    show_unit = ""

    def __init__(self, root: Path, options: ParsedOptions) -> None:
        """See `MeshBenchmark`; reads what the meshes are."""
        super().__init__(root, options)
        self._topology = read_topology(Path(options[M3dfbOptions].mesh_info))

    def find(self, theirs: Path | None) -> Wanted:
        """See `MeshBenchmark`: every true mesh; photos are no part of the benchmark."""
        assert theirs is not None
        names = m3dfb_names(self._truth)
        if not names:
            raise InputError(f"{self._truth} holds no <id>.txt")
        missing = [path for name in names if not (path := theirs / f"{name}.txt").is_file()]
        if missing:
            raise InputError(
                f"{missing[0]} does not exist ({len(missing)} of {len(names)} are missing); every "
                f"mesh of {self._truth} needs one"
            )
        for name in names:
            read_points(self._truth / f"{name}.lmks", LANDMARKS)
        return Wanted(names)

    def compared_part(self) -> bytes:
        """See `MeshBenchmark`."""
        return self._topology.stiffness.tobytes()

    def score(self, name: str, folder: MeshFolder) -> Score:
        """See `MeshBenchmark`."""
        topology = self._topology
        truth = read_points(self._truth / f"{name}.txt")
        landmarks = read_points(self._truth / f"{name}.lmks", LANDMARKS)
        points = read_points(folder.path / f"{name}.txt", len(topology.stiffness))
        errors = e12(points, truth, topology, landmarks)
        customary = float(e1(points, truth, topology.landmarks, landmarks).mean())
        mean = float(errors.mean())
        seven = points[topology.landmarks[np.array(SEVEN) - JAW]]
        mesh = TriangleMesh(points, topology.triangles)
        return Score(mean, (customary, mean), lambda: error_mesh(name, mesh, seven, errors))

    def rows(
        self, method: str, data: str, names: Sequence[str], scores: Sequence[Score]
    ) -> list[M3dfbRow]:
        """See `MeshBenchmark`."""
        table = np.array([score.errors for score in scores])
        numbers = [n for column in table.T for n in mean_and_error(column)]
        return [M3dfbRow(method, data, len(names), *numbers)]

    @property
    def mesh_unit(self) -> str:
        """That of the truth, which the files do not say."""
        return "unknown"

    @property
    def _truth(self) -> Path:
        return self.root / "Gmeshes"


def e1(
    points: np.ndarray, truth: np.ndarray, numbers: np.ndarray, landmarks: np.ndarray
) -> np.ndarray:
    """Distances (N,) to the nearest true points after landmarks and rigid ICP.

    Args:
        points: (N, 3) of the method.
        truth: (M, 3).
        numbers: (51,) which points are landmarks.
        landmarks: (51, 3) true ones.
    """
    moved = _by_five(points, numbers, landmarks)
    tree, before = KDTree(truth), np.inf
    for _ in range(_ICP_ROUNDS):
        distances, nearest = tree.query(moved)
        now = float(np.sqrt((distances**2).mean()))
        if abs(before - now) < _ICP_SETTLED:
            break
        before = now
        moved = fit_similarity(moved, truth[nearest], scaled=False)(moved)
    return tree.query(moved)[0]


def e12(
    points: np.ndarray, truth: np.ndarray, topology: Topology, landmarks: np.ndarray
) -> np.ndarray:
    """Distances (N,) by the recommended estimator; arguments as those of `e1`."""
    moved = _by_five(points, topology.landmarks, landmarks)
    warped = elastic_warp(moved, topology.landmarks, landmarks)
    nearest = KDTree(truth).query(warped)[1]
    corrected = truth.copy()
    # Of points that share a true one, the last says where it goes, as in the published code.
    corrected[nearest] += topology_correction(warped, truth[nearest], topology.stiffness)
    return np.linalg.norm(moved - corrected[nearest], axis=1)


def elastic_warp(points: np.ndarray, numbers: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Step 2: points (N, 3) after the warp that carries landmarks `numbers` onto (51, 3)."""
    apart = np.linalg.norm(points[:, None] - points[numbers][None], axis=2)
    basis = 1 - apart / apart.max(axis=0)
    warped = points.copy()
    for axis in range(3):
        pull = landmarks[:, axis] - points[numbers, axis]
        weights = bounded_least_squares(basis[numbers], pull, basis[::_EVERY], np.abs(pull).max())
        warped[:, axis] += basis @ weights
    return warped


def bounded_least_squares(
    system: np.ndarray, right: np.ndarray, watched: np.ndarray, bound: float
) -> np.ndarray:
    """The x with the least |system x - right|^2 among those with |watched x| <= bound.

    By alternating directions (Boyd et al. 2011) where the free solution goes too far: x fits the
    system and z, z is watched x inside the bound, u the sum of their differences.
    """
    free = np.linalg.lstsq(system, right, rcond=None)[0]
    if np.abs(watched @ free).max() <= bound * (1 + 1e-9):
        return free
    normal = system.T @ system + _ADMM_PENALTY * watched.T @ watched
    inverse, pull = np.linalg.pinv(normal), system.T @ right
    z = np.clip(watched @ free, -bound, bound)
    u = np.zeros_like(z)
    x = free
    for _ in range(_ADMM_STEPS):
        x = inverse @ (pull + _ADMM_PENALTY * watched.T @ (z - u))
        reached = watched @ x
        z = np.clip(reached + u, -bound, bound)
        u += reached - z
        if np.abs(reached - z).max() < 1e-6 * max(bound, 1e-12):
            break
    return x


def topology_correction(warped: np.ndarray, truth: np.ndarray, stiffness: np.ndarray) -> np.ndarray:
    """Step 3: how true points (N, 3) are moved, in the order of the warped ones.

    Along each axis, with the points in the order of their coordinate r and the true ones g apart
    from them by e = g - r, the moves d with the least

        sum 1/4 ((d_i+1 - d_i) - 2 (e_i+1 - e_i))^2 + sum 1/2 w_i d_i^2,

    a system of three diagonals: nothing moves where true points keep the steps of the warped face.
    """
    moves = np.empty_like(warped)
    for axis in range(3):
        order = np.argsort(warped[:, axis], kind="stable")
        steps = np.diff((truth - warped)[order, axis])
        right = np.zeros(len(order))
        right[:-1] -= steps
        right[1:] += steps
        # As published, both ends have the diagonal of all others.
        bands = np.full((2, len(order)), -0.5)
        bands[1] = 1 + stiffness[order]
        moves[order, axis] = solveh_banded(bands, right)
    return moves


def vertex_stiffness(mean: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(N,) of the points of a mean face (N, 3): more near landmarks and in the middle."""
    mean = mean / np.linalg.norm(np.subtract(*mean[numbers[list(OUTER_EYES)]]))
    apart = np.linalg.norm(mean[:, None] - mean[numbers][None], axis=2)
    nearest = np.maximum(apart, _NEAR).min(axis=1)
    spread = apart[:, list(_SPREAD)].mean(axis=1)
    off_centre = np.maximum(np.abs(spread - _CENTRAL), 1e-12)
    return np.sqrt(np.maximum((1 / nearest + 1 / off_centre) / 2, 1))


def front_triangles(mean: np.ndarray) -> np.ndarray:
    """Triangles (F, 3) between points of a mean face (N, 3) that are neighbours from the front.

    Delaunay's, without those across gaps: with an edge of eight times the usual length.
    """
    triangles = Delaunay(mean[:, :2]).simplices
    corners = mean[triangles]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    return triangles[longest < 8 * np.median(longest)]


def read_topology(path: Path) -> Topology:
    """Read M3DFB's file about a mesh.

    Raises:
        InputError: no such file, or one without landmarks and mean face.
    """
    if not path.is_file():
        raise InputError(f"--mesh_info {path} does not exist; M3DFB has such files in info/")
    try:
        content = json.loads(decode_text(path.read_bytes()))
        mean = np.array(content["mean_face_shape"], np.float64)
        numbers = np.array(content["lmk_indices"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--mesh_info {path} lacks lmk_indices or mean_face_shape") from error
    if mean.ndim != 2 or mean.shape[1] != 3 or not np.isfinite(mean).all():
        raise InputError(
            f"--mesh_info {path}: mean_face_shape has the shape {mean.shape}, not N x 3"
        )
    if numbers.shape != (LANDMARKS,) or numbers.dtype.kind not in "iu":
        raise InputError(
            f"--mesh_info {path}: lmk_indices has the shape {numbers.shape}, expected {LANDMARKS}"
        )
    if numbers.min() < 0 or numbers.max() >= len(mean):
        raise InputError(f"--mesh_info {path}: landmark {numbers.max()} of {len(mean)} points")
    return Topology(numbers, vertex_stiffness(mean, numbers), front_triangles(mean))


def read_points(path: Path, count: int | None = None) -> np.ndarray:
    """Points (N, 3) of a text.

    Raises:
        InputError: no such file, other numbers, or another count.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        points = np.array([line.split() for line in path.read_bytes().splitlines()], np.float64)
    except ValueError as error:
        raise InputError(f"{path} holds no lines of three numbers ({error})") from error
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError(f"{path} has the shape {points.shape}; it must hold N x 3 finite numbers")
    if count is not None and len(points) != count:
        raise InputError(f"{path} holds {len(points)} points, expected {count}")
    return points


def _by_five(points: np.ndarray, numbers: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    five = list(FIVE)
    return fit_similarity(points[numbers[five]], landmarks[five])(points)
