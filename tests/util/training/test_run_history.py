"""What a training's log tells: losses, epochs, warnings; across resumes, and when it is long."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from util.training.run_history import MOST_EVENTS, MOST_POINTS, LossPoint, RunHistory
from util.training.run_log import RunLog


def logged(folder: Path, first_step: int, *steps: int, epoch: int = 1) -> RunHistory:
    with RunLog(folder, 100, first_step) as log:
        for step in steps:
            log.losses(epoch, step, {"all": 1 / step, "gamma": 1e-5 / step}, "train", 1e-4)
        return log.history


def steps_of(curve: object) -> list[int]:
    return [point.step for point in curve]  # pyright: ignore[reportGeneralTypeIssues]


def test_a_log_is_read_as_it_was_written(tmp_path: Path):
    with RunLog(tmp_path, 10) as log:
        log.losses(1, 1, {"all": 3.25, "gamma": 8.5e-5}, "train", 1e-4)
        log.losses(1, 2, {"all": 2.5, "lm": -0.001}, "val", 2e-5)
        log.note("epoch 1 ends at step 2 after 61.5 s")
        log.line("warning: step 2: the landmark loss stands still")
        live = log.history
    read = RunHistory.read(tmp_path / "loss_log.txt")
    for history in (live, read):
        assert list(history.train) == [LossPoint(1, 1, 1e-4, {"all": 3.25, "gamma": 8.5e-5})]
        assert list(history.val) == [LossPoint(2, 1, 2e-5, {"all": 2.5, "lm": -0.001})]
        assert history.best == history.val.last
        assert [(e.epoch, e.step, e.seconds) for e in history.epochs] == [(1, 2, 61.5)]
        assert history.events == [(2, "warning: step 2: the landmark loss stands still")]
        assert len(history.begun) == 1
    assert RunHistory.read(tmp_path / "none.txt").train.last is None


def test_a_resumed_run_shows_all_and_nothing_twice(tmp_path: Path):
    logged(tmp_path, 0, 1, 10, 20, 30)
    history = logged(tmp_path, 20, 25, 35, epoch=2)
    assert steps_of(history.train) == [1, 10, 20, 25, 35]
    assert history.train.last is not None and history.train.last.epoch == 2
    # Of the log alone: the step that it went on from is not in it.
    assert steps_of(RunHistory.read(tmp_path / "loss_log.txt").train) == [1, 10, 20, 25, 35]
    assert len(history.begun) == 2


def test_a_run_that_begins_anew_forgets(tmp_path: Path):
    logged(tmp_path, 0, 1, 10)
    assert steps_of(logged(tmp_path, 0, 1, 5).train) == [1, 5]


def test_long_curves_are_thinned_evenly_and_keep_the_last():
    history = RunHistory()
    count = 4 * MOST_POINTS + 7
    for step in range(count):
        history.take(f"(train, epoch 1, step {step}, lr 1.00e-04) all: 0.5000")
    steps = steps_of(history.train)
    assert len(steps) <= MOST_POINTS + 1 and steps[-1] == count - 1
    gaps = set(np.diff(steps[:-1]))
    assert len(gaps) == 1
    history.forget_after(100)
    assert max(steps_of(history.train)) <= 100


def test_the_best_validation_is_the_smallest_that_is_left(tmp_path: Path):
    history = RunHistory()
    for step, total in ((1, 3.0), (2, 1.0), (3, 2.0)):
        history.take(f"(val, epoch {step}, step {step}, lr 1.00e-04) all: {total:.4f}")
    assert history.best is not None and history.best.step == 2
    history.forget_after(1)
    assert history.best is not None and history.best.step == 1


@pytest.mark.parametrize(
    "line",
    [
        "(train, epoch 1, step 7, lr 1.00e-04) all: 0.5x",
        "(train, epoch 1, step 7, lr 1.00e-04) ",
        "(train, epoch 1, step 7, lr nix) all: 0.5",
    ],
)
def test_broken_lines_are_passed_over(line: str):
    history = RunHistory()
    history.take(line)
    assert history.train.last is None


def test_a_talkative_run_keeps_its_last_events():
    history = RunHistory()
    for step in range(MOST_EVENTS + 30):
        history.take(f"step {step}: loss not finite, step skipped; batch: a.png")
    assert len(history.events) == MOST_EVENTS and history.event_count == MOST_EVENTS + 30
    assert history.events[-1][0] == MOST_EVENTS + 29
