"""Photos through the network, to results ready to be written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from data.photo_folder import PhotoFace
from models.appearance import solve_appearance
from models.batch import FaceBatch
from models.camera import rotate
from models.facerecon_model import FaceReconModel
from models.landmarks import five_from_68, from_index, normalised_error, to_index
from models.pose import pose_from_points
from util.face_result import FaceResult
from util.photo_camera import PhotoCamera
from util.results import SummaryRow


@torch.inference_mode()
def reconstruct_faces(
    model: FaceReconModel, faces: Sequence[PhotoFace], appearance: bool
) -> Iterator[tuple[FaceResult, SummaryRow]]:
    """Reconstruct a batch of aligned faces.

    Args:
        model: in inference mode.
        faces: with skin masks if `appearance` is wanted.
        appearance: replace the network's light and texture by their closed-form solution.
    """
    model.set_input(to_batch(faces, model))
    model.forward_inference()
    if appearance:
        assert model.reconstruction is not None
        masks = [face.skin for face in faces if face.skin is not None]
        skin = torch.from_numpy(np.stack(masks))[:, None]
        solved = solve_appearance(
            model.face_model,
            model.camera,
            model.reconstruction,
            model.batch.images,
            skin.to(model.device) / 255.0,
        )
        model.show(solved)
    yield from _results(model, faces)


def to_batch(faces: Sequence[PhotoFace], model: FaceReconModel) -> FaceBatch:
    """Stack aligned faces, pictures as bytes, their landmarks in the model's origin."""
    images = torch.from_numpy(np.stack([face.face.image for face in faces]))
    points = torch.from_numpy(np.stack([face.landmarks for face in faces])).float()
    return FaceBatch(
        images=images.permute(0, 3, 1, 2),
        paths=tuple(str(face.path) for face in faces),
        landmarks_px=from_index(points, model.landmark_origin),
    )


def mean_face_landmarks(model: FaceReconModel, given_px: Tensor) -> Tensor:
    """Landmarks of the mean face in the pose of five given points: the yardstick.

    Args:
        model: its face model and camera.
        given_px: (B, 68, 2) exact continuous pixels.

    Returns:
        (B, 68, 2) exact continuous pixels.
    """
    face_model = model.face_model
    five = five_from_68(given_px)
    rotation, translation = pose_from_points(five, face_model.alignment_points, model.camera)
    mean = face_model.landmarks(face_model.mean_shape.reshape(1, -1, 3))
    posed = rotate(mean.expand(len(given_px), -1, -1), rotation) + translation[:, None]
    return model.camera.project(model.camera.from_object(posed))


def _results(
    model: FaceReconModel, faces: Sequence[PhotoFace]
) -> Iterator[tuple[FaceResult, SummaryRow]]:
    """Arrays to write and the summary of each face of the model's current output."""
    reconstruction, given_px = model.reconstruction, model.batch.landmarks_px
    assert reconstruction is not None and given_px is not None
    posed, origin = reconstruction.posed, model.landmark_origin
    pictures = (model.visuals().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    vertices = model.camera.to_object(posed.vertices_camera).cpu().numpy()
    colours = posed.colours.cpu().numpy()
    predicted, given = to_index(posed.landmarks_px, origin), to_index(given_px, origin)
    inner, jaw = normalised_error(predicted, given)
    exact = from_index(given, "centre")
    mean_inner, _ = normalised_error(mean_face_landmarks(model, exact), exact)
    triangles = model.face_model.triangles.cpu().numpy()
    angles = reconstruction.coefficients.angles_rad.cpu()
    for k, face in enumerate(faces):
        pitch, yaw, roll = (math.degrees(angle) for angle in angles[k])
        coefficients = reconstruction.coefficients.item(k)
        result = FaceResult(
            photo=face.path,
            number=face.number,
            stem=face.stem,
            picture=pictures[k],
            vertices=vertices[k],
            triangles=triangles,
            colours=colours[k],
            coefficients=coefficients,
            landmarks_index=predicted[k].cpu().numpy(),
            alignment=face.face.alignment,
            camera=PhotoCamera.of(model.camera, face.face.alignment, coefficients),
            face_model=model.face_model.card,
        )
        yield (
            result,
            SummaryRow(
                image=str(face.path),
                status="ok",
                face=face.number,
                files=face.stem,
                nme_inner=float(inner[k]),
                nme_jaw=float(jaw[k]),
                nme_inner_mean_face=float(mean_inner[k]),
                pitch_deg=pitch,
                yaw_deg=yaw,
                roll_deg=roll,
            ),
        )
