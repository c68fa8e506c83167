"""Turn folders of photos into training data: detections, landmarks, skin masks and lists.

    <folder>/a.jpg                        stays as it is
    <folder>/landmarks/a.txt              68 points
    <folder>/detections/a.txt             five points; the user's own are used, else those of the 68
    <folder>/mask/a.png                   skin mask, written last: it marks a finished photo
    <folder>/preparation_report.csv       the photos that cannot be used, and why
    datalist/<mode>/{images,landmarks,masks}.txt

The layout is the public code's, except that its masks bear the photos' own names and format.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from data.detection import DetectionOptions, LandmarkDetector, create_detector
from data.images import find_folder, list_images, read_image, stems, write_image
from data.landmarks import (
    check_landmarks,
    five_from_68,
    read_landmarks,
    upright_landmarks,
    write_landmarks,
)
from data.skin_mask import skin_mask
from data.worker_pool import WorkerDied, default_num_workers, map_in_processes
from util.atomic import write_text
from util.errors import InputError

REPORT_NAME = "preparation_report.csv"


@dataclass(frozen=True)
class PreparationOptions:
    """Which photos are prepared, and how."""

    img_folder: tuple[str, ...] = ()
    """Folders of photos: names under data_root, or paths."""
    data_root: str = "datasets"
    """Folder of the data sets."""
    mode: Literal["train", "val", "test"] = "train"
    """Which list the photos join: datalist/train, datalist/val or datalist/test."""
    num_workers: int | None = None
    """Processes; none takes one for each core, 0 works without any others."""
    overwrite: bool = False
    """Also redo photos that are finished. Your own files in detections/ are always kept."""

    def __post_init__(self) -> None:
        """Refuse a negative number of processes."""
        if self.num_workers is not None and self.num_workers < 0:
            raise ValueError(f"--num_workers is {self.num_workers}; it must be 0 or more")


@dataclass(frozen=True)
class PhotoFiles:
    """Where the parts of one photo lie."""

    image: Path
    stem: str

    @property
    def detection(self) -> Path:
        """Five points."""
        return self.image.parent / "detections" / f"{self.stem}.txt"

    @property
    def landmarks(self) -> Path:
        """68 points."""
        return self.image.parent / "landmarks" / f"{self.stem}.txt"

    @property
    def mask(self) -> Path:
        """Skin mask."""
        return self.image.parent / "mask" / f"{self.stem}.png"

    def finished(self) -> bool:
        """Whether nothing is left to do. All files are written whole or not at all."""
        return self.mask.is_file() and self.landmarks.is_file()


@dataclass(frozen=True)
class Failure:
    """Why a photo cannot be used."""

    kind: Literal["picture", "no face", "landmarks", "writing", "process died", "unexpected"]
    """What failed, for counting."""
    reason: str
    """The whole story, with names and remedy."""


@dataclass(frozen=True)
class Summary:
    """What became of every photo."""

    done: tuple[PhotoFiles, ...]
    skipped: tuple[PhotoFiles, ...]
    """Finished before."""
    failed: dict[Path, Failure]
    """By photo."""
    reports: tuple[Path, ...]
    """Where failures are listed."""
    lists: Path
    """Folder of images.txt, landmarks.txt and masks.txt."""

    @property
    def usable(self) -> int:
        """Number of photos that can be trained on."""
        return len(self.done) + len(self.skipped)

    def __str__(self) -> str:
        lines = [f"done {len(self.done)}, skipped {len(self.skipped)}, failed {len(self.failed)}"]
        kinds = Counter(failure.kind for failure in self.failed.values())
        for kind, count in kinds.most_common():
            first = next(f.reason for f in self.failed.values() if f.kind == kind)
            lines.append(f"  {count} x {kind}, such as: {first}")
        if self.failed:
            lines.append("All failures: " + ", ".join(map(str, self.reports)))
        if self.usable:
            lines.append(f"Lists of {self.usable} photos: {self.lists}")
        else:
            lines.append("No photo can be used; the lists stay as they were.")
        return "\n".join(lines)


def prepare_folders(
    options: PreparationOptions,
    detection: DetectionOptions | None = None,
    *,
    list_root: Path = Path("datalist"),
    progress: bool = True,
) -> Summary:
    """Prepare every photo of the folders and write the lists of all that can be used.

    Photos that fail stay where they are and are listed in their folder's report. Interrupted
    runs go on where they stopped.

    Args:
        options: folders, workers and what to redo.
        detection: how faces are found.
        list_root: the lists go to list_root/<mode>/; those of all folders are merged.
        progress: show a progress bar.

    Raises:
        InputError: no folder given, a folder that does not exist or holds no pictures.
    """
    if not options.img_folder:
        raise InputError("--img_folder is missing; name one or more folders of photos")
    folders = {
        folder.resolve(): folder
        for folder in (_find_folder(name, options.data_root) for name in options.img_folder)
    }
    photos = []
    for folder in folders.values():
        images = list_images(folder)
        photos += map(PhotoFiles, images, stems(images))
    failed = {photo.image: failure for photo in photos if (failure := _bad_name(photo))}
    named = [photo for photo in photos if photo.image not in failed]
    skipped = () if options.overwrite else tuple(photo for photo in named if photo.finished())
    finished = set(skipped)
    todo = [photo for photo in named if photo not in finished]

    work = _PreparePhoto(create_detector(detection or DetectionOptions()), options.overwrite)
    workers = default_num_workers() if options.num_workers is None else options.num_workers
    with tqdm(total=len(todo), unit="photo", disable=not progress) as bar:
        for photo, failure in map_in_processes(work, todo, min(workers, len(todo))):
            if isinstance(failure, WorkerDied):
                failure = Failure("process died", f"{photo.image}: {failure}")
            if failure is not None:
                failed[photo.image] = failure
            bar.update()
            bar.set_postfix(failed=len(failed), refresh=False)

    summary = Summary(
        done=tuple(photo for photo in todo if photo.image not in failed),
        skipped=skipped,
        failed={photo.image: failed[photo.image] for photo in photos if photo.image in failed},
        reports=tuple(folder / REPORT_NAME for folder in folders.values()),
        lists=list_root / options.mode,
    )
    for report in summary.reports:
        _write_report(report, summary.failed)
    if summary.usable:
        write_lists(summary.lists, [photo for photo in named if photo.image not in failed])
    return summary


def prepare_photo(
    files: PhotoFiles, detector: LandmarkDetector, *, overwrite: bool = False
) -> Failure | None:
    """Write the missing parts of one photo; returns why that cannot be, or None.

    Landmarks come, in this order, from the landmark file (not if overwriting), from the user's
    points in detections/, from the largest face found. Whenever the process is stopped, the next
    run ends with the files that it would have left.
    """
    try:
        image = read_image(files.image)
    except InputError as error:
        return Failure("picture", str(error))
    try:
        landmarks = _landmarks(files, image, detector, overwrite)
    except InputError as error:
        return Failure("landmarks", str(error))
    if landmarks is None:
        return Failure(
            "no face",
            f"{files.image}: no face found; give a clearer photo, or mark the face by five "
            f"points in {files.detection}",
        )
    try:
        # A photo that is redone is not finished until its mask is there again.
        files.mask.unlink(missing_ok=True)
        # Points that we found are written after the landmarks they are taken from, and go before
        # these change: at no time they could be mistaken for the user's.
        if _is_ours(files):
            files.detection.unlink()
        write_landmarks(files.landmarks, landmarks)
        if not files.detection.is_file():
            # Of the rounded points in the file, as a run that goes on here would take them.
            write_landmarks(files.detection, five_from_68(read_landmarks(files.landmarks)))
        write_image(files.mask, skin_mask(image))
    except OSError as error:
        return Failure("writing", f"{files.image}: its files cannot be written: {error}")
    return None


def write_lists(folder: Path, photos: Sequence[PhotoFiles]) -> None:
    """Write images.txt, landmarks.txt and masks.txt: line i of each belongs to one photo."""
    for name, paths in {
        "images": [photo.image for photo in photos],
        "landmarks": [photo.landmarks for photo in photos],
        "masks": [photo.mask for photo in photos],
    }.items():
        # Slashes on every platform, so that lists travel.
        write_text(folder / f"{name}.txt", "".join(f"{path.as_posix()}\n" for path in paths))


@dataclass(frozen=True)
class _PreparePhoto:
    """`prepare_photo` with its settings, to be sent to worker processes."""

    detector: LandmarkDetector
    overwrite: bool

    def __call__(self, files: PhotoFiles) -> Failure | None:
        try:
            return prepare_photo(files, self.detector, overwrite=self.overwrite)
        except (ImportError, MemoryError):
            raise
        except Exception as error:
            # A defect met on one photo of many thousands must not end the run; it is reported.
            return Failure("unexpected", f"{files.image}: {type(error).__name__}: {error}")


def _landmarks(
    files: PhotoFiles, image: np.ndarray, detector: LandmarkDetector, overwrite: bool
) -> np.ndarray | None:
    """The photo's 68 landmarks, checked; None where no face is found."""
    if files.landmarks.is_file() and not overwrite:
        landmarks = upright_landmarks(read_landmarks(files.landmarks), image.shape[0])
        if len(landmarks) != 68:
            raise InputError(f"{files.landmarks} holds {len(landmarks)} points; expected 68")
        check_landmarks(landmarks, image.shape, str(files.landmarks))
        return landmarks
    if files.detection.is_file() and not _is_ours(files):
        given = read_landmarks(files.detection)
        check_landmarks(given, image.shape, str(files.detection))
        if len(given) == 68:
            return given
        landmarks = detector.landmarks_from_five(image, given)
    else:
        faces = detector.detect(image, largest_only=True)
        if not faces:
            return None
        landmarks = faces[0].landmarks_px
    check_landmarks(landmarks, image.shape, f"{files.image}, landmarks found")
    return landmarks


