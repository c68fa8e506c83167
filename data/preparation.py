"""Turn folders of photos into training data: detections, landmarks, skin masks and lists.

    <folder>/a.jpg                        stays as it is
    <folder>/landmarks/a.txt              68 points
    <folder>/detections/a.txt             five points; the user's own are used, else those of the 68
    <folder>/mask/a.png                   skin mask, written last: it marks a finished photo
    <folder>/coefficients/a.json          with --fit: fitted coefficients (`data.fitted_labels`)
    <folder>/doubtful/a.json              with --fit: why there are none
    <folder>/preparation_report.csv       the photos that cannot be used, or not fitted, and why
    datalist/<mode>/{images,landmarks,masks}.txt

The layout is the public code's, except that its masks bear the photos' own names and format. With
`--shard i/n`, lists and report of the part go to `datalist/<mode>/shards/`, where `data.merging`
finds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from data.alignment import Alignment
from data.detection import LandmarkDetector, create_detector
from data.fitted_labels import FaceLabeller, FittedLabel, landmark_hash, read_label, write_label
from data.images import find_folder, read_image, write_image
from data.landmarks import (
    check_landmarks,
    five_from_68,
    read_landmarks,
    upright_landmarks,
    write_landmarks,
)
from data.photo_landmarks import choose_landmarks, read_checked
from data.prepared_files import (
    DOUBTFUL,
    REPORT_NAME,
    Failure,
    FailureKind,
    ListWriter,
    Outcomes,
    PhotoFiles,
    ReportWriter,
    Summary,
)
from data.sharding import FolderPart, Shard, ShardRecord, list_part, shard_folder
from data.skin_mask import skin_mask
from data.worker_pool import WorkerDied, map_in_processes
from options.data_options import DetectionOptions
from util.cores import usable_cores
from util.errors import InputError


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
    shard: str = ""
    """Prepare one of n parts, i/n with i from 0 to n - 1, as array jobs count; then --merge."""
    merge: bool = False
    """Prepare nothing: join the lists and reports of all parts of --mode."""
    merge_partial: bool = False
    """With --merge: also while parts are missing, lists of those that are there."""
    overwrite: bool = False
    """Also redo photos that are finished. Your own files in detections/ are always kept."""
    fit: bool = False
    """Also fit the face model to every photo, as fit.py does; train.py --w_coeff begins with the
    coefficients. Then --face_model and the flags beside it choose the model."""
    fit_preset: Literal["fast", "balanced", "best"] = "balanced"
    """How finely --fit looks at the photos: about 0.1, 0.5 or 3 seconds each."""

    def __post_init__(self) -> None:
        """Refuse a negative number of processes and parts that do not exist."""
        if self.num_workers is not None and self.num_workers < 0:
            raise ValueError(f"--num_workers is {self.num_workers}; it must be 0 or more")
        if self.shard and self.merge:
            raise ValueError("--shard and --merge: merge once, when all parts are prepared")
        if self.merge_partial and not self.merge:
            raise ValueError("--merge_partial says how to --merge; give both, or neither")
        if self.shard:
            try:
                Shard.parse(self.shard)
            except ValueError as error:
                raise ValueError(f"--shard {self.shard}: {error}") from error


def prepare_folders(
    options: PreparationOptions,
    detection: DetectionOptions | None = None,
    labeller: FaceLabeller | None = None,
    *,
    list_root: Path = Path("datalist"),
    progress: bool = True,
) -> Summary:
    """Prepare every photo of the folders and write the lists of all that can be used.

    Photos that fail stay where they are and are listed in their folder's report. Interrupted
    runs go on where they stopped. Of each photo its name is kept in memory, and one byte.

    Args:
        options: folders, workers, the part of the photos, and what to redo.
        detection: how faces are found.
        labeller: fits faces; None leaves fitting out, and labels that are there as they are.
        list_root: the lists go to list_root/<mode>/; those of all folders are merged. Lists and
            report of a part go to list_root/<mode>/shards/, for `data.merging`.
        progress: show a progress bar.

    Raises:
        InputError: no folder given, a folder that does not exist or holds no pictures.
    """
    shard = Shard.parse(options.shard) if options.shard else None
    folders = find_folders(options.img_folder, options.data_root)
    parts = [list_part(folder, shard or Shard()) for folder in folders]
    count = sum(map(len, parts))
    detector = create_detector(detection or DetectionOptions())
    work = _PreparePhoto(detector, labeller, options.overwrite)
    workers = usable_cores() if options.num_workers is None else options.num_workers
    with (
        Outcomes(count) as outcomes,
        tqdm(total=count, unit="photo", disable=not progress) as bar,
    ):
        todo = _todo(parts, outcomes, work, bar)
        for (number, photo), failure in map_in_processes(work, todo, workers):
            if isinstance(failure, WorkerDied):
                failure = Failure("process died", f"{photo.image}: {failure}")
            if failure is None or failure.usable:
                outcomes.done(number)
            if failure is not None:
                (outcomes.doubt if failure.usable else outcomes.fail)(number, failure)
            bar.update()
            bar.set_postfix(failed=outcomes.kinds.total(), refresh=False)
        lists = list_root / options.mode
        return _write_results(parts, outcomes, lists, shard, with_fits=labeller is not None)


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
            # By how much, as fit.py looks for it, would cost as much as three photos.
            f"{files.image}: no face found; turn the photo if it stands on its head or lies on its "
            f"side, give a clearer one, or mark the face by five points in {files.detection}",
        )
    try:
        # A photo that is redone is not finished until its mask is there again, and what was fitted
        # belongs to the landmarks that it had.
        for path in (files.mask, files.label, files.doubt):
            path.unlink(missing_ok=True)
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


def fit_photo(files: PhotoFiles, labeller: FaceLabeller) -> Failure | None:
    """Write the label of a prepared photo, or why it has none; returns that reason, or None."""
    try:
        image = read_image(files.image)
        landmarks = read_checked(files.landmarks, image.shape, any_way_up=True)
        if landmarks is None or len(landmarks) != 68:
            raise InputError(f"{files.landmarks} does not hold 68 points")
        label = labeller(files.image, image, landmarks)
        label = replace(label, landmarks=landmark_hash(landmarks))
    except InputError as error:
        return Failure("landmarks", str(error))
    path, other = files.label, files.doubt
    if label.coefficients is None:
        path, other = other, path
    try:
        other.unlink(missing_ok=True)
        write_label(path, label)
    except OSError as error:
        return Failure("writing", f"{files.image}: its fit cannot be written: {error}")
    return _doubt(files, label)


def earlier_fit(files: PhotoFiles, labeller: FaceLabeller) -> FittedLabel | None:
    """The label or the doubt that an earlier run wrote; None unless it is what a fit would be now.

    It is if face model, preset and rules of fitting are the same and the landmarks are those that
    were fitted; of a label that does not say which, those that still give the same crop.
    """
    path = files.label if files.label.is_file() else files.doubt
    if not path.is_file():
        return None
    try:
        label = read_label(path)
        size = label.crop[0], label.crop[1]
        landmarks = upright_landmarks(read_landmarks(files.landmarks), size[1])
        alignment = Alignment.from_landmarks(landmarks, size, labeller.standard_points)
    except InputError:
        return None
    same = label.maker == labeller.maker and label.fits(alignment) and label.is_of(landmarks)
    return label if same else None


def _doubt(files: PhotoFiles, label: FittedLabel) -> Failure | None:
    if label.coefficients is not None:
        return None
    return Failure(DOUBTFUL, f"{files.image}: {label.doubt}")


def find_folders(names: Sequence[str], data_root: str) -> list[Path]:
    """The folders that `--img_folder` names, each once.

    Raises:
        InputError: none given, or one that does not exist.
    """
    if not names:
        raise InputError("--img_folder is missing; name one or more folders of photos")
    folders = [_find_folder(name, data_root) for name in names]
    return list({folder.resolve(): folder for folder in folders}.values())


def _todo(
    parts: Sequence[FolderPart], outcomes: Outcomes, work: _PreparePhoto, bar: tqdm
) -> Iterator[tuple[int, PhotoFiles]]:
    """Number and files of each photo that is left to do; notes what becomes of the others."""
    for number, photo in enumerate(chain.from_iterable(parts)):
        if failure := _bad_name(photo):
            outcomes.fail(number, failure)
        elif not work.overwrite and photo.finished():
            if work.labeller is not None:
                fit = earlier_fit(photo, work.labeller)
                if fit is None:
                    yield number, photo
                    continue
                if doubt := _doubt(photo, fit):
                    outcomes.doubt(number, doubt)
            outcomes.skip(number)
        else:
            yield number, photo
            continue
        bar.update()


def _write_results(
    parts: Sequence[FolderPart],
    outcomes: Outcomes,
    lists: Path,
    shard: Shard | None,
    *,
    with_fits: bool,
) -> Summary:
    """Write lists and reports; for a shard its record, last."""
    if shard is None:
        reports = [part.folder / REPORT_NAME for part in parts]
        for report, part, numbers in zip(reports, parts, _numbers(parts), strict=True):
            with ReportWriter(report) as writer:
                for number, failure in outcomes.failures(numbers):
                    writer.add(part.names[number - numbers.start], failure)
    else:
        lists = shard_folder(lists, shard)
        reports = [lists / REPORT_NAME]
        with ReportWriter(reports[0]) as writer:
            for part, numbers in zip(parts, _numbers(parts), strict=True):
                for number, failure in outcomes.failures(numbers):
                    image = part.folder / part.names[number - numbers.start]
                    writer.add(image.as_posix(), failure)
    done, skipped = outcomes.count(Outcomes.DONE), outcomes.count(Outcomes.SKIPPED)
    summary = Summary(
        done=done,
        skipped=skipped,
        failures=outcomes.kinds,
        examples=outcomes.examples,
        reports=tuple(reports),
        lists=lists,
        fitted=done + skipped - outcomes.doubts if with_fits else None,
        doubts=outcomes.doubts,
    )
    # A part without any photo has its lists too, so that the merger sees it done.
    if summary.usable or shard is not None:
        with ListWriter(lists) as writer:
            for number, photo in enumerate(chain.from_iterable(parts)):
                if outcomes.usable(number):
                    writer.add(photo.listed)
    if shard is not None:
        folders = tuple(part.folder.as_posix() for part in parts)
        ShardRecord(shard, folders, done, skipped, summary.fitted).write(lists)
    return summary


def _numbers(parts: Sequence[FolderPart]) -> Iterator[range]:
    """The numbers of each part's photos, counted through all parts."""
    start = 0
    for part in parts:
        yield range(start, start + len(part))
        start += len(part)


