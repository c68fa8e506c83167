"""The meshes of a method that its report shows: the first ones, and those with the largest errors.

They are kept in `<out>/shown/<method>.json`, packed as the page wants them, so that a report shows
the methods of earlier runs too.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from util.atomic import write_text
from util.evaluation.error_picture import LIMIT_MM, ErrorMesh, draw_errors
from util.evaluation.method_names import file_stem
from util.evaluation.what_was_used import Used
from util.reports.report_data import pack_vertices, packed
from util.reports.report_parts import jpeg_bytes, jpeg_uri

FIRST, WORST = 5, 5
MOST_VERTICES = 8000
"""Of a mesh on a page; finer ones are thinned."""
LEVELS = 254
"""Of an error on a page; the next one is that of vertices where nothing was compared."""
BEYOND = 2.0
"""The largest error that a page tells from larger ones, in limits of the colours."""
VERSION = 2
_PHOTO_PX, _PHOTO_QUALITY = 224, 80


@dataclass(frozen=True)
class ShownMesh:
    """A mesh with what is said of it."""

    mesh: ErrorMesh
    figure: float
    """The error in one number."""


class ShownMeshes:
    """Keeps the first meshes of a run, and of the rest the worst, while they pass by."""

    def __init__(self, method: str, data: str, used: Used = (), unit: str = "mm") -> None:
        """Begin.

        Args:
            method: whose predictions.
            data: fingerprint of what they are compared with.
            used: what the page says of the method.
            unit: of the errors; empty where the files do not say it.
        """
        self.method = method
        self._data, self._used, self._unit = data, used, unit
        self._first: list[ShownMesh] = []
        self._worst: list[tuple[float, int, ShownMesh]] = []
        self._seen = 0

    def offer(self, figure: float, make: Callable[[], ErrorMesh]) -> None:
        """The next one; its mesh is made only where it is kept.

        Args:
            figure: its error.
            make: gives its mesh.
        """
        self._seen += 1
        if self._seen <= FIRST:
            self._first.append(_kept(figure, make))
        elif len(self._worst) < WORST:
            heapq.heappush(self._worst, (figure, -self._seen, _kept(figure, make)))
        elif figure > self._worst[0][0]:
            heapq.heapreplace(self._worst, (figure, -self._seen, _kept(figure, make)))

    @property
    def first(self) -> list[ShownMesh]:
        """The first ones."""
        return self._first

    @property
    def worst(self) -> list[ShownMesh]:
        """The worst of the others, the very worst first."""
        return [shown for *_, shown in sorted(self._worst, reverse=True)]

    @property
    def limit(self) -> float:
        """The error of the last colour; see `colour_limit`."""
        return colour_limit([*self.first, *self.worst], self._unit)

    def draw(self, path: Path) -> None:
        """Write a picture of them, the worst below the first."""
        rows = {f"{self.method}, first": self.first, f"{self.method}, worst": self.worst}
        said = {
            title: [(f"{s.mesh.name}: {s.figure:.2f} {self._unit}".rstrip(), s.mesh) for s in some]
            for title, some in rows.items()
            if some
        }
        draw_errors(path, said, self.limit, self._unit)

    def write(self, out: Path) -> None:
        """Write them beside those of other methods."""
        meshes: dict[str, Any] = {}
        faces = []
        limit = self.limit
        for kind, some in (("first", self.first), ("worst", self.worst)):
            for shown in some:
                mesh = pack_mesh(shown.mesh)
                key = sha256(json.dumps(mesh).encode()).hexdigest()[:16]
                meshes[key] = mesh
                faces.append({"kind": kind, "mesh": key, **_pack_errors(shown, limit)})
        content = {
            "version": VERSION,
            "data": self._data,
            "method": self.method,
            "used": list(self._used),
            "unit": self._unit,
            "limit": limit,
            "meshes": meshes,
            "faces": faces,
        }
        write_text(shown_path(out, self.method), json.dumps(content, separators=(",", ":")))


def colour_limit(every: Sequence[ShownMesh], unit: str) -> float:
    """The error of the last colour: a fixed one in millimetres, else one that suits."""
    if unit == "mm":
        return LIMIT_MM
    errors = np.concatenate([shown.mesh.errors for shown in every])
    return float(f"{np.nanquantile(errors, 0.95):.1g}") or 1.0


def shown_path(out: Path, method: str) -> Path:
    """Where the meshes of a method are kept."""
    return out / "shown" / f"{file_stem(method)}.json"


def read_shown(out: Path, method: str, data: str) -> dict[str, Any] | None:
    """What an earlier run kept; None where it kept nothing, or nothing that is of use here."""
    try:
        content = json.loads(shown_path(out, method).read_text(encoding="utf-8"))
        found = content["version"], content["method"], content["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if found == (VERSION, method, data) else None


def thinned(mesh: ErrorMesh, most: int = MOST_VERTICES) -> ErrorMesh:
    """A mesh of about that many vertices at most: those in one cell of a grid become one.

    A surface passes through about area / side^2 cells of a grid, times a half more for its slant.
    """
    if len(mesh.vertices) <= most:
        return mesh
    corners = mesh.vertices[mesh.triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(across, axis=1).sum() / 2
    side = np.sqrt(1.5 * area / most) or 1.0
    cells = np.floor((mesh.vertices - mesh.vertices.min(axis=0)) / side).astype(np.int64)
    _, number, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    number = number.reshape(-1)
    weights = 1 / count

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(number, values, len(count)) * weights

    triangles = number[mesh.triangles]
    first, second, third = triangles.T
    triangles = triangles[(first != second) & (second != third) & (third != first)]
    return replace(
        mesh,
        vertices=np.stack([mean(axis) for axis in mesh.vertices.T], axis=1),
        triangles=np.unique(triangles, axis=0),
        errors=mean(mesh.errors),
    )


def pack_mesh(mesh: ErrorMesh) -> dict[str, Any]:
    """Positions and triangles as `evaluation.js` reads them."""
    wide = len(mesh.vertices) > 65536
    return {
        "vertex_count": len(mesh.vertices),
        "vertices": pack_vertices(mesh.vertices),
        "triangles": packed(mesh.triangles.reshape(-1).astype("u4" if wide else "u2")),
        "wide": wide,
    }


def _kept(figure: float, make: Callable[[], ErrorMesh]) -> ShownMesh:
    return ShownMesh(thinned(make()), figure)


def _pack_errors(shown: ShownMesh, limit: float) -> dict[str, Any]:
    """The errors of one mesh, in `LEVELS` steps up to `BEYOND` limits."""
    errors, photo = shown.mesh.errors, shown.mesh.photo
    levels = np.rint(np.nan_to_num(errors / (BEYOND * limit)).clip(0, 1) * LEVELS)
    levels[np.isnan(errors)] = LEVELS + 1
    jpeg = None if photo is None else jpeg_uri(jpeg_bytes(photo, _PHOTO_PX, _PHOTO_QUALITY))
    return {
        "name": shown.mesh.name,
        "figure": round(shown.figure, 4),
        "errors": packed(levels.astype(np.uint8)),
        "photo": jpeg,
    }
