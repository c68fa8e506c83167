"""What surrounds a face in a photograph: skull, ears, neck, hair, teeth, glasses, as simple meshes.

The face model ends in front of the ears. A face without a head would teach a network that faces
have a cut edge, so that simple shapes continue it. All are grids of vertices in the object frame
(decimetres, x right, y up, z towards the camera), built for a whole batch at once, and rendered in
one pass with the face, whose vertices they never move.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from data.synthetic.maps import Part
from models.face_model import FaceModel

SKULL_RINGS = 9
EAR_SHAPE = (7, 10)
NECK_SHAPE = (11, 24)
CLOTH_ROWS = 7
CURTAIN_SHAPE = (12, 40)
TEETH_COLUMNS = 13
RIM_POINTS = 24

# Semi-axes of the skull behind the face, dm: sides, top, back; below the chin it tapers.
SKULL_SIDE, SKULL_TOP, SKULL_BOTTOM, SKULL_BACK = 0.80, 1.15, 0.62, 1.05
SKULL_CENTRE = np.array([0.0, 0.25, -0.55], dtype=np.float32)
NOT_HAIR = -1.0


@dataclass(frozen=True)
class SceneStyle:
    """Looks of one sample's surroundings. Lengths in dm, colours sRGB in [0, 1]."""

    bald: float
    """1 without hair."""
    hat: float
    """1 if a smooth cap of one colour takes the place of hair."""
    hair_colour: np.ndarray
    """(3,)"""
    hair_thickness: float
    """Volume on top of the skull."""
    hairline: float
    """Height of the hair's lower edge above the eyes at the middle of the forehead; below .25 a
    fringe hides the brows."""
    hairline_curve: float
    """How far the edge falls (or rises) towards the temples."""
    hairline_part: float
    """Sideways asymmetry of the edge: a parting."""
    sideburn: float
    """How far the hair comes forward at the ears."""
    strand_contrast: float
    """Strength of the strands' texture."""
    edge_noise: float
    """Raggedness of the hair's edge."""
    edge_width: float
    """Softness of the hair's edge."""
    texture_offset: float
    """Start in the strand texture, [0, 1)."""
    curtain: float
    """1 with long hair beside the face."""
    curtain_length: float
    """How far long hair reaches below the eyes."""
    curtain_opening: float
    """Half angle about the vertical axis that long hair leaves free in front, radians."""
    curtain_width: float
    """Distance of long hair from the middle."""
    garment_colour: np.ndarray
    """(3,)"""
    collar: float
    """Height of the garment's edge."""
    neck_width: float
    """Semi-axis of the neck."""
    teeth: float
    """Brightness of the teeth."""
    glasses: float
    """1 with glasses."""
    shades: float
    """1 if they are sunglasses."""
    rim: np.ndarray
    """(5,) semi-axes, thickness, squareness, drop below the eyes."""
    rim_colour: np.ndarray
    """(3,)"""
    lens_colour: np.ndarray
    """(3,)"""


