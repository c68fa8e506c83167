"""Tar shards: the samples of the folder, in a reproducible order, or a clear error."""

import io
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from data import tar_shards
from data.flist_dataset import FlistDataset
from data.images import write_image
from data.landmarks import write_landmarks
from data.loader import FaceLoader
from data.prepared_files import PhotoFiles
from data.sharding import Shard
from data.skin_mask import skin_mask
from data.tar_shards import (
    TarLibraryMissing,
    check_tars,
    find_tars,
    pack_photos,
    sample_ranges,
)
from data.webdataset_dataset import WebdatasetDataset
from options.data_options import AugmentationOptions, FlistOptions, WebdatasetOptions
from options.face_options import LandmarkOptions
from options.train_options import LoaderOptions
from util.errors import InputError

pytest.importorskip("webdataset", reason="the extra webdataset")

COUNT = 12


@pytest.fixture
def photos(tmp_path, astronaut, astronaut_landmarks) -> list[PhotoFiles]:
    """A prepared folder of 12 different photos in several formats, with dots in their names."""
    files = []
    for number in range(COUNT):
        image = np.ascontiguousarray(astronaut[20:260, 100 + number : 340])
        name = f"a.b {number}.{('png', 'jpg', 'JPEG')[number % 3]}"
        photo = PhotoFiles(tmp_path / "faces" / name, Path(name).stem)
        write_image(photo.image, image)
        write_landmarks(photo.landmarks, astronaut_landmarks - [100 + number, 20])
        write_image(photo.mask, skin_mask(image))
        files.append(photo)
    return files


@pytest.fixture
def assets(standard_points):
    points = torch.from_numpy(standard_points).float()
    return SimpleNamespace(
        face_model=SimpleNamespace(alignment_points=points), recognition_net=None
    )


def pack(photos: list[PhotoFiles], folder: Path, max_bytes: int = 2**30, shard=None):
    return pack_photos([photo.listed for photo in photos], folder, max_bytes, shard)


def tar_dataset(assets, tars: Path | str, is_train: bool = True, window: int = 16):
    options = {
        WebdatasetOptions: WebdatasetOptions(str(tars), str(tars), window),
        AugmentationOptions: AugmentationOptions(),
        LandmarkOptions: LandmarkOptions(),
    }
    return WebdatasetDataset(options, assets, is_train)


def folder_dataset(assets, photos: list[PhotoFiles], is_train: bool = True):
    flist = photos[0].image.parent / "masks.txt"
    flist.write_text("".join(f"{photo.listed[2]}\n" for photo in photos), encoding="utf-8")
    options = {
        FlistOptions: FlistOptions("./", str(flist), str(flist)),
        AugmentationOptions: AugmentationOptions(),
        LandmarkOptions: LandmarkOptions(),
    }
    return FlistDataset(options, assets, is_train)


def loader(dataset, workers: int = 0, **fields) -> FaceLoader:
    options = LoaderOptions(batch_size=5, batch_size_val=5, num_threads=workers, **fields)
    return FaceLoader(dataset, options, seed=3, is_train=dataset.is_train)


def keys(faces: FaceLoader) -> list[str]:
    return [path.rpartition(", ")[2] for batch in faces for path in batch.paths]


@pytest.mark.parametrize("max_bytes", [1, 400_000, 2**30])
@pytest.mark.parametrize("is_train", [True, False])
def test_samples_are_those_of_the_folder(tmp_path, photos, assets, is_train, max_bytes) -> None:
    summary = pack(photos, tmp_path / "tar", max_bytes)
    assert (summary.samples, summary.num_left_out) == (COUNT, 0)
    assert summary.files == {1: COUNT, 2**30: 1}.get(max_bytes, summary.files)
    folder = folder_dataset(assets, photos, is_train)
    tars = tar_dataset(assets, tmp_path / "tar", is_train)
    assert len(tars) == COUNT
    for index in range(COUNT):
        expected, found = folder[index], tars[index]
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.mask, expected.mask)
        np.testing.assert_array_equal(found.landmarks, expected.landmarks)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_folder(tmp_path, photos, assets, workers: int) -> None:
    pack(photos, tmp_path / "tar", max_bytes=400_000)
    expected = loader(folder_dataset(assets, photos))
    found = loader(tar_dataset(assets, tmp_path / "tar"), workers)
    for epoch in (1, 2):
        expected.set_epoch(epoch)
        found.set_epoch(epoch)
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one.images, other.images)
            torch.testing.assert_close(one.landmarks_px, other.landmarks_px, rtol=0, atol=0)


