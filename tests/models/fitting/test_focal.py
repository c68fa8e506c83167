"""The focal length as an unknown: its columns, where a fit ends, and that it is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel
from models.fitting.derivatives import LandmarkTables
from models.fitting.energy import landmark_shares
from models.fitting.fitter import PRESETS, FaceFitter
from models.fitting.focal import FOCAL, camera_of, settle_focal, start_focal, with_focal
from models.fitting.landmark_term import LandmarkTerm
from models.fitting.pixel_rows import Mixer
from models.fitting.problem import FitProblem
from models.parameters import Coefficients
from models.renderer import Renderer
from models.stages import pose_face, reconstruct, shape_face
from options.fitting_weights import FitWeights
from tests.models.fitting.faces import HELD_LOOSELY, random_face
from tests.models.fitting.test_photometric import Scene, weighted_rows, weights_of

LOOSE = replace(HELD_LOOSELY, w_focal=1e-5)


def before_zoomed(model: FaceModel, batch: int, log_focal: float = 0.2) -> Coefficients:
    """Faces of some fit that has come away from the given focal length, in double precision."""
    faces = random_face(model, batch, size=0.0).to(torch.float64)
    return replace(faces, log_focal=torch.full((batch, 1), log_focal, dtype=torch.float64))


def pixels(camera: Camera, points_object: Tensor, log_focal: Tensor) -> Tensor:
    """By the formula, so that autograd can differentiate it: f e^s x / (D e^s - z) + c."""
    x, y, z = points_object.unbind(-1)
    ray = torch.stack([x, -y], dim=-1) / (camera.distance_dm * log_focal.exp() - z)[..., None]
    return log_focal.exp() * camera.focal_px[0] * ray + camera.centre_px[0]


def by_focal(camera: Camera, points_object: Tensor, log_focal: float) -> Tensor:
    """(..., 2) derivative of the pixels by the logarithm of the focal length, by autograd."""
    at = torch.tensor(log_focal, dtype=torch.float64)
    found = torch.autograd.functional.jacobian(lambda s: pixels(camera, points_object, s), at)
    assert isinstance(found, Tensor)
    return found


def test_the_landmarks_column_is_that_of_autograd(tiny_face_model: FaceModel):
    model, camera = tiny_face_model.double(), Camera.rnet().to(torch.float64)
    layout, at = with_focal(model.layout), before_zoomed(model, 2)
    given = 112 + 30 * torch.randn(2, 68, 2, dtype=torch.float64)
    weights = FitWeights()
    term = LandmarkTerm(model, LandmarkTables.of(model), camera, weights, given, layout)
    view, zoomed = term.look(at), camera_of(camera, at)
    posed = pose_face(model, shape_face(model, at), at, zoomed)
    points = model.landmarks(zoomed.to_object(posed.vertices_camera))
    torch.testing.assert_close(
        view.residuals, pixels(camera, points, torch.tensor(0.2)) - given, rtol=0, atol=1e-5
    )
    assert view.by_focal is not None
    expected = by_focal(camera, points, 0.2)
    torch.testing.assert_close(view.by_focal, expected)
    assert expected.abs().max() > 1  # a pixel, when the focal length grows by a factor of e
    part = layout.slices[FOCAL]
    shares = 2 * weights.w_landmarks * landmark_shares(weights).double()
    equations = term.equations(view)
    torch.testing.assert_close(
        equations.hessian[:, part, part].flatten(),
        (shares[:, None] * expected.square()).sum(dim=(1, 2)),
    )
    torch.testing.assert_close(
        equations.gradient[:, part].flatten(),
        (shares[:, None] * expected * view.residuals).sum(dim=(1, 2)),
    )


def test_the_pixels_column_is_that_of_autograd(
    tiny_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    """A point's colour stays; its pixel then sees what was beside it."""
    scene = Scene.of(tiny_face_model, random_face(tiny_face_model, 2, size=0.0))
    at = replace(scene.at, log_focal=torch.full((2, 1), 0.2, dtype=torch.float64))
    zoomed = Scene.before(scene.model, at, scene.level)
    rows, _ = weighted_rows(zoomed, monkeypatch)
    view, camera = zoomed.view, scene.level.camera
    points = Mixer(view.corners, view.barycentrics)(
        camera_of(camera, at).to_object(view.posed.vertices_camera)
    )
    moved = by_focal(camera, points, 0.2)
    expected = -(zoomed.gradients() @ moved[..., None])[..., 0]
    expected = expected * weights_of(view).sqrt()[..., None]
    torch.testing.assert_close(rows[..., -1], expected, rtol=1e-6, atol=1e-9)
    assert rows.shape[-1] == scene.model.layout.size + 1
    assert expected.abs().max() > 1e-3


