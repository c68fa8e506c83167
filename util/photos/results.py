"""Write the results of `test.py`: pictures, meshes, coefficients, and a summary of the folder.

docs/results.md says what the files hold.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.images import write_image
from options.output_options import OutputOptions
from util.atomic import atomic_files, write_text
from util.outputs import OUTPUTS, NamedOutput, output_names
from util.outputs.output import forget_photos
from util.photos.face_result import FaceResult
from util.photos.fit_record import write_fit_record
from util.photos.number_files import number_files
from util.photos.pixel_face import map_files
from util.reports.contact_sheet import CONTACT_SHEET, write_contact_sheet
from util.reports.report_parts import REPORT_ENDING

NO_BETTER = "landmarks no better than those of the mean face in the pose of the five points"


@dataclass(frozen=True)
class SummaryRow:
    """What became of one face, or of a photo without any."""

    image: str
    status: str
    """ok, or failed."""
    face: int | None = None
    """1 for the largest face of the photo, then by falling size; None for the whole photo."""
    files: str = ""
    """Name of the face's files, without their endings."""
    nme_inner: float | None = None
    """Mean distance of the inner 51 landmarks from the detected ones, in outer-eye distances."""
    nme_jaw: float | None = None
    """The same for the 17 jaw points."""
    nme_inner_mean_face: float | None = None
    """What the mean face in the pose of the five points has: the yardstick for nme_inner."""
    pitch_deg: float | None = None
    yaw_deg: float | None = None
    roll_deg: float | None = None
    message: str = ""

    def judged(self) -> SummaryRow:
        """With a message where a network's landmarks are no nearer than the yardstick's."""
        inner, mean_face = self.nme_inner, self.nme_inner_mean_face
        if inner is None or mean_face is None or inner < mean_face:
            return self
        return replace(self, message="; ".join(filter(None, (self.message, NO_BETTER))))


_COLUMNS = [field.name for field in fields(SummaryRow)]
_FACE_ENDINGS = (".obj", ".mat", ".png", "_fit.json", "_views.png", ".json")
"""What `write_face` may write. The last says whose face it is, and is removed last."""
OVERLAY_ENDING = "_photo.jpg"
_AS_THEY_WERE = "the files of an earlier run are as they were"


def results_folder(run: Path, photos: Path, name: str, epoch: str) -> Path:
    """Where the results of a folder of photos go: `<run>/results/<name>/epoch_<epoch>_000000`.

    Another folder of the same name, whose results lie there already, gets `<name>_2` and so on.

    Args:
        run: the run's folder.
        photos: folder of the photos.
        name: its name.
        epoch: of the checkpoint.
    """
    number = 1
    while True:
        suffix = "" if number == 1 else f"_{number}"
        folder = run / "results" / f"{name}{suffix}" / f"epoch_{epoch}_000000"
        owners = {_photo(row["image"]).parent for row in _read_summary(folder / "summary.csv")}
        if owners <= {photos.resolve()}:
            return folder
        number += 1


def earlier_results(folder: Path, photos: Iterable[Path]) -> int:
    """How many of some photos have results in a folder, which writing into it replaces."""
    rows = _read_summary(folder / "summary.csv")
    done = {_photo(row["image"]) for row in rows if row["status"] == "ok"}
    return len(done & {photo.resolve() for photo in photos})


def face_stems(folder: Path, photos: Iterable[Path]) -> list[str]:
    """Names, without endings, of the files of each face that a folder holds of some photos."""
    wanted = {photo.resolve() for photo in photos}
    rows = _read_summary(folder / "summary.csv")
    return [r["files"] for r in rows if r["status"] == "ok" and _photo(r["image"]) in wanted]


@dataclass(frozen=True)
class _Writing:
    """Files on their way to the disk."""

    row: int
    """Whose they are."""
    future: Future[None]
    extras: tuple[str, ...] = ()
    """Names of files that the face is complete without, where these are such."""


