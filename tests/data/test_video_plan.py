"""Key frames that differ, and parts that cover a video once."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from data.video_plan import choose_spread, frame_runs, split_ranges, three_together


def smallest_distance(points: np.ndarray) -> float:
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(points, 2))


def reach(features: np.ndarray, chosen: list[int]) -> float:
    """Largest distance of a frame from its nearest choice."""
    distances = np.linalg.norm(features[:, None] - features[None, chosen], axis=2)
    return float(distances.min(axis=1).max())


@pytest.mark.parametrize("seed", range(5))
def test_chosen_frames_are_spread_and_hold_the_most_frontal(seed: int):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(200, 3))
    off = np.linalg.norm(features[:, :2] - 0.3, axis=1)
    chosen = choose_spread(features, 8, off)
    assert chosen == sorted(set(chosen)) and len(chosen) == 8
    assert int(off.argmin()) in chosen
    assert chosen == choose_spread(features.copy(), 8, off.copy())
    # No frame is farther from a choice than choices are from each other.
    assert reach(features, chosen) <= smallest_distance(features[chosen])
    at_random = [sorted(generator.choice(200, 8, replace=False)) for _ in range(20)]
    assert reach(features, chosen) < np.median([reach(features, some) for some in at_random])


def test_it_reaches_at_most_twice_as_far_as_the_best_choice():
    generator = np.random.default_rng(0)
    for _ in range(20):
        features = generator.uniform(size=(12, 2))
        best = min(reach(features, list(some)) for some in combinations(range(12), 3))
        chosen = choose_spread(features, 3, generator.uniform(size=12))
        assert reach(features, chosen) <= 2 * best + 1e-12


def test_more_choices_keep_the_first_ones():
    features = np.random.default_rng(0).normal(size=(50, 4))
    off = np.abs(features[:, 0])
    for count in range(1, 12):
        assert {*choose_spread(features, count, off)} < {*choose_spread(features, count + 1, off)}


def test_frames_without_a_face_are_never_chosen():
    features = np.random.default_rng(0).normal(size=(20, 2))
    off = np.arange(20.0)
    features[[0, 3]] = np.nan
    features[5, 1] = np.inf
    off[[1, 7]] = np.nan
    chosen = choose_spread(features, 99, off)
    assert chosen == [n for n in range(20) if n not in (0, 1, 3, 5, 7)]
    assert choose_spread(features, 1, off) == [2]
    assert choose_spread(np.full((4, 2), np.nan), 3, np.zeros(4)) == []
    assert choose_spread(np.empty((0, 2)), 3, np.empty(0)) == []


def test_equal_frames_are_chosen_once_and_the_first_of_them():
    features = np.repeat(np.array([[0.0], [1.0], [3.0]]), 5, axis=0)
    assert choose_spread(features, 10, np.ones(15)) == [0, 5, 10]
    assert choose_spread(features, 2, np.ones(15)) == [0, 10]


def test_features_of_another_number_than_frames_are_refused():
    with pytest.raises(ValueError, match="off_frontal"):
        choose_spread(np.zeros((3, 2)), 2, np.zeros(4))
    with pytest.raises(ValueError, match="off_frontal"):
        choose_spread(np.zeros(3), 2, np.zeros(3))


def scene_of(frame: int, cuts: list[int]) -> int:
    return sum(cut <= frame for cut in cuts)


@pytest.mark.parametrize("seed", range(200))
def test_each_frame_is_in_one_core_and_overlaps_stay_in_the_scene(seed: int):
    generator = np.random.default_rng(seed)
    count, workers = int(generator.integers(0, 80)), int(generator.integers(1, 9))
    overlap = int(generator.integers(0, 15))
    cuts = sorted(int(c) for c in np.flatnonzero(generator.random(count) < 0.05) if c > 0)
    parts = split_ranges(count, workers, overlap, cuts)
    assert [frame for part in parts for frame in part.core] == list(range(count))
    assert len(parts) == min(workers, count)
    lengths = [len(part.core) for part in parts]
    assert not lengths or max(lengths) - min(lengths) <= 1
    for part in parts:
        covered, core = {*part.covered}, {*part.core}
        assert core <= covered <= {*range(count)}
        before = [f for f in range(count) if part.core.start - overlap <= f < part.core.start]
        after = [f for f in range(count) if part.core.stop <= f < part.core.stop + overlap]
        first, last = (scene_of(f, cuts) for f in (part.core.start, part.core.stop - 1))
        expected = {f for f in before if scene_of(f, cuts) == first}
        expected |= {f for f in after if scene_of(f, cuts) == last}
        assert covered - core == expected


def test_parts_by_hand():
    (one,) = split_ranges(10, 1, 5)
    assert one.core == one.covered == range(10)
    first, second, third = split_ranges(30, 3, 4, cuts=[8, 20])
    assert (first.core, first.covered) == (range(10), range(14))
    assert (second.core, second.covered) == (range(10, 20), range(8, 20))
    assert (third.core, third.covered) == (range(20, 30), range(20, 30))
    assert split_ranges(0, 4, 2) == []


@pytest.mark.parametrize("wrong", [(-1, 1, 0), (5, 0, 0), (5, 1, -1)])
def test_impossible_splits_are_refused(wrong: tuple[int, int, int]):
    with pytest.raises(ValueError, match="cannot split"):
        split_ranges(*wrong)


def test_runs_end_at_gaps_and_at_starts():
    wanted = np.array([1, 1, 0, 1, 1, 1, 0, 0, 1], bool)
    assert frame_runs(wanted) == [range(0, 2), range(3, 6), range(8, 9)]
    starts = np.array([1, 0, 1, 0, 0, 1, 0, 0, 0], bool)
    assert frame_runs(wanted, starts) == [range(0, 2), range(3, 5), range(5, 6), range(8, 9)]
    assert frame_runs(np.zeros(4, bool)) == frame_runs(np.zeros(0, bool)) == []


def test_three_frames_belong_together_within_a_run_alone():
    wanted = np.array([1, 1, 1, 0, 1, 1, 1, 1, 1], bool)
    starts = np.zeros(9, bool)
    starts[[0, 7]] = True
    expected = [
        any({k, k + 1, k + 2} <= set(run) for run in frame_runs(wanted, starts)) for k in range(7)
    ]
    assert three_together(wanted, starts).tolist() == expected
    assert sum(expected) == 2
    assert not len(three_together(wanted[:2], starts[:2]))
