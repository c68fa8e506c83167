"""Light and albedo in closed form: recovered from pictures rendered with known ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.appearance import solve_appearance, visible_vertices
from models.camera import Camera
from models.face_model import FaceModel
from models.parameters import Coefficients
from models.renderer import Renderer
from models.stages import Reconstruction, reconstruct
from util.assets import OPEN_FACE_MODEL
from util.model_files.face_model_file import read_face_model


def render(model: FaceModel, coefficients: Coefficients) -> Reconstruction:
    return reconstruct(model, Renderer("auto"), Camera.rnet(), coefficients)


def image_of(reconstruction: Reconstruction) -> torch.Tensor:
    assert reconstruction.rendering.image is not None
    return reconstruction.rendering.image


def full_skin(batch: int) -> torch.Tensor:
    return torch.ones(batch, 1, 224, 224)


@pytest.fixture
def truth(open_face_model: FaceModel) -> Coefficients:
    """Two turned faces under skewed, nearly white light, with unusual skin."""
    zero = open_face_model.layout.zeros(2)
    light = torch.zeros(2, 3, 9)
    light[0, :, 1:4] = torch.tensor([-0.15, 0.1, -0.2])
    light[1, :, 0:4] = torch.tensor([-0.15, 0.1, 0.05, 0.15])
    texture = torch.zeros(2, open_face_model.albedo_sigma.numel())
    texture[0, :4] = torch.tensor([0.8, -0.6, 0.5, 0.0])
    texture[1, :4] = torch.tensor([-0.7, 0.4, 0.3, -0.5])
    return replace(
        zero,
        angles_rad=torch.tensor([[0.1, 0.3, 0.0], [-0.1, -0.2, 0.1]]),
        gamma=light.flatten(1),
        texture=texture,
    )


def test_light_and_texture_are_recovered(open_face_model: FaceModel, truth: Coefficients):
    photos = image_of(render(open_face_model, truth))
    neutral = open_face_model.layout.zeros(2)
    start = replace(truth, gamma=neutral.gamma, texture=neutral.texture)
    before = render(open_face_model, start)
    camera = Camera.rnet()
    solved = solve_appearance(open_face_model, camera, before, photos, full_skin(2))
    after = image_of(render(open_face_model, solved))
    region = before.face_mask
    error_before = ((image_of(before) - photos).abs() * region).sum() / (3 * region.sum())
    error_after = ((after - photos).abs() * region).sum() / (3 * region.sum())
    assert error_before > 0.05
    assert error_after < 0.01
    assert (solved.gamma - truth.gamma).abs().max() < 0.12
    # Bright skin in dim light looks like dark skin in bright light, so the priors share it out.
    light_error = (solved.gamma - truth.gamma).norm() / truth.gamma.norm()
    assert light_error < 0.5


def test_only_light_and_texture_change(open_face_model: FaceModel, truth: Coefficients):
    before = render(open_face_model, truth)
    solved = solve_appearance(
        open_face_model, Camera.rnet(), before, torch.rand(2, 3, 224, 224), full_skin(2)
    )
    for name, block in truth.items():
        same = torch.equal(getattr(solved, name), block)
        assert same == (name not in ("gamma", "texture")), name
        assert torch.isfinite(getattr(solved, name)).all()


def test_items_are_solved_alone(open_face_model: FaceModel, truth: Coefficients):
    before = render(open_face_model, truth)
    photos = image_of(before)
    both = solve_appearance(open_face_model, Camera.rnet(), before, photos, full_skin(2))
    one = render(open_face_model, truth.item(1))
    alone = solve_appearance(open_face_model, Camera.rnet(), one, photos[1:], full_skin(1))
    torch.testing.assert_close(both.gamma[1:], alone.gamma, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(both.texture[1:], alone.texture, atol=1e-3, rtol=1e-3)


def test_a_patch_that_is_no_skin_is_not_explained(open_face_model: FaceModel, truth: Coefficients):
    """A black bar over the eyes that the skin mask excludes leaves the solution as it was."""
    before = render(open_face_model, truth)
    photos, skin = image_of(before).clone(), full_skin(2)
    clean = solve_appearance(open_face_model, Camera.rnet(), before, photos, skin)
    skin[:, :, 70:105] = 0
    masked = solve_appearance(open_face_model, Camera.rnet(), before, photos, skin)
    photos[:, :, 72:103] = 0
    barred = solve_appearance(open_face_model, Camera.rnet(), before, photos, skin)
    torch.testing.assert_close(barred.gamma, masked.gamma, atol=2e-2, rtol=0)
    assert (barred.gamma - clean.gamma).abs().max() < 0.15


def test_without_visible_skin_nothing_changes(open_face_model: FaceModel, truth: Coefficients):
    before = render(open_face_model, truth)
    photos = image_of(before)
    skin = torch.zeros(2, 1, 224, 224)
    solved = solve_appearance(open_face_model, Camera.rnet(), before, photos, skin)
    assert torch.equal(solved.gamma, truth.gamma)
    assert torch.equal(solved.texture, truth.texture)


def test_visible_vertices_face_the_camera(open_face_model: FaceModel, truth: Coefficients):
    reconstruction = render(open_face_model, truth)
    seen = visible_vertices(open_face_model, reconstruction)
    assert 0.2 < seen.float().mean() < 0.8
    # Straight normals on the seen side: a seen vertex hardly ever looks away from the camera.
    towards = -reconstruction.posed.vertices_camera
    towards = towards * torch.tensor([1.0, 1.0, -1.0])
    cosine = (reconstruction.posed.normals * towards).sum(dim=-1)
    assert (cosine[seen] > 0).float().mean() > 0.97
    # Only vertices of the front region.
    front = set(open_face_model.front_triangles.flatten().tolist())
    outside = [v for v in seen.any(dim=0).nonzero().flatten().tolist() if v not in front]
    assert len(outside) < 0.05 * seen.any(dim=0).sum()


def test_visible_vertices_of_a_tiny_mesh(tiny_face_model: FaceModel):
    """A dome seen from the front hides nothing of its front region."""
    result = render(tiny_face_model, tiny_face_model.layout.zeros(1))
    seen = visible_vertices(tiny_face_model, result)
    front = tiny_face_model.front_triangles.flatten().unique().long()
    assert seen[0, front].all()


def test_levels_of_detail_are_solved_alike(open_face_model: FaceModel, truth: Coefficients):
    """Under a coarser and a finer mesh a photo weighs the same against the prior."""
    photos = image_of(render(open_face_model, truth))
    neutral = open_face_model.layout.zeros(2)
    start = replace(truth, gamma=neutral.gamma, texture=neutral.texture)
    solved = {}
    for level in (0, 1, 2):
        model = FaceModel(read_face_model(OPEN_FACE_MODEL, level))
        before = render(model, start)
        solved[level] = solve_appearance(model, Camera.rnet(), before, photos, full_skin(2))
    for level in (0, 2):
        difference = (solved[level].texture - solved[1].texture).square().mean().sqrt()
        assert difference < 0.1
