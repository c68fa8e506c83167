"""Small videos of a rendered face that turns and talks, with its truth."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import Renderer
from models.stages import reconstruct
from util.videos.video_file import VideoWriter

SIZE = (240, 320)
"""Height and width of the frames; the crop of 224 lies in their middle."""


@dataclass(frozen=True)
class FaceVideo:
    """A written video and what it shows."""

    path: Path
    coefficients: torch.Tensor
    """(N, P)"""
    landmarks: np.ndarray
    """(N, 68, 2) pixel indices of the frames."""


def write_face_video(
    path: Path, face_model: FaceModel, count: int = 30, without: Collection[int] = ()
) -> FaceVideo:
    """Render one person for some frames.

    Args:
        path: the .mp4 to write.
        face_model: with expression units.
        count: of frames, 25 a second.
        without: frames that show the background alone.
    """
    layout = face_model.layout
    generator = torch.Generator().manual_seed(3)
    flat = torch.zeros(count, layout.size)
    flat[:, layout.slices["identity"]] = 0.7 * torch.randn(1, 80, generator=generator)
    flat[:, layout.slices["texture"]] = 0.7 * torch.randn(1, 80, generator=generator)
    phase = torch.arange(count) / 25 * 2 * torch.pi
    jaw = face_model.units({"jawOpen": 1.0})
    flat[:, layout.slices["expression"]] = (0.25 - 0.25 * (2 * phase).cos())[:, None] * jaw
    flat[:, layout.slices["angles_rad"]] = torch.stack(
        [0.05 * phase.sin(), 0.25 * (0.7 * phase).sin(), 0.05 * phase.cos()], dim=1
    )
    flat[:, layout.slices["translation_dm"].start] = 0.1 * (0.5 * phase).sin()
    camera = Camera.rnet()
    made = reconstruct(face_model, Renderer(), camera, layout.split(flat))
    assert made.rendering.image is not None
    mask = made.rendering.mask.permute(0, 2, 3, 1)
    backdrop = torch.tensor([0.25, 0.32, 0.4])
    pictures = mask * made.rendering.image.permute(0, 2, 3, 1).clamp(0, 1) + (1 - mask) * backdrop
    frames = np.empty((count, *SIZE, 3), np.uint8)
    frames[:] = (255 * backdrop).byte().numpy()
    top, left = (SIZE[0] - 224) // 2, (SIZE[1] - 224) // 2
    frames[:, top : top + 224, left : left + 224] = (255 * pictures).byte().numpy()
    for number in without:
        frames[number] = (255 * backdrop).byte().numpy()
    with VideoWriter(path) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number / 25)
    points = made.posed.landmarks_px.numpy() - 0.5 + [left, top]
    return FaceVideo(path, flat, points)
