"""Files of predicted meshes, as the benchmarks' own tools read and want them.

<name>.obj           positions and faces, no colours: NoW's loader refuses them
<name>.npy | .txt    (7, 3) landmarks: iBUG's 36, 39, 42, 45, 33, 48, 54
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from util.atomic import write_bytes
from util.errors import InputError
from util.evaluation.scans import check_face_size
from util.evaluation.shape_methods import SEVEN, FaceShape
from util.mesh_files.mesh_file import face_lines
from util.mesh_files.mesh_reader import ENDINGS, existing_mesh
from util.model_files.safe_pickle import read_npy

MM_PER_DM = 100.0
SEVEN_ENDINGS = (".npy", ".txt")
"""Of files of landmarks."""
_NAMED = 5
"""Missing meshes in a message."""
_REMEDY = (
    "it must hold 7 x 3 numbers: iBUG's landmarks 36, 39, 42, 45 (eye corners), 33 (nose bottom), "
    "48, 54 (mouth corners), in the mesh's frame"
)


def write_prediction(stem: Path, shape: FaceShape) -> None:
    """Write `<stem>.obj` and `<stem>.npy`, in millimetres.

    Raises:
        ValueError: a number is not finite; nothing is written.
    """
    seven = (MM_PER_DM * shape.landmarks[list(SEVEN)]).astype(np.float32)
    if not np.isfinite(seven).all():
        raise ValueError(f"{stem.name}: the landmarks are not finite")
    write_plain_obj(stem.parent / f"{stem.name}.obj", MM_PER_DM * shape.vertices, shape.triangles)
    buffer = io.BytesIO()
    np.save(buffer, seven)
    write_bytes(stem.parent / f"{stem.name}.npy", buffer.getvalue())


def write_plain_obj(path: Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """Write positions (V, 3) and faces (F, 3) alone.

    Raises:
        ValueError: a vertex is not finite; nothing is written.
    """
    if not np.isfinite(vertices).all():
        raise ValueError(f"{path.name}: the mesh has non-finite vertices")
    text = ("v %.5f %.5f %.5f\n" * len(vertices)) % tuple(vertices.ravel().tolist())
    faces = face_lines(np.ascontiguousarray(triangles, dtype=np.int32).tobytes())
    write_bytes(path, text.encode("ascii") + faces)


def check_meshes(folder: Path, names: Sequence[str], unit: str) -> None:
    """See that every name has a mesh and sound landmarks, before any of them is compared.

    Args:
        folder: of the predictions.
        names: of all that are wanted.
        unit: of the meshes; see `read_seven`.

    Raises:
        InputError: some lack, the first of which are named; or landmarks are no such.
    """
    without_mesh = [name for name in names if existing_mesh(folder / name) is None]
    without_points = [name for name in names if not any(p.is_file() for p in _seven(folder / name))]
    for what, endings, missing in (
        ("meshes", ENDINGS, without_mesh),
        ("landmarks", SEVEN_ENDINGS, without_points),
    ):
        if missing:
            more = ", ..." if len(missing) > _NAMED else ""
            raise InputError(
                f"{folder} lacks the {what} ({' or '.join(endings)}) of {len(missing)} of "
                f"{len(names)}: {', '.join(missing[:_NAMED])}{more}; every one is needed, since "
                "those that a method leaves out are the difficult ones"
            )
    for name in names:
        read_seven(folder / name, unit)


def read_seven(stem: Path, unit: str) -> np.ndarray:
    """The seven landmarks (7, 3) beside a predicted mesh.

    Args:
        stem: name without ending.
        unit: that they are in, which the size of a face tells; `unknown` leaves it open.

    Raises:
        InputError: no file, another count, no finite numbers, or another unit.
    """
    array, text = _seven(stem)
    if array.is_file():
        points, path = np.asarray(read_npy(array, _REMEDY)), array
    elif text.is_file():
        points, path = _read_text(text), text
    else:
        raise InputError(f"{array} (or .txt) does not exist; {_REMEDY}")
    if points.shape == (1, 7, 3):
        points = points[0]
    if points.shape != (7, 3) or points.dtype.kind not in "iuf":
        raise InputError(f"{path} has the shape {points.shape}; {_REMEDY}")
    if not np.isfinite(points).all():
        raise InputError(f"{path} has landmarks that are not finite; {_REMEDY}")
    points = points.astype(np.float64)
    if unit != "unknown":
        check_face_size(points, unit, stem, "meshes (--mesh_unit)")
    return points


def _seven(stem: Path) -> list[Path]:
    """Where landmarks may be; the first that is there counts."""
    return [stem.parent / f"{stem.name}{ending}" for ending in SEVEN_ENDINGS]


def prediction_digest(stem: Path) -> str:
    """Of the content of all files of a prediction; equal where nothing has changed."""
    digest = hashlib.sha256()
    for ending in dict.fromkeys((*ENDINGS, *SEVEN_ENDINGS)):
        with suppress(FileNotFoundError):
            content = (stem.parent / f"{stem.name}{ending}").read_bytes()
            digest.update(f"{ending} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _read_text(path: Path) -> np.ndarray:
    try:
        return np.array([line.split() for line in path.read_text().splitlines() if line], float)
    except ValueError as error:
        raise InputError(f"{path} does not hold numbers ({error}); {_REMEDY}") from error
