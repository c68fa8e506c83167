"""What `fit.py` has written, once more under the names and in the forms of 3DMM-Fitting-Pytorch.

docs/fitting_flags.md compares both.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from util.atomic import write_bytes
from util.errors import InputError
from util.photos.results import OVERLAY_ENDING, face_stems

COMPOSED, COEFFICIENTS, MESH = "_composed_img.jpg", "_coeffs.npy", "_mesh.obj"
VIDEO = "_fitting_res.pkl"

_FRAME_KEYS = {"rot": "angle", "trans": "trans", "gamma": "gamma", "exp": "exp"}
"""Public key of a frame -> ours."""


def write_photo_files(folder: Path, photos: Iterable[Path]) -> list[str]:
    """Write `<stem>_composed_img.jpg`, `_coeffs.npy` and `_mesh.obj` for each fitted face.

    Args:
        folder: of the results.
        photos: that were fitted.

    Returns:
        Stems of the faces.

    Raises:
        InputError: a mesh would replace that of another photo.
    """
    stems = face_stems(folder, photos)
    for stem in stems:
        if (folder / f"{stem}_mesh.json").is_file():
            raise InputError(
                f"{folder / stem}{MESH} is the mesh of a photo named {stem}_mesh; give another "
                "--res_folder"
            )
        overlay = folder / f"{stem}{OVERLAY_ENDING}"
        if overlay.is_file():  # one for all faces of a photo, under the name of the first
            write_bytes(folder / f"{stem}{COMPOSED}", overlay.read_bytes())
        write_bytes(folder / f"{stem}{MESH}", (folder / f"{stem}.obj").read_bytes())
        buffer = io.BytesIO()
        np.save(buffer, loadmat(folder / f"{stem}.mat")["coeff"][0].astype(np.float32))
        write_bytes(folder / f"{stem}{COEFFICIENTS}", buffer.getvalue())
    return stems


def write_video_file(folder: Path, stem: str) -> Path:
    """Write `<stem>_fitting_res.pkl` from `<stem>.npz`; frames without a face have no entry.

    Returns:
        The file: a dictionary of id (1, n), tex (1, n) and fitting_res, frame number from 0 ->
        rot (1, 3), trans (1, 3), gamma (1, 27), exp (1, n), all float32.
    """
    with np.load(folder / f"{stem}.npz") as file:
        keys = ("found", "id", "tex", *_FRAME_KEYS.values())
        arrays = {key: file[key] for key in keys}
    numbers = np.flatnonzero(arrays["found"]).tolist()

    def row(key: str, number: int) -> np.ndarray:
        return arrays[key][number : number + 1].astype(np.float32)

    result = {
        "id": row("id", numbers[0]),
        "tex": row("tex", numbers[0]),
        "fitting_res": {
            number: {public: row(own, number) for public, own in _FRAME_KEYS.items()}
            for number in numbers
        },
    }
    buffer = io.BytesIO()
    _PlainPickler(buffer, protocol=4).dump(result)
    path = folder / f"{stem}{VIDEO}"
    write_bytes(path, buffer.getvalue())
    return path


class _PlainPickler(pickle.Pickler):
    """Writes arrays so that NumPy 1 reads them too, as which the public fitter pins it.

    NumPy 2's own way names a module that older versions lack.
    """

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is np.ndarray:
            # In a bytearray, so that the array can be written to.
            content = bytearray(np.ascontiguousarray(obj).tobytes())
            return np.ndarray, (obj.shape, obj.dtype.str, content)
        return NotImplemented
