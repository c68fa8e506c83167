"""Plan the work on a video: which frames speak for all, and which part each worker takes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class VideoPart:
    """What one of several workers does."""

    core: range
    """Frames whose results are its own; each frame is in the core of one part."""
    covered: range
    """Frames that it looks at: the core, with frames before and after it that other parts own.
    Those before settle what the core starts from, those after tell whether it ends at a cut."""


def frame_runs(wanted: np.ndarray, starts: np.ndarray | None = None) -> list[range]:
    """Unbroken runs of frames, in order.

    Args:
        wanted: (N,) bool: whether a frame belongs to a run.
        starts: (N,) bool: whether a frame begins a new one even if the frame before it is wanted.
    """
    numbers = np.flatnonzero(wanted)
    begins = np.diff(numbers, prepend=-2) > 1
    if starts is not None:
        begins |= starts[numbers]
    firsts = np.flatnonzero(begins).tolist()
    return [
        range(int(numbers[first]), int(numbers[last - 1]) + 1)
        for first, last in pairwise([*firsts, len(numbers)])
    ]


def three_together(wanted: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(N - 2,) bool: whether a frame and the two after it belong to one run.

    Args:
        wanted: (N,) bool: whether a frame belongs to a run.
        starts: (N,) bool: whether a frame begins a new one.
    """
    return wanted[:-2] & wanted[1:-1] & wanted[2:] & ~starts[1:-1] & ~starts[2:]


def choose_spread(features: np.ndarray, count: int, off_frontal: np.ndarray) -> list[int]:
    """Choose frames that differ as much as possible: each is the farthest from all before it.

    The frames are at most twice as far from their nearest choice as with the best choice of so many
    (Gonzalez, Clustering to minimize the maximum intercluster distance, 1985).

    Args:
        features: (N, D) of each frame, such as head angles and expression, in units in which
            differences of one count the same. Frames with a value that is not finite, such as those
            without a face, are never chosen.
        count: how many to choose; fewer if there are not so many different ones.
        off_frontal: (N,) how far each face is turned away; the frame with the least is always
            chosen, the first one of several.

    Returns:
        Numbers of the chosen frames, rising.
    """
    features = np.asarray(features, np.float64)
    away = np.asarray(off_frontal, np.float64)
    if features.ndim != 2 or away.shape != features.shape[:1]:
        raise ValueError(
            f"features are (N, D) and off_frontal (N,), not {features.shape}, {away.shape}"
        )
    usable = np.flatnonzero(np.isfinite(features).all(axis=1) & np.isfinite(away))
    if count < 1 or not len(usable):
        return []
    points = features[usable]
    chosen = [int(away[usable].argmin())]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < count and distance.max() > 0:
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(points - points[farthest], axis=1))
    return sorted(int(usable[place]) for place in chosen)


def split_ranges(
    frame_count: int, workers: int, overlap: int, cuts: Sequence[int] = ()
) -> list[VideoPart]:
    """Split a video into consecutive parts of nearly equal length, one for each worker.

    Args:
        frame_count: frames of the video.
        workers: how many parts; fewer where there are fewer frames.
        overlap: frames that a part also works on before and after its core, as far as they exist
            and belong to the same scene: what lies beyond a cut says nothing about it.
        cuts: first frame of each scene but the first one, rising.

    Returns:
        The parts in order; none for a video without frames.
    """
    if frame_count < 0 or workers < 1 or overlap < 0:
        raise ValueError(
            f"cannot split {frame_count} frames over {workers} workers with an overlap of {overlap}"
        )
    count = min(workers, frame_count)
    ends = [frame_count * part // count for part in range(count + 1)] if count else []
    bounds = [0, *cuts, frame_count]
    parts = []
    for start, stop in pairwise(ends):
        scene_start = bounds[bisect_right(bounds, start) - 1]
        scene_stop = bounds[bisect_left(bounds, stop)]
        covered = range(max(start - overlap, scene_start), min(stop + overlap, scene_stop))
        parts.append(VideoPart(range(start, stop), covered))
    return parts
