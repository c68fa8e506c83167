"""The open head's topology, built of a made-up body with sockets, a mouth and a neck."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.csgraph as csgraph
from scipy.spatial.transform import Rotation

from BFM.open_model import head_mesh
from BFM.open_model.eyeballs import helper_vertices
from BFM.open_model.head_mesh import HeadMesh, build_head_mesh
from BFM.open_model.head_parts import LID_CAVITY_RINGS, SHOULDERS_DM, HeadParts, head_parts
from BFM.open_model.mesh import vertex_normals
from BFM.open_model.source import LANDMARK_BASE_VERTICES, AnnyWheel, BaseMesh
from util.model_files.subdivision import QuadMesh, coarse_quads, symmetric_matrix

MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def parts(wheel: AnnyWheel, base: BaseMesh, reference: np.ndarray) -> HeadParts:
    return head_parts(wheel, base, reference)


@pytest.fixture(scope="module")
def vertices(head: HeadMesh, reference: np.ndarray) -> np.ndarray:
    return head.subdivision @ head.control_points(reference)


def pieces(edges: np.ndarray, count: int) -> list[np.ndarray]:
    """Vertices of each connected piece of a graph of edges (E, 2)."""
    label = csgraph.connected_components(symmetric_matrix(edges, count), directed=False)[1]
    used = np.unique(edges)
    return [used[label[used] == number] for number in np.unique(label[used])]


def assert_manifold(triangles: np.ndarray) -> None:
    sides = triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    assert len(np.unique(sides, axis=0)) == len(sides), "an edge runs twice in one direction"


def test_the_head_ends_at_shoulders_and_holds_the_cavities(parts: HeadParts, reference):
    heights = reference[parts.quads][..., 1]
    chin = reference[LANDMARK_BASE_VERTICES[8], 1]
    assert chin - SHOULDERS_DM < heights.min() < chin - 0.2
    depth = parts.cavity_depth[parts.quads]
    # Of the made-up sockets' six rings the eyeballs hide the last two; the mouth's bag is whole.
    bag = parts.of_mouth[parts.quads].all(axis=1)
    assert depth[~bag].max() == LID_CAVITY_RINGS == 4
    assert depth[bag].max() == 9 and (depth[bag] > 0).any(axis=1).sum() == 8 * 12 + 8
    # Two sockets of four rings with ten quads each.
    in_lids = (depth > 0).any(axis=1) & ~bag
    assert in_lids.sum() == 2 * 4 * 10


def test_the_face_is_a_crop_without_ears_and_neck_but_with_all_cavities(
    parts: HeadParts, reference
):
    face, rest = np.split(parts.quads, [parts.face_quads])
    assert 100 < len(face) < len(parts.quads) - 100
    assert (parts.cavity_depth[rest] == 0).all()
    centres = reference[face].mean(axis=1)
    landmarks = reference[LANDMARK_BASE_VERTICES]
    assert centres[:, 2].min() > landmarks[0, 2] - 0.1
    assert centres[:, 1].min() > landmarks[8, 1] - 0.3
    assert parts.masks["ears"][face].mean(axis=1).max() < 0.3
    # Every landmark but the first and last, which lie at the ears, is in the face.
    assert np.isin(LANDMARK_BASE_VERTICES[1:16], face).all()
    assert np.isin(LANDMARK_BASE_VERTICES[17:], face).all()


def test_masks_are_mirror_symmetric(parts: HeadParts, base: BaseMesh):
    for name, mask in parts.masks.items():
        np.testing.assert_array_equal(mask, mask[base.mirror], err_msg=name)
        assert mask.max() > 0.9, name


def test_all_triangles_are_one_oriented_surface(head: HeadMesh, vertices: np.ndarray):
    assert_manifold(head.triangles)
    assert_manifold(head.coarse_triangles)
    skin = ~head.regions["eyeballs"]
    normals = vertex_normals(vertices, head.triangles)
    outside = skin & (head.cavity_depth == 0)
    axis = np.stack([0 * vertices[:, 0], vertices[:, 1], 0 * vertices[:, 0] + 0.55], axis=1)
    assert ((normals * (vertices - axis)).sum(axis=1)[outside] > 0).mean() > 0.97
    assert np.bincount(head.triangles.ravel()).max() <= 8
    assert len(np.unique(head.triangles)) == len(vertices)


def test_the_skin_has_four_holes(head: HeadMesh, vertices: np.ndarray):
    """The made-up head's crown, its neck, and behind each eyeball; the mouth's bag is closed."""
    edges = QuadMesh(head.quads, len(vertices)).boundary_edges()
    holes = pieces(edges, len(vertices))
    assert len(holes) == 4
    assert (np.bincount(edges.ravel())[np.unique(edges)] == 2).all()  # each is a ring
    behind_lids = [hole for hole in holes if (head.cavity_depth[hole] > 0).all()]
    assert len(behind_lids) == 2
    assert all((head.cavity_depth[hole] == LID_CAVITY_RINGS).all() for hole in behind_lids)


def test_the_face_is_a_prefix_of_everything(head: HeadMesh):
    assert head.triangles[: head.face_triangles].max() < head.face_vertices
    assert head.triangles[head.face_triangles :].max() >= head.face_vertices
    assert head.quads[: head.face_quads].max() < head.face_vertices
    assert head.coarse_triangles[: head.coarse_face_triangles].max() < head.face_vertices
    assert head.subdivision[: head.face_vertices].indices.max() == head.face_controls - 1
    eyes = np.flatnonzero(head.regions["eyeballs"])
    assert eyes[-1] == head.face_vertices - 1 and (np.diff(eyes) == 1).all()


def test_rows_of_the_subdivision_sum_to_one_and_use_every_control(head: HeadMesh):
    np.testing.assert_allclose(np.asarray(head.subdivision.sum(axis=1)).ravel(), 1, atol=1e-12)
    used = abs(head.subdivision).sum(axis=0)
    assert (used > 0).all()
    assert head.subdivision.shape == (len(head.mirror), len(head.base_vertices) + 8)


def test_the_mirror_is_one_of_positions_and_of_triangles(head: HeadMesh, vertices: np.ndarray):
    np.testing.assert_array_equal(head.mirror[head.mirror], np.arange(len(vertices)))
    np.testing.assert_allclose(vertices[head.mirror] * MIRROR, vertices, atol=1e-5)
    for triangles in (head.triangles, head.coarse_triangles):
        as_sets = {frozenset(triangle) for triangle in triangles.tolist()}
        assert as_sets == {frozenset(triangle) for triangle in head.mirror[triangles].tolist()}


def test_mirroring_before_or_after_the_control_points_is_the_same(head: HeadMesh, base: BaseMesh):
    """Also for displacements that are not symmetric."""
    displacement = np.random.default_rng(0).normal(size=(2, len(base.vertices), 3))
    expected = head.control_points(displacement[:, base.mirror] * MIRROR)
    mirrored = head.mirror_control(head.control_points(displacement))
    np.testing.assert_allclose(mirrored, expected, atol=1e-9)
    np.testing.assert_allclose(
        head.mirror_control(mirrored), head.control_points(displacement), atol=1e-12
    )
    # And on the surface.
    surface = head.subdivision @ head.control_points(displacement[0])
    np.testing.assert_allclose(
        head.subdivision @ mirrored[0], surface[head.mirror] * MIRROR, atol=1e-9
    )


def test_a_rigid_motion_of_the_body_is_one_of_the_head(head: HeadMesh, reference, vertices):
    turn = Rotation.from_rotvec([0.3, 0.1, -0.2]).as_matrix()
    moved = head.subdivision @ head.control_points(reference @ turn.T + [1, 2, 3])
    np.testing.assert_allclose(moved, vertices @ turn.T + [1, 2, 3], atol=1e-9)


def test_coarse_triangles_are_those_of_makehumans_quads(head: HeadMesh, parts: HeadParts):
    skin = ~head.regions["eyeballs"][head.coarse_triangles].any(axis=1)
    assert skin.sum() == 2 * len(parts.quads)
    quads = {frozenset(quad) for quad in coarse_quads(head.quads).tolist()}
    joined = head.coarse_triangles[skin].reshape(-1, 6)
    assert {frozenset(pair) for pair in joined.tolist()} == quads


def test_landmarks_are_the_vertices_of_their_names(head: HeadMesh, reference, vertices):
    """Catmull-Clark pulls a vertex towards its neighbours by a part of an edge."""
    own = vertices[head.landmark_vertices] - reference[LANDMARK_BASE_VERTICES]
    assert np.linalg.norm(own, axis=1).max() < 0.08
    # Its own weight is the largest: 9/16 where four quads meet.
    weights = head.subdivision[head.landmark_vertices].toarray()
    order = np.insert(head.base_vertices, head.face_controls - 8, np.full(8, -1))
    np.testing.assert_array_equal(
        order[weights[1:].argmax(axis=1)][:15], LANDMARK_BASE_VERTICES[1:16]
    )
    np.testing.assert_array_equal(order[weights[17:].argmax(axis=1)], LANDMARK_BASE_VERTICES[17:])
    assert weights[30].max() == pytest.approx(9 / 16)


def test_smoothing_rounds_the_borders(
    wheel: AnnyWheel, base: BaseMesh, reference, head: HeadMesh, vertices, monkeypatch
):
    """The face's outline bends less than as it was cut, and what is far away does not move."""
    monkeypatch.setattr(head_mesh, "BORDER_ROUNDS", 1)
    monkeypatch.setattr(head_mesh, "BORDER_RINGS", 1)
    rough_head = build_head_mesh(wheel, base, reference)
    rough = rough_head.subdivision @ rough_head.control_points(reference)

    def turning(points: np.ndarray) -> float:
        """Sum of the angles between edges along the face's border, in turns."""
        edges = QuadMesh(head.quads[: head.face_quads], len(points)).boundary_edges()
        border = edges[head.cavity_depth[edges].max(axis=1) == 0]
        total = 0.0
        for middle in np.unique(border):
            ends = border[(border == middle).any(axis=1)].ravel()
            before, after = points[ends[ends != middle]] - points[middle]
            cosine = -before @ after / np.linalg.norm(before) / np.linalg.norm(after)
            total += float(np.arccos(np.clip(cosine, -1, 1)))
        return total / (2 * np.pi)

    assert 1 <= turning(vertices) < 1.5  # a flat convex curve turns once
    assert turning(vertices) < 0.7 * turning(rough)
    nose = np.linalg.norm(vertices - vertices[head.landmark_vertices[30]], axis=1) < 0.4
    np.testing.assert_allclose(vertices[nose], rough[nose], atol=1e-12)


