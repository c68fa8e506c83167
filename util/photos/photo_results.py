"""Reconstructed faces of photos, as results ready to be written: whoever reconstructed them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from data.photo_folder import PhotoFace
from models.batch import FaceBatch
from models.camera import Camera, rotate
from models.drawing import side_by_side
from models.face_model import FaceModel
from models.landmarks import five_from_68, from_index, normalised_error, to_index
from models.pose import pose_from_points
from models.stages import Reconstruction
from options.face_options import LandmarkOrigin
from util.photos.face_result import FaceResult
from util.photos.photo_camera import PhotoCamera
from util.photos.results import SummaryRow


def face_results(
    face_model: FaceModel,
    camera: Camera,
    faces: Sequence[PhotoFace],
    batch: FaceBatch,
    reconstruction: Reconstruction,
    origin: LandmarkOrigin,
) -> Iterator[tuple[FaceResult, SummaryRow]]:
    """Arrays to write, and the summary, of each face.

    Args:
        face_model: that gives the coefficients their meaning.
        camera: of the crops.
        faces: as they were found in the photos.
        batch: of these faces, with landmarks.
        reconstruction: of the batch.
        origin: of its landmarks.
    """
    posed, given_px = reconstruction.posed, batch.landmarks_px
    assert given_px is not None
    visuals = side_by_side(face_model, batch.images, reconstruction, given_px, origin)
    pictures = (visuals.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    vertices = camera.to_object(posed.vertices_camera).cpu().numpy()
    colours = posed.colours.cpu().numpy()
    albedo = reconstruction.shaped.albedo.cpu().numpy()
    predicted, given = to_index(posed.landmarks_px, origin), to_index(given_px, origin)
    inner, jaw = normalised_error(predicted, given)
    exact = from_index(given, "centre")
    mean_inner, _ = normalised_error(mean_face_landmarks(face_model, camera, exact), exact)
    triangles = face_model.triangles.cpu().numpy()
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
            camera=PhotoCamera.of(camera, face.face.alignment, coefficients),
            face_model=face_model.card,
            albedo=albedo[k],
            given_landmarks_index=given[k].cpu().numpy(),
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


def mean_face_landmarks(face_model: FaceModel, camera: Camera, given_px: Tensor) -> Tensor:
    """Landmarks of the mean face in the pose of five given points: the yardstick.

    Args:
        face_model: whose mean.
        camera: of the crops.
        given_px: (B, 68, 2) exact continuous pixels.

    Returns:
        (B, 68, 2) exact continuous pixels.
    """
    five = five_from_68(given_px)
    rotation, translation = pose_from_points(five, face_model.alignment_points, camera)
    mean = face_model.landmarks(face_model.mean_shape.reshape(1, -1, 3))
    posed = rotate(mean.expand(len(given_px), -1, -1), rotation) + translation[:, None]
    return camera.project(camera.from_object(posed))
