"""Poses and crops of the faces for SynergyNet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from data.synthetic.crops import CropSampler, own_angles, sample_label_angles_deg
from models.camera import rotation_matrix
from models.face_model import FaceModel
from models.stages import pose_face, shape_face
from models.synergy.parameters import SynergyLayout

LAYOUT = SynergyLayout(shape=2, expression=1)


def test_angles_turn_the_same_way_in_both_conventions():
    for seed in range(20):
        rotation = Rotation.random(None, np.random.default_rng(seed)).as_matrix()
        angles = torch.from_numpy(own_angles(rotation))[None]
        np.testing.assert_allclose(rotation_matrix(angles)[0], rotation, atol=1e-12)


def test_training_turns_heads_to_both_profiles():
    drawn = [sample_label_angles_deg(np.random.default_rng(i), "training", i) for i in range(2000)]
    pitch, yaw, roll = np.array(drawn).T
    assert yaw.min() < -80 and yaw.max() > 80 and np.abs(yaw).max() <= 90
    assert 0.15 < np.mean(np.abs(yaw) > 60) < 0.25 and np.abs([pitch, roll]).max() <= 40


def test_a_benchmark_has_the_ends_of_the_bins_and_a_few_upside_down():
    drawn = [sample_label_angles_deg(np.random.default_rng(i), "benchmark", i) for i in range(200)]
    yaws, rolls = np.array(drawn)[:, 1], np.array(drawn)[:, 2]
    for yaw in (0, 30, -30, 60, -60, 85, -85):
        assert (yaws == yaw).sum() >= 2
    assert np.flatnonzero(np.abs(rolls) > 99).tolist() == [99, 199]


@pytest.mark.parametrize("kind", ["training", "benchmark", "wide"])
def test_crops_lie_around_the_landmarks(tiny_face_model: FaceModel, kind):
    faces = CropSampler(tiny_face_model, LAYOUT, 120, kind).sample(0, range(40))
    sides = []
    for flat, camera in zip(faces.coefficients, faces.cameras, strict=True):
        c = tiny_face_model.layout.split(torch.from_numpy(flat)[None])
        assert c.identity[0, 2] == 0 and c.expression[0, 1] == 0  # beyond the layout
        posed = pose_face(tiny_face_model, shape_face(tiny_face_model, c), c, camera)
        points = posed.landmarks_px[0].numpy()
        box = np.ptp(points, axis=0)
        sides.append(120 / box.max())
        if kind == "benchmark":
            np.testing.assert_allclose(sides[-1], np.sqrt(2), rtol=1e-4)
            np.testing.assert_allclose((points.min(axis=0) + points.max(axis=0)) / 2, 60, atol=1e-2)
    low, high = {"training": (1.1, 1.9), "benchmark": (1.4, 1.42), "wide": (1.69, 2.41)}[kind]
    assert low < min(sides) and max(sides) < high


def test_a_face_follows_from_seed_and_number(tiny_face_model: FaceModel):
    sampler = CropSampler(tiny_face_model, LAYOUT, 120, "training")
    first, again = sampler.sample(3, [5, 6]), sampler.sample(3, [6])
    assert np.array_equal(first.coefficients[1], again.coefficients[0])
    assert torch.equal(first.cameras[1].centre_px, again.cameras[0].centre_px)
