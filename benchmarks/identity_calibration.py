"""Coefficients of real heads, by corresponding points: what the open model's identity is scaled by.

python -m benchmarks.identity_calibration --bfm_folder BFM

Random heads of ICT-FaceKit, which the user downloads (BFM/README.md), give the mean and deviation
of each identity coefficient: 0 and 1 where the calibration holds. `REAL_MEAN` and `REAL_SIGMA` in
BFM/open_model/geometry_bases.py are made of the last two columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.named_model import named_model
from benchmarks.trained_networks import variation_mm
from BFM.open_model.geometry_bases import REAL_MEAN, real_sigma
from models.face_model import FaceModelData
from options import parse_command
from options.face_options import FaceModelOptions
from util.assets import read_chosen_face_model
from util.command import run_command
from util.errors import InputError
from util.evaluation.head_correspondence import corresponding_points, frontal_area
from util.point_fits import fit_similarity

POINTS = 1000
"""Of the face, that correspond."""
NOISE_DM = 0.0135
"""Standard deviation of a point along each axis. What heads have beyond the components is 0.43 mm
an axis, but neighbours share it: the points count as a tenth of their number."""
ROUNDS = 300
GROUPS = (0, 1, 5, 10, 20, 30, 40, 60, 80)
"""Components between two of these are summed up in one row."""


@dataclass(frozen=True)
class CalibrationOptions:
    """Which heads."""

    heads: int = 300
    """Random heads."""
    head_seed: int = 7
    """Of the heads; those of the other benchmarks are 2000 and 5000."""

    def __post_init__(self) -> None:
        """Refuse what has no deviation."""
        if self.heads < 2:
            raise InputError(f"--heads is {self.heads}; it must be at least 2")


@dataclass(frozen=True)
class Population:
    """Coefficients of heads, in units of the model's. K coefficients."""

    mean: np.ndarray
    """(K,)"""
    sigma: np.ndarray
    """(K,) with what points leave open, so that a coefficient that they say nothing of has 1."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print mean and deviation of each coefficient, and how much people differ."""
    options = parse_command([CalibrationOptions, FaceModelOptions], argv, __doc__ or "")
    wanted, chosen = options[CalibrationOptions], named_model(options)
    own, message = read_chosen_face_model(chosen)
    print(f"face model: {message}")
    other, message = read_chosen_face_model(replace(chosen, face_model="ict"))
    print(f"heads: {message}")

    random = np.random.default_rng(wanted.head_seed)
    face = frontal_area(own, own)
    vertices = random.choice(face.vertices, POINTS, replace=False, p=face.weights)
    points = random_heads(own, other, vertices, wanted.heads, random)
    mean, basis = own.mean_shape[vertices].astype(float), own.identity_basis[vertices].astype(float)
    basis = basis * own.identity_sigma
    even = symmetric(own)
    people = mean + np.einsum(
        "vdk,nk->nvd", basis, random.standard_normal((wanted.heads, basis.shape[2]))
    )
    print(
        f"people differ from their mean, size aside, by {variation_mm(points):.2f} mm (heads) and "
        f"{variation_mm(people):.2f} mm (the face model's)"
    )
    report(population(points, mean, basis, even), even)


def symmetric(model: FaceModelData) -> np.ndarray:
    """Which identity components (K,) mirroring leaves as they are.

    Raises:
        InputError: a model that does not say.
    """
    parity = model.parities.get("identity")
    if parity is None:
        raise InputError(f"{model.name} does not say which of its components are symmetric")
    return parity > 0


def random_heads(
    own: FaceModelData,
    other: FaceModelData,
    vertices: np.ndarray,
    count: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Where vertices (P,) of one model lie on random heads of another: (N, P, 3) dm."""
    identity = random.standard_normal((count, other.identity_basis.shape[2]))
    shapes = other.mean_shape + np.einsum("vdk,nk->nvd", other.identity_basis, identity)
    return corresponding_points(own, other, frontal_area(other, own), vertices, shapes)


def population(
    points: np.ndarray, mean: np.ndarray, basis: np.ndarray, even: np.ndarray
) -> Population:
    """Mean and deviation of coefficients, by expectation maximisation of a factor model.

    points = mean + basis @ c + noise, up to a rigid motion, with c ~ N(population.mean,
    diag(population.sigma^2)). The deviation is that of the estimates plus what each leaves open:
    estimates alone, drawn to the mean by the noise, vary less than people do.

    Args:
        points: (N, P, 3) on heads.
        mean: (P, 3) of the model.
        basis: (P, 3, K)
        even: (K,) which may have a mean: people are no more lopsided to one side than the other.
    """
    still = _rigid_motions(mean)
    rows = np.stack([fit_similarity(one, mean, scaled=False)(one) - mean for one in points])
    rows = rows.reshape(len(points), -1)
    rows = rows - rows @ still @ still.T
    flat = basis.reshape(still.shape[0], -1)
    flat = flat - still @ (still.T @ flat)
    precision, seen = flat.T @ flat / NOISE_DM**2, flat.T @ rows.T / NOISE_DM**2
    centre, variance = np.zeros(len(even)), np.ones(len(even))
    for _ in range(ROUNDS):
        left_open = np.linalg.inv(precision + np.diag(1 / variance))
        estimates = left_open @ (seen + (centre / variance)[:, None])
        centre = np.where(even, estimates.mean(axis=1), 0)
        variance = np.square(estimates - centre[:, None]).mean(axis=1) + np.diag(left_open)
    return Population(centre, np.sqrt(variance))


def _rigid_motions(points: np.ndarray) -> np.ndarray:
    """Orthonormal directions (3 P, 6) in which points (P, 3) move without changing their shape."""
    shifts = [np.tile(axis, (len(points), 1)) for axis in np.eye(3)]
    turns = [np.cross(axis, points - points.mean(axis=0)) for axis in np.eye(3)]
    return np.linalg.qr(np.stack([*shifts, *turns]).reshape(6, -1).T)[0]


def report(found: Population, even: np.ndarray) -> None:
    """Print all, and the means over groups of components."""
    known = np.zeros(len(even))
    known[: len(REAL_MEAN)] = REAL_MEAN[: len(even)]
    sigma = real_sigma(even)
    print("component  parity   mean  deviation   REAL_MEAN  REAL_SIGMA with this")
    for number, symmetric in enumerate(even):
        own, deviation = sigma[number], found.sigma[number]
        print(
            f"{number:>9}  {'even' if symmetric else 'odd':>6}  {found.mean[number]:>5.2f}"
            f"{deviation:>11.2f}{known[number] + own * found.mean[number]:>12.2f}"
            f"{own * deviation:>12.2f}"
        )
    print("components   rms of the means   of the deviations, even and odd    REAL_SIGMA with this")
    for first, last in itertools.pairwise(GROUPS):
        group = np.arange(first, min(last, len(even)))
        if not len(group):
            break
        parts = [group[even[group]], group[~even[group]]]
        columns = [_rms(found.sigma[part]) for part in parts]
        columns += [_rms(sigma[part] * found.sigma[part]) for part in parts]
        print(
            f"{first:>4} to {group[-1]:<4}{_rms(found.mean[group]):>10.2f}"
            + "".join(f"{value:>14.2f}" for value in columns)
        )


def _rms(values: np.ndarray) -> float:
    """Of any number of values; 0 of none."""
    return float(np.sqrt(np.square(values).mean())) if len(values) else 0.0


if __name__ == "__main__":
    run_command(main)
