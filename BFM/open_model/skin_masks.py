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
    here = _Places.of(points, landmarks, facts.outside)
    outside, mouth, nose_tip = here.outside, here.mouth, landmarks[30]
    lid_distance = np.minimum(facts.to_upper_lid, facts.to_lower_lid)
    along, across, brow = _brow(points, landmarks, outside)

    cheek_y = (here.eye_y + nose_tip[1]) / 2 - 0.12
    cheeks = here.spot((here.eye_x + 0.07, cheek_y, here.ear_z + 0.6), (0.23, 0.22, 0.42))
    nose = here.spot((0, nose_tip[1] - 0.01, nose_tip[2] - 0.04), (0.17, 0.15, 0.17))
    nose = np.maximum(nose, 0.8 * here.spot(tuple(landmarks[31]), (0.09, 0.1, 0.12)))
    bridge = here.spot((0, here.eye_y - 0.12, landmarks[28, 2]), (0.15, 0.2, 0.2))
    forehead, ears = _forehead(here), _ears(here)
    scalp = _scalp(here, ears)

    # Hair of the beard grows on neither lips nor ears, and not behind these.
    bare = (1 - facts.lips) * smooth_step(facts.from_margin, 0.015, 0.06) * outside * (1 - ears)
    front = smooth_step(here.z, here.ear_z - 0.12, here.ear_z + 0.02)
    under_eye = (here.eye_x - 0.03, here.eye_y - 0.14, landmarks[41, 2])
    chin = (0, landmarks[8, 1] + 0.13, landmarks[8, 2] + 0.06)
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
        under_eye=here.spot(under_eye, (0.14, 0.065, 0.2)),
        cheeks=cheeks,
        nose=nose,
        chin=here.spot(chin, (0.2, 0.13, 0.2)),
        forehead=forehead,
        ears=ears,
        neck=_neck(here) * outside,
        around_mouth=here.spot((0, mouth[1] - 0.02, mouth[2]), (0.3, 0.28, 0.4)),
        mouth_corners=here.spot(tuple(landmarks[48]), (0.05, 0.04, 0.1)),
        sun=np.clip(cheeks + nose + bridge + 0.55 * forehead * (1 - scalp), 0, 1),
        moustache=_moustache(here) * bare * front,
        chin_beard=_chin_beard(here, front) * bare,
        cheek_beard=_cheek_beard(here, front) * bare,
        scalp=scalp,
        inside_lids=facts.inside_lids,
        inside_mouth=facts.inside_mouth,
        outside=outside,
    )


@dataclass(frozen=True)
class _Places:
    """N points of the mean head, both halves laid on the left one, and where its features are.

    Attributes:
        x, y, z: (N,) dm; x is the distance from the middle of the face.
        outside: (N,) 1 on skin, 0 on eyeballs and in cavities.
        landmarks: (68, 3)
        eye_x, eye_y: of the middle of an eye.
        ear_z: of the first landmark, in front of the ear.
        mouth: (3,) its middle.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    outside: np.ndarray
    landmarks: np.ndarray
    eye_x: float
    eye_y: float
    ear_z: float
    mouth: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, landmarks: np.ndarray, outside: np.ndarray) -> _Places:
        return cls(
            x=np.abs(points[:, 0]),
            y=points[:, 1],
            z=points[:, 2],
            outside=outside,
            landmarks=landmarks,
            eye_x=np.abs(landmarks[36:48, 0]).mean(),
            eye_y=landmarks[36:48, 1].mean(),
            ear_z=landmarks[0, 2],
            mouth=landmarks[48:60].mean(axis=0),
        )

    def spot(
        self, place: tuple[float, float, float], width: tuple[float, float, float]
    ) -> np.ndarray:
        """A soft spot (N,) around a place and its mirror image."""
        gap = np.stack([self.x, self.y, self.z]) - np.array([abs(place[0]), *place[1:]])[:, None]
        return np.exp(-((gap / np.array(width)[:, None]) ** 2).sum(axis=0)) * self.outside


def _brow(
    points: np.ndarray, landmarks: np.ndarray, outside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place along the nearer brow, height above its centre line, and where its hairs grow."""
    along, across, distance = _brow_coordinates(points, landmarks)
    width = np.interp(along, [0, 0.15, 0.5, 1.0], [0.036, 0.046, 0.040, 0.014])
    brow = smooth_step(distance, width + 0.014, width - 0.022)
    brow *= np.interp(along, [0, 0.1, 0.25, 0.8, 1], [0.35, 0.8, 1, 1, 0.75]) * outside
    return along, across, brow


