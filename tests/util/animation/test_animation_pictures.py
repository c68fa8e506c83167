"""Pictures of a moving face, in light that harmonics overshoot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import Renderer
from util.animation.animation_files import Animation, Look, pictures
from util.assets import OPEN_FACE_MODEL
from util.model_files.face_model_file import read_face_model


def test_the_rim_in_the_dark_has_no_colour_of_its_own():
    """A head turned away from the light, of which green and blue fall below 0 before red does."""
    model = FaceModel(read_face_model(OPEN_FACE_MODEL, 0))
    face = model.layout.zeros(1)
    gamma = torch.zeros(1, 3, 9)
    gamma[:, 0, 3], gamma[:, 1:, 3] = 0.42, 0.6
    face = replace(face, gamma=gamma.reshape(1, 27), angles_rad=torch.tensor([[0.0, 0.6, 0.0]]))
    animation = Animation(model, face, np.zeros(1), Camera.rnet())
    ((_, picture),) = pictures(animation, Look(128, "black", Renderer()))
    red, green, _ = picture.reshape(-1, 3).astype(float).T
    shown = red > 6
    assert shown.sum() > 2000 and red.max() > 5 * np.quantile(red[shown], 0.05)
    assert (green[shown] / red[shown]).min() > 0.1
