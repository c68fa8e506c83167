"""Train an R-Net, or another model, on a prepared folder of faces.

python train.py --name my_faces --flist datalist/train/masks.txt --flist_val datalist/val/masks.txt
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch

from data import FaceLoader, create_dataset
from data.loader import loader_deaths_named
from data.registry import find_dataset
from models import create_model, find_model
from models.base_model import BaseModel
from options import ParsedOptions, parse_command, write_options
from options.base_options import BaseOptions, DisplayOptions, DistributedOptions, run_folder
from options.flags import flag_names, without_effect
from options.train_options import LoaderOptions, TrainOptions
from util.assets import load_assets
from util.atomic import remove_leftovers
from util.checkpoint import (
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    resolve_checkpoint,
)
from util.command import run_command
from util.devices import choose_device
from util.distributed import Place, Ranks, joined
from util.errors import InputError
from util.launch import processes_to_start, run_processes
from util.random_state import seed_everything
from util.training import Training
from util.training_report import TRAINING_REPORT
from util.training_state import Progress, follow_order, load_weights, resume_training


def option_groups(given: dict[str, str]) -> list[type]:
    """The options of a training: the model and the dataset bring their own.

    Flags of the public command lines are those of the defaults; another choice accepts them too.
    """
    mode = given.get("dataset_mode", TrainOptions.dataset_mode)
    model = given.get("model", BaseOptions.model)
    shared = [BaseOptions, TrainOptions, LoaderOptions, DisplayOptions, DistributedOptions]
    own = [*find_dataset(mode).option_groups, *find_model(model).option_groups]
    # A group that model and dataset both name appears once.
    groups = list(dict.fromkeys([*shared, *own]))
    public = {
        f"--model {model}": find_model(BaseOptions.model).option_groups,
        f"--dataset_mode {mode}": find_dataset(TrainOptions.dataset_mode).option_groups,
    }
    reasons = {
        flag: f"{choice} does not use it"
        for choice, owners in public.items()
        for flag in flag_names(owners) - flag_names(groups)
    }
    return [*groups, without_effect([*chain.from_iterable(public.values())], reasons)]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, create data and model, then for each epoch: train, validate, save."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = parse_command(option_groups, arguments, __doc__ or "")
    base, several = options[BaseOptions], options[DistributedOptions]
    place = Place.from_environment()
    checkpoint_to_resume(options, run_folder(options))  # before seconds of starting
    count = processes_to_start(base.gpu_ids, several.world_size, several.use_ddp, place)
    if count > 1:
        # Saved options name the default too, so that it cannot count as a wish.
        port = several.ddp_port if several.ddp_port != DistributedOptions.ddp_port else 0
        port = int(port)
        run_processes([str(Path(__file__).resolve()), *arguments], count, port)
        return
    place = place or Place()
    device = choose_device(base.gpu_ids, base.num_cpu_threads, place.local_rank, place.local_size)
    with joined(place, device) as ranks:
        run(options, device, place, ranks)


def run(options: ParsedOptions, device: torch.device, place: Place, ranks: Ranks) -> None:
    """Train in this process, alone or as one of several."""
    base, folder = options[BaseOptions], run_folder(options)
    options = begin_anew_without_checkpoint(options, folder)
    train = options[TrainOptions]
    seed_everything(base.seed)
    protect_earlier_run(folder, train)

    if not ranks.is_first:
        ranks.barrier()  # the first process may convert the user's face model
    assets = load_assets(options)
    if ranks.is_first:
        ranks.barrier()
    train_set = create_dataset(train.dataset_mode, options, assets, is_train=True)
    val_set = create_dataset(train.dataset_mode, options, assets, is_train=False)
    loader = options[LoaderOptions]
    faces = FaceLoader(train_set, loader, base.seed, True, place, device)
    val_faces = FaceLoader(val_set, loader, base.seed, False, place, device)
    model = create_model(base.model, options, assets, device)
    model.distribute(ranks)
    if not ranks.is_first:
        seed_everything(base.seed + ranks.rank)  # what a network draws differs from face to face
    progress = start(model, options, folder)
    if finished(progress, model, train):
        return
    progress, notice = follow_order(progress, {**faces.order, "processes": ranks.size})
    ranks.barrier()
    if ranks.is_first:
        # Only now, so that a start that fails leaves an earlier run as it was.
        if train.overwrite and not train.continue_train:
            remove_earlier_run(folder)
        remove_leftovers(folder)
        write_options(options, folder, "train")
    where = f"{ranks.size} processes on {device.type}" if ranks.size > 1 else device
    print(f"{len(train_set)} faces to train on, {len(val_set)} to validate on, on {where}")
    for text in filter(None, (notice, faces.notice, val_faces.notice)):
        print(text)

    bad_images = (faces.bad_images, val_faces.bad_images)
    training = Training(model, options, folder, len(faces), progress, bad_images)
    with training, loader_deaths_named():
        for epoch in training.epochs:
            faces.set_epoch(epoch, skip=training.progress.batches)
            for batch in faces:
                training.step(batch, val_faces)
                if training.out_of_time:
                    break
            training.end_epoch(epoch, val_faces)
            if training.out_of_time:
                break


def begin_anew_without_checkpoint(options: ParsedOptions, folder: Path) -> ParsedOptions:
    """Drop `--continue_train` for a run that stopped before its first checkpoint."""
    resumed = options[TrainOptions].continue_train
    if not resumed or list_checkpoints(folder) or not (folder / "options.yaml").is_file():
        return options
    print(f"{folder} holds a run without a checkpoint: it begins anew")
    return options.with_values(TrainOptions, continue_train=False)


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


def finished(progress: Progress, model: BaseModel, train: TrainOptions) -> str:
    """Why a resumed training has nothing left to do, and what would let it go on; "" if it has."""
    if progress.epoch > model.last_epoch:
        return (
            f"finished, epoch {progress.epoch - 1} of {model.last_epoch} is done; to go on, raise "
            f"--n_epochs above {progress.epoch - 1}"
        )
    if 0 < 60 * train.max_minutes <= progress.seconds:
        minutes = progress.seconds / 60
        return (
            f"finished, it has had its {train.max_minutes:g} minutes; to go on, raise "
            f"--max_minutes above {minutes:.1f}"
        )
    return ""


def protect_earlier_run(folder: Path, train: TrainOptions) -> None:
    """Refuse a folder that holds a run, unless it is resumed or replaced on purpose."""
    epochs = list_checkpoints(folder)
    if epochs and not (train.continue_train or train.overwrite):
        raise InputError(
            f"--name: {folder} holds a run already (epoch {', '.join(epochs)}); go on with it by "
            "--continue_train, replace it by --overwrite, or give another name"
        )


def remove_earlier_run(folder: Path) -> None:
    """Delete the checkpoints and logs of a run that `--overwrite` replaces."""
    for epoch in list_checkpoints(folder):
        checkpoint_path(folder, epoch).unlink()
    shutil.rmtree(folder / "logs", ignore_errors=True)
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    for name in ("loss_log.txt", TRAINING_REPORT):
        (folder / name).unlink(missing_ok=True)


def start(model: BaseModel, options: ParsedOptions, folder: Path) -> Progress:
    """Give the model its first weights: a run's own, another run's, or the initial ones."""
    train, base = options[TrainOptions], options[BaseOptions]
    if path := checkpoint_to_resume(options, folder):
        progress = resume_training(path, model, options)
        if reason := finished(progress, model, train):
            print(f"{path}: {reason}")
        else:
            print(f"Resumed from {path}: epoch {progress.epoch}, {progress.step} steps done")
        return progress
    if train.pretrained_name:
        try:
            path = resolve_checkpoint(
                Path(base.checkpoints_dir) / train.pretrained_name, base.epoch
            )
        except InputError as error:
            raise InputError(f"--pretrained_name {train.pretrained_name}: {error}") from error
        load_weights(load_checkpoint(path, tuple(model.networks)), path, model, options)
        print(f"Weights from {path}")
    return Progress(epoch=model.first_epoch)


if __name__ == "__main__":
    run_command(main)