def sample_style(rng: np.random.Generator, tone: float = 0.5) -> SceneStyle:
    """Draw the surroundings of one sample.

    Args:
        rng: random numbers.
        tone: mean of the skin's colour; the darker the skin, the darker is the hair.
    """
    long_hair = rng.uniform() < 0.38
    hat = rng.uniform() < 0.07
    fairness = float(np.clip((tone - 0.28) / 0.3, 0.1, 1))
    light = fairness * rng.beta(1.2, 1.4) ** 2
    blond, black = np.array([0.72, 0.57, 0.38]), np.array([0.05, 0.042, 0.04])
    hair = black + (blond - black) * light + rng.normal(0, 0.015, 3)
    if rng.uniform() < 0.1:  # grey and white
        hair = np.full(3, rng.uniform(0.25, 0.75)) + rng.normal(0, 0.015, 3)
    elif rng.uniform() < 0.07 * fairness:  # red
        hair = np.array([0.42, 0.22, 0.13]) * rng.uniform(0.5, 1.1)
    if hat:
        hair = random_colour(rng)
    fringe = rng.uniform() < 0.3
    shades = rng.uniform() < 0.18
    rim_colour = rng.uniform(0.02, 0.15) * np.ones(3)
    if rng.uniform() < 0.4:
        rim_colour = rng.uniform(0.05, 0.8, 3)
    return SceneStyle(
        bald=float(not hat and rng.uniform() < 0.1),
        hat=float(hat),
        hair_colour=hair.clip(0.02, 0.95),
        hair_thickness=rng.uniform(0.02, 0.3) if not hat else rng.uniform(0.04, 0.12),
        hairline=rng.uniform(0.18, 0.5) if fringe else rng.uniform(0.5, 0.85),
        hairline_curve=rng.normal(0.15, 0.25) if not hat else rng.normal(0.1, 0.1),
        hairline_part=rng.normal(0, 0.2) if not hat else 0.0,
        sideburn=rng.normal(0.0, 0.07) + (0.1 if long_hair else 0.0),
        strand_contrast=rng.uniform(0.15, 0.7) if not hat else rng.uniform(0, 0.15),
        edge_noise=rng.uniform(0.02, 0.16) if not hat else 0.0,
        edge_width=rng.uniform(0.01, 0.05) if not hat else 0.008,
        texture_offset=rng.uniform(),
        curtain=float(long_hair and rng.uniform() < 0.9),
        curtain_length=rng.uniform(0.5, 1.8),
        curtain_opening=rng.uniform(0.75, 1.35),
        curtain_width=rng.uniform(0.82, 1.05),
        garment_colour=random_colour(rng),
        collar=rng.uniform(-1.35, -0.95),
        neck_width=rng.uniform(0.38, 0.5),
        teeth=rng.uniform(0.6, 0.92),
        glasses=float(rng.uniform() < 0.16),
        shades=float(shades),
        rim=np.array(
            [
                rng.uniform(0.22, 0.28),
                rng.uniform(0.15, 0.23),
                rng.uniform(0.012, 0.045),
                rng.uniform(2.0, 4.5),
                rng.uniform(0.0, 0.06),
            ]
        ),
        rim_colour=rim_colour,
        lens_colour=rng.uniform(0.01, 0.2, 3),
    )


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """An sRGB colour (3,), mostly muted."""
    grey = rng.uniform(0.03, 0.95)
    saturation = rng.uniform(0, 1) ** 2
    return (grey + saturation * (rng.uniform(0, 1, 3) - 0.5)).clip(0.02, 0.97)


def stack_styles(styles: list[SceneStyle]) -> dict[str, np.ndarray]:
    """Fields of many styles as float32 arrays with a leading batch axis."""
    return {
        field.name: np.stack([np.asarray(getattr(s, field.name)) for s in styles]).astype(
            np.float32
        )
        for field in fields(SceneStyle)
    }


@dataclass(frozen=True)
class Surroundings:
    """Meshes around a batch of faces, in the object frame. W vertices."""

    vertices: np.ndarray
    """(B, W, 3) float32."""
    normals: np.ndarray
    """(B, W, 3) unit, outwards."""
    colours: np.ndarray
    """(B, W, 3) sRGB before light."""
    hair: np.ndarray
    """(B, W) distance inside the hair's edge, dm; negative outside."""
    follow: np.ndarray
    """(W,) share of the head's rotation that a vertex takes part in: 0 on the shoulders."""

    def hidden(self) -> Surroundings:
        """The same, all in one point, which draws nothing."""
        return replace(self, vertices=np.broadcast_to(SKULL_CENTRE, self.vertices.shape).copy())


