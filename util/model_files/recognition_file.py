"""Load the recognition network of the identity loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from models.networks.dlib_resnet import DlibResNet
from models.networks.iresnet import IRESNET_DEPTHS, create_iresnet, iresnet_depth_from_keys
from models.networks.recognition import ArcFaceRecognitionNet, DlibRecognitionNet, RecognitionNet
from options.network_options import RecognitionOptions
from util.errors import InputError
from util.model_files.arcface_onnx import read_iresnet_onnx
from util.model_files.dlib_file import read_dlib_resnet
from util.training.checkpoint import load_network, load_tensors, strip_parallel_prefix

_DEFAULT_PATH = RecognitionOptions.net_recog_path


def load_recognition_net(
    options: RecognitionOptions,
) -> tuple[RecognitionNet | None, str]:
    """Build the network that `--net_recog` asks for, with its weights.

    ArcFace's weights do not come with the program. Where the default file is not there, dlib's
    network, which comes with the dependencies, takes its place; a file that the user named must
    exist.

    Returns:
        The frozen network, or None for `none`; and a sentence that says which one it is and why.

    Raises:
        InputError: a file is missing, damaged, or holds another network.
    """
    if options.net_recog == "none":
        return None, "no recognition network, no identity loss (--net_recog none)"
    if options.net_recog == "dlib":
        return _load_dlib(), "dlib's recognition network (--net_recog dlib)"
    path = Path(options.net_recog_path)
    if path.is_file():
        network, depth = _load_arcface(path, options.net_recog)
        return network, f"ArcFace {depth} from {path}"
    if options.net_recog_path not in ("", _DEFAULT_PATH):
        raise InputError(
            f"--net_recog_path {path}: no such file; give insightface's backbone.pth or .onnx, or "
            "--net_recog dlib"
        )
    wanted = "" if options.net_recog == "auto" else f" for --net_recog {options.net_recog}"
    return _load_dlib(), (
        f"dlib's recognition network, since ArcFace's weights{wanted} are not at {_DEFAULT_PATH}"
    )


def _load_dlib() -> DlibRecognitionNet:
    """The embedder of the installed package."""
    network = DlibResNet()
    network.load_state_dict(read_dlib_resnet())
    return DlibRecognitionNet(network)


def _load_arcface(path: Path, wanted: str) -> tuple[ArcFaceRecognitionNet, str]:
    """An iresnet and its depth, which must be the wanted one unless that is `auto`."""
    state = _read_arcface(path)
    try:
        depth = iresnet_depth_from_keys(state)
    except ValueError as error:
        raise InputError(
            f"--net_recog_path {path}: {error}; give insightface's backbone.pth "
            f"({', '.join(IRESNET_DEPTHS)}) or its .onnx"
        ) from error
    if wanted not in ("auto", depth):
        raise InputError(
            f"--net_recog {wanted}: {path} holds {depth}; give --net_recog {depth}, or the file "
            f"of {wanted} as --net_recog_path"
        )
    network = create_iresnet(depth)
    load_network(network, state, path)
    return ArcFaceRecognitionNet(network), depth


def _read_arcface(path: Path) -> dict[str, Tensor]:
    """Parameters by insightface's names, from either of its formats."""
    if path.suffix.lower() == ".onnx":
        return read_iresnet_onnx(path)
    state = strip_parallel_prefix(load_tensors(path))
    if "net_recon" in state:
        raise InputError(
            f"--net_recog_path {path}: a checkpoint of an R-Net (train.py's epoch_*.pth), not a "
            "recognition network; give insightface's backbone.pth"
        )
    nested = [name for name, value in state.items() if isinstance(value, Mapping)]
    if nested:
        raise InputError(
            f"--net_recog_path {path}: a whole training checkpoint (it holds {', '.join(nested)}), "
            "not a backbone alone; give the backbone.pth or model.pt that the same training wrote, "
            "or save the backbone's entry as a file of its own"
        )
    return state
