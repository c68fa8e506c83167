"""The parts that models are built from and that come from files: loaded elsewhere, passed in."""

from __future__ import annotations

from dataclasses import dataclass

from models.face_model import FaceModel
from models.networks.recognition import RecognitionNet


@dataclass(frozen=True)
class ModelAssets:
    """Loaded arrays and frozen networks (see `util.assets.load_assets`)."""

    face_model: FaceModel
    recognition_net: RecognitionNet | None = None
    """Absent where the identity loss is off, and at test time."""
