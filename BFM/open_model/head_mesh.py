"""The open head's mesh, made of the chosen quads of MakeHuman's body.

Stages: quads, the face first (`head_parts.py`) -> Catmull-Clark -> smooth borders -> eyeballs
(`eyeballs.py`) -> texture coordinates, triangles. The face comes first in every array, so that the
face alone is a prefix of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

from util.model_files.subdivision import (
    QuadMesh,
    Refinement,
    bilinear,
    catmull_clark,
    coarse_quads,
    cut_refined,
)

from .eyeballs import (
    CONTROLS,
    LIMBUS_DEG,
    PUPIL_DEG,
    both_eyes,
    cap_rows,
    coarse_cap_triangles,
    eye_frames,
    helper_vertices,
    open_model_patch,
)
from .head_parts import HeadParts, head_parts
from .mesh import relax, ring_distance, smooth_border_curve, triangulate
from .source import (
    LANDMARK_BASE_VERTICES,
    MOUTH_CENTRE_BASE_VERTICES,
    AnnyWheel,
    BaseMesh,
)
from .uv_layout import eye_layout, islands, layout, unfolded

# MakeHuman's mouth bag reaches the throat. It is drawn towards the middle of the inner lips, by
# this share at its back end, so that it stays hidden inside the cropped face.
MOUTH_BAG_SHRINK, MOUTH_BAG_RINGS = 0.72, 7.0
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
        eyes = self.eye_fit @ helper_vertices(base_positions)
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
    # 1. MakeHuman's quads, the face first; one level finer.
    parts = head_parts(wheel, base, reference)
    skin = _finer_skin(parts)

    # 2. The final order, eyeballs behind the face.
    patch = open_model_patch()
    eye_fit, eye_rows = eye_frames(reference), cap_rows(patch)
    order = _final_order(skin, len(eye_rows))
    subdivision = _with_eyes(skin.subdivision, order, eye_rows)
    base_vertices = skin.base_vertices[order.controls]
    control = np.insert(
        reference[base_vertices], order.face_cage, eye_fit @ helper_vertices(reference), axis=0
    )
    mirror = _mirror_permutation(subdivision @ control, order.eyes)
    eye_triangles = both_eyes(patch.triangles, patch, order.face_skin)

    # 3. The coarse mesh is made of the finer one's vertices that Catmull-Clark moved.
    coarse_rows = order.rows_of_coarse(skin.coarse.count)
    corners = triangulate(skin.coarse, _mirror_within(coarse_rows, mirror))

    # 4. Texture coordinates; those of the eyeballs come last.
    uv, uv_quads = _texture(parts, skin)
    coarse_uv = _cut(coarse_quads(uv_quads), corners)
    uv = unfolded(uv, np.concatenate([cut_refined(uv_quads), coarse_uv]))
    eye_uv_triangles = both_eyes(patch.triangles, patch, len(uv))
    uv = np.concatenate([uv, eye_layout(patch.points, patch.polar_rad)])

    # 5. Triangles of the coarse mesh, the eyeballs' behind the face's.
    coarse_eyes = coarse_cap_triangles(patch)
    split = skin.face_quads // 2

    def with_eyes(cut: np.ndarray, first_of_eyes: int) -> np.ndarray:
        eyes = both_eyes(coarse_eyes, patch, first_of_eyes)
        return np.concatenate([cut[:split], eyes, cut[split:]])

    # 6. Masks, regions, landmarks.
    cavity_depth = order.per_vertex(skin.cavity_depth)
    eye_polar = np.full(len(mirror), np.inf)
    eye_polar[order.eyes] = np.tile(patch.polar_rad, 2)
    return HeadMesh(
        base_vertices=base_vertices,
        eye_fit=eye_fit,
        subdivision=subdivision,
        face_vertices=order.eyes.stop,
        face_controls=order.face_cage + len(eye_fit),
        face_quads=skin.face_quads,
        quads=order.quads,
        eye_triangles=eye_triangles,
        coarse_triangles=with_eyes(_cut(coarse_quads(order.quads), corners), order.face_skin),
        coarse_face_triangles=split + 2 * len(coarse_eyes),
        coarse_uv_triangles=with_eyes(coarse_uv, eye_uv_triangles.min()),
        mirror=mirror,
        control_mirror=_control_mirror(base_vertices, base.mirror, order.face_cage),
        uv=uv,
        uv_quads=uv_quads,
        uv_eye_triangles=eye_uv_triangles,
        regions=_regions(
            cavity_depth,
            order.per_vertex(skin.in_mouth, False),
            eye_polar,
            QuadMesh(order.quads[: skin.face_quads], len(mirror)).boundary_edges(),
        ),
        cavity_depth=cavity_depth,
        eye_polar_rad=eye_polar,
        landmark_vertices=coarse_rows[_places(skin.base_vertices, LANDMARK_BASE_VERTICES)],
        masks=_vertex_masks(parts.masks, skin, order, mirror),
    )


@dataclass(frozen=True)
class _Skin:
    """Skin and cavities one level finer than MakeHuman's quads, in an order of its own.

    N coarse vertices, N' finer ones.

    Attributes:
        base_vertices: (N,) vertices of base.obj.
        coarse: MakeHuman's quads over them, the face's first.
        finer: their refinement.
        face_quads: how many of the finer quads are the face.
        subdivision: (N', N), with smooth borders and the mouth's bag drawn together.
        cavity_depth: (N',) rings behind the lid or lip margin, 0 outside.
        in_mouth: (N',) bool.
    """

    base_vertices: np.ndarray
    coarse: QuadMesh
    finer: Refinement
    face_quads: int
    subdivision: sp.csr_matrix
    cavity_depth: np.ndarray
    in_mouth: np.ndarray


def _finer_skin(parts: HeadParts) -> _Skin:
    """Subdivides once, slides borders onto smooth curves, draws the mouth's bag together."""
    base_vertices, coarse = _face_first(parts.quads, parts.face_quads)
    finer = catmull_clark(coarse)
    face_quads = 4 * parts.face_quads
    depth = finer.matrix @ parts.cavity_depth[base_vertices]
    in_mouth = finer.matrix @ parts.of_mouth[base_vertices].astype(float) > 0.3
    smoothing = _smooth_borders(finer.mesh, face_quads, np.asarray(depth == 0))
    subdivision = smoothing @ finer.matrix
    shrink = MOUTH_BAG_SHRINK * np.clip(depth / MOUTH_BAG_RINGS, 0, 1) * in_mouth
    centre = np.isin(base_vertices, MOUTH_CENTRE_BASE_VERTICES) / len(MOUTH_CENTRE_BASE_VERTICES)
    subdivision = sp.diags(1 - shrink) @ subdivision
    subdivision += sp.csr_matrix(shrink[:, None]) @ sp.csr_matrix(centre[None])
    subdivision = sp.csr_matrix(subdivision)
    return _Skin(base_vertices, coarse, finer, face_quads, subdivision, depth, in_mouth)


@dataclass(frozen=True)
class _Order:
    """The final order of vertices: the face's skin, both eyeballs, the rest of the head.

    Attributes:
        skin: (N',) finer vertices of the skin in it, eyeballs left out.
        quads: (Q, 4) over the final vertices.
        eyes: the eyeballs' vertices.
        controls: (N,) coarse vertices in the order of the control points, eyeballs left out.
        face_cage: how many of these move the face.
    """

    skin: np.ndarray
    quads: np.ndarray
    eyes: slice
    controls: np.ndarray
    face_cage: int

    @property
    def face_skin(self) -> int:
        """How many vertices are the face's skin."""
        return self.eyes.start

    def per_vertex(self, of_skin: np.ndarray, of_eyes: float = 0) -> np.ndarray:
        """Values (V,) from those of the finer skin's vertices (N',)."""
        ordered = of_skin[self.skin]
        eyes = np.full(self.eyes.stop - self.eyes.start, of_eyes, dtype=ordered.dtype)
        return np.insert(ordered, self.face_skin, eyes)

    def rows_of_coarse(self, count: int) -> np.ndarray:
        """Final vertices (count,) that the coarse ones became: subdivision keeps them first."""
        coarse = self.skin < count
        rows = np.empty(count, dtype=np.int64)
        rows[self.skin[coarse]] = np.flatnonzero(coarse)
        return rows + (self.eyes.stop - self.eyes.start) * (rows >= self.face_skin)


def _final_order(skin: _Skin, eyes: int) -> _Order:
    """Orders vertices and control points so that the face is the first part of each."""
    mesh, face_quads = skin.finer.mesh, skin.face_quads
    order, quads = _face_first(mesh.quads, face_quads)
    face_skin = len(np.unique(mesh.quads[:face_quads]))
    rows = sp.csr_matrix(skin.subdivision[order[:face_skin]])
    rows.eliminate_zeros()
    of_face = np.unique(rows.indices)  # with some beyond the face's border
    controls = np.concatenate([of_face, np.setdiff1d(np.arange(skin.coarse.count), of_face)])
    return _Order(
        skin=order,
        quads=quads.quads + eyes * (quads.quads >= face_skin),
        eyes=slice(face_skin, face_skin + eyes),
        controls=controls,
        face_cage=len(of_face),
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


def _with_eyes(subdivision: sp.csr_matrix, order: _Order, eyes: np.ndarray) -> sp.csr_matrix:
    """Orders the skin's rows and puts the eyeballs' (E, 8) between those of face and head."""
    skin = sp.csr_matrix(subdivision[order.skin])
    skin.eliminate_zeros()
    skin = skin[:, order.controls]
    face_skin, face_cage = order.face_skin, order.face_cage
    blocks = [
        [skin[:face_skin, :face_cage], None, skin[:face_skin, face_cage:]],
        [None, sp.csr_matrix(eyes), None],
        [skin[face_skin:, :face_cage], None, skin[face_skin:, face_cage:]],
    ]
    return sp.csr_matrix(sp.block_array(blocks))


def _cut(quads: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Triangles (2 Q, 3) of quads (Q, 4), two of each, given by their corners (2 Q, 3)."""
    return np.take_along_axis(np.repeat(quads, 2, axis=0), corners, axis=1)


def _texture(parts: HeadParts, skin: _Skin) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates (U, 2) and quads (Q, 4) of the finer skin."""
    texture, finer = parts.texture, skin.finer
    island = islands(texture)
    kept = texture.mesh.quads[parts.texture_quads]
    used, local = np.unique(kept, return_inverse=True)
    coordinates = layout(
        texture.coordinates[used],
        island[used],
        island[parts.nose],
        texture.coordinates[parts.nose],
    )
    mesh = QuadMesh(local.reshape(-1, 4), len(used))
    refined = bilinear(mesh)
    # A border that slid takes its picture along; the layout's seams are no borders.
    movable = np.ones(refined.mesh.count, dtype=bool)
    movable[refined.mesh.quads.ravel()] = (skin.cavity_depth == 0)[finer.mesh.quads.ravel()]
    seam = np.unique(refined.mesh.boundary_edges())
    border = np.unique(finer.mesh.boundary_edges())
    on_border = np.zeros(refined.mesh.count, dtype=bool)
    on_border[refined.mesh.quads[np.isin(finer.mesh.quads, border)]] = True
    movable[seam[~on_border[seam]]] = False
    smoothing = _smooth_borders(refined.mesh, skin.face_quads, movable)
    return smoothing @ refined.matrix @ coordinates, refined.mesh.quads


def _vertex_masks(
    masks: dict[str, np.ndarray], skin: _Skin, order: _Order, mirror: np.ndarray
) -> dict[str, np.ndarray]:
    """MakeHuman's masks of lips and lids at the vertices: name -> (V,)."""
    finer = bilinear(skin.coarse).matrix
    values = {
        name: order.per_vertex(finer @ masks[name][skin.base_vertices])
        for name in ("lips", "eyelids")
    }
    return {name: (value + value[mirror]) / 2 for name, value in values.items()}


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


def _regions(
    depth: np.ndarray, in_mouth: np.ndarray, eye_polar: np.ndarray, face_border: np.ndarray
) -> dict[str, np.ndarray]:
    """Topological regions, name -> (V,) bool; the eyeballs are the last vertices, right first."""
    polar_deg = np.degrees(eye_polar)
    eyeballs = np.isfinite(eye_polar)
    order = np.cumsum(eyeballs)
    border = np.zeros(len(depth), dtype=bool)
    border[face_border] = True
    border &= depth == 0  # the cavities' ends are no border of the face
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


def _places(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of the ``wanted`` stands among ``values``, which are distinct."""
    order = np.argsort(values)
    return order[np.searchsorted(values[order], wanted)]


def _mirror_within(vertices: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Which of some vertices is the mirror image of each of them."""
    return _places(vertices, mirror[vertices])


def _control_mirror(
    base_vertices: np.ndarray, base_mirror: np.ndarray, face_cage: int
) -> np.ndarray:
    """Index of each control point's mirror image, (C,); the eyeballs change places."""
    skin = _places(base_vertices, base_mirror[base_vertices])
    skin += 2 * CONTROLS * (skin >= face_cage)
    eyes = face_cage + np.roll(np.arange(2 * CONTROLS), CONTROLS)
    return np.insert(skin, face_cage, eyes)


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
