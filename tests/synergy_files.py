"""A SynergyNet of random weights, small enough for tests, with a face model; photos for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from data.images import write_image
from data.landmarks import write_landmarks
from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import Renderer
from models.stages import reconstruct
from models.synergy.morphable import SynergyFace, face_arrays
from models.synergy.network import SynergyNetwork
from models.synergy.parameters import DDFA_LAYOUT, Whitening
from models.synergy.pose import label_rotation, pose_numbers
from tests.ddfa_folder import make_ddfa_folder
from util.synergy.ddfa_files import read_morphable_folder
from util.training.checkpoint import save_checkpoint

SCALE, SHIFT = 4.8e-4, (58.0, 63.0, -70.0)
"""Pose of the face that a fixed network sees in each crop: turned by YAW_DEG."""
YAW_DEG = 12.0


def save_random_synergy(
    folder: Path,
    path: Path,
    arch: str = "mobilenet_025",
    *,
    fixed: bool = False,
    face_model: FaceModel | None = None,
) -> SynergyNetwork:
    """Make 3dmm_data in a folder, and a checkpoint whose network sees heads in every crop.

    Args:
        folder: of 3dmm_data.
        path: the checkpoint, as train.py writes it.
        arch: backbone.
        fixed: see the same mean face everywhere.
        face_model: in place of 3dmm_data, which then is not made; with `fixed`.
    """
    torch.manual_seed(3)
    if face_model is None:
        make_ddfa_folder(folder)
        found = read_morphable_folder(folder / "3dmm_data")
        face, whitening = SynergyFace(found.arrays, DDFA_LAYOUT), found.whitening
    else:
        face = SynergyFace(face_arrays(face_model, DDFA_LAYOUT), DDFA_LAYOUT)
        whitening = Whitening(torch.zeros(DDFA_LAYOUT.size), torch.ones(DDFA_LAYOUT.size))
    if fixed:
        angles = torch.deg2rad(torch.tensor([[0.0, YAW_DEG, 0.0]]))
        pose = pose_numbers(torch.tensor([SCALE]), label_rotation(angles), torch.tensor([SHIFT]))
        whitening = Whitening(torch.cat([pose[0], torch.zeros(50)]), whitening.std)
    network = SynergyNetwork(face, whitening, arch=arch).eval()
    for head in network.regressor.heads:
        # Untrained heads see nearly the same in all crops.
        torch.nn.init.normal_(head[1].weight, 0, 0.0 if fixed else 0.3)  # pyright: ignore
    record = {
        **network.meaning.record,
        "arch": network.arch,
        "public": False,
        "residual_scale": network.residual_scale,
        "face_model": face.card.record,
    }
    save_checkpoint(path, {"net_synergy": network.state_dict(), "synergy": record})
    return network


def write_photos(root: Path, face_model: FaceModel) -> Path:
    """A folder: a rendered face within a larger photo, with its landmark file, and a grey sky."""
    zero = face_model.layout.zeros(1)
    result = reconstruct(face_model, Renderer("torch"), Camera.rnet(), zero)
    assert result.rendering.image is not None
    face = (result.rendering.image[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    photo = np.full((300, 400, 3), 90, np.uint8)
    photo[40:264, 120:344] = face
    write_image(root / "a.png", photo)
    landmarks = result.posed.landmarks_px[0].double().numpy() - 0.5 + [120, 40]
    write_landmarks(root / "landmarks" / "a.txt", landmarks)
    write_image(root / "sky.png", np.full((200, 200, 3), 128, np.uint8))
    return root


class Following:
    """A tracker whose face moves by a pixel a frame, with noise, and is away in one frame."""

    def __init__(self, landmarks: np.ndarray, noise_px: float = 1.0) -> None:
        self.landmarks, self.calls, self.is_new = landmarks, -1, False
        self.noise_px = noise_px
        self.random = np.random.default_rng(0)

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        self.calls += 1
        self.is_new = self.calls in (0, 13)
        if self.calls == 12:
            return None
        return self.landmarks + self.calls + self.random.normal(0, self.noise_px, (68, 2))


def save_run_and_photos(folder: Path, face_model: FaceModel) -> Path:
    """The run `syn` of an untrained network that sees a turned face; the folder of its photos."""
    checkpoint = folder / "checkpoints" / "syn" / "epoch_3.pth"
    save_random_synergy(folder, checkpoint, fixed=True, face_model=face_model)
    return write_photos(folder / "photos", face_model)
