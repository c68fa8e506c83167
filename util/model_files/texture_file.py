"""Read the high-resolution albedo of a native face model file, and nothing else of it.

The maps are the largest part of the file, and few programs need them, so that the model's own
reader (`util.model_files.face_model_file`) leaves the keys that begin with `texture_` alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.texture import TextureData
from util.errors import InputError
from util.model_files.file_kind import foreign_to_npz

TEXTURE_KEYS = "texture_"
_REMEDY = "restore the file from the repository or build it again as BFM/README.md says"
_KEYS = ("maps", "scales", "weight_mean", "weight_basis", "weight_range")


def texture_arrays(data: TextureData) -> dict[str, np.ndarray]:
    """The arrays that a face model file holds for a texture, by key."""
    arrays = {TEXTURE_KEYS + key: getattr(data, key) for key in _KEYS}
    return {TEXTURE_KEYS + "names": np.array(data.names)} | arrays


def read_texture(path: Path) -> TextureData | None:
    """Read the fine maps of a native face model file.

    Returns:
        The maps, or None where the file has none.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"face model file {path} does not exist; give --face_model another path")
    if kind := foreign_to_npz(path):
        raise InputError(f"face model file {path} is {kind}; {_REMEDY}")
    try:
        # Opened here, since np.load leaves a damaged archive open.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not any(key.startswith(TEXTURE_KEYS) for key in archive.files):
                return None
            names = tuple(str(name) for name in archive[TEXTURE_KEYS + "names"])
            return TextureData(names=names, **{key: archive[TEXTURE_KEYS + key] for key in _KEYS})
    except Exception as error:
        # Garbage reaches every part of the readers (zip, zlib, header of each array), and each
        # raises what it happens to raise.
        raise InputError(
            f"the texture of face model file {path} cannot be read ({error}); {_REMEDY}"
        ) from error