def test_the_mouths_bag_is_drawn_together(
    head: HeadMesh, reference, vertices, monkeypatch, wheel, base
):
    monkeypatch.setattr(head_mesh, "MOUTH_BAG_SHRINK", 0.0)
    open_head = build_head_mesh(wheel, base, reference)
    before = open_head.subdivision @ open_head.control_points(reference)
    lips = vertices[head.landmark_vertices[60:68]].mean(axis=0)
    end = head.regions["mouth_cavity"] & (head.cavity_depth >= 7)
    share = np.linalg.norm(vertices[end] - lips, axis=1) / np.linalg.norm(
        before[end] - lips, axis=1
    )
    np.testing.assert_allclose(share, 0.28, atol=0.05)
    outside = ~head.regions["mouth_cavity"]
    np.testing.assert_allclose(vertices[outside], before[outside], atol=1e-12)


def test_regions_are_disjoint_parts(head: HeadMesh):
    regions = head.regions
    parts = [regions[name] for name in ("eyeballs", "mouth_cavity", "lid_cavity", "border")]
    assert np.sum(parts, axis=0).max() == 1
    eye = regions["sclera"].astype(int) + regions["iris"] + regions["pupil"]
    np.testing.assert_array_equal(eye, regions["eyeballs"])
    assert regions["eye_left"].sum() == regions["eye_right"].sum() > 100
    np.testing.assert_array_equal(regions["eye_left"][head.mirror], regions["eye_right"])
    for name in ("mouth_cavity", "lid_cavity"):
        assert (head.cavity_depth[regions[name]] > 0).all()
        np.testing.assert_array_equal(regions[name], regions[name][head.mirror])


def test_the_eyes_helpers_are_read_right_first(head: HeadMesh, reference):
    right, left = np.split(helper_vertices(reference), 2)
    assert right[:, 0].max() < 0 < left[:, 0].min()
    controls = head.control_points(reference)
    assert controls[head.eye_controls[0], 0] < 0 < controls[head.eye_controls[1], 0]


def test_an_asymmetric_reference_is_refused(wheel: AnnyWheel, base: BaseMesh, reference):
    crooked = reference.copy()
    crooked[LANDMARK_BASE_VERTICES[48]] += [0.001, 0, 0]
    with pytest.raises(ValueError, match="not mirror-symmetric"):
        build_head_mesh(wheel, base, crooked)
