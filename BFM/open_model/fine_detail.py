"""Draws what is finer than the mesh: hairs, freckles, pores, wrinkles, fibres of the iris.

Every layer is one picture over the layout, a share in [0, 1] or a signed pattern; who has how much
of it, and in which colour, is `albedo.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from scipy.ndimage import gaussian_filter

from .eyeballs import LIMBUS_DEG, PUPIL_DEG
from .hair_strands import draw, grow, spots
from .head_mesh import HeadMesh
from .skin_masks import SkinMasks, brow_lines, smooth_step
from .surface_noise import noise
from .texel_surface import Skin, TexelSurface
from .uv_layout import EYE_CENTRES, EYE_RADIUS, eye_angle
from .wrinkles import wrinkles

HAIR_WIDTH_DM = 0.0011
# Hairs of the picture; real ones are more and thinner than a texel shows.
BROW_HAIRS, BROW_FRINGE_HAIRS, STUBBLE_HAIRS, BEARD_HAIRS = 820, 170, 15000, 9000
LASHES_UPPER, LASHES_LOWER = 95, 55
FRECKLES, MOLES, AGE_SPOTS, PORES, VEINS = 1500, 14, 70, 45000, 46


@dataclass(frozen=True)
class DetailLayers:
    """Pictures at the T texels inside the layout, (T,) each.

    Attributes:
        brow: hairs of an average brow.
        brow_fringe: hairs that only thick brows have.
        lashes: lashes and the dark line where they grow.
        stubble: shaved hairs of the whole beard.
        moustache_chin, cheek_beard: hairs of a beard.
        freckles: small spots where the sun shines.
        moles, more_moles, other_moles: few dark spots; sets, so that not all share the same.
        age_spots: larger pale brown spots.
        relief: signed; pores, fine lines and the lines of the lips, dark is positive.
        mottle: signed; uneven redness.
        wrinkles: lines of the forehead, around eyes and mouth.
        iris: signed; fibres, light is positive.
        veins: of the whites of the eyes.
    """

    brow: np.ndarray
    brow_fringe: np.ndarray
    lashes: np.ndarray
    stubble: np.ndarray
    moustache_chin: np.ndarray
    cheek_beard: np.ndarray
    freckles: np.ndarray
    moles: np.ndarray
    more_moles: np.ndarray
    other_moles: np.ndarray
    age_spots: np.ndarray
    relief: np.ndarray
    mottle: np.ndarray
    wrinkles: np.ndarray
    iris: np.ndarray
    veins: np.ndarray

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Of all layers, in their order."""
        return tuple(field.name for field in fields(cls))


def draw_layers(
    surface: TexelSurface,
    masks: SkinMasks,
    landmarks: np.ndarray,
    mesh: HeadMesh,
    rng: np.random.Generator,
) -> DetailLayers:
    """Draws all layers on the mean head; masks are those at the texels."""
    skin = Skin(surface, masks.outside > 0.5)
    brow, fringe = _brows(skin, landmarks, rng)
    moustache_chin = np.maximum(masks.moustache, masks.chin_beard)
    whole_beard = np.maximum(moustache_chin, 0.9 * masks.cheek_beard)
    angle, turn = _eye_coordinates(surface, mesh)
    return DetailLayers(
        brow=brow,
        brow_fringe=fringe,
        lashes=_lashes(skin, masks, rng),
        stubble=_stubble(skin, whole_beard, rng),
        moustache_chin=_beard(skin, moustache_chin, landmarks, rng) * (1 - masks.lips),
        cheek_beard=_beard(skin, masks.cheek_beard, landmarks, rng),
        freckles=_freckles(skin, masks, rng),
        moles=_moles(skin, masks, rng),
        more_moles=_moles(skin, masks, rng),
        other_moles=_moles(skin, masks, rng),
        age_spots=_age_spots(skin, masks, rng),
        relief=_relief(skin, masks, rng),
        mottle=_mottle(skin, masks, rng),
        wrinkles=_wrinkles(skin, landmarks),
        iris=_iris(angle, turn, rng),
        veins=_veins(surface, angle, rng),
    )


