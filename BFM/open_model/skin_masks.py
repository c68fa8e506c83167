"""Where on the mean face the lips, brows, lashes, flushed cheeks, beard and nostrils are.

All masks are per vertex in [0, 1], smooth, and mirror-symmetric because the mean face is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import KDTree

from .head_mesh import HeadMesh
from .mesh import vertex_normals

BROWS = (np.array([21, 20, 19, 18, 17]), np.array([22, 23, 24, 25, 26]))  # inner end first
NOSTRIL_REACH_DM = 0.25
RAY_COUNT = 64


@dataclass(frozen=True)
class SkinMasks:
    """Soft regions on the V vertices.

    Attributes:
        brow_offset: (V,) signed height above the brow's centre line in dm.
        brow_along: (V,) place along the brow, 0 at the inner and 1 at the outer end.
        brow_distance: (V,) distance from the centre line in dm.
        lips: (V,) the red of the lips.
        mouth_line: (V,) where the lips meet.
        upper_lashes, lower_lashes: (V,) the lash lines.
        crease: (V,) fold above the upper lid.
        lids: (V,) skin of both lids.
        under_eye: (V,) the hollow below the lower lid.
        cheeks, nose_tip, chin, forehead: (V,) regions whose blood supply varies.
        mouth_corners: (V,) the darker folds beside the mouth.
        moustache, chin_beard, cheek_beard: (V,) where a beard grows.
        nostrils: (V,) inside of the nose.
        inside_lids, inside_mouth: (V,) cavity vertices, deeper is larger, in [0, 1].
        skin: (V,) bare skin, True or False.
    """

    brow_offset: np.ndarray
    brow_along: np.ndarray
    brow_distance: np.ndarray
    lips: np.ndarray
    mouth_line: np.ndarray
    upper_lashes: np.ndarray
    lower_lashes: np.ndarray
    crease: np.ndarray
    lids: np.ndarray
    under_eye: np.ndarray
    cheeks: np.ndarray
    nose_tip: np.ndarray
    chin: np.ndarray
    mouth_corners: np.ndarray
    forehead: np.ndarray
    moustache: np.ndarray
    chin_beard: np.ndarray
    cheek_beard: np.ndarray
    nostrils: np.ndarray
    inside_lids: np.ndarray
    inside_mouth: np.ndarray
    skin: np.ndarray

    def brow(self, thickness: float | np.ndarray = 1.0, height_dm: float = 0.0) -> np.ndarray:
        """Density (V,) of a brow that is ``thickness`` times as thick and sits higher."""
        # Half-width along the brow: full in the inner half, pointed at the outer end.
        half_width = np.interp(self.brow_along, [0, 0.2, 0.55, 1.0], [0.028, 0.038, 0.036, 0.013])
        lifted = np.hypot(
            np.sqrt(np.maximum(self.brow_distance**2 - self.brow_offset**2, 0)),
            self.brow_offset - height_dm,
        )
        density = smooth_step(lifted, half_width * thickness + 0.022, half_width * thickness - 0.02)
        return density * np.interp(self.brow_along, [0, 0.12, 0.3, 0.7, 1], [0.25, 0.8, 1, 1, 0.8])


def smooth_step(value: np.ndarray, zero_at, one_at) -> np.ndarray:
    """Cubic step from 0 to 1 between two values (in either order)."""
    share = np.clip((value - zero_at) / (one_at - zero_at), 0, 1)
    return share**2 * (3 - 2 * share)


def skin_masks(vertices: np.ndarray, landmarks: np.ndarray, mesh: HeadMesh) -> SkinMasks:
    """Masks on the mean face: vertices (V, 3) and landmarks (68, 3) in dm."""
    on_face = ~(
        mesh.regions["eyeballs"] | mesh.regions["mouth_cavity"] | mesh.regions["lid_cavity"]
    )
    x, y, z = np.abs(vertices[:, 0]), vertices[:, 1], vertices[:, 2]

    along, offset, distance = _brow_coordinates(vertices, landmarks)
    in_lids, in_mouth = (_cavity_depth(mesh, name) for name in ("lid_cavity", "mouth_cavity"))

    upper, lower, lid_distance = _lid_lines(vertices, landmarks, mesh)
    eye_y = landmarks[36:48, 1].mean()
    eye_x = np.abs(landmarks[36:48, 0]).mean()
    above = (y > eye_y) & on_face
    below = (y <= eye_y) & on_face
    crease = np.exp(-(((lid_distance - 0.055) / 0.018) ** 2)) * above
    crease *= smooth_step(np.abs(x - eye_x), 0.2, 0.1)
    lids = smooth_step(lid_distance, 0.09, 0.03) * on_face
    under_eye = (
        np.exp(-(((x - eye_x + 0.03) / 0.14) ** 2) - ((y - eye_y + 0.15) / 0.07) ** 2) * below
    )

    # MakeHuman's picture of the lips ends at the margin, the red goes on behind it.
    from_margin = _distance_to(vertices, in_mouth > 0)
    lips = smooth_step(mesh.masks["lips"], 0.3, 0.75) * on_face
    lips = np.where(in_mouth > 0, 1.0, np.maximum(lips, smooth_step(from_margin, 0.03, 0.01)))
    lips = np.where(mesh.regions["eyeballs"], 0.0, lips)
    mouth_line = smooth_step(from_margin, 0.022, 0.004)

    def spot(place: np.ndarray, width: tuple[float, float]) -> np.ndarray:
        gap = np.stack([x - abs(place[0]), y - place[1]]) / np.array(width)[:, None]
        return np.exp(-(gap**2).sum(axis=0)) * on_face

    mouth = landmarks[48:60].mean(axis=0)
    cheek = np.array([abs(landmarks[36, 0]) - 0.02, (eye_y + landmarks[30, 1]) / 2 - 0.1])
    nose_tip = spot(landmarks[30], (0.16, 0.16)) * smooth_step(
        z, landmarks[31, 2] - 0.1, landmarks[33, 2]
    )
    mouth_corners = spot(landmarks[48], (0.05, 0.04))
    chin = spot(landmarks[8] + [0, 0.16, 0], (0.22, 0.15))
    forehead = smooth_step(y, landmarks[17:27, 1].max() + 0.02, landmarks[17:27, 1].max() + 0.3)

    # The moustache ends above along the fold from the nose to the mouth's corners; the beard on
    # the cheeks below a line from the mouth's corner to the ear, where sideburns begin.
    nose_base = landmarks[33, 1]
    fold = nose_base - 0.02 - 0.5 * np.maximum(0, x - 0.13)
    moustache = smooth_step(y, fold + 0.03, fold - 0.05) * smooth_step(y, mouth[1] - 0.14, mouth[1])
    moustache *= smooth_step(x, 0.42, 0.2) * (0.6 + 0.4 * smooth_step(x, 0.01, 0.06))
    chin_beard = smooth_step(y, mouth[1] - 0.06, mouth[1] - 0.17) * smooth_step(x, 0.5, 0.22)
    sideburn = smooth_step(z, landmarks[1, 2] + 0.42, landmarks[1, 2] + 0.12)
    edge = mouth[1] + 0.05 + 0.55 * np.maximum(0, x - 0.36)
    edge = edge + sideburn * np.maximum(0, eye_y - 0.1 - edge)
    cheek_beard = smooth_step(y, edge + 0.12, edge - 0.2) * smooth_step(x, 0.14, 0.46)
    bare = on_face * (1 - lips) * smooth_step(from_margin, 0.01, 0.05)
    moustache, chin_beard, cheek_beard = (m * bare for m in (moustache, chin_beard, cheek_beard))

    nostrils = _nostrils(vertices, landmarks, mesh) * on_face
    masks = SkinMasks(
        brow_offset=offset,
        brow_along=along,
        brow_distance=np.where(on_face, distance, np.inf),
        lips=lips,
        mouth_line=mouth_line,
        upper_lashes=upper * on_face,
        lower_lashes=lower * on_face,
        crease=crease,
        lids=lids,
        under_eye=under_eye,
        cheeks=spot(cheek, (0.26, 0.24)),
        nose_tip=nose_tip,
        chin=chin,
        mouth_corners=mouth_corners,
        forehead=forehead * on_face,
        moustache=moustache,
        chin_beard=chin_beard,
        cheek_beard=cheek_beard,
        nostrils=nostrils,
        inside_lids=in_lids,
        inside_mouth=in_mouth,
        skin=np.zeros(len(vertices), dtype=bool),
    )
    covered = lips + masks.brow(1.2) + nostrils + masks.upper_lashes + masks.lower_lashes
    skin = on_face & ~mesh.regions["border"] & (covered < 0.15) & (lid_distance > 0.03)
    return replace(masks, skin=skin)


def _brow_coordinates(vertices: np.ndarray, landmarks: np.ndarray):
    """Place along, height above and distance from the nearer brow's centre line: 3 x (V,)."""
    best = np.full(len(vertices), np.inf)
    along, offset = np.zeros(len(vertices)), np.zeros(len(vertices))
    for indices in BROWS:
        # Detectors put the points on the upper edge of the brow; a parabola rounds the corners.
        corners = landmarks[indices] - [0, 0.034, 0]
        corners[0, 1] += 0.012
        steps = np.linspace(0, 1.02, 101)
        knots = np.linspace(0, 1, len(corners))
        powers = np.polynomial.polynomial.polyfit(knots, corners, 2)
        line = np.polynomial.polynomial.polyval(steps, powers).T
        distance, nearest = KDTree(line).query(vertices)
        closer = distance < best
        best[closer] = distance[closer]
        along[closer] = np.clip(steps[nearest][closer], 0, 1)
        offset[closer] = (vertices[:, 1] - line[nearest, 1])[closer]
    return along, offset, best


