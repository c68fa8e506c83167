"""Where FLAME lies in a user's folder; torch-free, so that one without it is refused at once."""

from __future__ import annotations

from pathlib import Path

from util.errors import InputError

NAME = "flame"
NAMES = ("flame2023.pkl", "generic_model.pkl", "flame2023.npz", "flame.npz", "flame.pkl")
"""What the file is called, the first that is there is taken."""
REMEDY = (
    "FLAME's model file is generic_model.pkl in FLAME2020.zip or flame2023.pkl in FLAME2023.zip, "
    "which the Max Planck Institute gives to registered users (flame.is.tue.mpg.de)"
)


def find_flame(folder: Path) -> Path | None:
    """FLAME's model file in a folder, or in its folder FLAME, FLAME2020 or FLAME2023."""
    for place in (folder, *(folder / name for name in ("FLAME", "FLAME2023", "FLAME2020"))):
        for name in NAMES:
            if (place / name).is_file():
                return place / name
    return None


def check_flame(folder: Path) -> Path:
    """FLAME's model file in a folder, as `find_flame`.

    Raises:
        InputError: there is none.
    """
    path = find_flame(folder)
    if path is None:
        raise InputError(
            f"{folder} holds none of {', '.join(NAMES)}; {REMEDY}; put it there (--bfm_folder), or "
            "give its path"
        )
    return path
