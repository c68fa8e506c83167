"""Levels of detail and regions of the open face model: the same face on other meshes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.stages import pose_face, shape_face
from options.face_options import FaceModelOptions
from util.assets import OPEN_FACE_MODEL, read_chosen_face_model
from util.errors import InputError
from util.model_files.face_model_file import read_face_model, write_face_model
from util.surface import nearest_on_surface


@pytest.fixture(scope="module", params=[(0, "face"), (2, "face"), (0, "head"), (2, "head")])
def other(request) -> FaceModelData:
    level, region = request.param
    return read_face_model(OPEN_FACE_MODEL, level, region)


@pytest.fixture(scope="module")
def head() -> FaceModelData:
    return read_face_model(OPEN_FACE_MODEL, 1, "head")


def landmarks(data: FaceModelData) -> np.ndarray:
    corners = data.mean_shape[data.landmark_vertices]
    return np.einsum("lk,lkd->ld", data.landmark_barycentrics, corners)


def valence(data: FaceModelData) -> int:
    return int(np.bincount(data.triangles.ravel()).max())


def test_sizes_are_those_of_the_levels(open_face_data: FaceModelData):
    coarse = read_face_model(OPEN_FACE_MODEL, 0)
    fine = read_face_model(OPEN_FACE_MODEL, 2)
    assert 2000 <= len(coarse.mean_shape) <= 3000
    assert 8000 <= len(open_face_data.mean_shape) <= 11000
    assert 34000 <= len(fine.mean_shape) <= 42000


def test_a_level_is_a_valid_model_of_the_same_coefficients(
    other: FaceModelData, open_face_data: FaceModelData
):
    FaceModel(other)  # which checks every array against the others
    assert other.card == open_face_data.card
    assert valence(other) <= 8
    edges = np.sort(other.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2


def test_levels_agree_in_shape_and_colour(other: FaceModelData, head: FaceModelData):
    random = np.random.default_rng(0)
    weights = random.normal(size=other.identity_basis.shape[2])
    points, truth = (m.mean_shape + m.identity_basis @ weights for m in (other, head))
    # Away from lids and lips, where the surface nearly touches itself.
    skin = other.skin_mask > 0.99
    found = nearest_on_surface(points[skin], truth, head.triangles)
    assert found.distances.max() < 0.015 and found.distances.mean() < 0.001
    on_mean = nearest_on_surface(other.mean_shape[skin], head.mean_shape, head.triangles)
    difference = on_mean.mix(head.mean_albedo) - other.mean_albedo[skin]
    assert np.abs(difference).mean() < 0.005


def test_landmarks_stay_in_place(other: FaceModelData, open_face_data: FaceModelData):
    assert np.allclose(other.landmark_barycentrics.sum(axis=1), 1, atol=1e-5)
    distance = np.linalg.norm(landmarks(other) - landmarks(open_face_data), axis=1)
    assert distance.max() < 0.012  # dm


def test_landmarks_between_the_lids_follow_them_at_all_levels(
    other: FaceModelData, open_face_data: FaceModelData
):
    """They are on no eyeball; closing the eyes moves them as at level 1."""
    eyes = slice(36, 48)
    corners = other.landmark_vertices[eyes]
    assert not other.regions["eyeballs"][corners].any()
    moved = []
    for data in (other, open_face_data):
        known = list(data.unit_names)
        blink = sum(data.unit_matrix[known.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
        motion = (data.expression_basis @ blink)[data.landmark_vertices[eyes]]
        moved.append(np.einsum("lk,lkd->ld", data.landmark_barycentrics[eyes], motion))
    here, there = moved
    assert np.abs(there[:, 1]).max() > 0.05
    # Level 0 lacks most of the lids' vertices.
    worst = np.linalg.norm(here - there, axis=1).max()
    assert worst < (0.02 if len(other.mean_shape) < 5000 else 0.006)


def test_a_refined_mesh_holds_the_one_that_was_refined(
    other: FaceModelData, head: FaceModelData, open_face_data: FaceModelData
):
    """Its vertices and texture coordinates come first, a little smoothed."""
    coarser = other.coarser
    if len(other.mean_shape) < len(open_face_data.mean_shape):
        assert coarser is None
        return
    assert coarser is not None and coarser.uv is not None and other.uv is not None
    count = coarser.vertex_count
    whole = next(m for m in (open_face_data, head) if len(m.mean_shape) == count)
    assert np.array_equal(coarser.triangles, whole.triangles)
    assert whole.uv_triangles is not None and coarser.uv_triangles is not None
    assert np.array_equal(coarser.uv_triangles, whole.uv_triangles)
    assert np.array_equal(other.uv[: len(coarser.uv)], coarser.uv)
    moved = np.linalg.norm(other.mean_shape[:count] - whole.mean_shape, axis=1)
    assert moved.mean() < 0.002 and moved[whole.skin_mask > 0.99].max() < 0.03  # dm
    shown = replace(
        other,
        landmark_vertices=coarser.landmark_vertices,
        landmark_barycentrics=coarser.landmark_barycentrics,
    )
    assert np.linalg.norm(landmarks(shown) - landmarks(other), axis=1).max() < 0.03


def test_the_head_continues_the_face(head: FaceModelData, open_face_data: FaceModelData):
    face = len(open_face_data.mean_shape)
    for name in ("mean_shape", "identity_basis", "expression_basis", "mean_albedo", "albedo_basis"):
        assert np.array_equal(getattr(head, name)[:face], getattr(open_face_data, name)), name
    of_face = len(open_face_data.triangles)
    assert np.array_equal(head.triangles[:of_face], open_face_data.triangles)
    assert np.array_equal(head.front_triangles, open_face_data.front_triangles)
    # Ears and the back of the head.
    assert head.mean_shape[:, 2].min() < open_face_data.mean_shape[:, 2].min() - 0.8
    assert np.abs(head.mean_shape[:, 0]).max() > np.abs(open_face_data.mean_shape[:, 0]).max()


def test_texture_coordinates_follow_the_mesh(other: FaceModelData):
    assert other.uv is not None and other.uv_triangles is not None
    a, b, c = np.moveaxis(other.uv[other.uv_triangles].astype(float), 1, 0)
    turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (turned > 0).mean() > 0.99  # no triangle lies on its back
    assert np.abs(turned).sum() / 2 > 0.4  # the picture is used, by the face alone as well


def test_levels_are_chosen_by_name():
    data, _ = read_chosen_face_model(FaceModelOptions(face_model="open@0", face_region="head"))
    assert len(data.mean_shape) == len(read_face_model(OPEN_FACE_MODEL, 0, "head").mean_shape)
    fixed, _ = read_chosen_face_model(FaceModelOptions(face_model="open", jaw_landmarks="fixed"))
    assert fixed.contour is None
    with pytest.raises(InputError, match=r"--face_model open@3: .*open@0"):
        read_chosen_face_model(FaceModelOptions(face_model="open@3"))


def test_files_without_levels_say_so(tmp_path: Path, open_face_data: FaceModelData):
    path = tmp_path / "one.npz"
    write_face_model(path, open_face_data)
    with pytest.raises(InputError, match="one level of detail"):
        read_face_model(path, 2)
    with pytest.raises(InputError, match="--face_region head"):
        read_chosen_face_model(FaceModelOptions(face_model=str(path), face_region="head"))
    with pytest.raises(InputError, match="--face_region head: face model bfm09"):
        read_chosen_face_model(FaceModelOptions(face_model="bfm09", face_region="head"))


def test_the_jaw_slides_to_the_silhouette_without_jumps():
    """Half a degree moves no landmark by a pixel; the far side's end up near the outline."""
    options = FaceModelOptions(face_model="open", jaw_landmarks="silhouette")
    model, camera = FaceModel(read_chosen_face_model(options)[0]), Camera.rnet()
    yaws = torch.arange(-70, 70.1, 0.5).deg2rad()
    for pitch in (0.0, 20.0):
        flat = torch.zeros(len(yaws), model.layout.size)
        angles = model.layout.slices["angles_rad"].start
        flat[:, angles], flat[:, angles + 1] = np.radians(pitch), yaws
        coefficients = model.layout.split(flat)
        posed = pose_face(model, shape_face(model, coefficients), coefficients, camera)
        fixed = camera.project(model.landmarks(posed.vertices_camera))
        step = (posed.landmarks_px - fixed).diff(dim=0).norm(dim=2)
        assert step.max() < 1.0
    # Turned to its left by 45 degrees, a face has its left cheek's outline at the right.
    flat = torch.zeros(1, model.layout.size)
    flat[:, angles + 1] = np.radians(45)
    coefficients = model.layout.split(flat)
    posed = pose_face(model, shape_face(model, coefficients), coefficients, camera)
    outline = camera.project(posed.vertices_camera)[0]
    for number in (13, 14, 15):
        x, y = posed.landmarks_px[0, number]
        level = (outline[:, 1] - y).abs() < 1.5
        skin = level & ~model.regions["eyeballs"]
        assert outline[skin, 0].max() - x < 4
        fixed = camera.project(model.landmarks(posed.vertices_camera))[0, number]
        assert x > fixed[0]