def _forehead(here: _Places) -> np.ndarray:
    brow_y = here.landmarks[17:27, 1].max()
    forehead = smooth_step(here.y, brow_y + 0.02, brow_y + 0.25)
    forehead *= smooth_step(here.z, here.ear_z - 0.05, here.ear_z + 0.4) * here.outside
    return forehead


def _ears(here: _Places) -> np.ndarray:
    """Where the head is widest at the height between eyes and nose."""
    y, z, eye_y, ear_z = here.y, here.z, here.eye_y, here.ear_z
    ears = smooth_step(here.x, 0.67, 0.74) * smooth_step(z, ear_z + 0.06, ear_z - 0.02)
    ears *= smooth_step(z, ear_z - 0.55, ear_z - 0.4) * smooth_step(y, eye_y - 0.5, eye_y - 0.4)
    ears *= smooth_step(y, eye_y + 0.14, eye_y + 0.06) * here.outside
    return ears


def _neck(here: _Places) -> np.ndarray:
    y, eye_y, chin = here.y, here.eye_y, here.landmarks[8]
    jaw_y = chin[1] + 0.55 * np.maximum(chin[2] - here.z, 0)
    return smooth_step(y, jaw_y - 0.02, jaw_y - 0.2) * smooth_step(y, eye_y - 0.5, eye_y - 0.7)


def _scalp(here: _Places, ears: np.ndarray) -> np.ndarray:
    azimuth = np.degrees(np.arctan2(here.x, here.z - (here.ear_z - 0.1)))
    hairline = here.eye_y + np.interp(azimuth, HAIRLINE_AZIMUTH_DEG, HAIRLINE_HEIGHT_DM)
    # A hairline is no straight line.
    hairline = hairline + 0.012 * np.sin(azimuth / 3.1) + 0.010 * np.sin(azimuth / 1.35 + 1)
    return smooth_step(here.y - hairline, -0.05, 0.16) * (1 - ears) * here.outside


def _moustache(here: _Places) -> np.ndarray:
    """Along the upper lip, up to the fold from nose to mouth corner.

    It thins out in the groove below the nose.
    """
    x, y, mouth_y = here.x, here.y, here.mouth[1]
    fold = here.landmarks[33, 1] - 0.035 - 0.62 * np.maximum(0, x - 0.12)
    moustache = smooth_step(y, fold + 0.025, fold - 0.03) * smooth_step(x, 0.36, 0.24)
    moustache *= smooth_step(y, mouth_y - 0.10 - 0.25 * x, mouth_y - 0.02 - 0.25 * x)
    return moustache * (0.72 + 0.28 * smooth_step(x, 0.0, 0.05))


def _chin_beard(here: _Places, front: np.ndarray) -> np.ndarray:
    """Below the lower lip a tuft, beside it nearly bare skin, below that the chin."""
    x, y, mouth_y = here.x, here.y, here.mouth[1]
    chin_y = mouth_y - 0.14
    beard = smooth_step(y, chin_y + 0.03, chin_y - 0.11) * smooth_step(x, 0.44, 0.16)
    tuft = smooth_step(x, 0.09, 0.0) * smooth_step(y, mouth_y - 0.06, mouth_y - 0.12)
    beside = smooth_step(np.abs(x - 0.31), 0.11, 0.01)
    beside = beside * smooth_step(y, mouth_y + 0.02, mouth_y - 0.12)
    beard = np.maximum.reduce([beard, 0.7 * tuft, 0.75 * beside])
    beard *= smooth_step(y, mouth_y + 0.02, mouth_y - 0.06) * front * _above_neck(here)
    return beard


def _cheek_beard(here: _Places, front: np.ndarray) -> np.ndarray:
    """Up to a line that sags from the sideburn to the mouth's corner."""
    x, y, z, eye_y, ear_z = here.x, here.y, here.z, here.eye_y, here.ear_z
    mouth_y, mouth_z = here.mouth[1:]
    share = np.clip((z - ear_z - 0.08) / (mouth_z - 0.22 - ear_z), 0, 1)
    edge = eye_y - 0.12 + (mouth_y - 0.02 - eye_y + 0.12) * np.sqrt(share)
    edge = np.where(x < 0.3, mouth_y - 0.2, edge)
    beard = smooth_step(y, edge + 0.05, edge - 0.14) * smooth_step(x, 0.22, 0.36)
    beard *= smooth_step(y, eye_y + 0.12, eye_y - 0.1) * front * _above_neck(here)
    # Behind the jaw's corner skin is bare.
    corner = here.landmarks[3]
    behind = corner[2] - 0.18 + 0.35 * np.maximum(0, y - corner[1])
    return beard * smooth_step(z, behind, behind + 0.12)


def _above_neck(here: _Places) -> np.ndarray:
    chin_y = here.landmarks[8, 1]
    return smooth_step(here.y, chin_y - 0.32, chin_y - 0.12)


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
