"""Changes of pictures under which coefficients stay true, against rendering the changed ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.augmentation import Warp
from data.base_dataset import FaceSample
from data.exact_warp import mirror, turn, warp_exactly
from data.synthetic.sampling import FaceSampler
from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import Renderer
from models.stages import Reconstruction, reconstruct


@pytest.fixture(scope="module")
def face_model(open_face_data) -> FaceModel:
    return FaceModel(open_face_data)


def render(face_model: FaceModel, flat: np.ndarray) -> Reconstruction:
    with torch.no_grad():
        parts = face_model.layout.split(torch.from_numpy(flat)[None])
        return reconstruct(face_model, Renderer(), Camera.rnet(), parts)


def sample_of(face_model: FaceModel, flat: np.ndarray) -> FaceSample:
    drawn = render(face_model, flat)
    assert drawn.rendering.image is not None
    image = (255 * drawn.rendering.image[0].permute(1, 2, 0).clamp(0, 1)).byte().numpy()
    mask = (255 * drawn.rendering.mask[0, 0]).byte().numpy()
    return FaceSample(image, "a", drawn.posed.landmarks_px[0].numpy() - 0.5, mask, flat)


def test_mirrored_coefficients_give_the_mirrored_picture(face_model) -> None:
    flat = FaceSampler(face_model).sample(2, [3]).coefficients[0]
    sample = sample_of(face_model, flat)
    mirrored = mirror(sample, face_model.layout)
    assert mirrored.coefficients is not None and mirrored.mask is not None
    expected = sample_of(face_model, mirrored.coefficients)
    assert expected.mask is not None
    assert mirrored.landmarks is not None and expected.landmarks is not None
    # Landmarks of the model's two sides agree to a few hundredths of a pixel.
    np.testing.assert_allclose(mirrored.landmarks, expected.landmarks, atol=0.3)
    both = (mirrored.mask > 0) & (expected.mask > 0)
    assert both.mean() > 0.99 * (mirrored.mask > 0).mean()
    difference = np.abs(mirrored.image.astype(int) - expected.image)[both]
    assert np.median(difference) <= 1 and difference.mean() < 2
    np.testing.assert_array_equal(mirror(mirrored, face_model.layout).coefficients, flat)


def test_only_flip_and_rotation_are_exact(face_model) -> None:
    flat = FaceSampler(face_model).sample(2, [3]).coefficients[0]
    sample, layout = sample_of(face_model, flat), face_model.layout
    warp = Warp(flip=True, shift_px=(4, -3), scale=1.1, angle_rad=0.1)
    changed = warp_exactly(sample, warp, layout)
    expected = turn(mirror(sample, layout), layout, 0.1)
    np.testing.assert_array_equal(changed.image, expected.image)
    np.testing.assert_array_equal(changed.coefficients, expected.coefficients)
    unchanged = warp_exactly(sample, replace(warp, flip=False, angle_rad=0.0), layout)
    assert unchanged is sample


def test_models_without_symmetry_are_not_flipped(tiny_face_model) -> None:
    sample = FaceSample(
        np.zeros((224, 224, 3), np.uint8),
        "a",
        coefficients=np.zeros(tiny_face_model.layout.size, np.float32),
    )
    assert warp_exactly(sample, Warp(flip=True), tiny_face_model.layout) is sample
