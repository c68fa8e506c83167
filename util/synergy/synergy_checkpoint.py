"""SynergyNet's weights: our checkpoints, and the public `best.pth.tar`, in and out.

Ours hold, beside the network, what its numbers mean (`models.synergy_model`), and name the face
model. The public file is {epoch, state_dict}; its state dict, whose names begin with `module.`, has
the face model's arrays and the whitening among the weights, so that nothing else is needed, but for
meshes the triangles of 3dmm_data/tri.mat.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.face_model import IdentityCard, array_fingerprint
from models.synergy.morphable import SynergyFace, SynergyFaceArrays, face_arrays
from models.synergy.network import SynergyNetwork
from models.synergy.parameters import DDFA_LAYOUT, SynergyMeaning, Whitening
from models.synergy_model import NETWORK
from options.face_options import NAMED_FACE_MODELS, FaceModelOptions
from util.assets import load_face_model
from util.errors import InputError
from util.synergy.datatool_files import LANDMARKS, read_bfm_mat, stand_in_arrays
from util.synergy.ddfa_files import TEXTURE_PARAMETERS, read_morphable_folder
from util.training.checkpoint import (
    load_network,
    load_tensors,
    save_checkpoint,
    strip_parallel_prefix,
)

_NAMES = (
    (r"I2P\.backbone\.features\.", "regressor.backbone.features."),
    (r"I2P\.backbone\.classifier_ori\.", "regressor.heads.0."),
    (r"I2P\.backbone\.classifier_shape\.", "regressor.heads.1."),
    (r"I2P\.backbone\.classifier_exp\.", "regressor.heads.2."),
    (r"reverseDirection\.(conv|bn)6_(\d)\.", r"reverse.heads.{2}.\1."),
    (r"forwardDirection\.(conv|bn)(\d)\.", r"refinement.layers.{2}.\1."),
    (r"reverseDirection\.(conv|bn)(\d)\.", r"reverse.layers.{2}.\1."),
)
"""Beginning of a public name, and ours; {2} is the second group less one."""

_ARRAYS = ("u", "w_shp", "w_exp", "u_base", "w_shp_base", "w_exp_base")
_WHITENING = ("param_mean", "param_std")
_REMEDY = "take best.pth.tar of SynergyNet, or an epoch_*.pth that `train.py --model synergy` wrote"


@dataclass(frozen=True)
class FaceFiles:
    """Where the face model of a checkpoint may be found."""

    mm_folder: Path | None = None
    """The user's 3dmm_data; None looks for ./3dmm_data where one is needed."""
    options: FaceModelOptions = field(default_factory=FaceModelOptions)
    """Folder of the user's other face models; `face_model` is the checkpoint's."""
    bfm_path: Path = Path("bfm_utils/morphable_models/BFM.mat")
    """That of the datatool's networks."""


def load_synergy(path: Path, files: FaceFiles | None = None) -> SynergyNetwork:
    """Read a network with its face model, ready to infer: in eval mode, on the CPU.

    Args:
        path: ours, or public.
        files: where face models lie.

    Raises:
        InputError: damaged, no such checkpoint, or its face model is not there.
    """
    files = files or FaceFiles()
    content = load_tensors(path)
    if NETWORK in content:
        network = _load_own(content, path, files)
    elif isinstance(content.get("state_dict"), Mapping):
        network = _load_public(content["state_dict"], path, files)
    else:
        raise InputError(f"{path} holds no SynergyNet (found: {', '.join(content)}); {_REMEDY}")
    return network.eval()


