"""Which coefficients a user means by a name, and what they are of; torch-free."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".npz", ".mat")
_BESIDE = (
    *("_report.html", "_report.json", "_fit.json", "_fit.mp4", "_views.png", "_photo.jpg"),
    *(".glb", ".obj", ".png", ".json"),
)
"""Endings of files that lie beside coefficients, longer ones first."""
_OF_PHOTO, _OF_VIDEO = ".json", "_report.json"
_OF_NETWORK = "matrix_px_dm.npy"
"""An array that SynergyNet's .npz has, and no fit's."""
_CARD = ("name", "version", "fingerprint")


@dataclass(frozen=True)
class SavedRecord:
    """What is known of a file of coefficients without reading it."""

    path: Path
    """Of the coefficients."""
    face_model: dict[str, str]
    """`name`, `version` and `fingerprint`; empty where nothing beside the file tells it."""
    of_photo: bool
    """Whether it is known to hold the face of one photo."""
    cuts: list[int]
    """Frames of a video that follow a cut."""

    @property
    def named(self) -> str:
        """The face model, for messages."""
        return "{name} {version} ({fingerprint})".format(**self.face_model)


def read_record(path: Path) -> SavedRecord:
    """What the `.json` beside coefficients says: `<stem>.json` of a photo, else of a video.

    A photo and a video of one name may lie in one folder; only a video has an `.npz`.
    """
    endings = (_OF_PHOTO, _OF_VIDEO)
    for ending in reversed(endings) if path.suffix.lower() == ".npz" else endings:
        try:
            text = path.with_name(f"{path.stem}{ending}").read_text(encoding="utf-8")
            content = json.loads(text)
            face_model = {name: str(content["face_model"][name]) for name in _CARD}
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            continue  # it is damaged, or none of ours
        cuts = content.get("cuts") or []
        return SavedRecord(path, face_model, ending == _OF_PHOTO, cuts)
    return SavedRecord(path, {}, False, [])


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


def is_network_track(path: Path) -> bool:
    """Whether coefficients are of a video that a SynergyNet followed (`util.synergy`)."""
    try:
        with zipfile.ZipFile(path) as file:
            return _OF_NETWORK in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False  # a .mat, or damaged: its reader says so
