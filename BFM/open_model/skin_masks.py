"""Where on the mean head the lips, brows, lashes, flushed cheeks, beard, scalp and nostrils are.

All zones are functions of places on the surface, so that vertices and texels share them; each is
smooth, in [0, 1], and mirror-symmetric because the mean head is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from .head_mesh import HeadMesh

BROWS = (np.array([21, 20, 19, 18, 17]), np.array([22, 23, 24, 25, 26]))  # inner end first
# The hairline seen from above: its azimuth around the middle of the head, degrees from straight
# ahead, and its height above the eyes in dm: forehead, temples, sideburns, behind the ears, nape.
HAIRLINE_AZIMUTH_DEG = [0, 18, 32, 48, 62, 72, 84, 100, 125, 180]
HAIRLINE_HEIGHT_DM = [0.86, 0.87, 0.80, 0.62, 0.30, -0.10, -0.02, 0.08, -0.45, -0.66]


@dataclass(frozen=True)
class SkinMasks:
    """Soft zones at N points of the surface.

    Attributes:
        brow_along: (N,) place along the nearer brow, 0 at the inner and 1 at the outer end.
        brow_across: (N,) signed height above the brow's centre line, in dm.
        brow: (N,) where hairs of the brows grow.
        lips: (N,) the red of the lips.
        mouth_line: (N,) where the lips meet.
        upper_lid, lower_lid: (N,) the edge of the lids, where lashes grow.
        lids: (N,) skin of both lids.
        under_eye: (N,) the hollow below the lower lid.
        cheeks, nose, chin, forehead, ears, neck: (N,) zones whose blood supply varies.
        around_mouth: (N,) the paler skin between nose, mouth and chin.
        mouth_corners: (N,) the darker folds beside the mouth.
        sun: (N,) what faces the sun: forehead, nose, cheeks; freckles and age spots are there.
        moustache, chin_beard, cheek_beard, scalp: (N,) where hair grows.
        inside_lids, inside_mouth: (N,) cavities, deeper is larger, in [0, 1].
        outside: (N,) 1 on skin that is not inside lids or mouth and no eyeball.
    """

    brow_along: np.ndarray
    brow_across: np.ndarray
    brow: np.ndarray
    lips: np.ndarray
    mouth_line: np.ndarray
    upper_lid: np.ndarray
    lower_lid: np.ndarray
    lids: np.ndarray
    under_eye: np.ndarray
    cheeks: np.ndarray
    nose: np.ndarray
    chin: np.ndarray
    forehead: np.ndarray
    ears: np.ndarray
    neck: np.ndarray
    around_mouth: np.ndarray
    mouth_corners: np.ndarray
    sun: np.ndarray
    moustache: np.ndarray
    chin_beard: np.ndarray
    cheek_beard: np.ndarray
    scalp: np.ndarray
    inside_lids: np.ndarray
    inside_mouth: np.ndarray
    outside: np.ndarray


def smooth_step(value: np.ndarray, zero_at, one_at) -> np.ndarray:
    """Cubic step from 0 to 1 between two values (in either order)."""
    share = np.clip((value - zero_at) / (one_at - zero_at), 0, 1)
    return share**2 * (3 - 2 * share)


@dataclass(frozen=True)
class VertexFacts:
    """What the mesh says about the V vertices; interpolated, it holds for texels too.

    Attributes:
        outside: (V,) 1 on skin, 0 on eyeballs and in cavities.
        lips: (V,) the red of the lips.
        from_margin: (V,) distance from where the lips meet, dm.
        to_upper_lid, to_lower_lid: (V,) distance from the lids' edges, dm.
        inside_lids, inside_mouth: (V,) depth, in [0, 1].
    """

    outside: np.ndarray
    lips: np.ndarray
    from_margin: np.ndarray
    to_upper_lid: np.ndarray
    to_lower_lid: np.ndarray
    inside_lids: np.ndarray
    inside_mouth: np.ndarray

    def interpolated(self, matrix) -> VertexFacts:
        """The same at texels: ``matrix`` is (T, V)."""
        return VertexFacts(*(matrix @ getattr(self, name) for name in self.__dataclass_fields__))


def vertex_facts(vertices: np.ndarray, landmarks: np.ndarray, mesh: HeadMesh) -> VertexFacts:
    """Measures the mean head: vertices (V, 3) and landmarks (68, 3) in dm."""
    regions = mesh.regions
    outside = ~(regions["eyeballs"] | regions["mouth_cavity"] | regions["lid_cavity"])
    in_lids, in_mouth = (_cavity_depth(mesh, name) for name in ("lid_cavity", "mouth_cavity"))
    from_margin = _distance_to(vertices, in_mouth > 0)
    # MakeHuman's picture of the lips ends at the margin, the red goes on behind it.
    lips = smooth_step(mesh.masks["lips"], 0.2, 0.8) * outside
    lips = np.where(in_mouth > 0, 1.0, np.maximum(lips, smooth_step(from_margin, 0.03, 0.01)))
    to_upper, to_lower = _lid_distances(vertices, landmarks, mesh)
    return VertexFacts(
        outside=outside.astype(float),
        lips=np.where(regions["eyeballs"], 0.0, lips),
        from_margin=from_margin,
        to_upper_lid=to_upper,
        to_lower_lid=to_lower,
        inside_lids=in_lids,
        inside_mouth=in_mouth,
    )


def skin_masks(points: np.ndarray, landmarks: np.ndarray, facts: VertexFacts) -> SkinMasks:
    """Zones at points (N, 3) of the mean head with landmarks (68, 3), in dm."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    eye_y, eye_x = landmarks[36:48, 1].mean(), np.abs(landmarks[36:48, 0]).mean()
    ear_z, nose_tip = landmarks[0, 2], landmarks[30]
    mouth = landmarks[48:60].mean(axis=0)
    outside = facts.outside

    def spot(place: tuple[float, float, float], width: tuple[float, float, float]) -> np.ndarray:
        gap = np.stack([x, y, z]) - np.array([abs(place[0]), *place[1:]])[:, None]
        return np.exp(-((gap / np.array(width)[:, None]) ** 2).sum(axis=0)) * outside

    lid_distance = np.minimum(facts.to_upper_lid, facts.to_lower_lid)
    along, across, distance = _brow_coordinates(points, landmarks)
    brow_width = np.interp(along, [0, 0.15, 0.5, 1.0], [0.036, 0.046, 0.040, 0.014])
    brow = smooth_step(distance, brow_width + 0.014, brow_width - 0.022)
    brow *= np.interp(along, [0, 0.1, 0.25, 0.8, 1], [0.35, 0.8, 1, 1, 0.75]) * outside

    cheek_y = (eye_y + nose_tip[1]) / 2 - 0.12
    cheeks = spot((eye_x + 0.07, cheek_y, ear_z + 0.6), (0.23, 0.22, 0.42))
    nose = spot((0, nose_tip[1] - 0.01, nose_tip[2] - 0.04), (0.17, 0.15, 0.17))
    nose = np.maximum(nose, 0.8 * spot(tuple(landmarks[31]), (0.09, 0.1, 0.12)))
    bridge = spot((0, eye_y - 0.12, landmarks[28, 2]), (0.15, 0.2, 0.2))
    forehead = smooth_step(y, landmarks[17:27, 1].max() + 0.02, landmarks[17:27, 1].max() + 0.25)
    forehead *= smooth_step(z, ear_z - 0.05, ear_z + 0.4) * outside
    # Where the head is widest at the height between eyes and nose, that is the ears.
    ears = smooth_step(x, 0.67, 0.74) * smooth_step(z, ear_z + 0.06, ear_z - 0.02)
    ears *= smooth_step(z, ear_z - 0.55, ear_z - 0.4) * smooth_step(y, eye_y - 0.5, eye_y - 0.4)
    ears *= smooth_step(y, eye_y + 0.14, eye_y + 0.06) * outside
    jaw_y = landmarks[8, 1] + 0.55 * np.maximum(landmarks[8, 2] - z, 0)
    neck = smooth_step(y, jaw_y - 0.02, jaw_y - 0.2) * smooth_step(y, eye_y - 0.5, eye_y - 0.7)
    around_mouth = spot((0, mouth[1] - 0.02, mouth[2]), (0.3, 0.28, 0.4))

    azimuth = np.degrees(np.arctan2(x, z - (ear_z - 0.1)))
    hairline = eye_y + np.interp(azimuth, HAIRLINE_AZIMUTH_DEG, HAIRLINE_HEIGHT_DM)
    # A hairline is no straight line.
    hairline = hairline + 0.012 * np.sin(azimuth / 3.1) + 0.010 * np.sin(azimuth / 1.35 + 1)
    scalp = smooth_step(y - hairline, -0.05, 0.16) * (1 - ears) * outside
    bare = (1 - facts.lips) * smooth_step(facts.from_margin, 0.015, 0.06) * outside * (1 - ears)
    # The moustache follows the upper lip and ends above along the fold from nose to mouth corner;
    # it thins out in the groove below the nose.
    nose_y = landmarks[33, 1]
    fold = nose_y - 0.035 - 0.62 * np.maximum(0, x - 0.12)
    moustache = smooth_step(y, fold + 0.025, fold - 0.03) * smooth_step(x, 0.36, 0.24)
    moustache *= smooth_step(y, mouth[1] - 0.10 - 0.25 * x, mouth[1] - 0.02 - 0.25 * x)
    moustache *= 0.72 + 0.28 * smooth_step(x, 0.0, 0.05)
    # Below the lower lip a tuft, beside it nearly bare skin, below that the chin.
    chin_y = mouth[1] - 0.14
    chin_beard = smooth_step(y, chin_y + 0.03, chin_y - 0.11) * smooth_step(x, 0.44, 0.16)
    tuft = smooth_step(x, 0.09, 0.0) * smooth_step(y, mouth[1] - 0.06, mouth[1] - 0.12)
    beside = smooth_step(np.abs(x - 0.31), 0.11, 0.01)
    beside = beside * smooth_step(y, mouth[1] + 0.02, mouth[1] - 0.12)
    chin_beard = np.maximum.reduce([chin_beard, 0.7 * tuft, 0.75 * beside])
    above_neck = smooth_step(y, landmarks[8, 1] - 0.32, landmarks[8, 1] - 0.12)
    front = smooth_step(z, ear_z - 0.12, ear_z + 0.02)
    chin_beard *= smooth_step(y, mouth[1] + 0.02, mouth[1] - 0.06) * front * above_neck
    # On the cheek the beard ends along a line that sags from the sideburn to the mouth's corner.
    share = np.clip((z - ear_z - 0.08) / (mouth[2] - 0.22 - ear_z), 0, 1)
    edge = eye_y - 0.12 + (mouth[1] - 0.02 - eye_y + 0.12) * np.sqrt(share)
    edge = np.where(x < 0.3, mouth[1] - 0.2, edge)
    cheek_beard = smooth_step(y, edge + 0.05, edge - 0.14) * smooth_step(x, 0.22, 0.36)
    cheek_beard *= smooth_step(y, eye_y + 0.12, eye_y - 0.1) * front * above_neck
    # Behind the jaw's corner skin is bare.
    corner = landmarks[3]
    behind = corner[2] - 0.18 + 0.35 * np.maximum(0, y - corner[1])
    cheek_beard *= smooth_step(z, behind, behind + 0.12)
    return SkinMasks(
        brow_along=along,
        brow_across=across,
        brow=brow,
        lips=facts.lips,
        mouth_line=smooth_step(facts.from_margin, 0.03, 0.004),
        # The edge of the upper lid lies behind its lashes.
        upper_lid=smooth_step(facts.to_upper_lid, 0.024, 0.008)
        * np.maximum(outside, smooth_step(facts.inside_lids, 0.6, 0.3)),
        lower_lid=smooth_step(facts.to_lower_lid, 0.016, 0.004) * outside,
        lids=smooth_step(lid_distance, 0.10, 0.03) * outside,
        under_eye=spot((eye_x - 0.03, eye_y - 0.14, landmarks[41, 2]), (0.14, 0.065, 0.2)),
        cheeks=cheeks,
        nose=nose,
        chin=spot((0, landmarks[8, 1] + 0.13, landmarks[8, 2] + 0.06), (0.2, 0.13, 0.2)),
        forehead=forehead,
        ears=ears,
        neck=neck * outside,
        around_mouth=around_mouth,
        mouth_corners=spot(tuple(landmarks[48]), (0.05, 0.04, 0.1)),
        sun=np.clip(cheeks + nose + bridge + 0.55 * forehead * (1 - scalp), 0, 1),
        moustache=moustache * bare * front,
        chin_beard=chin_beard * bare,
        cheek_beard=cheek_beard * bare,
        scalp=scalp,
        inside_lids=facts.inside_lids,
        inside_mouth=facts.inside_mouth,
        outside=outside,
    )


