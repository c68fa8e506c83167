"""Crops of 3DDFA and SynergyNet (`train_aug_120x120`) with whitened parameters as labels.

A text file lists one image a line, the rows of a pickle are their parameters in the same order
(`util.synergy.ddfa_files`). Photos come several times in such a set, turned and mirrored; a photo's
copies are all trained on or all validated on.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from data.base_dataset import FaceDataset, FaceSample
from data.images import read_image
from models.assets import SynergyAssets
from options.data_options import DdfaOptions
from options.groups import DATASET_GROUPS
from util.errors import InputError
from util.synergy.ddfa_files import read_labels, read_list

_SOURCE = re.compile(r"(.*?_\d+)(?:_\d+)*")
"""A name up to its first number, if nothing but numbers follow."""
_MASKS = ("left_top", "right_top", "left_bottom", "right_bottom", "left", "right", "centre")


class DdfaDataset(FaceDataset):
    """Crops with whitened parameters."""

    option_groups = DATASET_GROUPS["ddfa"]

    def __init__(self, options: Any, assets: SynergyAssets, is_train: bool) -> None:
        """Read list and labels, and take the photos that are for training, or the others.

        Raises:
            InputError: a file is missing or wrong, or list and labels differ in length; no photo
                is left on one of the sides.
        """
        super().__init__(options, None, is_train)
        self.options: DdfaOptions = options[DdfaOptions]
        if not isinstance(assets, SynergyAssets):
            raise InputError("--dataset_mode ddfa is for --model synergy; give both")
        self.folder = self.options.path("ddfa_images")
        if not self.folder.is_dir():
            raise InputError(
                f"--ddfa_images {self.folder} does not exist; give --data_root, the folder of "
                "train_aug_120x120/ and 3dmm_data/"
            )
        list_path, labels_path = self.options.path("ddfa_list"), self.options.path("ddfa_params")
        names = read_list(list_path)
        labels = read_labels(labels_path, assets.meaning.layout)
        if len(names) != len(labels):
            raise InputError(
                f"--ddfa_list {list_path} names {len(names)} images, --ddfa_params {labels_path} "
                f"has {len(labels)} rows; they are of different data: give the two that belong "
                "together"
            )
        share = self.options.val_share
        chosen = [i for i, name in enumerate(names) if held_out(name, share) != is_train]
        if not chosen:
            raise InputError(
                f"--val_share {share} leaves none of {len(names)} images for "
                f"{'training' if is_train else 'validation'}; give another share"
            )
        self.names = [names[i] for i in chosen]
        self.labels = labels[chosen]
        self._size = assets.meaning.image_px

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> FaceSample:
        """Read and, for training, augment one crop."""
        path = self.folder / self.names[index]
        image = read_image(path)
        if image.shape[:2] != (self._size, self._size):
            raise InputError(
                f"{path} is {image.shape[1]} x {image.shape[0]} pixels, its label is for crops of "
                f"{self._size}; take the crops as they come with the labels"
            )
        if self.is_train and self.options.ddfa_aug:
            image = augment(image, self.random(index), self.options)
        image = black_border(image, self.options.ddfa_border_px)
        return FaceSample(image=image, path=str(path), coefficients=self.labels[index])


def source_photo(name: str) -> str:
    """The photo that a crop is of: its name without the numbers of face, turn and copy.

    `HELEN_HELEN_12_1_0_3.jpg` and its mirror image `HELEN_Flip_HELEN_12_1_4_1.jpg` are both of
    `HELEN_HELEN_12`.
    """
    stem = Path(name).stem.replace("_Flip", "")
    found = _SOURCE.fullmatch(stem)
    return stem if found is None else found.group(1)


def held_out(name: str, share: float) -> bool:
    """Whether a crop is for validation: by its photo's name alone, whatever else is listed."""
    return zlib.crc32(source_photo(name).encode()) < share * 2**32


def augment(image: np.ndarray, random: np.random.Generator, options: DdfaOptions) -> np.ndarray:
    """Change colours, and cover parts of few crops."""
    image = jitter(image, random, options.ddfa_jitter)
    if random.uniform() < options.ddfa_mask_share:
        image = show_only(image, _MASKS[random.integers(len(_MASKS))])
    return image


def jitter(image: np.ndarray, random: np.random.Generator, most: float) -> np.ndarray:
    """Brightness, contrast and saturation in random order, each by a factor in 1 +- `most`."""
    if most == 0:
        return image
    picture = Image.fromarray(image)
    kinds = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    for number in random.permutation(len(kinds)):
        picture = kinds[number](picture).enhance(random.uniform(1 - most, 1 + most))
    return np.asarray(picture)


def show_only(image: np.ndarray, part: str) -> np.ndarray:
    """All but a part black. The public code's right_bottom shows left_top by mistake."""
    height, width = image.shape[:2]
    rows, columns = slice(None), slice(None)
    if part == "centre":
        rows, columns = slice(height // 4, -(height // 4)), slice(width // 4, -(width // 4))
    if part.endswith("top"):
        rows = slice(None, height // 2)
    elif part.endswith("bottom"):
        rows = slice(height // 2, None)
    if part.startswith("left"):
        columns = slice(None, width // 2)
    elif part.startswith("right"):
        columns = slice(width // 2, None)
    shown = np.zeros_like(image)
    shown[rows, columns] = image[rows, columns]
    return shown


def black_border(image: np.ndarray, width_px: int) -> np.ndarray:
    """The picture within a black border."""
    if width_px == 0:
        return image
    framed = np.zeros_like(image)
    inside = slice(width_px, -width_px)
    framed[inside, inside] = image[inside, inside]
    return framed
