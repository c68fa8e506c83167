"""Fitting photos for the trainer: what is written is what the picture was made of."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.alignment import align_face
from data.augmentation import Warp
from data.base_dataset import FaceSample
from data.fit_warp import warp_fit
from data.fitted_labels import read_label
from data.images import write_image
from data.landmarks import write_landmarks
from data.preparation import PreparationOptions, prepare_folders
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.fitting import fitter
from models.fitting.fitter import PRESETS, fit_rules
from models.parameters import Coefficients
from models.renderer import Renderer
from models.stages import Reconstruction, reconstruct
from options.data_options import AugmentationOptions
from options.face_options import FaceModelOptions
from options.fitting_weights import FitWeights
from tests.models.fitting.faces import photo_of
from util.errors import InputError
from util.model_files.face_model_file import write_face_model
from util.photos.photo_labeller import PhotoLabeller

OPTIONS = FaceModelOptions(face_model="open@0", jaw_landmarks="silhouette")


@pytest.fixture(scope="module")
def labeller() -> PhotoLabeller:
    return PhotoLabeller(OPTIONS, "fast")


def draw(face_model: FaceModel, coefficients: Coefficients) -> Reconstruction:
    with torch.no_grad():
        return reconstruct(face_model, Renderer(), Camera.rnet(), coefficients)


def test_a_rendered_face_is_prepared_labelled_and_augmented(
    tmp_path: Path, open_face_model: FaceModel, labeller: PhotoLabeller
):
    """Its landmarks stay on those of the picture through every change."""
    layout = open_face_model.layout
    flat = torch.zeros(1, layout.size)
    generator = torch.Generator().manual_seed(1)
    flat[:, layout.slices["identity"]] = torch.randn(1, 80, generator=generator)
    flat[:, layout.slices["texture"]] = torch.randn(1, 80, generator=generator)
    flat[:, layout.slices["angles_rad"]] = torch.tensor([0.05, 0.3, 0.1])
    # As photos are: the face keeps light from itself.
    made = photo_of(open_face_model, layout.split(flat), open_face_model.self_shadow)
    assert made.landmarks_px is not None
    picture = (made.images[0] * 255).byte().permute(1, 2, 0).numpy()
    given = made.landmarks_px[0].double().numpy() - 0.5
    write_image(tmp_path / "faces" / "a.png", picture)
    write_image(tmp_path / "faces" / "grey.png", np.repeat(picture[..., 1:2], 3, axis=2))
    for name in ("a", "grey"):
        write_landmarks(tmp_path / "faces" / "landmarks" / f"{name}.txt", given)
    options = PreparationOptions(img_folder=(str(tmp_path / "faces"),), num_workers=0)
    summary = prepare_folders(
        options, labeller=labeller, list_root=tmp_path / "lists", progress=False
    )
    assert (summary.fitted, summary.doubts) == (1, 1)
    assert "the photo is grey" in summary.examples["doubtful fit"]

    label = read_label(tmp_path / "faces" / "coefficients" / "a.json")
    assert label.maker.fingerprint == open_face_model.card.fingerprint
    assert label.landmark_error is not None and label.landmark_error < 0.02
    face = align_face(picture, given, labeller.standard_points, exact_landmarks=True)
    coefficients = label.coefficients_for("a", open_face_model.card, layout.size, face.alignment)
    angles = coefficients[layout.slices["angles_rad"]]
    np.testing.assert_allclose(angles, [0.05, 0.3, 0.1], atol=np.radians(5))

    def inner(numbers: np.ndarray) -> np.ndarray:
        drawn = draw(open_face_model, layout.split(torch.from_numpy(numbers)[None]))
        return drawn.posed.landmarks_px[0, 17:].double().numpy() - 0.5

    sample = FaceSample(face.image, "a", face.landmarks, None, coefficients, fitted=True)
    assert face.landmarks is not None
    still = np.linalg.norm(inner(coefficients) - face.landmarks[17:], axis=1).mean()
    assert still < 1.2
    random = np.random.default_rng(0)
    for _ in range(5):
        warp = Warp.draw(AugmentationOptions(), random)
        warped = warp_fit(sample, warp, layout, Camera.rnet())
        assert warped.coefficients is not None and warped.landmarks is not None
        off = np.linalg.norm(inner(warped.coefficients) - warped.landmarks[17:], axis=1).mean()
        assert off < still + 0.6


def test_labels_say_by_which_rules_they_were_fitted(
    labeller: PhotoLabeller, monkeypatch: pytest.MonkeyPatch
):
    """A change of preset, weights or version is another maker."""
    levels, weights = PRESETS["fast"], FitWeights()
    assert labeller.maker.rules == fit_rules(weights, levels)
    rules = {
        fit_rules(weights, levels),
        fit_rules(weights, PRESETS["balanced"]),
        fit_rules(replace(weights, dark_lids=0.3), levels),
        fit_rules(replace(weights, robust_colour=float("inf")), levels),
    }
    monkeypatch.setattr(fitter, "FIT_VERSION", fitter.FIT_VERSION + 1)
    assert len({*rules, fit_rules(weights, levels)}) == 5


def test_it_travels_to_other_processes_without_its_tables(labeller: PhotoLabeller):
    content = pickle.dumps(labeller)
    assert len(content) < 20_000
    other = pickle.loads(content)
    assert other.maker == labeller.maker
    np.testing.assert_array_equal(other.standard_points, labeller.standard_points)


def test_a_model_that_cannot_be_fitted_is_refused_at_once(
    tmp_path: Path, tiny_face_data: FaceModelData
):
    fewer = replace(
        tiny_face_data,
        landmark_vertices=tiny_face_data.landmark_vertices[:60],
        landmark_barycentrics=tiny_face_data.landmark_barycentrics[:60],
    )
    write_face_model(tmp_path / "a.npz", fewer)
    with pytest.raises(InputError, match=r"--face_model: .*60 landmarks"):
        PhotoLabeller(FaceModelOptions(face_model=str(tmp_path / "a.npz")), "fast")
