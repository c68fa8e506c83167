"""3DDFA's crops: which are held back, what is done to them, and bad data."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.ddfa_dataset import DdfaDataset, black_border, held_out, jitter, show_only, source_photo
from models.assets import SynergyAssets
from models.synergy.morphable import SynergyFace
from models.synergy.parameters import SynergyMeaning
from options import ParsedOptions
from options.data_options import DdfaOptions
from tests.ddfa_folder import make_ddfa_folder
from util.errors import InputError
from util.synergy.ddfa_files import read_labels, read_morphable_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_ddfa_folder(tmp_path / "data", count=20)


def make(root: Path, is_train: bool = True, **settings) -> DdfaDataset:
    options = DdfaOptions(data_root=str(root), **{"val_share": 0.3, **settings})
    found = read_morphable_folder(root / "3dmm_data")
    assets = SynergyAssets(SynergyFace(found.arrays), found.whitening, SynergyMeaning())
    return DdfaDataset(ParsedOptions([options]), assets, is_train)


def test_every_crop_is_on_one_side_with_its_own_label(root: Path):
    train, val = make(root), make(root, is_train=False)
    assert len(train) + len(val) == 20 and len(val) > 0
    assert not set(train.names) & set(val.names)
    names = (root / "3dmm_data/train_aug_120x120.list.train").read_text().split()
    labels = dict(zip(names, read_labels(root / "3dmm_data/param_all_norm_v201.pkl"), strict=True))
    for dataset in (train, val):
        for index in range(len(dataset)):
            sample = dataset[index]
            assert sample.coefficients is not None
            assert np.array_equal(sample.coefficients, labels[Path(sample.path).name])


@pytest.mark.parametrize(
    ("names", "photo"),
    [
        (["AFW_AFW_134212_1_0_1.jpg", "AFW_Flip_AFW_134212_1_12.jpg"], "AFW_AFW_134212"),
        (["LFPW_LFPW_image_test_0001_0_1.jpg"], "LFPW_LFPW_image_test_0001"),
        (["000012.jpg"], "000012"),
        (["a/b_3.jpg", "b_3_4_5.png"], "b_3"),
        (["4711_b.jpg"], "4711_b"),
    ],
)
def test_copies_of_a_photo_are_known_by_their_names(names: list[str], photo: str):
    assert {source_photo(name) for name in names} == {photo}


def test_the_share_that_is_held_back():
    kept = [held_out(f"HELEN_{number}_1_0.jpg", 0.1) for number in range(5000)]
    assert 0.08 < np.mean(kept) < 0.12
    assert all(held_out(f"HELEN_{n}_1_7_2.jpg", 0.1) == kept[n] for n in range(100))


def test_validation_sees_the_crop_within_its_border(root: Path):
    sample = make(root, is_train=False)[0]
    picture = np.asarray(Image.open(sample.path))
    assert np.array_equal(sample.image[5:-5, 5:-5], picture[5:-5, 5:-5])
    assert sample.image[:5].max() == sample.image[:, -5:].max() == 0


def test_augmentation_follows_from_seed_and_epoch(root: Path):
    dataset = make(root)
    dataset.set_epoch(1, 2)
    first, again = dataset[3].image, dataset[3].image
    assert np.array_equal(first, again)
    dataset.set_epoch(1, 3)
    assert not np.array_equal(first, dataset[3].image)


def test_jitter_of_brightness_contrast_saturation():
    """Of a grey picture only the brightness moves the mean, and by the factors it may."""
    grey = np.full((8, 8, 3), 100, np.uint8)
    means = [jitter(grey, np.random.default_rng(s), 0.4).mean() for s in range(200)]
    assert 59 <= min(means) < 70 and 130 < max(means) <= 140
    colour = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert jitter(colour, np.random.default_rng(0), 0) is colour


@pytest.mark.parametrize(
    ("part", "rows", "columns"),
    [
        ("left_top", (0, 60), (0, 60)),
        ("right_top", (0, 60), (60, 120)),
        ("left_bottom", (60, 120), (0, 60)),
        ("right_bottom", (60, 120), (60, 120)),
        ("left", (0, 120), (0, 60)),
        ("right", (0, 120), (60, 120)),
        ("centre", (30, 90), (30, 90)),
    ],
)
def test_parts_that_stay(part: str, rows: tuple[int, int], columns: tuple[int, int]):
    shown = show_only(np.ones((120, 120, 3), np.uint8), part)[..., 0]
    expected = np.zeros((120, 120), np.uint8)
    expected[rows[0] : rows[1], columns[0] : columns[1]] = 1
    assert np.array_equal(shown, expected)


def test_no_border():
    image = np.ones((4, 4, 3), np.uint8)
    assert black_border(image, 0) is image and black_border(image, 1).sum() == 12


def test_list_and_labels_of_different_data(root: Path):
    path = root / "3dmm_data/param_all_norm_v201.pkl"
    path.write_bytes(pickle.dumps(np.zeros((19, 102), np.float32)))
    with pytest.raises(InputError, match=r"names 20 images, --ddfa_params .* has 19 rows"):
        make(root)


def test_crops_of_another_size_are_named(root: Path):
    dataset = make(root)
    Image.new("RGB", (128, 128)).save(root / "train_aug_120x120" / dataset.names[0])
    with pytest.raises(InputError, match="is 128 x 128 pixels, its label is for crops of 120"):
        dataset[0]


def test_missing_folders_and_empty_sides_are_named(root: Path):
    with pytest.raises(InputError, match=r"--ddfa_images .*elsewhere does not exist"):
        make(root, ddfa_images="elsewhere")
    with pytest.raises(InputError, match="leaves none of 20 images for validation"):
        make(root, is_train=False, val_share=1e-9)
    for share in (0.0, 1.0):
        with pytest.raises(InputError, match="--val_share is"):
            DdfaOptions(val_share=share)
