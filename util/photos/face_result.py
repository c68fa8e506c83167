"""One reconstructed face of one photo, as arrays that every writer of results is fed with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from data.alignment import Alignment
from data.square_crop import SquareCrop
from models.face_model import IdentityCard
from models.landmarks import to_index
from models.parameters import Coefficients
from util.photos.fit_record import FitRecord
from util.photos.photo_camera import PhotoCamera
from util.photos.pixel_face import PixelFace


@dataclass(frozen=True)
class FaceResult:
    """One reconstructed face."""

    photo: Path
    number: int
    """1 for the largest face of the photo, then by falling size."""
    stem: str
    """Name of its files."""
    picture: np.ndarray | None
    """(S, 3 S, 3) uint8: crop, reconstruction over it, the same with landmarks; None where only
    landmarks were wanted."""
    vertices: np.ndarray
    """(V, 3) decimetres, posed, in the object frame (z = 10 - z_camera); none, as triangles and
    colours, where only landmarks were wanted."""
    triangles: np.ndarray
    """(F, 3)"""
    colours: np.ndarray
    """(V, 3) lit colours, RGB in [0, 1]."""
    albedo: np.ndarray | None
    """(V, 3) colours without light, RGB in [0, 1]; None where the method knows no light."""
    coefficients: Coefficients
    """A batch of one; `gamma` and `texture` are NaN where the method knows neither light nor albedo
    (see `light` and `albedo`)."""
    landmarks_index: np.ndarray
    """(68, 2) predicted pixel indices of the crop, y down."""
    alignment: Alignment | SquareCrop
    """How the photo became the crop."""
    camera: PhotoCamera
    """Of the photo."""
    face_model: IdentityCard
    """What gives the coefficients their meaning."""
    fit: FitRecord | None = None
    """How it was fitted; None where a network alone predicted it."""
    focal_scale: float = 1.0
    """Focal length over that of the crop's usual camera, where a fit looked for it; under weak
    perspective, whose usual camera sees a decimetre as a pixel, pixels of the crop a decimetre."""
    views: np.ndarray | None = None
    """(H, W, 3) uint8 photo and fit beside its turned views, below the same of what it started
    from; None where it was not fitted."""
    given_landmarks_index: np.ndarray | None = None
    """(68, 2) detected or given pixel indices of the crop, y down."""
    person: tuple[FaceResult, ...] = ()
    """All faces that were fitted as one person's, this one too; empty where it was alone."""
    pixels: PixelFace | None = None
    """What `.json` and `.obj` hold of methods that count in pixels of the photo; None of others."""

    @property
    def light(self) -> Tensor | None:
        """(1, 27) `gamma` of the photo's light; None where the method knows none."""
        return None if self.albedo is None else self.coefficients.gamma

    @property
    def surface_colours(self) -> np.ndarray:
        """(V, 3) for viewers that bring their own light: the albedo, else the lit colours."""
        return self.colours if self.albedo is None else self.albedo

    @property
    def aligned(self) -> Alignment:
        """The alignment by five points, which the public code's numbers are about.

        Raises:
            ValueError: the crop is a square about landmarks.
        """
        if not isinstance(self.alignment, Alignment):
            raise ValueError(f"{self.stem}: its crop was not aligned by five points")
        return self.alignment

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
