"""Fitted coefficients under augmentation: their landmarks stay on those of the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.augmentation import Warp
from data.base_dataset import FaceSample
from data.exact_warp import turn_coefficients
from data.fit_warp import shift_coefficients, warp_coefficients, warp_fit
from models.camera import Camera, rotation_matrix
from models.face_model import FaceModel
from models.lighting import irradiance
from models.stages import pose_face, shape_face
from options.data_options import AugmentationOptions

CAMERA = Camera.rnet()
SIZE = (CAMERA.width, CAMERA.height)


@pytest.fixture(scope="module")
def face_model(open_face_data) -> FaceModel:
    return FaceModel(open_face_data)


def random_face(face_model: FaceModel, seed: int) -> np.ndarray:
    """Turned, off the centre, lit from somewhere."""
    random, parts = np.random.default_rng(seed), face_model.layout.slices
    flat = random.normal(size=face_model.layout.size)
    flat[parts["angles_rad"]] = random.uniform(-0.6, 0.6, 3)
    flat[parts["translation_dm"]] = random.uniform(-0.15, 0.15, 3)
    flat[parts["gamma"]] = random.normal(scale=0.2, size=27)
    return flat.astype(np.float32)


def landmarks(face_model: FaceModel, flat: np.ndarray) -> np.ndarray:
    """(68, 2) pixel indices."""
    coefficients = face_model.layout.split(torch.from_numpy(flat)[None])
    posed = pose_face(face_model, shape_face(face_model, coefficients), coefficients, CAMERA)
    return posed.landmarks_px[0].double().numpy() - 0.5


def distances(face_model: FaceModel, flat: np.ndarray, warp: Warp) -> np.ndarray:
    """(68,) pixels between the landmarks of the warped coefficients and the warped landmarks."""
    expected = warp.apply_to_landmarks(landmarks(face_model, flat), SIZE)
    warped = warp_coefficients(flat, warp, face_model.layout, CAMERA)
    assert warped.dtype == np.float32
    return np.linalg.norm(landmarks(face_model, warped) - expected, axis=1)


# Landmarks of the model's two sides agree to a few hundredths of a pixel.
CASES = {
    "nothing": (Warp(), 0.0),
    "flip": (Warp(flip=True), 0.35),
    "rotation": (Warp(angle_rad=0.17), 0.005),
    "shift": (Warp(shift_px=(10, -10)), 0.2),
    "scale up": (Warp(scale=1.1), 0.7),
    "scale down": (Warp(scale=0.9), 0.7),
    "all": (Warp(flip=True, shift_px=(-7, 10), scale=1.08, angle_rad=-0.15), 0.9),
}


@pytest.mark.parametrize("case", CASES)
def test_landmarks_follow_each_change(face_model: FaceModel, case: str):
    warp, limit = CASES[case]
    for seed in range(5):
        found = distances(face_model, random_face(face_model, seed), warp)
        assert found.max() <= limit
        assert found.mean() <= limit / 2


def test_what_the_coefficients_would_miss_without_following(face_model: FaceModel):
    """The limits above mean something: each change moves landmarks by far more."""
    flat = random_face(face_model, 0)
    before = landmarks(face_model, flat)
    for warp, limit in CASES.values():
        moved = np.linalg.norm(warp.apply_to_landmarks(before, SIZE) - before, axis=1).mean()
        assert moved > 5 * limit or warp == Warp()


def test_all_drawn_changes_keep_to_half_a_pixel_on_average(face_model: FaceModel):
    random = np.random.default_rng(0)
    options = AugmentationOptions(preprocess="shift_scale_rot")
    means = [
        distances(face_model, random_face(face_model, n), Warp.draw(options, random)).mean()
        for n in range(20)
    ]
    assert max(means) < 0.5


def test_a_shift_shows_the_same_side_of_the_face_under_the_same_light(face_model: FaceModel):
    """The whole scene turns about the camera, so that neither view nor shading changes."""
    flat, layout = random_face(face_model, 3), face_model.layout
    moved = shift_coefficients(flat, layout, CAMERA, (200.0, -150.0))
    before, after = (layout.split(torch.from_numpy(f)[None]) for f in (flat, moved))
    turn = rotation_matrix(after.angles_rad) @ rotation_matrix(before.angles_rad).mT
    normals = torch.nn.functional.normalize(torch.randn(1, 50, 3), dim=2)
    torch.testing.assert_close(
        irradiance(normals @ turn.mT, after.gamma),
        irradiance(normals, before.gamma),
        rtol=1e-4,
        atol=1e-5,
    )
    centre = torch.tensor([0.0, 0.0, CAMERA.distance_dm])
    seen = [c.translation_dm[0] - centre for c in (before, after)]
    torch.testing.assert_close(turn[0] @ seen[0], seen[1], rtol=1e-5, atol=1e-5)
    # The axis goes where the picture's centre went.
    ray = turn[0] @ torch.tensor([0.0, 0.0, -1.0])
    point = CAMERA.project(CAMERA.from_object((centre + ray)[None, None]))[0, 0]
    torch.testing.assert_close(point, torch.tensor([312.0, -38.0]), rtol=1e-4, atol=1e-2)


def test_a_rotation_is_the_exact_one(face_model: FaceModel):
    flat = random_face(face_model, 1)
    turned = warp_coefficients(flat, Warp(angle_rad=0.1), face_model.layout, CAMERA)
    np.testing.assert_array_equal(turned, turn_coefficients(flat, face_model.layout, 0.1))


def sample(size: int) -> FaceSample:
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    points = np.random.default_rng(1).uniform(50, 170, (68, 2))
    flat = np.zeros(size, np.float32)
    return FaceSample(image, "a", points, image[..., 0].copy(), flat, fitted=True)


def test_the_picture_changes_as_one_without_label(face_model: FaceModel):
    given = sample(face_model.layout.size)
    warp = Warp(flip=True, shift_px=(3, 4), scale=1.05, angle_rad=0.1)
    plain = warp.apply(given)
    warped = warp_fit(given, warp, face_model.layout, CAMERA)
    for name in ("image", "mask", "landmarks"):
        np.testing.assert_array_equal(getattr(warped, name), getattr(plain, name))
    assert warped.fitted and warped.coefficients is not None


def test_a_mirrored_face_of_a_model_without_symmetry_has_no_label(tiny_face_model: FaceModel):
    given = sample(tiny_face_model.layout.size)
    warped = warp_fit(given, Warp(flip=True), tiny_face_model.layout, CAMERA)
    assert warped.coefficients is None and not warped.fitted
    np.testing.assert_array_equal(warped.image, given.image[:, ::-1])
    kept = warp_fit(given, replace(Warp(), scale=1.1), tiny_face_model.layout, CAMERA)
    assert kept.fitted