class SceneBuilder:
    """Builds the meshes around faces of one face model."""

    def __init__(self, face_model: FaceModel) -> None:
        """Find the face's border and lay out the triangles."""
        triangles = face_model.triangles.numpy()
        mean = face_model.mean_shape.reshape(-1, 3).numpy()
        # Every third vertex: long thin triangles are what rasterising costs most for.
        self.border = border_loop(triangles, mean)[::3]
        self._skin_vertices = np.flatnonzero(face_model.skin_mask.numpy() > 0.5)
        grids = {
            "skull": grid_triangles(SKULL_RINGS + 1, len(self.border), closed=True),
            "ear_left": grid_triangles(*EAR_SHAPE, closed=True),
            "ear_right": grid_triangles(*EAR_SHAPE, closed=True),
            "neck": grid_triangles(*NECK_SHAPE, closed=True),
            "curtain": grid_triangles(*CURTAIN_SHAPE, closed=False),
            "teeth_upper": grid_triangles(3, TEETH_COLUMNS, closed=False),
            "teeth_lower": grid_triangles(3, TEETH_COLUMNS, closed=False),
            "rim_left": grid_triangles(2, RIM_POINTS, closed=True),
            "rim_right": grid_triangles(2, RIM_POINTS, closed=True),
            "lens_left": grid_triangles(2, RIM_POINTS, closed=True),
            "lens_right": grid_triangles(2, RIM_POINTS, closed=True),
            "bridge": grid_triangles(2, 5, closed=False),
            "arm_left": grid_triangles(2, 2, closed=False),
            "arm_right": grid_triangles(2, 2, closed=False),
        }
        offset, triangles = 0, []
        for part in grids.values():
            triangles.append(part + offset)
            offset += part.max() + 1
        self.triangles = np.concatenate(triangles).astype(np.int32)
        """(T, 3) indices into the vertices of `Surroundings`."""
        self.parts = np.concatenate([_parts(name, len(part)) for name, part in grids.items()])
        """(T,) uint8 `Part` of each triangle; hair on the skull is told by its field."""

    def build(
        self,
        vertices: np.ndarray,
        albedo: np.ndarray,
        landmarks: np.ndarray,
        jaw_drop: np.ndarray,
        style: dict[str, np.ndarray],
    ) -> Surroundings:
        """Surround a batch of faces.

        Args:
            vertices: (B, V, 3) faces in the object frame.
            albedo: (B, V, 3) their colours before light.
            landmarks: (B, 68, 3) of the same identities without expression.
            jaw_drop: (B, 3) movement of the chin by the expression.
            style: `stack_styles`.
        """
        skin = albedo[:, self._skin_vertices].mean(axis=1)
        eyes = landmarks[:, 36:48].mean(axis=1)
        skull, skull_colour, skull_hair = self._skull(vertices, albedo, skin, eyes, style)
        neck, neck_colour = _neck(skin, style)
        # Positions, colours, hair field, share of the head's rotation.
        grids: list[tuple[np.ndarray, np.ndarray, Any, Any]] = [
            (skull, skull_colour, skull_hair, 1.0)
        ]
        for side in (-1.0, 1.0):
            ear, colour = _ear(vertices[:, self.border], skin, eyes, side)
            grids.append((ear, colour, NOT_HAIR, 1.0))
        grids.append(
            (neck, neck_colour, NOT_HAIR, np.linspace(0.9, 0.09, NECK_SHAPE[0]).clip(0.25))
        )
        curtain = _curtain(eyes, style)
        grids.append((curtain, style["hair_colour"][:, None, None], 1.0, 1.0))
        for upper in (True, False):
            grids.append((*_teeth(landmarks, jaw_drop, style, upper), NOT_HAIR, 1.0))
        grids += [(*part, NOT_HAIR, 1.0) for part in _glasses(eyes, landmarks, style)]

        out: dict[str, list[np.ndarray]] = {k: [] for k in ("v", "n", "c", "h", "f")}
        for position, colour, hair, follow in grids:
            batch, rows, columns = position.shape[:3]
            out["v"].append(position.reshape(batch, -1, 3))
            out["n"].append(grid_normals(position).reshape(batch, -1, 3))
            out["c"].append(np.broadcast_to(colour, position.shape).reshape(batch, -1, 3))
            out["h"].append(np.broadcast_to(hair, position.shape[:3]).reshape(batch, -1))
            by_row = np.broadcast_to(np.asarray(follow), (rows,))
            out["f"].append(np.repeat(by_row, columns))
        joined = {k: np.concatenate(v, axis=-1 if k in "hf" else 1) for k, v in out.items()}
        return Surroundings(
            vertices=joined["v"].astype(np.float32),
            normals=joined["n"].astype(np.float32),
            colours=joined["c"].astype(np.float32),
            hair=joined["h"].astype(np.float32),
            follow=joined["f"].astype(np.float32),
        )

    def _skull(self, vertices, albedo, skin, eyes, style):
        """Rings from the face's border to the back of the head: (B, R, L, 3), colours, hair."""
        border = vertices[:, self.border]
        relative = border - SKULL_CENTRE
        radius = np.linalg.norm(relative, axis=-1)
        # Polar angle from the view axis, and direction around it.
        theta = np.arccos(np.clip(relative[..., 2] / radius, -1, 1))
        phi = np.arctan2(relative[..., 1], relative[..., 0])
        t = np.linspace(0, 1, SKULL_RINGS + 1, dtype=np.float32)[:, None]
        theta = theta[:, None] - 0.05 + (np.pi + 0.05 - theta[:, None]) * t
        sin, cos = np.sin(theta), np.cos(theta)
        direction = np.stack([sin * np.cos(phi)[:, None], sin * np.sin(phi)[:, None], cos], axis=-1)
        height = np.where(direction[..., 1] > 0, SKULL_TOP, SKULL_BOTTOM)
        ellipsoid = 1 / np.sqrt(
            (direction[..., 0] / SKULL_SIDE) ** 2
            + (direction[..., 1] / height) ** 2
            + (direction[..., 2] / SKULL_BACK) ** 2
        )
        blend = _smoothstep(t * 2.5)
        distance = radius[:, None] * (1 - blend) + ellipsoid * blend
        # A thought below the face's border, so that no gap shows between the two.
        distance[:, 0] *= 0.985
        position = SKULL_CENTRE + direction * distance[..., None]
        hair = hair_field(position, eyes, style)
        bulge = (
            style["hair_thickness"][:, None, None] * _smoothstep(hair / 0.2) * _smoothstep(t * 3)
        )
        position = position + direction * bulge[..., None]
        fade = _smoothstep(t * 2)[..., None]
        colour = albedo[:, self.border][:, None] * (1 - fade) + skin[:, None, None] * fade
        return position, colour, hair


