"""Which of MakeHuman's quads are the open head, which of these its face, which its cavities.

Decided on one reference face (the mean identity), so that the topology does not depend on a person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from util.model_files.subdivision import QuadMesh

from .mesh import margin_loop, ring_distance, split_along, tidy_border
from .source import LANDMARK_BASE_VERTICES, AnnyWheel, BaseMesh, sample_mask
from .uv_layout import TextureMesh, islands, texture_mesh

LID_CAVITY_RINGS = 4  # level-0 rings kept behind the lid margins; the eyeball hides the rest
SHOULDERS_DM = 0.5  # below the chin


@dataclass(frozen=True)
class HeadParts:
    """Quads of MakeHuman's head over the vertices of base.obj, and which parts they are.

    Attributes:
        quads: (Q, 4) the face's first, then the rest of the head.
        face_quads: how many are the face.
        cavity_depth: (19158,) rings behind the lid or lip margin, 0 outside.
        of_mouth: (19158,) bool, the mouth's bag and its margin.
        texture: MakeHuman's layout of ``quads`` and of what was left out.
        texture_quads: (Q,) rows of the layout that belong to ``quads``.
        nose: coordinate of the nose's tip, which is on the head's island.
        masks: name -> (19158,) MakeHuman's masks, made mirror-symmetric.
    """

    quads: np.ndarray
    face_quads: int
    cavity_depth: np.ndarray
    of_mouth: np.ndarray
    texture: TextureMesh
    texture_quads: np.ndarray
    nose: int
    masks: dict[str, np.ndarray]


def head_parts(wheel: AnnyWheel, base: BaseMesh, reference: np.ndarray) -> HeadParts:
    """Chooses the quads on a reference face (19158, 3), which is mirror-symmetric."""
    # 1. The head and its cavities; the neck ends at the seam of MakeHuman's layout.
    above_shoulders = reference[LANDMARK_BASE_VERTICES[8], 1] - SHOULDERS_DM
    in_body = base.quad_group == "body"
    in_body &= (reference[base.quads, 1] > above_shoulders).all(axis=1)
    body, quad_uv = QuadMesh(base.quads[in_body], len(reference)), base.quad_uv[in_body]
    cavities = _find_cavities(body, reference)
    texture = texture_mesh(body.quads, quad_uv)
    island = islands(texture)
    nose = np.flatnonzero(texture.vertex == LANDMARK_BASE_VERTICES[30])[0]
    on_head = island[texture.mesh.quads[:, 0]] == island[nose]
    kept = on_head & ~cavities.quads | cavities.kept_quads

    # 2. The face: a crop without the ears, with all cavities.
    masks = {
        name: _symmetric_mask(wheel, base, body.quads, quad_uv, name)
        for name in ("ears", "lips", "eyelids")
    }
    in_face = kept & ~cavities.quads & (masks["ears"][body.quads].mean(axis=1) < 0.3)
    in_face &= _inside_crop(reference[body.quads].mean(axis=1), reference)
    in_face = tidy_border(body.quads, in_face) & kept & ~cavities.quads | cavities.kept_quads

    order = np.concatenate([np.flatnonzero(in_face), np.flatnonzero(kept & ~in_face)])
    return HeadParts(
        quads=body.quads[order],
        face_quads=int(in_face.sum()),
        cavity_depth=cavities.depth,
        of_mouth=cavities.of_mouth,
        texture=texture,
        texture_quads=order,
        nose=nose,
        masks=masks,
    )


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
