"""Prepared photos in tar shards, read by the library webdataset: for network file systems.

A folder of a million photos is three million small files, each of which a network file system
looks up and opens. Here a sample is one read in one of a few large files. Samples have numbers as
those of a folder, so that order, resuming and several processes work alike; each epoch goes
through the files in a random order, a few at a time, so that reads stay close together.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.base_dataset import FaceSample, named_files
from data.fitted_labels import FittedLabel, parse_label
from data.images import decode_image
from data.landmarks import parse_landmarks
from data.prepared_dataset import PreparedDataset
from data.tar_shards import (
    IMAGE_ENDINGS,
    LABEL_ENDING,
    LANDMARK_ENDINGS,
    MASK_ENDINGS,
    find_tars,
    sample_ranges,
    tar_library,
)
from models.assets import ModelAssets
from options.data_options import WebdatasetOptions
from options.groups import DATASET_GROUPS
from util.errors import InputError

_MOST_OPEN = 32
_LOOKED_AT = 16
"""Samples that are asked for labels before a training starts."""


class WebdatasetDataset(PreparedDataset):
    """The samples of `FlistDataset`, from tar files in the WebDataset layout."""

    option_groups = DATASET_GROUPS["webdataset"]

    def __init__(self, options: Any, assets: ModelAssets, is_train: bool) -> None:
        """Find the tar files and where their samples lie.

        Raises:
            InputError: no such files, damaged ones, or the library is not installed.
        """
        super().__init__(options, assets, is_train)
        self.options: WebdatasetOptions = options[WebdatasetOptions]
        tar_library()
        self.tars = find_tars(*named_files(self.options, "tar_shards", is_train))
        ranges = [sample_ranges(path) for path in self.tars]
        self._ranges = np.concatenate(ranges)
        self._first = np.cumsum([0, *map(len, ranges)])
        self._files = _OpenFiles()
        if self.with_labels:
            self._look_for_labels()

    def __len__(self) -> int:
        return len(self._ranges)

    def load(self, index: int) -> FaceSample:
        """Read one sample from its tar file and align it."""
        content, tar = self.read(index)
        members = read_sample(content, tar)
        contents, names = [], []
        for endings in (IMAGE_ENDINGS, LANDMARK_ENDINGS, MASK_ENDINGS):
            name = f"{tar}, {members['__key__']}"
            ending = _ending(members, endings, name)
            contents.append(members[ending])
            names.append(f"{name}.{ending}")
        return self.align(
            decode_image(contents[0], names[0]),
            parse_landmarks(contents[1], names[1]),
            decode_image(contents[2], names[2])[..., 0],
            names[0],
            names[1],
            _label(members, tar) if self.with_labels else None,
        )

    def _look_for_labels(self) -> None:
        """See in some samples whether there are fitted coefficients, and of which face model."""
        looked = np.unique(np.linspace(0, len(self) - 1, _LOOKED_AT).astype(int)).tolist()
        read = (self.read(index) for index in looked)
        labels = [_label(read_sample(content, tar), tar) for content, tar in read]
        for label, source in filter(None, labels):
            label.check_model(source, self._card)
        if not any(labels):
            self.notice = (
                f"--w_coeff: none of {len(looked)} samples looked at has fitted coefficients; make "
                "them with data_preparation.py --fit, and pack again"
            )

    def read(self, index: int) -> tuple[bytes, str]:
        """The part of a tar file that holds a sample, and the file's name."""
        tar = self.tars[int(np.searchsorted(self._first, index, side="right")) - 1]
        start, stop = self._ranges[index].tolist()
        return self._files.read(tar, start, stop), str(tar)

    def shuffled(self, size: int, random: np.random.Generator) -> np.ndarray:
        """Shuffle the tar files, then the samples of `tar_window` of them at a time.

        Where there are no more files than that, the order is that of a folder.
        """
        window = self.options.tar_window
        ends: list[int] = np.minimum(self._first, size).tolist()
        if len(self.tars) <= window:
            return super().shuffled(size, random)
        files = random.permutation(len(self.tars))
        order = []
        for start in range(0, len(files), window):
            samples = [np.arange(ends[k], ends[k + 1]) for k in files[start : start + window]]
            order.append(random.permutation(np.concatenate(samples)))
        return np.concatenate(order)


def read_sample(content: bytes, source: str) -> dict[str, Any]:
    """The members of one sample by their endings, and its name as `__key__`.

    Args:
        content: the part of a tar file that holds the sample.
        source: the file, for messages.

    Raises:
        InputError: it is damaged.
    """
    iterators = tar_library().tariterators
    stream = [{"url": source, "stream": io.BytesIO(content)}]
    try:
        samples = iterators.group_by_keys(iterators.tar_file_expander(stream))
        # Hidden files before it, such as a Mac adds, are a sample without a name to the library.
        return next(sample for sample in samples if not sample["__key__"].endswith("/"))
    except Exception as error:
        # What a damaged header leads to is not one kind of error, and may be no sample at all.
        raise InputError(
            f"{source}: a sample is damaged ({type(error).__name__}); copy the file again"
        ) from error


def _label(members: dict[str, Any], tar: str) -> tuple[FittedLabel, str] | None:
    """The fitted coefficients of a sample, and where they are, for messages."""
    if LABEL_ENDING not in members:
        return None
    source = f"{tar}, {members['__key__']}.{LABEL_ENDING}"
    return parse_label(members[LABEL_ENDING], source), source


def _ending(members: dict[str, Any], endings: Sequence[str], name: str) -> str:
    """The ending of a member that a sample must have."""
    for ending in endings:
        if isinstance(members.get(ending), bytes):
            return ending
    raise InputError(
        f"{name} has no .{endings[0]}; a sample holds a photo, .landmarks.txt and .mask.png"
    )


class _OpenFiles:
    """Keeps the files open that were read last, in each process its own."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, BinaryIO] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": OrderedDict(), "_process": None}

    def __del__(self) -> None:
        for file in self._files.values():
            file.close()

    def read(self, path: Path, start: int, stop: int) -> bytes:
        """Bytes of a file; raises InputError if they are not there."""
        if self._process != os.getpid():
            # A forked process shares positions with its parent.
            self._files, self._process = OrderedDict(), os.getpid()
        try:
            if path not in self._files:
                if len(self._files) >= _MOST_OPEN:
                    self._files.popitem(last=False)[1].close()
                self._files[path] = path.open("rb", buffering=0)
            self._files.move_to_end(path)
            file = self._files[path]
            file.seek(start)
            content = _read_all(file, stop - start)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        if len(content) < stop - start:
            raise InputError(f"{path} is cut off at byte {start + len(content)}; copy it again")
        return content


def _read_all(file: BinaryIO, count: int) -> bytes:
    """As many bytes as asked for, or as there are: one unbuffered read may give less."""
    pieces = []
    while count > 0 and (piece := file.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