def test_the_order_goes_through_a_window_of_files_at_a_time(tmp_path, photos, assets) -> None:
    pack(photos, tmp_path / "tar", max_bytes=1)  # one sample a file
    dataset = tar_dataset(assets, tmp_path / "tar", window=4)
    orders = [dataset.shuffled(COUNT, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert sorted(orders[0]) == list(range(COUNT))
    assert orders[0].tolist() == orders[1].tolist() != orders[2].tolist()
    np.testing.assert_array_equal(
        sorted(dataset.shuffled(7, np.random.default_rng(0))), np.arange(7)
    )
    pack(photos, tmp_path / "three", max_bytes=500_000)
    dataset = tar_dataset(assets, tmp_path / "three", window=1)
    assert len(dataset.tars) > 2
    order = dataset.shuffled(COUNT, np.random.default_rng(0))
    files = np.searchsorted(dataset._first, order, side="right")
    assert (np.diff(files) != 0).sum() == len(dataset.tars) - 1


def test_an_epoch_goes_on_where_it_stopped_for_any_number_of_workers(tmp_path, photos, assets):
    pack(photos, tmp_path / "tar", max_bytes=1)
    whole = loader(tar_dataset(assets, tmp_path / "tar", window=4))
    whole.set_epoch(5)
    seen = keys(whole)
    resumed = loader(tar_dataset(assets, tmp_path / "tar", window=4), workers=2)
    resumed.set_epoch(5, skip=1)
    assert keys(resumed) == seen[5:]


# It leaves closing its files to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_library_itself_reads_what_is_written(tmp_path, photos) -> None:
    webdataset: Any = pytest.importorskip("webdataset")
    pack(photos[:3], tmp_path / "tar")
    samples = list(
        webdataset.DataPipeline(
            webdataset.SimpleShardList(str(tmp_path / "tar" / "faces-{000000..000000}.tar")),
            webdataset.tarfile_to_samples(),
        )
    )
    assert [sample["__key__"] for sample in samples] == ["00000000", "00000001", "00000002"]
    for sample, photo in zip(samples, photos, strict=False):
        assert sample[photo.image.suffix[1:].lower()] == photo.image.read_bytes()
        assert sample["landmarks.txt"] == photo.landmarks.read_bytes()
        assert sample["mask.png"] == photo.mask.read_bytes()
        assert photo.image.name in sample["json"].decode()


def test_the_index_is_dalis(tmp_path, photos) -> None:
    """A line of ending, offset, size, name for each member, which are where it says."""
    pack(photos, tmp_path / "tar")
    content = (tmp_path / "tar" / "faces-000000.tar").read_bytes()
    head, *lines = (tmp_path / "tar" / "faces-000000.idx").read_text("utf-8").splitlines()
    with tarfile.open(tmp_path / "tar" / "faces-000000.tar") as tar:
        members = {member.name: (member.offset_data, member.size) for member in tar}
    assert head == f"v1.2 {len(lines)}"
    for line in lines:
        words = line.split(" ")
        for ending, offset, size, name in zip(*(words[k::4] for k in range(4)), strict=True):
            assert name.partition(".")[2] == ending
            assert members[name] == (int(offset), int(size))
    assert content[int(lines[0].split(" ")[1]) :].startswith(photos[0].image.read_bytes()[:100])


def test_packing_repeats_and_leaves_no_old_files(tmp_path, photos) -> None:
    first = pack(photos, tmp_path / "tar", max_bytes=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "tar").iterdir()}
    assert len(before) == 2 * first.files == 2 * COUNT
    pack(photos, tmp_path / "tar", max_bytes=1)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "tar").iterdir()}
    pack(photos[:3], tmp_path / "tar", max_bytes=1)
    assert len(list((tmp_path / "tar").iterdir())) == 6


