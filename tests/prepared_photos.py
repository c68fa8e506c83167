"""A prepared folder of noise, as small as a training can use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.images import write_image
from data.landmarks import write_landmarks
from models.camera import Camera
from models.face_model import FaceModel


def make_photos(root: Path, face_model: FaceModel, count: int = 2) -> Path:
    """A prepared folder of noise with plausible landmarks, and its list."""
    points = face_model.landmarks(face_model.mean_shape.reshape(1, -1, 3))
    camera = Camera.rnet()
    landmarks = camera.project(camera.from_object(points))[0].double().numpy()
    random = np.random.default_rng(0)
    names = []
    for number in range(count):
        image = random.integers(0, 256, (240, 230, 3), dtype=np.uint8)
        write_image(root / f"photo {number}.png", image)
        write_landmarks(root / "landmarks" / f"photo {number}.txt", landmarks + number)
        write_image(root / "mask" / f"photo {number}.png", np.full((240, 230), 255, np.uint8))
        names.append(f"{root.name}/mask/photo {number}.png\n")
    flist = root / "masks.txt"
    flist.write_text("".join(names), encoding="utf-8")
    return flist
