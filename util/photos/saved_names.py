"""Which file of coefficients a user means by a name; torch-free, to refuse others at once."""

from __future__ import annotations

from pathlib import Path

ENDINGS = (".npz", ".mat")
_BESIDE = (
    *("_report.html", "_report.json", "_fit.json", "_fit.mp4", "_views.png", "_photo.jpg"),
    *(".glb", ".obj", ".png", ".json"),
)
"""Endings of files that lie beside coefficients, longer ones first."""


def find_saved(path: Path) -> Path | None:
    """The coefficients that a user means by a file, by one beside them, or by the stem alone.

    Such as fits/anna, fits/anna.glb or fits/anna.mat; None if there are none.
    """
    if path.suffix.lower() in ENDINGS and path.is_file():
        return path
    stems = [path.name.removesuffix(ending) for ending in ("", *_BESIDE)]
    for stem in dict.fromkeys(stems):
        for ending in ENDINGS:
            found = path.with_name(f"{stem}{ending}")
            if stem and found.is_file():
                return found
    return None
