"""Write one face's coefficients as `.mat`, with the keys of the public code."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.io import savemat

from models.parameters import Coefficients
from util.atomic import write_bytes

# Field of `Coefficients` -> key in public files.
PUBLIC_KEYS = {
    "identity": "id",
    "expression": "exp",
    "texture": "tex",
    "angles_rad": "angle",
    "gamma": "gamma",
    "translation_dm": "trans",
    "joints_rad": "joints",
}


def write_mat(
    path: Path,
    coefficients: Coefficients,
    landmarks_index: np.ndarray,
    camera: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write coefficients of one face.

    Keys: id, exp, tex, angle, gamma, trans, and joints where the face model has some, each (1, n)
    float32; coeff, all of them in this order, (1, 257) with the published sizes; lm68 (1, 68, 2),
    pixel indices of the 224 crop, y down.

    Args:
        path: the file to write, atomically.
        coefficients: a batch of one.
        landmarks_index: (68, 2).
        camera: more arrays by name, stored in double precision: the camera of the photo.

    Raises:
        ValueError: a number is not finite; nothing is written.
    """
    arrays = {
        PUBLIC_KEYS[name]: block.detach().cpu().numpy().astype(np.float32)
        for name, block in coefficients.items()
    }
    arrays["coeff"] = np.concatenate(list(arrays.values()), axis=1)
    arrays["lm68"] = np.asarray(landmarks_index, dtype=np.float32)[None]
    arrays |= {key: np.asarray(array, np.float64) for key, array in (camera or {}).items()}
    broken = [key for key, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{path.name}: {', '.join(broken)} holds non-finite numbers")
    buffer = io.BytesIO()
    savemat(buffer, arrays)
    write_bytes(path, buffer.getvalue())
