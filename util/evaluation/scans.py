"""Scans as benchmarks give them: meshes in millimetres with landmarks that people picked.

A scan in metres looks like any other, but its errors would be a thousand times too small; the size
of the face tells the unit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from util.errors import InputError
from util.mesh_files.mesh_reader import TriangleMesh, find_mesh, read_mesh

UNIT_MM = {"mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1000.0}
EYE_CORNERS_MM = (60.0, 130.0)
"""Distance of the outer eye corners that a head can have; 90 is usual."""
STANDARD_SEVEN = np.array(
    [
        *([-0.45, 0.3, 0.1], [-0.17, 0.29, 0.15], [0.17, 0.29, 0.15], [0.45, 0.3, 0.1]),
        *([0.0, -0.13, 0.38], [-0.25, -0.42, 0.27], [0.25, -0.42, 0.27]),
    ]
)
"""(7, 3) of a face as pictures show it, decimetres."""
_POINT = re.compile(rb"<point\b[^>]*>")
_AXES = {axis: re.compile(rb'\b%s\s*=\s*"([^"]*)"' % axis) for axis in (b"x", b"y", b"z")}


@dataclass(frozen=True)
class Scan:
    """A scan in millimetres."""

    mesh: TriangleMesh
    landmarks: np.ndarray
    """(7 or more, 3): iBUG's 36, 39, 42, 45, 33, 48, 54; then what the benchmark adds."""

    @property
    def seven(self) -> np.ndarray:
        """(7, 3) those that every benchmark has."""
        return self.landmarks[:7]


def read_scan(mesh: Path, landmarks: Path, count: int = 7) -> Scan:
    """Read a scan and its landmarks, and see that both are in millimetres.

    Args:
        mesh: `.obj` or `.ply`.
        landmarks: `.pp` of MeshLab, or a text of three numbers a line.
        count: of the landmarks.

    Raises:
        InputError: a file is missing or none of its kind, the count is another, the unit is.
    """
    points = read_scan_points(landmarks, count)
    scan = read_mesh(mesh)
    long, between = (float(np.ptp(some, axis=0).max()) for some in (scan.vertices, points))
    if not 1 <= long / between < 100:
        raise InputError(
            f"{mesh} is {long:.3g} long, but its landmarks ({landmarks}) lie within {between:.3g} "
            "mm: the two have other units, or are of other scans"
        )
    return Scan(scan, points)


def scan_files(stem: Path) -> tuple[Path, Path]:
    """The mesh `<stem>.obj` (or `.ply`) of a scan and its landmarks, `<stem>.pp` (or `.txt`).

    Raises:
        InputError: there is no mesh.
    """
    points = stem.parent / f"{stem.name}.pp"
    text = points.with_suffix(".txt")
    return find_mesh(stem), text if text.is_file() and not points.is_file() else points


def read_scan_points(path: Path, count: int) -> np.ndarray:
    """Landmarks (count, 3) of a scan, in millimetres; see `read_scan`."""
    points = read_points(path, count)
    check_face_size(points, "mm", path, "scans")
    return points


def read_points(path: Path, count: int) -> np.ndarray:
    """Points (count, 3) that were picked on a scan.

    Raises:
        InputError: no such file, another count, no finite numbers.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; it holds the scan's {count} landmarks")
    content = path.read_bytes()
    try:
        if path.suffix.lower() == ".pp":
            rows = [_picked(match.group()) for match in _POINT.finditer(content)]
        else:
            rows = [[float(n) for n in line.replace(b",", b" ").split()] for line in _full(content)]
        points = np.array(rows, np.float64).reshape(-1, 3)
    except ValueError as error:
        raise InputError(f"{path} has a point that is not three numbers ({error})") from error
    if len(points) != count:
        raise InputError(
            f"{path} holds {len(points)} points, expected {count}: the eye corners 36, 39, 42, 45, "
            "the nose bottom 33, the mouth corners 48, 54 of iBUG"
            + ("" if count == 7 else ", and the nose tip 30")
        )
    if not np.isfinite(points).all():
        raise InputError(f"{path} has points that are not finite numbers")
    return points


def check_face_size(points: np.ndarray, unit: str, path: Path, what: str) -> None:
    """See that the outer eye corners of landmarks (7, 3) are as far apart as a head's.

    Args:
        points: in `unit`.
        unit: a key of UNIT_MM.
        path: of their file, for the message.
        what: they are of.

    Raises:
        InputError: they are not; the message names the unit that would fit.
    """
    apart = float(np.linalg.norm(points[0] - points[3]))
    low, high = EYE_CORNERS_MM
    if low <= apart * UNIT_MM[unit] <= high:
        return
    fitting = [name for name, mm in UNIT_MM.items() if low <= apart * mm <= high]
    remedy = f"they are in {fitting[0]}" if fitting else "are these the right points, in order?"
    raise InputError(
        f"{path}: the outer eye corners (first and fourth point) lie {apart:.4g} {unit} apart, a "
        f"head's {low / UNIT_MM[unit]:g} to {high / UNIT_MM[unit]:g}; {what} must be in {unit}: "
        f"{remedy}"
    )


def only_file(folder: Path, pattern: str, what: str) -> Path:
    """The one file of a kind in a folder.

    Raises:
        InputError: none, or several.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        there = f"{len(found)} files" if found else "no file"
        raise InputError(f"{folder} holds {there} {pattern}; it must hold one, {what}")
    return found[0]


def _picked(tag: bytes) -> list[float]:
    found = [pattern.search(tag) for pattern in _AXES.values()]
    if None in found:
        raise ValueError(f"{tag.decode('utf-8', 'replace')} lacks x, y or z")
    return [float(match.group(1)) for match in found if match]


def _full(content: bytes) -> list[bytes]:
    return [line for line in content.splitlines() if line.strip()]
