"""Random expressions: how they are distributed, and that the open model's file says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.synthetic.expressions import ExpressionSampler, sample_angles
from models.face_model import FaceModel, FaceModelData
from options.face_options import FaceModelOptions
from util.assets import read_chosen_face_model


def drawn(sampler: ExpressionSampler, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([sampler.draw(rng, sample_angles(rng), 0.3) for _ in range(count)])


def test_natural_expressions_are_alike_on_both_sides(open_face_data: FaceModelData):
    """The mirror image of a face is as likely, but for the sides that were drawn."""
    natural, parity = open_face_data.natural_expression, open_face_data.parities["expression"]
    assert natural is not None
    deviations = np.sqrt(natural.covariance.diagonal())
    odd = parity < 0
    assert np.abs(natural.mean[odd] / deviations[odd]).max() < 0.05
    correlations = natural.covariance / np.outer(deviations, deviations)
    assert np.abs(correlations[odd][:, ~odd]).max() < 0.1
    assert np.linalg.norm(natural.mean / deviations) > 1


def test_units_that_contradict_each_other_do_not_come_together(open_face_data: FaceModelData):
    names = list(open_face_data.unit_names)
    # Strengths themselves, without noise: each unit is its own coefficient.
    strengths = drawn(ExpressionSampler(names, np.eye(52), np.zeros(52)), 3000, 3)

    def of(name: str) -> np.ndarray:
        return strengths[:, names.index(name)]

    assert not of("mouthClose").any()  # it would close lips that no jaw has opened
    for part in ("jaw", "mouth"):
        left, right = of(f"{part}Left"), of(f"{part}Right")
        assert (left > 0.1).mean() > 0.01 and (right > 0.1).mean() > 0.01
        # Both only where they were drawn one after the other.
        assert ((left > 0.1) & (right > 0.1)).mean() < 0.005
    # Sides of one unit do come together.
    both = (of("mouthSmileLeft") > 0.1) & (of("mouthSmileRight") > 0.1)
    assert both.mean() > 0.8 * (of("mouthSmileLeft") > 0.1).mean()


def test_eyes_look_up_and_down_a_part_of_their_way(open_face_model: FaceModel):
    """And sideways all of it: of the same random numbers."""
    sampler, names = ExpressionSampler.of(open_face_model), list(open_face_model.unit_names)
    inverse = np.linalg.pinv(open_face_model.unit_matrix.numpy())

    def looks(up_share: float, unit: str) -> np.ndarray:
        rng = np.random.default_rng(5)
        drawn = [sampler.draw(rng, sample_angles(rng), up_share) for _ in range(60)]
        return (np.stack(drawn) @ inverse)[:, names.index(unit)]

    for unit, share in (("eyeLookDownLeft", 0.25), ("eyeLookOutLeft", 1.0)):
        whole, part = looks(1.0, unit), looks(0.25, unit)
        turned = (whole > 0.1) & (whole < 0.95)
        assert turned.any()
        np.testing.assert_allclose(part[turned], share * whole[turned], atol=0.08)


def test_the_open_model_knows_how_faces_in_photographs_look(open_face_data: FaceModelData):
    """Its file is of the sampler: other faces of it lie about its mean as its covariance says."""
    natural = open_face_data.natural_expression
    assert natural is not None
    samples = drawn(ExpressionSampler.of(FaceModel(open_face_data)), 1500, 11)
    variances = natural.covariance.diagonal()
    errors = (samples.mean(axis=0) - natural.mean) / np.sqrt(variances / len(samples))
    assert np.abs(errors).max() < 4
    offsets = samples - natural.mean
    squared = (offsets * np.linalg.solve(natural.covariance.astype(float), offsets.T).T).sum(axis=1)
    assert squared.mean() == pytest.approx(len(natural.mean), rel=0.1)


@pytest.mark.parametrize("level", [0, 2])
def test_all_levels_know_the_same(level: int, open_face_data: FaceModelData):
    data, _ = read_chosen_face_model(FaceModelOptions(face_model=f"open@{level}"))
    ours, theirs = open_face_data.natural_expression, data.natural_expression
    assert ours is not None and theirs is not None
    np.testing.assert_array_equal(ours.mean, theirs.mean)
    np.testing.assert_array_equal(ours.covariance, theirs.covariance)


def test_eyes_of_photographs_are_less_open_than_neutral_ones(open_face_data: FaceModelData):
    model, natural = FaceModel(open_face_data), open_face_data.natural_expression
    assert natural is not None
    both = torch.stack([torch.zeros(len(natural.mean)), torch.from_numpy(natural.mean)])
    points = model.landmarks(model.shape(torch.zeros(2, len(open_face_data.identity_sigma)), both))
    neutral, usual = (points[:, [41, 40, 47, 46], 1] - points[:, [37, 38, 43, 44], 1]).mean(dim=1)
    assert 0.6 < usual / neutral < 0.9
