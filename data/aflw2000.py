"""AFLW2000-3D as SynergyNet's folder has it: 120 px crops, their boxes, labels, yaws, angles.

    aflw2000_data/AFLW2000-3D_crop/*.jpg
    aflw2000_data/AFLW2000-3D_crop.list
    aflw2000_data/eval/AFLW2000-3D{.pose,.pts68,-Reannotated.pts68,_crop.roi_box}.npy
    aflw2000_data/eval/ALFW2000-3D_pose_3ANG_{excl,skip}.npy      (the letters are so)

Labels are in pixels of the photo as MATLAB counts them: the centre of the first one is (1, 1). A
box (sx, sy, ex, ey) says which part of the photo a crop shows; landmarks of a crop go to the photo
by x (ex - sx) / 120 + sx. Boxes that reach beyond their photo are clipped, though their crops are
padded with black: landmarks of these few images are shifted, in all published figures too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.images import read_image
from options.face_options import SYNERGY_CROP_PX
from util.errors import InputError
from util.text import decode_text

IMAGES, LIST = "AFLW2000-3D_crop", "AFLW2000-3D_crop.list"
YAW = "AFLW2000-3D.pose.npy"
ORIGINAL = "AFLW2000-3D.pts68.npy"
REANNOTATED = "AFLW2000-3D-Reannotated.pts68.npy"
BOXES = "AFLW2000-3D_crop.roi_box.npy"
ANGLES = "ALFW2000-3D_pose_3ANG_excl.npy"
SKIPPED = "ALFW2000-3D_pose_3ANG_skip.npy"

_FOUR = (
    "it comes with SynergyNet's aflw2000_data.zip, and is in test.configs of github.com/cleardusk/"
    "3DDFA"
)
_TWO = "it comes with SynergyNet's aflw2000_data.zip"


@dataclass(frozen=True)
class Aflw2000:
    """N images with their labels."""

    images: tuple[Path, ...]
    yaw_deg: np.ndarray
    """(N,) by which images are sorted into bins."""
    original: np.ndarray
    """(N, 68, 3) the labels that came with the set; depth in pixels too."""
    reannotated: np.ndarray
    """(N, 68, 2) those of Bulat and Tzimiropoulos (ICCV 2017)."""
    boxes: np.ndarray
    """(N, 4) left, top, right, bottom of the crops in their photos."""
    angles_deg: np.ndarray | None
    """(M, 3) pitch, yaw, roll of the images that are kept; None where the files lack."""
    kept: np.ndarray
    """(M,) numbers of these images: those with no angle beyond 99 degrees."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def excluded(self) -> int:
        """How many images the customary comparison of angles leaves out."""
        return len(self) - len(self.kept)

    @property
    def fingerprint(self) -> str:
        """Eight digits that differ between sets of labels."""
        digest = hashlib.sha256()
        for array in (self.yaw_deg, self.original, self.reannotated):
            digest.update(np.ascontiguousarray(array, np.float32).tobytes())
        return digest.hexdigest()[:8]

    def labels(self, which: str) -> np.ndarray:
        """The labels `original` or `reannotated`, (N, 68, 3) or (N, 68, 2)."""
        return {"original": self.original, "reannotated": self.reannotated}[which]

    def read_crop(self, number: int) -> np.ndarray:
        """A crop, (120, 120, 3) uint8 RGB.

        Raises:
            InputError: it cannot be read, or has another size.
        """
        path = self.images[number]
        image = read_image(path)
        if image.shape != (SYNERGY_CROP_PX, SYNERGY_CROP_PX, 3):
            raise InputError(
                f"{path} is {image.shape[1]} x {image.shape[0]} pixels; the crops of the benchmark "
                f"are {SYNERGY_CROP_PX} x {SYNERGY_CROP_PX}: give the folder {IMAGES} as it was "
                "unpacked"
            )
        return image


def check_root(root: Path) -> None:
    """Refuse a folder that is none.

    Raises:
        InputError: it does not exist.
    """
    if not root.is_dir():
        raise InputError(
            f"--benchmark_root {root} does not exist; give the folder aflw2000_data that holds "
            f"{IMAGES}/, {LIST} and eval/"
        )


def check_files(root: Path) -> None:
    """Refuse a folder that lacks files, by their names alone.

    Raises:
        InputError: it does not exist; or files lack: the message says which, of images how many.
    """
    check_root(root)
    needed = (LIST, IMAGES, *(f"eval/{name}" for name in (YAW, ORIGINAL, REANNOTATED, BOXES)))
    if missing := [name for name in needed if not (root / name).exists()]:
        raise InputError(
            f"--benchmark_root {root} lacks {len(missing)} of {len(needed)} files and folders of "
            f"--benchmark aflw2000: {', '.join(missing)}; they come with SynergyNet's "
            "aflw2000_data.zip (those of eval/ are in test.configs of github.com/cleardusk/3DDFA)"
        )
    _read_list(root)