def _parts(grid: str, count: int) -> np.ndarray:
    """What the triangles of a grid show, (count,) uint8."""
    shown = {"skull": Part.HEAD, "ear": Part.HEAD, "curtain": Part.HAIR, "teeth": Part.TEETH}
    if grid == "neck":
        # `grid_triangles` goes twice through the rows.
        rows, columns = NECK_SHAPE
        row = np.arange(count) % (count // 2) // columns
        return np.where(row >= rows - CLOTH_ROWS - 1, Part.GARMENT, Part.HEAD).astype(np.uint8)
    return np.full(count, shown.get(grid.partition("_")[0], Part.GLASSES), dtype=np.uint8)


def hair_field(points: np.ndarray, eyes: np.ndarray, style: dict[str, np.ndarray]) -> np.ndarray:
    """How far points (B, ..., 3) lie inside the hair: dm, negative outside; constant if bald.

    Args:
        points: positions in the object frame.
        eyes: (B, 3) middle between the eyes.
        style: `stack_styles`.
    """
    spread = (slice(None),) + (None,) * (points.ndim - 2)

    def s(name: str) -> np.ndarray:
        return style[name][spread]

    x, z = points[..., 0], points[..., 2]
    y = points[..., 1] - eyes[:, 1][spread]
    edge = s("hairline") - s("hairline_curve") * (x / 0.7) ** 2 - s("hairline_part") * x
    front = np.minimum(y - edge, y - 0.1)
    # Beside and behind the ears, down to the nape.
    side = np.minimum(s("sideburn") - 0.62 - z, y + 0.25 - 0.7 * (z + 0.6))
    field = np.maximum(front, side)
    return np.where(s("bald") > 0.5, NOT_HAIR, field).astype(np.float32)


def _ear(border, skin, eyes, side):
    """A flattened ellipsoid at the side of the head, (B, R, C, 3), and its colour."""
    rows, columns = EAR_SHAPE
    latitude = np.linspace(0.05, np.pi - 0.05, rows, dtype=np.float32)[:, None]
    longitude = np.linspace(0, 2 * np.pi, columns, endpoint=False, dtype=np.float32)
    x = 0.055 * np.sin(latitude) * np.cos(longitude)
    y = 0.30 * np.cos(latitude) + 0 * longitude
    z = 0.15 * np.sin(latitude) * np.sin(longitude) * (1 + 0.35 * np.cos(latitude))
    hollow = np.exp(-((y / 0.16) ** 2) - ((z + 0.02) / 0.08) ** 2) * (x > 0)
    turned_x, turned_z = x * 0.9 - z * 0.42, x * 0.42 + z * 0.9
    outline = np.stack([side * (turned_x - 0.04 * hollow), y, turned_z], axis=-1)
    width = np.abs(border[..., 0]).max(axis=1)
    centre = np.stack([side * (width + 0.03), eyes[:, 1] - 0.12, np.full_like(width, -0.70)], -1)
    shade = 1 - 0.4 * hollow[..., None]
    redder = skin * np.array([1.03, 0.93, 0.92], dtype=np.float32)
    return centre[:, None, None] + outline, redder[:, None, None] * shade


def _neck(skin, style):
    """Neck and the garment below the collar, (B, R, C, 3), and their colours."""
    rows, columns = NECK_SHAPE
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False, dtype=np.float32)
    # Skin from below the jaw to the collar, then cloth that widens to the shoulders.
    skin_rows = rows - CLOTH_ROWS
    collar = style["collar"][:, None]
    above = -0.55 + (collar + 0.55) * np.linspace(0, 1, skin_rows, dtype=np.float32)
    below = collar + np.array([0.03, -0.1, -0.22, -0.4, -1.0, -3.5, -12.0], dtype=np.float32)
    y = np.concatenate([above, below], axis=1)
    widening = np.array(
        [0.0] * skin_rows + [0.035, 0.18, 0.5, 1.3, 1.7, 1.6, 1.5], dtype=np.float32
    )
    radius = style["neck_width"][:, None] + widening
    depth = style["neck_width"][:, None] * 0.95 + 0.35 * widening
    position = np.stack(
        [
            radius[..., None] * np.cos(angle),
            np.broadcast_to(y[..., None], (*y.shape, columns)),
            -0.52 + depth[..., None] * np.sin(angle),
        ],
        axis=-1,
    )
    cloth = (np.arange(rows) >= skin_rows)[:, None, None]
    # The jaw takes light from the neck.
    shadow = np.concatenate([np.linspace(0.5, 0.9, skin_rows), np.ones(CLOTH_ROWS)]).astype(
        np.float32
    )
    shadowed = skin[:, None, None] * shadow[:, None, None]
    return position, np.where(cloth, style["garment_colour"][:, None, None], shadowed)


