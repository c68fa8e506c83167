"""Weights that the R-Net starts from: ImageNet's in torchvision's format, or dlib's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.networks.dlib_backbone import DlibBackbone
from models.networks.reconstruction import RECONSTRUCTION_NETS, pretrained_names
from options.network_options import ReconstructionNetOptions
from util.errors import InputError
from util.model_files.dlib_file import installed_dlib_file, read_dlib_resnet
from util.training.checkpoint import load_tensors, strip_parallel_prefix, with_batch_counters

_DEFAULT_INIT_PATH = ReconstructionNetOptions.init_path
DEFAULT_INIT_NET = "resnet50"
"""The architecture whose weights the default file holds, as its name says."""


def read_initial_weights(
    options: ReconstructionNetOptions,
) -> tuple[dict[str, Tensor] | None, str]:
    """Read the weights that training starts from.

    Where the default file is not there, or belongs to another architecture than the wanted one, a
    resnet starts from random weights. A file that the user named must fit, and so must the default
    one where the architecture is that of its name.

    Returns:
        State for `create_reconstruction_net`, or None; and a sentence that says where it is from.

    Raises:
        InputError: the file that must fit is missing, damaged, or of another architecture.
    """
    is_default = options.init_path in ("", _DEFAULT_INIT_PATH)
    # Names and shapes are enough, so no memory is filled.
    with torch.device("meta"):
        backbone = RECONSTRUCTION_NETS[options.net_recon](None)
    if isinstance(backbone, DlibBackbone):
        path = installed_dlib_file() if is_default else Path(options.init_path)
        state = read_dlib_resnet(path)
        return {name: state[name] for name in pretrained_names(backbone)}, f"trunk from {path}"

    path = Path(options.init_path)
    if is_default and not (options.init_path and path.is_file()):
        return None, (
            f"random weights ({options.init_path or '--init_path'} is not there; "
            "--init_path names ImageNet weights in torchvision's format)"
        )
    wanted = {name: backbone.state_dict()[name] for name in pretrained_names(backbone)}
    state = with_batch_counters(strip_parallel_prefix(load_tensors(path)), wanted)
    misfit = _misfit(state, wanted)
    if misfit is None:
        return {name: state[name] for name in wanted}, f"backbone from {path}"
    if not is_default:
        raise InputError(
            f"--init_path {path}: not the weights of a {options.net_recon} ({misfit}); give the "
            "file of that architecture in torchvision's format, or another --net_recon"
        )
    if options.net_recon == DEFAULT_INIT_NET:
        raise InputError(
            f"{path}: not the weights of a {options.net_recon}, which its name stands for "
            f"({misfit}); remove it, put torchvision's {path.name} in its place, or give another "
            "--init_path"
        )
    return None, f"random weights ({path} is not for --net_recon {options.net_recon})"


def _misfit(state: dict[str, Any], wanted: dict[str, Tensor]) -> str | None:
    """What keeps a file's tensors from being the wanted ones."""
    for name, tensor in wanted.items():
        found = state.get(name)
        if not isinstance(found, Tensor):
            return f"it has no {name}"
        if found.shape != tensor.shape:
            return f"{name} is {tuple(found.shape)}, expected {tuple(tensor.shape)}"
    # A deeper network holds all tensors of a shallower one; only ImageNet's classifier is left out.
    unknown = [name for name in state if name not in wanted and not name.startswith("fc.")]
    return f"it has {unknown[0]} besides" if unknown else None
