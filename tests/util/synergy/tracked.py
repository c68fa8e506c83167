"""A face that turns from frame to frame, as a SynergyNet of a small face model would see it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from data.square_crop import SquareCrop
from models.face_model import FaceModel, FaceModelData
from models.synergy.morphable import SynergyFace, face_arrays
from models.synergy.parameters import SynergyLayout
from models.synergy.pose import label_rotation, pose_numbers
from tests.conftest import make_tiny_face_data
from util.synergy.synergy_faces import SynergyResult, decode_faces
from util.synergy.synergy_track import SynergyTrack, in_frame

SIZE, SIDE, WITHOUT = (640, 360), 120, 3
LAYOUT = SynergyLayout(shape=3, expression=2)
YAWS_DEG = (0.0, 8.0, 15.0, 0.0, 22.0, 30.0)


def stand_in() -> Any:
    """All that tracks ask of a network; it computes nothing."""
    data: FaceModelData = make_tiny_face_data()
    face = SynergyFace(face_arrays(FaceModel(data), LAYOUT), LAYOUT)
    meaning = SimpleNamespace(image_px=120)
    return SimpleNamespace(network=SimpleNamespace(face=face, meaning=meaning))


def turning_faces(trained: Any) -> list[SynergyResult]:
    """Of each frame: crops of several sizes, the face turning, its rows not quite orthogonal."""
    generator = torch.Generator().manual_seed(3)
    found = []
    for number, yaw in enumerate(YAWS_DEG):
        rotation = label_rotation(torch.deg2rad(torch.tensor([[5.0, yaw, -10.0]])))
        shift = torch.tensor([[58.0 + number, 63.0, -70.0]])
        pose = pose_numbers(torch.tensor([4.8e-4]), rotation, shift)
        pose[:, 4] += 8e-6
        numbers = torch.randn(1, 5, generator=generator)
        crop = SquareCrop(SIZE, 90 + number, 40, 270 + 3 * number, 220 + 2 * number)
        found += decode_faces(trained, torch.cat([pose, numbers], dim=1), [crop])
    return found


def track_of(faces: list[SynergyResult]) -> SynergyTrack:
    poses = [in_frame(face, LAYOUT.pose, SIDE) for face in faces]
    blocks = [LAYOUT.split(torch.from_numpy(face.parameters)[None]) for face in faces]
    found = np.arange(len(faces)) != WITHOUT

    def rows(values: list[np.ndarray]) -> np.ndarray:
        stacked = np.stack(values)
        stacked[~found] = 0
        return stacked

    return SynergyTrack(
        found=found,
        starts=np.isin(np.arange(len(faces)), [0, WITHOUT + 1]),
        cuts=(),
        crops=tuple(f.crop if there else None for f, there in zip(faces, found, strict=True)),
        given=rows([face.landmarks[:, :2] for face in faces]),
        matrices=rows([matrix for matrix, _ in poses]),
        shifts=rows([shift for _, shift in poses]),
        shapes=rows([shape[0].numpy() for _, shape, _ in blocks]),
        expressions=rows([expression[0].numpy() for *_, expression in blocks]),
    )