def _curtain(eyes, style):
    """Long hair: a sheet around the head that is open in front, (B, R, C, 3)."""
    rows, columns = CURTAIN_SHAPE
    # The edge beside the face swings in and out on its way down, each side in its own way.
    sway = style["texture_offset"][:, None, None] * 50
    along = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    sides = np.array([0.0, 2.0], dtype=np.float32)
    swing = 0.14 * np.sin(5 * along + sway + 3 * sides) + 0.05 * np.sin(17 * along + 2 * sway)
    opening = style["curtain_opening"][:, None, None] + swing * along
    start, stop = opening[..., :1], 2 * np.pi - opening[..., 1:]
    angle = start + (stop - start) * np.linspace(0, 1, columns, dtype=np.float32)
    # From the crown as a dome, then straight down.
    t = np.linspace(0, 1, rows, dtype=np.float32)
    crown = 1.12
    length = style["curtain_length"][:, None] + crown
    y = crown - length * t
    dome = np.sqrt(np.clip(1 - np.clip((y - 0.25) / (crown - 0.25), 0, 1) ** 2, 0.02, 1))
    flare = 1 + 0.12 * np.clip(-y, 0, 2)
    radius = style["curtain_width"][:, None] * dome * flare
    phase = style["texture_offset"][:, None, None] * 60
    waves = 1 + 0.035 * np.sin(7 * angle + phase) + 0.02 * np.sin(17 * angle + 2 * phase)
    ragged = 1 + 0.08 * np.sin(11 * angle + phase)
    across = radius[..., None] * waves
    height = crown - (crown - y[..., None]) * np.where(y[..., None] < 0, ragged, 1)
    position = np.stack(
        [
            across * np.sin(angle),
            eyes[:, 1, None, None] + height,
            -0.5 + across * np.cos(angle),
        ],
        axis=-1,
    )
    return _hide(position, style["curtain"] * (1 - style["bald"]) > 0.5)