def read_aflw2000(root: Path) -> Aflw2000:
    """Read and check the folder; images are only looked for.

    Args:
        root: `aflw2000_data`.

    Raises:
        InputError: a file is missing, damaged, of another shape or does not fit the others; the
            message names it, what it holds, and what it should be.
    """
    check_root(root)
    images = _read_list(root)
    count = len(images)
    folder = root / "eval"
    yaw = _read_array(folder / YAW, (count,), "the yaw of each image in degrees", _FOUR)
    original = _read_array(folder / ORIGINAL, (count, 3, 68), "68 points in 3D", _FOUR)
    again = _read_array(folder / REANNOTATED, (count, 2, 68), "68 points", _FOUR)
    boxes = _read_array(folder / BOXES, (count, 4), "the box of each crop", _FOUR)
    if (bad := np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(axis=1))).size:
        raise InputError(
            f"{folder / BOXES}: row {bad[0]} is {boxes[bad[0]].tolist()}, not left, top, right, "
            f"bottom; {_FOUR}"
        )
    angles, kept = _read_angles(folder, count)
    return Aflw2000(
        images=images,
        yaw_deg=yaw,
        original=original.transpose(0, 2, 1),
        reannotated=again.transpose(0, 2, 1),
        boxes=boxes,
        angles_deg=angles,
        kept=kept,
    )


def to_photo(landmarks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Landmarks of crops in their photos, by the public rule.

    Args:
        landmarks: (N, P, 2 or 3) as networks for these crops predict them: x to the right, y down,
            the centre of the first pixel at 1; depth in pixels of the crop.
        boxes: (N, 4).

    Returns:
        Likewise, in pixels of the photo; depth by the mean of both scales.
    """
    scales = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64) / SYNERGY_CROP_PX
    moved = landmarks.astype(np.float64)
    moved[..., :2] = moved[..., :2] * scales[:, None] + boxes[:, None, :2]
    moved[..., 2:] *= scales.mean(axis=1)[:, None, None]
    return moved


def to_crop(landmarks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """`to_photo` undone, of x and y: (N, P, 2 or more) -> (N, P, 2)."""
    scales = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64) / SYNERGY_CROP_PX
    return (landmarks[..., :2] - boxes[:, None, :2]) / scales[:, None]


def continuous_to_photo(landmarks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Landmarks of crops in their photos, exactly.

    Args:
        landmarks: (N, P, 2) continuous pixels of the crop: the centre of its first one at 0.5.
        boxes: (N, 4), whose left and top edge lie at the whole numbers that cut the crop out.

    Returns:
        (N, P, 2) in the labels' pixels of the photo.
    """
    return to_photo(landmarks, boxes) + 0.5


def _read_list(root: Path) -> tuple[Path, ...]:
    """The images, in the order of the labels, which no listing of the folder has."""
    path = root / LIST
    if not path.is_file():
        raise InputError(f"{path} is missing: it says in which order labels are; {_TWO}")
    try:
        lines = decode_text(path.read_bytes()).splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text file ({error.reason}); {_TWO}") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(f"{path} names no image; {_TWO}")
    images = tuple(root / IMAGES / name for name in names)
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]} is missing, and {len(missing) - 1} more of the {len(images)} images in "
            f"{path}; unpack {IMAGES} beside it"
            if len(missing) > 1
            else f"{missing[0]} is missing, which {path} names; unpack {IMAGES} again"
        )
    return images


def _read_angles(folder: Path, count: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Angles (M, 3), None without files, and numbers (M,) of the images that have some."""
    everyone = np.arange(count)
    paths = folder / ANGLES, folder / SKIPPED
    if not any(path.is_file() for path in paths):
        return None, everyone
    skipped = _read_array(paths[1], (None,), "numbers of images", _TWO)
    numbers = skipped.astype(np.int64)
    if (numbers != skipped).any() or len(np.unique(numbers)) != len(numbers):
        raise InputError(f"{paths[1]} does not hold different whole numbers of images; {_TWO}")
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < count:
        raise InputError(
            f"{paths[1]} names image {numbers.max()}, but {LIST} has 0 to {count - 1}; are both of "
            f"the same set? {_TWO}"
        )
    kept = np.setdiff1d(everyone, numbers)
    angles = _read_array(paths[0], (None, 3), "pitch, yaw, roll in degrees", _TWO)
    if len(angles) != len(kept):
        raise InputError(
            f"{paths[0]} has {len(angles)} rows, but {LIST} has {count} images and {SKIPPED} names "
            f"{len(numbers)} of them: {len(kept)} are needed; {_TWO}"
        )
    return angles, kept


def _read_array(path: Path, shape: tuple[int | None, ...], what: str, remedy: str) -> np.ndarray:
    """An array of finite numbers in float64, of the given shape; None is any size.

    Raises:
        InputError: anything else.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing ({what}); {remedy}")
    try:
        with path.open("rb") as file:
            array = np.load(file, allow_pickle=False)
    except Exception as error:
        # Garbage reaches each part of the reader, and each raises what it happens to raise.
        raise InputError(f"{path} is no array of numpy, or damaged ({error}); {remedy}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise InputError(f"{path} does not hold an array of numbers; {remedy}")
    fits = len(array.shape) == len(shape) and all(
        size in (None, found) for size, found in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        found = " x ".join(map(str, array.shape)) or "one number"
        raise InputError(f"{path} is {found}; needed is {wanted} ({what}); {remedy}")
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds numbers that are not finite; {remedy}")
    return array.astype(np.float64)
