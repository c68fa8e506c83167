"""Pictures and annotations of the datatool, for SynergyNet's variant with 77 landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from data.base_dataset import FaceDataset, FaceSample
from data.images import read_image
from models.assets import SynergyAssets
from options.data_options import DatatoolOptions
from options.face_options import DATATOOL_PX
from options.groups import DATASET_GROUPS
from options.train_options import LoaderOptions
from util.errors import InputError
from util.synergy.datatool_files import Annotation, read_tags
from util.synergy.datatool_folder import chosen_tags

FARTHEST_PX = 5.0
"""Mean distance between an annotation's landmarks and those of its parameters that rounding and
other conventions explain; more means another face model."""


class DatatoolDataset(FaceDataset):
    """Whole pictures with whitened parameters; not augmented, as in the public code."""

    option_groups = DATASET_GROUPS["datatool"]

    def __init__(self, options: Any, assets: SynergyAssets, is_train: bool) -> None:
        """Read the annotations.

        Raises:
            InputError: as `read_tags` and `chosen_tags`; annotations that the face model
                contradicts.
        """
        super().__init__(options, None, is_train)
        if not isinstance(assets, SynergyAssets):
            raise InputError("--dataset_mode datatool is for --model synergy; give both")
        o: DatatoolOptions = options[DatatoolOptions]
        chosen, flag = chosen_tags(o, is_train)
        content = read_tags(Path(o.datatool_root_dir), chosen, assets.meaning.layout, flag)
        self.annotations = list(content.annotations)
        if content.unusable:
            why = ", ".join(f"{n} with {reason}" for reason, n in content.unusable.items())
            self.notice = f"{sum(content.unusable.values())} annotations are left out: {why}"
        if o.debug:
            self.annotations = self.annotations[: options[LoaderOptions].batch_size]
        _check_face(self.annotations[0], assets)
        self._std = assets.whitening.std.numpy()
        self._mean = assets.whitening.mean.numpy()

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> FaceSample:
        """Read one picture; another size than 450 pixels is brought to it, with its label."""
        annotation = self.annotations[index]
        image = read_image(annotation.image)
        height, width = image.shape[:2]
        if height != width:
            raise InputError(
                f"{annotation.image} is {width} x {height} pixels; pictures of the datatool are "
                "square, as those of 300W-LP"
            )
        parameters = annotation.parameters
        if width != DATATOOL_PX:
            image = _resized(image)
            parameters = _scaled(parameters, DATATOOL_PX / width)
        whitened = (parameters - self._mean) / self._std
        return FaceSample(image=image, path=str(annotation.image), coefficients=whitened)


def _check_face(annotation: Annotation, assets: SynergyAssets) -> None:
    """Refuse a face model that puts the landmarks of the parameters somewhere else."""
    size = read_image(annotation.image).shape[0]
    parameters = torch.from_numpy(annotation.parameters)[None]
    found = assets.face.landmarks(parameters)[0, :2, :68].numpy()
    found[1] += size - DATATOOL_PX  # counted from the top of this picture
    given = annotation.landmarks[:2, :68]
    distance = float(np.linalg.norm(found - given, axis=0).mean())
    if distance > FARTHEST_PX:
        raise InputError(
            f"{annotation.image}: its parameters put the landmarks {distance:.0f} pixels beside "
            f"those of its annotation; they were made with another face model than "
            f"{assets.face.card}: give --bfm_path or --face_model"
        )


def _resized(image: np.ndarray) -> np.ndarray:
    size = (DATATOOL_PX, DATATOOL_PX)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _scaled(parameters: np.ndarray, factor: float) -> np.ndarray:
    """The same face in a picture that is larger by a factor.

    With label coordinates (centres from 1) x' = (x - 0.5) factor + 0.5, and y up from a picture of
    S pixels, y' = (y - 0.5) factor + 0.5 too.
    """
    scaled = parameters.copy()
    scaled[3:7] *= factor
    scaled[3:5] += 0.5 * (1 - factor)
    return scaled
