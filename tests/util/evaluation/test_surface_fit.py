"""The fit behind the face model's figures: it finds what it was given."""

from __future__ import annotations

import numpy as np
import pytest

from models.face_model import FaceModelData
from models.landmarks import INNER
from util.evaluation.surface_fit import SurfaceFitter, rotation_of
from util.model_files.face_transfer import mean_landmarks, shape_landmarks


def test_a_head_of_the_model_itself_is_found(open_face_data: FaceModelData):
    data = open_face_data
    random = np.random.default_rng(0)
    basis = data.identity_basis[:, :, :12]
    truth = random.normal(size=12)
    fitter = SurfaceFitter(data, basis, np.ones(12))
    shape = fitter.mean + fitter.basis @ truth
    landmarks = fitter.landmarks + fitter.landmark_basis @ truth
    # Points inside the triangles, so that no correspondence is given away.
    corners = fitter.triangles[random.integers(len(fitter.triangles), size=600)]
    shares = random.dirichlet(np.ones(3), size=600)
    points = (shape[corners] * shares[..., None]).sum(axis=1)
    turn, shift = rotation_of(np.array([0.2, -0.3, 0.1])), np.array([3.0, -2.0, 1.0])
    fit = fitter.fit(points @ turn + shift, np.full(600, 1 / 600), landmarks @ turn + shift)
    assert fit.distances_dm.mean() < 2e-4
    assert np.abs(fit.coefficients - truth).mean() < 0.05
    assert np.abs(fit.landmark_offsets_dm[INNER]).max() < 2e-3
    mean = mean_landmarks(data)
    assert np.abs(mean - landmarks).max() > 0.02  # there was something to find


def test_landmarks_and_surface_are_weighed_against_each_other(open_face_data: FaceModelData):
    """The surface of one person with another's landmarks: nearer to the one, farther from the
    other."""
    data = open_face_data
    random = np.random.default_rng(1)
    corners = data.front_triangles[random.integers(len(data.front_triangles), size=600)]
    points = data.mean_shape[corners].mean(axis=1)
    other = data.mean_shape + data.identity_basis @ (data.identity_sigma * random.normal(size=80))
    landmarks = shape_landmarks(data, other)

    def errors(share: float) -> tuple[float, float]:
        fitter = SurfaceFitter(data, data.identity_basis, data.identity_sigma, landmark_share=share)
        fit = fitter.fit(points, np.full(600, 1 / 600), landmarks)
        return fit.distances_dm.mean(), np.linalg.norm(
            fit.landmark_offsets_dm[INNER], axis=1
        ).mean()

    surface, offsets = zip(*(errors(share) for share in (0.01, 1.0)), strict=True)
    assert surface[1] > 1.05 * surface[0]
    assert offsets[1] < 0.5 * offsets[0]


def test_rodrigues_turns_about_its_axis():
    axis = np.array([0.3, -0.2, 0.9])
    assert rotation_of(axis) @ axis == pytest.approx(axis)
    quarter = rotation_of(np.array([0, 0, np.pi / 2]))
    assert quarter @ [1, 0, 0] == pytest.approx([0, 1, 0])
