"""Procedural face colours: principal components of people made of skin, hair and eyes.

No free collection of face albedo exists, so the colours are made from skin optics
(`skin_optics.py`), anatomy (`skin_masks.py`), people (`people.py`) and drawn detail
(`fine_detail.py`). A person is painted on the vertices; principal components of many give the
vertex albedo. What is finer than the mesh goes into maps over the texture layout, whose weights
are linear in the same coefficients. Light is not baked in, apart from a part of the darkness of
narrow places (nostrils, mouth, below the lids' edges), which no light of low order can make.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from models.texture import TextureData, nearest_covered
from util.devices import one_thread

from .eyeballs import LIMBUS_DEG, PUPIL_DEG
from .fine_detail import DetailLayers, draw_layers
from .head_mesh import HeadMesh
from .people import Person, random_person
from .sampling import Sampling
from .skin_masks import SkinMasks, bare_skin, skin_masks, smooth_step, vertex_facts
from .skin_optics import SkinColour
from .surface_noise import random_waves, waves_at
from .texel_surface import TexelSurface, occlusion, texel_surface

# Smooth skin variation: (correlation length in dm, sigma of log melanin, sigma of log blood).
FIELD_SCALES = ((0.35, 0.08, 0.11), (0.12, 0.06, 0.10))
FIELD_WAVES = 160  # random cosine waves a scale
FIELD_ODD_SHARE = 0.4
SHADE_STRENGTH, EYE_SHADE_LIMIT = 0.75, 0.42
# Nostrils are shallow: at their bottom a quarter of the sky is hidden.
NOSTRIL_REACH_DM, NOSTRIL_SHADE = 0.12, 0.15

# In the shade of lids and lashes, wherever the eye looks: as bright as it is without, it would
# stare. On 17 photographs it is darker still, but there its few pixels are blurred with the lashes.
EYE_SHADE = 0.1
SCLERA = (1 - EYE_SHADE) * np.array([203, 194, 186]) / 255
SCLERA_YELLOW = (1 - EYE_SHADE) * np.array([192, 176, 150]) / 255
SCLERA_VEINS = (1 - EYE_SHADE) * np.array([176, 118, 108]) / 255
PUPIL = np.array([14, 12, 12]) / 255
LASHES = np.array([32, 23, 20]) / 255
MOUTH_INSIDE = np.array([46, 18, 17]) / 255
BEARD_SHADOW = np.array([78, 74, 74]) / 255

# Layers that vertices show the average of; of these a map holds only what differs from it.
ON_VERTICES = (
    "brow", "brow_fringe", "lashes", "stubble", "moustache_chin", "cheek_beard", "freckles",
)  # fmt: skip
# Steps a map's values are rounded to; patterns that look like noise are hard to compress.
MAP_LEVELS = {"relief": 14, "mottle": 9, "wrinkles": 40, "iris": 40}
HAIR_LEVELS = 40
# Maps' weights that no vertex colour tells follow components from this one on.
FIRST_WEAK_COMPONENT = 24
RIDGE = 2.0


@dataclass(frozen=True)
class AlbedoModel:
    """Colour statistics on the V vertices, and finer ones over the texture layout.

    Attributes:
        mean: (V, 3) sRGB-encoded, in [0, 1].
        basis: (V, 3, K), one standard deviation each.
        parity: (K,) +1 where mirroring leaves a component alone, -1 where it negates it.
        skin: (V,) bool, bare skin.
        regions: name -> (V,) bool.
        texture: fine maps and their weights; `util.model_files.texture_file.texture_arrays` turns
            them into the arrays of a face model file. They depend on even components only: they are
            drawn with the irregularity of a person and not mirrored.
    """

    mean: np.ndarray
    basis: np.ndarray
    parity: np.ndarray
    skin: np.ndarray
    regions: dict[str, np.ndarray]
    texture: TextureData


@dataclass(frozen=True)
class Canvas:
    """What painting on the V vertices needs.

    Attributes:
        masks: zones at the vertices.
        layers: name -> (V,) average of a drawn layer around each vertex.
        shade: (V,) how much of the light narrow places lose.
        fields: (V, W) basis of the smooth fields for melanin, of their sigma.
        blood_ratio: (W,) factor that makes it the basis for blood.
        eye_polar_deg: (V,) angle from the gaze axis, inf outside the eyes.
        colour: skin colour of melanin and blood.
    """

    masks: SkinMasks
    layers: dict[str, np.ndarray]
    shade: np.ndarray
    fields: np.ndarray
    blood_ratio: np.ndarray
    eye_polar_deg: np.ndarray
    colour: SkinColour


@dataclass(frozen=True)
class Painting:
    """One person's colours (V, 3), and the weight (3,) of each drawn layer, by name."""

    colours: np.ndarray
    weights: dict[str, np.ndarray]


