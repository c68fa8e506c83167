"""Fits that found the face of the photo, and fits that cannot have."""

from __future__ import annotations

from dataclasses import replace

import torch

from models.camera import Camera
from models.face_model import FaceModel
from models.fitting.fitter import FaceFitter
from models.fitting.plausibility import left_of_flat
from models.renderer import Renderer
from options.face_options import FaceModelOptions
from options.fitting_weights import FitWeights
from tests.models.fitting.faces import photo_of, random_face
from util.assets import load_face_model


def test_a_face_in_its_photo_leaves_little_and_one_elsewhere_much(
    tiny_face_model: FaceModel,
) -> None:
    truth = random_face(tiny_face_model, 2, size=0.7)
    fitter = FaceFitter(tiny_face_model, Camera.rnet(), Renderer())
    batch = photo_of(tiny_face_model, truth)
    shifted = replace(truth, translation_dm=truth.translation_dm + torch.tensor([0.4, 0.3, 0.0]))
    there, elsewhere = (left_of_flat(fitter, batch, faces) for faces in (truth, shifted))
    assert (there < 0.1).all()
    assert (elsewhere > 0.7).all()


def test_a_face_in_another_light_is_judged_by_its_own(tiny_face_model: FaceModel) -> None:
    """What is asked is whether features are where the photo has them."""
    truth = random_face(tiny_face_model, 2, size=0.7)
    fitter = FaceFitter(tiny_face_model, Camera.rnet(), Renderer())
    batch = photo_of(tiny_face_model, truth)
    dim = replace(truth, gamma=truth.gamma - 0.1)
    assert (left_of_flat(fitter, batch, dim) < 0.2).all()
    # Though by its own light it would be far off.
    photo = fitter.photo_term(batch, 4)
    off, right = (photo.energy(photo.look(faces)) for faces in (dim, truth))
    assert (off > 10 * right).all()


def test_one_colour_leaves_everything(tiny_face_model: FaceModel) -> None:
    """A photo without features: no fit of it is better than plain skin."""
    truth = random_face(tiny_face_model, 1, size=0.7)
    fitter = FaceFitter(tiny_face_model, Camera.rnet(), Renderer())
    batch = photo_of(tiny_face_model, truth)
    plain = replace(batch, images=torch.full_like(batch.images, 0.5))
    assert float(left_of_flat(fitter, plain, truth)) > 1


def test_dark_eyes_are_evidence_whatever_a_fit_suspects() -> None:
    model = load_face_model(FaceModelOptions("open@0"))
    truth = random_face(model, 1)
    batch = photo_of(model, truth)
    # Beside the truth, so that some of what surrounds the eyes is darker in the photo.
    shifted = replace(truth, translation_dm=truth.translation_dm + torch.tensor([0.03, 0.05, 0.0]))
    found = [
        left_of_flat(
            FaceFitter(model, Camera.rnet(), Renderer(), FitWeights(dark_lids=size)), batch, shifted
        )
        for size in (1.0, 0.1)
    ]
    assert 0.1 < float(found[0]) < 1
    assert torch.equal(*found)
