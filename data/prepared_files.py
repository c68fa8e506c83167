"""The files of prepared photos: where each lies, the lists that name them, the reports."""

from __future__ import annotations

import csv
import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data.images import is_image_name, stem_family, stems
from util.atomic import atomic_file

REPORT_NAME = "preparation_report.csv"
REPORT_COLUMNS = ("image", "kind", "reason")
LIST_NAMES = ("images", "landmarks", "masks")

DOUBTFUL = "doubtful fit"
FailureKind = Literal[
    "picture", "no face", "landmarks", "writing", "process died", "unexpected", "doubtful fit"
]


@dataclass(frozen=True)
class PhotoFiles:
    """Where the parts of one photo lie."""

    image: Path
    stem: str

    @property
    def detection(self) -> Path:
        """Five points."""
        return self.image.parent / "detections" / f"{self.stem}.txt"

    @property
    def landmarks(self) -> Path:
        """68 points."""
        return self.image.parent / "landmarks" / f"{self.stem}.txt"

    @property
    def mask(self) -> Path:
        """Skin mask."""
        return self.image.parent / "mask" / f"{self.stem}.png"

    @property
    def label(self) -> Path:
        """Fitted coefficients."""
        return self.image.parent / "coefficients" / f"{self.stem}.json"

    @property
    def doubt(self) -> Path:
        """Why there are none, if the photo was fitted."""
        return self.image.parent / "doubtful" / f"{self.stem}.json"

    @property
    def listed(self) -> tuple[str, str, str]:
        """Lines of the three lists, with slashes on every platform, so that lists travel."""
        return self.image.as_posix(), self.landmarks.as_posix(), self.mask.as_posix()

    def finished(self) -> bool:
        """Whether nothing is left to do but to fit. All files are written whole or not at all."""
        return self.mask.is_file() and self.landmarks.is_file()


@dataclass(frozen=True)
class Failure:
    """Why a photo cannot be used; or, if it is a doubtful fit, only its label."""

    kind: FailureKind
    """What failed, for counting."""
    reason: str
    """The whole story, with names and remedy."""

    @property
    def usable(self) -> bool:
        """Whether the photo can be trained on all the same."""
        return self.kind == DOUBTFUL


def unusual_stems(names: Iterable[str], masks: Iterable[str]) -> dict[str, str]:
    """The stems of a folder's photos that are not their name without its ending.

    They follow from the names (`data.images.stems`), unless masks show that a photo has used its
    whole name: `mask/a.png.png` is that of `a.png`, also when the `a.jpg` that had the stem `a`
    is gone. Else what belongs to `a.jpg` would be taken for that of `a.png`.

    Args:
        names: of photos; all of a folder or of whole families (`data.sharding`).
        masks: names of the files in mask/.
    """
    paths = [Path(name) for name in names]
    found = {path.name: stem for path, stem in zip(paths, stems(paths), strict=True)}
    taken = set(found.values())
    marked = {name for mask in masks if is_image_name(name := mask.removesuffix(".png"))}
    for path in paths:
        if path.name in marked and found[path.name] == path.stem and path.name not in taken:
            found[path.name] = path.name
    return {path.name: found[path.name] for path in paths if found[path.name] != path.stem}


def images_by_stem(names: Collection[str], masks: Iterable[str]) -> dict[str, str]:
    """The photo of each stem, of all photos of a folder."""
    families = Counter(map(stem_family, names))
    marked = [mask for mask in masks if is_image_name(mask.removesuffix(".png"))]
    families.update(map(stem_family, marked))
    unusual = unusual_stems([name for name in names if families[stem_family(name)] > 1], marked)
    return {unusual.get(name) or Path(name).stem: name for name in names}


class ListWriter:
    """Writes images.txt, landmarks.txt and masks.txt: line i of each belongs to one photo.

    A context manager: the three take the place of earlier ones when its block succeeds.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is written before the block begins."""
        self._folder, self._stack = folder, ExitStack()
        self.count = 0
        """Photos added."""

    def __enter__(self) -> ListWriter:
        self._files = [
            self._stack.enter_context(atomic_file(self._folder / f"{name}.txt", "w"))
            for name in LIST_NAMES
        ]
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # pyright: ignore[reportArgumentType]

    def add(self, lines: tuple[str, str, str]) -> None:
        """Add a photo by its three paths, as `PhotoFiles.listed`."""
        for file, line in zip(self._files, lines, strict=True):
            file.write(line + "\n")
        self.count += 1


class ReportWriter:
    """Writes a table of photos that cannot be used, or whose fit cannot; used as `ListWriter`."""

    def __init__(self, path: Path) -> None:
        """Nothing is written before the block begins."""
        self._file = atomic_file(path, "w")

    def __enter__(self) -> ReportWriter:
        self._rows = csv.writer(self._file.__enter__(), lineterminator="\n")
        self._rows.writerow(REPORT_COLUMNS)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)  # pyright: ignore[reportArgumentType]

    def add(self, image: str, failure: Failure) -> None:
        """Add a row. Each is one line, whatever the photo is called."""
        self._rows.writerow([printable(image), failure.kind, " ".join(failure.reason.split())])


