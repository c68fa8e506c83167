"""A face that was followed through a video as one glTF scene: expressions as morph targets."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import torch
from torch import Tensor

from models.camera import Camera
from models.face_model import FaceModel
from util.mesh_files.gltf_file import (
    MILLIMETRES,
    GltfAnimation,
    GltfCamera,
    GltfMesh,
    GltfScene,
    MorphTargets,
)

TOLERANCE_MM = 0.01
"""How far what targets leave out may move a vertex, at any time."""
_DIRECTIONS_SHARE = 0.8
"""Of it, what the expression may leave out by moving in fewer directions than it has."""
_FRAMES = 64
"""Whose meshes are held at a time."""
_SWEEPS = 1000
_INDEPENDENT = 1e-7
"""Of the longest, how much the vertices must move for components to be different."""
_SETTLED = 1e-6
"""A sweep that changes no strength by more was the last."""


def face_animation(
    face_model: FaceModel,
    identity: Tensor,
    colours: Tensor,
    expressions: Tensor,
    rotations: Tensor,
    translations_dm: Tensor,
    times_s: np.ndarray,
    camera: Camera | None = None,
    units: bool = False,
    strengths: np.ndarray | None = None,
    texture_png: bytes | None = None,
) -> GltfScene:
    """One head with one identity, its expressions and its motion over N frames.

    All weights are in [0, 1], for Blender clips what it plays to that. The targets are those
    directions in which the expression moves most, no more than it takes for every frame to be
    exact to `TOLERANCE_MM` (`_directions`): components of the face model's basis would be two
    each, one for either sign, and all of them. `coefficients_at_full_weight` in the file leads
    back to the coefficients: weights times these add up to them. With `units`, the targets are the
    model's named units instead, as strong as comes nearest (`unit_strengths`): other faces and
    programs know them, but what units cannot show is lost.

    Frames without a face are left out of the arrays by the caller; the head then moves on a
    straight line from the last to the next.

    Args:
        face_model: that gives the coefficients their meaning.
        identity: (1, Ki).
        colours: (V, 3) RGB, sRGB-encoded, such as the albedo.
        expressions: (N, Ke).
        rotations: (N, 3, 3) of the head, as `models.camera.rotation_matrix` has them.
        translations_dm: (N, 3) in the object frame.
        times_s: (N,) of the frames, from 0 on.
        camera: that looks at the head in the video.
        units: named units as targets.
        strengths: (N, units) of the named units, where the expressions are made of them; with
            `units` they are written as they are.
        texture_png: content of a PNG that the texture coordinates of the face model lay over the
            mesh, in place of the colours.

    Raises:
        ValueError: the face model has joints, or not the units that are asked for; an expression is
            not finite; or the camera is not perspective.
    """
    if face_model.skeleton is not None:
        raise ValueError(
            f"face model {face_model.card.name} opens its mouth by a joint, which morph targets "
            "cannot turn; save a mesh for each frame (obj)"
        )
    coefficients = _array(expressions)
    failed = ~np.isfinite(coefficients).all(axis=1)
    if failed.any():
        raise ValueError(
            f"expressions of frame {int(failed.argmax())} are not finite; leave out frames without "
            "a face"
        )
    extras: dict[str, object] = {"face_model": face_model.card.record}
    if units:
        names = face_model.unit_names
        weights = unit_strengths(face_model, expressions) if strengths is None else strengths
        directions = _array(face_model.unit_matrix)
    else:
        directions, weights = _directions(face_model, coefficients)
        names = ("expression_low", *(f"expression_{n:02d}" for n in range(len(directions))))
        names = names[: len(directions)]
        extras["coefficients_at_full_weight"] = dict(zip(names, directions.tolist(), strict=True))
    with torch.no_grad():
        neutral = face_model.shape(identity, torch.zeros_like(expressions[:1]))
        normals = face_model.normals(neutral)
    uv = uv_triangles = None
    if texture_png is not None and face_model.uv is not None:
        assert face_model.uv_triangles is not None
        uv, uv_triangles = face_model.uv.cpu().numpy(), face_model.uv_triangles.cpu().numpy()
    mesh = GltfMesh(
        vertices_dm=_array(neutral[0]),
        triangles=face_model.triangles.cpu().numpy(),
        normals=_array(normals[0]),
        colours=_array(colours) if texture_png is None else None,
        uv=uv,
        uv_triangles=uv_triangles,
        texture_png=texture_png,
    )
    targets = None
    if names:
        # Together, the weights of a frame must not leave out more than the tolerance.
        most = max(float(weights.sum(axis=1).max(initial=0)), 1.0)
        deltas = (directions @ _expression_basis(face_model)).reshape(len(names), -1, 3)
        share = 1 if units else 1 - _DIRECTIONS_SHARE
        targets = MorphTargets(names, deltas, negligible_mm=share * TOLERANCE_MM / most)
    motion = GltfAnimation(
        times_s=times_s,
        weights=weights if names else None,
        translations_dm=_array(translations_dm),
        rotations=_array(rotations),
    )
    view = None if camera is None else _camera(camera)
    return GltfScene(mesh, targets, motion, view, extras=extras)


def unit_strengths(face_model: FaceModel, expressions: Tensor) -> np.ndarray:
    """Strengths of the named units that come nearest to expressions.

    Least squares over all vertices with strengths in [0, 1], one strength after the other until
    they settle (the problem is convex, so that they settle at its minimum).

    Args:
        face_model: with named units.
        expressions: (N, Ke).

    Returns:
        (N, units) float64.

    Raises:
        ValueError: the model has no named units.
    """
    if not face_model.unit_names:
        raise ValueError(f"face model {face_model.card.name} has no named expression units")
    basis = _expression_basis(face_model)
    shapes = _array(face_model.unit_matrix) @ basis
    products = shapes @ shapes.T
    wanted = _array(expressions) @ (basis @ shapes.T)
    strengths = np.zeros_like(wanted)
    # A unit that moves nothing, as a tongue without a mesh, stays off.
    moving = np.flatnonzero(products.diagonal() > 1e-9 * products.diagonal().max())
    for _ in range(_SWEEPS):
        before = strengths.copy()
        for unit in moving:
            short = wanted[:, unit] - strengths @ products[unit]
            strengths[:, unit] += short / products[unit, unit]
            strengths[:, unit].clip(0, 1, out=strengths[:, unit])
        if np.abs(strengths - before).max(initial=0) <= _SETTLED:
            break
    return strengths


def unit_deltas(face_model: FaceModel) -> np.ndarray:
    """(U, V, 3) decimetres that each named unit adds at full strength; U is 0 without names."""
    basis = _expression_basis(face_model)
    deltas = _array(face_model.unit_matrix) @ basis if face_model.unit_names else basis[:0]
    return deltas.reshape(len(deltas), face_model.vertex_count, 3)


def _directions(face_model: FaceModel, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fewest directions that expressions (N, K) move in, with weights in [0, 1].

    c(k) = low + sum over d of w_d(k) D_d: the principal directions of what the vertices do, each
    from where it is smallest on. `low`, at weight 1 throughout, is where all of them are.

    Returns:
        (T, K) coefficients of `low` and of each direction at full weight, and weights (N, T); empty
        where nothing is ever away from neutral.
    """
    basis = _expression_basis(face_model)
    if not coefficients.any():
        return np.zeros((0, coefficients.shape[1])), np.zeros((len(coefficients), 0))
    # In these coordinates squares are squares of what vertices do, also of components that are
    # alike.
    lengths, turned = np.linalg.eigh(basis @ basis.T)
    lengths, turned = np.sqrt(lengths.clip(0))[::-1], turned[:, ::-1]
    some = lengths > _INDEPENDENT * lengths[0]
    lengths, turned = lengths[some], turned[:, some]
    middle = coefficients.mean(axis=0)
    moved = (coefficients - middle) @ turned * lengths
    along, strengths, axes = np.linalg.svd(moved, full_matrices=False)
    axes = axes / lengths @ turned.T

    def left_out(count: int) -> float:
        """The farthest that any vertex is off with so many directions."""
        rest = (along[:, count:] * strengths[count:]) @ axes[count:]
        blocks = [rest[k : k + _FRAMES] @ basis for k in range(0, len(rest), _FRAMES)]
        return max(float(_longest(block)) for block in blocks)

    allowed = _DIRECTIONS_SHARE * TOLERANCE_MM / MILLIMETRES
    # It need not fall with each further direction, but by and large it does.
    count = bisect_left(range(len(axes)), True, key=lambda n: left_out(n) <= allowed)
    placed = along[:, :count] * strengths[:count]
    least, most = placed.min(axis=0), placed.max(axis=0)
    low = middle + least @ axes[:count]
    full = (most - least)[:, None] * axes[:count]
    weights = (placed - least) / (most - least)
    return np.vstack([low, full]), np.column_stack([np.ones(len(weights)), weights])


def _longest(deltas: np.ndarray) -> np.ndarray:
    """Of vectors (N, 3 V)."""
    return np.linalg.norm(deltas.reshape(len(deltas), -1, 3), axis=2).max(initial=0)


def _camera(camera: Camera) -> GltfCamera:
    if camera.kind != "perspective" or len(camera.focal_px) != 1:
        raise ValueError("a glTF scene needs one perspective camera for all frames")
    (focal_x, focal_y), (centre_x, centre_y) = (
        _array(camera.focal_px[0]),
        _array(camera.centre_px[0]),
    )
    K = np.array([[focal_x, 0, centre_x], [0, focal_y, centre_y], [0, 0, 1]])
    return GltfCamera(K, (camera.width, camera.height), camera.distance_dm)


def _expression_basis(face_model: FaceModel) -> np.ndarray:
    """(Ke, 3 V), x, y and z of the first vertex first."""
    return _array(face_model.shape_basis[len(face_model.identity_sigma) :])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()
