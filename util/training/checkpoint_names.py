"""Where the checkpoints of a run are; torch-free, so that a wrong --name is refused at once."""

from __future__ import annotations

import re
from pathlib import Path

from util.errors import InputError

LATEST, BEST = "latest", "best"

_FILE_NAME = re.compile(r"epoch_(.+)\.pth")


def checkpoint_path(folder: Path | str, epoch: int | str) -> Path:
    """Name of a checkpoint: `epoch_20.pth`, `epoch_latest.pth`."""
    return Path(folder) / f"epoch_{epoch}.pth"


def epoch_of(path: Path | str) -> str:
    """What a checkpoint's name says between `epoch_` and `.pth`; empty for another name."""
    match = _FILE_NAME.fullmatch(Path(path).name)
    return match.group(1) if match else ""


def list_checkpoints(folder: Path | str) -> list[str]:
    """Epochs for which a folder holds checkpoints: numbers in order, then other names."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    epochs = [epoch for path in folder.iterdir() if path.is_file() and (epoch := epoch_of(path))]
    numbers = sorted((epoch for epoch in epochs if epoch.isdecimal()), key=int)
    return numbers + sorted(epoch for epoch in epochs if not epoch.isdecimal())


def resolve_checkpoint(folder: Path | str, epoch: str) -> Path:
    """Find the checkpoint that `--epoch` names.

    Args:
        folder: `checkpoints/<name>`.
        epoch: a number, `latest`, or another word between `epoch_` and `.pth`.

    Raises:
        InputError: the folder or the checkpoint does not exist; the message lists those that do.
    """
    folder = Path(folder)
    path = checkpoint_path(folder, epoch)
    if path.is_file():
        return path
    existing = list_checkpoints(folder)
    if existing:
        remedy = f"the folder has --epoch {', '.join(existing)}"
    elif folder.is_dir():
        remedy = "the folder has no epoch_*.pth; train first, or give another --name"
    else:
        remedy = f"there is no folder {folder}; give another --name or --checkpoints_dir"
    raise InputError(f"--epoch {epoch}: {path} does not exist; {remedy}")
