"""Batches of face samples in a reproducible order, made by worker processes."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data.bad_images import BadImages, CollateLoaded, Replacing
from data.base_dataset import FaceDataset, FaceSample
from models.batch import FaceBatch
from models.landmarks import five_from_68, from_index
from models.similarity import estimate_similarity
from options.face_options import LandmarkOrigin
from util.cores import usable_cores
from util.errors import InputError, causes
from util.training.distributed import Place

if TYPE_CHECKING:
    from options.train_options import LoaderOptions


def collate(
    samples: Sequence[FaceSample],
    landmark_origin: LandmarkOrigin = "index",
    recognition_template: np.ndarray | None = None,
    truth_size: int | None = None,
) -> FaceBatch:
    """Samples as one batch, pictures as bytes; what one sample lacks, the batch lacks.

    Args:
        samples: of one image size.
        landmark_origin: how pixel indices become continuous pixels.
        recognition_template: (5, 2) points of the recognition net's crop, in pixel indices;
            None leaves out `recognition_transforms`.
        truth_size: length of the coefficient vectors where not all samples have true ones: the
            batch then says which have true and which fitted ones.
    """
    coefficients = [sample.coefficients for sample in samples]
    has_truth = has_fit = None
    if truth_size is not None:
        known = torch.tensor([vector is not None for vector in coefficients])
        has_fit = known & torch.tensor([sample.fitted for sample in samples])
        has_truth = known & ~has_fit
        none = np.zeros(truth_size, dtype=np.float32)
        coefficients = [none if vector is None else vector for vector in coefficients]
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    landmarks = _stack([sample.landmarks for sample in samples])
    masks = _stack_bytes([sample.mask for sample in samples])
    transforms = None
    if landmarks is not None and recognition_template is not None:
        template = torch.from_numpy(recognition_template).float()
        transforms = estimate_similarity(five_from_68(landmarks), template)
    return FaceBatch(
        # channels_last, as networks want it.
        images=images.permute(0, 3, 1, 2),
        paths=tuple(sample.path for sample in samples),
        landmarks_px=None if landmarks is None else from_index(landmarks, landmark_origin),
        skin_mask=None if masks is None else masks[:, None],
        recognition_transforms=transforms,
        coefficients=_stack(coefficients),
        has_truth=has_truth,
        has_fit=has_fit,
    )


@contextmanager
def loader_deaths_named() -> Iterator[None]:
    """Turn torch's word that a process that loads images has died into one for users.

    Around the whole loop over the batches: the word comes by a signal, in the midst of whatever
    is done just then. Where that is the writing of a checkpoint, torch's writer raises an error of
    its own over it.

    Raises:
        InputError: one died; a training can go on from its last checkpoint.
    """
    try:
        yield
    except RuntimeError as error:
        deaths = [e for e in causes(error) if "DataLoader worker (pid" in str(e)]
        if not deaths:
            raise
        raise _death(deaths[0]) from error


def _death(said: BaseException) -> InputError:
    """That a process that loads images has died, in words for users."""
    first_line = str(said).strip().partition("\n")[0].rstrip(".")
    return InputError(
        f"a process that loads images was ended by the system ({first_line or 'no answer'}); too "
        "little memory is the usual cause. Go on from the last checkpoint by --continue_train, "
        "with a smaller --num_threads or --batch_size"
    )


class FaceLoader:
    """The batches of one epoch at a time: `set_epoch`, then a for loop.

    Order and augmentation follow from seed and epoch alone, whatever the number of workers, so
    that a resumed training goes on as if it had not stopped. Bad images are replaced by others
    (`bad_images`).
    """

    def __init__(
        self,
        dataset: FaceDataset,
        options: LoaderOptions,
        seed: int,
        is_train: bool,
        place: Place | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Prepare; the workers start with the first batch.

        Args:
            dataset: where samples come from.
            options: batch sizes, workers, order, largest number of samples.
            seed: of order and augmentation.
            is_train: shuffle and leave out an incomplete last batch; otherwise keep the order and
                all samples.
            place: of this process in a training by several. Of each training batch it gets a part;
                validation batches are dealt out whole, so that each is computed as by one process.
            device: where batches go; for a GPU they are put where it can fetch them by itself.

        Raises:
            InputError: no samples, too many that are known to be bad, or too few for each process
                to have one.
        """
        place = place or Place()
        size = int(min(len(dataset), options.max_dataset_size))
        if size < 1:
            raise InputError(
                f"no faces to load ({len(dataset)} in the data, "
                f"--max_dataset_size {options.max_dataset_size:g})"
            )
        self.bad_images = BadImages(options.max_bad_images, "train" if is_train else "val")
        # A mixture takes any of its samples, however few of them make an epoch.
        in_use = len(dataset) if is_train and dataset.needs_shuffling else size
        notices = [dataset.notice, self.bad_images.known(dataset.problems, in_use)]
        if is_train and size < options.batch_size:
            notices.append(
                f"{size} faces are fewer than --batch_size {options.batch_size}, so that an epoch "
                f"is one step with all of them; take more faces, or a smaller batch for more steps"
            )
        self.notice = "; ".join(filter(None, notices))
        """What the user should know before the first batch; may be empty."""
        if is_train and options.serial_batches and dataset.needs_shuffling:
            raise InputError(
                "--serial_batches takes photos in the order of the list, but several lists with "
                "shares are mixed at random; leave one of both out"
            )
        # Few samples still make one batch.
        batch_size = min(options.batch_size if is_train else options.batch_size_val, size)
        if is_train and batch_size < place.size:
            raise InputError(
                f"--batch_size {options.batch_size} with {size} faces: each of {place.size} "
                "processes needs a face in every step; give a larger one, or fewer processes"
            )
        self._dataset, self._seed = dataset, seed
        self.order = {
            "batch_size": options.batch_size if is_train else options.batch_size_val,
            "seed": seed,
            "serial_batches": options.serial_batches,
            "faces": size,
            **dataset.mixture,
        }
        """What the batches of an epoch follow from: values of flags, the number of faces, and how
        lists are mixed. Not from the number of processes, which share each batch."""
        self._plan = _EpochPlan(
            size=size,
            batch_size=batch_size,
            seed=seed,
            shuffled=dataset.shuffled if is_train and not options.serial_batches else None,
            drop_last=is_train,
            rank=place.rank,
            num_ranks=place.size,
        )
        # More processes than cores would only wait for each other; the batches are the same.
        workers = min(math.ceil(options.num_threads / place.local_size), len(self), usable_cores())
        # Of its own: each pass draws a number for its workers, and from the global generator that
        # would make the random numbers of a resumed training differ.
        self._generator = torch.Generator()
        self._batches = DataLoader(
            Replacing(_ErrorsAsSamples(dataset), dataset, size),
            generator=self._generator,
            batch_sampler=self._plan,
            num_workers=workers,
            collate_fn=CollateLoaded(
                _Collate(dataset.landmark_origin, dataset.recognition_template, dataset.truth_size)
            ),
            # Starting processes takes seconds on some platforms: once a run, not once an epoch.
            persistent_workers=workers > 0,
            pin_memory=device is not None and device.type == "cuda",
        )
        self.set_epoch(0)

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Choose the order and augmentation of an epoch, leaving out its first `skip` batches."""
        self._dataset.set_epoch(self._seed, epoch)
        self._plan.epoch, self._plan.skip = epoch, skip
        self._generator.manual_seed(_seed_of(self._seed, epoch))

    def __len__(self) -> int:
        """Batches in a whole epoch, over all processes."""
        return self._plan.batches

    def __iter__(self) -> Iterator[FaceBatch]:
        if self._batches.num_workers:
            # What this process has left for its collector, a forked one would have to free: of a
            # video's decoder it would wait for threads that it does not have, for ever.
            gc.collect()
        yield from self.bad_images.watch(self._loaded())

    def _loaded(self) -> Iterator[tuple[FaceBatch | InputError, list[tuple[int, str]]]]:
        """What the workers send.

        Raises:
            InputError: the connection to one of them broke, since it died.
        """
        try:
            yield from self._batches
        except (EOFError, ConnectionError) as error:
            # The sockets of a killed process are closed before it counts as dead, on a busy machine
            # long before: torch, which finds it alive, takes that for an error of another kind.
            # What a worker itself has met comes with its own traceback.
            if not self._batches.num_workers or "in DataLoader worker process" in str(error):
                raise
            raise _death(error) from error


@dataclass
class _EpochPlan:
    """The sample numbers of each batch of the current epoch, as a DataLoader's batch sampler."""

    size: int
    batch_size: int
    seed: int
    shuffled: Callable[[int, np.random.Generator], np.ndarray] | None
    drop_last: bool
    rank: int = 0
    num_ranks: int = 1
    epoch: int = 0
    skip: int = 0

    @property
    def batches(self) -> int:
        whole, rest = divmod(self.size, self.batch_size)
        return whole if self.drop_last or rest == 0 else whole + 1

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def _numbers(self) -> range:
        """The batches of which this process has something."""
        if self.drop_last:
            return range(self.skip, self.batches)
        return range(self.skip + self.rank, self.batches, self.num_ranks)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.size)
        if self.shuffled is not None:
            order = self.shuffled(self.size, np.random.default_rng([self.seed, self.epoch]))
        for number in self._numbers:
            batch = order[number * self.batch_size : (number + 1) * self.batch_size]
            if self.drop_last:
                batch = np.array_split(batch, self.num_ranks)[self.rank]
            yield batch.tolist()


