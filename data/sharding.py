"""The photos of a folder, or one part of them that a process among many prepares.

Which part a photo belongs to follows from its name alone, so that processes need to know nothing
of each other, and a photo that is added moves no other one.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from data.images import IMAGE_EXTENSIONS, image_names, is_image_name, stem_family
from data.prepared_files import PhotoFiles, unusual_stems
from util.atomic import write_text
from util.errors import InputError

SHARDS_NAME = "shards"
_RECORD_NAME = "shard.json"
_FOLDER_NAME = re.compile(r"(\d+)-of-(\d+)")


@dataclass(frozen=True, order=True)
class Shard:
    """Part `index` of `count`, counted from 0 as array jobs are."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Refuse parts that do not exist."""
        if self.count < 1 or not 0 <= self.index < self.count:
            raise ValueError(
                f"part {self.index} of {self.count} does not exist: parts are counted from 0 to "
                f"{max(self.count - 1, 0)}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `i/n`.

        Raises:
            ValueError: of another form, or a part that does not exist.
        """
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if not match:
            raise ValueError("expected i/n, such as 0/16 for the first of 16 parts")
        return cls(int(match.group(1)), int(match.group(2)))

    @classmethod
    def of_folder(cls, folder: Path) -> Shard | None:
        """The shard whose record a folder holds, None if its name is another."""
        match = _FOLDER_NAME.fullmatch(folder.name)
        try:
            return cls(int(match.group(1)), int(match.group(2))) if match else None
        except ValueError:
            return None

    def holds(self, number: int) -> bool:
        """Whether a family of photos belongs here."""
        return number % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def family(folder: str, name: str) -> int:
    """A number for a photo and all whose stems depend on it: one process must know them all.

    Args:
        folder: name of the photos' folder; without it folders of `0001.jpg` would all be in one
            part.
        name: of the photo's file.
    """
    text = f"{folder}/{stem_family(name)}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


@dataclass(frozen=True)
class FolderPart:
    """The photos of one folder that a shard holds: their names, nothing else for each."""

    folder: Path
    names: list[str]
    """Sorted."""
    odd_stems: dict[str, str] = field(default_factory=dict)
    """Stems by name, where they are not the name without its ending."""

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[PhotoFiles]:
        """The photos in the order of their names."""
        for name in self.names:
            yield PhotoFiles(self.folder / name, self.odd_stems.get(name) or Path(name).stem)


def list_part(folder: Path, shard: Shard) -> FolderPart:
    """List the photos of a folder that belong to a shard.

    Raises:
        InputError: the folder has no pictures at all.
    """
    folder_name = folder.resolve().name
    names: list[str] = []
    families = array("Q")
    empty = True
    for name in image_names(folder):
        empty = False
        number = family(folder_name, name)
        if shard.holds(number):
            names.append(name)
            families.append(number)
    if empty:
        raise InputError(
            f"{folder} has no pictures; their names must end in one of {' '.join(IMAGE_EXTENSIONS)}"
        )
    # Only photos with relatives can have an unusual stem, or those that had some. Numbers are
    # sorted in little memory.
    in_order = np.sort(np.frombuffer(families, np.uint64))
    shared = set(in_order[1:][in_order[1:] == in_order[:-1]].tolist())
    marked = [mask for mask in _masks(folder) if is_image_name(mask.removesuffix(".png"))]
    shared |= {family(folder_name, mask) for mask in marked}
    relatives = [name for name, number in zip(names, families, strict=True) if number in shared]
    odd = unusual_stems(relatives, marked)
    names.sort()
    return FolderPart(folder, names, odd)


def _masks(folder: Path) -> Iterator[str]:
    masks = folder / "mask"
    return image_names(masks) if masks.is_dir() else iter(())


def shard_folder(lists: Path, shard: Shard) -> Path:
    """Where the lists of a shard lie, in the folder of the whole lists; sorts as the shards do."""
    return lists / SHARDS_NAME / f"{shard.index:05d}-of-{shard.count:05d}"


@dataclass(frozen=True)
class ShardRecord:
    """What a finished shard says of itself, beside its lists."""

    shard: Shard
    folders: tuple[str, ...]
    """Folders of photos, in the order of the lists."""
    done: int
    skipped: int
    fitted: int | None = None
    """Usable photos with fitted coefficients; None where nothing was fitted."""

    def write(self, lists: Path) -> None:
        """Write the record; it marks the lists beside it as whole."""
        record = {**asdict(self), "shard": str(self.shard)}
        write_text(lists / _RECORD_NAME, json.dumps(record, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def read(cls, lists: Path) -> ShardRecord | None:
        """The record of a shard; None where there is none.

        Raises:
            InputError: it cannot be read.
        """
        path = lists / _RECORD_NAME
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                Shard.parse(record["shard"]),
                tuple(str(folder) for folder in record["folders"]),
                int(record["done"]),
                int(record["skipped"]),
                None if record.get("fitted") is None else int(record["fitted"]),
            )
        except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"{path} cannot be read ({error}); run data_preparation.py with that --shard again"
            ) from error