def save_public_synergy(path: Path, network: SynergyNetwork, epoch: int = 0) -> None:
    """Write a network as the public code does, so that its programs read it.

    Raises:
        InputError: a network that the public code has no room for.
    """
    arch, layout = network.arch, network.meaning.layout
    if arch != "mobilenet_v2" or layout != DDFA_LAYOUT:
        raise InputError(
            f"the public code has room for mobilenet_v2 and {DDFA_LAYOUT}, this network is {arch} "
            f"with {layout}"
        )
    face, texture = network.face, torch.zeros(TEXTURE_PARAMETERS)
    state = {
        "param_mean": torch.cat([network.whitening_mean, texture]),
        "param_std": torch.cat([network.whitening_std, texture + 1]),
        "w_shp": face.shape_basis.T,
        "u": face.mean[:, None],
        "w_exp": face.expression_basis.T,
        "u_base": face.landmark_mean[:, None],
        "w_shp_base": face.landmark_shape.T,
        "w_exp_base": face.landmark_expression.T,
    }
    ours = network.state_dict()
    state |= {name: ours[own] for name, own in _public_names(ours).items()}
    prefixed = {f"module.{name}": value.contiguous() for name, value in state.items()}
    save_checkpoint(path, {"epoch": epoch, "state_dict": prefixed})


def own_name(public: str) -> str:
    """Our name of a public parameter; "" where it is none of the network's."""
    for pattern, ours in _NAMES:
        if found := re.match(pattern, public):
            rest = public[found.end() :]
            if "{2}" in ours:
                ours = ours.replace("{2}", str(int(found.group(2)) - 1))
                ours = ours.replace(r"\1", found.group(1))
            return ours + rest
    return ""


def _public_names(ours: Mapping[str, Any]) -> dict[str, str]:
    """Public name -> ours for all weights, in the public order: convolutions before norms."""
    names = {}
    for own in ours:
        for _, pattern in _NAMES:
            numbered = re.escape(pattern).replace(r"\{2\}", r"(\d+)").replace(r"\\1", "(conv|bn)")
            if found := re.match(numbered, own):
                public = _public_prefix(pattern, found.groups())
                names[public + own[found.end() :]] = own
                break
    parts = ("I2P.", "forwardDirection.conv", "forwardDirection.bn", "reverseDirection.conv", "")
    return dict(
        sorted(names.items(), key=lambda item: [item[0].startswith(p) for p in parts], reverse=True)
    )


def _public_prefix(pattern: str, groups: tuple[str, ...]) -> str:
    public = next(name for name, ours in _NAMES if ours == pattern)
    public = public.replace("\\.", ".")
    if groups:
        number, kind = groups
        public = public.replace("(conv|bn)", kind).replace(r"(\d)", str(int(number) + 1))
    return public


def _load_public(state: Mapping[str, Any], path: Path, files: FaceFiles) -> SynergyNetwork:
    state = strip_parallel_prefix(state)
    wanted = (*_ARRAYS, *_WHITENING)
    if missing := [name for name in wanted if not isinstance(state.get(name), Tensor)]:
        raise InputError(f"{path}: its state_dict has no {missing[0]}; {_REMEDY}")
    arrays = _public_arrays(state, path)
    if files.mm_folder is not None:
        of_folder = read_morphable_folder(files.mm_folder).arrays
        if len(of_folder.mean) != len(arrays.mean):
            raise InputError(
                f"--mm_folder {files.mm_folder} has {len(of_folder.mean)} vertices, the face model "
                f"in {path} {len(arrays.mean)}; give the 3dmm_data of the same project"
            )
        arrays = replace(arrays, triangles=of_folder.triangles, uv=of_folder.uv)
    try:
        mean, std = (state[name][: DDFA_LAYOUT.size].float() for name in _WHITENING)
        network = SynergyNetwork(SynergyFace(arrays), Whitening(mean, std), public=True)
    except ValueError as error:
        raise InputError(f"{path}: {error}; {_REMEDY}") from error
    named = {own: value for name, value in state.items() if (own := own_name(name))}
    unknown = [name for name in state if not own_name(name) and name not in wanted]
    if unknown:
        raise InputError(f"{path}: its state_dict has an unknown {unknown[0]}; {_REMEDY}")
    load_network(network, {**named, "whitening_mean": mean, "whitening_std": std}, path)
    return network


