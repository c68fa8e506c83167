"""A folder like SynergyNet's aflw2000_data: the true names, shapes and types, few images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.images import write_image
from tests.conftest import landmark_plan

YAWS = (0.0, 30.0, -30.0, 30.001, -45.0, 60.0, 60.001, -85.0)
"""Three in the first bin, three in the second, two in the third: borders belong below."""
SKIPPED = (2, 7)
CLIPPED = 5
"""Image whose box reached beyond its photo."""


def face_points(yaw_deg: float) -> np.ndarray:
    """(68, 3) points of a face turned by a yaw, object frame; their box is about 1.4 x 1.6."""
    plan = landmark_plan()
    depth = 0.6 - 0.6 * plan[:, 0] ** 2 - 0.35 * plan[:, 1] ** 2
    yaw = np.radians(yaw_deg)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    return np.column_stack([plan, depth]) @ turn.T


def write_aflw2000(root: Path, picture: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Write the folder; returns the arrays as they lie on the disk.

    Args:
        root: `aflw2000_data`.
        picture: (120, 120, 3) uint8 crop of all images; grey noise if None.
    """
    random = np.random.default_rng(4)
    count = len(YAWS)
    original = np.zeros((count, 3, 68), np.float32)
    boxes = np.zeros((count, 4), np.float32)
    for row, yaw in enumerate(YAWS):
        points = face_points(yaw) * [100.0, -100.0, 100.0] + [200.0 + row, 210.0, 0.0]
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        side = np.sqrt(2) * (high - low).max()
        centre = (low + high) / 2
        original[row] = points.T
        boxes[row] = np.rint([*(centre - side / 2), *(centre + side / 2)])
    boxes[CLIPPED, 0] += 30
    again = original[:, :2] + random.normal(0, 2, (count, 2, 68)).astype(np.float32)
    angles = random.uniform(-50, 50, (count - len(SKIPPED), 3))
    arrays = {
        "AFLW2000-3D.pose.npy": np.array(YAWS, np.float32).astype(np.float64),
        "AFLW2000-3D.pts68.npy": original,
        "AFLW2000-3D-Reannotated.pts68.npy": again,
        "AFLW2000-3D_crop.roi_box.npy": boxes,
        "ALFW2000-3D_pose_3ANG_excl.npy": angles,
        "ALFW2000-3D_pose_3ANG_skip.npy": np.array(SKIPPED),
    }
    (root / "eval").mkdir(parents=True)
    for name, array in arrays.items():
        np.save(root / "eval" / name, array)
    names = [f"image{row:05d}.jpg" for row in (3, 1, 7, 2, 9, 4, 8, 5)]  # no order of the folder
    (root / "AFLW2000-3D_crop.list").write_text("\n".join(names) + "\n", encoding="utf-8")
    for name in names:
        noise = random.integers(0, 255, (120, 120, 3), dtype=np.uint8)
        write_image(root / "AFLW2000-3D_crop" / name, noise if picture is None else picture)
    return arrays
