"""Joints that turn parts of a head: linear blend skinning with pose correctives.

After SMPL (Loper et al., SIGGRAPH Asia 2015, eqs. 2 to 10) and FLAME (Li et al., SIGGRAPH Asia
2017). For the rotations R_j of the joints, in axis-angle form,

    corrected = shaped + sum_k P_k (R - 1)_k        P: pose correctives, of all joints but the root
    G_j       = G_parent(j) [R_j | J_j - J_parent(j)]
    posed_v   = sum_j w_vj (G_j corrected_v - G_j J_j)

where the joints J_j follow the shape linearly. The root does not turn here: that is the pose of the
whole face, which the program keeps elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class SkeletonData:
    """Joints as arrays. J joints, of which the first is the root; V vertices."""

    names: tuple[str, ...]
    """Of the J - 1 joints that turn."""
    parents: tuple[int, ...]
    """(J,) joint that each hangs from, which comes before it; -1 for the root."""
    mean_joints: np.ndarray
    """(J, 3) decimetres, of the mean face."""
    joint_basis: np.ndarray
    """(J, 3, Ki + Ke): how they move with identity and expression."""
    weights: np.ndarray
    """(V, J) rows sum to 1."""
    pose_basis: np.ndarray
    """(V, 3, 9 (J - 1)): correctives of each entry of the rotation matrices, row by row."""
    sigma: np.ndarray
    """(3 (J - 1),) prior standard deviation of the axis-angle rotations, in radians."""


class Skeleton(nn.Module):
    """Turns parts of shaped faces about their joints."""

    mean_joints: Tensor
    joint_basis: Tensor
    weights: Tensor
    pose_basis: Tensor
    sigma: Tensor

    def __init__(self, data: SkeletonData) -> None:
        """Turn arrays into buffers."""
        super().__init__()
        self.names, self.parents = data.names, data.parents
        count = len(data.parents)
        arrays = {
            "mean_joints": data.mean_joints.reshape(-1),
            "joint_basis": data.joint_basis.reshape(3 * count, -1).T,
            "weights": data.weights,
            "pose_basis": data.pose_basis.reshape(-1, 9 * (count - 1)).T,
            "sigma": data.sigma,
        }
        for name, array in arrays.items():
            tensor = torch.from_numpy(np.array(array, np.float32, order="C"))
            self.register_buffer(name, tensor, persistent=False)

    def forward(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        shape_coefficients: Float[Tensor, "batch coefficients"],
        joints_rad: Float[Tensor, "batch angles"],
    ) -> Float[Tensor, "batch vertices 3"]:
        """Pose faces.

        Args:
            vertices: shaped, all joints at rest.
            shape_coefficients: identity, then expression, which the joints follow.
            joints_rad: axis-angle rotation of each joint, in the order of `names`.
        """
        rotations = rotation_from_axis_angle(joints_rad.unflatten(1, (-1, 3)))
        joints = torch.addmm(self.mean_joints, shape_coefficients, self.joint_basis)
        corrected = vertices + self._correctives(rotations)
        return self._carry(corrected, joints.unflatten(1, (-1, 3)), rotations)

    def _correctives(
        self, rotations: Float[Tensor, "batch turning 3 3"]
    ) -> Float[Tensor, "batch vertices 3"]:
        unturned = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        return ((rotations - unturned).flatten(1) @ self.pose_basis).unflatten(1, (-1, 3))

    def _carry(
        self,
        corrected: Float[Tensor, "batch vertices 3"],
        joints: Float[Tensor, "batch joints 3"],
        rotations: Float[Tensor, "batch turning 3 3"],
    ) -> Float[Tensor, "batch vertices 3"]:
        """Vertices with their correctives as the joints carry them."""
        turn, shift = self._motions(rotations, joints)
        blended = torch.einsum("vj,bjrc->bvrc", self.weights, turn)
        return (blended @ corrected[..., None])[..., 0] + self.weights @ shift

    def shape_derivatives(
        self,
        basis: Float[Tensor, "coefficients vertices 3"],
        joints_rad: Float[Tensor, "1 angles"],
    ) -> Float[Tensor, "vertices 3 coefficients"]:
        """How the vertices of a posed face move with the coefficients of its shape.

        Both the vertices and the joints are linear in them, and so is what the joints do.

        Args:
            basis: of the vertices at rest; the joints' own is known.
            joints_rad: axis-angle rotation of each joint.
        """
        rotations = rotation_from_axis_angle(joints_rad.unflatten(1, (-1, 3)))
        turn, shift = self._motions(
            rotations.expand(len(basis), -1, -1, -1), self.joint_basis.unflatten(1, (-1, 3))
        )
        blended = torch.einsum("vj,jrc->vrc", self.weights, turn[0])
        moved = torch.einsum("vrc,kvc->vrk", blended, basis)
        return moved + torch.einsum("vj,kjr->vrk", self.weights, shift)

    def joint_derivatives(
        self,
        vertices: Float[Tensor, "1 vertices 3"],
        shape_coefficients: Float[Tensor, "1 coefficients"],
        joints_rad: Float[Tensor, "1 angles"],
    ) -> Float[Tensor, "vertices 3 angles"]:
        """How the vertices of a posed face move with the rotations; arguments as for `forward`.

        What the joints do is affine in each rotation matrix and in the corrected vertices, which
        are affine in the rotations too: its derivative in a direction dR is the difference of two
        posed faces, R + dR and R, however large dR is, and that of two corrected faces.
        """
        vectors = joints_rad.unflatten(1, (-1, 3))
        count, rotations = vectors.shape[1], rotation_from_axis_angle(vectors)
        rates = rotation_rates(vectors[0])
        moved = rotations.repeat(3 * count, 1, 1, 1)
        number = torch.arange(3 * count, device=vectors.device)
        moved[number, number // 3] += rates.flatten(0, 1)
        joints = torch.addmm(self.mean_joints, shape_coefficients, self.joint_basis)
        joints = joints.unflatten(1, (-1, 3)).expand(len(moved), -1, -1)
        still = rotations.expand(len(moved), -1, -1, -1)
        corrected = (vertices + self._correctives(rotations)).expand(len(moved), -1, -1)
        here = self._carry(corrected, joints, still)
        by_turn = self._carry(corrected, joints, moved) - here
        by_corrective = self._carry(vertices + self._correctives(moved), joints, still) - here
        return (by_turn + by_corrective).permute(1, 2, 0)

    def _motions(
        self, rotations: Float[Tensor, "batch turning 3 3"], joints: Float[Tensor, "batch joints 3"]
    ) -> tuple[Float[Tensor, "batch joints 3 3"], Float[Tensor, "batch joints 3"]]:
        """What each joint does to the vertices that it carries: a turn, then a shift."""
        # Of each joint: turn, and where the joint comes to lie.
        turns = [torch.eye(3).to(rotations).expand(len(joints), 3, 3)]
        places = [joints[:, 0]]
        for joint, parent in enumerate(self.parents[1:], start=1):
            turns.append(turns[parent] @ rotations[:, joint - 1])
            offset = (joints[:, joint] - joints[:, parent])[..., None]
            places.append(places[parent] + (turns[parent] @ offset)[..., 0])
        turn = torch.stack(turns, dim=1)
        return turn, torch.stack(places, dim=1) - (turn @ joints[..., None])[..., 0]


def rotation_rates(vectors: Float[Tensor, "joints 3"]) -> Float[Tensor, "joints 3 3 3"]:
    """Derivatives dR / dv_i of rotations by the entries of their axis-angle vectors, (J, i, 3, 3).

    dR / dv_i = R [J_r e_i]x with the right Jacobian of the rotations,
    J_r = 1 - (1 - cos t) / t^2 K + (t - sin t) / t^3 K^2, t = |v|, K = [v]x; series near zero.
    """
    squared = vectors.square().sum(dim=-1)[..., None, None]
    small = squared < 1e-4
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    second = torch.where(small, 1 / 6 - squared / 120, (angle - angle.sin()) / (safe * angle))
    unit = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    cross = cross_matrix(vectors)
    right = unit - first * cross + second * (cross @ cross)
    # Column i of J_r, as a cross product.
    return rotation_from_axis_angle(vectors)[:, None] @ cross_matrix(right.mT)


def cross_matrix(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """[v]x, with [v]x u = v x u."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def rotation_from_axis_angle(
    vectors: Float[Tensor, "*batch 3"],
) -> Float[Tensor, "*batch 3 3"]:
    """Rodrigues' formula: R = 1 + (sin t / t) K + ((1 - cos t) / t^2) K^2, t = |v|, K = [v]x.

    Near zero its series takes over, whose gradient is exact where that of the norm is not defined.
    """
    squared = vectors.square().sum(dim=-1)[..., None, None]
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    second = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    cross = cross_matrix(vectors)
    unturned = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return unturned + first * cross + second * (cross @ cross)
