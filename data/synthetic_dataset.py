"""Rendered faces with their true coefficients: of a folder, or rendered while training goes on.

Augmentation keeps the truth exact: a rotation of the picture about the camera's principal point
turns roll, translation and light with it, and gains of the colour channels scale the light.
"""

from __future__ import annotations

import copy
import io
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from data.base_dataset import FaceDataset, FaceSample, named_files
from data.exact_warp import turn
from data.images import read_mask
from data.synthetic.backgrounds import PictureFolder
from data.synthetic.coefficients import read_truth
from data.synthetic.lighting import brighten
from data.synthetic.photographer import Photographer
from models.assets import ModelAssets
from models.face_model import FaceModel
from models.parameters import ParameterLayout
from options.data_options import SyntheticOptions
from options.face_options import FaceModelOptions, refuse_head
from options.groups import DATASET_GROUPS
from options.synthesis_options import VALIDATION_COUNT
from util.errors import InputError


class SyntheticDataset(FaceDataset):
    """Rendered faces with landmarks, masks and coefficients."""

    option_groups = DATASET_GROUPS["synthetic"]

    def __init__(self, options: Any, assets: ModelAssets, is_train: bool) -> None:
        """Find the faces of the folder, or prepare to render them.

        Raises:
            InputError: no such folder, images missing, faces of another face model or camera.
        """
        super().__init__(options, assets, is_train)
        self.options: SyntheticOptions = options[SyntheticOptions]
        self.layout: ParameterLayout = assets.face_model.layout
        self.faces: FolderFaces | LiveFaces
        if self.options.synthetic_live:
            if FaceModelOptions in options:
                refuse_head(options[FaceModelOptions])
            self.faces = LiveFaces(assets.face_model, self.options, is_train)
        else:
            self.faces = FolderFaces(assets.face_model, self.options, is_train)
        self._augment = is_train and self.options.synthetic_aug

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> FaceSample:
        """Read or render and, for training, augment one face."""
        random = self.random(index)
        sample = self.faces.load(index, random)
        if not self.options.synthetic_masks:
            sample = replace(sample, mask=None)
        return augment(sample, self.options, self.layout, random) if self._augment else sample

    def random(self, index: int) -> np.random.Generator:
        """Those of validation faces are apart from all epochs and the same in each."""
        if self.is_train:
            return super().random(index)
        seed, _ = self._seed_and_epoch.tolist()
        return np.random.default_rng([seed, 0, index, 1])


class FolderFaces:
    """The faces of a folder that make_synthetic.py wrote."""

    def __init__(self, face_model: FaceModel, options: SyntheticOptions, is_train: bool) -> None:
        """Read all coefficients; images are read when asked for."""
        folder, flag = named_files(options, "synthetic_folder", is_train)
        self.folder = Path(folder)
        command = "" if is_train else _validation_command(options)
        truth = read_truth(self.folder / "coefficients.npz", command)
        if truth.fingerprint != face_model.card.fingerprint:
            raise InputError(
                f"{flag} {self.folder} holds faces of the face model {truth.face_model}, this "
                f"run uses {face_model.card}; make them again with make_synthetic.py --overwrite"
            )
        if not truth.fixed_camera:
            raise InputError(
                f"{flag} {self.folder} was made with {truth.settings}; coefficients are trained "
                "on pictures of the R-Net's camera alone: make such with make_synthetic.py, or "
                "give these to --flist as photos"
            )
        present = {path.name for path in self.folder.glob("*.jpg")}
        if missing := [name for name in truth.names if name not in present]:
            raise InputError(
                f"{flag} {self.folder} lacks {len(missing)} of its images, such as {missing[0]}; "
                "run make_synthetic.py again, which makes what is missing"
            )
        self.truth = truth
        self._masks = options.synthetic_masks

    def __len__(self) -> int:
        return len(self.truth.names)

    def load(self, index: int, random: np.random.Generator) -> FaceSample:
        """Read one face; nothing about it is random."""
        path = self.folder / self.truth.names[index]
        mask = self.folder / "mask" / f"{path.stem}.png"
        return FaceSample(
            image=_read_jpeg(path),
            path=str(path),
            landmarks=self.truth.landmarks_px[index] - np.float32(0.5),
            mask=read_mask(mask) if self._masks else None,
            coefficients=self.truth.coefficients[index].copy(),
        )