def test_the_camera_ends_where_it_was(tiny_face_model: FaceModel):
    """And every pixel with it."""
    model, camera = tiny_face_model.double(), Camera.rnet().to(torch.float64)
    at = before_zoomed(model, 2, -0.4)
    zoomed = camera_of(camera, at)
    settled, faces = settle_focal(camera, at)
    assert settled.distance_dm == camera.distance_dm and faces.log_focal is None
    assert settled.focal_px == pytest.approx(zoomed.focal_px)
    seen = [
        pose_face(model, shape_face(model, these), these, this)
        for these, this in ((at, zoomed), (faces, settled))
    ]
    torch.testing.assert_close(seen[0].vertices_camera, seen[1].vertices_camera)
    torch.testing.assert_close(seen[0].landmarks_px, seen[1].landmarks_px)
    near, far = settled.near_dm, settled.far_dm
    assert (seen[1].vertices_camera[..., 2] > near).all()
    assert (seen[1].vertices_camera[..., 2] < far).all()
    torch.testing.assert_close(camera.refocused(0.5).focal_px, camera.focal_px / 2)


def views_of_one_person(model: FaceModel, scale: float) -> FaceBatch:
    """Four renderings through a camera of another focal length, as large as usual."""
    torch.manual_seed(5)
    flat, parts = torch.zeros(4, model.layout.size), model.layout.slices
    for name in ("identity", "texture"):
        flat[:, parts[name]] = torch.randn(1, parts[name].stop - parts[name].start)
    flat[:, parts["angles_rad"]] = torch.tensor(
        [[0.0, 0.45, 0.0], [0.1, -0.4, 0.1], [-0.2, 0.05, 0.0], [0.25, 0.2, -0.1]]
    )
    flat[:, parts["translation_dm"].stop - 1] = 10 - 10 * scale
    camera = Camera.rnet().refocused(scale)
    seen = reconstruct(model, Renderer(), camera, model.layout.split(flat))
    assert seen.rendering.image is not None
    return FaceBatch(
        images=torch.where(seen.rendering.mask > 0, seen.rendering.image.clamp(0, 1), 0.5),
        paths=tuple("abcd"),
        landmarks_px=seen.posed.landmarks_px,
    )


@pytest.mark.parametrize("scale", [0.6, 1.5])
def test_several_views_tell_the_focal_length(scale: float, tiny_face_model: FaceModel):
    """To 5 %, where the priors hardly hold; they pull it by about 10 % (docs/fitting.md)."""
    batch = views_of_one_person(tiny_face_model, scale)
    fitter = FaceFitter(tiny_face_model, Camera.rnet(), Renderer(), LOOSE)
    fit = fitter.fit(batch, PRESETS["balanced"], one_person=True, focal=True)
    assert float(fit.camera.focal_px[0, 0]) == pytest.approx(1015 * scale, rel=0.05)
    assert fit.camera.distance_dm == 10 and fit.coefficients.log_focal is None
    depth = 10 - fit.coefficients.translation_dm[:, 2]
    assert depth == pytest.approx(torch.full((4,), 10 * scale), rel=0.05)
    fixed = fitter.fit(batch, PRESETS["balanced"], one_person=True)
    assert fixed.camera is fitter.camera
    ends = [sum(float(v.sum()) for v in each.stages[-1].energies.values()) for each in (fit, fixed)]
    assert ends[0] < 0.7 * ends[1]
    # A known focal length is held to, in a fitter that shares the tables.
    known = fitter.seen_by(fit.camera)
    assert known.tables is fitter.tables and fitter.camera is fixed.camera
    again = known.fit(batch, PRESETS["balanced"], one_person=True)
    assert torch.equal(again.camera.focal_px, fit.camera.focal_px)


def test_a_weight_holds_the_given_one(tiny_face_model: FaceModel):
    batch = views_of_one_person(tiny_face_model, 0.6)
    held = replace(LOOSE, w_focal=1e3)
    fitter = FaceFitter(tiny_face_model, Camera.rnet(), Renderer(), held)
    fit = fitter.fit(batch, PRESETS["fast"], one_person=True, focal=True)
    assert float(fit.camera.focal_px[0, 0]) == pytest.approx(1015, rel=1e-2)
    assert fit.stages[-1].energies["focal"].shape == (4,)


def test_steps_change_perspective_alone(tiny_face_model: FaceModel):
    """A face about the origin keeps its size, whatever the focal length."""
    faces = start_focal(random_face(tiny_face_model, 1, size=0.0))
    layout = with_focal(tiny_face_model.layout)
    step = torch.zeros(1, layout.size)
    step[:, layout.slices[FOCAL]] = 0.5
    stretched = FitProblem(layout, {}).retract(faces, step)
    widths = []
    for these in (faces, stretched):
        camera = camera_of(Camera.rnet(), these)
        posed = pose_face(tiny_face_model, shape_face(tiny_face_model, these), these, camera)
        widths.append(torch.cdist(posed.landmarks_px[:, 36], posed.landmarks_px[:, 45]).item())
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    assert widths[1] != widths[0]
