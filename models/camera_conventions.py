"""One camera in the conventions of the programs that people feed with it.

The start is `p ~ K (R X + t)` with axes x right, y down, z forward and continuous pixels, whose
first one has its centre at (0.5, 0.5). A point X of the scene is the same in all conventions; what
differs are the axes of the camera, the side that vectors are multiplied from, and where pixels
begin:

    opencv      x right, y down, z forward     K (R X + t)     first pixel's centre at (0, 0)
    opengl      x right, y up, z backward      P V [X, 1]      window of [-1, 1], y up
    pytorch3d   x left, y up, z forward        X R + T         first pixel's centre at (0.5, 0.5)
"""

from __future__ import annotations

import math

import numpy as np

_TO_OPENGL = np.diag([1.0, -1.0, -1.0])
_TO_PYTORCH3D = np.diag([-1.0, -1.0, 1.0])
_FULL_FRAME_MM = (36.0, 24.0)
"""Width and height of a 35 mm film's picture."""


def opencv_intrinsics(K: np.ndarray) -> np.ndarray:
    """K (3, 3) for pixel indices: OpenCV counts from the centre of the first pixel."""
    moved = K.copy()
    moved[:2, 2] -= 0.5
    return moved


def opengl_view(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The model-view matrix (4, 4), for column vectors."""
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = _TO_OPENGL @ R, _TO_OPENGL @ t
    return view


def opengl_projection(K: np.ndarray, size: tuple[int, int], near: float, far: float) -> np.ndarray:
    """The projection matrix (4, 4), for column vectors.

    A point (x, y, z) of the eye's frame has the depth w = -z and the pixel u = f_x x / w + c_x,
    v = c_y - f_y y / w. The window wants 2 u / W - 1 and, upwards, 1 - 2 v / H:

        x_clip = 2 f_x / W x + (1 - 2 c_x / W) z,   y_clip = 2 f_y / H y + (2 c_y / H - 1) z

    Args:
        K: (3, 3) continuous pixels.
        size: width and height of the picture.
        near: distance of the plane that becomes z = -1, in the unit of the scene.
        far: of the plane that becomes z = 1.
    """
    width, height = size
    projection = np.zeros((4, 4))
    projection[0, [0, 2]] = 2 * K[0, 0] / width, 1 - 2 * K[0, 2] / width
    projection[1, [1, 2]] = 2 * K[1, 1] / height, 2 * K[1, 2] / height - 1
    projection[2, [2, 3]] = (far + near) / (near - far), 2 * far * near / (near - far)
    projection[3, 2] = -1
    return projection


def opengl_orthographic(
    scale: np.ndarray, centre: np.ndarray, size: tuple[int, int], near: float, far: float
) -> np.ndarray:
    """The projection matrix (4, 4) of weak perspective, for column vectors: w is 1.

    The pixel is u = s_x x + c_x, v = c_y - s_y y, and z = -1 at the near plane, 1 at the far one:

        x_clip = 2 s_x / W x + 2 c_x / W - 1,   y_clip = 2 s_y / H y + 1 - 2 c_y / H

    Args:
        scale: (2,) pixels for the unit of the scene.
        centre: (2,) continuous pixels of the camera's axis.
        size: width and height of the picture.
        near: distance of the plane that becomes z = -1, in the unit of the scene.
        far: of the plane that becomes z = 1.
    """
    width, height = size
    projection = np.eye(4)
    projection[0, [0, 3]] = 2 * scale[0] / width, 2 * centre[0] / width - 1
    projection[1, [1, 3]] = 2 * scale[1] / height, 1 - 2 * centre[1] / height
    projection[2, [2, 3]] = 2 / (near - far), (far + near) / (near - far)
    return projection


def pytorch3d_view(R: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R (3, 3) and T (3,) for row vectors: X R + T."""
    return (_TO_PYTORCH3D @ R).T, _TO_PYTORCH3D @ t


def focal_35mm(K: np.ndarray, size: tuple[int, int]) -> float:
    """Focal length of a 35 mm camera that sees as much along the picture's diagonal."""
    return float(np.sqrt(K[0, 0] * K[1, 1])) * math.hypot(*_FULL_FRAME_MM) / math.hypot(*size)
