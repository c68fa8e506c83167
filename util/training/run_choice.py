"""Which run a command line means, as far as folders tell it; torch-free, to refuse at once."""

from __future__ import annotations

from pathlib import Path

from data.mixing import parse_lists
from data.photo_lists import check_list
from data.synthetic.backgrounds import PictureFolder
from data.tar_shards import check_tars
from options import ParsedOptions
from options.base_options import BaseOptions, run_folder
from options.data_options import (
    DatatoolOptions,
    DdfaOptions,
    FlistOptions,
    SyntheticOptions,
    WebdatasetOptions,
)
from options.face_options import NAMED_FACE_MODELS, FaceModelOptions, check_face_model
from options.loss_options import ObjectiveOptions
from options.network_options import (
    RecognitionOptions,
    ReconstructionNetOptions,
    SynergyModelOptions,
    SynergyOptions,
)
from options.train_options import TrainOptions
from util.errors import InputError, of_flag
from util.folders import check_folder
from util.synergy.datatool_folder import check_tags, chosen_tags
from util.synergy.ddfa_folder import check_morphable_folder
from util.training.checkpoint_kind import (
    RNET,
    SYNERGY,
    check_kind,
    check_torch_file,
    face_model_of,
)
from util.training.checkpoint_names import list_checkpoints, resolve_checkpoint


def check_run(options: ParsedOptions) -> None:
    """Refuse a training that could not begin: its folder, the run that it goes on with, its data.

    Raises:
        InputError: --continue_train of nothing; the folder is in use, or cannot be written; there
            is no such list, face model or folder of faces.
    """
    folder = run_folder(options)
    checkpoint_to_resume(options, folder)
    protect_earlier_run(folder, options[TrainOptions])
    check_folder(folder, "checkpoints_dir")
    check_labels(options)
    if FaceModelOptions in options:
        check_face_model(options[FaceModelOptions])
    if FlistOptions in options:
        lists = options[FlistOptions]
        for text, flag in ((lists.flist, "--flist"), (lists.flist_val, "--flist_val")):
            for part in parse_lists(text, flag):
                check_list(part.path, Path(lists.data_root), flag)
    # Another model cannot be trained on such data, which the data set says.
    if DdfaOptions in options and SynergyOptions in options:
        ddfa = options[DdfaOptions]
        if not Path(ddfa.data_root).is_dir():
            raise InputError(
                f"--data_root {ddfa.data_root} is no folder; give the one that {ddfa.ddfa_images}/ "
                f"and {ddfa.mm_folder}/ lie in"
            )
        check_morphable_folder(ddfa.path("mm_folder"))
    if DatatoolOptions in options and SynergyOptions in options:
        for is_train in (True, False):
            tags, flag = chosen_tags(options[DatatoolOptions], is_train)
            check_tags(Path(options[DatatoolOptions].datatool_root_dir), tags, flag)
    if WebdatasetOptions in options:
        tars = options[WebdatasetOptions]
        check_tars(tars.tar_shards, "--tar_shards")
        check_tars(tars.tar_shards_val, "--tar_shards_val")
    if SyntheticOptions in options:
        _check_faces(options[SyntheticOptions])
    _check_start(options)


def _check_faces(synthetic: SyntheticOptions) -> None:
    """Refuse a folder without rendered faces, or one of no pictures to put behind live ones."""
    if synthetic.synthetic_live:
        if synthetic.synthetic_backgrounds:
            PictureFolder.open(Path(synthetic.synthetic_backgrounds), "synthetic_backgrounds")
        return
    faces = Path(synthetic.synthetic_folder)
    if not (faces / "coefficients.npz").is_file():
        lack = "has no coefficients.npz" if faces.exists() else "does not exist"
        raise InputError(
            f"--synthetic_folder {faces} {lack}; make synthetic faces with `python "
            f"make_synthetic.py --out {faces}`"
        )


def _check_start(options: ParsedOptions) -> None:
    """Refuse what is no file of weights where weights shall come from.

    Raises:
        InputError: the run that --continue_train or --pretrained_name means has none; or what
            --init_path or --net_recog_path names is something else.
    """
    train, base = options[TrainOptions], options[BaseOptions]
    if path := checkpoint_to_resume(options, run_folder(options)):
        with of_flag("continue_train:"):
            check_torch_file(path)
    elif train.pretrained_name and not train.continue_train:
        with of_flag(f"pretrained_name {train.pretrained_name}:"):
            folder = Path(base.checkpoints_dir) / train.pretrained_name
            check_torch_file(resolve_checkpoint(folder, base.epoch))
    elif ReconstructionNetOptions in options:
        net = options[ReconstructionNetOptions]
        if net.net_recon != "dlib":
            _check_weights("init_path", net.init_path)
    if RecognitionOptions in options and options[ObjectiveOptions].w_feat != 0:
        recognition = options[RecognitionOptions]
        if recognition.net_recog not in ("dlib", "none"):
            _check_weights("net_recog_path", recognition.net_recog_path)


