"""Batches: complete, in a reproducible order, the same for any number of workers."""

import gc
import random
import weakref
from collections.abc import Collection, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data import DATASETS, FaceLoader, create_dataset
from data.base_dataset import FaceDataset, FaceSample
from data.loader import collate
from models.landmarks import five_from_68, to_index
from models.similarity import estimate_similarity
from options.face_options import LandmarkOptions, LandmarkOrigin
from options.template_options import TemplateDatasetOptions
from options.train_options import LoaderOptions
from util.errors import InputError
from util.training.distributed import Place

TEMPLATE = np.array(
    [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], dtype=np.float32
)


class Numbers(FaceDataset):
    """Images whose colour is their number, with a random landmark; some may be bad."""

    def __init__(self, count: int, bad: Collection[int] = ()) -> None:
        super().__init__({}, None, is_train=True)
        self.count, self.bad = count, bad

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        if index in self.bad:
            raise InputError(f"photo {index} is bad")
        landmarks = self.random(index).uniform(0, 8, (68, 2))
        return FaceSample(np.full((8, 8, 3), index, np.uint8), f"{index}", landmarks)


class Failing:
    """In the place of torch's loader: its first batch is an error."""

    def __init__(self, error: Exception, num_workers: int) -> None:
        self.error, self.num_workers = error, num_workers

    def __iter__(self) -> Iterator[None]:
        raise self.error


def order(loader: FaceLoader) -> list[int]:
    return [int(path) for batch in loader for path in batch.paths]


def loader(count=10, workers=0, is_train=True, seed=5, bad=(), place=None, **fields) -> FaceLoader:
    fields = {"batch_size": 3, "batch_size_val": 4, "num_threads": workers, **fields}
    return FaceLoader(Numbers(count, bad), LoaderOptions(**fields), seed, is_train, place)


def test_training_shuffles_and_drops_the_rest() -> None:
    faces = loader()
    assert len(faces) == 3
    seen = order(faces)
    assert len(set(seen)) == 9
    assert seen != sorted(seen)
    faces.set_epoch(1)
    assert order(faces) != seen
    faces.set_epoch(0)
    assert order(faces) == seen
    assert order(loader(seed=6)) != seen


def test_validation_keeps_order_and_all() -> None:
    faces = loader(is_train=False)
    assert [len(batch) for batch in faces] == [4, 4, 2]
    assert order(faces) == list(range(10))


def test_options_of_order_and_size() -> None:
    assert order(loader(serial_batches=True)) == list(range(9))
    assert set(order(loader(max_dataset_size=6))) == set(range(6))
    few = loader(count=2)
    assert len(few) == 1
    assert sorted(order(few)) == [0, 1]
    with pytest.raises(InputError, match="no faces to load"):
        loader(count=0)


def test_resuming_leaves_out_what_was_seen() -> None:
    faces = loader()
    faces.set_epoch(2)
    whole = order(faces)
    faces.set_epoch(2, skip=2)
    assert order(faces) == whole[6:]
    assert len(faces) == 3


def test_workers_change_nothing_and_follow_the_epoch() -> None:
    alone, helped = loader(workers=0), loader(workers=2)
    for epoch in (0, 1):
        alone.set_epoch(epoch)
        helped.set_epoch(epoch)
        for one, other in zip(alone, helped, strict=True):
            assert one.paths == other.paths
            torch.testing.assert_close(one.landmarks_px, other.landmarks_px)
            torch.testing.assert_close(one.images, other.images)


class Global(Numbers):
    """Draws from the generators that libraries share, as it should not."""

    def __getitem__(self, index: int) -> FaceSample:
        drawn = [random.random(), np.random.rand(), float(torch.rand(()))]  # noqa: NPY002
        return FaceSample(np.zeros((8, 8, 3), np.uint8), f"{drawn}")


class Decoder:
    """Stands for one with threads, which only the process that made it can free."""


def test_garbage_is_collected_before_processes_are_forked():
    """A worker that frees a video's decoder waits for threads that it does not have."""
    garbage = Decoder()
    garbage.itself = garbage  # pyright: ignore[reportAttributeAccessIssue] - counts never reach 0
    seen = weakref.ref(garbage)
    gc.disable()
    try:
        del garbage
        assert seen() is not None
        next(iter(loader(workers=1)))
        assert seen() is None
    finally:
        gc.enable()


