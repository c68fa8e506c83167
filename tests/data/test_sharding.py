"""Parts of a folder: whole together, apart from each other, unmoved by what is added."""

from pathlib import Path

import numpy as np
import pytest

from data.images import list_images, stems
from data.preparation import PreparationOptions
from data.sharding import Shard, ShardRecord, family, list_part
from util.errors import InputError

AWKWARD = [
    *("a.jpg", "A.png", "a.png.jpg", "a.png_.webp", "a_.png", "a.jpg_.jpeg"),
    *("b.c.png", "ä 顔.JPG", "straße.png", "STRASSE.jpg", "._a.jpg", "notes.txt"),
]


def fill(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def names_of(folder: Path, count: int) -> list[list[str]]:
    return [list_part(folder, Shard(index, count)).names for index in range(count)]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_photo_is_in_one_part(tmp_path: Path, count: int) -> None:
    fill(tmp_path, [*AWKWARD, *(f"{number:04d}.jpg" for number in range(200))])
    parts = names_of(tmp_path, count)
    assert sorted(name for part in parts for name in part) == sorted(
        path.name for path in list_images(tmp_path)
    )
    assert all(part == sorted(part) for part in parts)


def test_parts_are_about_equal(tmp_path: Path) -> None:
    fill(tmp_path, [f"{number:04d}.jpg" for number in range(2000)])
    sizes = [len(part) for part in names_of(tmp_path, 8)]
    # A fair draw stays within 5 standard deviations of 15 about its mean of 250.
    assert min(sizes) > 175 and max(sizes) < 325


def test_folders_of_equal_names_are_spread_too(tmp_path: Path) -> None:
    holders = {
        next(index for index in range(4) if Shard(index, 4).holds(family(f"clip {n}", "0001.jpg")))
        for n in range(100)
    }
    assert holders == {0, 1, 2, 3}


def test_added_photos_move_no_other(tmp_path: Path) -> None:
    fill(tmp_path, [f"{number:03d}.jpg" for number in range(50)])
    before = names_of(tmp_path, 3)
    fill(tmp_path, [f"{number:03d}5.jpg" for number in range(50)])
    for old, new in zip(before, names_of(tmp_path, 3), strict=True):
        assert set(old) <= set(new)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_stems_are_those_of_the_whole_folder(tmp_path: Path, count: int, seed: int) -> None:
    """Also where a stem depends on the stems of other photos."""
    random = np.random.default_rng(seed)
    pieces = ["a", "A", "b", ".jpg", ".png", ".JPG", "_", ".webp"]
    made = {"".join(random.choice(pieces, random.integers(1, 5))) + ".jpg" for _ in range(150)}
    folder = fill(tmp_path / "x", [*AWKWARD, *sorted(made)])
    images = list_images(folder)
    expected = dict(zip(images, stems(images), strict=True))
    assert len(set(expected.values())) == len(expected)
    found = {
        photo.image: photo.stem
        for index in range(count)
        for photo in list_part(folder, Shard(index, count))
    }
    assert found == expected


def test_an_empty_folder_is_refused_an_empty_part_is_not(tmp_path: Path) -> None:
    fill(tmp_path, ["a.jpg"])
    assert sorted(map(len, names_of(tmp_path, 3))) == [0, 0, 1]
    with pytest.raises(InputError, match="has no pictures"):
        list_part(fill(tmp_path / "void", ["a.txt"]), Shard(0, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "expected i/n"),
        ("a/b", "expected i/n"),
        ("-1/4", "expected i/n"),
        ("4/4", "counted from 0 to 3"),
        ("0/0", "part 0 of 0 does not exist"),
    ],
)
def test_parts_that_do_not_exist(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"--shard {text}: .*{message}"):
        PreparationOptions(shard=text)


def test_reads_what_it_writes(tmp_path: Path) -> None:
    record = ShardRecord(Shard(3, 16), ("datasets/ä b",), 5, 7)
    assert ShardRecord.read(tmp_path) is None
    record.write(tmp_path)
    assert ShardRecord.read(tmp_path) == record
    (tmp_path / "shard.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"shard\.json cannot be read"):
        ShardRecord.read(tmp_path)
