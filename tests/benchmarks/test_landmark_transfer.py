"""The benchmark of laid landmarks: on a model whose donor it is itself, hardly anything is off."""

from __future__ import annotations

import numpy as np

from benchmarks.landmark_transfer import PARTS, found_again
from models.face_model import FaceModelData
from util.model_files.face_transfer import mean_landmarks


def test_a_model_laid_over_itself_is_found_again(open_face_data: FaceModelData):
    own = mean_landmarks(open_face_data)
    for landmarks in found_again(open_face_data, open_face_data).values():
        assert np.linalg.norm(landmarks - own, axis=1)[PARTS["inner 51"]].mean() < 0.01