def bare_skin(masks: SkinMasks, facts: VertexFacts, mesh: HeadMesh, shade: np.ndarray):
    """Vertices (V,) of skin whose colour should be uniform: no lips, hair, nostrils, border."""
    covered = masks.lips + masks.brow + masks.scalp + masks.upper_lid + masks.lower_lid
    lid_distance = np.minimum(facts.to_upper_lid, facts.to_lower_lid)
    bare = (covered < 0.15) & (shade < 0.25) & (lid_distance > 0.03) & (masks.outside > 0.5)
    return bare & ~mesh.regions["border"]


def brow_lines(landmarks: np.ndarray) -> list[np.ndarray]:
    """Centre lines (101, 3) of the right and the left brow, from the inner to the outer end."""
    lines = []
    for indices in BROWS:
        # Detectors put the points on the upper edge of the brow; a parabola rounds the corners.
        corners = landmarks[indices] - [0, 0.034, 0]
        corners[0, 1] += 0.012
        knots = np.linspace(0, 1, len(corners))
        powers = np.polynomial.polynomial.polyfit(knots, corners, 2)
        lines.append(np.polynomial.polynomial.polyval(np.linspace(-0.02, 1.04, 101), powers).T)
    return lines


def _brow_coordinates(points: np.ndarray, landmarks: np.ndarray):
    """Place along, height above and distance from the nearer brow's centre line: 3 x (N,)."""
    best = np.full(len(points), np.inf)
    along, across = np.zeros(len(points)), np.zeros(len(points))
    for line in brow_lines(landmarks):
        distance, nearest = KDTree(line).query(points)
        closer = distance < best
        best[closer] = distance[closer]
        along[closer] = (np.asarray(nearest) / (len(line) - 1))[closer]
        across[closer] = (points[:, 1] - line[nearest, 1])[closer]
    return along, across, best


