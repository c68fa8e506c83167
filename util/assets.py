"""Find and load the parts of a model that lie in files: face model, networks, first weights."""

from __future__ import annotations

from pathlib import Path

from models.assets import ModelAssets
from models.face_model import FaceModel, FaceModelOptions
from models.networks.recognition import RecognitionOptions
from models.networks.reconstruction import ReconstructionNetOptions
from models.objective import ObjectiveOptions
from models.schedule import OptimiserOptions
from options.flags import ParsedOptions
from options.train_options import TrainOptions
from util.errors import InputError
from util.face_model_file import read_face_model
from util.recognition_file import load_recognition_net
from util.reconstruction_file import read_initial_weights

OPEN_FACE_MODEL = Path(__file__).resolve().parent.parent / "BFM" / "open_face_model.npz"


def load_face_model(options: FaceModelOptions) -> FaceModel:
    """Load the face model that `--face_model` names.

    Raises:
        InputError: unknown name, missing or unreadable file.
    """
    defaults = FaceModelOptions()
    for flag in ("bfm_folder", "bfm_model"):
        if getattr(options, flag) != getattr(defaults, flag):
            raise InputError(
                f"--{flag} {getattr(options, flag)}: the Basel Face Model is not read by this "
                "version; leave the flag out to use the open face model"
            )
    name = options.face_model
    if name in ("auto", "open"):
        path = OPEN_FACE_MODEL
    elif name.endswith(".npz"):
        path = Path(name)
    else:
        raise InputError(
            f"--face_model {name} is unknown; take open, or the path of a native .npz file"
        )
    try:
        return FaceModel(read_face_model(path))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: {error}") from error


def load_assets(options: ParsedOptions) -> ModelAssets | None:
    """Load what the chosen model is built from; None for models that need nothing."""
    if FaceModelOptions not in options:
        return None
    face_model = load_face_model(options[FaceModelOptions])
    print(f"Face model: {face_model.card}")
    net = weights = None
    if OptimiserOptions in options and not _has_weights(options):
        weights, message = read_initial_weights(options[ReconstructionNetOptions])
        print(f"R-Net: {message}")
    if ObjectiveOptions in options and options[ObjectiveOptions].w_feat != 0:
        net, message = load_recognition_net(options[RecognitionOptions])
        print(f"Identity loss: {message}")
    return ModelAssets(face_model, net, weights)


def _has_weights(options: ParsedOptions) -> bool:
    """Whether the training starts from a checkpoint, and so needs no first weights."""
    if TrainOptions not in options:
        return False
    train = options[TrainOptions]
    return train.continue_train or train.pretrained_name is not None
