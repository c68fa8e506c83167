"""Prepared photos in tar files, as the library webdataset lays them out: few files, large reads.

    faces-000000.tar     00000000.jpg, 00000000.landmarks.txt, 00000000.mask.png, 00000000.json,
                         00000000.coefficients.json where it was fitted, 00000001.jpg, ...
    faces-000000.idx     where each of them begins

The members of a sample share the name up to the first dot and follow each other. Photo, landmarks
mask and coefficients are the prepared folder's files as they are; the .json names the photo that
they came from.
The index is that of NVIDIA's DALI (`wds2idx`): a line `v1.2 <samples>`, then for each sample one
line of `<ending> <offset> <size> <name>` for each member. With it a sample is one read anywhere in
the file, so that order and resuming are those of a folder.
"""

from __future__ import annotations

import glob
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from data.images import IMAGE_EXTENSIONS
from data.prepared_files import PhotoFiles
from data.sharding import Shard
from util.atomic import atomic_file, write_text
from util.errors import InputError

LANDMARK_ENDINGS = ("landmarks.txt", "txt")
IMAGE_ENDINGS = tuple(ending.removeprefix(".") for ending in IMAGE_EXTENSIONS)
MASK_ENDINGS = tuple(f"mask.{ending}" for ending in IMAGE_ENDINGS)
LABEL_ENDING = "coefficients.json"

_INDEX_VERSION = "v1.2"
_BLOCK = 512
# The library's rule: the name of a sample ends at the first dot of the file's name.
_MEMBER_NAME = re.compile(r"((?:.*/)?[^./]+)\.[^/]*")


@dataclass(frozen=True)
class PackingOptions:
    """Tar shards of prepared photos."""

    tar_folder: str = ""
    """Also write the listed photos into tar files in the WebDataset layout, in tar_folder/<mode>;
    for train.py --dataset_mode webdataset."""
    tar_megabytes: int = 500
    """Size from which a new tar file is begun."""

    def __post_init__(self) -> None:
        """Refuse sizes that hold no photo."""
        if self.tar_megabytes < 1:
            raise ValueError(f"--tar_megabytes is {self.tar_megabytes}; it must be at least 1")


@dataclass(frozen=True)
class PackSummary:
    """What was packed."""

    folder: Path
    samples: int
    files: int
    left_out: tuple[str, ...]
    """The first photos that could not be read any more, and why."""
    num_left_out: int

    def __str__(self) -> str:
        text = f"{self.samples} photos in {self.files} tar files: {self.folder}"
        if self.num_left_out:
            text += f"\n{self.num_left_out} photos left out, such as: {'; '.join(self.left_out)}"
        return text