def _teeth(landmarks, jaw_drop, style, upper):
    """A row of teeth along an arc behind the lips, (B, 3, C, 3), and their colour."""
    lips = landmarks[:, 60:68].mean(axis=1)
    x = np.linspace(-0.22, 0.22, TEETH_COLUMNS, dtype=np.float32)
    arc = np.stack([x, 0 * x, -0.05 - 2.2 * x * x], axis=-1)
    heights = (0.10, 0.0, -0.035) if upper else (-0.045, -0.06, -0.12)
    # The skin below lips that roll in or press lies deeper than they do: so does the lower gum.
    depths = (0.0, 0.0, 0.0) if upper else (0.0, 0.02, 0.12)
    rows = [
        arc + np.array([0, y, -depth], dtype=np.float32)
        for y, depth in zip(heights, depths, strict=True)
    ]
    position = lips[:, None, None] + np.stack(rows)
    if not upper:
        # The chin swings about the jaw joint; teeth half way there move less.
        position = position + 0.85 * jaw_drop[:, None, None]
    gaps = 1 - 0.12 * (np.abs(np.sin(x * 40)) < 0.2) - 6 * x * x
    ivory = np.array([1.0, 0.96, 0.88], dtype=np.float32) * gaps[:, None].clip(0.4, 1)
    gum = np.array([0.8, 0.45, 0.42], dtype=np.float32) * gaps[:, None].clip(0.4, 1)
    rows = np.stack([gum, ivory, ivory] if upper else [0.85 * ivory, 0.85 * ivory, gum])
    return position, style["teeth"][:, None, None, None] * rows


