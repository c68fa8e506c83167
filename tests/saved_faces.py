"""Files of coefficients as `fit.py` leaves them, without a fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from scipy.io import savemat

from models.face_model import FaceModel
from models.parameters import Coefficients
from util.photos.coefficient_file import PUBLIC_KEYS, write_mat


def random_faces(face_model: FaceModel, count: int, seed: int = 0) -> Coefficients:
    """One person under changing expression and pose."""
    layout = face_model.layout
    flat = 0.3 * torch.randn(count, layout.size, generator=torch.Generator().manual_seed(seed))
    for name in ("identity", "texture"):
        flat[:, layout.slices[name]] = flat[:1, layout.slices[name]]
    flat[:, layout.slices["angles_rad"]] *= 0.3
    flat[:, layout.slices["translation_dm"]] *= 0.2
    flat[:, layout.slices["gamma"]] *= 0.1
    return layout.split(flat)


def save_photo(stem: Path, face_model: FaceModel, faces: Coefficients, focal: float = 1015) -> None:
    """`<stem>.mat` and `<stem>.json` of a photo twice as large as its crop."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    K = np.array([[2 * focal, 0, 224], [0, 2 * focal, 224], [0, 0, 1]])
    camera = {"K": K, "photo_to_crop": np.array([[0.5, 0, 0], [0, 0.5, 0]])}
    write_mat(stem.with_name(f"{stem.name}.mat"), faces, np.zeros((68, 2)), camera)
    record = {"photo": f"{stem.name}.jpg", "face_model": face_model.card.record}
    stem.with_name(f"{stem.name}.json").write_text(json.dumps(record), encoding="utf-8")


def save_video(
    stem: Path,
    face_model: FaceModel,
    faces: Coefficients,
    found: np.ndarray | None = None,
    crops: np.ndarray | None = None,
) -> None:
    """`<stem>.npz`, `<stem>.mat` and `<stem>_report.json`; crops (N, 2, 3) stand still if None."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    count = len(faces)
    found = np.ones(count, bool) if found is None else found
    still = np.tile([[0.5, 0, 0], [0, 0.5, 0]], (count, 1, 1))
    arrays = {PUBLIC_KEYS[name]: found[:, None] * block.numpy() for name, block in faces.items()}
    arrays |= {
        "found": found,
        "time_s": 3 + np.arange(count) / 25,
        "focal_px": np.array(1015.0),
        "photo_to_crop": found[:, None, None] * (still if crops is None else crops),
    }
    np.savez(stem.with_name(f"{stem.name}.npz"), **arrays)  # pyright: ignore[reportArgumentType]
    savemat(stem.with_name(f"{stem.name}.mat"), arrays)
    report = {"face_model": face_model.card.record, "cuts": [0, 2]}
    path = stem.with_name(f"{stem.name}_report.json")
    path.write_text(json.dumps(report), encoding="utf-8")
