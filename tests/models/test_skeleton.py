"""Linear blend skinning against a slow form of its formulas, and what turning a part must do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from models.face_model import FaceModel, FaceModelData
from models.losses import coefficient_regularisation
from models.skeleton import Skeleton, SkeletonData, rotation_from_axis_angle


def make_skeleton(vertices: int = 224, coefficients: int = 5) -> SkeletonData:
    """Root, neck, jaw on the neck, one eye on the neck; every vertex carried by all."""
    random = np.random.default_rng(4)
    return SkeletonData(
        names=("neck", "jaw", "eye"),
        parents=(-1, 0, 1, 1),
        mean_joints=random.normal(size=(4, 3)).astype(np.float32),
        joint_basis=0.1 * random.normal(size=(4, 3, coefficients)).astype(np.float32),
        weights=random.dirichlet(np.ones(4), vertices).astype(np.float32),
        pose_basis=0.05 * random.normal(size=(vertices, 3, 27)).astype(np.float32),
        sigma=np.full(9, 0.2, np.float32),
    )


def slow_skinning(
    bones: SkeletonData, vertices: np.ndarray, coefficients: np.ndarray, joints_rad: np.ndarray
) -> np.ndarray:
    """One face, one vertex after the other, with 4 x 4 matrices and SciPy's rotations."""
    joints = bones.mean_joints + bones.joint_basis @ coefficients
    rotations = [Rotation.from_rotvec(v).as_matrix() for v in joints_rad.reshape(-1, 3)]
    feature = np.concatenate([(r - np.eye(3)).ravel() for r in rotations])
    world = []
    for joint, parent in enumerate(bones.parents):
        local = np.eye(4)
        local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
        if joint:
            local[:3, :3] = rotations[joint - 1]
        world.append(world[parent] @ local if joint else local)
    posed = []
    for v, vertex in enumerate(vertices):
        corrected = vertex + bones.pose_basis[v] @ feature
        total = np.zeros(3)
        for joint, matrix in enumerate(world):
            at_rest = np.append(corrected - joints[joint], 1)
            total += bones.weights[v, joint] * (matrix @ at_rest)[:3]
        posed.append(total)
    return np.array(posed)


def test_it_equals_the_slow_form():
    bones = make_skeleton(vertices=30)
    skeleton = Skeleton(bones).double()
    vertices = torch.randn(3, 30, 3, dtype=torch.float64)
    coefficients = torch.randn(3, 5, dtype=torch.float64)
    joints_rad = torch.randn(3, 9, dtype=torch.float64)
    posed = skeleton(vertices, coefficients, joints_rad).numpy()
    for item in range(3):
        expected = slow_skinning(
            bones, vertices[item].numpy(), coefficients[item].numpy(), joints_rad[item].numpy()
        )
        np.testing.assert_allclose(posed[item], expected, atol=1e-6)


def test_joints_at_rest_change_nothing():
    vertices = torch.randn(2, 224, 3)
    posed = Skeleton(make_skeleton())(vertices, torch.randn(2, 5), torch.zeros(2, 9))
    torch.testing.assert_close(posed, vertices)


def test_a_part_turns_about_its_joint():
    """Carried by the jaw alone and without correctives: a rotation, with the joint as centre."""
    bones = make_skeleton()
    weights = np.zeros_like(bones.weights)
    weights[:, 0] = 1
    weights[:100] = [0, 0, 1, 0]
    bones = replace(bones, weights=weights, pose_basis=0 * bones.pose_basis)
    vertices, zeros = torch.randn(1, 224, 3), torch.zeros(1, 5)
    joint = torch.from_numpy(bones.mean_joints[2])
    vertices[0, 0] = joint
    turn = torch.tensor([0.4, -0.2, 0.7])
    posed = Skeleton(bones)(
        vertices, zeros, torch.cat([torch.zeros(3), turn, torch.zeros(3)])[None]
    )
    torch.testing.assert_close(posed[0, 0], joint)
    torch.testing.assert_close(posed[0, 100:], vertices[0, 100:])
    expected = Rotation.from_rotvec(turn.numpy()).apply((vertices[0, :100] - joint).numpy())
    np.testing.assert_allclose((posed[0, :100] - joint).numpy(), expected, atol=1e-5)


def test_children_follow_their_parent():
    """Turning the neck turns the jaw's part with it, rigidly."""
    bones = make_skeleton()
    weights = np.zeros_like(bones.weights)
    weights[:, 2] = 1
    bones = replace(bones, weights=weights, pose_basis=0 * bones.pose_basis)
    vertices = torch.randn(1, 224, 3)
    joints_rad = torch.tensor([[0.5, 0.1, 0, 0.3, 0, 0.2, 0, 0, 0]])
    posed = Skeleton(bones)(vertices, torch.zeros(1, 5), joints_rad)
    neck, jaw = (Rotation.from_rotvec(joints_rad[0, k : k + 3].numpy()) for k in (0, 3))
    turned = (neck * jaw).apply((vertices[0] - vertices[0, 0]).numpy())
    np.testing.assert_allclose((posed[0] - posed[0, 0]).numpy(), turned, atol=1e-5)