def albedo_model(
    vertices: np.ndarray,
    landmarks: np.ndarray,
    mesh: HeadMesh,
    sampling: Sampling,
    texture_size: int,
) -> AlbedoModel:
    """Builds the colour statistics on the mean head.

    The same arguments give the same arrays, whatever the number of threads.

    Args:
        vertices: (V, 3) mean head in dm.
        landmarks: (68, 3) on it.
        mesh: its topology and texture layout.
        sampling: of people.
        texture_size: width and height of the fine maps.
    """
    # 1. Zones and drawn layers, over the layout and averaged at the vertices.
    rng = np.random.default_rng(sampling.seed)
    facts = vertex_facts(vertices, landmarks, mesh)
    masks = skin_masks(vertices, landmarks, facts)
    surface = texel_surface(vertices, mesh, texture_size)
    texel_masks = skin_masks(surface.points, landmarks, facts.interpolated(surface.interpolation))
    layers = draw_layers(surface, texel_masks, landmarks, mesh, rng)
    shade = surface.at_vertices(occlusion(surface, vertices, mesh))
    shade = _symmetric(shade, mesh)
    nostrils = _nostrils(vertices, landmarks, mesh, shade)

    # 2. Paint people.
    fields, ratio = _fields(vertices, rng)
    canvas = Canvas(
        masks=masks,
        layers={
            name: np.clip(_symmetric(surface.at_vertices(getattr(layers, name)), mesh), 0, 1)
            for name in layers.names()
        },
        shade=shade,
        fields=fields,
        blood_ratio=ratio,
        eye_polar_deg=np.degrees(mesh.eye_polar_rad),
        colour=SkinColour(),
    )
    paintings = [
        paint(random_person(fields.shape[1], rng), canvas) for _ in range(sampling.samples)
    ]

    # 3. Statistics.
    people = np.stack([painting.colours for painting in paintings])
    mean = _symmetric(people.mean(axis=0), mesh)
    basis, parity, scores = _components(people - mean, mesh.mirror, sampling.size)
    weights = np.array(
        [[painting.weights[name] for name in layers.names()] for painting in paintings]
    )
    return AlbedoModel(
        mean=mean,
        basis=basis,
        parity=parity,
        skin=bare_skin(masks, facts, mesh, shade) & ~nostrils,
        regions=_regions(mesh, masks) | {"nostrils": nostrils},
        texture=_texture(layers, surface, weights, scores, parity, rng),
    )


def _nostrils(
    vertices: np.ndarray, landmarks: np.ndarray, mesh: HeadMesh, shade: np.ndarray
) -> np.ndarray:
    """The hollows (V,) bool below the nose, half-way from its base to either wing."""
    base, wings = landmarks[33], landmarks[[31, 35]]
    right, left = (_distance(vertices, (base + wing) / 2) for wing in wings)
    near = np.minimum(right, left) < NOSTRIL_REACH_DM
    return near & (shade > NOSTRIL_SHADE) & ~mesh.regions["mouth_cavity"]


def _regions(mesh: HeadMesh, masks: SkinMasks) -> dict[str, np.ndarray]:
    """Regions of colour, name -> (V,) bool."""
    return {
        "lips": masks.lips > 0.5,
        "brows": masks.brow > 0.3,
        "lids": masks.lids > 0.5,
        "mouth_ring": mesh.regions["mouth_cavity"] & (mesh.cavity_depth <= 2),
        "beard": np.maximum.reduce([masks.moustache, masks.chin_beard, masks.cheek_beard]) > 0.5,
        "ears": masks.ears > 0.5,
        "scalp": masks.scalp > 0.5,
        "neck": masks.neck > 0.5,
    }


