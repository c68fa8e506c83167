"""Read coefficients back that `fit.py` and `test.py` wrote: of a photo, or of a video.

Both are `.mat` files with the keys of the public code, a row for each face; videos have `.npz` too.
What face model they belong to stands in the `.json` beside them.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data.fit_warp import scale_coefficients, shift_coefficients
from models.camera import Camera
from models.face_model import FaceModel
from models.parameters import Coefficients
from options.face_options import CROP_PX
from util.errors import InputError
from util.model_files.mat_file import mat_shapes, read_mat
from util.photos.coefficient_file import PUBLIC_KEYS
from util.photos.saved_names import SavedRecord, read_record

_REMEDY = "give a .mat or .npz that fit.py or test.py wrote"
_OF_FRAMES = ("found", "time_s", "focal_px", "K", "photo_to_crop")
"""What is read beside the coefficients, where it is there."""


@dataclass(frozen=True)
class SavedFaces:
    """N faces: one of a photo, or those of the frames of a video that have one."""

    path: Path
    blocks: dict[str, np.ndarray]
    """Field of `Coefficients` -> (N, k)."""
    is_video: bool
    times_s: np.ndarray
    """(N,) on the clock of the video."""
    crops: np.ndarray | None
    """(N, 2, 3) photo -> crop, where the file has them."""
    focal_px: float | None
    """Of the crops."""
    record: SavedRecord
    """What lies beside the file."""
    starts: np.ndarray
    """(N,) bool: whether a frame follows a cut, or frames without a face."""

    def coefficients(self, face_model: FaceModel) -> Coefficients:
        """All faces, as a face model means them.

        Raises:
            InputError: they are of another face model, or have other sizes.
        """
        card = face_model.card
        if self.record.face_model and self.record.face_model["fingerprint"] != card.fingerprint:
            raise InputError(
                f"{self.path} is of face model {self.record.named}, not of {card}; coefficients "
                "of one model are noise to another: fit both with the same --face_model"
            )
        blocks = {}
        for block in face_model.layout.blocks:
            found = self.blocks.get(block.name)
            if found is None or found.shape[1] != block.size:
                size = "no" if found is None else f"{found.shape[1]}"
                raise InputError(
                    f"{self.path} has {size} {PUBLIC_KEYS[block.name]} coefficients, face model "
                    f"{card} has {block.size}; give --face_model the one that it was fitted with"
                )
            blocks[block.name] = torch.from_numpy(found.astype(np.float32))
        return Coefficients(**blocks)

    def in_still_camera(self, face_model: FaceModel, camera: Camera) -> Coefficients:
        """The faces before a camera that stands still, as the usual crop of the whole video.

        Crops follow the face, and with them the camera that coefficients mean. Here all are seen
        through the middle one; as in `VideoResults.in_one_camera`, which looks at the frame.

        Args:
            face_model: of the coefficients.
            camera: of the crops.
        """
        found = self.coefficients(face_model)
        if not self.is_video or self.crops is None:
            return found
        layout = face_model.layout
        scales = self.crops[:, 0, 0]
        # The middle of each crop, in pixels of the frame.
        middles = (CROP_PX / 2 - self.crops[:, :, 2]) / self.crops[:, [0, 1], [0, 1]]
        usual, middle = float(np.median(scales)), np.median(middles, axis=0)
        moved = []
        flats = layout.join(found).double().numpy()
        for flat, scale, shift in zip(flats, scales, middles - middle, strict=True):
            held = scale_coefficients(flat, layout, camera, usual / float(scale))
            right, down = (usual * shift).tolist()
            moved.append(shift_coefficients(held, layout, camera, (right, down)))
        return layout.split(torch.from_numpy(np.stack(moved).astype(np.float32)))


def read_saved_faces(path: Path) -> SavedFaces:
    """Read a `.mat` or `.npz`.

    Raises:
        InputError: it is missing, damaged, something else, holds non-finite numbers or no face.
    """
    arrays = _read_npz(path) if path.suffix.lower() == ".npz" else _read_mat(path)
    missing = [key for key in ("id", "exp", "tex", "angle", "gamma", "trans") if key not in arrays]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; {_REMEDY}")
    broken = [key for key, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise InputError(f"{path}: {', '.join(broken)} holds non-finite numbers; {_REMEDY}")
    count = len(arrays["id"])
    is_video = "found" in arrays
    found = arrays["found"].reshape(-1) > 0 if is_video else np.ones(count, bool)
    blocks = {name: arrays[key] for name, key in PUBLIC_KEYS.items() if key in arrays}
    sizes = {len(block) for block in blocks.values()} | {len(found)}
    if len(sizes) > 1 or any(block.ndim != 2 for block in blocks.values()):
        raise InputError(f"{path}: its arrays have different numbers of rows; {_REMEDY}")
    if not found.any():
        raise InputError(f"{path} holds no face: none was found in any frame; {_REMEDY}")
    numbers = np.flatnonzero(found)
    times = arrays["time_s"].reshape(-1) if "time_s" in arrays else np.arange(count) / 25
    record = read_record(path)
    starts = np.isin(numbers, record.cuts)
    starts[1:] |= np.diff(numbers) > 1
    return SavedFaces(
        path=path,
        blocks={name: block[numbers] for name, block in blocks.items()},
        is_video=is_video,
        times_s=times[numbers].astype(np.float64),
        crops=_crops(arrays, count, numbers),
        focal_px=_focal(arrays, numbers),
        record=record,
        starts=starts,
    )


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, since numpy leaves damaged files open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            keys = {*PUBLIC_KEYS.values(), *_OF_FRAMES} & set(archive.files)
            return {key: np.asarray(archive[key], np.float64) for key in keys}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); {_REMEDY}") from error


def _read_mat(path: Path) -> dict[str, np.ndarray]:
    shapes = mat_shapes(path, _REMEDY)
    keys = [key for key in (*PUBLIC_KEYS.values(), *_OF_FRAMES) if key in shapes]
    return {key: array.astype(np.float64) for key, array in read_mat(path, keys, _REMEDY).items()}


def _crops(arrays: dict[str, np.ndarray], count: int, numbers: np.ndarray) -> np.ndarray | None:
    crops = arrays.get("photo_to_crop")
    if crops is None or crops.size != count * 6:
        return None
    return crops.reshape(count, 2, 3)[numbers]


def _focal(arrays: dict[str, np.ndarray], numbers: np.ndarray) -> float | None:
    """Focal length in pixels of the crops: given, or that in the photo times the enlargement."""
    if "focal_px" in arrays:
        return float(arrays["focal_px"].reshape(-1)[0])
    if "K" not in arrays or "photo_to_crop" not in arrays:
        return None
    first = int(numbers[0])
    K, crop = (arrays[key].reshape(-1, *shape) for key, shape in _MATRICES.items())
    return float(K[first, 0, 0] * crop[first, 0, 0])


_MATRICES = {"K": (3, 3), "photo_to_crop": (2, 3)}