def _is_ours(files: PhotoFiles) -> bool:
    """Whether detections/ holds the five points of landmarks/, as this program writes them."""
    if not (files.detection.is_file() and files.landmarks.is_file()):
        return False
    try:
        five, landmarks = read_landmarks(files.detection), read_landmarks(files.landmarks)
    except InputError:
        return False
    if (len(five), len(landmarks)) != (5, 68):
        return False
    # Both files are rounded to 1/10000 pixel.
    return bool(np.allclose(five, five_from_68(landmarks), rtol=0, atol=2e-4))


def _find_folder(name: str, data_root: str) -> Path:
    """`find_folder`, but no single picture: its results are those of a folder."""
    folder = find_folder(name, Path(data_root))
    if not folder.is_dir():
        raise InputError(f"--img_folder {name}: {folder} is not a folder; give the photos' folder")
    return folder


def _bad_name(photo: PhotoFiles) -> Failure | None:
    """Names that a list of one path a line cannot hold."""
    text = str(photo.image)
    if "\n" in text or "\r" in text or not text.isprintable():
        reason = f"{text!r}: the name holds characters that a list cannot hold; rename the file"
        return Failure("picture", reason)
    return None


def _write_report(path: Path, failed: dict[Path, Failure]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "kind", "reason"])
    for image, failure in failed.items():
        if image.parent == path.parent:
            writer.writerow([image.name, failure.kind, failure.reason])
    write_text(path, text.getvalue())
