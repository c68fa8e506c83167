"""Read triangle meshes of others: scans and predictions, as Wavefront OBJ or PLY.

Only positions and faces; colours, textures and normals are skipped. Faces of more than three
corners become fans of triangles, and the strips of PLY files their triangles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from util.errors import InputError
from util.model_files.file_kind import foreign_kind

ENDINGS = (".obj", ".ply")
_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_PLY_CORNERS = ("vertex_indices", "vertex_index")
"""The list of a face's corners, by its two usual names; others hold texture coordinates."""
_PLY_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


@dataclass(frozen=True)
class TriangleMesh:
    """Positions and faces, in the unit of the file."""

    vertices: np.ndarray
    """(V, 3) float64, finite."""
    triangles: np.ndarray
    """(F, 3) int64; none in a file of points."""


def existing_mesh(stem: Path) -> Path | None:
    """The `.obj` or `.ply` of a name without ending; None if neither is there."""
    tried = (stem.parent / (stem.name + ending) for ending in ENDINGS)
    return next((path for path in tried if path.is_file()), None)


def find_mesh(stem: Path) -> Path:
    """The `.obj` or `.ply` of a name without ending.

    Raises:
        InputError: neither is there.
    """
    if (path := existing_mesh(stem)) is not None:
        return path
    raise InputError(f"{stem.parent / stem.name}{ENDINGS[0]} (or {ENDINGS[1]}) does not exist")


