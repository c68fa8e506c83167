"""Folders that the user names for what a command writes."""

from __future__ import annotations

from pathlib import Path

from util.errors import InputError


def make_folder(folder: Path, flag: str) -> None:
    """Create a folder with its parents, if it is not there.

    Args:
        folder: to create.
        flag: what the user gives to have another one, for the message.

    Raises:
        InputError: it cannot be created, or is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"folder {folder} cannot be made ({error.strerror}); give another --{flag}"
        ) from error
