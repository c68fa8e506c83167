"""Where ICT-FaceKit lies in a user's folder; torch-free, so that a wrong one is refused at once."""

from __future__ import annotations

from pathlib import Path

from util.errors import InputError

FOLDER, CONVERTED = "FaceXModel", "ict_face_model.npz"
NEUTRAL, INDEX = "generic_neutral_mesh.obj", "vertex_indices.json"
REMEDY = (
    "it belongs to the folder FaceXModel of ICT-FaceKit (github.com/ICT-VGL/ICT-FaceKit, MIT "
    "licence), which you download as a whole"
)


def find_ict(folder: Path) -> Path | None:
    """FaceXModel in a folder: itself, inside it, or inside the whole download."""
    for place in (folder, folder / FOLDER, folder / "ICT-FaceKit" / FOLDER):
        if (place / NEUTRAL).is_file():
            return place
    unpacked = sorted(folder.glob(f"ICT-FaceKit*/{FOLDER}/{NEUTRAL}"))  # ICT-FaceKit-master
    return unpacked[0].parent if unpacked else None


def check_ict_folder(folder: Path) -> None:
    """Refuse a folder that holds neither the meshes nor what was made of them.

    Raises:
        InputError: both are missing.
    """
    if find_ict(folder) is None and not (folder / CONVERTED).is_file():
        raise InputError(
            f"there is no {folder / CONVERTED}, and to make it {folder} needs {FOLDER}/{NEUTRAL} "
            f"and the meshes beside it; {REMEDY}"
        )
