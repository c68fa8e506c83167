"""A training killed at any moment and resumed ends with the weights of one that never stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from models.face_model import FaceModel, FaceModelData
from tests.prepared_photos import make_photos
from tests.train_processes import start, train, train_tiny
from util.training.checkpoint import load_checkpoint
from util.training.checkpoint_names import list_checkpoints

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX systems do")

# Augmented faces, batch normalisation, moments, a schedule that remembers its best validation
# (after an epoch without gain it divides by 5), a process that loads: all have a state.
FACES = ["--flist", "photos/masks.txt", "--flist_val", "photos/masks.txt", "--face_model", "open"]
NET = ["--net_recon", "resnet18", "--w_feat", "0", "--lr_policy", "plateau", "--lr", "1e-3"]
RUN = ["--gpu_ids", "-1", "--num_cpu_threads", "1", "--num_threads", "1", "--add_image", "False"]
LENGTH = ["--batch_size", "2", "--batch_size_val", "4", "--n_epochs", "3", "--print_freq", "1"]
SAVES = ["--save_latest_freq", "2", "--evaluation_freq", "4"]
COMMAND = [*FACES, *NET, *RUN, *LENGTH, *SAVES]


def train_and_kill(folder: Path, name: str, now: Callable[[Path], bool]) -> None:
    """A training that gets SIGKILL as soon as `now` says so of its folder."""
    task = train_until_a_late_save if now is during_a_save else train_tiny
    process = start(task, [*COMMAND, "--name", name], folder=folder)
    run, end = folder / "checkpoints" / name, time.monotonic() + 100
    try:
        while not now(run):
            assert process.is_alive(), "it ended before the kill"
            assert time.monotonic() < end
            time.sleep(0.0005)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL


def train_until_a_late_save(argv: Sequence[str]) -> None:
    """A training that stops halfway through the save of step 6, to be killed there.

    So small a network is saved too quickly to be met in the act from outside.
    """
    save = torch.save

    def save_half(state: dict[str, Any], file: IO[bytes]) -> None:
        save(state, file)
        if state["progress"]["step"] == 6:
            file.truncate(file.tell() // 2)
            file.flush()
            Path("half").touch()
            time.sleep(1000)

    torch.save = save_half
    train_tiny(argv)


def lines(run: Path, word: str) -> int:
    log = run / "loss_log.txt"
    return log.read_text(encoding="utf-8").count(word) if log.exists() else 0


def before_the_first_save(run: Path) -> bool:
    return lines(run, "(train, ") >= 1


def between_saves(run: Path) -> bool:
    """In the midst of the second epoch, after the save of step 4 and before that of step 6."""
    return lines(run, "step 5, ") >= 1


def during_a_save(run: Path) -> bool:
    """While the temporary file of step 6, of the second epoch, grows."""
    return (run.parent.parent / "half").exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, open_face_data: FaceModelData) -> Path:
    """Six faces, and a run on them that was never stopped."""
    folder = tmp_path_factory.mktemp("resume")
    make_photos(folder / "photos", FaceModel(open_face_data), 6)
    train(folder, *COMMAND, "--name", "whole")
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


@pytest.mark.parametrize("now", [before_the_first_save, between_saves, during_a_save])
def test_a_killed_training_ends_like_one_that_was_not(folder: Path, now: Callable[[Path], bool]):
    name = now.__name__
    train_and_kill(folder, name, now)
    run = folder / "checkpoints" / name
    if now is during_a_save:
        (part,) = run.glob(".*.part")
        assert 0 < part.stat().st_size < (run / "epoch_latest.pth").stat().st_size
        assert load_checkpoint(run / "epoch_latest.pth")["progress"]["step"] == 4
    shown = train(folder, *COMMAND, "--name", name, "--continue_train")
    assert ("begins anew" in shown) == (now is before_the_first_save)
    assert ("Resumed from" in shown) == (now is not before_the_first_save)
    assert_ends_like_whole(folder, name)
