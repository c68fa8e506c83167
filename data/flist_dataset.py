"""Photos of prepared folders, named by lists of their masks.

Each line of the list names a mask, `<folder>/mask/<stem>.png`; the photo lies in `<folder>` under
any accepted image extension, its 68 landmarks in `<folder>/landmarks/<stem>.txt` and, if it was
fitted, its coefficients in `<folder>/coefficients/<stem>.json`. In a folder that make_synthetic.py
wrote, pictures bring their true coefficients with them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.base_dataset import FaceSample, named_files
from data.fitted_labels import read_label
from data.images import is_image_name, read_image, read_mask
from data.landmarks import read_landmarks
from data.mixing import mixed_order, parse_lists
from data.photo_lists import listed_masks
from data.prepared_dataset import PreparedDataset
from data.prepared_files import images_by_stem
from data.synthetic.coefficients import SyntheticTruth, read_truth
from models.assets import ModelAssets
from options.data_options import FlistOptions
from options.groups import DATASET_GROUPS
from util.errors import InputError


@dataclass(frozen=True, slots=True)
class ListedPhoto:
    """One line of a list, with the files that it stands for; small, since lists are long."""

    folder: Path
    """Folder of the photo; one object for all its photos."""
    image_name: str
    mask_name: str
    flist: Path
    """The list."""
    line: int
    """Number of the line, from 1."""
    problem: str = ""
    """Which of the files is missing, and the remedy."""
    is_fitted: bool = False
    """Whether it has fitted coefficients."""

    @property
    def image(self) -> Path:
        """The photo."""
        return self.folder / self.image_name

    @property
    def landmarks(self) -> Path:
        """68 points."""
        return self.folder / "landmarks" / f"{Path(self.mask_name).stem}.txt"

    @property
    def mask(self) -> Path:
        """Skin mask."""
        return self.folder / "mask" / self.mask_name

    @property
    def label(self) -> Path:
        """Fitted coefficients."""
        return self.folder / "coefficients" / f"{Path(self.mask_name).stem}.json"

    @property
    def origin(self) -> str:
        """List and line, for messages."""
        return f"{self.flist}, line {self.line}"


class FlistDataset(PreparedDataset):
    """Aligned photos with landmarks and skin masks; augmented for training."""

    option_groups = DATASET_GROUPS["flist"]

    def __init__(self, options: Any, assets: ModelAssets, is_train: bool) -> None:
        """Read the lists and see which of their files are there.

        Raises:
            InputError: no list, an empty one, or none of its files; a damaged file of truth; no
                known coefficients where they are wanted, or fits of another face model.
        """
        super().__init__(options, assets, is_train)
        lists: FlistOptions = options[FlistOptions]
        lists_text, flag = named_files(lists, "flist", is_train)
        parts = parse_lists(lists_text, flag)
        if not is_train and any(part.share is not None for part in parts):
            raise InputError(
                f"{flag} {lists_text}: validation takes every photo once; leave out the shares"
            )
        read = [read_list(part.path, Path(lists.data_root), flag) for part in parts]
        self.photos = [photo for photos in read for photo in photos]
        self.sizes = [len(photos) for photos in read]
        """Photos of each list."""
        # A single list has all of the epoch, whatever its share.
        self.shares = [part.share or 0.0 for part in parts]
        several = len(parts) > 1
        self.needs_shuffling = is_train and several and all(self.shares)
        self.mixture = {
            "list_shares": self.shares if self.needs_shuffling else [],
            "list_sizes": self.sizes if several else [],
        }
        self.problems = {
            index: photo.problem for index, photo in enumerate(self.photos) if photo.problem
        }
        self._read_truth(assets)
        if self.with_labels:
            self._find_labels(lists_text, flag)

    def __len__(self) -> int:
        return len(self.photos)

    def shuffled(self, size: int, random: np.random.Generator) -> np.ndarray:
        """The samples of an epoch, of each list its share."""
        if not self.needs_shuffling:
            return super().shuffled(size, random)
        return mixed_order(size, self.sizes, self.shares, random)

    def _read_truth(self, assets: ModelAssets) -> None:
        """Find the coefficients of folders of synthetic faces, if they mean what this run means."""
        self._truth: dict[Path, tuple[SyntheticTruth, dict[str, int]]] = {}
        folders = dict.fromkeys(photo.folder for photo in self.photos)
        unusable = []
        for folder in folders:
            path = folder / "coefficients.npz"
            if not path.is_file():
                continue
            truth, card = read_truth(path), assets.face_model.card
            if truth.fingerprint != card.fingerprint:
                unusable.append(f"{path} is of the face model {truth.face_model}, not of {card}")
            elif not truth.fixed_camera:
                unusable.append(f"{path} is of other cameras than the R-Net's ({truth.settings})")
            else:
                self._truth[folder] = truth, {name: k for k, name in enumerate(truth.names)}
        if self._truth:
            self.truth_size = assets.face_model.layout.size
        if unusable:
            self.notice = f"taken as photos, without true coefficients: {'; '.join(unusable)}"

    def _find_labels(self, lists: str, flag: str) -> None:
        """See that there are fitted coefficients, and that their face model is this run's.

        Of each folder one is looked at now; the others when they are read.
        """
        fitted = [photo for photo in self.photos if photo.is_fitted and not photo.problem]
        if not fitted and not self._truth:
            reason = f" ({self.notice})" if self.notice else ""
            raise InputError(
                f"--w_coeff: no photo of {flag} {lists} has fitted or true coefficients{reason}; "
                "make them with data_preparation.py --fit, or leave --w_coeff out"
            )
        if not fitted:
            said = "no photo has fitted coefficients: --w_coeff is for the synthetic faces alone"
            only_synthetic = all(photo.folder in self._truth for photo in self.photos)
            self.notice = "; ".join(filter(None, (self.notice, "" if only_synthetic else said)))
            return
        for photo in {photo.folder: photo for photo in fitted}.values():
            read_label(photo.label).check_model(str(photo.label), self._card)
        count = f"{len(fitted)} of {len(self.photos)} photos begin with fitted coefficients"
        self.notice = "; ".join(filter(None, (self.notice, count)))

    def load(self, index: int) -> FaceSample:
        """Read one photo and align it; a picture with true coefficients is a crop already."""
        # Copies (`mixed_order`) have numbers beyond the last photo's.
        photo = self.photos[index % len(self) if self.needs_shuffling else index]
        if photo.problem:
            raise InputError(photo.problem)
        truth, rows = self._truth.get(photo.folder, (None, {}))
        row = rows.get(photo.image_name)
        try:
            if truth is not None and row is not None:
                return FaceSample(
                    image=read_image(photo.image),
                    path=str(photo.image),
                    landmarks=truth.landmarks_px[row] - np.float32(0.5),
                    mask=read_mask(photo.mask),
                    coefficients=truth.coefficients[row].copy(),
                )
            image = read_image(photo.image)
            landmarks = read_landmarks(photo.landmarks)
            mask = read_mask(photo.mask)
            label = None
            if self.with_labels and photo.is_fitted:
                label = read_label(photo.label), str(photo.label)
            return self.align(image, landmarks, mask, str(photo.image), str(photo.landmarks), label)
        except InputError as error:
            raise InputError(f"{error} ({photo.origin})") from error


def read_list(path: Path, data_root: Path, flag: str) -> list[ListedPhoto]:
    """The photos that a list of masks stands for.

    Args:
        path: text file with one path of a mask a line, relative to `data_root` or absolute.
        data_root: where relative paths begin.
        flag: the flag that named the list, for messages.

    Raises:
        InputError: no such list, none in it, a path outside of a folder `mask`, or no line whose
            mask, landmark file and photo are there; the message names list, line and file.
            Single lines that lack one have a `problem`.
    """
    folders: dict[Path, _PreparedFolder] = {}
    photos = []
    for number, mask in listed_masks(path, data_root, flag):
        root = mask.parent.parent
        if root not in folders:
            folders[root] = _PreparedFolder(root)
        photos.append(folders[root].find(mask.name, path, number))
    if all(photo.problem for photo in photos):
        raise InputError(
            f"{photos[0].problem}; nor are the files of any other line there: relative paths "
            f"count from --data_root {data_root}"
        )
    return photos


class _PreparedFolder:
    """What lies in a prepared folder, listed once: asking for each file takes far longer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._images = {name for name in _names(root) if is_image_name(name)}
        self._masks = _names(root / "mask")
        self._landmarks = _names(root / "landmarks")
        self._labels = _names(root / "coefficients")
        self._image_of_stem = images_by_stem(self._images, self._masks)

    def find(self, mask: str, flist: Path, line: int) -> ListedPhoto:
        """The photo of one mask, with a problem if a file is missing."""
        stem = Path(mask).stem
        image = self._image_of_stem.get(stem)
        if not mask.lower().endswith(".png") and mask in self._images:
            # The public code gives masks their photo's name, also where two share a stem.
            image = mask
        photo = ListedPhoto(
            self.root, image or stem, mask, flist, line, is_fitted=f"{stem}.json" in self._labels
        )
        if image is None:
            problem = (
                f"{photo.origin}: {self.root} has no photo for {photo.mask}; put it back, or run "
                "data_preparation.py on the folder again"
            )
            return replace(photo, problem=problem)
        for path, known in ((photo.mask, self._masks), (photo.landmarks, self._landmarks)):
            if path.name not in known:
                problem = (
                    f"{photo.origin}: {path} does not exist; run data_preparation.py on {self.root}"
                )
                return replace(photo, problem=problem)
        return photo


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - no Path for each of millions
    except (OSError, ValueError):  # a name may hold what no path can
        return set()  # what is missing is named when a line asks for it
