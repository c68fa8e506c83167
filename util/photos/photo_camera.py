"""The camera of a reconstruction in the original photo, in the convention of OpenCV.

The R-Net sees a crop through a fixed camera. The crop is a part of the photo, only resized, so the
same camera sees the whole photo: its focal length and centre go through the inverse of the
alignment, and nothing else changes. The mesh projected by it lies on the face in the photo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch

from models.camera import Camera, rotation_matrix
from models.parameters import Coefficients


class Window(Protocol):
    """How a photo became a crop: a part of it, resized. `Alignment` and `FrameCrop` are such."""

    @property
    def photo_size(self) -> tuple[int, int]:
        """Width and height of the photo."""
        ...

    @property
    def scale(self) -> float:
        """Pixels of the crop for one of the photo."""
        ...

    @property
    def inverse_matrix(self) -> np.ndarray:
        """(2, 3) crop -> photo, continuous pixels."""
        ...


_TO_OPENCV = np.diag([1.0, -1.0, -1.0])
"""Axes x right, y up, z towards the camera -> x right, y down, z forward; a half turn about x."""


@dataclass(frozen=True)
class PhotoCamera:
    """A pinhole (or weak-perspective) camera: `p ~ K (R X + t)`.

    Axes as in OpenCV: x right, y down, z forward. Pixels are continuous: the centre of the photo's
    first pixel is (0.5, 0.5).
    """

    K: np.ndarray
    """(3, 3) float64 pixels of the photo."""
    R: np.ndarray
    """(3, 3) rotation of the face model (neutral pose) into the camera frame: the head's pose."""
    t: np.ndarray
    """(3,) translation in decimetres."""
    mesh_R: np.ndarray
    """(3, 3) rotation of the posed mesh, as the .obj holds it, into the camera frame."""
    mesh_t: np.ndarray
    """(3,) likewise, decimetres."""
    kind: Literal["perspective", "weak"] = "perspective"
    """Weak perspective divides by the depth `mesh_t[2]` in place of each point's own, which is then
    no distance: only K over it means something."""

    @property
    def pixels_a_dm(self) -> np.ndarray:
        """(2,) pixels of the photo for a decimetre at the depth of the mesh's origin."""
        return self.K.diagonal()[:2] / self.mesh_t[2]

    @classmethod
    def of(cls, camera: Camera, alignment: Window, coefficients: Coefficients) -> PhotoCamera:
        """The camera of one face.

        Args:
            camera: of the crop, shared by all faces.
            alignment: how the photo became the crop.
            coefficients: a batch of one.
        """
        view = camera_in_photo(camera, alignment)
        (focal_x, focal_y), (centre_x, centre_y) = (
            view.focal_px[0].tolist(),
            view.centre_px[0].tolist(),
        )
        rotation = rotation_matrix(coefficients.angles_rad.detach().double().cpu())[0].numpy()
        translation = coefficients.translation_dm[0].detach().double().cpu().numpy()
        away = np.array([0.0, 0.0, camera.distance_dm])
        return cls(
            K=np.array([[focal_x, 0, centre_x], [0, focal_y, centre_y], [0, 0, 1]]),
            R=_TO_OPENCV @ rotation,
            t=_TO_OPENCV @ translation + away,
            mesh_R=_TO_OPENCV.copy(),
            mesh_t=away,
            kind=camera.kind,
        )


def camera_in_photo(camera: Camera, alignment: Window) -> Camera:
    """The crop's camera, looking at the whole photo."""
    inverse = torch.from_numpy(alignment.inverse_matrix)
    precise = camera.to("cpu").to(torch.float64)
    return precise.regrid(inverse.diagonal()[None], inverse[:, 2][None], alignment.photo_size)
