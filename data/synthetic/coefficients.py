"""The file beside synthetic faces that holds what is true about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from util.atomic import atomic_file
from util.errors import InputError

FORMAT_VERSION = 1
VALIDATION_COUNT = 256
"""Faces that are rendered for validation unless another number is wanted."""


@dataclass(frozen=True)
class SyntheticTruth:
    """True coefficients and landmarks of N faces, and what they mean."""

    names: tuple[str, ...]
    """File names of the images."""
    coefficients: np.ndarray
    """(N, P) float32 in the layout of the face model."""
    landmarks_px: np.ndarray
    """(N, 68, 2) float32 continuous pixels (centre of pixel i at i + 0.5), y down."""
    face_model: str
    """Name, version and hash, for messages."""
    fingerprint: str
    """Hash of the face model that gives the coefficients their meaning."""
    seed: int
    """Seed of the set."""
    generator_version: int
    """Version of the code that made the pictures."""

    def part(self, rows: Sequence[int]) -> SyntheticTruth:
        """Some of the faces."""
        return replace(
            self,
            names=tuple(self.names[k] for k in rows),
            coefficients=self.coefficients[list(rows)],
            landmarks_px=self.landmarks_px[list(rows)],
        )

    @classmethod
    def join(cls, parts: Sequence[SyntheticTruth]) -> SyntheticTruth:
        """Parts of one set, one after the other."""
        return replace(
            parts[0],
            names=tuple(name for part in parts for name in part.names),
            coefficients=np.concatenate([part.coefficients for part in parts]),
            landmarks_px=np.concatenate([part.landmarks_px for part in parts]),
        )


def write_truth(path: Path, truth: SyntheticTruth) -> None:
    """Write a `coefficients.npz` atomically."""
    with atomic_file(path) as file:
        np.savez(
            file,
            format_version=FORMAT_VERSION,
            names=np.array(truth.names),
            coefficients=truth.coefficients.astype(np.float32),
            landmarks_px=truth.landmarks_px.astype(np.float32),
            face_model=truth.face_model,
            fingerprint=truth.fingerprint,
            seed=truth.seed,
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
            f"`{command or f'python make_synthetic.py --output {path.parent}'}`"
        )
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
            coefficients=arrays["coefficients"],
            landmarks_px=arrays["landmarks_px"],
            face_model=str(arrays["face_model"]),
            fingerprint=str(arrays["fingerprint"]),
            seed=int(arrays["seed"]),
            generator_version=int(arrays["generator_version"]),
        )
    except InputError:
        raise
    except Exception as error:
        # Garbage reaches every part of the readers (zip, zlib, header of each array), and each
        # raises what it happens to raise.
        raise InputError(f"{path} cannot be read ({error}); {remedy}") from error
    count = len(truth.names)
    numbers = (truth.coefficients, truth.landmarks_px)
    finite = all(array.dtype.kind in "fiu" and np.isfinite(array).all() for array in numbers)
    shapes = truth.coefficients.ndim == 2 and len(truth.coefficients) == count
    shapes = shapes and truth.landmarks_px.shape == (count, 68, 2)
    if not (shapes and finite):
        raise InputError(f"{path} is damaged: its arrays do not fit each other; {remedy}")
    return truth
