"""How a training begins: anew, from another run's weights, or where it stopped."""

from __future__ import annotations

import shutil
from pathlib import Path

from models.base_model import BaseModel
from options import ParsedOptions
from options.base_options import BaseOptions
from options.train_options import TrainOptions
from util.errors import InputError
from util.reports.training_report import TRAINING_REPORT
from util.training.checkpoint import load_checkpoint
from util.training.checkpoint_names import checkpoint_path, list_checkpoints, resolve_checkpoint
from util.training.run_choice import checkpoint_to_resume
from util.training.training_state import Progress, load_weights, resume_training


def begin_anew_without_checkpoint(options: ParsedOptions, folder: Path) -> ParsedOptions:
    """Drop `--continue_train` for a run that stopped before its first checkpoint."""
    resumed = options[TrainOptions].continue_train
    if not resumed or list_checkpoints(folder) or not (folder / "options.yaml").is_file():
        return options
    print(f"{folder} holds a run without a checkpoint: it begins anew")
    return options.with_values(TrainOptions, continue_train=False)


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
