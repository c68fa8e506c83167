"""What models without albedo or landmarks take from the open one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.landmarks import five_from_68
from models.face_model import FaceModelData
from util.model_files.face_transfer import (
    lay_by_eyes_and_nose,
    mean_landmarks,
    paper_size,
    place_like,
    transfer_appearance,
    transfer_landmarks,
)
from util.point_fits import fit_sphere


@pytest.mark.parametrize("columns", [100, 80, 3])
def test_bases_get_the_published_size(columns: int):
    basis = np.random.default_rng(2).normal(size=(5, 3, columns)).astype(np.float32)
    sized = paper_size(basis, "identity")
    assert sized.shape == (5, 3, 80)
    np.testing.assert_array_equal(sized[..., :columns], basis[..., :80])
    assert not sized[..., columns:].any()
    assert paper_size(basis, "expression").shape[2] == 64


def test_a_model_laid_over_itself_keeps_its_albedo(tiny_face_data: FaceModelData):
    """Moved, turned and scaled, since files come in any frame."""
    turn = Rotation.from_rotvec([0.1, 0.2, 0]).as_matrix()
    moved = 1.3 * tiny_face_data.mean_shape @ turn.T + [0.5, 0, 1]
    landmarks = mean_landmarks(replace(tiny_face_data, mean_shape=moved))
    found = transfer_appearance(tiny_face_data, moved, landmarks)
    np.testing.assert_allclose(found.mean_albedo, tiny_face_data.mean_albedo, atol=1e-4)
    np.testing.assert_allclose(found.albedo_basis, tiny_face_data.albedo_basis, atol=1e-4)
    np.testing.assert_allclose(found.skin_mask, tiny_face_data.skin_mask, atol=1e-3)
    assert found.mean_albedo.dtype == found.albedo_basis.dtype == np.float32


def test_what_the_donor_does_not_cover_is_neither_skin_nor_front(tiny_face_data: FaceModelData):
    landmarks = mean_landmarks(tiny_face_data)
    far = np.array([[0, 0, -3], [0, -3, 0]], np.float32)
    found = transfer_appearance(
        tiny_face_data, np.concatenate([tiny_face_data.mean_shape, far]), landmarks
    )
    assert not found.skin_mask[-2:].any() and not found.front[-2:].any()
    assert found.front.any() and found.skin_mask.any()


def test_eyeballs_take_from_eyeballs_and_skin_from_skin(tiny_face_data: FaceModelData):
    """Lids lie nearly on the eyes, and must not become white."""
    eyes = np.hypot(np.abs(tiny_face_data.mean_shape[:, 0]) - 0.32, tiny_face_data.mean_shape[:, 1])
    of_donor = eyes < 0.35
    colour = np.where(of_donor[:, None], 1.0, 0.25) * np.ones(3)
    donor = replace(
        tiny_face_data, regions={"eyeballs": of_donor}, mean_albedo=colour.astype(np.float32)
    )
    eyeballs = np.zeros(len(eyes), bool)
    eyeballs[np.flatnonzero(of_donor)[:5]] = True
    eyeballs[0] = True  # far from any eye
    landmarks = mean_landmarks(donor)
    found = transfer_appearance(donor, donor.mean_shape, landmarks, eyeballs)
    np.testing.assert_allclose(found.mean_albedo[eyeballs], 1)
    np.testing.assert_allclose(found.mean_albedo[~eyeballs], 0.25)
    assert not found.skin_mask[eyeballs].any()


def test_irises_stay_round_behind_other_lids(open_face_data: FaceModelData):
    """A face whose lids are wider open, and whose eyes are larger balls."""
    donor = open_face_data
    eyeballs = donor.regions["eyeballs"]
    other = donor.mean_shape.astype(np.float64)
    height = other[eyeballs, 1].mean()
    other[~eyeballs, 1] = height + 1.15 * (other[~eyeballs, 1] - height)
    landmarks = mean_landmarks(replace(donor, mean_shape=other))
    for side in (-1, 1):
        ball = eyeballs & (side * other[:, 0] > 0)
        centre = fit_sphere(other[ball]).centre
        other[ball] = centre + 1.1 * (other[ball] - centre) + [0.01 * side, 0.02, 0]
    found = transfer_appearance(donor, other, landmarks, eyeballs)
    np.testing.assert_allclose(
        found.mean_albedo[eyeballs], donor.mean_albedo[eyeballs], rtol=0, atol=1e-3
    )


def test_landmarks_of_the_open_model_are_found_on_it_again(open_face_data: FaceModelData):
    """In another position, by a few names."""
    moved = open_face_data.mean_shape + np.array([0.3, 0.1, 0], np.float32)
    landmarks = mean_landmarks(replace(open_face_data, mean_shape=moved))
    known: dict[tuple[int, ...], np.ndarray] = {
        (n,): landmarks[n] for n in (30, 36, 39, 42, 45, 48, 54)
    }
    known[(37, 38)] = landmarks[[37, 38]].mean(axis=0)
    found = transfer_landmarks(open_face_data, moved, open_face_data.triangles, known)
    off = np.linalg.norm(found.mix(moved) - landmarks, axis=1)
    # Lids and corners of eyes lie over the opening, as detectors see them: the skin is beside it.
    assert off[36:48].max() < 0.015
    assert off[[*range(17, 36), *range(48, 68)]].max() < 2e-3


def test_models_are_placed_so_that_translations_agree(open_face_data: FaceModelData):
    landmarks = mean_landmarks(open_face_data) + np.array([3, 4, 5])
    landmarks = landmarks + place_like(open_face_data, landmarks)
    np.testing.assert_allclose(
        five_from_68(landmarks).mean(axis=0),
        open_face_data.alignment_points.mean(axis=0),
        atol=1e-6,
    )


def test_a_head_without_landmarks_is_met_by_eyes_and_nose(open_face_data: FaceModelData):
    """Another size, place and a small turn; its own surface is there to be found."""
    turn = Rotation.from_rotvec([0.1, 0, 0]).as_matrix()

    def move(points: np.ndarray) -> np.ndarray:
        return 1.1 * points @ turn.T + [0, 0.4, 0.3]

    shape = open_face_data.mean_shape
    eyes = [shape[open_face_data.regions[f"eye_{side}"]].mean(axis=0) for side in ("right", "left")]
    # Roughly where they are: the caps' middles lie before the centres.
    laid = lay_by_eyes_and_nose(
        open_face_data, move(shape), open_face_data.triangles, move(np.stack(eyes) - [0, 0, 0.08])
    )
    expected = move(mean_landmarks(open_face_data))
    assert np.linalg.norm(laid - expected, axis=1).mean() < 0.02