def paint(person: Person, canvas: Canvas) -> Painting:
    """Colours one person: skin first, then what covers it."""
    masks, layers, colour = canvas.masks, canvas.layers, canvas.colour
    # 1. Skin: thin lids and lips show blood, the hollow below the eye both pigments.
    uneven = person.unevenness
    melanin = person.melanin + uneven * (canvas.fields @ person.field_melanin)
    blood = person.blood + uneven * (canvas.fields @ (canvas.blood_ratio * person.field_blood))
    cheeks, nose, chin, ears = person.flush
    blood += 0.46 * cheeks * masks.cheeks + 0.46 * nose * masks.nose
    blood += 0.22 * chin * masks.chin + (0.25 + 0.4 * ears) * masks.ears
    blood += 0.22 * masks.lids + 0.16 * person.dark_circles * masks.under_eye
    blood -= 0.10 * masks.around_mouth + 0.12 * masks.neck + 0.10 * masks.scalp
    melanin += 0.10 * masks.lids + 0.20 * person.dark_circles * masks.under_eye
    melanin += 0.07 * masks.forehead - 0.12 * masks.neck - 0.10 * masks.scalp
    melanin += 0.10 * masks.ears + 0.35 * masks.mouth_corners
    blood += 0.5 * masks.mouth_corners
    melanin += 0.05 * masks.nose + 0.9 * person.freckles * layers["freckles"]
    # Red of the lips, deeper where they meet; its edge is soft.
    lips = smooth_step(masks.lips, 0.75 - 0.7 * person.lip_edge, 1.35 - 0.7 * person.lip_edge)
    blood += (person.lip_blood + 0.35 * masks.mouth_line) * lips
    melanin += (person.lip_melanin + 0.25 * masks.mouth_line) * lips
    in_lids = np.clip(2 * masks.inside_lids, 0, 1)
    blood += 1.0 * in_lids
    melanin -= 0.3 * in_lids * np.clip((melanin + 4) / 2, 0, 1)
    skin = colour(melanin, blood)
    bare = skin

    # 2. Hair; shaved hair shines through the skin, bluish.
    shadow = 0.55 * person.hair + 0.45 * BEARD_SHADOW
    skin = _mix(skin, shadow, person.scalp * masks.scalp)
    skin = _mix(skin, shadow, person.stubble * layers["stubble"])
    for name in ("moustache_chin", "cheek_beard"):
        skin = _mix(skin, person.hair, getattr(person, name) * layers[name])
    for name in ("brow", "brow_fringe"):
        skin = _mix(skin, person.brow_hair, getattr(person, name) * layers[name])
    lash_colour = 0.75 * LASHES + 0.25 * person.hair
    skin = _mix(skin, lash_colour, person.lashes * layers["lashes"])

    # 3. Cavities and narrow places.
    skin = _mix(skin, MOUTH_INSIDE, smooth_step(masks.inside_mouth, 0.1, 0.9))
    narrow = np.maximum(canvas.shade, 0.3 * np.maximum(masks.mouth_corners, in_lids))
    shade = np.where(np.isfinite(canvas.eye_polar_deg), 0, narrow)
    # Light that reaches a narrow place is reddened by the skin around it.
    skin = skin * (1 - shade[:, None] * SHADE_STRENGTH * np.array([0.85, 1.0, 1.0]))

    # 4. Eyes.
    eye = np.isfinite(canvas.eye_polar_deg)
    sclera = (1 - person.yellow) * SCLERA + person.yellow * SCLERA_YELLOW
    skin[eye] = _eyeball(person, canvas, sclera)
    weights = _layer_weights(person, canvas, bare, melanin, blood, sclera)
    return Painting(np.clip(skin, 0, 1), weights)


def _eyeball(person: Person, canvas: Canvas, sclera: np.ndarray) -> np.ndarray:
    """Veins towards the corners, a dark limbal ring, a brighter middle of the iris."""
    eye = np.isfinite(canvas.eye_polar_deg)
    angle = canvas.eye_polar_deg[eye]
    red = (0.12 + 0.4 * person.veins) * smooth_step(angle, 27, 62)
    eyeball = _mix(np.tile(sclera, (len(angle), 1)), SCLERA_VEINS, red)
    ring = 1 - 0.6 * smooth_step(angle, 16.5, LIMBUS_DEG)
    ring += 0.22 * np.exp(-(((angle - 12.5) / 3.5) ** 2))
    iris = np.clip(person.iris * ring[:, None], 0, 1)
    eyeball = _mix(eyeball, iris, smooth_step(angle, LIMBUS_DEG + 2.2, LIMBUS_DEG - 1.2))
    eyeball = _mix(eyeball, PUPIL, smooth_step(angle, PUPIL_DEG + 1.2, PUPIL_DEG - 1))
    # The lids' shadow, only as dark as it may be when the eye turns from under them.
    shade = EYE_SHADE_LIMIT * smooth_step(canvas.shade[eye], 0.0, 0.8)
    return eyeball * (1 - shade[:, None])


