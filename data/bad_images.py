"""Images that turn out to be corrupt or gone: replaced, counted, and too many of them an error.

Which image takes the place of a bad one follows from seed, epoch and the bad one's number, so that
batches keep their size and a resumed training sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch.utils.data import Dataset

from data.base_dataset import FaceDataset, FaceSample
from models.batch import FaceBatch
from util.errors import InputError

_ATTEMPTS = 20
"""Images tried in the place of a bad one. Where half of them are bad, one in a million fails."""


@dataclass(frozen=True)
class LoadedSample:
    """A sample, or why there is none, with what was met on the way."""

    sample: FaceSample | InputError
    bad: tuple[tuple[int, str], ...] = ()
    """Number and problem of each image that could not be used."""


class Replacing(Dataset):
    """Gives another sample of the same dataset in the place of a bad one."""

    def __init__(self, samples: Dataset, dataset: FaceDataset, size: int) -> None:
        """Take replacements from the first `size` samples.

        Args:
            samples: gives an InputError for a bad sample.
            dataset: the random numbers of each sample.
            size: number of samples in use.
        """
        self._samples, self._dataset, self._size = samples, dataset, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> LoadedSample:
        sample = self._samples[index]
        if not isinstance(sample, InputError):
            return LoadedSample(sample)
        # Copies of one sample (`FaceDataset.shuffled`) are one bad image.
        bad = {index % len(self._dataset): str(sample)}
        # The bad image's own random numbers, which augment nothing else.
        for candidate in self._dataset.random(index).integers(self._size, size=_ATTEMPTS):
            if int(candidate) in bad:
                continue
            other = self._samples[int(candidate)]
            if not isinstance(other, InputError):
                return LoadedSample(other, tuple(bad.items()))
            bad[int(candidate)] = str(other)
        return LoadedSample(sample, tuple(bad.items()))


@dataclass(frozen=True)
class CollateLoaded:
    """A batch of what was loaded, and the bad images beside it; sent to worker processes."""

    collate: Callable[[list[FaceSample | InputError]], FaceBatch | InputError]

    def __call__(
        self, loaded: Sequence[LoadedSample]
    ) -> tuple[FaceBatch | InputError, list[tuple[int, str]]]:
        """Collate, as a DataLoader asks for it."""
        bad = [problem for sample in loaded for problem in sample.bad]
        return self.collate([sample.sample for sample in loaded]), bad


class BadImages:
    """The bad images that a loader meets in this process.

    It stops by itself when one pass meets too many. A training that knows of several processes, and
    of what was met before a resume, takes what is new and counts all of them together.
    """

    def __init__(self, limit: int, name: str = "train") -> None:
        """Allow `limit` of them.

        Args:
            limit: in one pass over the samples.
            name: of the samples, since training and validation both count from 0.
        """
        self._limit, self._name = limit, name
        self._found: dict[int, str] = {}
        self._new: dict[int, str] = {}

    def known(self, problems: Mapping[int, str], size: int) -> str:
        """A sentence on images that are known to be bad before any is loaded; "" for none.

        Args:
            problems: of a dataset's samples, by their numbers.
            size: number of samples in use.

        Raises:
            InputError: more than allowed, or all.
        """
        bad = [problem for index, problem in problems.items() if index < size]
        if not bad:
            return ""
        if len(bad) > self._limit or len(bad) == size:
            more = "" if len(bad) == 1 else f"; {len(bad)} of {size} images have such a problem"
            raise InputError(f"{bad[0]}{more} (--max_bad_images {self._limit})")
        return (
            f"{len(bad)} of {size} images cannot be used and are replaced by others, such as: "
            f"{bad[0]}"
        )

    def watch(
        self, loaded: Iterable[tuple[FaceBatch | InputError, list[tuple[int, str]]]]
    ) -> Iterator[FaceBatch]:
        """The batches, while their bad images are counted.

        Raises:
            InputError: more bad images than allowed, or one that no other could replace.
        """
        self._found.clear()
        for batch, bad in loaded:
            self._found.update(bad)
            self._new.update(bad)
            if len(self._found) > self._limit:
                problems = list(self._found.values())
                raise InputError(too_many(problems, len(problems), self._limit))
            if isinstance(batch, InputError):
                raise InputError(
                    f"{batch}; nor can any of {_ATTEMPTS} images that were tried in its place"
                ) from batch
            yield batch

    def take(self) -> dict[str, str]:
        """What was met since the last call: problems by name and number, such as `train 17`."""
        problems = {f"{self._name} {number}": text for number, text in sorted(self._new.items())}
        self._new.clear()
        return problems


def too_many(problems: Sequence[str], count: int, limit: int) -> str:
    """Why a training ends.

    Args:
        problems: some of them.
        count: how many there are.
        limit: how many were allowed.
    """
    if limit == 0:
        return problems[0]
    return (
        f"{count} images of this epoch cannot be used, more than --max_bad_images {limit} allows, "
        f"such as: {'; '.join(problems[:5])}; see that the disk is there and run "
        "data_preparation.py on the folder again"
    )
