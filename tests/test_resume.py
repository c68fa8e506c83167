"""A training killed at any moment and resumed ends with the weights of one that never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import make_synthetic
from util.checkpoint import list_checkpoints, load_checkpoint

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX systems do"),
    pytest.mark.timeout(600),
]

# Augmented faces, batch normalisation, moments, a schedule that remembers its best validation
# (after an epoch without gain it divides by 5), two processes that load: all have a state.
FACES = ["--dataset_mode", "synthetic", "--face_model", "open", "--landmark_origin", "centre"]
NET = ["--net_recon", "resnet18", "--w_feat", "0", "--lr_policy", "plateau", "--lr", "1e-3"]
RUN = ["--gpu_ids", "-1", "--num_cpu_threads", "1", "--num_threads", "1", "--add_image", "False"]
LENGTH = ["--batch_size", "2", "--batch_size_val", "2", "--n_epochs", "3", "--print_freq", "1"]
SAVES = ["--save_latest_freq", "2", "--evaluation_freq", "4"]
COMMAND = [sys.executable, str(ROOT / "train.py"), *FACES, *NET, *RUN, *LENGTH, *SAVES]


def train(folder: Path, *argv: str) -> str:
    """A training to its end; what it printed."""
    result = subprocess.run(
        [*COMMAND, *argv], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def train_and_kill(folder: Path, name: str, now: Callable[[Path], bool]) -> None:
    """A training that gets SIGKILL as soon as `now` says so of its folder."""
    process = subprocess.Popen(
        [*COMMAND, "--name", name],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    run, end = folder / "checkpoints" / name, time.monotonic() + 200
    try:
        while not now(run):
            assert process.poll() is None, "it ended before the kill"
            assert time.monotonic() < end
            time.sleep(0.0005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def lines(run: Path, word: str) -> int:
    log = run / "loss_log.txt"
    return log.read_text(encoding="utf-8").count(word) if log.exists() else 0


def before_the_first_save(run: Path) -> bool:
    return lines(run, "(train, ") >= 1


def between_saves(run: Path) -> bool:
    """In the midst of the second epoch, after the save of step 4 and before that of step 6."""
    return lines(run, "step 5, ") >= 1


def during_a_save(run: Path) -> bool:
    """While the temporary file of a later checkpoint grows."""
    if not (run / "epoch_latest.pth").exists():
        return False
    return any(part.stat().st_size > 2**20 for part in run.glob(".*.part") if part.exists())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six synthetic faces, and a run on them that was never stopped."""
    folder = tmp_path_factory.mktemp("resume")
    here = Path.cwd()
    os.chdir(folder)
    try:
        make_synthetic.main(["--n", "6", "--n_val", "3", "--num_workers", "0"])
    finally:
        os.chdir(here)
    train(folder, "--name", "whole")
    return folder


def assert_same(one: Any, other: Any, name: str) -> None:
    """Bit for bit, through all nesting."""
    assert type(one) is type(other), name
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), name
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), name
        for key in one:
            assert_same(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), name
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{name}[{number}]")
    else:
        assert one == other, name


def assert_ends_like_whole(folder: Path, name: str) -> None:
    runs = [folder / "checkpoints" / run for run in ("whole", name)]
    assert list_checkpoints(runs[0]) == list_checkpoints(runs[1]) == ["1", "2", "3", "latest"]
    for epoch in ("2", "3", "latest"):
        whole, parts = (load_checkpoint(run / f"epoch_{epoch}.pth") for run in runs)
        for state in (whole, parts):
            state["progress"].pop("seconds")
        assert_same(whole, parts, f"epoch {epoch}")
    assert not list(runs[1].glob(".*.part"))  # what the killed process left


@pytest.mark.slow
@pytest.mark.parametrize("now", [before_the_first_save, between_saves, during_a_save])
def test_a_killed_training_ends_like_one_that_was_not(folder: Path, now: Callable[[Path], bool]):
    name = now.__name__
    train_and_kill(folder, name, now)
    run = folder / "checkpoints" / name
    if now is during_a_save:
        assert list(run.glob(".*.part")), "killed too late to test what it should"
        load_checkpoint(run / "epoch_latest.pth")
    shown = train(folder, "--name", name, "--continue_train")
    assert ("begins anew" in shown) == (now is before_the_first_save)
    assert ("Resumed from" in shown) == (now is not before_the_first_save)
    assert_ends_like_whole(folder, name)