def read_mesh(path: Path, *, surface: bool = True) -> TriangleMesh:
    """Read a mesh.

    Args:
        path: the file, or its name without ending.
        surface: whether it needs faces.

    Raises:
        InputError: no such file, or no mesh: damaged, cut short, without faces, not finite.
    """
    if path.suffix.lower() not in ENDINGS:
        path = find_mesh(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    if kind := foreign_kind(path):
        raise InputError(f"{path} is {kind}")
    content = path.read_bytes()
    try:
        read = _read_ply if path.suffix.lower() == ".ply" else _read_obj
        vertices, triangles = read(content)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise InputError(f"{path} is no mesh, or it is damaged or cut short ({error})") from error
    if not len(vertices):
        raise InputError(f"{path} holds no vertices: it is empty, or no mesh")
    if not np.isfinite(vertices).all():
        raise InputError(f"{path} has vertices that are not finite numbers")
    if surface and not len(triangles):
        raise InputError(f"{path} holds {len(vertices)} points but no faces; export it as a mesh")
    if len(triangles) and not (triangles.min() >= 0 and triangles.max() < len(vertices)):
        raise InputError(
            f"{path} has faces of vertices that are not there: it holds {len(vertices)}, and a "
            f"face names number {int(triangles.max()) + 1}; it is cut short, or of another program"
        )
    return TriangleMesh(vertices, triangles)


def _read_obj(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    rows: list[list[bytes]] = []
    faces: list[list[int]] = []
    for line in content.splitlines():
        kind, *words = line.split() or (b"",)
        if kind == b"v":
            rows.append(words[:3])
        elif kind == b"f":
            faces.append([_obj_corner(word, len(rows)) for word in words])
    if any(len(row) < 3 for row in rows):
        raise ValueError("a vertex has less than three numbers")
    vertices = np.array(rows, np.float64).reshape(-1, 3)
    return vertices, np.array(list(_fans(faces)), np.int64).reshape(-1, 3)


def _obj_corner(word: bytes, vertices: int) -> int:
    """The vertex that a corner such as `3/1/2` names, from 0, after so many vertices."""
    number = int(word.split(b"/", 1)[0])
    if number > 0:
        return number - 1
    if number == 0:
        raise ValueError("a face names vertex 0, but OBJ counts from 1")
    # Negative numbers count back from the last vertex above the face.
    if number < -vertices:
        raise ValueError(f"a face names vertex {number} after {vertices} vertices")
    return vertices + number


def _read_ply(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    header, body = _ply_header(content)
    vertices, triangles = np.zeros((0, 3)), [np.zeros((0, 3), np.int64)]
    for name, count, properties in header.elements:
        rows = count
        if any(is_list for is_list, *_ in properties):
            lists, body = header.read_lists(body, rows, properties)
            if name in ("face", "tristrips"):
                if not any(named in _PLY_CORNERS for *_, named in properties):
                    raise ValueError(f"element {name} has no list {' or '.join(_PLY_CORNERS)}")
                part = _strips(lists) if name == "tristrips" else _fans(lists)
                triangles.append(np.array(list(part), np.int64).reshape(-1, 3))
            continue
        table, body = header.read_table(body, rows, properties)
        if name == "vertex":
            vertices = np.stack([table[axis].astype(np.float64) for axis in "xyz"], axis=1)
    return vertices, np.concatenate(triangles)


_Properties = list[tuple[bool, str, str]]
"""Of each property of an element: whether it is a list, its types, its name."""
_Lists = Sequence[Sequence[int]] | np.ndarray


@dataclass(frozen=True)
class _PlyHeader:
    order: str
    """Of bytes; empty for text."""
    elements: list[tuple[str, int, _Properties]]
    """Name, count, and properties."""

    def read_table(
        self, body: bytes, rows: int, properties: _Properties
    ) -> tuple[dict[str, np.ndarray], bytes]:
        names = [name for _, _, name in properties]
        if not self.order:
            lines, body = _lines(body, rows)
            values = np.array([line.split() for line in lines], np.float64)
            return dict(zip(names, values.reshape(rows, len(names)).T, strict=True)), body
        kind = np.dtype([(name, self.order + _PLY_TYPES[type_]) for _, type_, name in properties])
        size = rows * kind.itemsize
        if len(body) < size:
            raise ValueError(f"{rows} rows are announced, {len(body) // kind.itemsize} are there")
        table = np.frombuffer(body[:size], kind)
        return {name: table[name] for name in names}, body[size:]

    def read_lists(self, body: bytes, rows: int, properties: _Properties) -> tuple[_Lists, bytes]:
        """The corners that each row lists; what else the rows hold is skipped."""
        if not self.order:
            return self._text_lists(body, rows, properties)
        if fast := self._triangles(body, rows, properties):
            return fast
        found, at = [], 0
        for _ in range(rows):
            corners: list[int] = []
            for is_list, types, name in properties:
                if not is_list:
                    at += np.dtype(_PLY_TYPES[types]).itemsize
                    continue
                count_type, type_ = (self.order + _PLY_TYPES[t] for t in types.split())
                count = int(np.frombuffer(body, count_type, 1, at)[0])
                at += np.dtype(count_type).itemsize
                values = np.frombuffer(body, type_, count, at)
                at += values.nbytes
                corners = values.tolist() if name in _PLY_CORNERS else corners
            found.append(corners)
        return found, body[at:]

    def _text_lists(self, body: bytes, rows: int, properties: _Properties) -> tuple[_Lists, bytes]:
        lines, body = _lines(body, rows)
        found = []
        for line in lines:
            words, at = line.split(), 0
            corners: list[int] = []
            for is_list, _types, name in properties:
                count = int(words[at]) if is_list else 0
                if name in _PLY_CORNERS:
                    corners = [int(word) for word in words[at + 1 : at + 1 + count]]
                    if len(corners) < count:
                        raise ValueError(f"a face announces {count} corners, has {len(corners)}")
                at += 1 + count
            found.append(corners)
        return found, body

    def _triangles(
        self, body: bytes, rows: int, properties: _Properties
    ) -> tuple[_Lists, bytes] | None:
        """All rows at once where each is one list of three, as in nearly all files."""
        if len(properties) != 1 or properties[0][2] not in _PLY_CORNERS:
            return None
        count_type, type_ = (self.order + _PLY_TYPES[t] for t in properties[0][1].split())
        kind = np.dtype([("count", count_type), ("corners", type_, 3)])
        if len(body) < rows * kind.itemsize:
            return None
        table = np.frombuffer(body[: rows * kind.itemsize], kind)
        if not (table["count"] == 3).all():
            return None
        return table["corners"].astype(np.int64), body[rows * kind.itemsize :]


def _ply_header(content: bytes) -> tuple[_PlyHeader, bytes]:
    end = re.search(rb"end_header\r?\n", content)
    if not content.startswith(b"ply") or end is None:
        raise ValueError("it has no header of a PLY file")
    order, elements = None, []
    for line in content[: end.start()].decode("ascii").splitlines():
        match line.split():
            case ["format", name, _]:
                order = _PLY_ORDERS[name]
            case ["element", name, count]:
                elements.append((name, int(count), []))
            case ["property", "list", count_type, type_, name]:
                elements[-1][2].append((True, f"{count_type} {type_}", name))
            case ["property", type_, name]:
                elements[-1][2].append((False, type_, name))
    if order is None:
        raise ValueError("its header names no format")
    return _PlyHeader(order, elements), content[end.end() :]


def _lines(body: bytes, rows: int) -> tuple[list[bytes], bytes]:
    lines = body.split(b"\n", rows)
    if len(lines) < rows or (len(lines) == rows and not lines[-1].strip()):
        raise ValueError(f"{rows} rows are announced, {len(lines) - 1} are there")
    return lines[:rows], lines[rows] if len(lines) > rows else b""


def _fans(faces: _Lists) -> Iterable[tuple[int, int, int]]:
    for face in faces:
        first, *others = face
        for second, third in pairwise(others):
            yield first, second, third


def _strips(rows: _Lists) -> Iterable[tuple[int, int, int]]:
    """Each vertex of a strip with the two before it; -1 begins another strip."""
    for row in rows:
        length = 0
        for at, third in enumerate(row):
            length = 0 if third == -1 else length + 1
            if length < 3:
                continue
            first, second = row[at - 2 : at]
            # Triangles without an area lead from one part of a strip to the next.
            if len({first, second, third}) == 3:
                yield (first, second, third) if length % 2 else (second, first, third)
