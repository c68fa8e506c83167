"""The screen that bears a photo's teeth: across the lips' rim, shallow, and nothing else moves."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.camera import Camera
from models.drawing import VIEW_YAWS_DEG, with_mouths_of_photos
from models.face_model import FaceModel
from models.mouth import MouthScreen, behind_lips
from models.mouth_membrane import DEPTH_DM, mouth_screen
from models.parameters import Coefficients
from models.renderer import Fragments, Renderer
from models.stages import pose_face, reconstruct, shape_face
from options.face_options import FaceModelOptions
from util.assets import load_face_model


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model(FaceModelOptions(face_model="open@1"))


@pytest.fixture(scope="module")
def screen(model: FaceModel) -> MouthScreen:
    found = mouth_screen(model)
    assert found is not None
    return found


def test_it_lies_across_the_rim_as_far_back_as_teeth(model: FaceModel, screen: MouthScreen):
    weights = screen.weights.double()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights)).double())
    assert (weights > -1e-6).all()
    inside = behind_lips(model)
    assert torch.equal(screen.inside, inside.nonzero()[:, 0]) and not inside[screen.rim].any()
    open_mouth = replace(model.layout.zeros(1), expression=model.units({"jawOpen": 0.6}))
    shaped = shape_face(model, open_mouth)
    moved = screen(shaped)
    assert torch.equal(moved.vertices_object[:, ~inside], shaped.vertices_object[:, ~inside])
    assert moved.normals_object is shaped.normals_object and moved.albedo is shaped.albedo
    rim, flat = moved.vertices_object[0, screen.rim], moved.vertices_object[0, inside]
    assert (flat[:, :2] > rim[:, :2].amin(dim=0) - 1e-5).all()
    assert (flat[:, :2] < rim[:, :2].amax(dim=0) + 1e-5).all()
    assert flat[:, 2].min() > rim[:, 2].min() - DEPTH_DM
    # Behind the membrane across the rim: least beside it, and so far back in the middle.
    back = (screen.weights @ rim)[:, 2] - flat[:, 2]
    assert (back > 0).all() and back.median() == pytest.approx(DEPTH_DM, rel=0.02)
    assert back.max() <= 1.001 * DEPTH_DM
    deep = shaped.vertices_object[0, inside, 2]
    assert deep.min() < rim[:, 2].min() - 3 * DEPTH_DM, "the mouth itself is deep"


def test_loose_parts_stay_and_spoil_nothing(model: FaceModel, screen: MouthScreen):
    """Eyeballs that count as inside of the mouth hang from no rim of lips."""
    other = copy(model)
    loose = other.regions["eyeballs"]
    cavity = other.regions["mouth_cavity"]
    other.regions = {**model.regions, "mouth_cavity": cavity | loose}
    found = mouth_screen(other)
    assert found is not None and torch.equal(found.inside, screen.inside)
    torch.testing.assert_close(found.depths_dm, screen.depths_dm)
    other.regions = {**model.regions, "mouth_cavity": loose}
    assert mouth_screen(other) is None


@pytest.mark.parametrize("yaw_deg", [-25.0, 25.0])
def test_teeth_of_a_turned_photo_are_in_their_places(
    yaw_deg: float, model: FaceModel, screen: MouthScreen
):
    """A photo whose mouth is white left of the middle: so it is from all sides."""
    camera, renderer = Camera.rnet(), Renderer()
    smile = model.units({"jawOpen": 0.25, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8})
    lining = behind_lips(model)[model.triangles.long()].all(dim=1)
    middle_x = torch.arange(224) + 0.5

    def turned(degrees: float) -> Coefficients:
        angles = torch.tensor([[0.0, math.radians(degrees), 0.0]])
        return replace(model.layout.zeros(1), expression=smile, angles_rad=angles)

    def mouth_seen(degrees: float) -> tuple[Fragments, Tensor, Tensor]:
        """With where the mouth is, and where it is left of the middle of its rim."""
        face = turned(degrees)
        posed = pose_face(model, screen(shape_face(model, face)), face, camera)
        fragments = renderer(posed.vertices_camera, model.triangles, camera).fragments
        ids = fragments.triangle_id.long()
        middle = camera.project(posed.vertices_camera[:, screen.rim])[0, :, 0].mean()
        return fragments, (ids >= 0) & lining[ids], (middle_x < middle).expand_as(ids)

    _, _, left = mouth_seen(yaw_deg)
    photo = left.float()[:, None].expand(-1, 3, -1, -1)
    made = reconstruct(model, renderer, camera, turned(yaw_deg))
    colours = with_mouths_of_photos(model, renderer, camera, photo, made, screen)[0, :, 0]
    for other in VIEW_YAWS_DEG:
        fragments, mouth, left = mouth_seen(other)
        corners = model.triangles.long()[fragments.triangle_id[mouth].long()]
        white = (colours[corners] * fragments.barycentrics[mouth]).sum(dim=1) > 0.5
        assert len(white) > 60
        # On the walls of the mouth itself it is 0.59 to 0.76.
        assert (white == left[mouth]).float().mean() > 0.9
