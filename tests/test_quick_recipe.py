"""The quick recipe with all its parts at once, on a handful of faces: the commands themselves."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from scipy.io import loadmat

import make_synthetic
import test as test_command
import train
from data.images import write_image
from data.portraits import portraits

ROOT = Path(__file__).resolve().parents[1]


def test_synthesis_training_and_reconstruction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    make_synthetic.main(["--n", "8", "--n_val", "4", "--num_workers", "0"])
    recipe = ["--config", str(ROOT / "configs" / "quick.yaml"), "--max_minutes", "0"]
    small = ["--n_epochs", "1", "--batch_size", "4", "--batch_size_val", "4", "--print_freq", "1"]
    # As it is, and with identity, photometry and rendering beside the truth.
    train.main([*recipe, *small, "--name", "as_is"])
    log = (tmp_path / "checkpoints" / "as_is" / "loss_log.txt").read_text(encoding="utf-8")
    assert "keypoints: " in log and "color: " not in log
    weak = ["--weak_from", "0", "--synthetic_masks", "True"]
    train.main([*recipe, *small, *weak, "--name", "tiny", "--save_epoch_freq", "1"])
    log = (tmp_path / "checkpoints" / "tiny" / "loss_log.txt").read_text(encoding="utf-8")
    for term in ("keypoints", "t_shape", "t_px", "feat", "color", "lm", "reg", "gamma", "reflc"):
        assert f"{term}: " in log
    assert "nan" not in log

    photos = tmp_path / "photos"
    for name, picture in portraits().items():
        write_image(photos / f"{name}.png", picture)
    test_command.main(["--name", "tiny", "--img_folder", str(photos), "--solve_appearance"])
    results = tmp_path / "checkpoints" / "tiny" / "results" / "photos" / "epoch_latest_000000"
    with (results / "summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok", "ok"]
    coefficients = loadmat(results / "astronaut.mat")
    assert coefficients["coeff"].shape == (1, 257)
    # Solved light and albedo explain the photo: the colours are not the untrained network's.
    assert abs(coefficients["tex"]).max() > 0.05
