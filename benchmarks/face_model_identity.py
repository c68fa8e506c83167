"""Whether a recognition network tells the face model's people apart.

Each person is rendered several times with other pose, light, expression, hair and backdrop. The
network's distances of all pairs of renders are compared: AUC is the probability that two renders of
one person are nearer to each other than two of different people. So against all others, and against
those alike in skin and in the main directions of shape, where tone, sex and age do not help.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.stats import rankdata

from models.face_model import FaceModel
from models.landmarks import five_from_68, to_index
from models.networks.recognition import RecognitionNet
from models.similarity import estimate_similarity
from options.face_options import CROP_PX
from util.errors import InputError
from util.studio import Studio

FIRST_SHAPES = 5
"""Components of identity that make people alike: those that move the face most."""
ALIKE_SHARE = 0.1
"""Share of the pairs of different people that count as alike: the nearest."""
MAX_YAW_DEG = 40.0
AIM = 0.95
BATCH = 20


@dataclass(frozen=True)
class IdentityFigureOptions:
    """Whom the recognition network sees."""

    people: int = 250
    """Random people."""
    renders_each: int = 4
    """Renders of each."""
    shared: Literal["nothing", "texture", "shape"] = "nothing"
    """What all people have in common, the mean's: says how much each of the two tells of them."""
    identity_seed: int = 78
    """Random seed of the renders."""

    def __post_init__(self) -> None:
        """Refuse what gives no pairs."""
        if self.people < 3:
            raise InputError(f"--people is {self.people}; it must be at least 3")
        if self.renders_each < 2:
            raise InputError(f"--renders_each is {self.renders_each}; it must be at least 2")


@dataclass(frozen=True)
class People:
    """Renders of people as the network sees them. N renders of M people."""

    embeddings: np.ndarray
    """(N, K) of the network."""
    person: np.ndarray
    """(N,) number of the person."""
    texture: np.ndarray
    """(M, T) coefficients of each person."""
    identity: np.ndarray
    """(M, I)"""


def auc(same: np.ndarray, different: np.ndarray) -> float:
    """Probability that a pair of one person is nearer than one of two, ties counting half.

    Mann and Whitney's U statistic over the product of the counts.

    Args:
        same: (S,) distances of pairs of one person.
        different: (D,) distances of pairs of different people.
    """
    ranks = rankdata(np.concatenate([different, same]))
    wins = ranks[: len(different)].sum() - len(different) * (len(different) + 1) / 2
    return float(wins / (len(same) * len(different)))


def unlikeness(coefficients: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """How different people are, (M, M), in units of what is usual between two of them.

    Args:
        coefficients: (M, K)
        basis: (E, K) what each changes, such as the colours of the skin.
    """
    effect = coefficients * np.sqrt(np.square(basis).mean(axis=0))
    squared = np.square(effect[:, None] - effect[None]).sum(axis=2)
    usual = squared[np.triu_indices(len(squared), 1)].mean()
    return np.sqrt(squared / usual) if usual > 0 else squared


def alike_pairs(people: People, face_model: FaceModel) -> np.ndarray:
    """(M, M) bool: which two people are alike in skin and main shape, never one and the same."""
    skin = face_model.skin_mask.numpy() > 0.5
    # Rows of the bases are components; colours and positions come after each other.
    albedo = face_model.albedo_basis.unflatten(1, (-1, 3)).numpy()[:, skin]
    colour = albedo.reshape(len(albedo), -1).T
    shape = face_model.shape_basis[: people.identity.shape[1]].numpy().T
    sizes = np.square(shape).mean(axis=0) * np.square(face_model.identity_sigma.numpy())
    first = np.argsort(-sizes)[:FIRST_SHAPES]
    apart = np.hypot(
        unlikeness(people.texture, colour),
        unlikeness(people.identity[:, first], shape[:, first]),
    )
    pairs = np.triu_indices(len(apart), 1)
    limit = np.quantile(apart[pairs], ALIKE_SHARE)
    return (apart <= limit) & ~np.eye(len(apart), dtype=bool)


def photograph(face_model: FaceModel, net: RecognitionNet, wanted: IdentityFigureOptions) -> People:
    """Draw people, render and embed them."""
    studio = Studio(face_model, CROP_PX, seed=wanted.identity_seed)
    numbers = studio.numbers(wanted.people * wanted.renders_each, MAX_YAW_DEG)
    person = np.repeat(np.arange(wanted.people), wanted.renders_each)
    # Each person is who its first picture would show.
    flat = studio.coefficients(numbers[:: wanted.renders_each])
    slices = face_model.layout.slices
    texture, identity = flat[:, slices["texture"]], flat[:, slices["identity"]]
    if wanted.shared == "texture":
        texture = np.zeros_like(texture)
    elif wanted.shared == "shape":
        identity = np.zeros_like(identity)
    blocks = {"texture": texture[person], "identity": identity[person]}
    renders = list(studio.take(numbers, "cluttered", blocks))
    embeddings = []
    for start in range(0, len(renders), BATCH):
        part = renders[start : start + BATCH]
        images = torch.from_numpy(np.stack([r.picture for r in part])).permute(0, 3, 1, 2) / 255.0
        points = torch.from_numpy(np.stack([r.landmarks_px for r in part]))
        five = to_index(five_from_68(points), "centre")
        with torch.inference_mode():
            embeddings.append(net(images, estimate_similarity(five, net.template)).numpy())
    return People(np.concatenate(embeddings), person, texture, identity)


def pair_distances(net: RecognitionNet, embeddings: np.ndarray) -> np.ndarray:
    """(N, N) the network's distances of all pairs."""
    rows = torch.from_numpy(embeddings)
    return np.stack([net.distance(row.expand_as(rows), rows).numpy() for row in rows])


def report(people: People, distances: np.ndarray, alike: np.ndarray) -> None:
    """Print the figures of all pairs."""
    first, second = np.triu_indices(len(distances), 1)
    one, other = people.person[first], people.person[second]
    values = distances[first, second]
    same, different = values[one == other], values[one != other]
    near = values[alike[one, other]]
    print(
        f"{len(alike)} people, {len(distances)} renders: {len(same)} pairs of one person at "
        f"{same.mean():.3f}, {len(different)} of two at {different.mean():.3f}"
    )
    print(f"AUC {auc(same, different):.4f} (aim {AIM})")
    print(
        f"AUC among those alike {auc(same, near):.4f} (aim {AIM}): the nearest "
        f"{100 * ALIKE_SHARE:.0f} % of the pairs of people in skin and first {FIRST_SHAPES} "
        f"components of shape, at {near.mean():.3f}"
    )
