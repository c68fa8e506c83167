"""What all datasets of prepared photos share: checked, aligned and, for training, augmented.

Training takes the photos' fitted coefficients with them, where they have some and `--w_coeff`
wants them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np

from data.alignment import align_face
from data.augmentation import Warp
from data.base_dataset import FaceDataset, FaceSample
from data.exact_warp import warp_exactly
from data.fit_warp import warp_fit
from data.fitted_labels import FittedLabel
from data.landmarks import check_landmarks, upright_landmarks
from models.assets import ModelAssets
from models.camera import Camera
from models.parameters import ParameterLayout
from options.data_options import AugmentationOptions
from options.loss_options import LabelOptions
from util.errors import InputError


class PreparedDataset(FaceDataset):
    """Photos with 68 landmarks and skin masks; a subclass reads them."""

    def __init__(self, options: Any, assets: ModelAssets, is_train: bool) -> None:
        """Keep how faces are aligned and augmented."""
        super().__init__(options, assets, is_train)
        self._augmentation: AugmentationOptions = options[AugmentationOptions]
        self._augment = is_train and self._augmentation.use_aug
        # Landmarks follow the public rounding only where its weights expect them to.
        self._exact = self.landmark_origin == "centre"
        self._standard_points = assets.face_model.alignment_points.detach().cpu().numpy()
        self._layout: ParameterLayout | None = getattr(assets.face_model, "layout", None)
        self._camera = Camera.rnet()
        wanted = LabelOptions in options and options[LabelOptions].w_coeff > 0
        self.with_labels = is_train and wanted
        """Whether fitted coefficients are read; validation compares with the photos alone."""
        if self.with_labels:
            self._card = assets.face_model.card
            self.truth_size = assets.face_model.layout.size

    def __getitem__(self, index: int) -> FaceSample:
        """Read, align and, for training, augment one photo; its coefficients follow."""
        sample = self.load(index)
        if not self._augment:
            return sample
        warp = Warp.draw(self._augmentation, self.random(index))
        if sample.coefficients is None:
            return warp.apply(sample)
        assert self._layout is not None
        if sample.fitted:
            return warp_fit(sample, warp, self._layout, self._camera)
        return warp_exactly(sample, warp, self._layout)

    @abstractmethod
    def load(self, index: int) -> FaceSample:
        """One sample, aligned and not augmented."""

    def align(
        self,
        image: np.ndarray,
        landmarks: np.ndarray,
        mask: np.ndarray,
        path: str,
        source: str,
        label: tuple[FittedLabel, str] | None = None,
    ) -> FaceSample:
        """Make a sample of a photo.

        Args:
            image: (H, W, 3) uint8.
            landmarks: (68, 2) pixel indices of the photo, not yet checked; rows may count from
                below, as in the public code's files.
            mask: (H, W) uint8.
            path: of the photo, for messages.
            source: of the landmarks, for messages.
            label: fitted coefficients, and their file, for messages; None without any.
        """
        if len(landmarks) != 68:
            raise InputError(f"{source} holds {len(landmarks)} points; expected 68")
        landmarks = upright_landmarks(landmarks, image.shape[0])
        check_landmarks(landmarks, image.shape, source)
        face = align_face(
            image, landmarks, self._standard_points, mask, exact_landmarks=self._exact
        )
        sample = FaceSample(face.image, path, face.landmarks, face.mask)
        if label is None:
            return sample
        fit, name = label
        assert self.truth_size is not None
        coefficients = fit.coefficients_for(name, self._card, self.truth_size, face.alignment)
        return replace(sample, coefficients=coefficients, fitted=True)
