"""Models by name: what `--model` chooses from."""

from __future__ import annotations

import torch

from models.assets import Assets
from models.base_model import BaseModel
from models.facerecon_model import FaceReconModel
from models.synergy_model import SynergyModel
from models.template_model import TemplateModel
from util.errors import InputError

MODELS: dict[str, type[BaseModel]] = {
    "facerecon": FaceReconModel,
    "synergy": SynergyModel,
    "template": TemplateModel,
}


def find_model(name: str) -> type[BaseModel]:
    """The model class of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in MODELS:
        raise ValueError(f"--model {name} is unknown; choose one of {', '.join(MODELS)}")
    return MODELS[name]


def create_model(name: str, options, assets: Assets | None, device: torch.device) -> BaseModel:
    """Build a model from its parsed options and loaded parts.

    Raises:
        InputError: options that contradict each other, the device or the parts.
    """
    try:
        return find_model(name)(options, assets, device)
    except ValueError as error:
        raise InputError(str(error)) from error