def test_workers_seeds_follow_from_epoch_and_sample() -> None:
    """Also what a library draws behind the dataset's back is the same after a resume."""
    options = LoaderOptions(batch_size=2, num_threads=2)
    faces = FaceLoader(Global(8), options, 5, is_train=True)
    faces.set_epoch(3)
    whole = [batch.paths for batch in faces]
    assert len({path for paths in whole for path in paths}) == 8
    resumed = FaceLoader(Global(8), options, 5, is_train=True)
    resumed.set_epoch(3, skip=1)
    assert [batch.paths for batch in resumed] == whole[1:]


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_draws_nothing_from_the_training(workers: int) -> None:
    before = torch.get_rng_state()
    list(loader(workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_each_batch_of_the_same_order(size: int) -> None:
    alone = loader(count=23, batch_size=7)
    parts = [loader(count=23, batch_size=7, place=Place(rank, size)) for rank in range(size)]
    for faces in (alone, *parts):
        faces.set_epoch(4, skip=1)
        assert len(faces) == 3
    for batch, *shares in zip(alone, *parts, strict=True):
        assert sum((share.paths for share in shares), ()) == batch.paths
        counts = [len(share) for share in shares]
        assert max(counts) - min(counts) <= 1


def test_processes_take_validation_batches_in_turn() -> None:
    whole = [batch.paths for batch in loader(is_train=False)]
    shares = [[b.paths for b in loader(is_train=False, place=Place(r, 2))] for r in range(2)]
    assert shares == [whole[0::2], whole[1::2]]


def test_fewer_faces_than_a_batch_are_announced() -> None:
    few = loader(count=3, batch_size=4)
    assert len(few) == 1
    assert "3 faces are fewer than --batch_size 4" in few.notice
    assert not loader(count=4, batch_size=4).notice
    assert not loader(count=3, batch_size=4, is_train=False).notice


def test_every_process_needs_a_face_in_every_step() -> None:
    with pytest.raises(InputError, match="--batch_size 3 with 10 faces: each of 4 processes"):
        loader(place=Place(0, 4))
    assert len(loader(count=1, is_train=False, place=Place(3, 4))) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_with_none_allowed_a_bad_sample_is_one_clear_error(workers: int) -> None:
    with pytest.raises(InputError) as error:
        list(loader(workers=workers, bad=[4], serial_batches=True, max_bad_images=0))
    assert str(error.value) == "photo 4 is bad"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("is_train", [True, False])
def test_a_bad_sample_is_replaced_counted_and_named(workers: int, is_train: bool) -> None:
    whole = order(loader(is_train=is_train))
    faces = loader(workers=workers, is_train=is_train, bad=[4, 7])
    seen = order(faces)
    assert len(seen) == len(whole)
    changed = [number for number in whole if number in (4, 7)]
    for expected, found in zip(whole, seen, strict=True):
        assert found == expected or expected in (4, 7)
    assert not {4, 7} & set(seen)
    part = "train" if is_train else "val"
    found = faces.bad_images.take()
    expected = {f"{part} {number}": f"photo {number} is bad" for number in changed}
    assert found.items() >= expected.items()
    assert not faces.bad_images.take()


def test_replacements_follow_from_seed_and_epoch() -> None:
    """So a resumed epoch goes on with what it would have seen."""
    faces = loader(count=40, bad=range(0, 40, 3))
    faces.set_epoch(2)
    whole = order(faces)
    assert order(loader(count=40, bad=range(0, 40, 3), workers=2)) != whole
    resumed = loader(count=40, bad=range(0, 40, 3), workers=2)
    resumed.set_epoch(2, skip=4)
    assert order(resumed) == whole[12:]
    faces.set_epoch(3)
    assert order(faces) != whole


def test_replacements_come_from_the_samples_in_use() -> None:
    faces = loader(count=100, bad=[0, 1, 2], max_dataset_size=6, is_train=False)
    assert set(order(faces)) <= {3, 4, 5}


def test_one_more_than_allowed_ends_the_run() -> None:
    faces = loader(bad=[2, 4, 6], is_train=False, max_bad_images=2)
    with pytest.raises(
        InputError, match=r"3 images of this epoch .* more than --max_bad_images 2 .*photo 2 is bad"
    ):
        list(faces)
    assert len(order(loader(bad=[2, 4, 6], is_train=False, max_bad_images=3))) == 10


def test_the_count_begins_anew_with_each_epoch() -> None:
    """An image that is met twice counts once."""
    faces = loader(bad=[2, 4], is_train=False, max_bad_images=2)
    for _ in range(3):
        order(faces)
    assert len(faces.bad_images.take()) == 2
    order(faces)
    assert len(faces.bad_images.take()) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_bad_samples_is_a_clear_error(workers: int) -> None:
    faces = loader(bad=range(10), workers=workers, is_train=False)
    with pytest.raises(InputError, match=r"photo 0 is bad; nor can any of \d+ images"):
        list(faces)


def test_collate_fills_the_contract() -> None:
    numbers = np.random.default_rng(0)
    samples = [
        FaceSample(
            numbers.integers(0, 256, (224, 224, 3), dtype=np.uint8),
            f"{n}",
            numbers.uniform(0, 223, (68, 2)),
            numbers.integers(0, 256, (224, 224), dtype=np.uint8),
            numbers.normal(size=257),
        )
        for n in range(2)
    ]
    shifts: dict[LandmarkOrigin, list[float]] = {"index": [0.0, 1.0], "centre": [0.5, 0.5]}
    for origin, shift in shifts.items():
        batch = collate(samples, origin, TEMPLATE)
        # Bytes until they are on the device, there what the photo and 255 say.
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        batch = batch.to("cpu")
        assert batch.images.dtype == torch.float32
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.skin_mask is not None
        assert batch.landmarks_px is not None
        assert batch.coefficients is not None
        assert batch.recognition_transforms is not None
        for n, sample in enumerate(samples):
            assert sample.landmarks is not None
            assert sample.mask is not None
            assert sample.coefficients is not None
            image, mask = (
                x.astype(np.float32) / np.float32(255) for x in (sample.image, sample.mask)
            )
            np.testing.assert_array_equal(batch.images[n].permute(1, 2, 0), image)
            np.testing.assert_array_equal(batch.skin_mask[n, 0], mask)
            np.testing.assert_allclose(batch.landmarks_px[n], sample.landmarks + shift, atol=1e-4)
            np.testing.assert_allclose(batch.coefficients[n], sample.coefficients, atol=1e-6)
        # The crop for the recognition net is counted in pixel indices, whatever the origin.
        five = five_from_68(to_index(batch.landmarks_px, origin))
        expected = estimate_similarity(five, torch.from_numpy(TEMPLATE))
        torch.testing.assert_close(batch.recognition_transforms, expected, atol=1e-4, rtol=1e-4)


def test_collate_leaves_out_what_one_sample_lacks() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    batch = collate([FaceSample(image, "a", np.zeros((68, 2))), FaceSample(image, "b")])
    assert batch.landmarks_px is None
    assert batch.skin_mask is None
    assert batch.coefficients is None
    assert batch.recognition_transforms is None


def test_recognition_template_comes_from_the_net() -> None:
    net = SimpleNamespace(template=torch.from_numpy(TEMPLATE))
    assets = SimpleNamespace(face_model=None, recognition_net=net)
    options = {
        TemplateDatasetOptions: TemplateDatasetOptions(),
        LandmarkOptions: LandmarkOptions("centre"),
    }
    dataset = create_dataset("template", options, assets, is_train=True)  # pyright: ignore
    np.testing.assert_array_equal(dataset.recognition_template, TEMPLATE)
    assert dataset.landmark_origin == "centre"


def test_the_template_dataset_runs() -> None:
    """What newcomers copy must work as it stands, for training and validation."""
    options = {TemplateDatasetOptions: TemplateDatasetOptions(num_discs=8, disc_size_px=32)}
    for is_train, count in ((True, 8), (False, 2)):
        dataset = create_dataset("template", options, None, is_train=is_train)
        assert len(dataset) == count
        loaded = FaceLoader(dataset, LoaderOptions(batch_size=4, num_threads=1), 0, is_train)
        batches = list(loaded)
        assert sum(len(batch) for batch in batches) == count
        image = batches[0].images[0]
        assert image.shape == (3, 32, 32)
        assert (image[:, 0, 0] == 0).all()
        assert image[:, 16, 16].max() > 0


@pytest.mark.parametrize("broken", [EOFError(), ConnectionResetError(104, "reset by peer")])
def test_a_connection_that_breaks_is_a_loader_that_died(broken: Exception) -> None:
    """Its sockets close before torch can see it dead, which then says no more than this."""
    faces = loader(workers=1)
    faces._batches = Failing(broken, num_workers=1)  # pyright: ignore
    with pytest.raises(InputError, match=r"loads images was ended by the system.*--continue_train"):
        list(faces)


@pytest.mark.parametrize(
    ("broken", "workers"),
    [
        (ConnectionResetError("Caught ConnectionResetError in DataLoader worker process 0."), 1),
        (ConnectionResetError("of a disk in the network"), 0),
    ],
)
def test_what_a_dataset_meets_is_no_loader_that_died(broken: Exception, workers: int) -> None:
    faces = loader(workers=workers)
    faces._batches = Failing(broken, workers)  # pyright: ignore
    with pytest.raises(ConnectionResetError, match=r"in DataLoader worker|of a disk"):
        list(faces)


def test_every_dataset_names_its_options() -> None:
    assert {"flist", "synthetic", "template"} <= DATASETS.keys()
    for dataset_class in DATASETS.values():
        assert dataset_class.option_groups
        assert dataset_class.__doc__
    with pytest.raises(InputError, match="--dataset_mode nowhere is unknown"):
        create_dataset("nowhere", {}, None, is_train=True)
