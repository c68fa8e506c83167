"""Find and load the parts of a model that lie in files: face model, networks, first weights."""

from __future__ import annotations

from pathlib import Path

from models.assets import ModelAssets
from models.face_model import FaceModel, FaceModelData, FaceModelOptions
from models.networks.recognition import RecognitionOptions
from models.networks.reconstruction import ReconstructionNetOptions
from models.objective import ObjectiveOptions
from models.schedule import OptimiserOptions
from options.flags import ParsedOptions
from options.train_options import TrainOptions
from util.bfm_conversion import SOURCE_FILES, convert_bfm09, missing_sources
from util.bfm_file import read_bfm_model
from util.errors import InputError
from util.face_model_file import read_face_model
from util.recognition_file import load_recognition_net
from util.reconstruction_file import read_initial_weights

OPEN_FACE_MODEL = Path(__file__).resolve().parent.parent / "BFM" / "open_face_model.npz"
_LOOK_ALIKES = (".h5", ".tgz", ".gz", ".zip", ".rar", ".7z")
"""Endings of files that users put beside the right ones, or in their place."""


def load_face_model(options: FaceModelOptions) -> FaceModel:
    """Load the face model that `--face_model` names; see `choose_face_model`."""
    return choose_face_model(options)[0]


def choose_face_model(options: FaceModelOptions) -> tuple[FaceModel, str]:
    """Load the face model that `--face_model` names; see `read_chosen_face_model`.

    Returns:
        The model; and a sentence that says which one it is and why.
    """
    data, message = read_chosen_face_model(options)
    try:
        model = FaceModel(data)
    except ValueError as error:
        raise InputError(f"--face_model {options.face_model} ({message}): {error}") from error
    return model, f"{model.card}, {message}"


def read_chosen_face_model(options: FaceModelOptions) -> tuple[FaceModelData, str]:
    """Find and read the face model that `--face_model` names.

    `auto` takes bfm09 where the user's files are, ready or to be converted, and else the open
    model, which lies beside the program wherever `--bfm_folder` is.

    Returns:
        The model; and a clause that says why it was taken, or where it is from.

    Raises:
        InputError: unknown name; missing, wrong or unreadable file.
    """
    name, bfm09 = options.face_model, Path(options.bfm_folder) / options.bfm_model
    if name == "open":
        return read_face_model(OPEN_FACE_MODEL), "which comes with the program"
    if name == "bfm09":
        return _read_bfm09(bfm09)
    if name == "auto":
        if not bfm09.is_file() and missing_sources(bfm09.parent):
            return read_face_model(OPEN_FACE_MODEL), f"since {_what_bfm09_lacks(bfm09)}"
        try:
            return _read_bfm09(bfm09)
        except InputError as error:
            raise InputError(f"{error}; or give --face_model open") from error
    path = Path(name)
    if path.suffix.lower() not in (".npz", ".mat"):
        raise InputError(
            f"--face_model {name} is unknown; take auto, open, bfm09, or the path of a .npz or "
            ".mat file"
        )
    if not path.is_file():
        raise InputError(f"--face_model {name}: no such file; give another path")
    if path.suffix.lower() == ".mat":
        return read_bfm_model(path)
    return read_face_model(path), f"from {name}"


def _read_bfm09(path: Path) -> tuple[FaceModelData, str]:
    """Read bfm09, and make its file of the user's others before, if it is not there yet."""
    if not path.is_file():
        if missing_sources(path.parent):
            raise InputError(
                f"face model bfm09: {_what_bfm09_lacks(path)}; put it, or what it is made of, into "
                f"{path.parent} (--bfm_folder). `python doctor.py` names each file and its "
                "publisher; to train without any, give --face_model open"
            )
        convert_bfm09(path.parent, path)
    return read_bfm_model(path)


def _what_bfm09_lacks(path: Path) -> str:
    """What keeps bfm09 from being used, in one clause."""
    folder, missing = path.parent, missing_sources(path.parent)
    lack = f"there is no {path}"
    if len(missing) < len(SOURCE_FILES):
        lack += f", and to make it {', '.join(source.name for source in missing)} would be needed"
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in names if name.lower().endswith(_LOOK_ALIKES)]
    if others:
        lack += (
            f" (of {', '.join(others)} nothing is used: archives must be unpacked, and .h5 files "
            "are other face models)"
        )
    return lack


def load_assets(options: ParsedOptions) -> ModelAssets | None:
    """Load what the chosen model is built from; None for models that need nothing."""
    if FaceModelOptions not in options:
        return None
    face_model, message = choose_face_model(options[FaceModelOptions])
    print(f"Face model: {message}")
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
