"""Results of a stopped evaluation: there again for the same key, never for another one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from util.evaluation.kept_results import UNFINISHED, KeptResults, in_turn

ARRAYS = {"figure": np.array(1.5), "points": np.arange(6.0).reshape(2, 3)}


def of(out: Path, method: str = "fit best", data: str = "x") -> KeptResults:
    return KeptResults(out, method, [data, [("Method", "fit"), ("Preset", "best")]])


def test_what_is_kept_is_there_for_the_same_key_alone(tmp_path: Path):
    of(tmp_path).keep(ARRAYS, "head", "001")
    found = of(tmp_path).find("head", "001")
    assert found is not None and set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
    assert of(tmp_path).find("head", "002") is None
    assert of(tmp_path).find("head001") is None, "names do not run into one another"
    assert of(tmp_path, data="y").find("head", "001") is None
    assert of(tmp_path, method="fit fast").find("head", "001") is None


@pytest.mark.parametrize("left", [0, 1, 40, -1])
def test_a_cut_file_counts_as_none(tmp_path: Path, left: int):
    kept = of(tmp_path)
    kept.keep(ARRAYS, "a")
    (path,) = kept.folder.iterdir()
    path.write_bytes(path.read_bytes()[:left])
    assert kept.find("a") is None
    made = kept.found_or_made(lambda: ARRAYS, "a")
    assert made is ARRAYS and kept.find("a") is not None, "made anew, and kept"


def test_at_a_good_end_nothing_stays(tmp_path: Path):
    of(tmp_path, data="other settings").keep(ARRAYS, "a")
    with of(tmp_path) as kept:
        kept.keep(ARRAYS, "a")
    assert not kept.folder.exists() and of(tmp_path, data="other settings").find("a")
    with of(tmp_path, data="other settings"):
        pass
    assert not (tmp_path / UNFINISHED).exists()
    with of(tmp_path):
        pass
    assert not list(tmp_path.iterdir()), "nor where nothing was kept"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SystemExit])
def test_after_a_bad_end_everything_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: type[BaseException]
):
    with pytest.raises(error), of(tmp_path) as kept:
        for name in "abc":
            kept.keep(ARRAYS, name)
        raise error
    said = capsys.readouterr().out
    assert ("3 results kept in" in said) == (error is KeyboardInterrupt)
    with pytest.raises(error), of(tmp_path) as kept:
        assert all(kept.find(name) for name in "abc")
        raise error
    assert "fit best: goes on from 3 results" in capsys.readouterr().out


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_every_row_has_its_turn_once_and_in_order(at_once: int):
    rng = np.random.default_rng(0)
    for count in (0, 1, 20):
        done = (rng.random(count) < 0.4).tolist()
        turns = list(in_turn(done, at_once))
        assert [row for turn in turns for row in turn] == list(range(count))
        for turn in turns:
            states = {done[row] for row in turn}
            assert len(states) == 1, "done and not done are never mixed"
            assert len(turn) <= (1 if True in states else at_once)
        # As many at once as stand together.
        fresh = [turn for turn in turns if not done[turn.start]]
        for one, following in pairwise(fresh):
            assert one.stop < following.start or len(one) == at_once
