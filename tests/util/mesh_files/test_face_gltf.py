"""Followed faces as glTF: what a reader shows is what the face model decodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel, FaceModelData
from models.skeleton import SkeletonData
from tests.glb_reader import Glb
from util.mesh_files.face_gltf import TOLERANCE_MM, face_animation, unit_strengths
from util.mesh_files.gltf_file import GltfScene, glb_bytes

FRAMES = 9
MILLIMETRES = 1000
"""Of one metre, the unit of the files."""


def motion(frames: int = FRAMES) -> tuple[Tensor, Tensor, np.ndarray]:
    """Rotations, translations and times that are not evenly spaced."""
    random = torch.Generator().manual_seed(3)
    angles = 0.6 * torch.randn(frames, 3, generator=random)
    times = np.cumsum(np.random.default_rng(3).uniform(0.02, 0.06, frames))
    return rotation_matrix(angles), torch.randn(frames, 3, generator=random), times - times[0]


def followed(
    face_model: FaceModel, expressions: Tensor, units: bool = False, camera: Camera | None = None
) -> tuple[GltfScene, np.ndarray]:
    """A scene, and (N, V, 3) metres that the face model decodes for its frames."""
    random = torch.Generator().manual_seed(4)
    identity = torch.randn(1, len(face_model.identity_sigma), generator=random)
    colours = face_model.albedo(torch.zeros(1, len(face_model.albedo_sigma)))[0]
    rotations, translations, times = motion(len(expressions))
    scene = face_animation(
        *(face_model, identity, colours, expressions, rotations, translations, times),
        camera=camera,
        units=units,
    )
    shapes = face_model.shape(identity.expand(len(expressions), -1), expressions)
    posed = rotate(shapes, rotations) + translations[:, None]
    return scene, 0.1 * posed.detach().double().numpy()


def worst_mm(scene: GltfScene, exact: np.ndarray) -> float:
    glb = Glb.parse(glb_bytes(scene))
    glb.check()
    assert scene.animation is not None
    pairs = zip(scene.animation.times_s, exact, strict=True)
    return max(np.abs(glb.vertices(time) - frame).max() for time, frame in pairs) * MILLIMETRES


def random_expressions(face_model: FaceModel, frames: int = FRAMES, size: float = 1.5) -> Tensor:
    random = torch.Generator().manual_seed(5)
    count = len(face_model.expression_sigma)
    return size * face_model.expression_sigma * torch.randn(frames, count, generator=random)


def test_every_frame_is_what_the_face_model_decodes(open_face_model: FaceModel):
    """All 64 components of a real face, of either sign, far from neutral, turned and moved."""
    scene, exact = followed(open_face_model, random_expressions(open_face_model))
    assert worst_mm(scene, exact) < TOLERANCE_MM + 0.002


def test_small_and_large_coefficients_together(tiny_face_model: FaceModel):
    """What is left out adds up; the tolerance is for the sum."""
    expressions = random_expressions(tiny_face_model, size=0.3)
    expressions[3] *= 40
    scene, exact = followed(tiny_face_model, expressions)
    assert worst_mm(scene, exact) < TOLERANCE_MM + 0.002


def test_between_frames_the_expression_is_linear(tiny_face_model: FaceModel):
    """Also where a coefficient changes its sign."""
    expressions = torch.tensor([[-1.0, 2.0], [3.0, -0.5]])
    scene, _ = followed(tiny_face_model, expressions)
    assert scene.animation is not None
    glb = Glb.parse(glb_bytes(scene))
    for share in (0.1, 0.25, 0.7):
        weights = glb.state(share * scene.animation.times_s[1])["weights"]
        moved = np.tensordot(weights, glb.targets, 1)
        wanted = torch.lerp(expressions[:1], expressions[1:], share)
        zero = torch.zeros(1, 3)
        shapes = [tiny_face_model.shape(zero, e) for e in (wanted, torch.zeros_like(wanted))]
        np.testing.assert_allclose(moved * 10, (shapes[0] - shapes[1])[0].numpy(), atol=2e-4)


@pytest.mark.parametrize("units", [False, True])
def test_no_weight_leaves_what_blender_plays(tiny_face_model: FaceModel, units: bool):
    """Its importer leaves sliders at [0, 1], and its animation stops there."""
    scene, _ = followed(tiny_face_model, random_expressions(tiny_face_model), units)
    assert scene.animation is not None and scene.animation.weights is not None
    weights = scene.animation.weights
    assert weights.min() >= 0 and weights.max() <= 1
    if not units:
        np.testing.assert_allclose(weights.max(axis=0), 1)


def test_the_file_leads_back_to_the_coefficients(tiny_face_model: FaceModel):
    expressions = random_expressions(tiny_face_model)
    glb = Glb.parse(glb_bytes(followed(tiny_face_model, expressions)[0]))
    full = glb.json["asset"]["extras"]["coefficients_at_full_weight"]
    assert glb.target_names == list(full) == ["expression_low", "expression_00", "expression_01"]
    at_full_weight = np.array(list(full.values()))
    for frame, time in enumerate(motion()[2]):
        found = glb.state(time)["weights"] @ at_full_weight
        np.testing.assert_allclose(found, expressions[frame], atol=1e-5)


def test_there_are_no_more_targets_than_the_expression_has_directions(
    tiny_face_model: FaceModel, open_face_model: FaceModel
):
    expressions = torch.tensor([[0.2, 0.5], [0.1, 1.0], [0.4, -0.5]])
    scene, exact = followed(tiny_face_model, expressions)
    assert scene.targets is not None
    assert scene.targets.names == ("expression_low", "expression_00")
    assert worst_mm(scene, exact) < TOLERANCE_MM + 0.002
    scene, exact = followed(tiny_face_model, expressions[:1].expand(3, -1))
    assert scene.targets is not None and scene.targets.names == ("expression_low",)
    assert worst_mm(scene, exact) < TOLERANCE_MM + 0.002
    # A real face that moves by five patterns and trembles by less than can be seen.
    patterns = random_expressions(open_face_model, 5, 1.0)
    shares = torch.rand(40, 5, generator=torch.Generator().manual_seed(6))
    expressions = shares @ patterns + random_expressions(open_face_model, 40, 1e-4)
    scene, exact = followed(open_face_model, expressions)
    assert scene.targets is not None and len(scene.targets.names) == 1 + 5
    assert worst_mm(scene, exact) < TOLERANCE_MM + 0.002
    assert len(glb_bytes(scene)) < 1.5e6


def test_a_face_that_never_moves_has_no_targets(tiny_face_model: FaceModel):
    scene, exact = followed(tiny_face_model, torch.zeros(3, 2))
    assert scene.targets is None
    assert worst_mm(scene, exact) < 0.02


def test_the_base_is_the_neutral_face(tiny_face_model: FaceModel):
    scene, _ = followed(tiny_face_model, random_expressions(tiny_face_model))
    random = torch.Generator().manual_seed(4)
    neutral = tiny_face_model.shape(torch.randn(1, 3, generator=random), torch.zeros(1, 2))
    np.testing.assert_allclose(scene.mesh.vertices_dm, neutral[0], atol=1e-6)
    normals = tiny_face_model.normals(neutral)[0].numpy()
    assert scene.mesh.normals is not None
    np.testing.assert_allclose(scene.mesh.normals, normals, atol=1e-6)


def test_mixtures_of_units_are_shown_by_them(open_face_model: FaceModel):
    """Expressions that the units can show are exact, under ARKit's names, and sparse."""
    random = torch.Generator().manual_seed(6)
    strengths = torch.rand(FRAMES, 52, generator=random)
    strengths *= torch.rand(FRAMES, 52, generator=random) < 0.15
    scene, exact = followed(open_face_model, strengths @ open_face_model.unit_matrix, units=True)
    assert scene.targets is not None and scene.targets.names == open_face_model.unit_names
    assert worst_mm(scene, exact) < 0.02
    content = glb_bytes(scene)
    accessors = Glb.parse(content).json["accessors"]
    assert sum("sparse" in accessor for accessor in accessors) > 40
    assert len(content) < 4.5e6