class Outcomes:
    """What became of each photo of a run: one byte a photo; reasons wait in a temporary file."""

    DONE, SKIPPED, FAILED = 1, 2, 3

    def __init__(self, count: int) -> None:
        """All photos are undecided; a context manager, which owns the temporary file."""
        self._states = bytearray(count)
        self._reasons = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._numbers, self._offsets = array("Q"), array("Q")
        self.kinds: Counter[str] = Counter()
        """Failures by kind."""
        self.doubts = 0
        """Photos whose fit is doubtful."""
        self.examples: dict[str, str] = {}
        """The first reason of each kind, by the photos' order."""
        self._first: dict[str, int] = {}
        self._order: np.ndarray | None = None

    def __enter__(self) -> Outcomes:
        return self

    def __exit__(self, *error: object) -> None:
        self._reasons.close()

    def done(self, number: int) -> None:
        """A photo was prepared."""
        self._states[number] = self.DONE

    def skip(self, number: int) -> None:
        """A photo was finished before."""
        self._states[number] = self.SKIPPED

    def fail(self, number: int, failure: Failure) -> None:
        """A photo cannot be used."""
        self._states[number] = self.FAILED
        self.kinds[failure.kind] += 1
        self._keep(number, failure)

    def doubt(self, number: int, failure: Failure) -> None:
        """A photo that can be used has a doubtful fit."""
        self.doubts += 1
        self._keep(number, failure)

    def _keep(self, number: int, failure: Failure) -> None:
        """Keep the reason for the report."""
        self._numbers.append(number)
        self._offsets.append(self._reasons.seek(0, os.SEEK_END))
        reason = printable(" ".join(failure.reason.split()))
        self._reasons.write(f"{failure.kind}\t{reason}\n".encode())
        if number <= self._first.get(failure.kind, number):
            self._first[failure.kind] = number
            self.examples[failure.kind] = failure.reason

    def count(self, state: int) -> int:
        """Number of photos of a state."""
        return self._states.count(state)

    def usable(self, number: int) -> bool:
        """Whether a photo can be trained on."""
        return self._states[number] in (self.DONE, self.SKIPPED)

    def failures(self, numbers: range) -> Iterator[tuple[int, Failure]]:
        """The reasons that consecutive photos have, in the photos' order."""
        if self._order is None or len(self._order) != len(self._numbers):
            self._order = np.argsort(np.array(self._numbers), kind="stable")
        in_order = np.array(self._numbers)[self._order]
        first, last = np.searchsorted(in_order, [numbers.start, numbers.stop])
        for position in self._order[first:last]:
            self._reasons.seek(self._offsets[position])
            kind, _, reason = self._reasons.readline().decode().rstrip("\n").partition("\t")
            yield self._numbers[position], Failure(kind, reason)  # pyright: ignore


@dataclass(frozen=True)
class Summary:
    """What became of the photos."""

    done: int
    """Prepared now."""
    skipped: int
    """Finished before."""
    failures: Counter[str]
    """Photos that cannot be used, by kind."""
    examples: dict[str, str]
    """A reason for each kind."""
    reports: tuple[Path, ...]
    """Where failures are listed."""
    lists: Path
    """Folder of images.txt, landmarks.txt and masks.txt."""
    fitted: int | None = None
    """Usable photos with fitted coefficients; None if they were not asked for."""
    doubts: int = 0
    """Usable photos without, since their fit is doubtful."""
    missing: tuple[str, ...] = ()
    """What lacks for the lists to be whole; a sentence each."""

    @property
    def failed(self) -> int:
        """Number of photos that cannot be used."""
        return self.failures.total()

    @property
    def usable(self) -> int:
        """Number of photos that can be trained on."""
        return self.done + self.skipped

    def __str__(self) -> str:
        lines = [f"done {self.done}, skipped {self.skipped}, failed {self.failed}"]
        for kind, count in self.failures.most_common():
            lines.append(f"  {count} x {kind}, such as: {self.examples[kind]}")
        if self.fitted is not None:
            lines.append(f"fitted {self.fitted}, doubtful {self.doubts}")
            if self.doubts:
                lines.append(f"  {self.doubts} x {DOUBTFUL}, such as: {self.examples[DOUBTFUL]}")
        if self.failed or self.doubts:
            lines.append("All of them: " + _some([str(path) for path in self.reports]))
        if self.usable:
            lines.append(f"Lists of {self.usable} photos: {self.lists}")
        else:
            lines.append("No photo can be used; the lists stay as they were.")
        lines += [f"missing: {sentence}" for sentence in self.missing]
        return "\n".join(lines)


def printable(text: str) -> str:
    """A text in one line that every file can hold: its unusual characters are escaped."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def report_rows(lines: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    """Image, kind and reason of the lines of a report."""
    for row in csv.reader(lines):
        if tuple(row) != REPORT_COLUMNS and len(row) == len(REPORT_COLUMNS):
            yield row[0], row[1], row[2]


def lines_of(path: Path) -> Iterator[str]:
    """Lines of a list, read a piece at a time; between pieces the file is closed.

    Any number of lists can be merged so, where a process may open a thousand files at most.
    """
    position = 0
    while True:
        with path.open("rb") as file:
            file.seek(position)
            piece = file.readlines(1 << 14)
        if not piece:
            return
        position += sum(map(len, piece))
        for line in piece:
            yield line.decode("utf-8").rstrip("\n")


def _some(texts: list[str], most: int = 8) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
