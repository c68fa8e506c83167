"""A face that was followed through a video as one glTF scene: expressions as morph targets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.camera import Camera
from models.face_model import FaceModel
from util.mesh_files.gltf_file import GltfAnimation, GltfCamera, GltfMesh, GltfScene, MorphTargets

TOLERANCE_MM = 0.01
"""How far what targets leave out may move a vertex, at any time."""
_SWEEPS = 1000
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
) -> GltfScene:
    """One head with one identity, its expressions and its motion over N frames.

    All weights are in [0, 1], for Blender clips what it plays to that: a component of the
    expression basis becomes `expression_00` and `expression_00_negative`, the deformations at its
    largest and its smallest coefficient in the video; what the video does not use is left out.
    `coefficients_at_full_weight` in the file leads back to the coefficients. Every frame is exact
    to `TOLERANCE_MM`. With `units`, the targets are the model's named units instead, as strong as
    comes nearest (`unit_strengths`): shorter, and other faces and programs know them, but what
    units cannot show is lost.

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
        full, weights = _one_sided(coefficients)
        names = tuple(full)
        directions = np.zeros((len(full), coefficients.shape[1]))
        for row, (component, coefficient) in enumerate(full.values()):
            directions[row, component] = coefficient
        extras["coefficients_at_full_weight"] = {n: value for n, (_, value) in full.items()}
    with torch.no_grad():
        neutral = face_model.shape(identity, torch.zeros_like(expressions[:1]))
        normals = face_model.normals(neutral)
    mesh = GltfMesh(
        vertices_dm=_array(neutral[0]),
        triangles=face_model.triangles.cpu().numpy(),
        normals=_array(normals[0]),
        colours=_array(colours),
    )
    targets = None
    if names:
        # Together, the weights of a frame must not leave out more than the tolerance.
        most = max(float(weights.sum(axis=1).max(initial=0)), 1.0)
        deltas = (directions @ _expression_basis(face_model)).reshape(len(names), -1, 3)
        targets = MorphTargets(names, deltas, negligible_mm=TOLERANCE_MM / most)
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


def _one_sided(coefficients: np.ndarray) -> tuple[dict[str, tuple[int, float]], np.ndarray]:
    """Split coefficients (N, K) of either sign into weights in [0, 1].

    Also between two frames of different sign, linear weights add up to the linear coefficient.

    Returns:
        Name -> component and its coefficient at full weight; weights (N, names).
    """
    full: dict[str, tuple[int, float]] = {}
    weights = []
    for component, values in enumerate(coefficients.T):
        for sign, suffix in ((1, ""), (-1, "_negative")):
            side = (sign * values).clip(min=0)
            if (most := float(side.max(initial=0))) > 0:
                full[f"expression_{component:02d}{suffix}"] = component, sign * most
                weights.append(side / most)
    return full, np.stack(weights, axis=1) if weights else np.zeros((len(coefficients), 0))


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
