"""Zones of the skin: in range, symmetric, each where its name says."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from BFM.open_model.head_mesh import HeadMesh
from BFM.open_model.skin_masks import (
    SkinMasks,
    VertexFacts,
    bare_skin,
    brow_lines,
    skin_masks,
    smooth_step,
    vertex_facts,
)

ZONES = tuple(field.name for field in fields(SkinMasks))
SIGNED = ("brow_across",)


@pytest.fixture(scope="module")
def vertices(head: HeadMesh, reference: np.ndarray) -> np.ndarray:
    return head.subdivision @ head.control_points(reference)


@pytest.fixture(scope="module")
def landmarks(head: HeadMesh, vertices: np.ndarray) -> np.ndarray:
    return vertices[head.landmark_vertices]


@pytest.fixture(scope="module")
def facts(head: HeadMesh, vertices, landmarks) -> VertexFacts:
    return vertex_facts(vertices, landmarks, head)


@pytest.fixture(scope="module")
def masks(vertices, landmarks, facts: VertexFacts) -> SkinMasks:
    return skin_masks(vertices, landmarks, facts)


def middle(points: np.ndarray, zone: np.ndarray) -> np.ndarray:
    """Centre of mass (3,) of the left half of a zone."""
    weight = zone * (points[:, 0] >= -1e-6)
    return weight @ points / weight.sum()


def test_zones_are_shares(masks: SkinMasks):
    for name in ZONES:
        zone = getattr(masks, name)
        if name not in SIGNED:
            assert zone.min() >= 0 and zone.max() <= 1 + 1e-9, name
            assert zone.max() > 0.1, name


def test_zones_are_mirror_symmetric(masks: SkinMasks, head: HeadMesh):
    for name in ZONES:
        zone = getattr(masks, name)
        np.testing.assert_allclose(zone[head.mirror], zone, atol=1e-4, err_msg=name)


def test_zones_lie_where_they_are_named_after(masks: SkinMasks, vertices, landmarks):
    def near(zone: np.ndarray, place: np.ndarray, within: float) -> bool:
        return float(np.linalg.norm(middle(vertices, zone)[:2] - place[:2])) < within

    assert near(masks.brow, landmarks[22:27].mean(axis=0), 0.1)
    assert near(masks.nose, landmarks[30], 0.1)
    assert near(masks.chin, landmarks[8] + [0, 0.13, 0], 0.15)
    assert near(masks.mouth_corners, landmarks[54], 0.1)
    assert near(masks.lids, landmarks[42:48].mean(axis=0), 0.1)
    assert middle(vertices, masks.scalp)[1] > landmarks[24, 1]
    assert middle(vertices, masks.neck)[1] < landmarks[8, 1]
    assert landmarks[8, 1] < middle(vertices, masks.cheek_beard)[1] < landmarks[45, 1]
    assert landmarks[54, 1] < middle(vertices, masks.moustache)[1] < landmarks[33, 1]
    assert landmarks[8, 1] - 0.3 < middle(vertices, masks.chin_beard)[1] < landmarks[57, 1]
    assert middle(vertices, masks.forehead)[1] > landmarks[24, 1]
    assert masks.ears[np.abs(vertices[:, 0]) < 0.68].max() < 0.06 < 0.1 < masks.ears.max()


def test_no_hair_grows_on_lips_or_inside(masks: SkinMasks):
    hair = np.maximum.reduce([masks.moustache, masks.chin_beard, masks.cheek_beard, masks.scalp])
    assert hair[masks.outside < 0.5].max() == 0
    beard = np.maximum.reduce([masks.moustache, masks.chin_beard, masks.cheek_beard])
    assert beard[masks.lips > 0.99].max() < 1e-9
    assert (masks.brow[masks.outside < 0.5] == 0).all()


def test_facts_are_measured_on_the_mesh(facts: VertexFacts, head: HeadMesh, vertices, landmarks):
    regions = head.regions
    inside = regions["eyeballs"] | regions["mouth_cavity"] | regions["lid_cavity"]
    np.testing.assert_array_equal(facts.outside, ~inside)
    # Brute force instead of a tree.
    margin = vertices[regions["mouth_cavity"]]
    distance = np.linalg.norm(vertices[:, None] - margin, axis=2).min(axis=1)
    np.testing.assert_allclose(facts.from_margin, distance, atol=1e-12)
    upper, lower = head.landmark_vertices[[43, 44]], head.landmark_vertices[[46, 47]]
    assert facts.to_upper_lid[upper].max() < 0.03 and (facts.to_upper_lid[lower] == 1).all()
    assert facts.to_lower_lid[lower].max() < 0.03 and (facts.to_lower_lid[upper] == 1).all()
    assert (facts.lips[regions["mouth_cavity"]] == 1).all()
    assert (facts.lips[regions["eyeballs"]] == 0).all()


def test_facts_are_interpolated_linearly(facts: VertexFacts):
    random = np.random.default_rng(0)
    matrix = random.dirichlet(np.ones(len(facts.outside)), size=3)
    mixed = facts.interpolated(matrix)
    for field in fields(VertexFacts):
        np.testing.assert_allclose(getattr(mixed, field.name), matrix @ getattr(facts, field.name))


def test_bare_skin_is_no_lip_brow_border_or_eyeball(masks, facts, head: HeadMesh):
    bare = bare_skin(masks, facts, head, np.zeros(len(facts.outside)))
    assert 0.1 < bare.mean() < 0.9
    for name in ("border", "eyeballs", "mouth_cavity", "lid_cavity"):
        assert not (bare & head.regions[name]).any(), name
    assert masks.lips[bare].max() < 0.15 and masks.brow[bare].max() < 0.15
    # Nothing in the shade.
    assert not bare_skin(masks, facts, head, np.ones(len(facts.outside))).any()


def test_brow_lines_run_outwards_below_the_landmarks(landmarks: np.ndarray):
    right, left = brow_lines(landmarks)
    np.testing.assert_allclose(right * [-1, 1, 1], left, atol=1e-6)
    assert (np.diff(left[:, 0]) > 0).all()
    heights = np.interp(landmarks[22:27, 0], left[:, 0], left[:, 1])
    gap = landmarks[22:27, 1] - heights
    assert gap.min() > 0 and gap.max() < 0.08


def test_steps_go_either_way():
    value = np.array([-1.0, 0, 0.5, 1, 2])
    np.testing.assert_allclose(smooth_step(value, 0, 1), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smooth_step(value, 1, 0), [1, 1, 0.5, 0, 0])
    assert (np.diff(smooth_step(np.linspace(-1, 2, 50), 0, 1)) >= 0).all()
