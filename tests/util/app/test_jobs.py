"""The line of jobs and its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from util.app.jobs import Job, JobLine, LineFull, Wish
from util.errors import InputError

WISH = Wish("photo", "open", "fast")


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_one_at_a_time_in_order(tmp_path: Path):
    line, order, running = JobLine(tmp_path, 4, 4), [], []

    def work(job: Job) -> None:
        running.append(job.id)
        assert len(running) == 1
        time.sleep(0.01)
        order.append(job.id)
        running.remove(job.id)

    jobs = [line.open(WISH) for _ in range(4)]
    for job in jobs[::-1]:
        line.submit(job)
    assert [line.place(job) for job in jobs] == [3, 2, 1, 0]
    line.start(lambda: work)
    until(lambda: all(job.state == "done" for job in jobs))
    assert order == [job.id for job in jobs[::-1]]
    line.close()


def test_places_are_taken_when_an_upload_begins(tmp_path: Path):
    line = JobLine(tmp_path, 2, 4)
    first, second = line.open(WISH), line.open(WISH)
    with pytest.raises(LineFull, match="2 photos or videos are waiting"):
        line.open(WISH)
    line.remove(first)
    assert not first.folder.exists() and second.folder.is_dir()
    line.submit(first)  # its upload ends after it was given up
    assert line.place(line.open(WISH)) == 0
    assert line.get(first.id) is None


def test_jobs_on_one_photo_are_told_apart(tmp_path: Path):
    """What was found, with arrays, is handed on to the next fit of the photo."""
    found = np.zeros(3)
    first, second = (Job(WISH, tmp_path, id="same", found=found, began=0.0) for _ in range(2))
    second._cancelled = first._cancelled
    assert first not in [second] and len({first, second}) == 2


def test_ids_and_folders_cannot_be_guessed(tmp_path: Path):
    line = JobLine(tmp_path, 200, 4)
    ids = {line.open(WISH).id for _ in range(100)}
    assert len(ids) == 100 and min(map(len, ids)) >= 21


def test_closing_stops_the_job_that_runs(tmp_path: Path):
    line, began = JobLine(tmp_path, 2, 2), threading.Event()

    def work(job: Job) -> None:
        began.set()
        while True:
            job.stage("for ever")
            time.sleep(0.005)

    line.start(lambda: work)
    job = line.open(WISH)
    line.submit(job)
    assert began.wait(10)
    line.close()
    assert job.state == "cancelled"
    with pytest.raises(LineFull):
        line.open(WISH)


def test_what_cannot_be_prepared_is_told(tmp_path: Path):
    line, told = JobLine(tmp_path, 2, 2), []

    def prepare():
        raise InputError("no face model")

    line.start(prepare, told.append)
    until(lambda: bool(told))
    assert str(told[0]) == "no face model" and not line.ready
    line.close()
