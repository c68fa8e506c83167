"""The file beside a prepared photo that holds its fitted coefficients, and what they belong to.

    <folder>/coefficients/a.json          coefficients of the face, fitted in the trainer's crop
    <folder>/doubtful/a.json              why the fit of a photo is not good enough to be a label

Both say which face model, preset and rules of fitting they are of, and which crop of the photo:
coefficients mean nothing for another model, and are beside the face in another crop.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.alignment import Alignment
from util.atomic import write_text
from util.errors import InputError

FORMAT_VERSION = 1
REMEDY = "fit the photos again with data_preparation.py --fit --overwrite"

_DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_SAME_CROP_PX = 1
"""Rounding may differ between machines where a crop's edge is next to a whole pixel."""


@dataclass(frozen=True)
class LabelMaker:
    """What fitted a face; labels of one are finished only for the same."""

    face_model: str
    """Name, version and hash, for messages."""
    fingerprint: str
    """Hash of the face model that gives the coefficients their meaning."""
    preset: str
    """How finely the photo was looked at."""
    rules: str
    """Hash of the weights and steps of the fit; empty in files of earlier versions."""


@dataclass(frozen=True)
class FittedLabel:
    """What fitting said of one photo."""

    maker: LabelMaker
    crop: tuple[int, ...]
    """Width and height of the photo and of the resized one, left and top of the crop in it."""
    landmark_error: float | None
    """Mean distance of the inner landmarks over the outer-eye distance; None if not finite."""
    coefficients: np.ndarray | None
    """(P,) float32 in the layout of the face model; None where the fit is doubtful."""
    doubt: str = ""
    """Why it is doubtful."""
    landmarks: str = ""
    """Hash of the 68 points that it was fitted to; empty in files of earlier versions."""

    def is_of(self, landmarks: np.ndarray) -> bool:
        """Whether points (68, 2) are those that it was fitted to, as far as it says."""
        return self.landmarks in ("", landmark_hash(landmarks))

    def fits(self, alignment: Alignment) -> bool:
        """Whether a crop is the one that was fitted."""
        now = crop_numbers(alignment)
        return now[:2] == self.crop[:2] and all(
            abs(a - b) <= _SAME_CROP_PX for a, b in zip(now, self.crop, strict=True)
        )

    def coefficients_for(
        self, source: str, card: Any, size: int, alignment: Alignment
    ) -> np.ndarray:
        """The coefficients (P,), if they mean what a training means by them.

        Args:
            source: the file, for messages.
            card: identity card of the training's face model.
            size: length of its coefficient vectors.
            alignment: of the photo, as the training crops it.

        Raises:
            InputError: another face model, another crop, or no coefficients.
        """
        self.check_model(source, card)
        if not self.fits(alignment):
            raise InputError(
                f"{source} was fitted in another crop than that of the photo's landmarks; {REMEDY}"
            )
        if self.coefficients is None or len(self.coefficients) != size:
            count = 0 if self.coefficients is None else len(self.coefficients)
            raise InputError(f"{source} has {count} coefficients, not {size}; {REMEDY}")
        return self.coefficients.copy()

    def check_model(self, source: str, card: Any) -> None:
        """Refuse coefficients of another face model than the training's."""
        if self.maker.fingerprint != card.fingerprint:
            raise InputError(
                f"--w_coeff: {source} was fitted with the face model {self.maker.face_model}, this "
                f"run uses {card}; give the same --face_model, or {REMEDY}"
            )


class FaceLabeller(Protocol):
    """What fits faces of photos. Must survive pickling, as `LandmarkDetector`."""

    @property
    def maker(self) -> LabelMaker:
        """Who signs its labels."""
        ...

    @property
    def standard_points(self) -> np.ndarray:
        """(5, 3) points of the face model by which photos are aligned."""
        ...

    def __call__(self, path: Path, image: np.ndarray, landmarks: np.ndarray) -> FittedLabel:
        """Fit the face of a photo.

        Args:
            path: of the photo, for messages.
            image: (H, W, 3) uint8.
            landmarks: (68, 2) pixel indices.

        Raises:
            InputError: the photo cannot be aligned by these landmarks.
        """
        ...


def crop_numbers(alignment: Alignment) -> tuple[int, ...]:
    """What a crop depends on, for `FittedLabel.crop`."""
    return *alignment.photo_size, *alignment.resized_size, alignment.left, alignment.top


def landmark_hash(landmarks: np.ndarray) -> str:
    """SHA-256 (16 hex digits) of points to a hundredth of a pixel."""
    # Zero is added so that -0 becomes 0.
    rounded = np.round(np.asarray(landmarks, np.float64), 2) + 0.0
    return hashlib.sha256(rounded.astype("<f8").tobytes()).hexdigest()[:16]


def write_label(path: Path, label: FittedLabel) -> None:
    """Write a label atomically, as one line of JSON."""
    error = label.landmark_error
    content: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "face_model": label.maker.face_model,
        "fingerprint": label.maker.fingerprint,
        "preset": label.maker.preset,
        "rules": label.maker.rules,
        "crop": list(label.crop),
        "landmark_error": None if error is None or not math.isfinite(error) else round(error, 5),
    }
    if label.landmarks:
        content["landmarks"] = label.landmarks
    if label.coefficients is None:
        content["doubt"] = label.doubt
    else:
        if not np.isfinite(label.coefficients).all():
            raise ValueError(f"coefficients for {path} are not finite")
        # Nine digits are what a float32 needs to come back as it was.
        content["coefficients"] = [float(f"{value:.9g}") for value in label.coefficients]
    write_text(path, json.dumps(content) + "\n")


def read_label(path: Path) -> FittedLabel:
    """Read the file of a label or of a doubt.

    Raises:
        InputError: missing, damaged, of a newer format, or with numbers that are not finite.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {REMEDY}") from error
    return parse_label(content, str(path))


def parse_label(content: bytes, source: str) -> FittedLabel:
    """`read_label` of what was read already."""
    try:
        values = json.loads(content)
        if values["format"] != FORMAT_VERSION:
            raise InputError(
                f"{source} has format {values['format']}, this program reads {FORMAT_VERSION}; "
                f"{REMEDY}"
            )
        coefficients = values.get("coefficients")
        if coefficients is not None:
            coefficients = np.array(coefficients, dtype=np.float32)
            if coefficients.ndim != 1 or not np.isfinite(coefficients).all():
                raise ValueError("its coefficients are no finite numbers")
        crop = tuple(int(number) for number in values["crop"])
        if len(crop) != 6:
            raise ValueError(f"its crop has {len(crop)} numbers, not 6")
        error = values["landmark_error"]
        return FittedLabel(
            LabelMaker(
                str(values["face_model"]),
                str(values["fingerprint"]),
                str(values["preset"]),
                str(values.get("rules", "")),
            ),
            crop,
            None if error is None else float(error),
            coefficients,
            str(values.get("doubt", "")),
            str(values.get("landmarks", "")),
        )
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(
            f"{source} holds no fitted coefficients ({type(error).__name__}: {error}); {REMEDY}"
        ) from error
