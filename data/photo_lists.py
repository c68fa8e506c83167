"""Lists of masks, line by line; torch-free, so that a wrong one is refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from util.errors import InputError
from util.text import decode_text

_REMEDY = "make it with data_preparation.py"


def listed_masks(path: Path, data_root: Path, flag: str) -> Iterator[tuple[int, Path]]:
    """Number, from 1, and mask of each line that names one.

    Args:
        path: text file with one path of a mask a line, relative to `data_root` or absolute.
        data_root: where relative paths begin.
        flag: the flag that named the list, for messages.

    Raises:
        InputError: no such list, none in it, or a path outside of a folder `mask`.
    """
    try:
        text = decode_text(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{flag} {path} cannot be read ({reason}); {_REMEDY}") from error
    is_empty = True
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        mask = data_root / _listed_path(line.strip())
        if mask.parent.name != "mask":
            raise InputError(
                f"{flag} {path}, line {number}: {mask} does not lie in a folder named mask; give "
                "a list of masks, as data_preparation.py writes it"
            )
        is_empty = False
        yield number, mask
    if is_empty:
        raise InputError(f"{flag} {path} names no masks; {_REMEDY}")


def check_list(path: Path, data_root: Path, flag: str) -> None:
    """Refuse a list by its first mask; whether the files of all lines are there, the dataset says.

    Raises:
        InputError: as `listed_masks`, or the folder from which its paths count is not there.
    """
    if not path.exists():
        raise InputError(f"{flag} {path} does not exist; {_REMEDY}")
    _, mask = next(listed_masks(path, data_root, flag))
    if not data_root.is_dir() and mask.is_relative_to(data_root):
        raise InputError(
            f"--data_root {data_root} is no folder; give the one from which the paths in {flag} "
            f"{path} count, of which the first would be {mask}"
        )


def _listed_path(line: str) -> Path:
    """The path in a line; a list written on Windows may have backslashes."""
    path = Path(line)
    if "\\" in line and path.parent.name != "mask":
        return Path(PureWindowsPath(line).as_posix())
    return path
