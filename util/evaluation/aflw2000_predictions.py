"""What a method says about the images of a benchmark, and files of it that anyone can write."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.aflw2000 import Aflw2000, to_photo
from util.atomic import write_bytes
from util.errors import InputError
from util.model_files.file_kind import foreign_to_npz

_REMEDY = (
    "a file of predictions (.npz) holds `landmarks_photo` or `landmarks_crop`, N x 68 x 2 (or 3), "
    "and may hold `angles_deg`, N x 3 pitch, yaw, roll, and `names`, the N names of the images"
)


@dataclass(frozen=True)
class Predictions:
    """Of all N images."""

    method: str
    """Its name in tables."""
    landmarks: np.ndarray
    """(N, 68, 2) in the labels' pixels of the photos."""
    angles_deg: np.ndarray | None = None
    """(N, 3) pitch, yaw, roll as the labels mean them."""
    public_angles_deg: np.ndarray | None = None
    """(N, 3) with the yaw of SynergyNet's code."""


def write_predictions(path: Path, predictions: Predictions, data: Aflw2000) -> None:
    """Write a file that `read_predictions` reads; atomically."""
    arrays = {
        "landmarks_photo": predictions.landmarks,
        "names": np.array([image.name for image in data.images]),
    }
    if predictions.angles_deg is not None:
        arrays["angles_deg"] = predictions.angles_deg
    if predictions.public_angles_deg is not None:
        arrays["public_angles_deg"] = predictions.public_angles_deg
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    write_bytes(path, buffer.getvalue())


def read_predictions(path: Path, method: str, data: Aflw2000) -> Predictions:
    """Read a method's predictions.

    `landmarks_photo` are in pixels of the photos as the labels count them (the centre of the first
    one is (1, 1)), `landmarks_crop` likewise in the 120 px crops; points may also be the last axis
    (N x 2 x 68), as the benchmark's own files have them.

    Args:
        path: the .npz.
        method: name of the method; empty takes the file's.
        data: the benchmark. Rows are in the order of its list, unless `names` says otherwise.

    Raises:
        InputError: not such a file, or not of these images.
    """
    arrays = _read(path)
    order = _order(path, arrays.get("names"), data)
    given = [key for key in ("landmarks_photo", "landmarks_crop") if key in arrays]
    if len(given) != 1:
        found = ", ".join(arrays) or "nothing"
        raise InputError(f"{path} holds {found}; {_REMEDY}")
    landmarks = _points(path, given[0], arrays[given[0]], len(data))[order]
    if given[0] == "landmarks_crop":
        landmarks = to_photo(landmarks, data.boxes)
    return Predictions(
        method or path.stem,
        landmarks[..., :2],
        _angles(path, "angles_deg", arrays, len(data), order),
        _angles(path, "public_angles_deg", arrays, len(data), order),
    )


def check_predictions(path: Path) -> None:
    """Refuse what is no .npz file; what it holds, `read_predictions` checks.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"--predictions {path} {what}; {_REMEDY}")
    if kind := foreign_to_npz(path):
        raise InputError(f"--predictions {path} is {kind}; {_REMEDY}")


def _read(path: Path) -> dict[str, np.ndarray]:
    check_predictions(path)
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            return {key: archive[key] for key in archive.files}
    except Exception as error:
        # Garbage reaches zip, zlib and the header of each array, which raise as they like.
        raise InputError(f"--predictions {path} cannot be read ({error}); {_REMEDY}") from error


def _order(path: Path, names: np.ndarray | None, data: Aflw2000) -> np.ndarray:
    """The row of each image."""
    if names is None:
        return np.arange(len(data))
    rows = {Path(str(name)).stem: row for row, name in enumerate(np.ravel(names))}
    wanted = [image.stem for image in data.images]
    missing = [name for name in wanted if name not in rows]
    if missing:
        raise InputError(
            f"--predictions {path} has no row for {missing[0]} and {len(missing) - 1} more of the "
            f"{len(wanted)} images; every image needs a prediction, since those that a method "
            "leaves out are the difficult ones"
        )
    return np.array([rows[name] for name in wanted])


def _points(path: Path, key: str, array: np.ndarray, count: int) -> np.ndarray:
    if array.ndim == 3 and array.shape[1] in (2, 3) and array.shape[2] == 68:
        array = array.transpose(0, 2, 1)
    if array.ndim != 3 or array.shape[1] != 68 or array.shape[2] not in (2, 3):
        raise InputError(f"--predictions {path}: {key} has the shape {array.shape}; {_REMEDY}")
    return _checked(path, key, array, count)


def _angles(
    path: Path, key: str, arrays: dict[str, np.ndarray], count: int, order: np.ndarray
) -> np.ndarray | None:
    if key not in arrays:
        return None
    array = arrays[key]
    if array.ndim != 2 or array.shape[1] != 3:
        raise InputError(f"--predictions {path}: {key} has the shape {array.shape}; {_REMEDY}")
    return _checked(path, key, array, count)[order]


def _checked(path: Path, key: str, array: np.ndarray, count: int) -> np.ndarray:
    """Finite numbers, a row for each image; float64."""
    if len(array) != count:
        raise InputError(
            f"--predictions {path}: {key} has {len(array)} rows for {count} images; {_REMEDY}"
        )
    if array.dtype.kind not in "iuf":
        raise InputError(f"--predictions {path}: {key} holds no numbers; {_REMEDY}")
    finite = np.isfinite(array).reshape(count, -1).all(axis=1)
    if not finite.all():
        raise InputError(
            f"--predictions {path}: {key} is not finite in {int((~finite).sum())} rows, the first "
            f"of which is {int(np.flatnonzero(~finite)[0])}; give what the method falls back to "
            "where it finds no face"
        )
    return array.astype(np.float64)
