"""What a training says when it is through: where everything lies, and what comes next."""

from __future__ import annotations

import shlex
from pathlib import Path

from options import ParsedOptions
from options.base_options import BaseOptions
from options.train_options import TrainOptions
from util.reports.training_report import TRAINING_REPORT
from util.training.checkpoint_names import BEST, LATEST, checkpoint_path

_TESTED = ("facerecon", "synergy")
"""Models that test.py runs."""


def closing_words(folder: Path, options: ParsedOptions) -> str:
    """Lines for the terminal: checkpoints, report, TensorBoard, the next command.

    Args:
        folder: of the run.
        options: of the run.
    """
    latest, best = (checkpoint_path(folder, epoch) for epoch in (LATEST, BEST))
    has_best = best.is_file()
    lines = [f"Checkpoint: {latest}" + (f"; of the best validation: {best}" if has_best else "")]
    if options[TrainOptions].report and (folder / TRAINING_REPORT).is_file():
        lines.append(f"Report, open in a browser: {folder / TRAINING_REPORT}")
    lines.append(f"TensorBoard: {_typed('tensorboard', '--logdir', str(folder / 'logs'))}")
    base = options[BaseOptions]
    if base.model in _TESTED:
        model = ("--model", base.model) if base.model != BaseOptions.model else ()
        place = base.checkpoints_dir
        where = ("--checkpoints_dir", place) if place != BaseOptions.checkpoints_dir else ()
        epoch = ("--epoch", BEST) if has_best else ()
        name = folder.relative_to(place).as_posix()  # of runs within folders too
        command = _typed("python", "test.py", *model, "--name", name, *where, *epoch)
        lines.append(f"Next: {command} --img_folder FOLDER_OF_PHOTOS")
    return "\n".join(lines)


def _typed(*words: str) -> str:
    return shlex.join(words)