def test_parts_of_a_preparation_pack_side_by_side(tmp_path, photos, assets) -> None:
    for index in range(3):
        pack(photos[index::3], tmp_path / "tar", shard=Shard(index, 3))
    dataset = tar_dataset(assets, tmp_path / "tar", is_train=False)
    found = [dataset[index].image for index in range(COUNT)]
    folder = folder_dataset(assets, photos[0::3] + photos[1::3] + photos[2::3], is_train=False)
    for index, image in enumerate(found):
        np.testing.assert_array_equal(image, folder[index].image)
    for other in (None, Shard(0, 4)):
        with pytest.raises(InputError, match="which is not of this set"):
            pack(photos, tmp_path / "tar", shard=other)


def test_vanished_photos_are_left_out_and_named(tmp_path, photos) -> None:
    photos[3].mask.unlink()
    summary = pack(photos, tmp_path / "tar")
    assert (summary.samples, summary.num_left_out) == (COUNT - 1, 1)
    assert "1 photos left out" in str(summary) and photos[3].image.name in str(summary)


def write_tar(path: Path, members: dict[str, bytes], tar_format=tarfile.PAX_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tar_format) as tar:
        folder = tarfile.TarInfo("some folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_the_users_own_shards_without_an_index(tmp_path, photos, assets, tar_format) -> None:
    """Folders, long and foreign names, hidden files, .txt, members of other endings."""
    members = {}
    for number, photo in enumerate(photos):
        key = f"some folder/{'lang ä ' * 20 * (number % 2)}{number:03d}"
        members[f"{key}.{photo.image.suffix[1:].upper()}"] = photo.image.read_bytes()
        members[f"{key}.txt"] = photo.landmarks.read_bytes()
        members[f"{key}.mask.png"] = photo.mask.read_bytes()
        members[f"{key}.cls"] = b"7"
        members[f"some folder/._{number}"] = b"rubbish"
    write_tar(tmp_path / "own" / "x.tar", members, tar_format)
    dataset = tar_dataset(assets, tmp_path / "own" / "*.tar", is_train=False)
    folder = folder_dataset(assets, photos, is_train=False)
    assert len(dataset) == COUNT
    for index in range(COUNT):
        np.testing.assert_array_equal(dataset[index].image, folder[index].image)
        np.testing.assert_array_equal(dataset[index].mask, folder[index].mask)


def test_headers_and_index_say_the_same(tmp_path, photos) -> None:
    pack(photos, tmp_path / "tar")
    path = tmp_path / "tar" / "faces-000000.tar"
    by_index = sample_ranges(path)
    path.with_suffix(".idx").unlink()
    np.testing.assert_array_equal(sample_ranges(path), by_index)


@pytest.mark.parametrize(
    ("ending", "content", "problem"),
    [
        ("png", b"rubbish", r"x\.tar, a\.png is not a JPEG"),
        ("png", b"", r"x\.tar, a\.png is empty"),
        ("png", None, r"x\.tar, a has no \.jpg"),
        ("txt", b"1 2\n", r"x\.tar, a\.txt holds 1 points"),
        ("txt", None, r"x\.tar, a has no \.landmarks\.txt"),
        ("mask.png", b"rubbish", r"x\.tar, a\.mask\.png is not a JPEG"),
        ("mask.png", None, r"x\.tar, a has no \.mask\.jpg"),
    ],
)
def test_a_bad_sample_is_named_and_replaced(tmp_path, photos, assets, ending, content, problem):
    members = {}
    for key, photo in zip("abc", (photos[0], photos[3], photos[6]), strict=True):
        members[f"{key}.png"] = photo.image.read_bytes()
        members[f"{key}.txt"] = photo.landmarks.read_bytes()
        members[f"{key}.mask.png"] = photo.mask.read_bytes()
    members[f"a.{ending}"] = content
    members = {name: content for name, content in members.items() if content is not None}
    write_tar(tmp_path / "x.tar", members)
    dataset = tar_dataset(assets, tmp_path / "x.tar", is_train=False)
    with pytest.raises(InputError, match=problem):
        dataset[0]
    faces = loader(dataset)
    assert len(keys(faces)) == 3
    assert len(faces.bad_images.take()) == 1


def test_damage_to_a_header_costs_its_sample(tmp_path, photos, assets) -> None:
    pack(photos, tmp_path / "tar")
    path = tmp_path / "tar" / "faces-000000.tar"
    start = int(sample_ranges(path)[4, 0])
    content = bytearray(path.read_bytes())
    content[start + 3 : start + 20] = b"\xff" * 17
    path.write_bytes(content)
    faces = loader(tar_dataset(assets, tmp_path / "tar", is_train=False))
    assert len(keys(faces)) == COUNT
    (problem,) = faces.bad_images.take().values()
    assert "faces-000000.tar: a sample is damaged" in problem


def test_files_that_are_cut_or_do_not_fit_are_named(tmp_path, photos, assets) -> None:
    pack(photos, tmp_path / "tar")
    path = tmp_path / "tar" / "faces-000000.tar"
    dataset = tar_dataset(assets, tmp_path / "tar", is_train=False)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="is cut off at byte"):
        dataset[COUNT - 1]
    with pytest.raises(InputError, match=r"its samples end at byte \d+: it is cut off"):
        sample_ranges(path)
    for index in ("v1.2 1\njpg 512\n", "v1.2 2\njpg 512 4 a.jpg\n", "v1.2 1\njpg x 4 a.jpg\n"):
        path.with_suffix(".idx").write_text(index, encoding="utf-8")
        with pytest.raises(InputError, match=r"idx is no index of a tar file .* delete it"):
            sample_ranges(path)
    path.with_suffix(".idx").unlink()
    path.write_bytes(b"not a tar file at all" * 100)
    with pytest.raises(InputError, match="is no plain tar file"):
        sample_ranges(path)


