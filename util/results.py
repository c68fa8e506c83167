"""Write the results of `test.py`: pictures, meshes, coefficients, and a summary of the folder."""

from __future__ import annotations

import csv
import io
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from models.parameters import Coefficients
from util.atomic import write_bytes, write_text
from util.coefficient_file import write_mat
from util.mesh_file import write_obj


@dataclass(frozen=True)
class FaceResult:
    """One reconstructed face, as arrays ready to be written."""

    stem: str
    picture: np.ndarray
    """(H, W, 3) uint8: crop, reconstruction over it, the same with landmarks."""
    vertices: np.ndarray
    """(V, 3) decimetres, posed, in the object frame (z = 10 - z_camera)."""
    triangles: np.ndarray
    """(F, 3)"""
    colours: np.ndarray
    """(V, 3) lit colours, RGB in [0, 1]."""
    coefficients: Coefficients
    """A batch of one."""
    landmarks_index: np.ndarray
    """(68, 2) predicted pixel indices of the crop, y down."""


@dataclass(frozen=True)
class SummaryRow:
    """What became of one photo."""

    image: str
    status: str
    """ok, or failed."""
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


_COLUMNS = [field.name for field in fields(SummaryRow)]


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


class ResultWriter:
    """Writes faces in threads while the next ones are computed; use as a context manager."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        """Create the folder."""
        self.folder = folder
        self.rows: list[SummaryRow] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._pool = ThreadPoolExecutor(workers)
        self._pending: list[tuple[int, Future[None]]] = []
        """Rows whose files are being written."""

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # After an error or Ctrl-C too: the few faces in the queue are finished and the summary
        # names all that the folder holds.
        self._pool.shutdown(wait=True)
        for number, future in self._pending:
            self._collect(number, future)
        self._write_summary()

    def add(self, face: FaceResult, row: SummaryRow) -> None:
        """Queue a face; waits when writing is far behind, so that memory stays bounded."""
        self.rows.append(row)
        while len(self._pending) >= 32:
            self._collect(*self._pending.pop(0))
        future = self._pool.submit(write_face, self.folder, face)
        self._pending.append((len(self.rows) - 1, future))

    def add_failure(self, row: SummaryRow) -> None:
        """Record a photo that gave no face."""
        self.rows.append(row)

    def _collect(self, number: int, future: Future[None]) -> None:
        """Wait for a face's files; one that cannot be written must not cost the others."""
        try:
            future.result()
        except (OSError, ValueError) as error:
            image = self.rows[number].image
            tqdm.write(f"{image}: {error}")
            self.rows[number] = SummaryRow(image, "failed", message=str(error))

    @property
    def succeeded(self) -> int:
        """Photos with a face."""
        return Counter(row.status for row in self.rows)["ok"]

    def _write_summary(self) -> None:
        """Write summary.csv; photos of earlier runs, whose results lie here too, keep their row."""
        path = self.folder / "summary.csv"
        by_photo = {_photo(cells["image"]): cells for cells in _read_summary(path)}
        for row in self.rows:
            cells = {name: _cell(value) for name, value in asdict(row).items()}
            by_photo[_photo(row.image)] = cells
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(by_photo.values())
        write_text(path, buffer.getvalue())


def write_face(folder: Path, face: FaceResult) -> None:
    """Write `<stem>.obj`, `<stem>.mat` and `<stem>.png`.

    Raises:
        ValueError: a number is not finite; nothing is written.
        OSError: no space, no permission.
    """
    write_obj(folder / f"{face.stem}.obj", face.vertices, face.triangles, face.colours)
    write_mat(folder / f"{face.stem}.mat", face.coefficients, face.landmarks_index)
    write_png(folder / f"{face.stem}.png", face.picture)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 picture; lightly compressed, since time matters more here."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=3)
    write_bytes(path, buffer.getvalue())


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


def _photo(image: str) -> Path:
    """A photo's identity, however its path is written."""
    return Path(image).resolve()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.5f}"
    return "" if value is None else str(value)