def _drawn(
    skin: Skin, paths: np.ndarray, width_dm: np.ndarray, strength: np.ndarray, tip: float = 0.35
) -> np.ndarray:
    """Opacity (T,) of strands (N, S, 3)."""
    surface = skin.surface
    texel = skin.nearest(paths[:, 0])
    # Area of a texel tells how wide it is; layouts are stretched by less than a half.
    width = width_dm / np.sqrt(surface.area[texel])
    place = skin.place(paths)
    return draw(place, width, strength, surface.size, tip).ravel()[surface.index]


def _scattered(skin: Skin, density: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Texels (count,) at random, ``density`` (T,) is per area of the surface."""
    power = np.cumsum(density * skin.surface.area)
    return np.searchsorted(power, rng.uniform(0, power[-1], count)).clip(0, len(power) - 1)


def _brows(skin: Skin, landmarks: np.ndarray, rng: np.random.Generator):
    """Hairs of both brows, the left one not the mirror image of the right."""
    core, fringe = np.zeros(len(skin.surface.points)), np.zeros(len(skin.surface.points))
    along_grid = np.linspace(0, 1, 101)
    for line in brow_lines(landmarks):
        outward = np.gradient(line, axis=0)
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)

        def strands(
            along: np.ndarray, across: np.ndarray, line=line, outward=outward
        ) -> np.ndarray:
            count = len(along)
            half = np.interp(along, [0, 0.15, 0.5, 0.85, 1], [0.038, 0.046, 0.038, 0.022, 0.01])
            at = (along * (len(line) - 1)).astype(int)
            roots = line[at] + (across * half)[:, None] * np.array([0, 1.0, 0])
            # Hairs stand up at the inner end and lie down outwards, from above and below
            # towards the middle.
            lift = np.interp(along, [0, 0.12, 0.3, 0.6, 1], [1.25, 0.95, 0.55, 0.22, -0.05])
            lift = lift - np.clip(across, -1.3, 1.3) * np.interp(
                along, [0, 0.3, 1], [0.15, 0.5, 0.4]
            )
            lift += rng.normal(0, 0.16, count)
            lean = outward[at] * np.cos(lift)[:, None]
            lean = lean + np.sin(lift)[:, None] * np.array([0, 1.0, 0])
            length = np.interp(along, [0, 0.2, 0.6, 1], [0.048, 0.074, 0.072, 0.05])
            length = length * rng.uniform(0.7, 1.2, count)
            bend = np.stack([np.zeros(count), rng.normal(0, 0.35, count)], axis=1)
            return grow(skin, roots, lambda points: lean, length, bend)

        def hairs(along: np.ndarray, across: np.ndarray, strands=strands) -> np.ndarray:
            width = HAIR_WIDTH_DM * rng.uniform(0.7, 1.2, len(along))
            return _drawn(skin, strands(along, across), width, rng.uniform(0.8, 1.5, len(along)))

        # As many hairs as there is room, fewer at the inner end.
        share = np.interp(along_grid, [0, 0.12, 0.25, 0.5, 0.85, 1], [0.3, 0.85, 1, 0.9, 0.55, 0.2])
        power = np.cumsum(share) / share.sum()
        along = np.interp(rng.uniform(size=BROW_HAIRS), power, along_grid)
        core += hairs(along, np.clip(rng.normal(-0.05, 0.52, BROW_HAIRS), -1.1, 1.1))
        along = rng.uniform(0, 0.95, BROW_FRINGE_HAIRS)
        side = np.where(rng.uniform(size=len(along)) < 0.6, -1, 1)
        fringe += hairs(along, side * rng.uniform(0.7, 1.45, len(along)))
    return core, fringe


def _lashes(skin: Skin, masks: SkinMasks, rng: np.random.Generator) -> np.ndarray:
    """Lashes on the skin beside the lids' edges; the mesh has none that stand off."""
    points = skin.surface.points
    total = np.clip(0.9 * masks.upper_lid + 0.25 * masks.lower_lid, 0, 1)
    for edge, count, length, up in (
        (masks.upper_lid * masks.outside, LASHES_UPPER, 0.024, 1.0),
        (masks.lower_lid * masks.outside, LASHES_LOWER, 0.011, -1.0),
    ):
        for side in (-1, 1):
            here = np.flatnonzero((edge > 0.6) & (np.sign(points[:, 0]) == side))
            # Evenly along the lid.
            x = np.sort(rng.uniform(points[here, 0].min(), points[here, 0].max(), count))
            order = here[np.argsort(points[here, 0], kind="stable")]
            roots = points[order[np.searchsorted(points[order, 0], x).clip(0, len(order) - 1)]]
            middle = points[here, 0].mean()
            fan = 6.0 * (roots[:, 0] - middle) + rng.normal(0, 0.15, count)
            lean = np.stack([fan, np.full(count, up), np.zeros(count)], axis=1)
            bend = np.stack([np.zeros(count), rng.normal(0, 0.15, count)], axis=1)
            paths = grow(
                skin, roots, lambda p, lean=lean: lean, length * rng.uniform(0.6, 1.1, count), bend
            )
            drawn = _drawn(skin, paths, np.full(count, 1.3 * HAIR_WIDTH_DM), np.ones(count), 0.1)
            total = 1 - (1 - total) * (1 - drawn)
    return total


def _beard_flow(landmarks: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Direction of beard hairs at points (N, 3): down, away from the middle above the mouth."""
    mouth_y = landmarks[48:60, 1].mean()

    def flow(points: np.ndarray) -> np.ndarray:
        above = smooth_step(points[:, 1], mouth_y - 0.06, mouth_y + 0.04)
        side = points[:, 0] / 0.1
        outward = above * np.clip(side, -1, 1) * 1.1 + (1 - above) * 0.12 * np.clip(side, -4, 4)
        back = -0.25 * (1 - above) * np.clip(np.abs(side) / 4, 0, 1)
        return np.stack([outward, np.full(len(points), -1.0), back], axis=1)

    return flow


def _stubble(skin: Skin, density: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dots and the bluish shadow of hairs below the skin, as one opacity."""
    texels = _scattered(skin, density, STUBBLE_HAIRS, rng)
    picture = spots(
        skin,
        texels,
        rng.uniform(0.0011, 0.0019, len(texels)),
        1.0,
        rng.uniform(0.35, 1.0, len(texels)),
    )
    return 0.42 * density + 0.58 * picture.ravel()[skin.surface.index]


def _beard(
    skin: Skin, density: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Hairs of a short beard where ``density`` (T,) says."""
    surface = skin.surface
    # Growth is uneven in tufts and clearings.
    patchy = density * np.clip(1 + 0.35 * noise(surface.points, 0.05, rng, density), 0.15, 2)
    texels = _scattered(skin, patchy, BEARD_HAIRS, rng)
    count = len(texels)
    length = (0.045 + 0.03 * density[texels]) * rng.uniform(0.6, 1.25, count)
    bend = rng.normal(0, [0.3, 0.5], (count, 2))
    paths = grow(skin, surface.points[texels], _beard_flow(landmarks), length, bend)
    width = np.full(count, 0.9 * HAIR_WIDTH_DM)
    hairs = _drawn(skin, paths, width, rng.uniform(0.45, 1.1, count))
    return 1 - (1 - hairs) * (1 - 0.4 * density)


def _freckles(skin: Skin, masks: SkinMasks, rng: np.random.Generator) -> np.ndarray:
    cluster = np.exp(0.9 * noise(skin.surface.points, 0.10, rng, masks.outside))
    texels = _scattered(skin, (masks.sun**1.5 + 0.03 * masks.outside) * cluster, FRECKLES, rng)
    radius = 0.0042 * np.exp(rng.normal(0, 0.35, FRECKLES))
    opacity = np.clip(rng.beta(1.6, 2.2, FRECKLES), 0.12, 1)
    picture = spots(skin, texels, radius, 1.1, opacity)
    return picture.ravel()[skin.surface.index] * (1 - masks.lips)


def _moles(skin: Skin, masks: SkinMasks, rng: np.random.Generator) -> np.ndarray:
    on_face = masks.outside * (1 - masks.lips) * (1 - masks.scalp) * (masks.brow < 0.01)
    texels = _scattered(skin, on_face * (1 - masks.lids), MOLES, rng)
    radius = 0.0055 * np.exp(rng.normal(0, 0.4, MOLES))
    return spots(skin, texels, radius, 0.45, rng.uniform(0.5, 1, MOLES)).ravel()[skin.surface.index]


def _age_spots(skin: Skin, masks: SkinMasks, rng: np.random.Generator) -> np.ndarray:
    points = skin.surface.points
    zone = (masks.forehead + 1.2 * masks.cheeks + 0.5 * masks.scalp + 0.25) * masks.outside
    texels = _scattered(skin, zone * (1 - masks.lips) * (1 - masks.lids), AGE_SPOTS, rng)
    radius = 0.016 * np.exp(rng.normal(0, 0.4, AGE_SPOTS))
    picture = spots(skin, texels, radius, 0.8, rng.uniform(0.3, 1, AGE_SPOTS)).ravel()
    spot = picture[skin.surface.index]
    ragged = 0.62 + 0.3 * noise(points, 0.018, rng, spot)
    return np.clip(spot * ragged, 0, 1) * (1 - masks.lips)


def _relief(skin: Skin, masks: SkinMasks, rng: np.random.Generator) -> np.ndarray:
    """Pores as dark dots, fine grain, vertical lines on the lips."""
    surface = skin.surface
    points = surface.points
    porous = 0.35 + 0.9 * masks.nose + 0.45 * masks.cheeks + 0.3 * masks.forehead + 0.3 * masks.chin
    porous = porous * masks.outside * (1 - masks.lips) * (1 - masks.lids)
    texels = _scattered(skin, porous, PORES, rng)
    radius = np.sqrt(surface.area[texels]) * 0.25 + 0.0011 * np.clip(porous[texels], 0.4, 1.2)
    depth = rng.uniform(0.2, 0.9, PORES) * np.clip(porous[texels], 0.35, 1)
    pores = spots(skin, texels, radius, 1.0, depth).ravel()[surface.index]
    bare = masks.outside * (1 - masks.lips)
    grain = noise(points, 0.009, rng, bare)
    # Lines of the lips run up and down and fan out towards the corners.
    red = masks.lips * masks.outside
    lines = noise(points, np.array([0.0055, 0.024, 0.024]), rng, red)
    lines += 0.6 * noise(points, np.array([0.012, 0.03, 0.03]), rng, red)
    lines += 0.5 * noise(points, 0.008, rng, red)
    lines = np.clip(lines, -1.2, 2.2)
    picture = 0.8 * pores * bare + 0.20 * grain * bare + 0.17 * lines * red
    return picture


def _mottle(skin: Skin, masks: SkinMasks, rng: np.random.Generator) -> np.ndarray:
    """Uneven blood: patches of half a millimetre to a centimetre."""
    points = skin.surface.points
    patches = 0.55 * noise(points, 0.055, rng, masks.outside)
    patches += 0.5 * noise(points, 0.022, rng, masks.outside)
    patches += 0.35 * noise(points, 0.010, rng, masks.outside)
    strength = 0.75 + 0.5 * masks.cheeks + 0.5 * masks.nose + 0.3 * masks.chin + 0.3 * masks.lips
    return patches * strength * masks.outside


def _wrinkles(skin: Skin, landmarks: np.ndarray) -> np.ndarray:
    """Lines as they come with age."""
    surface = skin.surface
    rng = np.random.default_rng(7)
    picture = np.zeros((surface.size, surface.size))
    for wrinkle in wrinkles(landmarks):
        on_skin, _ = skin.onto(wrinkle.line(rng))
        # The curve's depth is a guess; a second look from the surface settles it.
        on_skin, _ = skin.onto(on_skin)
        pieces = np.stack([on_skin[:-1], on_skin[1:]], axis=1)
        taper = np.sin(np.linspace(0.25, np.pi - 0.25, len(pieces)))
        width = np.full(len(pieces), 1.1)
        drawn = draw(skin.place(pieces), width, wrinkle.depth * taper, surface.size, 1.0)
        soft = gaussian_filter(drawn, 0.75 * wrinkle.width)
        # The fold beside a wrinkle catches light.
        lit = gaussian_filter(drawn, 2.4 * wrinkle.width)
        picture += wrinkle.width * (1.9 * soft - 0.9 * lit)
    return np.clip(picture.ravel()[surface.index], -0.3, 1.2)


def _eye_coordinates(surface: TexelSurface, mesh: HeadMesh) -> tuple[np.ndarray, np.ndarray]:
    """Angle from the gaze axis in degrees, inf outside the eyes, and angle around it: 2 x (T,)."""
    largest = np.degrees(mesh.eye_polar_rad[np.isfinite(mesh.eye_polar_rad)].max())
    eyes = np.all(mesh.regions["eyeballs"][mesh.triangles], axis=1)[surface.triangle]
    place = surface.column_row / surface.size * [1, -1] + [0, 1]
    angle, turn = np.full(len(place), np.inf), np.zeros(len(place))
    for centre in EYE_CENTRES:
        offset = place - centre
        distance = np.linalg.norm(offset, axis=1)
        here = eyes & (distance < EYE_RADIUS * 1.05)
        angle[here] = eye_angle(distance[here], largest)
        turn[here] = np.arctan2(offset[here, 1], offset[here, 0])
    return angle, turn


def _iris(angle: np.ndarray, turn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Radial fibres, a bright ragged ring around the pupil, a dark edge."""
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    finite = np.where(np.isfinite(angle), angle, 0)
    spread = np.concatenate([circle, finite[:, None] / 60], axis=1)
    eyes = np.isfinite(angle)
    fibres = 0.6 * noise(spread, np.array([0.05, 0.05, 0.3]), rng, eyes)
    fibres += 0.5 * noise(spread, np.array([0.16, 0.16, 0.12]), rng, eyes)
    collar = np.exp(-(((angle - 12.0 - 0.8 * fibres) / 2.2) ** 2))
    inside = smooth_step(angle, PUPIL_DEG - 0.3, PUPIL_DEG + 1.2)
    inside *= smooth_step(angle, LIMBUS_DEG, LIMBUS_DEG - 2)
    return np.clip(inside * (0.5 * fibres + 0.45 * collar - 0.1), -1, 1)


def _veins(surface: TexelSurface, angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thin winding lines from the corners of the eyes towards the iris."""
    size = surface.size
    pictures = []
    for centre in EYE_CENTRES * [1, -1] + [0, 1]:
        start = np.where(rng.uniform(size=VEINS) < 0.5, 0, np.pi) + rng.normal(0, 0.45, VEINS)
        steps, paths = 24, []
        radius = rng.uniform(0.75, 1.0, VEINS)
        heading = np.zeros(VEINS)
        for _ in range(steps):
            paths.append(np.stack([radius * np.cos(start), radius * np.sin(start)], axis=1))
            heading = 0.8 * heading + rng.normal(0, 0.03, VEINS)
            start = start + heading
            radius = np.maximum(radius - rng.uniform(0.004, 0.024, VEINS), 0.42)
        path = (centre + EYE_RADIUS * np.stack(paths, axis=1)) * size
        strength = rng.uniform(0.15, 0.9, VEINS)
        pictures.append(draw(path, np.full(VEINS, 0.8), strength, size, 0.2))
    beyond_iris = smooth_step(angle, LIMBUS_DEG + 1, LIMBUS_DEG + 8)
    picture = np.max(pictures, axis=0).ravel()
    return picture[surface.index] * np.where(np.isfinite(angle), beyond_iris, 0)
