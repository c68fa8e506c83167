"""Following a known face, and the smoother against a dense solution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from models.batch import FaceBatch
from models.camera import Camera, rotation_angles, rotation_matrix
from models.face_model import FaceModel
from models.fitting import photometric
from models.fitting.fitter import FaceFitter
from models.fitting.gauss_newton import StepRules
from models.fitting.priors import step_rates
from models.fitting.tracking import (
    MOTION,
    QUICK_POSE,
    Smoothness,
    begin,
    eliminate_light,
    motion_of,
    nearness,
    smooth,
    track,
    track_adam,
)
from models.parameters import Coefficients
from models.renderer import Renderer, rasterize
from models.skeleton import rotation_from_axis_angle
from models.stages import reconstruct
from options.face_options import FaceModelOptions
from options.fitting_weights import PUBLIC_WEIGHTS, AdamSchedule, FitWeights, TrackWeights
from util.assets import load_face_model
from util.videos.video_fitting import NEXT_RULES, TRACK_STRIDE


def random_certainties(count: int, size: int) -> np.ndarray:
    roots = np.random.default_rng(1).normal(size=(count, size, size))
    return roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(size)


def quadratic(stiffness: np.ndarray) -> Smoothness:
    """All second differences count alike."""
    return Smoothness(stiffness, {"all": slice(0, len(stiffness))}, {"all": np.inf})


def test_the_smoother_solves_its_system():
    count, size, smoothing = 7, 3, 2.0
    motion, pull = np.random.default_rng(0).normal(size=(2, count, size))
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
        right[part] = certainty[frame] @ motion[frame] + pull[frame]
    expected = np.linalg.solve(dense, right).reshape(count, size)
    found = smooth(motion, certainty, pull, quadratic(stiffness))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_smoother_nears_the_least_of_what_it_minimises():
    count, size = 9, 3
    motion, pull = np.random.default_rng(0).normal(size=(2, count, size))
    certainty, stiffness = random_certainties(count, size), np.array([2.0, 3.0, 1.0])
    blocks, usual = {"expression": slice(0, 2), "angles_rad": slice(2, 3)}, (0.8, 0.5)

    def cost(flat: np.ndarray) -> float:
        moved = flat.reshape(count, size) - motion
        own = np.einsum("ni,nij,nj", moved, certainty, moved) - 2 * (pull * moved).sum()
        bent = np.diff(flat.reshape(count, size), n=2, axis=0) ** 2 * stiffness
        rough = [
            2 * r * (np.sqrt(r**2 + bent[:, part].sum(axis=1)) - r).sum()
            for r, part in zip(usual, blocks.values(), strict=True)
        ]
        return float(own + sum(rough))

    smoothness = Smoothness(stiffness, blocks, dict(zip(blocks, usual, strict=True)))
    found = cost(smooth(motion, certainty, pull, smoothness).ravel())
    least = minimize(cost, motion.ravel(), method="BFGS", options={"gtol": 1e-6}).fun
    unsmoothed = cost(motion.ravel())
    assert least < found < least + 0.01 * (unsmoothed - least)
    alike = cost(smooth(motion, certainty, pull, quadratic(stiffness)).ravel())
    assert alike > least + 3 * (found - least)


def test_a_bend_is_kept_where_noise_is_removed():
    count = 60
    bent = np.abs(np.arange(count) - 30.0)[:, None] * 0.5
    noisy = bent + np.random.default_rng(0).normal(scale=0.1, size=bent.shape)
    certainty, none = np.ones((count, 1, 1)), np.zeros_like(bent)
    blocks, together = {"angles_rad": slice(0, 1)}, np.ones(count - 2, bool)
    stiff = Smoothness.of(noisy, together, np.ones(1), blocks, smoothing=10.0)
    kept = smooth(noisy, certainty, none, stiff) - bent
    softer = smooth(noisy, certainty, none, quadratic(np.array([10.0]))) - bent

    def shaking(error: np.ndarray) -> float:
        return float(np.abs(np.diff(error[:25], n=2, axis=0)).mean())

    assert shaking(kept) < shaking(softer)
    assert abs(kept[28:33]).mean() < abs(softer[28:33]).mean()


def test_cuts_do_not_count_as_motion():
    motion = np.array([0.0, 1, 0, 1, 0, 500, 501, 500, 501])[:, None]
    together = np.array([True, True, True, False, False, True, True])
    blocks = {"angles_rad": slice(0, 1)}
    calm = Smoothness.of(motion, together, np.ones(1), blocks, smoothing=4.0)
    assert calm.usual["angles_rad"] == pytest.approx(QUICK_POSE * 2 * 2)
    resting = Smoothness.of(np.zeros((5, 1)), np.ones(3, bool), np.ones(1), blocks, 4.0)
    assert resting.usual["angles_rad"] == np.inf


def test_one_motion_is_smoothed_alike_at_any_frame_rate():
    def smoothed(rate_hz: float) -> np.ndarray:
        """A nod of a second, at 25 frames a second again."""
        every = int(rate_hz / 25)
        times = np.arange(0, 3, 1 / rate_hz)
        motion = (np.abs(times - 1.5) < 0.5)[:, None] * (1 + np.cos(2 * np.pi * (times - 1.5)))[
            :, None
        ]
        blocks, together = {"angles_rad": slice(0, 1)}, np.ones(len(motion) - 2, bool)
        stiff = Smoothness.of(motion, together, np.ones(1), blocks, 300.0, rate_hz)
        even = replace(stiff, usual={"angles_rad": np.inf})
        ones = np.ones((len(motion), 1, 1))
        return smooth(motion, ones, np.zeros_like(motion), even)[::every]

    ones = np.ones((9, 1))
    broken, quickest = (
        Smoothness.of(ones, ones[2:, 0] > 0, ones[0], {"all": slice(0, 1)}, 1.0, rate).stiffness
        for rate in (90000.0, 120.0)
    )
    assert broken == quickest
    slow, quick = smoothed(25.0), smoothed(100.0)
    assert slow.max() < 1.9  # of 2
    np.testing.assert_allclose(slow, quick, atol=0.02)


def test_straight_motion_stays_and_uncertain_frames_follow_their_neighbours():
    count, size = 20, 2
    line = np.linspace(0, 1, count)[:, None] * [1.0, -2.0]
    certainty = np.tile(np.eye(size), (count, 1, 1))
    none, smoothness = np.zeros_like(line), quadratic(np.full(size, 50.0))
    np.testing.assert_allclose(smooth(line, certainty, none, smoothness), line, atol=1e-6)
    spoilt = line.copy()
    spoilt[9] += 5.0
    certainty[9] *= 1e-6
    smoothness = quadratic(np.ones(size))
    np.testing.assert_allclose(smooth(spoilt, certainty, none, smoothness), line, atol=1e-4)


def test_too_little_to_smooth_stays():
    motion = np.random.default_rng(0).normal(size=(2, 3))
    still = smooth(motion, random_certainties(2, 3), motion, quadratic(np.full(3, 5.0)))
    np.testing.assert_array_equal(still, motion)
    longer = np.random.default_rng(0).normal(size=(5, 3))
    still = smooth(longer, random_certainties(5, 3), longer, quadratic(np.zeros(3)))
    np.testing.assert_array_equal(still, longer)


def test_eliminating_the_light_is_minimising_over_it(tiny_face_model: FaceModel):
    layout = tiny_face_model.layout.only(("expression", "angles_rad", "gamma", "translation_dm"))
    root = torch.randn(layout.size, layout.size, dtype=torch.float64)
    hessian = root @ root.T + torch.eye(layout.size)
    gradient = torch.randn(layout.size, dtype=torch.float64)
    curvature, slope = eliminate_light(hessian, gradient, layout)
    light = torch.zeros(layout.size, dtype=torch.bool)
    light[layout.slices["gamma"]] = True
    # The inverse of a Schur complement is the block of the inverse.
    expected = torch.linalg.inv(torch.linalg.inv(hessian)[~light][:, ~light])
    torch.testing.assert_close(curvature, expected, rtol=1e-6, atol=1e-6)
    step = torch.linalg.solve(hessian, gradient)[~light]
    torch.testing.assert_close(torch.linalg.solve(curvature, slope), step, rtol=1e-6, atol=1e-6)


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


def test_what_is_known_of_a_face_is_not_computed_again(
    photo: tuple[FaceFitter, FaceBatch, torch.Tensor], monkeypatch: pytest.MonkeyPatch
):
    """Person and last rendering change no result, and a look at the start renders nothing."""
    fitter, batch, flat = photo
    person = fitter.face_model.layout.split(flat)
    known, rules, weights = fitter.knowing(person), StepRules(most=3), TrackWeights()
    first = track(fitter, begin(fitter, person, batch), batch, rules, weights)
    darker = replace(batch, images=0.8 * batch.images)
    slow = track(fitter, first.coefficients, darker, rules, weights)
    rendered = []

    def counting(*arguments: Any, **named: Any) -> Any:
        rendered.append(arguments)
        return rasterize(*arguments, **named)

    monkeypatch.setattr(photometric, "rasterize", counting)
    quick = track(known, first.coefficients, darker, rules, weights, rendered=first.rendered)
    assert len(rendered) == int(quick.minimum.tried)
    for name in ("motion", "certainty", "pull"):
        torch.testing.assert_close(getattr(quick, name), getattr(slow, name), rtol=1e-3, atol=1e-4)


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


def test_the_pull_leads_to_where_the_frame_would_be_alone(tiny_face_model: FaceModel, photo):
    """In one step, though the frame is held near to another one."""
    fitter, batch, flat = photo
    layout = tiny_face_model.layout
    elsewhere = flat.clone()
    elsewhere[:, layout.slices["angles_rad"]] += torch.tensor([[0.0, 0.04, 0.0]])
    start = layout.split(elsewhere)
    rules = StepRules(most=20, least_decrease=1e-6)
    free = TrackWeights(
        near_expression=0.0, near_rotation=0.0, near_translation=0.0, near_light=0.0
    )
    alone = track(fitter, start, batch, rules, free)
    held = track(fitter, start, batch, rules, replace(free, near_rotation=30.0))
    led = held.motion + torch.linalg.solve(held.certainty, held.pull)
    yaw = tiny_face_model.layout.only(MOTION).slices["angles_rad"].start + 1
    lag = abs(float(held.motion[yaw] - alone.motion[yaw]))
    assert lag > 0.004 and abs(float(led[yaw] - alone.motion[yaw])) < 0.3 * lag
    # Nothing is left of the slope where nothing held it.
    assert float(alone.pull.abs().max()) < 0.3 * float(held.pull.abs().max())


BLINK = (0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 0.8, 0.4, 0.0, 0.0, 0.0)
"""Of five frames, and how far the lids are closed in each."""


@pytest.fixture(scope="module")
def blink() -> tuple[FaceModel, torch.Tensor, list[FaceBatch]]:
    """A person of the open model who blinks; detected landmarks show 0.7 of it, as dlib's do."""
    model = load_face_model(FaceModelOptions("open@0", jaw_landmarks="silhouette"))
    layout, closing = model.layout, torch.tensor(BLINK)[:, None]
    draw = torch.Generator().manual_seed(3)
    flat = torch.zeros(len(BLINK), layout.size)
    for name in ("identity", "texture"):
        flat[:, layout.slices[name]] = 0.8 * torch.randn(1, 80, generator=draw)
    lids = model.units({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    flat[:, layout.slices["angles_rad"].start + 1] = 0.1
    less = flat.clone()
    flat[:, layout.slices["expression"]] = closing * lids
    less[:, layout.slices["expression"]] = 0.7 * closing * lids
    seen, marked = (
        reconstruct(model, Renderer(), Camera.rnet(), layout.split(faces)) for faces in (flat, less)
    )
    assert seen.rendering.image is not None
    images = torch.where(seen.rendering.mask > 0, seen.rendering.image.clamp(0, 1), 0.4)
    noise = torch.randn(marked.posed.landmarks_px.shape, generator=draw)
    points = marked.posed.landmarks_px + 0.7 * noise
    batches = [
        FaceBatch(images[k : k + 1], ("",), points[k : k + 1], skin_mask=torch.ones(1, 1, 224, 224))
        for k in range(len(BLINK))
    ]
    return model, flat, batches


def depth_of_blink(model: FaceModel, flat: torch.Tensor) -> float:
    """How much less the eyes are open at its height than before, over their width."""
    faces = model.layout.split(flat)
    points = model.landmarks(model.shape(faces.identity, faces.expression))

    def distance(one: int, other: int) -> torch.Tensor:
        return (points[:, one] - points[:, other]).norm(dim=1)

    gaps = distance(37, 41) + distance(38, 40) + distance(43, 47) + distance(44, 46)
    opening = gaps / (2 * (distance(36, 39) + distance(42, 45)))
    return float(opening[:3].mean() - opening.min())


def follow(
    model: FaceModel,
    batches: list[FaceBatch],
    person: Coefficients,
    weights: TrackWeights,
    stride: int = 4,
) -> torch.Tensor:
    """The tracked and smoothed coefficients."""
    fitter = FaceFitter(model, Camera.rnet(), Renderer())
    fitter = fitter.weighing(weights.of_known_face(fitter.weights))
    last, frames = begin(fitter, person, batches[0]), []
    for batch in batches:
        frames.append(track(fitter, last, batch, NEXT_RULES, weights, stride))
        last = frames[-1].minimum.evaluation.coefficients
    motion, certainty, pull = (
        torch.stack([getattr(frame, name) for frame in frames]).double().numpy()
        for name in ("motion", "certainty", "pull")
    )
    usual = np.median(certainty.diagonal(axis1=1, axis2=2), axis=0)
    blocks = {"expression": slice(0, 64), "pose": slice(64, motion.shape[1])}
    together = np.ones(len(motion) - 2, bool)
    smoothness = Smoothness.of(motion, together, usual, blocks, weights.smoothing)
    smoothed = smooth(motion, certainty, pull, smoothness)
    flat = model.layout.join(last).repeat(len(batches), 1)
    flat[:, model.layout.slices["expression"]] = torch.from_numpy(smoothed[:, :64]).float()
    return flat


def test_a_blink_is_followed(blink: tuple[FaceModel, torch.Tensor, list[FaceBatch]]):
    """Though the frames before it hold the lids open, and the landmarks a little."""
    model, flat, batches = blink
    person, true = model.layout.split(flat[:1]), depth_of_blink(model, flat)
    assert true > 0.2
    depth = depth_of_blink(model, follow(model, batches, person, TrackWeights()))
    assert depth > 0.85 * true
    closer = follow(model, batches, person, TrackWeights(), TRACK_STRIDE["best"])
    assert depth_of_blink(model, closer) > 1.01 * depth
    # As frames were once held: what a change of these weights would bring back.
    held = TrackWeights(
        near_expression=0.015, known_colour=1.0, known_expression=1.0, known_landmarks=1.0
    )
    assert depth_of_blink(model, follow(model, batches, person, held)) < 0.8 * depth


def test_weights_that_reward_jumps_are_refused():
    with pytest.raises(ValueError, match=r"--smoothing is -1\.0"):
        TrackWeights(smoothing=-1.0)
    with pytest.raises(ValueError, match=r"--known_colour is 0\.0; it must be above 0"):
        TrackWeights(known_colour=0.0)


def test_frames_of_a_known_face_weigh_otherwise(tiny_face_model: FaceModel):
    weights = FitWeights(robust_colour=0.2, w_expression=0.4)
    changed = TrackWeights(known_colour=2.0, known_expression=0.5, known_landmarks=3.0)
    known = changed.of_known_face(weights)
    three = 3 * weights.w_landmarks
    assert known == FitWeights(robust_colour=0.4, w_expression=0.2, w_landmarks=three)
    assert changed.of_known_face(PUBLIC_WEIGHTS).robust_colour == float("inf")
    fitter = FaceFitter(tiny_face_model, Camera.rnet(), Renderer(), weights)
    layout = tiny_face_model.layout
    other = fitter.weighing(known)
    assert other.tables is fitter.tables and fitter.weights == weights
    face = layout.split(torch.ones(1, layout.size))
    costs = [
        float(term.energy(term.look(face)))
        for term in (one.priors_of(layout)["expression"] for one in (fitter, other))
    ]
    assert costs[1] == pytest.approx(0.5 * costs[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_follows_a_face_as_the_cpu_does(tiny_face_model: FaceModel, photo):
    """By either way of stepping, of a person who is known."""
    fitter, batch, true = photo
    schedule, frames = AdamSchedule(rigid_steps=20, steps=20), []
    for device in ("cpu", "cuda"):
        model, there = tiny_face_model.to(device), batch.to(device)
        person = model.layout.split(true.to(device))
        known = FaceFitter(model, Camera.rnet().to(device), Renderer("torch"), fitter.weights)
        known = known.knowing(person)
        start = begin(known, person, there)
        first = track(known, start, there, NEXT_RULES, TrackWeights())
        rendered = first.rendered
        frames.append(
            [
                first,
                track(known, first.coefficients, there, NEXT_RULES, TrackWeights(), 4, rendered),
                track_adam(known, start, there, schedule, TrackWeights(), is_first=True),
            ]
        )
    # Adam's steps of constant length turn rounding into hundredths: the CPU's own end lies 0.02
    # from itself where the photo differs by 1e-7. Gauss-Newton steps end within 1e-5 then.
    bounds = ((1e-3, 1e-3), (1e-3, 1e-3), (0.05, 0.1))
    for on_cpu, on_gpu, (motion, share) in zip(*frames, bounds, strict=True):
        assert on_gpu.motion.is_cuda
        torch.testing.assert_close(on_gpu.motion.cpu(), on_cpu.motion, rtol=0, atol=motion)
        certainty = share * float(on_cpu.certainty.abs().max())
        torch.testing.assert_close(on_gpu.certainty.cpu(), on_cpu.certainty, rtol=0, atol=certainty)
