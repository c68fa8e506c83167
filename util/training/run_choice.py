"""Which run a command line means, as far as folders tell it; torch-free, to refuse at once."""

from __future__ import annotations

from pathlib import Path

from data.mixing import parse_lists
from options import ParsedOptions
from options.base_options import BaseOptions, run_folder
from options.data_options import (
    DatatoolOptions,
    DdfaOptions,
    FlistOptions,
    SyntheticOptions,
)
from options.face_options import FaceModelOptions, check_face_model
from options.network_options import SynergyModelOptions, SynergyOptions
from options.train_options import TrainOptions
from util.errors import InputError
from util.folders import check_folder
from util.training.checkpoint_kind import RNET, SYNERGY, check_kind
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
        for flag in ("flist", "flist_val"):
            for part in parse_lists(getattr(options[FlistOptions], flag), f"--{flag}"):
                if not part.path.exists():
                    raise InputError(
                        f"--{flag} {part.path} does not exist; make it with data_preparation.py"
                    )
    if SyntheticOptions in options and not options[SyntheticOptions].synthetic_live:
        faces = Path(options[SyntheticOptions].synthetic_folder)
        if not faces.exists():
            raise InputError(
                f"--synthetic_folder {faces} does not exist; make synthetic faces with `python "
                f"make_synthetic.py --out {faces}`"
            )


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
    """The checkpoint that --weights, or --name and --epoch, mean.

    Args:
        options: of the command.
        either: whether the command takes both kinds of network.

    Raises:
        InputError: there is none, or it is the other network's.
    """
    is_synergy = SynergyModelOptions in options
    if is_synergy and (weights := options[SynergyModelOptions].weights):
        if not Path(weights).is_file():
            raise InputError(f"--weights {weights} does not exist; give a checkpoint's file")
        path = Path(weights)
    else:
        path = resolve_checkpoint(run_folder(options), options[BaseOptions].epoch)
    check_kind(path, SYNERGY if is_synergy else RNET, either=either)
    return path


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
