"""Procedural face colours: principal components of people made of skin, hair and eyes.

A person is melanin, blood, hair, an iris and perhaps a beard. No free collection of face albedo
exists, so the colours are made from skin optics (`skin_optics.py`) and anatomy (`skin_masks.py`).
No shading is baked in except the darkness of nostrils and mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .head_mesh import LIMBUS_DEG, PUPIL_DEG, HeadMesh
from .skin_masks import SkinMasks, skin_masks, smooth_step
from .skin_optics import SkinColour

PEOPLE = 900
# Smooth skin variation: (correlation length in dm, sigma of log melanin, sigma of log blood).
FIELD_SCALES = ((0.35, 0.10, 0.16), (0.12, 0.07, 0.12))
FIELD_WAVES = 160  # random cosine waves a scale
FIELD_ODD_SHARE = 0.4

# sRGB palettes; hair and iris from dark to light, as melanin falls.
HAIR = np.array([[26, 20, 18], [44, 31, 25], [74, 52, 38], [110, 80, 54], [150, 120, 84]]) / 255
GREY_HAIR = np.array([150, 146, 142]) / 255
IRIS = np.array([[46, 28, 20], [74, 46, 28], [104, 78, 48], [98, 104, 82], [104, 128, 146]]) / 255
SCLERA = np.array([210, 201, 193]) / 255
SCLERA_VEINS = np.array([196, 142, 132]) / 255
PUPIL = np.array([12, 10, 10]) / 255
LASHES = np.array([38, 26, 22]) / 255
NOSTRIL = np.array([52, 26, 22]) / 255
MOUTH_INSIDE = np.array([34, 12, 12]) / 255

# Opacity of moustache, chin beard and cheek beard: full beard, goatee, moustache.
BEARD_STYLES = np.array([[1.0, 1.0, 0.9], [1.0, 1.0, 0.2], [1.0, 0.2, 0.2]])


@dataclass(frozen=True)
class AlbedoModel:
    """Colour statistics on the V vertices.

    Attributes:
        mean: (V, 3) sRGB-encoded, in [0, 1].
        basis: (V, 3, K), one standard deviation each.
        parity: (K,) +1 where mirroring leaves a component alone, -1 where it negates it.
        skin: (V,) bool, bare skin.
        regions: name -> (V,) bool.
    """

    mean: np.ndarray
    basis: np.ndarray
    parity: np.ndarray
    skin: np.ndarray
    regions: dict[str, np.ndarray]


@dataclass(frozen=True)
class Person:
    """What decides one person's colours.

    Attributes:
        melanin, blood: (V,) natural logarithms of the fractions of melanosomes and blood.
        lip_blood: Added to log blood on the lips.
        hair, iris: (3,) colours.
        brow_density: Opacity of the brows in [0, 1].
        brow_thickness: Factor on their width.
        brow_height_dm: How much higher than average they sit.
        lash_density: Opacity of the lash lines.
        beard: (3,) opacity of moustache, chin beard and cheek beard.
        veins: Redness of the sclera in [0, 1].
    """

    melanin: np.ndarray
    blood: np.ndarray
    lip_blood: float
    hair: np.ndarray
    iris: np.ndarray
    brow_density: float
    brow_thickness: float
    brow_height_dm: float
    lash_density: float
    beard: np.ndarray
    veins: float


def albedo_model(
    vertices: np.ndarray, landmarks: np.ndarray, mesh: HeadMesh, size: int, seed: int
) -> AlbedoModel:
    """Builds the colour statistics on the mean face: vertices (V, 3), landmarks (68, 3) in dm."""
    rng = np.random.default_rng(seed)
    masks = skin_masks(vertices, landmarks, mesh)
    colour = SkinColour()
    waves = [_even_odd_waves(vertices, length, rng) for length, _, _ in FIELD_SCALES]
    people = np.stack(
        [paint(_random_person(masks, waves, rng), masks, mesh, colour) for _ in range(PEOPLE)]
    )
    mean = people.mean(axis=0)
    mean = (mean + mean[mesh.mirror]) / 2
    basis, parity = _components(people - mean, mesh, size)
    regions = {
        "lips": masks.lips > 0.5,
        "brows": masks.brow() > 0.5,
        "lids": masks.lids > 0.5,
        "nostrils": masks.nostrils > 0.5,
        "mouth_ring": mesh.regions["mouth_cavity"] & (mesh.cavity_depth <= 2),
        "beard": np.maximum.reduce([masks.moustache, masks.chin_beard, masks.cheek_beard]) > 0.5,
    }
    return AlbedoModel(mean, basis, parity, masks.skin, regions)


def paint(person: Person, masks: SkinMasks, mesh: HeadMesh, colour: SkinColour) -> np.ndarray:
    """Colours (V, 3) of one person, in [0, 1]: skin first, then what covers it."""
    # 1. Skin: thin lids and lips show blood, the hollow below the eye both pigments.
    melanin, blood = person.melanin.copy(), person.blood.copy()
    blood += 0.30 * masks.lids + 0.35 * masks.under_eye + 0.25 * masks.crease
    melanin += 0.12 * masks.lids + 0.20 * masks.under_eye + 0.25 * masks.crease
    in_lids = np.clip(2 * masks.inside_lids, 0, 1)
    blood += person.lip_blood * masks.lips + 1.1 * in_lids + 0.9 * masks.mouth_line * masks.lips
    melanin -= (0.25 * masks.lips + 0.7 * in_lids) * np.clip((melanin + 4) / 2, 0, 1)
    melanin += 0.5 * masks.mouth_line * masks.lips
    blood += 0.6 * masks.mouth_corners
    melanin += 0.3 * masks.mouth_corners
    skin = colour(melanin, blood)

    # 2. Hair.
    lashes = person.lash_density * (masks.upper_lashes + 0.35 * masks.lower_lashes)
    brow = person.brow_density * masks.brow(person.brow_thickness, person.brow_height_dm)
    moustache, chin, cheeks = person.beard
    beard = np.maximum.reduce(
        [moustache * masks.moustache, chin * masks.chin_beard, cheeks * masks.cheek_beard]
    )
    skin = _mix(skin, person.hair, beard)
    skin = _mix(skin, person.hair, brow)
    skin = _mix(skin, LASHES, np.clip(lashes, 0, 1))

    # 3. Cavities.
    skin = _mix(skin, NOSTRIL, masks.nostrils)
    skin = _mix(skin, MOUTH_INSIDE, smooth_step(masks.inside_mouth, 0.04, 0.6))

    # 4. Eyes: veins towards the corners, a dark limbal ring, a brighter middle of the iris.
    polar = np.degrees(mesh.eye_polar_rad)
    eye = np.isfinite(polar)
    angle = polar[eye]
    edge = smooth_step(angle, 28, 62)
    eyeball = _mix(np.tile(SCLERA, (len(angle), 1)), SCLERA_VEINS, (0.25 + person.veins) * edge)
    ring = 1 - 0.55 * smooth_step(angle, 17, LIMBUS_DEG)
    ring += 0.25 * np.exp(-(((angle - 12.5) / 3.5) ** 2))
    iris = np.clip(person.iris * ring[:, None], 0, 1)
    eyeball = _mix(eyeball, iris, smooth_step(angle, LIMBUS_DEG + 1.4, LIMBUS_DEG - 0.8))
    skin[eye] = _mix(eyeball, PUPIL, smooth_step(angle, PUPIL_DEG + 1.2, PUPIL_DEG - 1))
    return skin


def _random_person(masks: SkinMasks, waves: list[np.ndarray], rng) -> Person:
    """Draws a person; dark skin goes with dark hair and brown eyes, as in populations."""
    melanin = float(np.clip(rng.normal(np.log(0.058), 0.75), np.log(0.012), np.log(0.42)))
    blood = rng.normal(np.log(0.028), 0.28)
    male, age = rng.random() < 0.5, rng.beta(1.0, 1.6)
    lightness = np.clip((np.log(0.07) - melanin) / 1.6, 0, 1)

    melanin_map, blood_map = np.full(len(masks.lips), melanin), np.full(len(masks.lips), blood)
    for basis, (_, melanin_sigma, blood_sigma) in zip(waves, FIELD_SCALES, strict=True):
        draws = rng.normal(size=(2, basis.shape[1]))
        melanin_map += melanin_sigma * (basis @ draws[0])
        blood_map += blood_sigma * (basis @ draws[1])
    flush = rng.normal(1, 0.55)
    blood_map += flush * (0.42 * masks.cheeks + 0.48 * masks.nose_tip + 0.22 * masks.chin)
    blood_map += rng.normal(-0.12, 0.1) * masks.forehead
    melanin_map += rng.normal(0.05, 0.06) * masks.forehead
    blood_map += rng.normal(0, 0.2) * masks.under_eye

    shade = np.clip(lightness * rng.beta(1.4, 2.0) + rng.normal(0, 0.04), 0, 1)
    hair = _palette(HAIR, shade)
    grey = np.clip(rng.normal(1.4 * age - 0.85, 0.15), 0, 0.7)
    hair = (1 - grey) * hair + grey * GREY_HAIR
    iris = _palette(IRIS, np.clip(lightness * rng.beta(1.0, 1.0) + rng.normal(0, 0.05), 0, 1))
    stubble = rng.beta(1.2, 3.0) * 0.55 if male else 0.0
    beard = np.full(3, stubble)
    if male and rng.random() < 0.25:
        style = BEARD_STYLES[rng.choice(len(BEARD_STYLES), p=[0.6, 0.28, 0.12])]
        beard = np.maximum(beard, rng.uniform(0.35, 0.8) * style)
    return Person(
        melanin=melanin_map,
        blood=blood_map,
        lip_blood=rng.normal(1.15 if male else 1.35, 0.3),
        hair=hair,
        iris=iris,
        brow_density=float(np.clip(rng.normal(0.74 if male else 0.66, 0.13), 0.25, 0.95)),
        brow_thickness=float(np.clip(rng.normal(1.08 if male else 0.86, 0.16), 0.5, 1.5)),
        brow_height_dm=float(rng.normal(0, 0.012)),
        lash_density=float(np.clip(rng.normal(0.55 if male else 0.75, 0.12), 0.2, 0.95)),
        beard=beard,
        veins=float(rng.uniform(0, 0.35)),
    )


def _even_odd_waves(vertices: np.ndarray, length: float, rng) -> np.ndarray:
    """Basis (V, 2 W) of smooth fields: unit-variance white weights give a Gaussian-like field.

    Random cosines approximate a Gaussian covariance of the given length (Rahimi and Recht, 2007);
    the second half of the columns is odd under mirroring and weaker.
    """
    frequency = rng.normal(0, 1 / length, (3, FIELD_WAVES))
    phase = rng.uniform(0, 2 * np.pi, FIELD_WAVES)
    here = np.cos(vertices @ frequency + phase)
    there = np.cos((vertices * [-1, 1, 1]) @ frequency + phase)
    scale = np.sqrt(2 / FIELD_WAVES) / np.sqrt(2)
    return scale * np.concatenate([here + there, FIELD_ODD_SHARE * (here - there)], axis=1)


def _components(deviations: np.ndarray, mesh: HeadMesh, size: int):
    """The strongest even and odd principal components (V, 3, size) and their parity (size,)."""
    count = len(deviations)
    mirrored = deviations[:, mesh.mirror]
    candidates: list[tuple[float, int, np.ndarray]] = []
    for sign in (1, -1):
        parts = ((deviations + sign * mirrored) / 2).reshape(count, -1)
        power, vectors = np.linalg.eigh(parts @ parts.T)
        strongest = np.argsort(power)[::-1][:size]
        scores = vectors[:, strongest] * np.sqrt(count)
        basis = scores.T @ parts / count
        candidates += [
            (float(power[i]), sign, row) for i, row in zip(strongest, basis, strict=True)
        ]
    candidates = sorted(candidates, key=lambda item: -item[0])[:size]
    basis = np.stack([row for _, _, row in candidates])
    largest = basis[np.arange(size), np.abs(basis).argmax(axis=1)]
    basis *= np.sign(largest)[:, None]
    parity = np.array([sign for _, sign, _ in candidates])
    return np.moveaxis(basis.reshape(size, -1, 3), 0, -1), parity


def _palette(colours: np.ndarray, place: float) -> np.ndarray:
    """Colour (3,) at ``place`` in [0, 1] along a palette (N, 3)."""
    knots = np.linspace(0, 1, len(colours))
    return np.array([np.interp(place, knots, colours[:, i]) for i in range(3)])


def _mix(under: np.ndarray, over: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Paints ``over`` ((3,) or (N, 3)) on ``under`` (N, 3) with opacity (N,)."""
    return under + opacity[:, None] * (over - under)
