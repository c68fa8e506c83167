"""Telling people apart: the AUC of known cases, who counts as alike, and who is rendered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.face_model_identity import (
    IdentityFigureOptions,
    People,
    alike_pairs,
    auc,
    pair_distances,
    photograph,
    report,
    unlikeness,
)
from models.face_model import FaceModel
from util.errors import InputError


def brute_force_auc(same: np.ndarray, different: np.ndarray) -> float:
    wins = (same[:, None] < different) + 0.5 * (same[:, None] == different)
    return float(wins.mean())


def test_auc_of_known_cases():
    assert auc(np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])) == 1
    assert auc(np.array([0.9]), np.array([0.3, 0.4])) == 0
    assert auc(np.array([0.5, 0.5]), np.array([0.5])) == 0.5
    assert auc(np.array([1.0, 3.0]), np.array([2.0, 4.0])) == 0.75


def test_auc_equals_the_share_of_pairs_in_order():
    random = np.random.default_rng(0)
    same = random.integers(0, 8, 40) / 10
    different = random.integers(3, 12, 70) / 10
    assert auc(same, different) == pytest.approx(brute_force_auc(same, different))


def test_auc_of_two_normal_distributions():
    random = np.random.default_rng(1)
    same, different = random.normal(0, 1, 4000), random.normal(1.5, 1, 4000)
    # Phi(d / sqrt 2) with d = 1.5.
    assert auc(same, different) == pytest.approx(0.8556, abs=0.01)


def test_people_differ_by_what_their_coefficients_change():
    basis = np.array([[3.0, 0.0], [3.0, 0.01]])
    apart = unlikeness(np.array([[0.0, 5.0], [0.0, -5.0], [1.0, 0.0]]), basis)
    assert apart[0, 1] < 0.1 * apart[0, 2]
    assert np.square(apart[np.triu_indices(3, 1)]).mean() == pytest.approx(1)
    assert (unlikeness(np.zeros((3, 2)), basis) == 0).all()


def test_the_nearest_in_skin_and_shape_are_alike(tiny_face_model: FaceModel):
    random = np.random.default_rng(2)
    texture, identity = random.normal(size=(20, 3)), random.normal(size=(20, 3))
    texture[7], identity[7] = texture[3] + 0.01, identity[3] - 0.01
    people = People(np.zeros((20, 1)), np.arange(20), texture, identity)
    alike = alike_pairs(people, tiny_face_model)
    assert alike[3, 7] and alike[7, 3]
    assert not alike.diagonal().any()
    assert alike.sum() / 2 == pytest.approx(19, abs=1)  # a tenth of 190 pairs


def test_pairs_are_sorted_by_who_they_show(capsys: pytest.CaptureFixture[str]):
    place = np.array([0.0, 0.1, 1.0, 1.1, 5.0, 5.1])
    people = People(
        place[:, None], np.array([0, 0, 1, 1, 2, 2]), np.zeros((3, 1)), np.zeros((3, 1))
    )
    distances = np.abs(place[:, None] - place)
    distances[0, 1] = distances[1, 0] = 2.0  # as far as no two people but the first and third are
    alike = np.zeros((3, 3), dtype=bool)
    alike[0, 1] = alike[1, 0] = True
    report(people, distances, alike)
    printed = capsys.readouterr().out
    assert "3 pairs of one person" in printed and "12 of two" in printed
    # Of the pairs of two people 4 of 12 are nearer than the far pair; all 4 of the alike are.
    assert f"AUC {(12 + 12 + 8) / 36:.4f}" in printed
    assert f"AUC among those alike {8 / 12:.4f}" in printed


class Crops:
    """A network that keeps what it is shown."""

    template = torch.tensor([[30.0, 30], [70, 30], [50, 50], [35, 70], [65, 70]])

    def __init__(self) -> None:
        self.transforms: list[Tensor] = []

    def __call__(self, images: Tensor, transforms: Tensor) -> Tensor:
        self.transforms.append(transforms)
        return images.mean(dim=(2, 3))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.linalg.vector_norm(a - b, dim=-1)


def test_a_person_keeps_face_and_skin_and_nothing_else(
    open_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    from data.synthetic.rendering import SceneRenderer

    drawn: list[np.ndarray] = []
    render = SceneRenderer.render

    def watched(self, faces, seed, indices):
        drawn.append(faces.coefficients.copy())
        return render(self, faces, seed, indices)

    monkeypatch.setattr(SceneRenderer, "render", watched)
    net = Crops()
    wanted = IdentityFigureOptions(people=3, renders_each=2)
    people = photograph(open_face_model, net, wanted)  # pyright: ignore[reportArgumentType]
    assert people.embeddings.shape == (6, 3)
    assert people.person.tolist() == [0, 0, 1, 1, 2, 2]
    flat, slices = np.concatenate(drawn), open_face_model.layout.slices
    for name in ("identity", "texture"):
        assert (flat[::2, slices[name]] == flat[1::2, slices[name]]).all()
        assert (flat[0, slices[name]] != flat[2, slices[name]]).any()
    for name in ("expression", "angles_rad", "gamma"):
        assert (flat[::2, slices[name]] != flat[1::2, slices[name]]).any(axis=1).all()
    assert torch.cat(net.transforms).shape == (6, 2, 3)
    distances = pair_distances(net, people.embeddings)  # pyright: ignore[reportArgumentType]
    assert distances == pytest.approx(distances.T)
    assert (distances.diagonal() == 0).all() and (distances + np.eye(6) > 0).all()


@pytest.mark.parametrize(("flag", "value"), [("people", 2), ("renders_each", 1)])
def test_counts_without_pairs_are_refused(flag: str, value: Any):
    with pytest.raises(InputError, match=f"--{flag} is {value}"):
        IdentityFigureOptions(**{flag: value})
