"""Results of single faces of an evaluation, kept until it is through: a stopped one goes on there.

    <out>/unfinished/<method>_<key>/<name>.npz    one face, as soon as it is done

The key is of settings, checkpoints, versions and the program's code, so that results of others are
not taken; the data count by their names alone. The folder goes when the method stands in the table.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tqdm import tqdm

from util.atomic import atomic_file, remove_leftovers
from util.evaluation.method_names import file_stem

UNFINISHED = "unfinished"
Arrays = Mapping[str, np.ndarray]


class KeptResults:
    """Those of one method; as a context it says what is there, and removes all at a good end."""

    def __init__(self, out: Path, method: str, key: Sequence[Any]) -> None:
        """Find what an earlier run has left.

        Args:
            out: folder of the evaluation's results.
            method: name of its rows.
            key: what results depend on, as values that JSON can write.
        """
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
        self._method = method
        self.folder = out / UNFINISHED / f"{file_stem(method)}_{digest}"

    def __enter__(self) -> KeptResults:
        remove_leftovers(self.folder)
        if count := self._count():
            tqdm.write(f"{self._method}: goes on from {_results(count)} of a run that was stopped")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # of another method, or not there
                self.folder.parent.rmdir()
        elif issubclass(kind, KeyboardInterrupt) and (count := self._count()):
            # Above the bar, if there is one.
            tqdm.write(
                f"{self._method}: {_results(count)} kept in {self.folder}; "
                "the same command goes on from there"
            )

    def find(self, *name: str) -> Arrays | None:
        """What was kept under a name; None where nothing was, or nothing that can be read."""
        try:
            with self._path(name).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def keep(self, arrays: Arrays, *name: str) -> None:
        """Keep what is done."""
        with atomic_file(self._path(name)) as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]

    def found_or_made(self, make: Callable[[], Arrays], *name: str) -> Arrays:
        """What was kept, or else what is made, which is kept then."""
        arrays = self.find(*name)
        if arrays is None:
            arrays = make()
            self.keep(arrays, *name)
        return arrays

    def _path(self, name: Sequence[str]) -> Path:
        # Names hold folders, and are as long as people like; none is read back from a file's.
        return self.folder / f"{hashlib.sha256(json.dumps(name).encode()).hexdigest()[:32]}.npz"

    def _count(self) -> int:
        return sum(1 for _ in self.folder.glob("*.npz"))


def _results(count: int) -> str:
    return f"{count} result{'' if count == 1 else 's'}"


def in_turn(done: Sequence[bool], at_once: int) -> Iterator[range]:
    """Rows in their order: of those that are done, one each; of the others, some at once.

    Args:
        done: of each row.
        at_once: most of the others.
    """
    begin = 0
    while begin < len(done):
        end = begin + 1
        while not done[begin] and end < min(begin + at_once, len(done)) and not done[end]:
            end += 1
        yield range(begin, end)
        begin = end
