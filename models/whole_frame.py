"""The pose of a head for a camera that sees the whole square frame as the R-Net sees its crop.

GeneFace++ and Real3DPortrait fit their face model without a crop: the frame itself, scaled to 224
pixels, goes before the R-Net's camera. A pose from a crop is another one there, since the face lies
elsewhere and is smaller; it is found anew, so that landmarks stay where they are.
"""

from __future__ import annotations

import numpy as np
import torch

from models.camera import Camera, rotation_angles, rotation_matrix
from models.face_model import FaceModel
from models.parameters import Coefficients
from models.pose import refine_pose


@torch.no_grad()
def whole_frame_pose(
    face_model: FaceModel, coefficients: Coefficients, K: np.ndarray, frame_px: int, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Angles and translation of faces in the whole frame.

    1. Landmarks of each face, posed, in pixels of the frame by its own camera.
    2. The same pixels of a frame of the camera's size.
    3. The pose that puts the landmarks there, from one of equal size and place on.

    Args:
        face_model: that gives the coefficients their meaning, on any device.
        coefficients: N faces, as crops have them.
        K: (N, 3, 3) intrinsics of the frames, continuous pixels.
        frame_px: side of the frames.
        camera: of the crops.

    Returns:
        angles_rad (N, 3), translation_dm (N, 3).
    """
    mean = face_model.mean_shape
    to_model = coefficients.to(mean.dtype).to(mean.device)
    shapes = face_model.shape(to_model.identity, to_model.expression)
    points = face_model.landmarks(shapes).double().cpu()
    view = camera.to("cpu").to(torch.float64)
    exact = coefficients.to("cpu").to(torch.float64)
    rotation, shift = rotation_matrix(exact.angles_rad), exact.translation_dm
    focal, centre = (torch.from_numpy(part) for part in (K[:, [0, 1], [0, 1]], K[:, :2, 2]))
    zoom = camera.width / frame_px
    in_frame = Camera(
        focal * zoom,
        centre * zoom,
        camera.height,
        camera.width,
        camera.distance_dm,
        camera.near_dm,
        camera.far_dm,
    )
    posed = points @ rotation.transpose(1, 2) + shift[:, None]
    pixels = in_frame.project(in_frame.from_object(posed))
    middle = in_frame.project(in_frame.from_object(shift[:, None]))[:, 0]
    depth = (camera.distance_dm - shift[:, 2]) * view.focal_px[:, 0] / in_frame.focal_px[:, 0]
    flip = torch.tensor([1.0, -1.0], dtype=torch.float64)
    across = (middle - view.centre_px) / view.focal_px * flip * depth[:, None]
    start = torch.cat([across, (camera.distance_dm - depth)[:, None]], dim=1)
    rotation, shift = refine_pose(pixels, points, rotation, start, view)
    return rotation_angles(rotation).numpy(), shift.numpy()
