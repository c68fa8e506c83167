"""What a SynergyNet says about faces of a photo: landmarks, mesh, pose, drawn and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from data.square_crop import SquareCrop
from models.camera import rotation_angles
from models.pixel_view import PixelView
from models.synergy.pose import LABEL_ORIGIN_PX, head_pose
from util.errors import InputError
from util.point_fits import nearest_rotation
from util.synergy.synergy_trained import TrainedSynergy

_AXES = ((255, 40, 40), (40, 220, 40), (60, 110, 255))
"""Colours of x (to the image's right on a frontal face), y (up), z (out of the face)."""
_DOT, _LINE = (255, 255, 255), (64, 200, 120)
_PARTS = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))
_CLOSED = (36, 42, 48, 60)
NOSE_TIP = 30
OVERLAY_ALPHA = 0.6
"""How far a mesh covers the photo."""


@dataclass(frozen=True)
class SynergyResult:
    """One face of a photo. Points are in continuous pixels of the photo, y down, z to the camera.

    The centre of the photo's first pixel is at (0.5, 0.5).
    """

    crop: SquareCrop
    parameters: np.ndarray
    """(P,) of the crop, not whitened."""
    landmarks: np.ndarray
    """(L, 3)"""
    vertices: np.ndarray
    """(N, 3); empty where no mesh was wanted."""
    rotation: np.ndarray
    """(3, 3) for column vectors of the face model: x right, y up, z to the camera."""
    angles_deg: np.ndarray
    """(3,) pitch, yaw, roll as the labels of 300W-LP mean them, exact."""
    public_yaw_deg: float
    """Yaw as SynergyNet's code takes it."""

    @property
    def own_angles_deg(self) -> np.ndarray:
        """(3,) pitch, yaw, roll in the convention of all other results (docs/conventions.md)."""
        # Predicted rows have length 1 but need not be orthogonal.
        rotation = torch.from_numpy(nearest_rotation(self.rotation.copy()))[None]
        return torch.rad2deg(rotation_angles(rotation))[0].numpy()

    @property
    def size_px(self) -> float:
        """sqrt(w h) of the landmarks' box."""
        width, height = np.ptp(self.landmarks[:, :2], axis=0)
        return float(np.sqrt(width * height))

    @property
    def record(self) -> dict[str, Any]:
        """Plain values for a .json; points as pixel indices (the first pixel's centre is 0)."""
        index = self.landmarks - [0.5, 0.5, 0.0]
        pitch, yaw, roll = self.angles_deg.tolist()
        return {
            "box": list(self.crop.corners),
            "photo_size": list(self.crop.photo_size),
            "parameters": self.parameters.tolist(),
            "landmarks": index.round(4).tolist(),
            "rotation": self.rotation.tolist(),
            "pitch_deg": pitch,
            "yaw_deg": yaw,
            "roll_deg": roll,
            "yaw_public_deg": self.public_yaw_deg,
        }


@torch.inference_mode()
def predict_faces(
    trained: TrainedSynergy, image: np.ndarray, crops: Sequence[SquareCrop], *, dense: bool = True
) -> list[SynergyResult]:
    """All faces of a photo.

    Args:
        trained: the network.
        image: (H, W, 3) uint8 RGB.
        crops: of the faces.
        dense: compute the meshes too.

    Raises:
        InputError: the network's numbers are not finite.
    """
    if not crops:
        return []
    parameters = trained.predict(np.stack([crop.cut(image) for crop in crops])).float()
    if not torch.isfinite(parameters).all():
        raise InputError(f"{trained.path} predicts numbers that are not finite; take another epoch")
    return decode_faces(trained, parameters, crops, dense=dense)


@torch.inference_mode()
def decode_faces(
    trained: TrainedSynergy,
    parameters: torch.Tensor,
    crops: Sequence[SquareCrop],
    *,
    dense: bool = True,
) -> list[SynergyResult]:
    """Faces of given parameters (B, P), each in its crop."""
    face = trained.network.face
    landmarks = _points(face.landmarks(parameters))
    vertices = _points(face.vertices(parameters)) if dense else np.zeros((len(crops), 0, 3))
    pose = head_pose(parameters[:, : face.layout.pose].double().cpu())
    angles = torch.rad2deg(pose.angles_rad()).numpy()
    public = torch.rad2deg(pose.angles_rad(public=True)).numpy()
    return [
        SynergyResult(
            crop=crop,
            parameters=parameters[k].double().cpu().numpy(),
            landmarks=crop.to_photo(landmarks[k]),
            vertices=crop.to_photo(vertices[k]),
            rotation=pose.rotation[k].numpy(),
            angles_deg=angles[k],
            public_yaw_deg=float(public[k, 1]),
        )
        for k, crop in enumerate(crops)
    ]


def draw_landmarks(image: np.ndarray, faces: Sequence[SynergyResult]) -> np.ndarray:
    """The photo (H, W, 3) uint8 with the landmarks of its faces, joined by lines."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for face in faces:
        radius = max(face.size_px / 110, 1.0)
        points = [(float(x), float(y)) for x, y, _ in face.landmarks]
        if len(points) == 68:
            for first, last in _PARTS:
                line = points[first:last] + ([points[first]] if first in _CLOSED else [])
                draw.line(line, fill=_LINE, width=max(round(radius * 0.8), 1))
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_DOT)
    return np.asarray(picture)


def draw_axes(image: np.ndarray, faces: Sequence[SynergyResult]) -> np.ndarray:
    """The photo with the axes of each head: red to its image right, green up, blue out of it.

    They start at the nose tip and are half as long as the face is large.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for face in faces:
        origin = face.landmarks[NOSE_TIP, :2]
        length = face.size_px / 2
        width = max(round(face.size_px / 50), 2)
        # Far axes first, so that near ones lie over them.
        for axis in np.argsort(face.rotation[2]).tolist():
            end = origin + length * face.rotation[:2, axis] * [1.0, -1.0]
            draw.line([*map(float, (*origin, *end))], fill=_AXES[axis], width=width)
    return np.asarray(picture)


def draw_meshes(
    image: np.ndarray, faces: Sequence[SynergyResult], view: PixelView, alpha: float = OVERLAY_ALPHA
) -> np.ndarray:
    """The photo with the meshes of its faces as clay over it."""
    meshes = [face.vertices for face in faces]
    return view.draw_over(image, meshes, [view.shaded(mesh) for mesh in meshes], alpha)


def y_up(vertices: np.ndarray, photo_height: int) -> np.ndarray:
    """Vertices as meshes hold them: x right, y up from the photo's lower edge, z to the camera."""
    return vertices * [1.0, -1.0, 1.0] + [0.0, photo_height, 0.0]


def _points(label: torch.Tensor) -> np.ndarray:
    """Label coordinates (B, 3, P) as continuous pixels of the crop (B, P, 3)."""
    points = label.double().cpu().transpose(1, 2).numpy()
    return points - [LABEL_ORIGIN_PX, LABEL_ORIGIN_PX, 0.0]