def _cavity_depth(mesh: HeadMesh, region: str) -> np.ndarray:
    """Depth behind the margin in rings over 3, at most 1: (V,), 0 outside the region."""
    return np.where(mesh.regions[region], np.clip(mesh.cavity_depth / 3, 0.05, 1), 0)


def _lid_lines(vertices: np.ndarray, landmarks: np.ndarray, mesh: HeadMesh):
    """Upper and lower lash line (V,), and the distance from the lid margin in dm (V,)."""
    margin = mesh.regions["lid_cavity"] & (mesh.cavity_depth <= 1)
    upper = np.zeros(len(vertices), dtype=bool)
    for outer, inner in ((36, 39), (45, 42)):
        a, b = landmarks[outer], landmarks[inner]
        share = (vertices[:, 0] - a[0]) / (b[0] - a[0])
        chord = a[1] + np.clip(share, 0, 1) * (b[1] - a[1])
        near = np.sign(vertices[:, 0]) == np.sign(a[0])
        upper |= near & (vertices[:, 1] > chord)
    to_upper = _distance_to(vertices, margin & upper)
    to_lower = _distance_to(vertices, margin & ~upper)
    upper_line = smooth_step(to_upper, 0.024, 0.008) * upper
    lower_line = smooth_step(to_lower, 0.016, 0.004) * ~upper
    return upper_line, lower_line, np.minimum(to_upper, to_lower)


