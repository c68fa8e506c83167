"""`train.py --w_coeff` on photos with fitted coefficients: they count in the beginning only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.face_model import FaceModel, FaceModelData
from tests.data.test_labelled_datasets import add_label
from tests.prepared_photos import make_photos
from tests.train_processes import ended, start, train, train_tiny
from util.model_files.face_model_file import read_face_model, write_face_model

FACES = ["--flist", "photos/masks.txt", "--flist_val", "photos/masks.txt"]
NET = ["--net_recon", "resnet18", "--w_feat", "0", "--face_model", "tiny.npz"]
RUN = ["--gpu_ids", "-1", "--num_cpu_threads", "1", "--num_threads", "0", "--add_image", "False"]
LENGTH = ["--batch_size", "2", "--n_epochs", "2", "--print_freq", "1", "--preprocess", "shift_rot"]
COMMAND = [*FACES, *NET, *RUN, *LENGTH, "--w_coeff", "1"]


@pytest.fixture
def folder(tmp_path: Path, tiny_face_data: FaceModelData) -> Path:
    """Four photos, all of them fitted, and their face model."""
    write_face_model(tmp_path / "tiny.npz", tiny_face_data)
    model = FaceModel(read_face_model(tmp_path / "tiny.npz"))  # rounded as the file is
    make_photos(tmp_path / "photos", model, 4)
    for number in range(4):
        add_label(tmp_path / "photos", model, number)
    return tmp_path


def steps(folder: Path, name: str, term: str) -> list[float]:
    text = (folder / "checkpoints" / name / "loss_log.txt").read_text("utf-8")
    assert "nan" not in text
    lines = [line for line in text.splitlines() if line.startswith("(train")]
    return [float(re.findall(rf" {term}: (\S+)", line)[0]) for line in lines]


def test_labels_fade_and_a_resumed_run_ends_alike(folder: Path) -> None:
    shown = train(folder, *COMMAND, "--name", "whole")
    assert "4 of 4 photos begin with fitted coefficients" in shown
    first, second, *rest = steps(folder, "whole", "t_shape")
    assert first > 0 and second > 0 and rest == [0, 0]
    assert all(value > 0 for value in steps(folder, "whole", "color"))
    log = (folder / "checkpoints/whole/loss_log.txt").read_text("utf-8")
    # Validation looks at photos alone.
    assert "t_shape" not in log[log.index("(val") :].splitlines()[0]
    # All of half the steps is half of all of them.
    train(folder, *COMMAND, "--name", "parts", "--n_epochs", "1", "--coeff_until", "1")
    train(folder, *COMMAND, "--name", "parts", "--continue_train")
    for term in ("t_shape", "t_px", "color", "lm", "all"):
        assert steps(folder, "parts", term) == steps(folder, "whole", term), term


def test_labels_of_another_face_model_end_the_run_before_it_begins(folder: Path) -> None:
    code = ended(start(train_tiny, [*COMMAND, "--face_model", "open@0"], folder=folder))
    assert code == 2
    error = (folder / "process.err").read_text("utf-8")
    assert error.startswith("error: --w_coeff: photos/coefficients/photo ")
    assert "tiny 1" in error and "this run uses open" in error
    assert not (folder / "checkpoints").exists()