def _layer_weights(
    person: Person,
    canvas: Canvas,
    skin: np.ndarray,
    melanin: np.ndarray,
    blood: np.ndarray,
    sclera: np.ndarray,
) -> dict[str, np.ndarray]:
    """Colour (3,) that each drawn layer adds where it is 1."""

    def around(name: str, values: np.ndarray) -> np.ndarray:
        """Mean over the vertices that show the layer."""
        share = canvas.layers[name]
        return (share @ values) / max(share.sum(), 1e-9)

    def covered(name: str, amount: float, over: np.ndarray) -> np.ndarray:
        return amount * (over - around(name, skin))

    def pigment(name: str, more_melanin: float, more_blood: float) -> np.ndarray:
        here = np.array([around(name, melanin)]), np.array([around(name, blood)])
        changed = canvas.colour(here[0] + more_melanin, here[1] + more_blood)
        return (changed - canvas.colour(*here))[0]

    shadow = 0.55 * person.hair + 0.45 * BEARD_SHADOW
    lash_colour = 0.75 * LASHES + 0.25 * person.hair
    face = around("wrinkles", skin)
    mole = pigment("freckles", 1.7, 0.4)
    return {
        "brow": covered("brow", person.brow, person.brow_hair),
        "brow_fringe": covered("brow_fringe", person.brow_fringe, person.brow_hair),
        "lashes": covered("lashes", person.lashes, lash_colour),
        "stubble": covered("stubble", min(1.8 * person.stubble, 0.9), 0.8 * shadow),
        "moustache_chin": covered("moustache_chin", person.moustache_chin, person.hair),
        "cheek_beard": covered("cheek_beard", person.cheek_beard, person.hair),
        "freckles": person.freckles * pigment("freckles", 1.1, 0.1),
        "moles": person.moles[0] * mole,
        "more_moles": person.moles[1] * mole,
        "other_moles": person.moles[2] * mole,
        "age_spots": person.age_spots * pigment("age_spots", 0.75, 0.0),
        "relief": -0.115 * (0.8 + 0.5 * person.age) * face,
        "mottle": (0.8 + 0.6 * person.age) * pigment("stubble", 0.02, 0.055),
        "wrinkles": -0.26 * person.wrinkles * face * np.array([0.8, 1.0, 1.0]),
        "iris": 0.5 * person.iris + 0.03,
        "veins": (0.3 + 0.7 * person.veins) * (SCLERA_VEINS - sclera),
    }


