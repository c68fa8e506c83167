"""Tables of a face model: against finite differences of the face itself."""

from __future__ import annotations

import pytest
import torch

from models.face_model import FaceModel, FaceModelData
from models.fitting.derivatives import FaceDerivatives, LandmarkTables, shape_columns
from options.face_options import FaceModelOptions
from tests.models.fitting.faces import by_steps, with_contour
from util.assets import load_face_model


def test_tables_are_the_derivatives_about_the_mean_face(tiny_face_model: FaceModel):
    model = tiny_face_model.double()
    tables = FaceDerivatives.of(model)
    mean = model.layout.zeros(1).to(torch.float64)

    def surface(coefficients) -> torch.Tensor:
        vertices = model.shape(coefficients.identity, coefficients.expression)
        return torch.cat([vertices, model.normals(vertices)], dim=2)[0]

    found = by_steps(model, surface, mean)
    shape_size = tables.surface.shape[2]
    torch.testing.assert_close(tables.surface, found[..., :shape_size], rtol=1e-6, atol=1e-8)
    assert not found[..., shape_size:].any()
    colours = by_steps(model, lambda coefficients: model.albedo(coefficients.texture)[0], mean)
    texture = colours[..., model.layout.slices["texture"]]
    torch.testing.assert_close(tables.albedo, texture, rtol=1e-6, atol=1e-8)


def test_the_front_is_found_among_all_triangles(tiny_face_model: FaceModel):
    model = tiny_face_model
    is_front = FaceDerivatives.of(model).is_front
    assert not is_front[-1]  # what an empty pixel sees
    wanted = {tuple(row) for row in model.front_triangles.tolist()}
    chosen = {tuple(row) for row in model.triangles[is_front[:-1]].tolist()}
    assert chosen == wanted
    assert 0 < len(wanted) < len(model.triangles)


@pytest.mark.parametrize("level", [0, 1])
def test_what_surrounds_an_eye(level: int):
    """Of the open model: lids, neither brows nor nose nor the eye itself."""
    model = load_face_model(FaceModelOptions(face_model=f"open@{level}"))
    found = FaceDerivatives.of(model).is_about_eyes
    assert found.shape == (len(model.triangles) + 1,) and not found[-1]
    inside = torch.zeros(model.vertex_count, dtype=torch.bool)
    inside[model.triangles[found[:-1]].long()] = True
    share = {name: inside[region].double().mean() for name, region in model.regions.items()}
    assert share["lids"] > 0.9 and share["brows"] < 0.1
    assert share["eyeballs"] == share["iris"] == share["lips"] == 0
    # As many left as right of the nose.
    across = model.mean_shape.reshape(-1, 3)[inside, 0]
    assert (across > 0).sum() == (across < 0).sum()


def test_irises_are_those_that_the_model_names(
    tiny_face_model: FaceModel, open_face_model: FaceModel
):
    found = FaceDerivatives.of(open_face_model).is_iris
    assert not found[:, -1].any()  # what an empty pixel sees
    for eye, name in zip(found, ("eye_right", "eye_left"), strict=True):
        corners = open_face_model.triangles[eye[:-1]].long()
        iris = open_face_model.regions["iris"] & open_face_model.regions[name]
        assert iris[corners].all() and len(corners.unique()) > 0.9 * int(iris.sum())
    assert not FaceDerivatives.of(tiny_face_model).is_iris.any()


@pytest.mark.parametrize("slides", [False, True])
def test_landmarks_follow_their_table(slides: bool, tiny_face_data: FaceModelData):
    data = with_contour(tiny_face_data) if slides else tiny_face_data
    model = FaceModel(data).double()
    yaw = torch.tensor([0.4, -0.9], dtype=torch.float64)
    shape = torch.randn(2, 5, dtype=torch.float64)
    mean, basis = LandmarkTables.of(model).at(yaw)
    vertices = model.shape(shape[:, :3], shape[:, 3:])
    # The points' own weights sum to 1 in single precision.
    torch.testing.assert_close(
        mean + (basis @ shape[:, None, :, None])[..., 0],
        model.landmarks(vertices, yaw),
        rtol=0,
        atol=1e-7,
    )
    assert bool((basis[0] != basis[1]).any()) == slides


def test_a_part_has_the_columns_of_its_blocks(tiny_face_model: FaceModel):
    whole = FaceDerivatives.of(tiny_face_model)
    layout = tiny_face_model.layout
    part = whole.only(tiny_face_model, layout.only(("expression", "gamma")))
    assert torch.equal(part.surface, whole.surface[..., layout.slices["expression"]])
    assert part.albedo.shape[2] == 0
    part = whole.only(tiny_face_model, layout.only(("identity", "expression", "texture")))
    assert torch.equal(part.surface, whole.surface) and torch.equal(part.albedo, whole.albedo)
    with pytest.raises(ValueError, match="expression is never held fixed"):
        shape_columns(layout, layout.only(("identity", "texture")))
