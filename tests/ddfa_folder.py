"""A folder of 3DDFA's layout, small and made up: 3dmm_data, crops, list, labels."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

from models.synergy.pose import label_rotation, pose_numbers
from tests.conftest import landmark_plan

VERTICES = (14, 16)


def made_up_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """The files' arrays for a dome of 224 vertices with random smooth bases, in micrometres."""
    random = np.random.default_rng(seed)
    columns, rows = VERTICES
    x, y = np.meshgrid(np.linspace(-0.8, 0.8, columns), np.linspace(1.0, -1.0, rows))
    z = 0.6 - 0.6 * x**2 - 0.35 * y**2
    mean = np.stack([x, y, z], axis=-1).reshape(-1, 3) * 1e5
    count = len(mean)

    def basis(number: int, size: float) -> np.ndarray:
        waves = random.normal(size=(2, 3 * number))
        return (
            size * np.sin(mean[:, :2] / 4e4 @ waves + random.uniform(0, 6, 3 * number))
        ).reshape(3 * count, number)

    near = ((mean[:, None, :2] - 1e5 * landmark_plan()) ** 2).sum(axis=2).argmin(axis=0)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    triangles = np.concatenate(
        [
            np.stack([corner, corner + columns, corner + 1]),
            np.stack([corner + 1, corner + columns, corner + columns + 1]),
        ],
        axis=1,
    )
    return {
        "u_shp": mean.reshape(-1, 1).astype(np.float32),
        "u_exp": np.full((3 * count, 1), 10, np.float32),
        "w_shp_sim": basis(40, 2e-3).astype(np.float32),
        "w_exp_sim": basis(10, 9e2).astype(np.float32),
        "keypoints_sim": (3 * near[:, None] + np.arange(3)).reshape(-1).astype(np.int64),
        "tri": (triangles + 1).astype(np.uint16),
        "BFM_UV": ((mean[:, :2] / 1e5 + 1) / 2).astype(np.float64),
    }


def made_up_parameters(count: int, seed: int = 1) -> np.ndarray:
    """(n, 102) parameters of heads that fill their crops, not whitened."""
    random = np.random.default_rng(seed)
    angles = torch.from_numpy(random.normal(0, [0.2, 0.5, 0.15], (count, 3)))
    scale = torch.from_numpy(random.uniform(4.5e-4, 5.5e-4, count))
    shift = torch.from_numpy(random.normal([60, 62, -70], 3, (count, 3)))
    pose = pose_numbers(scale, label_rotation(angles), shift).numpy()
    shape = random.normal(0, 1e5, (count, 40))
    expression = random.normal(0, 0.5, (count, 10))
    return np.concatenate([pose, shape, expression, np.zeros((count, 40))], axis=1)


def make_ddfa_folder(root: Path, count: int = 12, seed: int = 0) -> Path:
    """Write it; the pictures show nothing but noise."""
    folder, images = root / "3dmm_data", root / "train_aug_120x120"
    folder.mkdir(parents=True)
    images.mkdir()
    arrays = made_up_arrays(seed)
    savemat(folder / "tri.mat", {"tri": arrays.pop("tri")})
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    parameters = made_up_parameters(count)
    mean = parameters.mean(axis=0)
    std = np.where(parameters.std(axis=0) > 0, parameters.std(axis=0), 1)
    whitening = {"param_mean": mean, "param_std": std}
    (folder / "param_whitening.pkl").write_bytes(pickle.dumps(whitening))
    labels = ((parameters - mean) / std).astype(np.float32)
    (folder / "param_all_norm_v201.pkl").write_bytes(pickle.dumps(labels))
    random = np.random.default_rng(seed)
    names = [f"AFW_AFW_{number}_1_0_{number % 3}.jpg" for number in range(count)]
    for name in names:
        Image.fromarray(random.integers(0, 256, (120, 120, 3), np.uint8)).save(images / name)
    (folder / "train_aug_120x120.list.train").write_text("\n".join(names) + "\n", encoding="utf-8")
    return root