def _check_weights(flag: str, name: str) -> None:
    """Refuse a file that is there and no weights; whether it must be there, its reader knows."""
    path = Path(name)
    if path.is_file() and path.suffix.lower() != ".onnx":
        with of_flag(flag):
            check_torch_file(path)


def check_labels(options: ParsedOptions) -> None:
    """Refuse a SynergyNet without the labels that it learns.

    Raises:
        InputError: the dataset has other ones.
    """
    if SynergyOptions in options and not (DdfaOptions in options or DatatoolOptions in options):
        raise InputError(
            "--model synergy needs --dataset_mode ddfa or datatool, whose labels it learns"
        )


def find_trained(options: ParsedOptions, *, either: bool = True) -> Path:
    """The checkpoint that --weights, or --name and --epoch, mean; --mm_folder, if given, is there.

    Args:
        options: of the command.
        either: whether the command takes both kinds of network.

    Raises:
        InputError: there is none, it is the other network's or of another face model, or something
            else.
    """
    is_synergy = SynergyModelOptions in options
    if is_synergy and (given := options[SynergyModelOptions].mm_folder):
        check_morphable_folder(Path(given))
    if is_synergy and (weights := options[SynergyModelOptions].weights):
        if not Path(weights).is_file():
            what = "is a folder" if Path(weights).is_dir() else "does not exist"
            raise InputError(f"--weights {weights} {what}; give a checkpoint's file")
        path, flag = Path(weights), "weights"
    else:
        epoch = options[BaseOptions].epoch
        path, flag = resolve_checkpoint(run_folder(options), epoch), f"epoch {epoch}:"
    with of_flag(flag):
        check_kind(path, SYNERGY if is_synergy else RNET, either=either)
    if not is_synergy:
        refuse_other_face_model(options, face_model_of(path), path)
    return path


def refuse_other_face_model(options: ParsedOptions, trained_for: str, path: Path) -> None:
    """Refuse a named face model that a network was not trained for.

    Before its files are looked for: nobody should search for those that do not help.

    Args:
        options: of the command.
        trained_for: name of the network's face model; empty where it is not known.
        path: of the checkpoint.

    Raises:
        InputError: `--face_model` names another one.
    """
    named = options[FaceModelOptions].face_model
    if not options.given("face_model") or named not in NAMED_FACE_MODELS:
        return
    if trained_for and named != trained_for:
        raise InputError(
            f"--face_model {named}: {path} was trained for the face model {trained_for}; leave "
            "the flag out, or give another checkpoint"
        )


def checkpoint_to_resume(options: ParsedOptions, folder: Path) -> Path | None:
    """The file that `--continue_train` goes on from; None where a run begins.

    Raises:
        InputError: there is no run to go on with, or not the checkpoint that `--epoch` names.
    """
    train, base = options[TrainOptions], options[BaseOptions]
    if not train.continue_train:
        return None
    if list_checkpoints(folder):
        return resolve_checkpoint(folder, base.epoch)
    # As in the public code: without checkpoints of its own a run resumes the one named.
    if train.pretrained_name:
        return resolve_checkpoint(Path(base.checkpoints_dir) / train.pretrained_name, base.epoch)
    if (folder / "options.yaml").is_file():
        return None  # stopped before its first checkpoint
    others = sorted(path.parent.name for path in Path(base.checkpoints_dir).glob("*/epoch_*.pth"))
    named = f" (there are {', '.join(dict.fromkeys(others))})" if others else ""
    raise InputError(
        f"--continue_train: {folder} holds no run to go on with; leave the flag out to begin one, "
        f"or give the --name and --checkpoints_dir of an earlier one{named}"
    )


def protect_earlier_run(folder: Path, train: TrainOptions) -> None:
    """Refuse a folder that holds a run, unless it is resumed or replaced on purpose."""
    epochs = list_checkpoints(folder)
    if epochs and not (train.continue_train or train.overwrite):
        raise InputError(
            f"--name: {folder} holds a run already (epoch {', '.join(epochs)}); go on with it by "
            "--continue_train, replace it by --overwrite, or give another name"
        )