def test_what_names_no_tar_files(tmp_path, photos) -> None:
    pack(photos, tmp_path / "tar", max_bytes=1)
    assert len(find_tars(str(tmp_path / "tar"), "--tar_shards")) == COUNT
    pattern = str(tmp_path / "tar" / "faces-{000002..000004}.tar")
    assert [path.stem[-1] for path in find_tars(pattern, "--tar_shards")] == ["2", "3", "4"]
    for bad, message in (
        (tmp_path, "names no .tar files; write them with"),
        (tmp_path / "none-*.tar", "names no .tar files"),
        (
            tmp_path / "tar" / "faces-{000010..000013}.tar",
            r"faces-000012\.tar does not exist \(2 of 4 are",
        ),
        ("https://host/x.tar", "is no path; mount"),
        ("pipe:cat x.tar", "is no path; mount"),
    ):
        with pytest.raises(InputError, match=f"--tar_shards_val .*{message}"):
            find_tars(str(bad), "--tar_shards_val")


def test_without_the_library_the_extra_is_named(tmp_path, photos, assets, monkeypatch) -> None:
    pack(photos, tmp_path / "tar")
    for name in ("webdataset", "webdataset.shardlists", "webdataset.tariterators"):
        monkeypatch.setitem(sys.modules, name, None)
    said = r"needs the library webdataset .*pip install webdataset"
    with pytest.raises(TarLibraryMissing, match=said):
        tar_dataset(assets, tmp_path / "tar")
    # Before anything is imported, without a try.
    monkeypatch.setattr(tar_shards, "tar_library", lambda: pytest.fail("it was imported"))
    monkeypatch.setattr(tar_shards, "find_spec", lambda _: None)
    with pytest.raises(TarLibraryMissing, match=said):
        check_tars(str(tmp_path / "tar"), "--tar_shards")