@pytest.mark.parametrize("size", [0.0, 1e-8, 1e-4, 9e-4, 1.1e-3, 1.0, 3.1, 7.0])
def test_rotations_are_scipys(size: float):
    vectors = size * torch.nn.functional.normalize(torch.randn(2, 3, 3, dtype=torch.float64), dim=2)
    found = rotation_from_axis_angle(vectors).numpy().reshape(-1, 3, 3)
    expected = Rotation.from_rotvec(vectors.numpy().reshape(-1, 3)).as_matrix()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_gradients_also_at_rest():
    skeleton = Skeleton(make_skeleton(vertices=6)).double()
    vertices = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    coefficients = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    joints_rad = 0.5 * torch.randn(2, 9, dtype=torch.float64)
    joints_rad[0] = 0
    joints_rad.requires_grad_()
    assert torch.autograd.gradcheck(skeleton, (vertices, coefficients, joints_rad))


@pytest.fixture
def jointed(tiny_face_data: FaceModelData) -> FaceModel:
    return FaceModel(replace(tiny_face_data, skeleton=make_skeleton()))


def test_the_layout_ends_with_the_joints(jointed: FaceModel, tiny_face_model: FaceModel):
    others = tiny_face_model.layout.size
    assert jointed.layout.size == others + 9
    assert jointed.layout.slices["joints_rad"] == slice(others, others + 9)
    assert jointed.layout.blocks[-1].sigma == pytest.approx([0.2] * 9)
    flat = torch.randn(2, jointed.layout.size)
    coefficients = jointed.layout.split(flat)
    assert coefficients.joints_rad is not None
    assert torch.equal(jointed.layout.join(coefficients), flat)
    assert dict(coefficients.items()).keys() > {"joints_rad", "identity"}
    one = coefficients.item(1)
    assert one.joints_rad is not None and one.joints_rad.shape == (1, 9)


def test_without_joints_there_are_none(tiny_face_model: FaceModel):
    coefficients = tiny_face_model.layout.zeros(1)
    assert coefficients.joints_rad is None
    assert "joints_rad" not in dict(coefficients.items())


def test_the_shape_is_posed(jointed: FaceModel, tiny_face_data: FaceModelData):
    identity, expression, joints = torch.randn(1, 3), torch.randn(1, 2), 0.3 * torch.randn(1, 9)
    shaped = jointed.shape(identity, expression)
    posed = jointed.shape(identity, expression, joints)
    expected = slow_skinning(
        make_skeleton(),
        shaped[0].numpy(),
        torch.cat([identity, expression], 1)[0].numpy(),
        joints[0].numpy(),
    )
    np.testing.assert_allclose(posed[0].numpy(), expected, atol=1e-5)
    assert FaceModel(tiny_face_data).card.fingerprint != jointed.card.fingerprint


def test_turned_joints_cost_as_expressions_do(jointed: FaceModel):
    assert jointed.skeleton is not None
    coefficients = jointed.layout.split(torch.zeros(2, jointed.layout.size))
    coefficients = replace(coefficients, joints_rad=torch.full((2, 9), 0.4))
    cost = coefficient_regularisation(coefficients, w_exp=0.5, joint_sigma=jointed.skeleton.sigma)
    torch.testing.assert_close(cost, torch.tensor(0.5 * 9 * 4.0))


@pytest.mark.parametrize("name", ["mean_joints", "joint_basis", "weights", "pose_basis", "sigma"])
def test_wrong_arrays_are_named(tiny_face_data: FaceModelData, name: str):
    bones = make_skeleton()
    wrong = replace(bones, **{name: getattr(bones, name)[:-1]})
    with pytest.raises(ValueError, match=rf"skeleton\.{name} is .* expected"):
        FaceModel(replace(tiny_face_data, skeleton=wrong))


def test_a_joint_before_its_parent_is_refused(tiny_face_data: FaceModelData):
    wrong = replace(make_skeleton(), parents=(-1, 2, 0, 1))
    with pytest.raises(ValueError, match="after their parents"):
        FaceModel(replace(tiny_face_data, skeleton=wrong))


def test_derivatives_are_those_of_autograd():
    """By shape, which is exact whatever the joints do, and by the joints, also at rest."""
    skeleton = Skeleton(make_skeleton(vertices=8)).double()
    basis = torch.randn(5, 8, 3, dtype=torch.float64)
    mean = torch.randn(8, 3, dtype=torch.float64)
    shape = torch.randn(1, 5, dtype=torch.float64)

    def posed(shape: torch.Tensor, joints_rad: torch.Tensor) -> torch.Tensor:
        vertices = mean + torch.einsum("kvc,k->vc", basis, shape[0])
        return skeleton(vertices[None], shape, joints_rad)[0]

    for size in (0.0, 0.6):
        joints_rad = size * torch.randn(1, 9, dtype=torch.float64)
        by_shape, by_joints = torch.autograd.functional.jacobian(posed, (shape, joints_rad))
        torch.testing.assert_close(skeleton.shape_derivatives(basis, joints_rad), by_shape[:, :, 0])
        vertices = (mean + torch.einsum("kvc,k->vc", basis, shape[0]))[None]
        found = skeleton.joint_derivatives(vertices, shape, joints_rad)
        torch.testing.assert_close(found, by_joints[:, :, 0])