def _public_arrays(state: Mapping[str, Tensor], path: Path) -> SynergyFaceArrays:
    """The face model that a public checkpoint carries."""
    u, shape, expression, *base = (state[name].float().numpy() for name in _ARRAYS)
    count = u.size // 3
    expected = {
        "u": (3 * count, 1),
        "w_shp": (3 * count, DDFA_LAYOUT.shape),
        "w_exp": (3 * count, DDFA_LAYOUT.expression),
    }
    landmarks = base[0].size // 3
    expected |= {f"{name}_base": (3 * landmarks, size[1]) for name, size in expected.items()}
    for name, size in expected.items():
        if tuple(state[name].shape) != size:
            raise InputError(f"{path}: {name} is {tuple(state[name].shape)}, not {size}; {_REMEDY}")
    vertices, points = u.reshape(-1, 3), base[0].reshape(-1, 3)
    where = np.array([int(((vertices - p) ** 2).sum(axis=1).argmin()) for p in points])
    if not np.array_equal(vertices[where], points):
        raise InputError(f"{path}: u_base has points that u has not; {_REMEDY}")
    shape, expression = shape.reshape(count, 3, -1), expression.reshape(count, 3, -1)
    fingerprint = array_fingerprint(vertices, shape, expression)
    return SynergyFaceArrays(
        card=IdentityCard("3dmm_data", "unnamed", "", fingerprint),
        mean=vertices,
        shape_basis=shape,
        expression_basis=expression,
        landmark_vertices=where[:, None],
        landmark_weights=np.ones((landmarks, 1), np.float32),
        triangles=np.zeros((0, 3), np.int32),
    )


def _load_own(content: Mapping[str, Any], path: Path, files: FaceFiles) -> SynergyNetwork:
    record, state = content.get("synergy"), content[NETWORK]
    try:
        if not isinstance(record, Mapping) or not isinstance(state, Mapping):
            raise TypeError("it has no record of what its numbers mean")
        meaning, card = SynergyMeaning.from_record(record), dict(record["face_model"])
        whitening = Whitening(state["whitening_mean"], state["whitening_std"])
        settings = {name: record[name] for name in ("arch", "public", "residual_scale")}
        settings["use_rot_inv"] = bool(record.get("use_rot_inv", False))
        name, fingerprint = str(card["name"]), str(card["fingerprint"])
    except KeyError as error:
        raise InputError(f"{path} lacks {error}; {_REMEDY}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} is malformed ({error}); {_REMEDY}") from error
    face = find_face(name, fingerprint, meaning, files, path)
    try:
        network = SynergyNetwork(face, whitening, meaning, **settings)
    except ValueError as error:
        raise InputError(f"{path}: {error}; {_REMEDY}") from error
    load_network(network, strip_parallel_prefix(state), path)
    return network


def find_face(
    name: str, fingerprint: str, meaning: SynergyMeaning, files: FaceFiles, path: Path
) -> SynergyFace:
    """The face model that a checkpoint names, from the user's files or ours.

    Raises:
        InputError: it is not there, or another one is.
    """
    layout, folder = meaning.layout, files.mm_folder
    of_datatool = meaning.num_landmarks == LANDMARKS
    if of_datatool and name not in NAMED_FACE_MODELS:
        arrays = read_bfm_mat(files.bfm_path)
    elif of_datatool:
        arrays = stand_in_arrays(load_face_model(replace(files.options, face_model=name)))
    elif folder is not None or name not in NAMED_FACE_MODELS:
        arrays = read_morphable_folder(folder or Path("3dmm_data"), layout).arrays
    else:
        try:
            arrays = face_arrays(load_face_model(replace(files.options, face_model=name)), layout)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
    if arrays.card.fingerprint != fingerprint:
        raise InputError(
            f"{path} was trained for the face model {name} ({fingerprint}), found is "
            f"{arrays.card}; give its folder by --mm_folder, or another checkpoint"
        )
    return SynergyFace(arrays, layout, meaning.image_px)
