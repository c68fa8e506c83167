"""The file beside synthetic faces that holds what is true about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.synthetic.cameras import intrinsics
from models.camera import Camera
from util.atomic import atomic_file
from util.errors import InputError
from util.model_files.file_kind import foreign_to_npz

FORMAT_VERSION = 2


@dataclass(frozen=True)
class SyntheticTruth:
    """What is true about N faces, and what it means.

    A point x of the object frame is at `R x + t` in the camera's, where x is right, y down and z
    forwards, and at `p ~ K (R x + t)` in the picture.
    """

    names: tuple[str, ...]
    """File names of the images."""
    coefficients: np.ndarray
    """(N, P) float32 in the layout of the face model."""
    landmarks_px: np.ndarray
    """(N, 68, 2) float32 continuous pixels (centre of pixel i at i + 0.5), y down."""
    visible: np.ndarray
    """(N, 68) bool: the landmark is within the picture and nothing is in front of it."""
    intrinsics: np.ndarray
    """(N, 3, 3) float32 K, in pixels."""
    rotation: np.ndarray
    """(N, 3, 3) float32 R."""
    translation_dm: np.ndarray
    """(N, 3) float32 t."""
    size_px: np.ndarray
    """(N, 2) int32 width and height of the pictures."""
    face_model: str
    """Name, version and hash, for messages."""
    fingerprint: str
    """Hash of the face model that gives the coefficients their meaning."""
    seed: int
    """Seed of the set."""
    settings: str
    """Flags of make_synthetic.py on which the pictures depend."""
    generator_version: int
    """Version of the code that made the pictures."""

    @property
    def fixed_camera(self) -> bool:
        """Whether all pictures are the R-Net's crops: its camera and its size."""
        camera = Camera.rnet()
        size = (self.size_px == [camera.width, camera.height]).all()
        return bool(size and np.allclose(self.intrinsics, intrinsics(camera)))

    def part(self, rows: Sequence[int]) -> SyntheticTruth:
        """Some of the faces."""
        return replace(
            self,
            names=tuple(self.names[k] for k in rows),
            **{name: getattr(self, name)[list(rows)] for name in _ARRAYS},
        )

    @classmethod
    def join(cls, parts: Sequence[SyntheticTruth]) -> SyntheticTruth:
        """Parts of one set, one after the other."""
        return replace(
            parts[0],
            names=tuple(name for part in parts for name in part.names),
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS},
        )


_ARRAYS = {
    "coefficients": np.float32,
    "landmarks_px": np.float32,
    "visible": np.bool_,
    "intrinsics": np.float32,
    "rotation": np.float32,
    "translation_dm": np.float32,
    "size_px": np.int32,
}
_SHAPES = {
    "landmarks_px": (68, 2),
    "visible": (68,),
    "intrinsics": (3, 3),
    "rotation": (3, 3),
    "translation_dm": (3,),
    "size_px": (2,),
}


def write_truth(path: Path, truth: SyntheticTruth) -> None:
    """Write a `coefficients.npz` atomically."""
    with atomic_file(path) as file:
        np.savez(
            file,
            format_version=FORMAT_VERSION,
            names=np.array(truth.names),
            **{name: getattr(truth, name).astype(kind) for name, kind in _ARRAYS.items()},
            face_model=truth.face_model,
            fingerprint=truth.fingerprint,
            seed=truth.seed,
            settings=truth.settings,
            generator_version=truth.generator_version,
        )


def read_truth(path: Path, command: str = "") -> SyntheticTruth:
    """Read a `coefficients.npz`.

    Args:
        path: the file.
        command: what to recommend where it is missing; none names a plain make_synthetic.py.

    Raises:
        InputError: missing, damaged, of a newer format, or with numbers that are not finite.
    """
    remedy = "make the set again with make_synthetic.py --overwrite"
    if not path.is_file():
        raise InputError(
            f"{path} does not exist; make synthetic faces with "
            f"`{command or f'python make_synthetic.py --out {path.parent}'}`"
        )
    if kind := foreign_to_npz(path):
        raise InputError(f"{path} is {kind}; {remedy}")
    try:
        # Opened here, since numpy leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        version = int(arrays["format_version"])
        if version != FORMAT_VERSION:
            raise InputError(
                f"{path} has format {version}, this program reads {FORMAT_VERSION}; {remedy}"
            )
        truth = SyntheticTruth(
            names=tuple(str(name) for name in arrays["names"]),
            **{name: arrays[name] for name in _ARRAYS},
            face_model=str(arrays["face_model"]),
            fingerprint=str(arrays["fingerprint"]),
            seed=int(arrays["seed"]),
            settings=str(arrays["settings"]),
            generator_version=int(arrays["generator_version"]),
        )
    except InputError:
        raise
    except Exception as error:
        # Garbage reaches every part of the readers (zip, zlib, header of each array), and each
        # raises what it happens to raise.
        raise InputError(f"{path} cannot be read ({error}); {remedy}") from error
    count = len(truth.names)
    numbers = [getattr(truth, name) for name in _ARRAYS]
    finite = all(array.dtype.kind in "bfiu" and np.isfinite(array).all() for array in numbers)
    shapes = truth.coefficients.ndim == 2 and len(truth.coefficients) == count
    for name, shape in _SHAPES.items():
        shapes = shapes and getattr(truth, name).shape == (count, *shape)
    if not (shapes and finite):
        raise InputError(f"{path} is damaged: its arrays do not fit each other; {remedy}")
    return truth