def _fields(vertices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Basis (V, W) of smooth fields of log melanin, and the factors (W,) for log blood.

    White weights of variance 1 give a Gaussian-like field. Half of the columns of each scale is
    odd under mirroring, and weaker.
    """
    columns, ratios = [], []
    for length, melanin_sigma, blood_sigma in FIELD_SCALES:
        frequency, phase = random_waves(FIELD_WAVES, length, rng)
        here = waves_at(vertices, frequency, phase)
        there = waves_at(vertices * [-1, 1, 1], frequency, phase)
        scale = melanin_sigma / np.sqrt(FIELD_WAVES)
        columns += [scale * (here + there), scale * FIELD_ODD_SHARE * (here - there)]
        ratios.append(np.full(2 * FIELD_WAVES, blood_sigma / melanin_sigma))
    return np.concatenate(columns, axis=1), np.concatenate(ratios)


def _components(deviations: np.ndarray, mirror: np.ndarray, size: int):
    """The strongest even and odd principal components.

    Returns:
        Basis (V, 3, size), parity (size,) and the scores (people, size) of the sample.
    """
    count = len(deviations)
    mirrored = deviations[:, mirror]
    candidates: list[tuple[float, int, np.ndarray]] = []
    for sign in (1, -1):
        parts = torch.from_numpy(((deviations + sign * mirrored) / 2).reshape(count, -1))
        # Several threads would round these sums otherwise.
        with one_thread():
            power, vectors = torch.linalg.eigh(parts @ parts.T)
            strongest = torch.arange(count - 1, count - 1 - size, -1)
            scores = vectors[:, strongest] * count**0.5
            basis = scores.T @ parts / count
        candidates += [
            (float(power[i]), sign, row) for i, row in zip(strongest, basis.numpy(), strict=True)
        ]
    candidates = sorted(candidates, key=lambda item: -item[0])[:size]
    basis = np.stack([row for _, _, row in candidates])
    largest = basis[np.arange(size), np.abs(basis).argmax(axis=1)]
    basis *= np.sign(largest)[:, None]
    parity = np.array([sign for _, sign, _ in candidates])
    with one_thread():
        flat = torch.from_numpy(deviations.reshape(count, -1))
        scores = (flat @ torch.from_numpy(basis).T).numpy() / (basis**2).sum(axis=1)
    return np.moveaxis(basis.reshape(size, -1, 3), 0, -1), parity, scores


def _texture(
    layers: DetailLayers,
    surface: TexelSurface,
    weights: np.ndarray,
    scores: np.ndarray,
    parity: np.ndarray,
    rng: np.random.Generator,
) -> TextureData:
    """Rounds layers to maps and learns their weights (people, K, 3) from scores (people, C)."""
    maps, scales = [], []
    inside = np.zeros(surface.size**2, dtype=bool)
    inside[surface.index] = True
    inside = inside.reshape(surface.size, surface.size)
    row, column = nearest_covered(inside)
    for name in layers.names():
        layer = getattr(layers, name)
        if name in ON_VERTICES:
            layer = layer - surface.interpolation @ surface.at_vertices(layer)
        picture = surface.picture(layer)[row, column]
        levels = MAP_LEVELS.get(name, HAIR_LEVELS)
        scale = np.abs(picture).max() / levels
        maps.append(np.rint(picture / scale).astype(np.int8))
        scales.append(scale)
    mean, basis = _learned_weights(weights, scores, parity, rng)
    ends = np.stack([np.quantile(weights, q, axis=0) for q in (0.005, 0.995)], axis=-1)
    return TextureData(
        names=layers.names(),
        maps=np.stack(maps),
        scales=np.array(scales, dtype=np.float32),
        weight_mean=mean.astype(np.float32),
        weight_basis=basis.astype(np.float32),
        weight_range=ends.astype(np.float32),
    )


def _learned_weights(
    weights: np.ndarray, scores: np.ndarray, parity: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (K, 3) of the weights and their linear dependence (K, 3, C) on the coefficients.

    What the coefficients do not tell, such as moles, which are too small for vertices, is spread
    along a random direction of weak even components: people still differ by as much as they do.
    """
    count, maps, _ = weights.shape
    even = np.flatnonzero(parity > 0)
    weak = even[even >= FIRST_WEAK_COMPONENT]
    known = scores[:, even]
    mean = weights.mean(axis=0)
    target = (weights - mean).reshape(count, -1)
    basis = np.zeros((maps, 3, len(parity)))
    with one_thread():
        x, y = torch.from_numpy(known), torch.from_numpy(target)
        normal = x.T @ x + RIDGE * torch.eye(len(even), dtype=x.dtype)
        solution = torch.linalg.solve(normal, x.T @ y)
        rest = (y - x @ solution).reshape(count, maps, 3).numpy()
    basis[:, :, even] = solution.numpy().T.reshape(maps, 3, -1)
    for index in range(maps):
        values, vectors = np.linalg.eigh(rest[:, index].T @ rest[:, index] / count)
        main = vectors[:, -1] * np.sign(vectors[np.abs(vectors[:, -1]).argmax(), -1])
        direction = rng.normal(size=len(weak))
        direction /= np.linalg.norm(direction)
        basis[index][:, weak] += np.sqrt(max(values[-1], 0)) * main[:, None] * direction
    return mean, basis


def _symmetric(values: np.ndarray, mesh: HeadMesh) -> np.ndarray:
    """The part of per-vertex values that mirroring leaves alone."""
    return (values + values[mesh.mirror]) / 2


def _distance(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points - place, axis=1)


def _mix(under: np.ndarray, over: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Paints ``over`` ((3,) or (N, 3)) on ``under`` (N, 3) with opacity (N,)."""
    return under + opacity[:, None] * (over - under)
