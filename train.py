"""Train an R-Net, or another model, on a prepared folder of faces.

python train.py --name my_faces --flist datalist/train/masks.txt --flist_val datalist/val/masks.txt
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from data import FaceLoader, create_dataset
from data.registry import find_dataset
from models import create_model, find_model
from models.base_model import BaseModel
from options import ParsedOptions, parse_command, write_options
from options.base_options import BaseOptions, DisplayOptions, DistributedOptions, run_folder
from options.train_options import LoaderOptions, TrainOptions
from util.assets import load_assets
from util.checkpoint import (
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    resolve_checkpoint,
)
from util.command import run_command
from util.devices import choose_device
from util.errors import InputError
from util.training import Training
from util.training_state import Progress, load_weights, resume_training


def option_groups(given: dict[str, str]) -> list[type]:
    """The options of a training: the model and the dataset bring their own."""
    mode = given.get("dataset_mode", TrainOptions.dataset_mode)
    dataset = find_dataset(mode)
    model = find_model(given.get("model", BaseOptions.model))
    shared = [BaseOptions, TrainOptions, LoaderOptions, DisplayOptions, DistributedOptions]
    # A group that model and dataset both name appears once.
    return list(dict.fromkeys([*shared, *dataset.option_groups, *model.option_groups]))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, create data and model, then for each epoch: train, validate, save."""
    options = parse_command(option_groups, argv, __doc__ or "")
    base, train = options[BaseOptions], options[TrainOptions]
    device = choose_device(base.gpu_ids, base.num_cpu_threads)
    torch.manual_seed(base.seed)
    folder = run_folder(options)
    protect_earlier_run(folder, train)

    assets = load_assets(options)
    train_set = create_dataset(train.dataset_mode, options, assets, is_train=True)
    val_set = create_dataset(train.dataset_mode, options, assets, is_train=False)
    faces = FaceLoader(train_set, options[LoaderOptions], base.seed, is_train=True)
    val_faces = FaceLoader(val_set, options[LoaderOptions], base.seed, is_train=False)
    model = create_model(base.model, options, assets, device)
    progress = start(model, options, folder)
    # Only now, so that a start that fails leaves an earlier run as it was.
    if train.overwrite and not train.continue_train:
        remove_earlier_run(folder)
    write_options(options, folder, "train")
    print(f"{len(train_set)} faces to train on, {len(val_set)} to validate on, on {device}")

    with Training(model, options, folder, len(faces), progress) as training:
        for epoch in range(progress.epoch, training.last_epoch + 1):
            faces.set_epoch(epoch, skip=training.progress.batches)
            for batch in faces:
                training.step(batch, val_faces)
                if training.out_of_time:
                    break
            training.end_epoch(epoch, val_faces)
            if training.out_of_time:
                break


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
    (folder / "loss_log.txt").unlink(missing_ok=True)


def start(model: BaseModel, options: ParsedOptions, folder: Path) -> Progress:
    """Give the model its first weights: a run's own, another run's, or the initial ones."""
    train, base = options[TrainOptions], options[BaseOptions]
    if train.continue_train:
        # As in the public code: without checkpoints of its own a run resumes the one named.
        if train.pretrained_name and not list_checkpoints(folder):
            folder = Path(base.checkpoints_dir) / train.pretrained_name
        path = resolve_checkpoint(folder, base.epoch)
        progress = resume_training(path, model, options)
        print(f"Resumed from {path}: epoch {progress.epoch}, {progress.step} steps done")
        if progress.epoch > model.last_epoch:
            print(f"Nothing is left to do: raise --n_epochs above {model.last_epoch}")
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
