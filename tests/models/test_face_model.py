"""The linear face model against plain numpy, its checks, and the committed open model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.face_model import FaceModel, FaceModelData, array_fingerprint
from models.landmarks import five_from_68


def test_shape_is_mean_plus_bases(tiny_face_model: FaceModel, tiny_face_data: FaceModelData):
    identity, expression = torch.randn(2, 3), torch.randn(2, 2)
    expected = (
        tiny_face_data.mean_shape
        + np.einsum("vck,bk->bvc", tiny_face_data.identity_basis, identity.numpy())
        + np.einsum("vck,bk->bvc", tiny_face_data.expression_basis, expression.numpy())
    )
    shape = tiny_face_model.shape(identity, expression)
    np.testing.assert_allclose(shape.numpy(), expected, atol=1e-6)


def test_albedo_is_mean_plus_basis(tiny_face_model: FaceModel, tiny_face_data: FaceModelData):
    texture = 20 * torch.randn(2, 3)
    expected = tiny_face_data.mean_albedo + np.einsum(
        "vck,bk->bvc", tiny_face_data.albedo_basis, texture.numpy()
    )
    assert expected.max() > 1 and expected.min() < 0
    np.testing.assert_allclose(tiny_face_model.albedo(texture).numpy(), expected, atol=1e-5)


def test_landmarks_are_barycentric_mixes(tiny_face_model: FaceModel, tiny_face_data: FaceModelData):
    vertices = torch.randn(2, 224, 3)
    expected = np.zeros((2, 68, 3))
    for b in range(2):
        for n in range(68):
            for k in range(3):
                vertex = tiny_face_data.landmark_vertices[n, k]
                weight = tiny_face_data.landmark_barycentrics[n, k]
                expected[b, n] += weight * vertices[b, vertex].numpy()
    np.testing.assert_allclose(tiny_face_model.landmarks(vertices).numpy(), expected, atol=1e-6)


def test_any_number_of_landmarks_and_no_texture_coordinates(tiny_face_data: FaceModelData):
    data = replace(
        tiny_face_data,
        landmark_vertices=tiny_face_data.landmark_vertices[:5],
        landmark_barycentrics=tiny_face_data.landmark_barycentrics[:5],
        uv=None,
    )
    model = FaceModel(data)
    assert model.uv is None
    assert model.landmarks(model.mean_shape.reshape(1, -1, 3)).shape == (1, 5, 3)


def test_normals_are_unit_and_outwards(tiny_face_model: FaceModel):
    vertices = tiny_face_model.shape(torch.zeros(1, 3), torch.zeros(1, 2))
    normals = tiny_face_model.normals(vertices)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(1, 224))
    assert (normals[..., 2] > 0).all()  # a height field seen from the camera


def test_units_are_rows_of_the_matrix(tiny_face_model: FaceModel):
    assert tiny_face_model.units({"jawOpen": 0.5}).tolist() == [[0.5, 0.0]]
    assert tiny_face_model.units({"jawOpen": 1.0, "mouthSmile": 0.5}).tolist() == [[1.25, -1.0]]
    assert tiny_face_model.units({}).tolist() == [[0.0, 0.0]]


def test_unknown_unit_is_named_with_what_there_is(tiny_face_model: FaceModel):
    with pytest.raises(ValueError, match=r"no expression unit jawopen.*jawOpen, mouthSmile"):
        tiny_face_model.units({"jawopen": 1.0})


def test_a_model_without_units(tiny_face_data: FaceModelData):
    model = FaceModel(replace(tiny_face_data, unit_names=(), unit_matrix=np.zeros((0, 0))))
    with pytest.raises(ValueError, match="it has: none"):
        model.units({"jawOpen": 1.0})


def test_decoder_gradients(tiny_face_model: FaceModel):
    model = tiny_face_model.double()
    identity = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)
    expression = torch.randn(1, 2, dtype=torch.float64, requires_grad=True)
    texture = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)

    def landmarks_and_normals(identity: torch.Tensor, expression: torch.Tensor):
        vertices = model.shape(identity, expression)
        return model.landmarks(vertices)[:, ::7], model.normals(vertices)[:, ::20]

    assert torch.autograd.gradcheck(landmarks_and_normals, (identity, expression))
    assert torch.autograd.gradcheck(model.albedo, (texture,))


def test_nothing_of_it_enters_checkpoints(tiny_face_model: FaceModel):
    assert not tiny_face_model.state_dict()
    assert not list(tiny_face_model.parameters())


def test_layout_follows_the_bases(tiny_face_model: FaceModel):
    sizes = {block.name: block.size for block in tiny_face_model.layout.blocks}
    assert (sizes["identity"], sizes["expression"], sizes["texture"]) == (3, 2, 3)


def test_arrays_are_copied(tiny_face_data: FaceModelData):
    model = FaceModel(tiny_face_data)
    before = model.mean_shape.clone()
    tiny_face_data.mean_shape[:] = 0
    tiny_face_data.triangles[:] = 0
    assert torch.equal(model.mean_shape, before)
    assert model.triangles.any()


BROKEN = {
    "mean_shape": np.zeros((224, 2), np.float32),
    "identity_basis": np.zeros((223, 3, 3), np.float32),
    "expression_basis": np.zeros((224, 2, 3), np.float32),
    "albedo_sigma": np.ones(4, np.float32),
    "landmark_barycentrics": np.zeros((67, 3), np.float32),
    "skin_mask": np.zeros(223, np.float32),
    "alignment_points": np.zeros((4, 3), np.float32),
    "unit_matrix": np.zeros((3, 2), np.float32),
}


@pytest.mark.parametrize("name", BROKEN)
def test_contradicting_shapes_are_named(tiny_face_data: FaceModelData, name: str):
    with pytest.raises(ValueError, match=rf"face model tiny: {name} is \("):
        FaceModel(replace(tiny_face_data, **{name: BROKEN[name]}))


@pytest.mark.parametrize("name", ["mean_shape", "albedo_basis", "uv", "landmark_barycentrics"])
def test_non_finite_arrays_are_named(tiny_face_data: FaceModelData, name: str):
    array = getattr(tiny_face_data, name).copy()
    array.flat[3] = np.nan
    with pytest.raises(ValueError, match=f"{name} holds non-finite"):
        FaceModel(replace(tiny_face_data, **{name: array}))


@pytest.mark.parametrize("name", ["triangles", "front_triangles", "landmark_vertices"])
@pytest.mark.parametrize("index", [-1, 224])
def test_indices_outside_the_mesh_are_named(tiny_face_data: FaceModelData, name: str, index: int):
    array = getattr(tiny_face_data, name).copy()
    array[1, 1] = index
    with pytest.raises(ValueError, match=rf"{name} must index its 224 vertices"):
        FaceModel(replace(tiny_face_data, **{name: array}))


def test_fingerprint_depends_on_content_not_on_memory(tiny_face_data: FaceModelData):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert array_fingerprint(array) == array_fingerprint(np.asfortranarray(array))
    assert array_fingerprint(array) == array_fingerprint(array.astype(">f4"))
    assert array_fingerprint(array) != array_fingerprint(array.reshape(4, 3))
    assert array_fingerprint(array) != array_fingerprint(array + 1)
    basis = tiny_face_data.identity_basis.copy()
    basis[0, 0, 0] += 1e-3
    changed = replace(tiny_face_data, identity_basis=basis)
    assert changed.card.fingerprint != tiny_face_data.card.fingerprint
    assert replace(tiny_face_data, fingerprint="abc").card.fingerprint == "abc"


class TestOpenModel:
    """What the program relies on in the face model that comes with it."""

    def test_has_the_published_layout(self, open_face_model: FaceModel):
        assert open_face_model.layout.size == 257
        assert 9_000 < open_face_model.vertex_count < 12_000
        assert len(open_face_model.unit_names) == 52

    def test_faces_the_camera_upright(self, open_face_model: FaceModel):
        zero = open_face_model.layout.zeros(1)
        vertices = open_face_model.shape(zero.identity, zero.expression)
        landmarks = open_face_model.landmarks(vertices)
        left_eye, right_eye, nose, left_mouth, right_mouth = five_from_68(landmarks)[0]
        assert left_eye[0] < 0 < right_eye[0]
        assert left_mouth[0] < 0 < right_mouth[0]
        assert min(left_eye[1], right_eye[1]) > nose[1] > max(left_mouth[1], right_mouth[1])
        assert nose[2] > max(left_eye[2], right_eye[2])
        assert 0.5 < float(right_eye[0] - left_eye[0]) < 0.8  # decimetres

    def test_alignment_points_are_those_of_the_landmarks(self, open_face_model: FaceModel):
        zero = open_face_model.layout.zeros(1)
        landmarks = open_face_model.landmarks(open_face_model.shape(zero.identity, zero.expression))
        distance = (five_from_68(landmarks)[0] - open_face_model.alignment_points).norm(dim=-1)
        assert distance.max() < 0.05

    def test_albedo_lies_in_range(self, open_face_model: FaceModel):
        albedo = open_face_model.albedo(torch.zeros(1, 80))
        assert albedo.min() >= 0 and albedo.max() <= 1

    def test_front_is_a_part_that_holds_the_inner_face(self, open_face_model: FaceModel):
        every = {tuple(row) for row in open_face_model.triangles.tolist()}
        front = {tuple(row) for row in open_face_model.front_triangles.tolist()}
        assert front < every
        vertices = {v for row in front for v in row}
        inner = open_face_model.landmark_embedding.vertices[17:].flatten().tolist()
        assert np.mean([v in vertices for v in inner]) > 0.9

    def test_barycentrics_sum_to_one(self, open_face_data: FaceModelData):
        weights = open_face_data.landmark_barycentrics
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
        assert weights.min() >= -1e-6

    def test_jaw_open_lowers_the_chin(self, open_face_model: FaceModel):
        identity = torch.zeros(1, 80)
        closed = open_face_model.landmarks(open_face_model.shape(identity, torch.zeros(1, 64)))
        opened = open_face_model.landmarks(
            open_face_model.shape(identity, open_face_model.units({"jawOpen": 1.0}))
        )
        assert opened[0, 8, 1] < closed[0, 8, 1] - 0.05
        assert opened[0, 66, 1] < closed[0, 66, 1]  # inner lower lip
        assert abs(opened[0, 30, 1] - closed[0, 30, 1]) < 0.02  # nose tip


def test_every_array_follows_every_move(tiny_face_model: FaceModel):
    """Also the second one: no array is left where the first one put it."""
    for target in (torch.float64, torch.float32):
        tiny_face_model.to(target)
        floating = [b for b in tiny_face_model.buffers() if b.is_floating_point()]
        assert floating and all(buffer.dtype == target for buffer in floating)
    tiny_face_model.to("meta")
    tensors = [value for value in vars(tiny_face_model).values() if torch.is_tensor(value)]
    assert all(tensor.device.type == "meta" for tensor in [*tiny_face_model.buffers(), *tensors])
