"""Heads of ICT-FaceKit and photos of them: what is known of them, and which the detector misses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from data.detection import LandmarkDetector
from models.face_model import FaceModel, FaceModelData
from options.evaluate_options import IctBenchmarkOptions
from options.face_options import CROP_PX, FaceModelOptions
from util.assets import read_chosen_face_model
from util.errors import InputError
from util.evaluation.error_picture import ErrorMesh
from util.evaluation.predicted_meshes import MM_PER_DM
from util.evaluation.regions import face_sphere, inside_sphere, kept_triangles
from util.evaluation.registration import Registration, refine
from util.evaluation.shape_methods import SEVEN, FaceShape
from util.model_files.face_transfer import shape_landmarks
from util.point_fits import fit_similarity
from util.studio import Pictures, Studio
from util.surface import SurfaceTree

MAX_YAW_DEG = 40.0
PHOTOS_EACH = (1, 2, 4, 8)
"""Of one person, taken together."""
_SPARE = 4
"""Photos of a person beyond the most that are needed, since the detector misses some."""
_PEOPLE = 100_000
"""Sample from which on people are drawn; heads before."""
_SURFACE_POINTS = 1500


@dataclass(frozen=True)
class TrueHead:
    """A head without expression, decimetres."""

    vertices: np.ndarray
    """(V, 3)"""
    triangles: np.ndarray
    """(F, 3)"""
    seven: np.ndarray
    """(7, 3) landmarks."""
    inside: np.ndarray
    """(V,) bool: skin inside NoW's sphere."""
    points: np.ndarray
    """(P, 3) of it, spread evenly."""

    def compare(self, shape: FaceShape) -> HeadComparison:
        """A predicted mesh laid over it."""
        surface = SurfaceTree(shape.vertices, shape.triangles)
        start = fit_similarity(shape.landmarks[list(SEVEN)], self.seven)
        return HeadComparison(self, surface, refine(self.points, surface, start))


@dataclass(frozen=True)
class HeadComparison:
    """A predicted mesh over a head."""

    head: TrueHead
    surface: SurfaceTree
    """Of the prediction, before its motion."""
    registration: Registration
    """Decimetres."""

    @property
    def mean_mm(self) -> float:
        """Mean distance of the head's points."""
        return MM_PER_DM * float(self.registration.distances.mean())

    def shown(self, name: str, photo: np.ndarray) -> ErrorMesh:
        """The face of the head with the distance of each vertex."""
        head, motion = self.head, self.registration.motion
        vertices = head.vertices[head.inside]
        errors = motion.scale * self.surface.nearest(motion.back(vertices)).distances
        triangles = kept_triangles(head.triangles, head.inside)
        return ErrorMesh(name, vertices, triangles, MM_PER_DM * errors, photo)


class Heads:
    """The photos, and what is true of them."""

    def __init__(self, other: FaceModelData, wanted: IctBenchmarkOptions) -> None:
        """Prepare the studio.

        Args:
            other: ICT-FaceKit.
            wanted: which heads.
        """
        self.other, self._wanted = other, wanted
        self._studio = Studio(FaceModel(other), CROP_PX, wanted.looks, wanted.head_seed)
        self._vertex_areas = _vertex_areas(other)

    def singles(self, detector: LandmarkDetector) -> Pictures:
        """A photo of each head in which the detector finds the face."""
        numbers = self._studio.numbers(self._wanted.heads, MAX_YAW_DEG)
        renders = tqdm(
            self._studio.take(numbers, "cluttered"), "photos of heads", len(numbers), unit="photo"
        )
        return Pictures.of(list(renders), detector)

    def people(self, detector: LandmarkDetector) -> tuple[list[Pictures], list[int]]:
        """Photos of each person; and numbers of those who are left out: too few show a face."""
        most = max(PHOTOS_EACH)
        each, count = most + _SPARE, self._wanted.people
        numbers = self._studio.numbers(count * each, MAX_YAW_DEG, start=_PEOPLE)
        part = self._studio.layout.slices["identity"]
        found, left_out = [], []
        for person in tqdm(range(count), "photos of people", unit="person", disable=not count):
            mine = numbers[person * each : (person + 1) * each]
            identity = np.tile(self._studio.coefficients(mine[:1])[:, part], (each, 1))
            renders = list(self._studio.take(mine, "cluttered", {"identity": identity}))
            with suppress(InputError):  # found in none of them
                pictures = Pictures.of(renders, detector)
                if len(pictures.renders) >= most:
                    found.append(pictures.first(most))
                    continue
            left_out.append(person)
        return found, left_out

    def missed(self, singles: Pictures) -> list[int]:
        """Heads in whose photo the detector finds no face."""
        return sorted(set(range(self._wanted.heads)) - set(singles.numbers.tolist()))

    def identities(self, pictures: Pictures) -> np.ndarray:
        """(N, K) of the photos."""
        return self._studio.block("identity", pictures.renders)

    def head(self, identity: np.ndarray) -> TrueHead:
        """The head of identity coefficients (K,)."""
        other = self.other
        vertices = other.mean_shape + other.identity_basis.astype(np.float64) @ identity
        seven = shape_landmarks(other, vertices)[list(SEVEN)]
        inside = inside_sphere(vertices, *face_sphere(seven)) & ~other.regions["eyeballs"]
        shares = self._vertex_areas * inside
        random = np.random.default_rng(self._wanted.head_seed)
        count = min(_SURFACE_POINTS, int((shares > 0).sum()))
        chosen = random.choice(len(vertices), count, replace=False, p=shares / shares.sum())
        return TrueHead(vertices, other.triangles, seven, inside, vertices[chosen])

    @property
    def wanted_fingerprint(self) -> str:
        """Of what the options say; `fingerprint` begins with it."""
        wanted = replace(self._wanted, ict="")
        return _hash(f"{self.other.card.fingerprint} {wanted}".encode())

    def fingerprint(self, pictures: Pictures, people: Sequence[Pictures]) -> str:
        """Of everything that errors depend on beside the method."""
        numbers = b"".join(part.numbers.tobytes() for part in (pictures, *people))
        return f"{self.wanted_fingerprint}-{_hash(numbers)}"


def read_heads(folder: str) -> FaceModelData:
    """ICT-FaceKit of the user's folder.

    Raises:
        InputError: it is not such a folder.
    """
    try:
        data, message = read_chosen_face_model(FaceModelOptions("ict", bfm_folder=folder))
    except InputError as error:
        raise InputError(f"--ict {folder}: {error}") from error
    print(f"Heads: {data.card}, {message}")
    return data


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _vertex_areas(data: FaceModelData) -> np.ndarray:
    """(V,) three times the area around each vertex of the mean head."""
    corners = data.mean_shape[data.triangles].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.repeat(np.linalg.norm(across, axis=1) / 2, 3)
    return np.bincount(data.triangles.ravel(), areas, len(data.mean_shape))