def test_unit_strengths_are_the_nearest(open_face_model: FaceModel):
    """Against SciPy's bounded least squares over all vertices."""
    expressions = random_expressions(open_face_model, frames=2, size=1.0)
    found = unit_strengths(open_face_model, expressions)
    basis = open_face_model.shape_basis[80:].double().numpy()
    shapes = (open_face_model.unit_matrix.double().numpy() @ basis).T
    for k in range(2):
        wanted = expressions[k].double().numpy() @ basis
        best = lsq_linear(shapes[:, :-1], wanted, bounds=(0, 1))
        residual = shapes @ found[k] - wanted
        assert 0.5 * residual @ residual <= best.cost * (1 + 1e-6)
        assert found[k].min() >= 0 and found[k].max() <= 1
    assert open_face_model.unit_names[-1] == "tongueOut"
    assert (found[:, -1] == 0).all()


def test_the_camera_of_the_video(tiny_face_model: FaceModel):
    """Its picture of the head is the renderer's, where the principal point is the middle."""
    scene, exact = followed(tiny_face_model, torch.ones(2, 2), camera=Camera.rnet())
    glb = Glb.parse(glb_bytes(scene))
    view, node = glb.json["cameras"][0]["perspective"], glb.json["nodes"][1]
    x, y, z = (glb.vertices(0.0) - node["translation"]).T
    half = 112 / np.tan(view["yfov"] / 2)
    found = np.stack([112 + half * x / -z, 112 - half * y / -z], axis=1)
    camera = Camera.rnet()
    vertices = torch.from_numpy(exact[:1] * 10).float()
    projected = camera.project(camera.from_object(vertices))[0].numpy()
    np.testing.assert_allclose(found, projected, atol=2e-3)
    assert view["aspectRatio"] == 1
    assert glb.json["cameras"][0]["extras"]["K"] == [[1015, 0, 112], [0, 1015, 112], [0, 0, 1]]


