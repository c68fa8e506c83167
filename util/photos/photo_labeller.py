"""Fits prepared photos for the trainer: the `FaceLabeller` of `data_preparation.py --fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.fitted_labels import FittedLabel, LabelMaker, crop_numbers
from data.photo_folder import photo_face
from models.camera import Camera
from models.face_model import FaceModel
from models.fitting.fitter import PRESETS, fit_rules
from models.parameters import ParameterLayout
from models.renderer import Renderer
from options.face_options import FaceModelOptions
from options.fitting_weights import FitWeights, Preset
from util.assets import choose_face_model
from util.photos.photo_fitting import PhotoFitting, face_fitter


class PhotoLabeller:
    """Fits the faces of photos as `fit.py` does, in the crop that the trainer makes.

    What `fit.py` warns of makes a label doubtful. The face model is loaded again after unpickling,
    at the first photo.
    """

    def __init__(self, options: FaceModelOptions, preset: Preset) -> None:
        """Load the face model.

        Raises:
            InputError: it cannot be found, read or fitted.
        """
        self._options = options
        self._preset: Preset = preset
        face_model, self.message = choose_face_model(options)
        self._fitting: PhotoFitting | None = _fitting(face_model, preset)
        self._layout: ParameterLayout = face_model.layout
        card = face_model.card
        rules = fit_rules(FitWeights(), PRESETS[preset])
        self._maker = LabelMaker(str(card), card.fingerprint, preset, rules)
        self._standard_points = face_model.alignment_points.numpy()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fitting": None}

    @property
    def maker(self) -> LabelMaker:
        """Face model, preset and rules."""
        return self._maker

    @property
    def standard_points(self) -> np.ndarray:
        """(5, 3) points by which photos are aligned."""
        return self._standard_points

    def __call__(self, path: Path, image: np.ndarray, landmarks: np.ndarray) -> FittedLabel:
        """Fit the face of a photo.

        Args:
            path: of the photo.
            image: (H, W, 3) uint8.
            landmarks: (68, 2) pixel indices.

        Raises:
            InputError: the photo cannot be aligned by these landmarks.
        """
        if self._fitting is None:
            self._fitting = _fitting(choose_face_model(self._options)[0], self._preset)
        face = photo_face(path, image, landmarks, self.standard_points)
        ((result, row),) = self._fitting([face])
        flat = self._layout.join(result.coefficients)[0]
        doubt = row.message
        if not torch.isfinite(flat).all():
            doubt = "the fit came to no finite numbers"
        return FittedLabel(
            maker=self.maker,
            crop=crop_numbers(face.face.alignment),
            landmark_error=row.nme_inner,
            coefficients=None if doubt else flat.float().cpu().numpy(),
            doubt=doubt,
        )


def _fitting(face_model: FaceModel, preset: Preset) -> PhotoFitting:
    return PhotoFitting(face_fitter(face_model, Camera.rnet(), Renderer()), preset, draw=False)