def _distance_to(vertices: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """Distance from each vertex to the nearest selected one: (V,)."""
    return KDTree(vertices[selected]).query(vertices)[0]


def _nostrils(vertices: np.ndarray, landmarks: np.ndarray, mesh: HeadMesh) -> np.ndarray:
    """How closed in the vertices around the nose's base are: (V,) in [0, 1].

    The share of rays from a vertex into its outer half-space that hit the face nearby
    (Moller-Trumbore intersection), which is high only inside the nostrils.
    """
    base = landmarks[31:36].mean(axis=0)
    near = np.linalg.norm(vertices - base, axis=1) < NOSTRIL_REACH_DM
    near_triangles = mesh.triangles[near[mesh.triangles].all(axis=1)]
    normals = vertex_normals(vertices, mesh.triangles)
    # Fibonacci directions over the sphere; those below a vertex's horizon are not counted.
    step = np.arange(2 * RAY_COUNT) + 0.5
    height, turn = 1 - step / RAY_COUNT, np.pi * (1 + 5**0.5) * step
    level = np.sqrt(1 - height**2)
    rays = np.stack([level * np.cos(turn), height, level * np.sin(turn)], axis=1)
    a = vertices[near_triangles[:, 0]]
    edge1, edge2 = (vertices[near_triangles[:, i]] - a for i in (1, 2))
    across = np.cross(edge1, edge2)
    origin = vertices[near] + 1e-3 * normals[near]
    closed, counted = np.zeros(near.sum()), np.zeros(near.sum())
    for ray in rays:
        # Triple products with (origin - a): each is one matrix product over all pairs.
        p, q = np.cross(ray, edge2), np.cross(edge1, ray)
        determinant = (edge1 * p).sum(axis=1)
        inverse = 1 / np.where(np.abs(determinant) > 1e-12, determinant, np.inf)
        u, v, t = (
            (origin @ normal.T - (a * normal).sum(axis=1)) * inverse for normal in (p, q, across)
        )
        hit = ((u > 0) & (v > 0) & (u + v < 1) & (t > 0)).any(axis=1)
        facing = normals[near] @ ray > 0.1
        closed += hit & facing
        counted += facing
    share = np.zeros(len(vertices))
    share[near] = closed / np.maximum(counted, 1)
    share = (share + share[mesh.mirror]) / 2
    return smooth_step(share, 0.33, 0.62)
