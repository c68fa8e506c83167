"""One reconstructed face of one photo, as arrays that every writer of results is fed with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.alignment import Alignment
from models.face_model import IdentityCard
from models.landmarks import to_index
from models.parameters import Coefficients
from util.photos.fit_record import FitRecord
from util.photos.photo_camera import PhotoCamera


@dataclass(frozen=True)
class FaceResult:
    """One reconstructed face."""

    photo: Path
    number: int
    """1 for the largest face of the photo, then by falling size."""
    stem: str
    """Name of its files."""
    picture: np.ndarray
    """(H, W, 3) uint8: crop, reconstruction over it, the same with landmarks; of a SynergyNet the
    crop alone."""
    vertices: np.ndarray
    """(V, 3) decimetres, posed, in the object frame (z = 10 - z_camera)."""
    triangles: np.ndarray
    """(F, 3)"""
    colours: np.ndarray
    """(V, 3) lit colours, RGB in [0, 1]."""
    coefficients: Coefficients
    """A batch of one."""
    landmarks_index: np.ndarray
    """(68, 2) predicted pixel indices of the crop, y down."""
    alignment: Alignment
    """How the photo became the crop; of a SynergyNet a window of the photo that begins where the
    head's origin is seen, in which its weak-perspective camera has its centre."""
    camera: PhotoCamera
    """Of the photo."""
    face_model: IdentityCard
    """What gives the coefficients their meaning."""
    fit: FitRecord | None = None
    """How it was fitted; None where a network alone predicted it."""
    focal_scale: float = 1.0
    """Focal length over that of the crop's usual camera, where a fit looked for it."""
    views: np.ndarray | None = None
    """(H, W, 3) uint8 photo and fit beside its turned views, below the same of what it started
    from; None where it was not fitted."""
    albedo: np.ndarray | None = None
    """(V, 3) colours without light, RGB in [0, 1]; what reports show in other light. Of a
    SynergyNet, which knows no light, the lit ones."""
    given_landmarks_index: np.ndarray | None = None
    """(68, 2) detected or given pixel indices of the crop, y down."""
    person: tuple[FaceResult, ...] = ()
    """All faces that were fitted as one person's, this one too; empty where it was alone."""

    @property
    def landmarks_photo(self) -> np.ndarray:
        """(68, 2) predicted pixel indices of the photo, y down."""
        return to_index(self.in_photo(self.landmarks_index), "centre")

    @property
    def head_rotation(self) -> np.ndarray:
        """(3, 3) the head's rotation in the object frame, acting on column vectors."""
        return self.camera.mesh_R.T @ self.camera.R

    @property
    def head_translation_dm(self) -> np.ndarray:
        """(3,) the head's place in the object frame, after its rotation."""
        return self.coefficients.translation_dm[0].detach().double().cpu().numpy()

    @property
    def head_vertices(self) -> np.ndarray:
        """(V, 3) decimetres in the head's own frame: identity and expression without the pose."""
        return (self.vertices - self.head_translation_dm) @ self.head_rotation

    def in_photo(self, points_index: np.ndarray) -> np.ndarray:
        """Pixel indices (N, 2) of the crop as continuous pixels of the photo."""
        matrix = self.alignment.inverse_matrix
        return (points_index + 0.5) @ matrix[:, :2].T + matrix[:, 2]