class ResultWriter:
    """Writes faces in threads while the next ones are computed; use as a context manager."""

    def __init__(
        self,
        folder: Path,
        outputs: Sequence[NamedOutput] = (),
        workers: int = 2,
        options: OutputOptions | None = None,
    ) -> None:
        """Create the folder.

        Args:
            folder: of the results.
            outputs: that are written of each face, beside the usual files.
            workers: threads that write.
            options: of all files, for the unit of `<stem>.obj`.
        """
        self.folder = folder
        self._options = options or OutputOptions()
        self._outputs = outputs
        self.rows: list[SummaryRow] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._pool = ThreadPoolExecutor(workers)
        self._pending: list[_Writing] = []
        self.reports: list[str] = []
        """Names of the reports that this run has written, or will have."""
        self._extras: set[str] = set()
        """Names of overlays, reports and outputs that this run has written, or will have."""
        self._unwritten: set[str] = set()
        """Lower-case stems of faces that could not be written; what earlier runs wrote of them
        stays."""
        self._defect: Exception | None = None
        """The first error in a thread that no disk and no photo explains."""

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # After an error or Ctrl-C too: the few faces in the queue are finished and the summary
        # names all that the folder holds.
        self._pool.shutdown(wait=True)
        for writing in self._pending:
            self._collect(writing)
        for named in self._outputs:
            named.output.close()
        forget_photos()
        self._write_summary()
        self._collect_outputs()
        if error is None and self._defect is not None:
            raise self._defect

    def add(self, face: FaceResult, row: SummaryRow) -> int:
        """Queue a face; waits when writing is far behind, so that memory stays bounded.

        Returns:
            The number of its row.
        """
        while len(self._pending) >= 32:
            self._collect(self._pending.pop(0))
        if self._defect is not None:
            raise self._defect
        self.rows.append(row)
        number = len(self.rows) - 1
        writing = self._pool.submit(write_face, self.folder, face, self._options)
        self._pending.append(_Writing(number, writing))
        for named in self._outputs:  # each on its own: one that fails costs its own files only
            write = partial(named.write, face=face)
            self._add_extra(named.output.names(face.stem), number, write)
        return number

    def add_overlay(self, stem: str, row: int, draw: Callable[[], np.ndarray]) -> None:
        """Queue `<stem>_photo.jpg`.

        Args:
            stem: of the photo.
            row: number of the row of one of its faces, which takes the problem if there is one.
            draw: gives the (H, W, 3) uint8 picture, in the writing thread.
        """
        name = f"{stem}{OVERLAY_ENDING}"
        self._add_extra([name], row, lambda folder: write_image(folder / name, draw()))

    def add_report(self, name: str, row: int, write: Callable[[Path], None]) -> None:
        """Queue a report.

        Args:
            name: of its file.
            row: number of the row of its face, which takes the problem if there is one.
            write: into the folder that it is given, in the writing thread.
        """
        # Reports show what outputs of the face write. Threads take what is queued in order, so that
        # all of it has begun, and can be waited for, when this begins.
        before = [writing.future for writing in self._pending if writing.row == row]

        def write_last(folder: Path) -> None:
            wait(before)
            write(folder)

        self._add_extra([name], row, write_last)
        self.reports.append(name)

    def _add_extra(self, names: Sequence[str], row: int, write: Callable[[Path], None]) -> None:
        """Queue files that a face is complete without; the first name stands for them."""
        self._pending.append(_Writing(row, self._pool.submit(write, self.folder), tuple(names)))
        self._extras |= set(names)

    def add_failure(self, row: SummaryRow) -> None:
        """Record a photo that gave no face, or a face that cannot be used.

        A photo that cannot be read, wrong landmarks, or a face that is only found with other flags
        say nothing against earlier results: those of the whole photo stay.
        """
        self.rows.append(row)

    def _collect(self, writing: _Writing) -> None:
        """Wait for files; those that cannot be written must not cost the other faces."""
        try:
            writing.future.result()
        except Exception as error:
            row = self.rows[writing.row]
            expected = isinstance(error, (OSError, ValueError))
            problem = str(error) if expected else f"{type(error).__name__}: {error}"
            if writing.extras:
                self._extras -= set(writing.extras)
                self.reports = [name for name in self.reports if name not in writing.extras]
                problem = f"no {writing.extras[0]}: {problem}"
                message = f"{row.message}; {problem}" if row.message else problem
                row = replace(row, message=message)
            else:
                if (self.folder / f"{row.files}.json").is_file():
                    problem = f"{problem}; {_AS_THEY_WERE}"
                self._unwritten.add(row.files.casefold())
                row = SummaryRow(row.image, "failed", row.face, row.files, message=problem)
            self.rows[writing.row] = row
            tqdm.write(f"{row.image}: {problem}")
            if not expected and self._defect is None:
                self._defect = error

    @property
    def photos(self) -> tuple[int, int]:
        """Photos with a face, and photos in all."""
        ok = {row.image for row in self.rows if row.status == "ok"}
        return len(ok), len({row.image for row in self.rows})

    def _collect_outputs(self) -> None:
        """Let all kinds list the faces that the folder holds now, those of earlier runs too."""
        for name, kind in OUTPUTS.items():
            try:
                kind.collect(self.folder)
            except (OSError, ValueError) as error:
                tqdm.write(f"--save {name}: {error}")

    def _write_summary(self) -> None:
        """Write summary.csv; photos of earlier runs, whose results lie here too, keep their row.

        What earlier runs wrote of this run's photos and no row names any more is removed.
        """
        path = self.folder / "summary.csv"
        by_photo: dict[Path, list[dict[str, str]]] = {}
        for cells in _read_summary(path):
            by_photo.setdefault(_photo(cells["image"]), []).append(cells)
        self.rows = [kept for row in self.rows for kept in self._beside_earlier(row, by_photo)]
        photos = dict.fromkeys(_photo(row.image) for row in self.rows)
        earlier = [(photo, cells) for photo in photos for cells in by_photo.get(photo, ())]
        by_photo |= {photo: [] for photo in photos}
        for row in self.rows:
            cells = {name: _cell(value) for name, value in asdict(row).items()}
            by_photo[_photo(row.image)].append(cells)
        named = {cells["files"].casefold() for rows in by_photo.values() for cells in rows}
        for photo, cells in earlier:
            if cells["files"].casefold() in self._unwritten:
                continue
            self._remove_stale(photo.name, cells["files"], cells["face"] == "1", named)
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells for rows in by_photo.values() for cells in rows)
        write_text(path, buffer.getvalue(), escaped=True)
        if self.reports or (self.folder / CONTACT_SHEET).is_file():
            rows = [cells for rows in by_photo.values() for cells in rows]
            try:
                write_contact_sheet(self.folder, rows)
            except (OSError, ValueError) as error:
                tqdm.write(f"no {CONTACT_SHEET}: {error}")

    def _beside_earlier(
        self, row: SummaryRow, earlier: Mapping[Path, Sequence[Mapping[str, str]]]
    ) -> Iterator[SummaryRow]:
        """A row; if its photo gave no face, one for each face that an earlier run wrote."""
        photo = _photo(row.image)
        gave_none = row.status == "failed" and row.face is None
        faces = earlier.get(photo, ()) if gave_none else ()
        faces = [face for face in faces if _is_face_of(self.folder, face["files"], photo.name)]
        if not faces:
            yield row
        for face in faces:
            self._unwritten.add(face["files"].casefold())
            number = int(face["face"]) if face["face"].isdecimal() else None
            message = f"{row.message}; {_AS_THEY_WERE}"
            yield replace(row, face=number, files=face["files"], message=message)

    def _remove_stale(self, photo: str, stem: str, is_first: bool, named: Collection[str]) -> None:
        """Remove what an earlier run wrote of a face, as far as it is not of this run.

        Args:
            photo: name of the photo's file.
            stem: of the face's files, as the earlier summary has it.
            is_first: the photo's first face, whose name the overlay bears.
            named: lower-case stems of all files that the new summary names.
        """
        if not _is_face_of(self.folder, stem, photo):
            return
        stale = [f"{stem}{OVERLAY_ENDING}"] if is_first else []
        stale += [f"{stem}{REPORT_ENDING}", *output_names(stem)]
        stale = [name for name in stale if name not in self._extras]
        if stem.casefold() not in named:
            stale += _all_files(stem)
        for name in stale:
            try:
                (self.folder / name).unlink(missing_ok=True)
            except OSError as error:
                tqdm.write(f"{name} of an earlier run cannot be removed: {error.strerror}")


