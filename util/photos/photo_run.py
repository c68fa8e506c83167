"""Send a folder of photos through whatever reconstructs faces, and hand the results to a writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from data.photo_folder import Photo, PhotoFace, PhotoFolder
from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import Backend, Renderer
from options.data_options import DetectionOptions
from options.flags import ParsedOptions
from options.record import changed_options
from util.errors import InputError
from util.photos.face_result import FaceResult
from util.photos.photo_overlay import DrawnFace, lay_over, overlay_opacity
from util.photos.results import ResultWriter, SummaryRow, earlier_results
from util.reports.face_report import DrawnPhoto, ReportWriter
from util.reports.report_parts import REPORT_ENDING

PREVIEW_PX = 2048
"""Longer side of <stem>_photo.jpg; a photo of many megapixels would take longer than its faces."""

Item = TypeVar("Item")
Reconstruct = Callable[[Sequence[PhotoFace]], Iterable[tuple[FaceResult, SummaryRow]]]
"""Aligned faces -> their results, in order."""


class Overlay:
    """Draws faces over whole photos, on the CPU, while the next ones are reconstructed."""

    def __init__(self, face_model: FaceModel, camera: Camera, backend: Backend) -> None:
        """Prepare for one face model.

        Args:
            face_model: whose faces.
            camera: of the crops.
            backend: of the renderer; one that cannot draw on the CPU gives way to "auto".
        """
        self._camera = camera.to("cpu")
        self.renderer = Renderer("auto" if backend == "nvdiffrast" else backend)
        self._opacity = overlay_opacity(face_model)

    def draw(self, preview: np.ndarray, faces: Sequence[DrawnFace]) -> np.ndarray:
        """The photo (H, W, 3) uint8 with the faces drawn into a copy of it."""
        return lay_over(preview, faces, self._camera, self.renderer, self._opacity)


class PhotoRun:
    """Goes through photos: threads load and write while the middle computes."""

    def __init__(
        self,
        reconstruct: Reconstruct,
        at_once: int,
        overlay: Overlay,
        *,
        with_overlay: bool = True,
        reports: ReportWriter | None = None,
    ) -> None:
        """Say what is done with the faces.

        Args:
            reconstruct: gives results in the order of the faces.
            at_once: faces, and photos, that are handed over together.
            overlay: draws over the photos that keep a preview.
            with_overlay: write what it draws as a file.
            reports: writes those of the faces; None writes none.
        """
        self._reconstruct = reconstruct
        self._at_once = at_once
        self._overlay = overlay
        self._with_overlay = with_overlay
        self._reports = reports

    def folder(self, photos: PhotoFolder, writer: ResultWriter) -> None:
        """All photos of a folder."""
        alone = len(photos) == 1
        with tqdm(total=len(photos), unit="photo") as bar:
            for group in chunks(photos.ahead(), self._at_once):
                done = self.photos(group, writer, alone=alone)
                energies = [face.fit.energy for face in done if face.fit is not None]
                if energies:
                    bar.set_postfix(energy=f"{np.mean(energies):.4f}", refresh=False)
                bar.update(len(group))

    def photos(
        self, photos: Sequence[Photo], writer: ResultWriter, *, alone: bool = False
    ) -> list[FaceResult]:
        """Some photos, and hand their faces to the writer, photo by photo.

        Args:
            photos: to reconstruct.
            writer: of the results.
            alone: the folder's only photo; if it gives nothing, the caller says why.

        Returns:
            The faces.
        """
        every: list[FaceResult] = []
        batches = chunks((face for photo in photos for face in photo.faces), self._at_once)
        results = (result for batch in batches for result in self._reconstruct(batch))
        for photo in photos:
            for failed in photo.failures:
                row = SummaryRow(
                    str(failed.path), "failed", face=failed.number, message=failed.problem
                )
                if photo.faces or not alone:
                    tqdm.write(in_words(row))
                writer.add_failure(row)
            done = list(islice(results, len(photo.faces)))
            numbers = [writer.add(face, row) for face, row in done]
            if photo.preview is not None:
                faces = [face for face, _ in done]
                draw = partial(self._overlay.draw, photo.preview, faces)
                drawn = DrawnPhoto(photo.preview, draw)
                if self._with_overlay:
                    writer.add_overlay(photo.stem, numbers[0], drawn.overlay)
                self._report(writer, done, numbers, drawn, photo.stem)
            every += [face for face, _ in done]
        return every

    def _report(
        self,
        writer: ResultWriter,
        done: Sequence[tuple[FaceResult, SummaryRow]],
        numbers: Sequence[int],
        drawn: DrawnPhoto,
        photo_stem: str,
    ) -> None:
        """Queue the reports of a photo's faces; `numbers` are those of their rows."""
        if self._reports is None:
            return
        for (face, row), number in zip(done, numbers, strict=True):
            write = partial(
                self._reports.write, face=face, row=row, photo=drawn, photo_stem=photo_stem
            )
            writer.add_report(f"{face.stem}{REPORT_ENDING}", number, write)


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive groups of at most `size` items."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def in_words(failed: SummaryRow) -> str:
    """A photo or face that gave nothing, and why."""
    face = "" if failed.face is None else f", face {failed.face}"
    named = failed.message.startswith(failed.image)
    return failed.message if named else f"{failed.image}{face}: {failed.message}"


