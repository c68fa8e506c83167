"""The log of a training: lines that survive a kill, scalars and pictures for TensorBoard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from util.training.run_log import RunLog


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder / "logs"))
    accumulator.Reload()
    return accumulator


def text(folder: Path) -> str:
    return (folder / "loss_log.txt").read_text(encoding="utf-8")


def test_lines_are_on_disk_at_once(tmp_path: Path):
    folder = tmp_path / "neue läufe" / "a"
    with RunLog(folder, 10) as log:
        log.losses(1, 1, {"all": 3.14159, "color": 2.0}, "train", 1e-4)
        log.line("ö: step skipped")
        content = text(folder)  # before anything is closed
    assert "(train, epoch 1, step 1, lr 1.00e-04) all: 3.1416 color: 2.0000\n" in content
    assert content.endswith("ö: step skipped\n")


def test_a_resumed_run_appends(tmp_path: Path):
    with RunLog(tmp_path, 10) as log:
        log.line("first")
    with RunLog(tmp_path, 10, first_step=4) as log:
        log.line("second")
    lines = text(tmp_path).splitlines()
    assert [line for line in lines if not line.startswith("===")] == ["first", "second"]
    assert sum(line.startswith("===") for line in lines) == 2


def test_scalars_and_pictures_reach_tensorboard(tmp_path: Path):
    with RunLog(tmp_path, 0) as log:
        for step in (1, 2):
            log.losses(1, step, {"all": float(step)}, "train", 1e-3)
        log.losses(1, 2, {"all": 7.0}, "val", 1e-3)
        log.images(2, torch.rand(3, 3, 8, 24) * 2 - 0.5, "val")
        log.images(2, torch.rand(2, 3, 8, 24), "train", per_batch=False)
    found = events(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("train/all")] == [(1, 1.0), (2, 2.0)]
    assert [e.value for e in found.Scalars("val/all")] == [7.0]
    assert found.Scalars("lr")[0].value == pytest.approx(1e-3)
    sheet = found.Images("val/faces")[0]
    assert (sheet.width, sheet.height, sheet.step) == (24, 24, 2)
    assert {"train/face_000", "train/face_001"} <= set(found.Tags()["images"])


def test_a_sheet_holds_at_most_eight_faces(tmp_path: Path):
    with RunLog(tmp_path, 0) as log:
        log.images(1, torch.zeros(20, 3, 8, 24), "train")
    assert events(tmp_path).Images("train/faces")[0].height == 64


def test_validation_is_shown_and_training_only_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with RunLog(tmp_path, 10) as log:
        log.losses(1, 1, {"all": 1.0}, "train", 1e-4)
        log.losses(1, 1, {"all": 2.0}, "val", 1e-4)
    shown = capsys.readouterr()
    assert "(val" in shown.out + shown.err and "(train" not in shown.out + shown.err


def test_the_bar_counts_from_the_first_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with RunLog(tmp_path, 10, first_step=4) as log:
        for _ in range(3):
            log.advance({"all": np.float64(0.5)})
    assert "7/10" in capsys.readouterr().err


def test_files_are_closed_after_an_error(tmp_path: Path):
    with pytest.raises(RuntimeError), RunLog(tmp_path, 10) as log:
        log.line("before")
        raise RuntimeError
    assert "before" in text(tmp_path)
    (tmp_path / "loss_log.txt").unlink()  # would fail on Windows if it were open
