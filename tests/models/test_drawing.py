"""Landmark dots: centred on their pixel, cut at the border; heads that bear a texture, turned."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from models.camera import Camera
from models.drawing import (
    VIEW_YAWS_DEG,
    draw_landmarks,
    textured_views,
    with_mouths_of_photos,
)
from models.face_model import FaceModel
from models.mouth import behind_lips
from models.mouth_membrane import mouth_screen
from models.renderer import Renderer
from models.stages import Reconstruction, pose_face, reconstruct

RED = (1.0, 0.0, 0.0)


def drawn_pixels(image: torch.Tensor) -> set[tuple[int, int]]:
    """(row, column) of every red pixel."""
    return {(int(r), int(c)) for r, c in (image[0] == 1).nonzero()}


def test_a_dot_is_centred_on_the_pixel_of_its_landmark():
    points = torch.tensor([[[4.5, 7.5]]])
    image = draw_landmarks(torch.zeros(1, 3, 12, 10), points, RED)[0]
    assert drawn_pixels(image) == {(r, c) for r in (6, 7, 8) for c in (3, 4, 5)}
    assert not image[1:].any()


def test_any_point_of_a_pixel_draws_the_same_dot():
    low = draw_landmarks(torch.zeros(1, 3, 9, 9), torch.tensor([[[4.0, 4.0]]]), RED)
    high = draw_landmarks(torch.zeros(1, 3, 9, 9), torch.tensor([[[4.99, 4.99]]]), RED)
    assert torch.equal(low, high)


def test_radius_zero_is_one_pixel():
    image = draw_landmarks(torch.zeros(1, 3, 9, 9), torch.tensor([[[2.2, 3.9]]]), RED, radius=0)
    assert drawn_pixels(image[0]) == {(3, 2)}


def test_dots_at_the_border_are_cut_not_wrapped():
    points = torch.tensor([[[0.5, 0.5], [9.9, 5.0]]])
    image = draw_landmarks(torch.zeros(1, 3, 8, 10), points, RED)[0]
    assert drawn_pixels(image) == {(0, 0), (0, 1), (1, 0), (1, 1)} | {
        (r, c) for r in (4, 5, 6) for c in (8, 9)
    }


def test_landmarks_far_outside_draw_nothing():
    points = torch.tensor([[[-50.0, 4.0], [4.0, 1e6], [float("inf"), 0.0]]])
    assert not draw_landmarks(torch.zeros(1, 3, 8, 8), points, RED).any()


def test_items_are_drawn_apart_and_the_input_stays():
    images = torch.zeros(2, 3, 9, 9)
    points = torch.tensor([[[2.5, 2.5]], [[6.5, 6.5]]])
    result = draw_landmarks(images, points, (0.25, 0.5, 0.75), radius=0)
    assert not images.any()
    assert result[0, :, 2, 2].tolist() == [0.25, 0.5, 0.75]
    assert result[1, :, 6, 6].tolist() == [0.25, 0.5, 0.75]
    assert (result > 0).sum() == 6


def test_a_textured_board_is_seen_from_three_sides():
    """A square of 2 dm about the origin whose texture is as red as u and as green as v."""
    corners = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    uv = (corners[:, :2] + 1) / 2
    steps = (torch.arange(256) + 0.5) / 256
    red, green = torch.meshgrid(steps, steps.flip(0), indexing="xy")
    texture = torch.stack([red, green, torch.zeros(256, 256)])[None]
    camera = Camera.rnet()
    size = camera.width
    pictures = textured_views(corners, faces, uv, faces, texture, Renderer(), camera)
    assert pictures.shape == (1, 3, size, 3 * size)
    for view, yaw_deg in zip(pictures[0].split(size, dim=2), VIEW_YAWS_DEG, strict=True):
        seen = view[2] == 0
        for x, y in ((-0.6, 0.4), (0.5, -0.7), (0.0, 0.0), (0.8, 0.8)):
            yaw = math.radians(yaw_deg)
            turned = torch.tensor([[[x * math.cos(yaw), y, -x * math.sin(yaw)]]])
            column, row = camera.project(camera.from_object(turned))[0, 0].floor().int().tolist()
            assert seen[row, column]
            assert view[:2, row, column].tolist() == pytest.approx(
                [(x + 1) / 2, (y + 1) / 2], abs=0.01
            )
        outline = (view[2] > 0) & (view[2] < 1)
        assert outline.any() and view[:, 0, 0].tolist() == [1, 1, 1]


def test_mouths_have_the_teeth_of_their_photos(open_face_model: FaceModel):
    """Behind the lips, and nowhere else; models without an inside of the mouth stay."""
    model, camera = open_face_model, Camera.rnet()
    wide = model.units({"jawOpen": 0.5})
    faces = replace(model.layout.zeros(2), expression=torch.cat([wide, torch.zeros_like(wide)]))
    made = reconstruct(model, Renderer(), camera, faces)
    teeth = torch.tensor([0.9, 0.8, 0.7])
    photos = teeth[:, None, None].expand(2, 3, camera.height, camera.width)
    screen, own, inside = mouth_screen(model), made.posed.colours, behind_lips(model)

    def painted(photos: torch.Tensor, made: Reconstruction) -> torch.Tensor:
        return with_mouths_of_photos(model, Renderer(), camera, photos, made, screen)

    colours = painted(photos, made)
    assert torch.equal(colours[:, ~inside], own[:, ~inside])
    changed = (colours != own).any(dim=2)
    torch.testing.assert_close(colours[changed], teeth.expand(int(changed.sum()), 3))
    assert changed[0].any()
    # Lips have another colour, of which nothing goes inside.
    ids = made.rendering.fragments.triangle_id.long()
    lips = (ids >= 0) & ~inside[model.triangles[ids].long()].all(dim=-1)
    two_colours = torch.where(lips[:, None], torch.tensor([1.0, 0, 0])[:, None, None], photos)
    redder = (painted(two_colours, made) - colours)[changed]
    assert (redder[:, 0] < 0.02).float().mean() > 0.9
    # What the next view would show: all of the front of the mouth.
    assert screen is not None
    turned = replace(faces, angles_rad=torch.tensor([[0.0, 0.5, 0.0]]).expand(2, 3))
    posed = pose_face(model, screen(made.shaped), turned, camera)
    ids = Renderer()(posed.vertices_camera, model.triangles, camera).fragments.triangle_id[0]
    seen = model.triangles[ids[ids >= 0].long()].long().unique()
    assert changed[0][seen[inside[seen]]].float().mean() > 0.9
    # Each face has its own photo's, wherever it shows what.
    photos = torch.rand(2, 3, camera.height, camera.width)
    both = painted(photos, made)
    for number in range(2):
        part = reconstruct(model, Renderer(), camera, faces.item(number))
        alone = painted(photos[number : number + 1], part)
        torch.testing.assert_close(both[number], alone[0])
    model.regions.pop("mouth_cavity")
    screen = mouth_screen(model)
    assert screen is None and torch.equal(painted(photos, made), own)