def announce_points(photos: PhotoFolder, detection: DetectionOptions, *, all_faces: bool) -> None:
    """Say which photos bring their points."""
    named = sum(map(photos.has_points, photos.stems))
    found = f"found by --detector {detection.detector}"
    if photos.landmarks is not None:
        print(f"The landmarks are those of {photos.landmarks}")
    elif named == len(photos):
        print("All photos bring their points in detections/ or landmarks/")
    elif named == 0:
        print(f"Faces are {found}; no photo has points in detections/ or landmarks/")
    else:
        print(
            f"{named} of {len(photos)} photos bring their points in detections/ or landmarks/; "
            f"the faces of the others are {found}"
        )
    if all_faces and named:
        print(
            f"--faces all: {named} of {len(photos)} photos keep the one face that their file in "
            "detections/ or landmarks/ names"
        )


def announce_replaced(
    photos: PhotoFolder, results: Path, options: ParsedOptions, phase: str, flags: Iterable[str]
) -> None:
    """Say which earlier results are replaced.

    Args:
        photos: of this run.
        results: its folder.
        options: of this run.
        phase: under which earlier runs recorded theirs (`write_options`).
        flags: by which the results of two runs differ.
    """
    if earlier := earlier_results(results, photos.paths):
        changed = changed_options(options, results, phase, flags)
        made = ", ".join(f"--{name} {old} (now {new})" for name, (old, new) in changed.items())
        print(
            f"{results} holds results of {earlier} of these photos"
            f"{f', made with {made}' if made else ''}: they are replaced; move the folder to keep "
            "them"
        )


@dataclass(frozen=True)
class MeanErrors:
    """Landmark errors of a run in percent of the outer-eye distance."""

    inner: float
    mean_face: float | None
    """Of the mean face in the pose of the five points; None where there is no such yardstick."""

    @classmethod
    def of(cls, rows: Sequence[SummaryRow]) -> MeanErrors | None:
        """Those of faces; None where no landmarks were detected or given."""
        inner = [row.nme_inner for row in rows if row.nme_inner is not None]
        mean = [row.nme_inner_mean_face for row in rows if row.nme_inner_mean_face is not None]
        if not inner:
            return None
        return cls(100 * float(np.mean(inner)), 100 * float(np.mean(mean)) if mean else None)

    def __str__(self) -> str:
        said = (
            f"Inner landmarks against the detected ones: {self.inner:.1f} % of the outer-eye "
            "distance"
        )
        if self.mean_face is None:
            return said
        return f"{said} (mean face in the pose of the five points: {self.mean_face:.1f} %)"


def report_photos(
    writer: ResultWriter, results: Path, done_word: str, named_by: str = ""
) -> MeanErrors | None:
    """Print what became of the photos.

    Args:
        writer: that has written them.
        results: where.
        done_word: what was done with them.
        named_by: the flag that named each of several photos; empty for a folder, which may hold
            what is no photo of a face.

    Returns:
        The errors that were printed, if there are landmarks to compare with.

    Raises:
        InputError: there is no face at all, or, after all is said, a photo that was named gave
            none.
    """
    done, total = check_faces(writer, results)
    rows = [row for row in writer.rows if row.status == "ok"]
    faces = "" if len(rows) == done else f" ({len(rows)} faces)"
    print(f"{done} of {total} photos {done_word}{faces} in {results}")
    errors = MeanErrors.of(rows)
    if errors is not None:
        print(errors)
    announce_reports(writer, results)
    if named_by and done < total:
        given = {row.image for row in rows}
        reasons = "; ".join(in_words(row) for row in writer.rows if row.image not in given)
        raise InputError(
            f"--{named_by}: {total - done} of {total} photos gave no face: {reasons}. What the "
            f"others gave is in {results}"
        )
    announce_failures(writer, results)
    return errors


def report_network(writer: ResultWriter, results: Path) -> None:
    """Print what a network made of the photos, and what to do where that is nothing.

    Raises:
        InputError: there is no face at all.
    """
    errors = report_photos(writer, results, "reconstructed")
    if errors is None or errors.mean_face is None or errors.inner < errors.mean_face:
        return
    print(
        "That is no better than the mean face: the network was trained too briefly, or on "
        "faces unlike these. Train longer or on more faces; if the blue points in the pictures "
        "miss the faces, give five points in detections/"
    )


def check_faces(writer: ResultWriter, results: Path) -> tuple[int, int]:
    """Photos with a face, and photos in all.

    Raises:
        InputError: there is no face at all.
    """
    done, total = writer.photos
    if not done and total == 1:
        raise InputError("; ".join(map(in_words, writer.rows)))
    if not done:
        raise InputError(
            f"none of {total} photos gave a face; {results / 'summary.csv'} names the reasons"
        )
    return done, total


def announce_failures(writer: ResultWriter, results: Path) -> None:
    """Say how many photos gave nothing, if there are any, and where the reasons are."""
    done, total = writer.photos
    if done < total:
        print(f"{total - done} of {total} photos gave no face; {results / 'summary.csv'} says why")


def announce_reports(writer: ResultWriter, results: Path) -> None:
    """Say where to look, if there is anything."""
    if writer.reports:
        only = len(writer.reports) == 1
        print(f"Open in a browser: {results / (writer.reports[0] if only else 'index.html')}")