@dataclass(frozen=True)
class _PreparePhoto:
    """`prepare_photo` and `fit_photo` with their settings, to be sent to worker processes."""

    detector: LandmarkDetector
    labeller: FaceLabeller | None
    overwrite: bool

    def __call__(self, item: tuple[int, PhotoFiles]) -> Failure | None:
        _, files = item
        kind: FailureKind = "unexpected"
        try:
            failure = None
            if self.overwrite or not files.finished():
                failure = prepare_photo(files, self.detector, overwrite=self.overwrite)
            if failure is not None or self.labeller is None:
                return failure
            kind = DOUBTFUL  # from here on the photo itself can be used
            return fit_photo(files, self.labeller)
        except (ImportError, MemoryError):
            raise
        except Exception as error:
            # A defect met on one photo of many thousands must not end the run; it is reported.
            return Failure(kind, f"{files.image}: {type(error).__name__}: {error}")


def _landmarks(
    files: PhotoFiles, image: np.ndarray, detector: LandmarkDetector, overwrite: bool
) -> np.ndarray | None:
    """The photo's 68 landmarks, checked; None where no face is found."""
    landmarks = None
    if not overwrite:
        landmarks = read_checked(files.landmarks, image.shape, any_way_up=True)
    if landmarks is not None and len(landmarks) != 68:
        raise InputError(f"{files.landmarks} holds {len(landmarks)} points; expected 68")
    given = None
    if landmarks is None and not _is_ours(files):
        given = read_checked(files.detection, image.shape)
    landmarks = choose_landmarks(image, landmarks, given, detector)
    if landmarks is not None:
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
