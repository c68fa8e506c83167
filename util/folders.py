"""Folders that the user names for what a command writes."""

from __future__ import annotations

import os
from pathlib import Path

from util.errors import InputError


def check_folder(folder: Path | str, flag: str) -> None:
    """Refuse a folder that results cannot go to, before the work; nothing is made yet.

    Args:
        folder: that will be made, with its parents, if it is not there.
        flag: what the user gives to have another one, for the message.

    Raises:
        InputError: its name is empty, it is a file, lies in one, or cannot be written.
    """
    if folder == "":
        raise InputError(f"--{flag} is empty; name a folder, or give . for the one you are in")
    folder = Path(folder)
    # The nearest that is there: os.path sees a dangling or forbidden path as none, as wanted.
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path())
    if not there.is_dir():
        raise InputError(
            f"--{flag} {folder}: {there} is no folder, so that nothing can be written there; give "
            f"another --{flag}"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"--{flag} {folder}: {there} cannot be written by this user; give another --{flag}"
        )


def check_file(path: Path | str, flag: str) -> None:
    """Refuse a file that cannot be written where it shall be; as `check_folder`."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"--{flag} {path} is a folder; give the name of a file")
    check_folder(path.parent, flag)


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
