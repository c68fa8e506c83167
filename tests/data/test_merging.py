"""Shards of a preparation, merged: the files of one run, and a word on all that is missing."""

import csv
from pathlib import Path

import numpy as np
import pytest

import data.preparation
from data.images import write_image
from data.merging import merge_shards
from data.preparation import PreparationOptions, prepare_folders
from data.prepared_files import lines_of
from tests.given_faces import GivenFaces
from util.errors import InputError


class FacesByLight(GivenFaces):
    """Finds none in dark pictures."""

    def detect(self, image, *, largest_only=False, tilted=True):
        found = super().detect(image, largest_only=largest_only, tilted=tilted)
        return found if image.max() > 10 else []


@pytest.fixture(autouse=True)
def given_face(monkeypatch, astronaut_landmarks) -> None:
    face = FacesByLight((astronaut_landmarks - [150, 60]) / 4)
    monkeypatch.setattr(data.preparation, "create_detector", lambda options: face)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two folders of 9 and 5 photos, of which 4 cannot be used."""
    random = np.random.default_rng(0)
    roots = [tmp_path / "datasets" / "mask", tmp_path / "datasets" / "ä b"]
    for root, count in zip(roots, (9, 5), strict=True):
        for number in range(count):
            noise = random.integers(0, 256, (60, 60, 3), dtype=np.uint8)
            write_image(root / f"photo {number}.png", noise)
    write_image(roots[0] / "photo 1.jpg", noise)  # a twin of photo 1.png
    write_image(roots[0] / "dark.png", np.zeros((60, 60, 3), np.uint8))
    (roots[0] / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no")
    (roots[1] / "empty.png").touch()
    (roots[1] / "line\nend.png").write_bytes(b"x")
    return roots


def prepare(tmp_path: Path, folders: list[Path], lists: str = "datalist", **settings):
    return prepare_folders(
        PreparationOptions(tuple(map(str, folders)), num_workers=0, **settings),
        list_root=tmp_path / lists,
        progress=False,
    )


def contents(folder: Path, *names: str) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]


LISTS = ("images.txt", "landmarks.txt", "masks.txt")


@pytest.mark.parametrize("count", [1, 3, 20])
def test_merged_shards_are_one_run(tmp_path: Path, folders, count: int) -> None:
    whole = prepare(tmp_path, folders, "whole")
    reports = [contents(folder, "preparation_report.csv") for folder in folders]
    assert (whole.usable, whole.failed) == (15, 4)
    for folder in folders:
        (folder / "preparation_report.csv").unlink()
    order = np.random.default_rng(count).permutation(count)
    parts = [prepare(tmp_path, folders, shard=f"{index}/{count}") for index in order]
    assert sum(part.usable for part in parts) == 15
    merged = merge_shards(tmp_path / "datalist" / "train", folders)
    assert not merged.missing
    assert merged.failures == whole.failures
    assert merged.examples == whole.examples
    assert (merged.done, merged.skipped) == (0, 15)
    assert contents(tmp_path / "datalist" / "train", *LISTS) == contents(whole.lists, *LISTS)
    assert [contents(folder, "preparation_report.csv") for folder in folders] == reports


def test_shards_share_no_photo_and_no_file(tmp_path: Path, folders) -> None:
    for index in range(3):
        assert prepare(tmp_path, folders, shard=f"{index}/3").skipped == 0
    assert not (tmp_path / "datalist" / "train" / "masks.txt").exists()
    assert not (folders[0] / "preparation_report.csv").exists()


def test_missing_shards_leave_everything_as_it_was(tmp_path: Path, folders) -> None:
    prepare(tmp_path, folders)
    train = tmp_path / "datalist" / "train"
    places = [train, *folders]

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for place in places for path in place.glob("*.[tc]*")}

    for index in (0, 3):
        prepare(tmp_path, folders, shard=f"{index}/4")
    before = files()
    assert len(before) == len(LISTS) + len(folders)
    message = r"^--merge: 2 of 4 parts .*--shard 1/4, 2/4, .*stay as they were .*--merge_partial"
    with pytest.raises(InputError, match=message):
        merge_shards(train)
    assert files() == before


def test_some_shards_are_merged_when_asked_for(tmp_path: Path, folders) -> None:
    for index in (0, 3):
        prepare(tmp_path, folders, shard=f"{index}/4")
    summary = merge_shards(tmp_path / "datalist" / "train", partial=True)
    (sentence,) = summary.missing
    assert "2 of 4 parts are not prepared" in sentence
    assert "--shard 1/4, 2/4" in sentence
    assert str(summary).splitlines()[-1].startswith("missing: 2 of 4")
    assert len(list(lines_of(summary.lists / "masks.txt"))) == summary.usable > 0


def test_a_shard_killed_in_its_midst_counts_as_missing(tmp_path: Path, folders, monkeypatch):
    prepare(tmp_path, folders, shard="0/2")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data.preparation.ShardRecord, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path, folders, shard="1/2")
    with pytest.raises(InputError, match="--shard 1/2"):
        merge_shards(tmp_path / "datalist" / "train")
    prepare(tmp_path, folders, shard="1/2")
    assert not merge_shards(tmp_path / "datalist" / "train").missing


def test_photos_that_came_or_went_are_named(tmp_path: Path, folders) -> None:
    for index in range(2):
        prepare(tmp_path, folders, shard=f"{index}/2")
    (folders[0] / "photo 2.png").unlink()
    for number in range(2):
        (folders[1] / f"new {number}.png").touch()
    missing = merge_shards(tmp_path / "datalist" / "train").missing
    assert len(missing) == 2
    assert "mask holds 1 photos less" in missing[0]
    assert "ä b holds 2 photos more" in missing[1]


def test_what_does_not_belong_together_is_refused(tmp_path: Path, folders) -> None:
    train = tmp_path / "datalist" / "train"
    with pytest.raises(InputError, match="holds no finished part"):
        merge_shards(train)
    prepare(tmp_path, folders, shard="0/2")
    with pytest.raises(InputError, match=r"--img_folder: the parts in .* are of .*mask"):
        merge_shards(train, folders[:1])
    prepare(tmp_path, folders[:1], shard="1/2")
    with pytest.raises(InputError, match=r"part 1/2 is of .*mask, part 0/2 of .*same --img_folder"):
        merge_shards(train)
    prepare(tmp_path, folders, shard="1/2")
    prepare(tmp_path, folders, shard="0/3")
    with pytest.raises(InputError, match="holds parts of 2 and of 3"):
        merge_shards(train)


def test_damaged_lists_of_a_shard_are_named(tmp_path: Path, folders) -> None:
    prepare(tmp_path, folders, shard="0/1")
    path = tmp_path / "datalist" / "train" / "shards" / "00000-of-00001" / "masks.txt"
    path.write_text("x\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"00000-of-00001 cannot be used .*--shard 0/1 again"):
        merge_shards(tmp_path / "datalist" / "train")


def test_nothing_usable_leaves_the_lists_as_they_were(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.png").touch()
    train = tmp_path / "datalist" / "train"
    train.mkdir(parents=True)
    (train / "masks.txt").write_text("old\n", encoding="utf-8")
    prepare(tmp_path, [folder], shard="0/1")
    summary = merge_shards(train)
    assert (summary.usable, summary.failed) == (0, 1)
    assert (train / "masks.txt").read_text(encoding="utf-8") == "old\n"
    with (folder / "preparation_report.csv").open(encoding="utf-8", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["a.png"]


def test_lines_come_in_pieces(tmp_path: Path) -> None:
    """More than one piece, a line longer than a piece, no line end at the end."""
    expected = [f"{number} ä" for number in range(5000)] + ["x" * 100_000, "last"]
    (tmp_path / "a.txt").write_text("\n".join(expected), encoding="utf-8", newline="\n")
    assert list(lines_of(tmp_path / "a.txt")) == expected
