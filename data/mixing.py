"""Several lists of photos in one training, each with its share of an epoch.

--flist datalist/train/masks.txt:0.7,datalist/synth/masks.txt:0.3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from util.errors import InputError


@dataclass(frozen=True)
class ListPart:
    """One list, and how much of an epoch comes from it."""

    path: Path
    share: float | None = None
    """Of the epoch; None takes each photo once."""


def parse_lists(text: str, flag: str) -> list[ListPart]:
    """Read the value of `--flist`: one list, or several joined by commas, each with its share.

    A file of the whole name is that one list, whatever characters it has.

    Raises:
        InputError: a list without a name, a share that is not above 0, or shares for some only.
    """
    if _is_file(text) or ("," not in text and _share(text)[1] is None):
        return [ListPart(Path(text))]
    parts = []
    for entry in text.split(","):
        name, share = _share(entry.strip())
        if not name:
            raise InputError(f"{flag} {text} names an empty list; write a.txt:0.7,b.txt:0.3")
        if share is not None and not 0 < share < float("inf"):
            raise InputError(f"{flag} {text}: the share of {name} is {share:g}; it must be above 0")
        parts.append(ListPart(Path(name), share))
    if len({part.share is None for part in parts}) > 1:
        raise InputError(
            f"{flag} {text} gives shares to some lists; write one behind each, as "
            "a.txt:0.7,b.txt:0.3, or none, to take every photo once"
        )
    total = sum(part.share or 0 for part in parts)
    return [ListPart(p.path, None if p.share is None else p.share / total) for p in parts]


def _is_file(text: str) -> bool:
    """Whether the whole text names a file; the names of many lists may be too long for one."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _share(entry: str) -> tuple[str, float | None]:
    """Name and share; a colon with no number behind it belongs to the name, as of a drive."""
    name, colon, number = entry.rpartition(":")
    try:
        return (name, float(number)) if colon else (entry, None)
    except ValueError:
        return entry, None


def apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `total`, each within one of its share of it.

    Those with the largest remainders are rounded up.
    """
    exact = np.array(shares) / sum(shares) * total
    counts = np.floor(exact).astype(int)
    rest = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return counts.tolist()


def mixed_order(
    total: int, sizes: Sequence[int], shares: Sequence[float], random: np.random.Generator
) -> np.ndarray:
    """Numbers of an epoch's samples, in which each list has its share.

    A list with too many photos gives a part of them, others in each epoch. One with too few is
    gone through several times; number n + k N is the k-th copy of photo n, of N photos in all, so
    that each copy has random numbers of its own.

    Args:
        total: samples of the epoch.
        sizes: photos of each list, numbered one list after the other.
        shares: of each list.
        random: of the epoch.
    """
    parts, first, photos = [], 0, sum(sizes)
    for size, count in zip(sizes, apportion(total, shares), strict=True):
        rounds = [first + random.permutation(size) + k * photos for k in range(-(-count // size))]
        parts.append(np.concatenate([*rounds, np.empty(0, dtype=int)])[:count])
        first += size
    order = np.concatenate(parts)
    random.shuffle(order)
    return order