def face_files(face: FaceResult) -> dict[str, str]:
    """Endings of the files that `write_face` writes of a face, and what they hold."""
    files = {} if face.picture is None else {".png": "crop, overlay, landmarks"}
    files |= number_files(face).contents
    if face.fit is not None:
        files["_fit.json"] = "energies"
    if face.views is not None:
        files["_views.png"] = "turned views"
    return files


def _all_files(stem: str) -> list[str]:
    """Names of all files that `write_face` could have written of a face."""
    return [*map_files(stem), *(f"{stem}{ending}" for ending in _FACE_ENDINGS)]


def write_face(folder: Path, face: FaceResult, options: OutputOptions | None = None) -> None:
    """Write the files that `face_files` names, and the given map of a mesh that has one.

    All of them, or none: where one cannot be written, what is there of an earlier run stays as it
    is. Where all are, what that run had and this face has not goes.

    Raises:
        ValueError: a number is not finite.
        OSError: no space, no permission.
    """
    with atomic_files(folder) as staging:
        _write_files(staging, face, options or OutputOptions())
    written = {f"{face.stem}{ending}" for ending in face_files(face)}
    written |= set(number_files(face).names(face.stem))
    for name in _all_files(face.stem):
        if name not in written:
            (folder / name).unlink(missing_ok=True)


def _write_files(folder: Path, face: FaceResult, options: OutputOptions) -> None:
    number_files(face).write(folder, face, options)
    if face.fit is not None:
        write_fit_record(folder / f"{face.stem}_fit.json", face.fit)
    if face.views is not None:
        write_image(folder / f"{face.stem}_views.png", face.views)
    if face.picture is not None:
        write_image(folder / f"{face.stem}.png", face.picture)


def _read_summary(path: Path) -> list[dict[str, str]]:
    """Rows of a summary; none if it is missing, damaged, or of another version."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file, strict=True)
    except (OSError, ValueError, csv.Error):
        return []
    if header != _COLUMNS or any(len(line) != len(header) for line in lines):
        return []
    return [dict(zip(header, line, strict=True)) for line in lines]


def _is_face_of(folder: Path, stem: str, photo: str) -> bool:
    """Whether files here are those of a photo's face: a summary that was edited proves nothing."""
    if not stem or Path(stem).name != stem:
        return False
    try:
        record = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("photo") == photo


def _photo(image: str) -> Path:
    """A photo's identity, however its path is written, also by a summary that lacks its bytes."""
    return Path(image.encode("utf-8", "backslashreplace").decode()).resolve()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.5f}"
    return "" if value is None else str(value)
