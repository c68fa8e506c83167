"""The benchmark's folder: what is read, how crops go to photos, and files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data import aflw2000
from data.aflw2000 import check_files, continuous_to_photo, read_aflw2000, to_crop, to_photo
from data.images import write_image
from tests.aflw2000_files import CLIPPED, SKIPPED, YAWS, write_aflw2000
from util.errors import InputError


def test_what_is_read(tmp_path: Path):
    arrays = write_aflw2000(tmp_path / "data")
    data = read_aflw2000(tmp_path / "data")
    assert len(data) == len(YAWS)
    assert [image.name for image in data.images[:2]] == ["image00003.jpg", "image00001.jpg"]
    np.testing.assert_array_equal(data.original[4, 30], arrays["AFLW2000-3D.pts68.npy"][4, :, 30])
    assert data.reannotated.shape == (len(YAWS), 68, 2)
    np.testing.assert_allclose(data.yaw_deg, YAWS, atol=1e-5)
    assert data.kept.tolist() == [0, 1, 3, 4, 5, 6] and data.excluded == len(SKIPPED)
    assert data.angles_deg is not None and data.angles_deg.shape == (6, 3)
    assert data.read_crop(0).shape == (120, 120, 3)


def test_without_the_two_files_of_angles(tmp_path: Path):
    write_aflw2000(tmp_path / "data")
    for name in (aflw2000.ANGLES, aflw2000.SKIPPED):
        (tmp_path / "data" / "eval" / name).unlink()
    data = read_aflw2000(tmp_path / "data")
    assert data.angles_deg is None and data.excluded == 0


def test_crops_go_to_photos_by_the_public_rule():
    """By hand: a box of 240 x 180 at (10, 20); the second axis has another scale."""
    boxes = np.array([[10.0, 20.0, 250.0, 200.0]])
    moved = to_photo(np.array([[[60.0, 40.0, 8.0]]]), boxes)
    np.testing.assert_allclose(moved, [[[60 * 2 + 10, 40 * 1.5 + 20, 8 * 1.75]]])
    np.testing.assert_allclose(to_crop(moved, boxes), [[[60, 40]]])
    # The middle of the crop is that of the box; labels count its first pixel's centre as 1.
    middle = continuous_to_photo(np.array([[[60.0, 60.0]]]), boxes)
    np.testing.assert_allclose(middle, [[[130.5, 110.5]]])


def test_a_clipped_box_is_kept_as_it_is(tmp_path: Path):
    arrays = write_aflw2000(tmp_path / "data")
    data = read_aflw2000(tmp_path / "data")
    width, height = data.boxes[CLIPPED, 2:] - data.boxes[CLIPPED, :2]
    assert width == height - 30
    np.testing.assert_array_equal(data.boxes, arrays[aflw2000.BOXES])
    moved = to_photo(np.full((len(data), 1, 2), 120.0), data.boxes)
    np.testing.assert_allclose(moved[CLIPPED, 0], data.boxes[CLIPPED, 2:])


def test_inputs_are_not_changed():
    points = np.ones((1, 68, 3), np.float32)
    to_photo(points, np.array([[0.0, 0.0, 60.0, 60.0]]))
    assert (points == 1).all()


NAMES = [aflw2000.YAW, aflw2000.ORIGINAL, aflw2000.REANNOTATED, aflw2000.BOXES]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_array_is_named(tmp_path: Path, name: str):
    write_aflw2000(tmp_path / "data")
    (tmp_path / "data" / "eval" / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing .*comes with"):
        read_aflw2000(tmp_path / "data")


@pytest.mark.parametrize("name", NAMES)
def test_an_array_of_another_shape_is_named(tmp_path: Path, name: str):
    arrays = write_aflw2000(tmp_path / "data")
    np.save(tmp_path / "data" / "eval" / name, arrays[name][:-1])
    with pytest.raises(InputError, match=f"{name} is 7.*needed is 8"):
        read_aflw2000(tmp_path / "data")


def test_rubbish_and_numbers_that_are_not_finite(tmp_path: Path):
    arrays = write_aflw2000(tmp_path / "data")
    path = tmp_path / "data" / "eval" / aflw2000.BOXES
    path.write_bytes(b"<html>")
    with pytest.raises(InputError, match="no array of numpy"):
        read_aflw2000(tmp_path / "data")
    np.save(path, np.full((8, 4), np.nan))
    with pytest.raises(InputError, match="not finite"):
        read_aflw2000(tmp_path / "data")
    np.save(path, arrays[aflw2000.BOXES][:, [2, 1, 0, 3]])
    with pytest.raises(InputError, match=r"row 0 .*left, top, right, bottom"):
        read_aflw2000(tmp_path / "data")
    np.save(path, np.array([{"code": 1}] * 8))
    with pytest.raises(InputError, match="no array of numpy"):
        read_aflw2000(tmp_path / "data")


def test_a_skip_list_of_another_set(tmp_path: Path):
    write_aflw2000(tmp_path / "data")
    path = tmp_path / "data" / "eval" / aflw2000.SKIPPED
    np.save(path, np.array([2]))
    with pytest.raises(InputError, match=r"has 6 rows, .* names 1 of them: 7 are needed"):
        read_aflw2000(tmp_path / "data")
    np.save(path, np.array([2, 1999]))
    with pytest.raises(InputError, match=r"names image 1999, but .* has 0 to 7"):
        read_aflw2000(tmp_path / "data")
    np.save(path, np.array([2, 2]))
    with pytest.raises(InputError, match="different whole numbers"):
        read_aflw2000(tmp_path / "data")
    path.unlink()
    with pytest.raises(InputError, match=r"skip.npy is missing"):
        read_aflw2000(tmp_path / "data")


def test_files_are_looked_for_by_their_names_alone(tmp_path: Path):
    root = tmp_path / "data"
    write_aflw2000(root)
    for name in (aflw2000.YAW, aflw2000.BOXES):
        (root / "eval" / name).write_bytes(b"damaged")
    check_files(root)
    for path in sorted((root / aflw2000.IMAGES).glob("*.jpg"))[:2]:
        path.unlink()
    with pytest.raises(InputError, match=r"is missing, and 1 more of the \d+ images in"):
        check_files(root)
    for name in (aflw2000.YAW, aflw2000.BOXES):
        (root / "eval" / name).unlink()
    (root / aflw2000.LIST).unlink()
    lacking = f"{aflw2000.LIST}, eval/{aflw2000.YAW}, eval/{aflw2000.BOXES}; they come with"
    with pytest.raises(InputError, match=f"lacks 3 of 6 files and folders .*: {lacking}"):
        check_files(root)


def test_images_and_their_list(tmp_path: Path):
    root = tmp_path / "data"
    with pytest.raises(InputError, match=r"--benchmark_root .* does not exist"):
        read_aflw2000(root)
    write_aflw2000(root)
    crop = root / aflw2000.IMAGES / "image00007.jpg"
    write_image(crop, np.zeros((450, 450, 3), np.uint8))
    data = read_aflw2000(root)
    with pytest.raises(InputError, match=r"image00007.jpg is 450 x 450 pixels"):
        data.read_crop(2)
    crop.unlink()
    with pytest.raises(InputError, match=r"image00007.jpg is missing, which .*list names"):
        read_aflw2000(root)
    (root / aflw2000.LIST).write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="names no image"):
        read_aflw2000(root)
    (root / aflw2000.LIST).unlink()
    with pytest.raises(InputError, match="in which order"):
        read_aflw2000(root)
