"""Following a known face, and the smoother against a dense solution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.batch import FaceBatch
from models.camera import Camera, rotation_angles, rotation_matrix
from models.face_model import FaceModel
from models.fitting.fitter import FaceFitter
from models.fitting.gauss_newton import StepRules
from models.fitting.priors import step_rates
from models.fitting.tracking import (
    MOTION,
    TrackWeights,
    begin,
    eliminate_light,
    motion_of,
    nearness,
    smooth,
    track,
)
from models.renderer import Renderer
from models.skeleton import rotation_from_axis_angle
from models.stages import reconstruct


def random_certainties(count: int, size: int) -> np.ndarray:
    roots = np.random.default_rng(1).normal(size=(count, size, size))
    return roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(size)


def test_the_smoother_solves_its_system():
    count, size, smoothing = 7, 3, 2.0
    motion = np.random.default_rng(0).normal(size=(count, size))
    certainty = random_certainties(count, size)
    second = np.zeros((count - 2, count))
    for row in range(count - 2):
        second[row, row : row + 3] = 1, -2, 1
    stiffness = smoothing * np.median(certainty[:, range(size), range(size)], axis=0)
    dense = np.kron(second.T @ second, np.diag(stiffness))
    right = np.zeros(count * size)
    for frame in range(count):
        part = slice(frame * size, (frame + 1) * size)
        dense[part, part] += certainty[frame]
        right[part] = certainty[frame] @ motion[frame]
    expected = np.linalg.solve(dense, right).reshape(count, size)
    np.testing.assert_allclose(smooth(motion, certainty, stiffness), expected, rtol=1e-6)


def test_straight_motion_stays_and_uncertain_frames_follow_their_neighbours():
    count, size = 20, 2
    line = np.linspace(0, 1, count)[:, None] * [1.0, -2.0]
    certainty = np.tile(np.eye(size), (count, 1, 1))
    np.testing.assert_allclose(smooth(line, certainty, np.full(size, 50.0)), line, atol=1e-6)
    spoilt = line.copy()
    spoilt[9] += 5.0
    certainty[9] *= 1e-6
    np.testing.assert_allclose(smooth(spoilt, certainty, np.ones(size)), line, atol=1e-4)


def test_too_little_to_smooth_stays():
    motion = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_array_equal(smooth(motion, random_certainties(2, 3), np.full(3, 5.0)), motion)
    longer = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(smooth(longer, random_certainties(5, 3), np.zeros(3)), longer)


def test_eliminating_the_light_is_minimising_over_it(tiny_face_model: FaceModel):
    layout = tiny_face_model.layout.only(("expression", "angles_rad", "gamma", "translation_dm"))
    root = torch.randn(layout.size, layout.size, dtype=torch.float64)
    hessian = root @ root.T + torch.eye(layout.size)
    reduced = eliminate_light(hessian, layout)
    light = torch.zeros(layout.size, dtype=torch.bool)
    light[layout.slices["gamma"]] = True
    # The inverse of a Schur complement is the block of the inverse.
    expected = torch.linalg.inv(torch.linalg.inv(hessian)[~light][:, ~light])
    torch.testing.assert_close(reduced, expected, rtol=1e-6, atol=1e-6)


def test_rates_of_steps_are_those_of_the_angles(tiny_face_model: FaceModel):
    layout = tiny_face_model.layout.only(MOTION)
    coefficients = tiny_face_model.layout.zeros(1).to(torch.float64)
    angles = torch.tensor([[0.2, -0.6, 0.4]], dtype=torch.float64)
    coefficients = type(coefficients)(**{**dict(coefficients.items()), "angles_rad": angles})
    rates = step_rates(layout, coefficients)[0]
    part = layout.slices["angles_rad"]
    small = 1e-6
    for axis in range(3):
        turn = rotation_from_axis_angle(small * torch.eye(3, dtype=torch.float64)[axis : axis + 1])
        moved = rotation_angles(turn @ rotation_matrix(angles))
        torch.testing.assert_close(
            (moved - angles)[0] / small, rates[part, part][:, axis], rtol=1e-4, atol=1e-5
        )
    assert torch.equal(rates[0], torch.eye(layout.size, dtype=torch.float64)[0])


@pytest.fixture
def photo(tiny_face_model: FaceModel) -> tuple[FaceFitter, FaceBatch, torch.Tensor]:
    """A rendered face, its batch, and its coefficients."""
    layout = tiny_face_model.layout
    flat = torch.zeros(1, layout.size)
    flat[:, layout.slices["identity"]] = torch.tensor([[1.0, -0.5, 0.8]])
    flat[:, layout.slices["expression"]] = torch.tensor([[0.3, -1.0]])
    flat[:, layout.slices["angles_rad"]] = torch.tensor([[0.05, 0.2, -0.1]])
    camera, renderer = Camera.rnet(), Renderer()
    made = reconstruct(tiny_face_model, renderer, camera, layout.split(flat))
    assert made.rendering.image is not None
    batch = FaceBatch(
        made.rendering.image.clamp(0, 1),
        ("",),
        made.posed.landmarks_px,
        skin_mask=torch.ones(1, 1, 224, 224),
    )
    return FaceFitter(tiny_face_model, camera, renderer), batch, flat


def test_a_known_face_is_found_in_the_next_frame(tiny_face_model: FaceModel, photo):
    fitter, batch, flat = photo
    layout = tiny_face_model.layout
    true = layout.split(flat)
    start = begin(fitter, true, batch)
    assert torch.equal(start.identity, true.identity)
    free = TrackWeights(
        near_expression=0.0, near_rotation=0.0, near_translation=0.0, near_light=0.0
    )
    found = track(fitter, start, batch, StepRules(most=20), free)
    after = found.minimum.evaluation.coefficients
    assert torch.equal(after.identity, true.identity) and torch.equal(after.texture, true.texture)
    torch.testing.assert_close(after.angles_rad, true.angles_rad, atol=0.02, rtol=0)
    torch.testing.assert_close(found.motion, motion_of(after)[0])
    assert float(torch.linalg.eigvalsh(found.certainty.double()).min()) > -1e-6


def test_nearness_holds_a_frame_to_the_one_before(tiny_face_model: FaceModel, photo):
    fitter, batch, flat = photo
    layout = tiny_face_model.layout
    elsewhere = flat.clone()
    elsewhere[:, layout.slices["angles_rad"]] += torch.tensor([[0.0, 0.1, 0.0]])
    start = layout.split(elsewhere)
    loose = track(fitter, start, batch, StepRules(most=10), TrackWeights(near_rotation=0.0))
    stiff = track(fitter, start, batch, StepRules(most=10), TrackWeights(near_rotation=1e6))
    yaw = start.angles_rad[0, 1]
    moved = [
        abs(float(t.minimum.evaluation.coefficients.angles_rad[0, 1] - yaw)) for t in (loose, stiff)
    ]
    assert moved[0] > 0.08 and moved[1] < 1e-3
    # Energy is counted in each block's own unit.
    term = nearness(start, layout.only(("expression",)), TrackWeights(near_expression=2.0))
    other = layout.split(elsewhere + 1.0)
    sigma = tiny_face_model.expression_sigma
    torch.testing.assert_close(term.energy(other), (2 / sigma.square()).sum()[None])


def test_weights_that_reward_jumps_are_refused():
    with pytest.raises(ValueError, match=r"--smoothing is -1\.0"):
        TrackWeights(smoothing=-1.0)
