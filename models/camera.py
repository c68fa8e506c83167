"""Cameras and the ladder of maps object -> camera -> clip -> pixel.

Frames (docs/conventions.md): object x right in the image, y up, z towards the camera, decimetres.
Camera frame: the same x and y, z = depth along the view direction, positive in front. Pixels:
x right, y down, pixel i's centre at i + 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from options.face_options import CROP_PX, CameraOptions


def rotation_matrix(angles_rad: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """Rotation Rz(roll) Ry(yaw) Rx(pitch) that acts on column vectors.

    Row vectors, as vertices are stored, turn by `v @ R.transpose(1, 2)`.

    Args:
        angles_rad: pitch, yaw, roll about x, y, z.
    """
    pitch, yaw, roll = angles_rad.unbind(-1)
    one, zero = torch.ones_like(pitch), torch.zeros_like(pitch)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, dim=-1).reshape(-1, 3, 3)

    sin, cos = torch.sin, torch.cos
    about_x = matrix(one, zero, zero, zero, cos(pitch), -sin(pitch), zero, sin(pitch), cos(pitch))
    about_y = matrix(cos(yaw), zero, sin(yaw), zero, one, zero, -sin(yaw), zero, cos(yaw))
    about_z = matrix(cos(roll), -sin(roll), zero, sin(roll), cos(roll), zero, zero, zero, one)
    return about_z @ about_y @ about_x


def rotation_angles(rotation: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch 3"]:
    """Pitch, yaw, roll of rotations: `rotation_matrix` undone, for yaw within +-90 degrees.

    The last row of Rz Ry Rx is (-sin yaw, cos yaw sin pitch, cos yaw cos pitch), its first column
    (cos roll cos yaw, sin roll cos yaw, -sin yaw).
    """
    pitch = torch.atan2(rotation[:, 2, 1], rotation[:, 2, 2])
    yaw = torch.asin(-rotation[:, 2, 0].clamp(-1, 1))
    roll = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])
    return torch.stack([pitch, yaw, roll], dim=1)


def angle_rates(angles_rad: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """How pitch, yaw and roll change when a head turns by a small rotation vector w.

    R -> exp([w]x) R, about axes that stay. Turning the three angles of Rz Ry Rx turns the head by
    w = E (pitch', yaw', roll') with the columns Rz Ry x, Rz y and z; this is E's inverse, which
    does not exist at a yaw of 90 degrees: there, yaw is taken as 89.
    """
    _, yaw, roll = angles_rad.unbind(-1)
    limit = math.radians(89)
    yaw = yaw.clamp(-limit, limit)
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    cos, sin, tan = roll.cos(), roll.sin(), yaw.tan()
    rows = [
        (cos / yaw.cos(), sin / yaw.cos(), zero),
        (-sin, cos, zero),
        (cos * tan, sin * tan, one),
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def rotate(
    vectors: Float[Tensor, "batch vertices 3"], rotation: Float[Tensor, "batch 3 3"]
) -> Float[Tensor, "batch vertices 3"]:
    """Turn row vectors, `v @ R^T`, always in full precision.

    Summed elementwise because a matrix product may run in TF32 on a GPU, whose 10-bit mantissa
    would move projected vertices far enough to change which triangle a pixel sees.
    """
    columns = [vectors[:, :, k, None] * rotation[:, None, :, k] for k in range(3)]
    return columns[0] + columns[1] + columns[2]


def _divided(xy: Float[Tensor, "cameras 2"], by_x: float, by_y: float) -> Tensor:
    """Both coordinates over numbers of their own, as a CPU divides.

    Tensors are filled on the device, since copying them to a GPU would wait for it; by a plain
    number, a GPU multiplies by the reciprocal.
    """
    by = (xy.new_full((), by_x), xy.new_full((), by_y))
    return torch.stack([one / number for one, number in zip(xy.unbind(1), by, strict=True)], dim=1)


@dataclass(frozen=True)
class Camera:
    """A pinhole (or weak-perspective) camera that looks along -z of the object frame.

    Intrinsics carry a leading axis: 1 for one camera of the whole batch, or the batch size.
    """

    focal_px: Float[Tensor, "cameras 2"]
    """Focal lengths along x and y in pixels."""
    centre_px: Float[Tensor, "cameras 2"]
    """Principal point (x right, y down) in pixels."""
    height: int
    """Image height in pixels."""
    width: int
    """Image width in pixels."""
    distance_dm: float
    """Distance between camera and object origin along the view axis."""
    near_dm: float
    """Depth of the near plane."""
    far_dm: float
    """Depth of the far plane."""
    kind: Literal["perspective", "weak"] = "perspective"
    """Weak perspective divides by `distance_dm` in place of each point's own depth."""

    @classmethod
    def rnet(cls, options: CameraOptions | None = None) -> Camera:
        """The fixed camera of the R-Net: 224 x 224, focal 1015 px, 10 dm away."""
        o = options or CameraOptions()
        return cls(
            focal_px=torch.full((1, 2), o.focal),
            centre_px=torch.full((1, 2), o.center),
            height=CROP_PX,
            width=CROP_PX,
            distance_dm=o.camera_d,
            near_dm=o.z_near,
            far_dm=o.z_far,
        )

    def to(self, target: torch.device | torch.dtype | str) -> Camera:
        """Move or cast the intrinsics."""
        return replace(self, focal_px=self.focal_px.to(target), centre_px=self.centre_px.to(target))

    def regrid(
        self,
        scale: Float[Tensor, "cameras 2"],
        shift_px: Float[Tensor, "cameras 2"],
        size_px: tuple[int, int],
    ) -> Camera:
        """The same view in other pixels: those of a part of the image, or of the photo around it.

        Args:
            scale: (x, y) new pixels for one old pixel.
            shift_px: where the old top left corner lies in the new image: p' = scale p + shift.
            size_px: width and height of the new image.
        """
        return replace(
            self,
            focal_px=self.focal_px * scale,
            centre_px=self.centre_px * scale + shift_px,
            width=size_px[0],
            height=size_px[1],
        )

    def zoomed(self, log_focal: float) -> Camera:
        """A camera of another focal length, so much farther away that a face keeps its size.

        Focal length, distance and planes are multiplied by exp(log_focal): what the camera looks at
        stays as it is, but for its perspective (a dolly zoom).
        """
        scale = math.exp(log_focal)
        return replace(
            self,
            focal_px=self.focal_px * scale,
            distance_dm=self.distance_dm * scale,
            near_dm=self.near_dm * scale,
            far_dm=self.far_dm * scale,
        )

    def zoom_derivatives(
        self, vertices_camera: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points 2"]:
        """How pixels (x, y) move as `zoomed` moves the camera, by its `log_focal`.

        A pixel moves away from the principal point p0 as the focal length grows, and back as the
        distance does: p - p0 - distance D z, with D z the third column of `projection_derivatives`.
        Under weak perspective it stays.
        """
        if self.kind == "weak":
            return torch.zeros_like(vertices_camera[..., :2])
        outwards = self.project(vertices_camera) - self.centre_px[:, None]
        nearer = self.projection_derivatives(vertices_camera)[..., 2]
        return outwards - self.distance_dm * nearer

    def refocused(self, scale: float) -> Camera:
        """A camera of another focal length at the same place; planes lie where faces then do.

        Under weak perspective faces only grow with it, and stay where they are.
        """
        if self.kind == "weak":
            return replace(self, focal_px=self.focal_px * scale)
        moved = self.zoomed(math.log(scale))
        return replace(moved, distance_dm=self.distance_dm)

    def from_object(
        self, vertices_object: Float[Tensor, "batch vertices 3"]
    ) -> Float[Tensor, "batch vertices 3"]:
        """Object frame to camera frame: z_camera = distance - z."""
        x, y, z = vertices_object.unbind(-1)
        return torch.stack([x, y, self.distance_dm - z], dim=-1)

    def to_object(
        self, vertices_camera: Float[Tensor, "batch vertices 3"]
    ) -> Float[Tensor, "batch vertices 3"]:
        """Inverse of `from_object` (the map is its own inverse)."""
        return self.from_object(vertices_camera)

    def _divisor(self, vertices_camera: Tensor) -> Tensor:
        depth = vertices_camera[..., 2:]
        if self.kind == "weak":
            return torch.full_like(depth, self.distance_dm)
        return depth

    def project(
        self, vertices_camera: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points 2"]:
        """Camera frame to pixels: u = f_x x / d + c_x, v = c_y - f_y y / d."""
        # Camera y points up and pixel y down, hence the sign.
        ray = vertices_camera[..., :2] / self._divisor(vertices_camera)
        return ray * _divided(self.focal_px, 1.0, -1.0)[:, None] + self.centre_px[:, None]

    def projection_derivatives(
        self, vertices_camera: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points 2 3"]:
        """How pixels (x, y) move with a point's x, y, z in the OBJECT frame, pixels a decimetre.

        Of u = f_x x / d + c_x, v = c_y - f_y y / d with d = distance - z. Under weak perspective d
        is constant.
        """
        x, y, _ = vertices_camera.unbind(-1)
        near = self._divisor(vertices_camera)[..., 0].reciprocal()
        focal_x, focal_y = (focal[:, None] * near for focal in self.focal_px.unbind(-1))
        zero = torch.zeros_like(x)
        towards = zero if self.kind == "weak" else near
        rows = [focal_x, zero, focal_x * x * towards, zero, -focal_y, -focal_y * y * towards]
        return torch.stack(rows, dim=-1).unflatten(-1, (2, 3))

    def clip(
        self, vertices_camera: Float[Tensor, "batch vertices 3"]
    ) -> Float[Tensor, "batch vertices 4"]:
        """Camera frame to homogeneous clip coordinates of the rasteriser.

        x/w, y/w in [-1, 1] span the image with y/w = -1 at its top row; z/w runs from -1 at the
        near plane to 1 at the far plane, as in OpenGL. For the R-Net's camera this is the
        public projection matrix: w = d, x_clip = f x / c.
        """
        divisor = self._divisor(vertices_camera)
        scale = _divided(self.focal_px, self.width / 2, -self.height / 2)[:, None]
        offset = (_divided(self.centre_px, self.width / 2, self.height / 2) - 1)[:, None]
        xy = vertices_camera[..., :2] * scale + offset * divisor
        near, far = self.near_dm, self.far_dm
        depth = vertices_camera[..., 2:]
        if self.kind == "weak":
            # Orthographic depth: linear between the planes, then times w.
            z = (2 * (depth - near) / (far - near) - 1) * divisor
        else:
            z = ((far + near) * depth - 2 * far * near) / (far - near)
        return torch.cat([xy, z, divisor], dim=-1)
