"""Pictures of the user as backgrounds."""

import numpy as np
import pytest

from data.images import write_image
from data.synthetic.backgrounds import PictureFolder
from util.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for number, size in enumerate([(60, 90), (300, 40), (800, 700)]):
        image = np.full((*size, 3), 60 * (number + 1), dtype=np.uint8)
        write_image(tmp_path / f"{number}.png", image)
    return tmp_path


def test_pictures_fill_any_size(folder) -> None:
    pictures, seen = PictureFolder.open(folder), set()
    random = np.random.default_rng(0)
    for _ in range(40):
        scene = pictures.draw(random, 50, 70)
        assert scene is not None and scene.shape == (50, 70, 3)
        assert scene.dtype == np.float32
        assert np.ptp(scene) < 1e-6  # of one picture
        seen.add(round(float(scene.mean() * 255)))
    assert seen == {60, 120, 180}
    again = PictureFolder.open(folder).draw(np.random.default_rng(5), 50, 70)
    np.testing.assert_array_equal(again, pictures.draw(np.random.default_rng(5), 50, 70))


def test_bad_pictures_are_named_and_others_taken(folder) -> None:
    (folder / "bad.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either", encoding="utf-8")
    pictures, random = PictureFolder.open(folder), np.random.default_rng(0)
    assert all(pictures.draw(random, 20, 20) is not None for _ in range(30))
    assert list(pictures.bad) == [str(folder / "bad.jpg")]
    assert "is not a JPEG, PNG" in pictures.bad[str(folder / "bad.jpg")]


def test_nothing_usable_gives_nothing(tmp_path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    assert PictureFolder.open(tmp_path).draw(np.random.default_rng(0), 20, 20) is None


def test_folders_without_pictures_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"^--backgrounds .*has no pictures"):
        PictureFolder.open(tmp_path)
    with pytest.raises(InputError, match=r"^--other .*does not exist"):
        PictureFolder.open(tmp_path / "missing", "other")


def test_another_choice_of_pictures_has_another_digest(folder) -> None:
    before = PictureFolder.open(folder).digest
    write_image(folder / "more.png", np.zeros((20, 20, 3), np.uint8))
    assert PictureFolder.open(folder).digest != before


def test_another_picture_of_the_same_name_has_another_digest(folder) -> None:
    before = PictureFolder.open(folder).digest
    write_image(folder / "1.png", np.zeros((20, 20, 3), np.uint8))
    assert PictureFolder.open(folder).digest != before