def pack_photos(
    photos: Iterable[tuple[str, str, str]], folder: Path, max_bytes: int, shard: Shard | None
) -> PackSummary:
    """Write photos into tar files, in their order; an earlier set of the same name is replaced.

    Args:
        photos: paths of image, landmarks and mask, as the lists name them.
        folder: where the files go.
        max_bytes: size from which a new file is begun.
        shard: the part of a preparation that the photos are; its files get its name.

    Raises:
        InputError: the folder holds tar files of another set, which would be read as well.
    """
    name = f"faces-{shard.index:05d}-of-{shard.count:05d}" if shard else "faces"
    _check_others(folder, shard)
    left_out: list[str] = []
    num_left_out = 0

    def readable() -> Iterator[list[tuple[str, bytes]]]:
        nonlocal num_left_out
        for photo in photos:
            try:
                yield _members(*photo)
            except OSError as error:
                num_left_out += 1
                left_out.extend([f"{photo[0]}: {error}"][: 5 - len(left_out)])

    waiting = readable()
    upcoming = next(waiting, None)
    samples = files = 0
    while upcoming is not None:
        path = folder / f"{name}-{files:06d}.tar"
        lines: list[str] = []
        # An index must never stand beside another file than its own.
        path.with_suffix(".idx").unlink(missing_ok=True)
        with atomic_file(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
            while upcoming is not None and (not lines or file.tell() < max_bytes):
                key = f"{shard.index:05d}_{samples:08d}" if shard else f"{samples:08d}"
                lines.append(_add_sample(tar, file, key, upcoming))
                samples += 1
                upcoming = next(waiting, None)
        write_text(
            path.with_suffix(".idx"),
            "".join(f"{line}\n" for line in [f"{_INDEX_VERSION} {len(lines)}", *lines]),
        )
        files += 1
    # What an earlier, longer set of this name has left.
    for path in folder.glob(f"{name}-{'[0-9]' * 6}.tar"):
        if int(path.stem[-6:]) >= files:
            path.unlink()
            path.with_suffix(".idx").unlink(missing_ok=True)
    return PackSummary(folder, samples, files, tuple(left_out), num_left_out)


def find_tars(pattern: str, flag: str) -> list[Path]:
    """The tar files that a flag names, in the order of their names.

    Args:
        pattern: a folder, a file, or a pattern with `*` or with braces as webdataset has them.
        flag: for messages.

    Raises:
        InputError: an address that is no path, or nothing there.
    """
    if "://" in pattern or pattern.startswith("pipe:"):
        raise InputError(
            f"{flag} {pattern} is no path; mount the storage, or copy the tar files: samples are "
            "read in any order, which streams cannot be"
        )
    if Path(pattern).is_dir():
        found = sorted(Path(pattern).glob("*.tar"))
    elif "{" in pattern:
        found = [Path(name) for name in tar_library().shardlists.expand_urls(pattern)]
    else:
        found = [Path(name) for name in sorted(glob.glob(pattern))]  # noqa: PTH207 - any root
    if missing := [path for path in found if not path.is_file()]:
        raise InputError(
            f"{flag} {pattern}: {missing[0]} does not exist ({len(missing)} of {len(found)} are "
            "missing); correct the pattern, or copy them"
        )
    if not found:
        raise InputError(
            f"{flag} {pattern} names no .tar files; write them with "
            "data_preparation.py --tar_folder"
        )
    return found


class TarLibraryMissing(InputError):
    """The library webdataset, which is an optional extra, cannot be used."""

    def __init__(self, reason: object) -> None:
        """Say what installs it.

        Args:
            reason: why it cannot be imported.
        """
        super().__init__(
            f"--dataset_mode webdataset needs the library webdataset ({reason}); install it with "
            "`pip install webdataset`"
        )


def check_tars(pattern: str, flag: str) -> None:
    """Refuse what names no tar files, without the library; patterns with braces need it.

    Raises:
        InputError: as `find_tars`.
        TarLibraryMissing: the library is not installed.
    """
    if find_spec("webdataset") is None:
        raise TarLibraryMissing("there is no module of this name")
    if "{" not in pattern:
        find_tars(pattern, flag)


def tar_library() -> Any:
    """The library webdataset, imported.

    Raises:
        TarLibraryMissing: it cannot be.
    """
    try:
        import webdataset.shardlists
        import webdataset.tariterators
    except ImportError as error:
        raise TarLibraryMissing(error) from error
    return webdataset


def sample_ranges(path: Path) -> np.ndarray:
    """Where each sample of a tar file begins and ends: (n, 2) int64 bytes.

    They come from the index beside it, or else from the headers of the file, which takes longer.

    Raises:
        InputError: not a plain tar file, cut off, or with an index that does not fit it.
    """
    try:
        size = path.stat().st_size
        index = path.with_suffix(".idx")
        text = index.read_text(encoding="utf-8") if index.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read with its index ({error})") from error
    if text.startswith(f"{_INDEX_VERSION} "):
        ranges = _read_index(text, index)
    else:
        ranges = _scan(path)
    if len(ranges) and ranges[-1, 1] > size:
        raise InputError(
            f"{path} has {size} bytes, but its samples end at byte {ranges[-1, 1]}: it is cut "
            f"off, or {index.name} is of another file; copy both again, or delete the index"
        )
    return ranges


def _members(image: str, landmarks: str, mask: str) -> list[tuple[str, bytes]]:
    """Ending and content of each member of a sample."""
    source = json.dumps({"image": image}, ensure_ascii=False)
    label = PhotoFiles(Path(image), Path(mask).stem).label
    fitted = [(LABEL_ENDING, label.read_bytes())] if label.is_file() else []
    return [
        (Path(image).suffix.lower().removeprefix("."), Path(image).read_bytes()),
        ("landmarks.txt", Path(landmarks).read_bytes()),
        (f"mask{Path(mask).suffix.lower()}", Path(mask).read_bytes()),
        *fitted,
        ("json", source.encode()),
    ]


def _add_sample(
    tar: tarfile.TarFile, file: IO[bytes], key: str, members: list[tuple[str, bytes]]
) -> str:
    """Append a sample; returns its line of the index."""
    words = []
    for ending, content in members:
        # Neither owner nor time: the same photos give the same file.
        member = tarfile.TarInfo(f"{key}.{ending}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
        offset = file.tell() - _padded(len(content))
        words += [ending, str(offset), str(len(content)), member.name]
    return " ".join(words)


def _check_others(folder: Path, shard: Shard | None) -> None:
    """Refuse a folder with other tar files than those of this set, all its parts included."""
    ours = r"faces-\d{6}" if shard is None else rf"faces-\d{{5}}-of-{shard.count:05d}-\d{{6}}"
    for path in sorted(folder.glob("*.tar")):
        if not re.fullmatch(ours, path.stem):
            raise InputError(
                f"--tar_folder: {folder} holds {path.name}, which is not of this set and would be "
                "trained on as well; delete the old set or give another folder"
            )


def _read_index(text: str, path: Path) -> np.ndarray:
    header, *lines = text.splitlines()
    try:
        ends = []
        for line in lines:
            words = line.split()
            if not words or len(words) % 4:
                raise ValueError(f"a line has {len(words)} words, no multiple of 4")
            offsets, sizes = map(int, words[1::4]), map(int, words[2::4])
            ends.append(max(o + _padded(s) for o, s in zip(offsets, sizes, strict=True)))
        if len(lines) != int(header.split()[1]):
            raise ValueError(f"{len(lines)} samples where its head says {header.split()[1]}")
        return _ranges(ends)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{path} is no index of a tar file ({error}); delete it, or write it again"
        ) from error


def _scan(path: Path) -> np.ndarray:
    """Ranges from the headers in the file itself."""
    ends: list[int] = []
    last = None
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                tar.members = []  # pyright: ignore - else it remembers every member
                match = _MEMBER_NAME.fullmatch(member.name)
                if not (member.isreg() and match):
                    continue
                if match.group(1) == last:
                    ends.pop()
                ends.append(member.offset_data + _padded(member.size))
                last = match.group(1)
        return _ranges(ends)
    except (OSError, ValueError, tarfile.TarError, OverflowError) as error:
        raise InputError(
            f"{path} is no plain tar file or damaged ({error}); unpack compressed ones, or copy it "
            "again"
        ) from error


def _ranges(ends: list[int]) -> np.ndarray:
    """(n, 2): each sample begins where the one before it ends."""
    stops = np.array(ends, dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), stops])[: len(stops)]
    if (starts >= stops).any():
        raise ValueError("samples do not follow each other")
    return np.stack([starts, stops], axis=1)


def _padded(size: int) -> int:
    """Bytes that content takes in a tar file."""
    return -(-size // _BLOCK) * _BLOCK
