"""Where the Basel Face Models of 2017 and 2019 lie in a user's folder; torch-free.

So a folder without one is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from util.errors import InputError


@dataclass(frozen=True)
class BfmRelease:
    """A year's model: its file, and by how many vertices its relatives are known."""

    name: str
    year: str
    file: str
    vertices: int
    """Of the face alone."""
    others: Mapping[int, str]
    """Vertices -> file of the same year with another mask."""

    @property
    def remedy(self) -> str:
        """End of a message about a wrong or missing file."""
        return (
            f"{self.name} is {self.file}, the face alone, which the University of Basel gives on "
            f"request (faces.dmi.unibas.ch, Basel Face Model {self.year})"
        )


BFM17 = BfmRelease(
    *("bfm17", "2017", "model2017-1_face12_nomouth.h5", 28588),
    {53149: "model2017-1_bfm_nomouth.h5"},
)
BFM19 = BfmRelease(
    *("bfm19", "2019", "model2019_face12.h5", 27657),
    {47439: "model2019_bfm.h5", 58203: "model2019_fullHead.h5"},
)
RELEASES = (BFM17, BFM19)


def find_release(name: str) -> BfmRelease | None:
    """The release that `--face_model` names; None for other face models."""
    return next((release for release in RELEASES if release.name == name), None)


def check_release(folder: Path, release: BfmRelease) -> Path:
    """A release's file in a folder.

    Raises:
        InputError: it is not there.
    """
    path = folder / release.file
    if not path.is_file():
        others = [name for name in release.others.values() if (folder / name).is_file()]
        found = f" ({', '.join(others)}, which is there, shows more than the face)"
        raise InputError(
            f"there is no {path}{found if others else ''}; {release.remedy}: put it there "
            "(--bfm_folder), or give its path"
        )
    return path