def _cavity_depth(mesh: HeadMesh, region: str) -> np.ndarray:
    """Depth behind the margin in rings over 3, at most 1: (V,), 0 outside the region."""
    return np.where(mesh.regions[region], np.clip(mesh.cavity_depth / 3, 0.05, 1), 0)


def _lid_distances(vertices: np.ndarray, landmarks: np.ndarray, mesh: HeadMesh):
    """Distances (V,) from the edges of the upper and of the lower lids, inf on the other side."""
    margin = mesh.regions["lid_cavity"] & (mesh.cavity_depth <= 1)
    upper = np.zeros(len(vertices), dtype=bool)
    for outer, inner in ((36, 39), (45, 42)):
        a, b = landmarks[outer], landmarks[inner]
        share = (vertices[:, 0] - a[0]) / (b[0] - a[0])
        chord = a[1] + np.clip(share, 0, 1) * (b[1] - a[1])
        near = np.sign(vertices[:, 0]) == np.sign(a[0])
        upper |= near & (vertices[:, 1] > chord)
    far = 1.0  # decimetres; finite, so that it can be interpolated
    to_upper = np.where(upper, _distance_to(vertices, margin & upper), far)
    to_lower = np.where(upper, far, _distance_to(vertices, margin & ~upper))
    return to_upper, to_lower


def _distance_to(vertices: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """Distance from each vertex to the nearest selected one: (V,)."""
    return np.asarray(KDTree(vertices[selected]).query(vertices)[0])
