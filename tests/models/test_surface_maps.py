"""Maps of a ball, whose depth and normals are known; which of its vertices are seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from models import surface_maps as module
from models.camera import Camera
from models.renderer import Renderer
from models.surface_maps import seen_vertices, surface_maps

RADIUS = 0.8


@pytest.fixture(scope="module")
def ball() -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices around the object frame's origin, which are their normals too, and triangles."""
    mesh = trimesh.creation.icosphere(subdivisions=4)
    return torch.tensor(mesh.vertices), torch.tensor(mesh.faces, dtype=torch.int32)


def test_depth_and_normals_of_a_ball(ball):
    directions, triangles = ball
    camera = Camera.rnet().to(torch.float64)
    vertices = camera.from_object(RADIUS * directions[None])[0]
    maps = surface_maps(vertices, directions, triangles, camera, Renderer())
    rows, columns = np.nonzero(maps.mask.numpy())
    # The nearer crossing of each pixel's ray with the ball, whose centre is 10 dm away.
    rays = np.c_[(columns + 0.5 - 112) / 1015, (111.5 - rows) / 1015, np.ones(len(rows))]
    a, b, c = (rays**2).sum(axis=1), -20 * rays[:, 2], 100 - RADIUS**2
    root = b**2 - 4 * a * c
    inner = root > 0.2 * root.max()  # at the rim, triangles are no ball
    depth = (-b - np.sqrt(root.clip(0))) / (2 * a)
    found = maps.depth_dm.numpy()[rows, columns]
    np.testing.assert_allclose(found[inner], depth[inner], atol=3e-3)
    points = rays * depth[:, None]
    normals = np.c_[points[:, :2], 10 - points[:, 2]] / RADIUS
    turned = (maps.normals.numpy()[rows, columns] * normals).sum(axis=1)
    assert turned[inner].min() > 0.999
    empty = ~maps.mask
    assert not maps.depth_dm[empty].any() and not maps.normals[empty].any()
    # Right of the middle, normals point to the right; above it, upwards.
    assert maps.normals[112, 150, 0] > 0.3 and maps.normals[70, 112, 1] > 0.3


def test_strips_are_parts_of_the_whole(ball, monkeypatch: pytest.MonkeyPatch):
    directions, triangles = ball
    camera = Camera.rnet().to(torch.float64)
    arguments = camera.from_object(directions[None])[0], directions, triangles, camera
    whole = surface_maps(*arguments, Renderer())
    monkeypatch.setattr(module, "STRIP_PX", 37 * 224)
    parts = surface_maps(*arguments, Renderer())
    for name, each in vars(whole).items():
        torch.testing.assert_close(each, getattr(parts, name), atol=1e-4, rtol=0)


def test_vertices_are_seen_that_face_the_camera(ball):
    directions, triangles = ball
    camera = Camera.rnet()
    vertices = camera.from_object(RADIUS * directions[None])[0]
    seen = seen_vertices(vertices, triangles, camera, Renderer()).numpy()
    rise = directions[:, 2].numpy()  # the horizon lies at RADIUS / 10
    assert seen[rise > 0.16].all() and not seen[rise < 0.0].any()


def test_what_lies_behind_or_outside_is_not_seen(ball):
    """A second ball, left of the first, that hides a part of it, and that leaves the photo."""
    directions, triangles = ball
    camera = Camera.rnet()
    behind = RADIUS * directions
    before = 0.3 * directions + torch.tensor([-0.6, 0.0, 1.5])
    both = camera.from_object(torch.cat([behind, before])[None])[0]
    faces = torch.cat([triangles, triangles + len(directions)])
    seen = seen_vertices(both, faces, camera, Renderer()).numpy()
    pixels = camera.project(both[None].float())[0].numpy()
    centre = camera.project(camera.from_object(torch.tensor([[[-0.6, 0.0, 1.5]]])))[0, 0].numpy()
    distance = np.linalg.norm(pixels[: len(directions)] - centre, axis=1)
    in_shadow = (distance < 30) & (directions[:, 2].numpy() > 0.2)
    assert in_shadow.sum() > 20 and not seen[: len(directions)][in_shadow].any()
    free = (distance > 45) & (directions[:, 2].numpy() > 0.2)
    assert seen[: len(directions)][free].all() and seen[len(directions) :].any()

    moved = camera.regrid(torch.ones(1, 2), torch.tensor([[-112.0, 0.0]]), (112, 224))
    cut = seen_vertices(both, faces, moved, Renderer()).numpy()
    np.testing.assert_array_equal(cut, seen & (pixels[:, 0] >= 112))
