"""What every dataset is: numbered face samples, with options and randomness of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from models.assets import Assets, SynergyAssets
from options.face_options import LandmarkOptions, LandmarkOrigin


@dataclass(frozen=True)
class FaceSample:
    """One aligned face, as numpy arrays, on its way to a `models.batch.FaceBatch`."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    path: str
    """Where it came from, for messages."""
    landmarks: np.ndarray | None = None
    """(68, 2) pixel indices (centre of pixel i is i), y down."""
    mask: np.ndarray | None = None
    """(H, W) uint8 skin probability."""
    coefficients: np.ndarray | None = None
    """(P,) true coefficients of a synthetic face, or fitted ones of a photo."""
    fitted: bool = False
    """Whether the coefficients are a fit's, not the truth."""


class FaceDataset(torch.utils.data.Dataset, ABC):
    """Face samples by number.

    A subclass names its option dataclasses in `option_groups` (they become flags), implements
    `__len__` and `__getitem__`, and takes all its randomness from `random(index)`.
    """

    option_groups: ClassVar[tuple[type, ...]] = ()

    def __init__(self, options: Any, assets: Assets | None, is_train: bool) -> None:
        """Keep what batches are made with; start with seed 0 in epoch 0.

        Args:
            options: the parsed groups of `option_groups`, found by their class.
            assets: what the model is made from, of which only arrays are kept: samples are made
                in other processes.
            is_train: whether to take the training list and to augment.
        """
        self.is_train = is_train
        self.landmark_origin: LandmarkOrigin = (
            options[LandmarkOptions].landmark_origin if LandmarkOptions in options else "index"
        )
        self.recognition_template: np.ndarray | None = None
        """(5, 2) points to which the recognition net's crop is aligned, in pixel indices."""
        self.problems: Mapping[int, str] = {}
        """Samples that are known to be unusable before they are read, and why."""
        self.truth_size: int | None = None
        """Length of the coefficient vectors, where not all samples have true ones."""
        self.notice = ""
        """What the user should know before the first batch."""
        self.needs_shuffling = False
        """Whether `shuffled` decides which samples an epoch has."""
        self.mixture: Mapping[str, Any] = {}
        """What the order of an epoch follows from beside the number of samples."""
        if assets is not None and not isinstance(assets, SynergyAssets):
            net = assets.recognition_net
            if net is not None:
                self.recognition_template = net.template.cpu().numpy()
        # Shared memory: worker processes that live through many epochs see the new number.
        self._seed_and_epoch = torch.zeros(2, dtype=torch.int64).share_memory_()

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> FaceSample:
        """One sample; raises InputError, naming the file, if it cannot be used."""

    def shuffled(self, size: int, random: np.random.Generator) -> np.ndarray:
        """The first `size` samples in the order of an epoch; which processes share afterwards.

        A dataset may keep samples together that lie together, and may give some twice: number
        n + k len(self) is the k-th copy of sample n.
        """
        order = np.arange(size)
        random.shuffle(order)
        return order

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Choose the random numbers: all of an epoch follow from these two."""
        self._seed_and_epoch[:] = torch.tensor([seed, epoch])

    def random(self, index: int) -> np.random.Generator:
        """The random numbers of one sample: the same for any number of worker processes."""
        seed, epoch = self._seed_and_epoch.tolist()
        return np.random.default_rng([seed, epoch, index])


def named_files(options: object, flag: str, is_train: bool) -> tuple[str, str]:
    """Where the files are that a flag names: validation has the flag that ends in `_val`.

    Args:
        options: the dataset's, which have both flags.
        flag: of training.
        is_train: whether it is training's files that are wanted.

    Returns:
        The value; and the flag, for messages.
    """
    name = flag if is_train else f"{flag}_val"
    return getattr(options, name), f"--{name}"
