"""Find and load the parts of a model that lie in files: face model, networks, first weights."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

from models.assets import Assets, ModelAssets, SynergyAssets
from models.face_model import FaceModel, FaceModelData
from models.synergy.morphable import SynergyFace
from models.synergy.parameters import ANGLE_POSE, SynergyLayout, SynergyMeaning
from options.data_options import DatatoolOptions, DdfaOptions
from options.face_options import (
    DATATOOL_PX,
    FaceModelOptions,
    FaceRegion,
    check_face_model,
    refuse_other_regions,
    split_level,
)
from options.flags import ParsedOptions
from options.loss_options import ObjectiveOptions
from options.network_options import (
    OptimiserOptions,
    RecognitionOptions,
    ReconstructionNetOptions,
    SynergyOptions,
)
from options.train_options import TrainOptions
from util.errors import InputError
from util.model_files import bfm_releases, flame_folder, ict_file
from util.model_files.bfm09_folder import missing_sources, what_bfm09_lacks
from util.model_files.bfm_conversion import convert_bfm09
from util.model_files.bfm_file import read_bfm_model
from util.model_files.bfm_h5_file import read_bfm_h5
from util.model_files.bfm_releases import check_release, find_release
from util.model_files.face_model_file import read_face_model
from util.model_files.flame_file import read_flame
from util.model_files.flame_folder import check_flame
from util.model_files.ict_file import convert_ict, is_stale
from util.model_files.ict_folder import CONVERTED, FOLDER, check_ict_folder, find_ict
from util.model_files.recognition_file import load_recognition_net
from util.model_files.reconstruction_file import read_initial_weights
from util.synergy.datatool_files import (
    LANDMARKS,
    datatool_whitening,
    read_bfm_mat,
    stand_in_arrays,
)
from util.synergy.ddfa_files import read_morphable_folder
from util.training.run_choice import check_labels

OPEN_FACE_MODEL = Path(__file__).resolve().parent.parent / "BFM" / "open_face_model.npz"


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
    data, message = _read_named(options)
    if options.jaw_landmarks == "fixed":
        data = replace(data, contour=None)
    return data, message


def _read_named(options: FaceModelOptions) -> tuple[FaceModelData, str]:
    check_face_model(options)
    name, level = split_level(options.face_model)
    folder, region = Path(options.bfm_folder), options.face_region
    bfm09 = folder / options.bfm_model
    is_open = name == "open"
    if name == "auto" and not bfm09.is_file() and missing_sources(bfm09.parent):
        is_open = True
    if is_open:
        reason = "which comes with the program" if name == "open" else None
        data = read_face_model(OPEN_FACE_MODEL, level, region)
        return data, reason or f"since {what_bfm09_lacks(bfm09)}"
    if name == "auto":
        refuse_other_regions(name, region)
    if name == "bfm09":
        return _read_bfm09(bfm09)
    if name == "auto":
        try:
            return _read_bfm09(bfm09)
        except InputError as error:
            raise InputError(f"{error}; or give --face_model open") from error
    if name == ict_file.NAME:
        return _read_ict(folder)
    if name == flame_folder.NAME:
        return read_flame(check_flame(folder), _donor())
    if release := find_release(name):
        path = check_release(folder, release)
        return read_bfm_h5(path, _donor(), (release,), bfm_releases.RELEASES)
    return _read_path(Path(name), region)


def _read_path(path: Path, region: FaceRegion) -> tuple[FaceModelData, str]:
    """Read the file or folder that `--face_model` gives, as its ending and content say."""
    kind = path.suffix.lower()
    is_flame = kind == ".pkl" or (kind == ".npz" and _is_flame(path))
    if path.is_dir():
        refuse_other_regions(str(path), region)
        return _read_ict(path)
    if is_flame or kind != ".npz":
        refuse_other_regions(str(path), region)
    if kind == ".mat":
        return read_bfm_model(path)
    if kind == ".h5":
        return read_bfm_h5(path, _donor(), bfm_releases.RELEASES, bfm_releases.RELEASES)
    if is_flame:
        return read_flame(path, _donor())
    return read_face_model(path, region=region), f"from {path}"


def _donor() -> FaceModelData:
    """What gives other models their albedo, or their landmarks."""
    return read_face_model(OPEN_FACE_MODEL)


def _is_flame(path: Path) -> bool:
    """Whether a `.npz` is FLAME's, not a native one."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "v_template.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False  # which the reader of native files says


def _read_ict(folder: Path) -> tuple[FaceModelData, str]:
    """Read ICT-FaceKit's converted file, and make it before, if it is not there yet or stale."""
    check_ict_folder(folder)
    path, source, donor = folder / CONVERTED, find_ict(folder), _donor()
    message, is_there = f"from {path}, made of ICT-FaceKit", path.is_file()
    if is_there and is_stale(path, donor):
        if source is None:
            message += (
                " for another version of the open model or of this program; to have it made again, "
                f"put {FOLDER} into {folder}"
            )
        is_there = source is None
    if not is_there:
        assert source is not None  # else `check_ict_folder` had refused it
        convert_ict(source, path, donor)
    try:
        return read_face_model(path), message
    except InputError as error:
        if source is None:
            raise
        raise InputError(f"{error}; or remove it to have it made again of {source}") from error


def ict_would_be_made(folder: Path) -> bool:
    """Whether a run would convert ICT-FaceKit: its meshes are there, and no file that is right."""
    path = folder / CONVERTED
    return find_ict(folder) is not None and (not path.is_file() or is_stale(path, _donor()))


def _read_bfm09(path: Path) -> tuple[FaceModelData, str]:
    """Read bfm09, and make its file of the user's others before, if it is not there yet."""
    if not path.is_file():
        convert_bfm09(path.parent, path)
    return read_bfm_model(path)


def load_assets(options: ParsedOptions) -> Assets | None:
    """Load what the chosen model is built from; None for models that need nothing."""
    if SynergyOptions in options:
        return _load_synergy_assets(options)
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


def _load_synergy_assets(options: ParsedOptions) -> SynergyAssets:
    """The face model and whitening that a dataset's labels are made with."""
    if DatatoolOptions in options:
        return _load_datatool_assets(options)
    check_labels(options)
    meaning = SynergyMeaning()
    found = read_morphable_folder(options[DdfaOptions].path("mm_folder"), meaning.layout)
    print(f"Face model: {found.arrays.card}, of {options[DdfaOptions].path('mm_folder')}")
    face = SynergyFace(found.arrays, meaning.layout, meaning.image_px)
    return SynergyAssets(face, found.whitening, meaning)


def _load_datatool_assets(options: ParsedOptions) -> SynergyAssets:
    """BFM.mat where the user has it, or one of our face models in its place."""
    path = Path(options[DatatoolOptions].bfm_path)
    of_bfm = path.is_file() or options.given("bfm_path")
    if of_bfm:
        arrays, message = read_bfm_mat(path), f"of {path}"
    else:
        model, message = choose_face_model(options[FaceModelOptions])
        arrays, message = stand_in_arrays(model), f"in place of {path} ({message})"
    print(f"Face model: {arrays.card}, {message}")
    sizes = arrays.shape_basis.shape[2], arrays.expression_basis.shape[2]
    layout = SynergyLayout(ANGLE_POSE, *sizes)
    meaning = SynergyMeaning(layout, DATATOOL_PX, "rgb01", LANDMARKS)
    face = SynergyFace(arrays, layout, DATATOOL_PX)
    return SynergyAssets(face, datatool_whitening(layout, of_bfm=of_bfm), meaning)
