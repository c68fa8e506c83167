"""Where the datatool's tags lie in a user's folder; torch-free, to refuse a wrong one at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from options.data_options import DatatoolOptions
from util.errors import InputError

CONTENT, PICTURES = "dataset.json", "sample_files"
REMEDY = "take a folder that the datatool wrote, with one dataset.json a tag"


def split_tags(text: str) -> list[str]:
    """Tags of a comma-separated list, without the blanks that users put between them."""
    return [tag for part in text.split(",") if (tag := part.strip())]


def chosen_tags(options: DatatoolOptions, is_train: bool) -> tuple[list[str], str]:
    """The tags to train on, or to validate on, and the flag that names them.

    Raises:
        InputError: none; or tags that are for both.
    """
    tags, others = split_tags(options.train_tags), split_tags(options.val_tags)
    if both := set(tags) & set(others):
        raise InputError(
            f"--train_tags and --val_tags both have {', '.join(sorted(both))}; faces that are "
            "trained on tell nothing about others"
        )
    chosen, flag = (tags, "--train_tags") if is_train else (others, "--val_tags")
    if not chosen:
        raise InputError(f"{flag} is empty; give tags, such as HELEN, LFPW")
    return chosen, flag


def check_tags(root: Path, tags: Sequence[str], flag: str) -> None:
    """Refuse tags whose annotations or pictures are not there; annotations are not read.

    Args:
        root: `--datatool_root_dir`.
        tags: names of folders in it.
        flag: that named them, for messages.

    Raises:
        InputError: the message names all tags that lack, and those that are there.
    """
    if not root.is_dir():
        raise InputError(f"--datatool_root_dir {root} is no folder; {REMEDY}")
    for name in (CONTENT, PICTURES):
        missing = [tag for tag in tags if not (root / tag / name).exists()]
        if missing:
            there = sorted(path.parent.name for path in root.glob(f"*/{name}"))
            found = f"; there are {', '.join(there)}" if there else ""
            raise InputError(
                f"{flag} {', '.join(missing)}: {root / missing[0] / name} does not exist "
                f"({len(missing)} of {len(tags)} tags have none){found}; {REMEDY}"
            )
