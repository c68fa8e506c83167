"""The open face's mesh: which part of MakeHuman's head it is, its eyeballs and its landmarks.

Stages: head quads -> cage (face, lid and mouth cavities) -> Catmull-Clark -> crop at level 1 ->
smooth border -> eyeballs -> triangles. The crop and all masks are decided on one reference face
(the mean identity), so that the topology does not depend on a person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .mesh import (
    MIRROR_68,
    EyeballPatch,
    QuadMesh,
    catmull_clark,
    eyeball_patch,
    margin_loop,
    ring_distance,
    smooth_border_curve,
    split_along,
    tidy_border,
    triangulate,
)
from .source import AnnyWheel, BaseMesh, sample_mask

# Vertices of base.obj in iBUG 68 order.
LANDMARK_BASE_VERTICES = np.array(
    [5765, 5763, 5097, 911, 739, 893, 891, 914, 732, 7616, 7593, 7595, 7459, 7613, 11712]
    + [12360, 12362, 255, 225, 222, 223, 208, 6983, 6997, 6996, 6999, 7024, 132, 131, 164, 294]
    + [286, 313, 317, 7076, 7055, 4854, 4848, 4865, 4869, 4862, 4860, 11487, 11483, 11466]
    + [11472, 11478, 11480, 422, 410, 450, 455, 7210, 7170, 7182, 7235, 7241, 492, 486, 480]
    + [418, 472, 474, 7228, 7178, 7242, 493, 487]
)
# Helper vertices of the eyeballs; the person's right eye is at -x, the image's left.
RIGHT_EYE_HELPER = slice(14670, 14742)
LEFT_EYE_HELPER = slice(14598, 14670)

LID_CAVITY_RINGS = 4  # level-0 rings kept behind the lid margins; the eyeball hides the rest
# MakeHuman's eyeballs have a radius of 15.4 mm; pupil and iris keep their anatomical radii of
# 2.2 and 5.9 mm, and a ring on either side keeps their edges sharp.
PUPIL_DEG, LIMBUS_DEG = 8.2, 22.5
EYE_RINGS_DEG = [7.0, 9.6, 13.5, 18.0, 21.4, 24.0, 28.5, 35.0, 43.0, 53.0, 65.0]
EYE_SECTORS = [8, 16, 16, 32, 32, 32, 32, 32, 32, 32, 32]


@dataclass(frozen=True)
class FaceMesh:
    """Topology of the open face.

    Attributes:
        base_vertices: (K,) vertices of base.obj that are the first K control points.
        eye_fit: (8, 144) weights that turn the eyeballs' helper vertices (right, then left)
            into the last 8 control points: centre and centre + radius along x, y, z, per eye.
        subdivision: (V, K + 8) rows sum to 1.
        triangles: (F, 3) counter-clockwise seen from outside.
        mirror: (V,) index of each vertex's mirror image.
        control_mirror: (K + 8,) the same for control points; an eye's x point mirrors to
            2 * centre - x point, which :func:`mirror_control` takes care of.
        uv: (V, 2) in [0, 1], origin bottom left.
        regions: name -> (V,) bool.
        cavity_depth: (V,) rings behind the lid or lip margin, 0 outside.
        eye_polar_rad: (V,) angle from the gaze axis on eyeball vertices, inf elsewhere.
        landmark_vertices: (68,) vertices of the listed landmarks.
        masks: name -> (V,) float32 MakeHuman's masks at the vertices.
    """

    base_vertices: np.ndarray
    eye_fit: np.ndarray
    subdivision: sp.csr_matrix
    triangles: np.ndarray
    mirror: np.ndarray
    control_mirror: np.ndarray
    uv: np.ndarray
    regions: dict[str, np.ndarray]
    cavity_depth: np.ndarray
    eye_polar_rad: np.ndarray
    landmark_vertices: np.ndarray
    masks: dict[str, np.ndarray]

    def control_points(self, base_positions: np.ndarray) -> np.ndarray:
        """Control points of positions or displacements: (..., 19158, 3) -> (..., K + 8, 3)."""
        helpers = np.concatenate(
            [base_positions[..., RIGHT_EYE_HELPER, :], base_positions[..., LEFT_EYE_HELPER, :]],
            axis=-2,
        )
        cage = base_positions[..., self.base_vertices, :]
        return np.concatenate([cage, self.eye_fit @ helpers], axis=-2)

    def mirror_control(self, control: np.ndarray) -> np.ndarray:
        """Mirror image (x -> -x) of control points or displacements (..., K + 8, 3)."""
        mirrored = control[..., self.control_mirror, :] * np.array([-1, 1, 1], control.dtype)
        for first in (control.shape[-2] - 8, control.shape[-2] - 4):
            # The mirror image of "centre + radius in x" lies at "centre - radius in x".
            mirrored[..., first + 1, :] = (
                2 * mirrored[..., first, :] - mirrored[..., first + 1, :]
            )
        return mirrored


def build_face_mesh(wheel: AnnyWheel, base: BaseMesh, reference: np.ndarray) -> FaceMesh:
    """Builds the topology on a reference face.

    Args:
        wheel: Source of the masks.
        base: MakeHuman's base mesh.
        reference: (19158, 3) mirror-symmetric positions of the face that decides the crop.
    """
    body = base.quad_group == "body"
    quads, quad_uv = base.quads[body], base.quad_uv[body]
    in_head = (reference[quads, 1] > reference[LANDMARK_BASE_VERTICES[8], 1] - 0.5).all(axis=1)
    quads, quad_uv = quads[in_head], quad_uv[in_head]
    head = QuadMesh(quads, len(reference))
    adjacency = head.adjacency()

    # 1. Cavities behind the lid margins (landmarks 36-41, 42-47) and the lips (60-67).
    cavity_quads = np.zeros(len(quads), dtype=bool)
    depth = np.zeros(len(reference))
    cavity_kind = np.zeros(len(reference), dtype=int)
    for kind, span in ((1, slice(36, 42)), (1, slice(42, 48)), (2, slice(60, 68))):
        loop = margin_loop(adjacency, reference, LANDMARK_BASE_VERTICES[span])
        side = split_along(head, loop)
        cavity_quads |= side
        inner = np.setdiff1d(quads[side], loop)
        distance = ring_distance(adjacency, np.array(loop))
        depth[inner] = distance[inner]
        cavity_kind[inner] = kind
        cavity_kind[loop] = kind
    depth = np.where(np.isfinite(depth), depth, 99)
    # The mouth's bag is kept whole: an open mouth shows its dark inside, not a hole.
    in_mouth = (cavity_kind[quads] == 2).any(axis=1)
    kept_cavity = cavity_quads & (in_mouth | (depth[quads].max(axis=1) <= LID_CAVITY_RINGS))

    # 2. Cage: face quads with a margin, so that the crop can be done on the finer mesh.
    uv_base = _vertex_uv(quads, quad_uv, cavity_quads, len(reference))
    ears = sample_mask(wheel.mask("ears"), uv_base)
    ears = (ears + ears[base.mirror]) / 2  # the pictures are not quite symmetric, the mesh is
    in_cage = _inside_crop(reference[quads].mean(axis=1), reference, margin=0.08)
    in_cage &= (ears[quads] < 0.3).any(axis=1) & ~cavity_quads
    in_cage = tidy_border(quads, in_cage) & ~cavity_quads | kept_cavity
    base_vertices, local = np.unique(quads[in_cage], return_inverse=True)
    cage = QuadMesh(local.reshape(-1, 4), len(base_vertices))
    matrix, fine = catmull_clark(cage)
    positions = matrix @ reference[base_vertices]
    fine_uv = matrix @ uv_base[base_vertices]

    # 3. Crop at level 1, then slide the border onto a smooth curve.
    fine_cavity = np.repeat(cavity_quads[in_cage], 4)
    fine_ears = matrix @ ears[base_vertices]
    keep = _inside_crop(positions[fine.quads].mean(axis=1), reference, margin=0.0)
    keep &= (fine_ears[fine.quads].mean(axis=1) < 0.3) | fine_cavity
    keep = tidy_border(fine.quads, keep | fine_cavity)
    kept_vertices, local = np.unique(fine.quads[keep], return_inverse=True)
    face = QuadMesh(local.reshape(-1, 4), len(kept_vertices))
    fine_depth = matrix @ depth[base_vertices]
    subdivision = matrix[kept_vertices]
    cavity_depth = fine_depth[kept_vertices]
    smoothing = smooth_border_curve(face, cavity_depth == 0, rounds=12)
    subdivision = smoothing @ subdivision
    uv = smoothing @ fine_uv[kept_vertices]
    nearest_kind = (matrix @ (cavity_kind[base_vertices] == 2))[kept_vertices] > 0.3

    # 4. Eyeballs.
    patch = eyeball_patch(list(np.radians(EYE_RINGS_DEG)), EYE_SECTORS)
    eye_fit, eye_rows = _eyeballs(reference, patch)
    face_count, eye_count = len(kept_vertices), len(patch.points)
    subdivision = sp.block_diag([subdivision, eye_rows], format="csr")
    total = face_count + 2 * eye_count
    control = np.concatenate([reference[base_vertices], eye_fit @ _helpers(reference)])
    mirror = _mirror_permutation(subdivision @ control, face_count, eye_count)
    triangles = np.concatenate(
        [
            triangulate(face, mirror[:face_count]),
            patch.triangles + face_count,
            patch.triangles[:, ::-1] + face_count + eye_count,
        ]
    )
    eye_polar = np.full(total, np.inf)
    eye_polar[face_count:] = np.tile(patch.polar_rad, 2)

    # 5. Control points in use, landmarks, regions.
    used = np.zeros(subdivision.shape[1], dtype=bool)
    used[np.unique(subdivision.indices[subdivision.data != 0])] = True
    used[-8:] = True
    subdivision = subdivision[:, used]
    base_vertices = base_vertices[used[:-8]]
    position_of = {int(v): i for i, v in enumerate(base_vertices)}
    control_mirror = np.concatenate(
        [
            [position_of[int(base.mirror[v])] for v in base_vertices],
            len(base_vertices) + np.array([4, 5, 6, 7, 0, 1, 2, 3]),
        ]
    ).astype(np.int64)
    landmark_vertices = _landmark_rows(kept_vertices, np.flatnonzero(used[:-8]), base_vertices)

    uv = np.concatenate([uv, _eye_uv(patch, mirrored=False), _eye_uv(patch, mirrored=True)])
    padding = np.zeros(2 * eye_count)
    masks = {}
    for name in ("lips", "eyelids"):
        value = np.concatenate([sample_mask(wheel.mask(name), uv[:face_count]), padding])
        masks[name] = (value + value[mirror]) / 2
    border = np.zeros(total, dtype=bool)
    border_vertices = np.unique(face.boundary_edges())
    border[border_vertices[cavity_depth[border_vertices] == 0]] = True
    depth_all = np.concatenate([cavity_depth, padding])
    mouth_kind = np.concatenate([nearest_kind, padding > 0])
    polar_deg = np.degrees(eye_polar)
    is_eye = np.isfinite(eye_polar)
    regions = {
        "border": border,
        "eyeballs": is_eye,
        "sclera": is_eye & (polar_deg > LIMBUS_DEG),
        "iris": is_eye & (polar_deg <= LIMBUS_DEG) & (polar_deg > PUPIL_DEG),
        "pupil": is_eye & (polar_deg <= PUPIL_DEG),
        "mouth_cavity": (depth_all > 0) & mouth_kind,
        "lid_cavity": (depth_all > 0) & ~mouth_kind,
        "eye_left": np.arange(total) >= face_count + eye_count,
        "eye_right": is_eye & (np.arange(total) < face_count + eye_count),
    }
    return FaceMesh(
        base_vertices=base_vertices,
        eye_fit=eye_fit,
        subdivision=subdivision,
        triangles=triangles,
        mirror=mirror,
        control_mirror=control_mirror,
        uv=np.clip(uv, 0, 1),
        regions=regions,
        cavity_depth=depth_all,
        eye_polar_rad=eye_polar,
        landmark_vertices=landmark_vertices,
        masks=masks,
    )


def _inside_crop(points: np.ndarray, reference: np.ndarray, margin: float) -> np.ndarray:
    """Whether points (N, 3) lie in the face: (N,) bool; ``margin`` (dm) widens the crop."""
    landmarks = reference[LANDMARK_BASE_VERTICES]
    eye_height = landmarks[36:48, 1].mean()
    x = np.abs(points[:, 0])
    in_front = points[:, 2] > landmarks[0, 2] - 0.06 - margin
    top = eye_height + 0.74 - 0.5 * np.maximum(0, x - 0.3)
    # The neck: below a plane .22 dm under the line from landmark 4 to landmark 8 (jaw to chin).
    jaw, chin = landmarks[12], landmarks[8]
    slope = (jaw[1] - chin[1]) / (jaw[2] - chin[2])
    bottom = chin[1] + slope * (points[:, 2] - chin[2]) - 0.22
    return in_front & (points[:, 1] < top + margin) & (points[:, 1] > bottom - margin)


def _vertex_uv(quads: np.ndarray, quad_uv: np.ndarray, cavity: np.ndarray, count: int):
    """One texture coordinate a vertex (count, 2): at seams that of the outer skin."""
    uv = np.zeros((count, 2))
    for select in (cavity, ~cavity):  # the skin is written last
        uv[quads[select].ravel()] = quad_uv[select].reshape(-1, 2)
    return uv


def _helpers(positions: np.ndarray) -> np.ndarray:
    return np.concatenate([positions[RIGHT_EYE_HELPER], positions[LEFT_EYE_HELPER]])


def _eyeballs(reference: np.ndarray, patch: EyeballPatch) -> tuple[np.ndarray, sp.csr_matrix]:
    """Fits spheres to the helper eyes and writes the caps as combinations of their frames.

    The four frame points of an eye follow the least-squares affine map of its 72 helper
    vertices, so rotations, translations and scale of the helpers are reproduced exactly.

    Returns:
        Weights (8, 144) of the frame points, and (2 N, 8) rows of the caps (right, then left).
    """
    fit = np.zeros((8, 144))
    rows = []
    for eye, helpers in enumerate((RIGHT_EYE_HELPER, LEFT_EYE_HELPER)):
        points = reference[helpers]
        # Sphere: |p|^2 = 2 c.p + (r^2 - |c|^2), linear in c and the bracket.
        system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
        solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
        centre = solution[:3]
        radius = np.sqrt(solution[3] + centre @ centre)
        frame = np.concatenate([centre[None], centre + radius * np.eye(3)])
        homogeneous = np.concatenate([np.ones((len(points), 1)), points], axis=1)
        targets = np.concatenate([np.ones((4, 1)), frame], axis=1)
        fit[4 * eye : 4 * eye + 4, 72 * eye : 72 * eye + 72] = targets @ np.linalg.pinv(homogeneous)
        axes = patch.points * np.array([-1.0 if eye else 1.0, 1, 1])
        rows.append(np.concatenate([1 - axes.sum(axis=1, keepdims=True), axes], axis=1))
    return fit, sp.csr_matrix(sp.block_diag(rows))


def _mirror_permutation(positions: np.ndarray, face_count: int, eye_count: int) -> np.ndarray:
    """Index of each vertex's mirror image, from symmetric positions (V, 3)."""
    from scipy.spatial import cKDTree

    face = positions[:face_count]
    distance, nearest = cKDTree(face).query(face * [-1, 1, 1])
    if distance.max() > 1e-5 or not np.array_equal(nearest[nearest], np.arange(face_count)):
        raise ValueError(f"the face mesh is not mirror-symmetric: {distance.max():.2g} dm")
    right = face_count + np.arange(eye_count)
    return np.concatenate([nearest, right + eye_count, right])


def _landmark_rows(kept: np.ndarray, control_rows: np.ndarray, base_vertices: np.ndarray):
    """Vertices of the level-1 face at which the listed base vertices lie: (68,).

    Catmull-Clark keeps the cage's vertices as the first rows of the finer mesh.
    """
    fine_row_of = dict(zip(base_vertices.tolist(), control_rows.tolist(), strict=True))
    position_of = {int(row): i for i, row in enumerate(kept)}
    rows = np.array([position_of[fine_row_of[int(v)]] for v in LANDMARK_BASE_VERTICES])
    return rows


def _eye_uv(patch: EyeballPatch, mirrored: bool) -> np.ndarray:
    """Texture coordinates of an eyeball: a disc in a free corner of MakeHuman's layout."""
    radius = patch.polar_rad / np.pi * 0.04
    direction = np.arctan2(patch.points[:, 1], patch.points[:, 0] * (-1 if mirrored else 1))
    centre = np.array([0.97 if mirrored else 0.92, 0.03])
    return centre + radius[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1)


assert len(LANDMARK_BASE_VERTICES) == len(MIRROR_68) == 68