class LiveFaces:
    """Faces that are rendered when they are asked for, others in each epoch; no folder."""

    def __init__(self, face_model: FaceModel, options: SyntheticOptions, is_train: bool) -> None:
        """Prepare; the processes that load render, each with tools of its own."""
        pictures = None
        if options.synthetic_backgrounds:
            pictures = PictureFolder.open(
                Path(options.synthetic_backgrounds), "synthetic_backgrounds"
            )
        # A copy: the model's own may move to a GPU, which other processes should not touch.
        model = copy.deepcopy(face_model).cpu()
        self._photographer = Photographer(model, pictures=pictures)
        self._count = options.synthetic_live if is_train else VALIDATION_COUNT
        self._pictures = pictures
        # Shared memory: each bad picture is named once, not once by each process.
        count = 0 if pictures is None else len(pictures.paths)
        self._named = torch.zeros(count, dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return self._count

    def load(self, index: int, random: np.random.Generator) -> FaceSample:
        """Render one face, which follows from the random numbers alone."""
        seed = int(random.integers(2**62))
        (face,) = self._photographer.take(seed, [0])
        self._name_bad_pictures()
        with Image.open(io.BytesIO(face.photograph.jpeg)) as picture:
            image = np.asarray(picture)
        return FaceSample(
            image=image,
            path=f"live face {index} (seed {seed})",
            landmarks=face.landmarks_px - np.float32(0.5),
            mask=face.photograph.skin_mask,
            coefficients=face.coefficients,
        )

    def _name_bad_pictures(self) -> None:
        """Say on the terminal which backgrounds cannot be used, once."""
        pictures = self._pictures
        if pictures is None or not pictures.bad:
            return
        for number, path in enumerate(pictures.paths):
            if str(path) in pictures.bad and not self._named[number]:
                self._named[number] = True
                problem = pictures.bad[str(path)]
                print(f"Background left out: {problem}", file=sys.stderr, flush=True)


def augment(
    sample: FaceSample,
    options: SyntheticOptions,
    layout: ParameterLayout,
    random: np.random.Generator,
) -> FaceSample:
    """Turn, brighten and cover a face at random, with its truth."""
    # All numbers are drawn in any case, so that one option does not change another's numbers.
    angle = math.radians(options.synthetic_rot_deg * random.standard_normal())
    gain = float(np.clip(1 + options.synthetic_gain * random.standard_normal(), 0.7, 1.3))
    covered = random.uniform() < options.synthetic_box_share
    box = _Box.draw(random, sample.image.shape[:2])
    if angle:
        sample = turn(sample, layout, angle)
    image = sample.image
    if gain != 1:
        levels = (np.arange(256) * gain + 0.5).clip(0, 255).astype(np.uint8)
        image = levels.take(image)
        sample = replace(
            sample, coefficients=_changed(sample, layout, "gamma", brighten, np.full(3, gain))
        )
    mask = sample.mask
    if covered:
        # Copies: a sample's arrays may belong to the caller.
        image = box.paint(image.copy())
        mask = None if mask is None else box.clear(mask.copy())
    return replace(sample, image=image, mask=mask)


@dataclass(frozen=True)
class _Box:
    """A rectangle of one colour in a picture."""

    rows: slice
    columns: slice
    colour: np.ndarray
    """(3,) uint8."""

    @classmethod
    def draw(cls, random: np.random.Generator, size: tuple[int, int]) -> _Box:
        height, width = (int(side * random.uniform(0.08, 0.4)) for side in size)
        # Partly outside at times: occluders often come from the picture's edge.
        top = int(random.uniform(-height / 2, size[0] - height / 2))
        left = int(random.uniform(-width / 2, size[1] - width / 2))
        rows = slice(max(top, 0), top + height)
        columns = slice(max(left, 0), left + width)
        return cls(rows, columns, random.integers(0, 256, 3, dtype=np.uint8))

    def paint(self, image: np.ndarray) -> np.ndarray:
        image[self.rows, self.columns] = self.colour
        return image

    def clear(self, mask: np.ndarray) -> np.ndarray:
        mask[self.rows, self.columns] = 0
        return mask


def _validation_command(options: SyntheticOptions) -> str:
    """What makes the validation faces that belong to the training faces: those of the next seed.

    The training faces' own seed would give the same faces again.
    """
    folder, folder_val = Path(options.synthetic_folder), Path(options.synthetic_folder_val)
    seed, count = 0, None
    if (folder / "coefficients.npz").is_file():
        truth = read_truth(folder / "coefficients.npz")
        seed, count = truth.seed, len(truth.names)
    if str(folder_val) == f"{folder}_val":
        # Made together with the training faces, of which those that are there are kept.
        flags = {
            "out": folder,
            "n": count,
            "n_val": VALIDATION_COUNT,
            "seed": seed or None,
        }
    else:
        flags = {
            "out": folder_val,
            "n": VALIDATION_COUNT,
            "n_val": 0,
            "seed": seed + 1,
        }
    words = [f"--{flag} {_quoted(value)}" for flag, value in flags.items() if value is not None]
    return " ".join(["python make_synthetic.py", *words])


def _quoted(value: object) -> str:
    """As every shell takes it."""
    return f'"{value}"' if " " in str(value) else str(value)


def _changed(
    sample: FaceSample, layout: ParameterLayout, block: str, change: Any, argument: Any
) -> np.ndarray | None:
    """The sample's coefficients with one block changed, None where it has none."""
    if sample.coefficients is None:
        return None
    coefficients = sample.coefficients.copy()
    part = layout.slices[block]
    coefficients[part] = change(coefficients[part], argument)
    return coefficients


def _read_jpeg(path: Path) -> np.ndarray:
    """(H, W, 3) uint8; these files are our own, so that no other form is looked for."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}); make it again") from error