def _glasses(eyes, landmarks, style):
    """Rims, lenses, bridge and arms as (positions, colours)."""
    wears = style["glasses"] > 0.5
    shades = wears & (style["shades"] > 0.5)
    half_width, half_height, thickness, squareness, drop = style["rim"].T[:, :, None]
    angle = np.linspace(0, 2 * np.pi, RIM_POINTS, endpoint=False, dtype=np.float32)
    cos, sin = np.cos(angle), np.sin(angle)
    power = 2 / squareness
    outline_x = np.sign(cos) * np.abs(cos) ** power
    outline_y = np.sign(sin) * np.abs(sin) ** power
    middle_y = eyes[:, 1, None] - drop
    front = landmarks[:, 27:29, 2].mean(axis=1) + 0.04
    middle_x = 0.05 + half_width

    def plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Onto the slightly curved front of the glasses."""
        z = front.reshape(-1, *[1] * (x.ndim - 1)) - 0.22 * x * x
        return np.stack([x, y + 0 * x, z], axis=-1)

    rim_colour = style["rim_colour"][:, None, None]
    lens_colour = style["lens_colour"][:, None, None]
    parts = []
    for wanted, scales, colour in (
        (wears, (0.0, 1.0), rim_colour),
        (shades, (None, 0.0), lens_colour),
    ):
        for side in (-1.0, 1.0):
            rings = []
            for scale in scales:
                grow = 0.0 if scale is None else 1 + scale * thickness / half_height
                grow_x = 0.0 if scale is None else 1 + scale * thickness / half_width
                x = side * middle_x + half_width * grow_x * outline_x
                y = middle_y + half_height * grow * outline_y
                rings.append(plane(x, y))
            parts.append((_hide(np.stack(rings, axis=1), wanted), colour))
    x = np.linspace(-1, 1, 5, dtype=np.float32) * 0.055
    x = np.broadcast_to(x, (len(eyes), 2, 5))
    strip = np.array([1.0, -1.0], dtype=np.float32)[:, None] * thickness[:, None] * 0.6
    parts.append((_hide(plane(x, middle_y[..., None] + 0.05 + strip), wears), rim_colour))
    for side in (-1.0, 1.0):
        hinge = plane(side * (middle_x + half_width), middle_y + 0.06)[:, 0]
        temple = np.stack(
            [np.full(len(eyes), side * 0.80), eyes[:, 1] + 0.02, np.full(len(eyes), -0.6)], -1
        )
        ends = np.stack([hinge, temple], axis=1)[:, None]
        lift = strip[..., None] * np.array([0, 1, 0], dtype=np.float32)
        parts.append((_hide(ends + lift.reshape(-1, 2, 1, 3), wears), rim_colour))
    return parts


def _hide(position: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Collapse the parts (B, ..., 3) that a sample lacks into a point, which draws nothing."""
    keep = visible[(slice(None),) + (None,) * (position.ndim - 1)]
    return np.where(keep, position, SKULL_CENTRE)


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def grid_triangles(rows: int, columns: int, *, closed: bool) -> np.ndarray:
    """Triangles (T, 3) of a grid of vertices in row-major order; closed joins its last column."""
    row = np.arange(rows - 1)[:, None]
    column = np.arange(columns if closed else columns - 1)
    following = (column + 1) % columns
    a, b = row * columns + column, row * columns + following
    c, d = a + columns, b + columns
    return np.concatenate(
        [np.stack([a, c, b], axis=-1).reshape(-1, 3), np.stack([b, c, d], axis=-1).reshape(-1, 3)]
    )


def grid_normals(position: np.ndarray) -> np.ndarray:
    """Unit normals of grids (B, R, C, 3), turned away from each grid's own middle."""
    along = np.gradient(position, axis=1)
    # Closed grids wrap around; for open ones the end columns lean a little, which nobody sees.
    around = np.roll(position, -1, axis=2) - np.roll(position, 1, axis=2)
    normal = np.cross(along, around)
    middle = position.mean(axis=(1, 2), keepdims=True)
    outwards = ((position - middle) * normal).sum(axis=-1, keepdims=True)
    normal = np.where(outwards < 0, -normal, normal)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    forwards = np.array([0, 0, 1], dtype=np.float32)
    return np.where(length > 1e-9, normal / np.maximum(length, 1e-9), forwards)


def border_loop(triangles: np.ndarray, mean_shape: np.ndarray) -> np.ndarray:
    """Vertices of the mesh's outer border in order (L,): of all border loops the widest.

    Raises:
        ValueError: the mesh has no border.
    """
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    ordered = np.sort(edges, axis=1)
    _, first, count = np.unique(ordered, axis=0, return_index=True, return_counts=True)
    # On an oriented mesh each border edge leads on to the next.
    following = {int(a): int(b) for a, b in edges[first[count == 1]]}
    loops = []
    while following:
        start, step = following.popitem()
        loop = [start]
        while step in following:
            loop.append(step)
            step = following.pop(step)
        loops.append(np.array(loop))
    if not loops:
        raise ValueError("the face mesh has no border to which a head could be joined")
    return max(loops, key=lambda loop: np.ptp(mean_shape[loop], axis=0).sum())
