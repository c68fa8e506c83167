"""Move one person's face as another's: identity and albedo of one, expression and pose of another.

    absolute   expression(k) = B(k)                    R(k) = R_B(k)                  t(k) = t_B(k)
    relative   expression(k) = A + B(k) - B(neutral)   R(k) = R_B(k) R_B(neutral)^T R_A
               t(k) = t_A + t_B(k) - t_B(neutral)

Expressions of a linear face model add up whoever the person is. A fit explains a part of the shape
of a resting face by its expression; relative, this part of B is left out, and A's is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.camera import rotation_angles, rotation_matrix
from models.face_model import FaceModel
from models.one_euro import smooth_motion
from models.parameters import Coefficients
from options.fitting_weights import SmoothingOptions

HEAD_WIDTH_DM = 1.5
"""What counts as a motion of 1 where places are smoothed."""
_LAMP = (0.3, 0.4, 0.85)
"""Direction of the plain light, in the posed object frame."""
_LAMP_STRENGTH, _LAMP_AMBIENT = 0.2821, 0.0463
"""Irradiance 1.25 towards the lamp, 0.75 across it: see `models.lighting`."""


@dataclass(frozen=True)
class FaceMotion:
    """What moves a face over N frames; frames without a face are left out."""

    times_s: np.ndarray
    """(N,) rising."""
    expression: Float[Tensor, "frames expression"]
    angles_rad: Float[Tensor, "frames 3"] | None = None
    """None where nothing is known of the head's rotation; so are the two below."""
    translation_dm: Float[Tensor, "frames 3"] | None = None
    joints_rad: Float[Tensor, "frames joints"] | None = None
    """Of face models with joints; they belong to the expression."""
    strengths: np.ndarray | None = None
    """(N, units) of the face model's named units, where the expression was given by them."""
    starts: np.ndarray | None = None
    """(N,) bool: whether a frame has nothing to do with the one before; None for none of them."""

    def __len__(self) -> int:
        return len(self.times_s)


@dataclass(frozen=True)
class Transfer:
    """What of a motion a person takes over."""

    expression: bool = True
    pose: bool = True
    relative: bool = False
    """Changes since the neutral frame, upon the person's own expression and pose."""
    neutral: int | None = None
    """Number of the neutral frame; None takes the calmest."""


def animate(
    face_model: FaceModel, person: Coefficients, motion: FaceMotion, transfer: Transfer
) -> Coefficients:
    """A person's face, moved.

    Args:
        face_model: of both.
        person: a batch of one; its identity, albedo and light are kept.
        motion: of N frames.
        transfer: what of it is taken.

    Returns:
        A batch of N.
    """
    count = len(motion)
    moved = Coefficients(**{name: b.expand(count, -1).clone() for name, b in person.items()})
    neutral = transfer.neutral
    if neutral is None and transfer.relative:
        neutral = calmest_frame(face_model, motion)

    def taken(own: Tensor, other: Tensor | None) -> Tensor:
        """The person's block with the other's in place of it, or added to it."""
        if other is None:
            return own
        other = other.to(own)
        return own + other - other[neutral] if transfer.relative else other.clone()

    if transfer.expression:
        moved = replace(moved, expression=taken(moved.expression, motion.expression))
        if moved.joints_rad is not None:
            moved = replace(moved, joints_rad=taken(moved.joints_rad, motion.joints_rad))
    if transfer.pose:
        place = taken(moved.translation_dm, motion.translation_dm)
        moved = replace(moved, translation_dm=place)
        if motion.angles_rad is not None:
            angles = motion.angles_rad.to(moved.angles_rad)
            if transfer.relative:
                turns = rotation_matrix(angles.double())
                since = turns @ turns[neutral].T
                own = rotation_matrix(person.angles_rad.double())
                angles = rotation_angles(since @ own).to(angles)
            moved = replace(moved, angles_rad=angles.clone())
    return moved


def calmest_frame(face_model: FaceModel, motion: FaceMotion) -> int:
    """The frame whose expression is the nearest to none, in standard deviations."""
    relative = motion.expression / face_model.expression_sigma.to(motion.expression)
    return int(relative.square().sum(dim=1).argmin())


def calmed(motion: FaceMotion, face_model: FaceModel, smoothing: SmoothingOptions) -> FaceMotion:
    """The motion without its jitter, scene by scene.

    Expressions are smoothed in standard deviations, or as strengths of units where these are known.
    """
    sigma = face_model.expression_sigma.double().cpu().numpy()
    strengths = _smooth(motion, motion.strengths, 1.0, smoothing)
    if strengths is None:
        relative = _smooth(motion, motion.expression.double().cpu().numpy() / sigma, 1.0, smoothing)
        assert relative is not None
        expression = torch.from_numpy(relative * sigma)
    else:
        expression = torch.from_numpy(strengths) @ face_model.unit_matrix.double().cpu()

    def smoothed(block: Tensor | None, scale: float, *, are_angles: bool = False) -> Tensor | None:
        if block is None:
            return None
        values = block.double().cpu().numpy()
        values = np.unwrap(values, axis=0) if are_angles else values
        calm = _smooth(motion, values, scale, smoothing)
        assert calm is not None
        return torch.from_numpy(calm).to(block)

    return replace(
        motion,
        expression=expression.to(motion.expression),
        angles_rad=smoothed(motion.angles_rad, 1.0, are_angles=True),
        translation_dm=smoothed(motion.translation_dm, HEAD_WIDTH_DM),
        joints_rad=smoothed(motion.joints_rad, 1.0),
        strengths=strengths,
    )


def plain_light(like: Tensor) -> Float[Tensor, "1 27"]:
    """A white lamp above and beside the camera, with much light from all around."""
    x, y, z = (part / float(np.linalg.norm(_LAMP)) * _LAMP_STRENGTH for part in _LAMP)
    return like.new_tensor([[_LAMP_AMBIENT, -y, z, -x, 0, 0, 0, 0, 0] * 3])


def _smooth(
    motion: FaceMotion, values: np.ndarray | None, scale: float, smoothing: SmoothingOptions
) -> np.ndarray | None:
    if values is None:
        return None
    starts = np.zeros(len(motion), bool) if motion.starts is None else motion.starts
    firsts = [0, *(n for n in np.flatnonzero(starts).tolist() if n > 0), len(motion)]
    return np.concatenate(
        [
            smooth_motion(values[a:b], motion.times_s[a:b], scale, smoothing)
            for a, b in pairwise(firsts)
        ]
    )