class _ErrorsAsSamples(Dataset):
    """Hands a user's error over as a sample, since DataLoader would bury it in a traceback."""

    def __init__(self, dataset: FaceDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> FaceSample | InputError:
        if torch.utils.data.get_worker_info() is not None:
            self._seed_globals(index)
        try:
            return self._dataset[index]
        except InputError as error:
            return error

    def _seed_globals(self, index: int) -> None:
        """Let a worker's global generators follow from epoch and sample too.

        A library that reads them would otherwise draw by what its process did before, which a
        resumed training does not repeat.
        """
        seed = int(self._dataset.random(index).integers(2**32))
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the state that libraries share
        torch.manual_seed(seed)


def _seed_of(*numbers: int) -> int:
    """One seed for a generator of torch from several numbers."""
    return int(np.random.default_rng(list(numbers)).integers(2**63))


@dataclass(frozen=True)
class _Collate:
    """`collate` with its settings, or the first error; a class, to be sent to processes."""

    landmark_origin: LandmarkOrigin
    recognition_template: np.ndarray | None
    truth_size: int | None

    def __call__(self, samples: list[FaceSample | InputError]) -> FaceBatch | InputError:
        good: list[FaceSample] = []
        for sample in samples:
            if isinstance(sample, InputError):
                return sample
            good.append(sample)
        return collate(good, self.landmark_origin, self.recognition_template, self.truth_size)


def _stack(arrays: Sequence[np.ndarray | None]) -> Tensor | None:
    """One float32 tensor, or None if any is missing."""
    stacked = _stack_bytes(arrays)
    return None if stacked is None else stacked.float()


def _stack_bytes(arrays: Sequence[np.ndarray | None]) -> Tensor | None:
    """One tensor of the arrays' own type, or None if any is missing."""
    if any(array is None for array in arrays):
        return None
    return torch.from_numpy(np.stack([np.asarray(array) for array in arrays]))