def test_a_camera_without_perspective_is_refused(tiny_face_model: FaceModel):
    with pytest.raises(ValueError, match="perspective"):
        followed(tiny_face_model, torch.ones(2, 2), camera=replace(Camera.rnet(), kind="weak"))


def test_the_file_says_which_face_model(tiny_face_model: FaceModel):
    scene, _ = followed(tiny_face_model, torch.ones(2, 2))
    card = tiny_face_model.card
    said = Glb.parse(glb_bytes(scene)).json["asset"]["extras"]["face_model"]
    assert said["name"] == "tiny" and said["fingerprint"] == card.fingerprint


def test_a_model_without_units_is_refused(tiny_face_data: FaceModelData):
    nameless = replace(tiny_face_data, unit_names=(), unit_matrix=np.zeros((0, 0), np.float32))
    with pytest.raises(ValueError, match="tiny has no named expression units"):
        followed(FaceModel(nameless), torch.ones(2, 2), units=True)


def test_a_model_with_joints_is_refused(tiny_face_data: FaceModelData):
    """Its mouth would stay shut."""
    count = len(tiny_face_data.mean_shape)
    bones = SkeletonData(
        names=("root", "jaw"),
        parents=(-1, 0),
        mean_joints=np.zeros((2, 3), np.float32),
        joint_basis=np.zeros((2, 3, 5), np.float32),
        weights=np.full((count, 2), 0.5, np.float32),
        pose_basis=np.zeros((count, 3, 9), np.float32),
        sigma=np.ones(3, np.float32),
    )
    with pytest.raises(ValueError, match=r"joint.*mesh for each frame"):
        followed(FaceModel(replace(tiny_face_data, skeleton=bones)), torch.ones(2, 2))


@pytest.mark.parametrize("units", [False, True])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_frame_that_failed_is_refused(tiny_face_model: FaceModel, units: bool, value: float):
    """Not taken for a neutral face."""
    expressions = random_expressions(tiny_face_model)
    expressions[4, 1] = value
    with pytest.raises(
        ValueError, match=r"expressions of frame 4 .*leave out frames without a face"
    ):
        followed(tiny_face_model, expressions, units)


def test_expressions_may_have_gradients(tiny_face_model: FaceModel):
    expressions = random_expressions(tiny_face_model)
    plain, _ = followed(tiny_face_model, expressions)
    tracked = followed(tiny_face_model, expressions.clone().requires_grad_())
    assert glb_bytes(tracked[0]) == glb_bytes(plain)
