"""Photos through the network, to results ready to be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from data.photo_folder import PhotoFace
from models.appearance import solve_appearance
from models.batch import FaceBatch
from models.facerecon_model import FaceReconModel
from models.landmarks import from_index
from util.photos.face_result import FaceResult
from util.photos.photo_results import face_results
from util.photos.results import SummaryRow


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
    assert model.reconstruction is not None and model.batch.landmarks_px is not None
    for result, row in face_results(
        model.face_model,
        model.camera,
        faces,
        model.batch,
        model.reconstruction,
        model.landmark_origin,
    ):
        yield result, row.judged()


def to_batch(faces: Sequence[PhotoFace], model: FaceReconModel) -> FaceBatch:
    """Stack aligned faces, pictures as bytes, their landmarks in the model's origin."""
    images = torch.from_numpy(np.stack([face.face.image for face in faces]))
    points = torch.from_numpy(np.stack([face.landmarks for face in faces])).float()
    return FaceBatch(
        images=images.permute(0, 3, 1, 2),
        paths=tuple(str(face.path) for face in faces),
        landmarks_px=from_index(points, model.landmark_origin),
    )
