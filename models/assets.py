"""The parts that models are built from and that come from files: loaded elsewhere, passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from models.face_model import FaceModel
from models.networks.recognition import RecognitionNet
from models.synergy.morphable import SynergyFace
from models.synergy.parameters import SynergyMeaning, Whitening


@dataclass(frozen=True)
class ModelAssets:
    """Loaded arrays and frozen networks (see `util.assets.load_assets`)."""

    face_model: FaceModel
    recognition_net: RecognitionNet | None = None
    """Absent where the identity loss is off, and at test time."""
    initial_weights: Mapping[str, Tensor] | None = field(default=None, repr=False)
    """What the R-Net's backbone starts from; None for random weights."""


@dataclass(frozen=True)
class SynergyAssets:
    """What a SynergyNet is built around: it comes with the labels that it is trained on."""

    face: SynergyFace
    whitening: Whitening
    meaning: SynergyMeaning


Assets = ModelAssets | SynergyAssets
"""Of any model."""
