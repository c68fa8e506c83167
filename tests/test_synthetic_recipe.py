"""The recipe for generated faces: from a folder, rendered live, and mixed with photos."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import make_synthetic
import train

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ["--config", str(ROOT / "configs" / "synthetic.yaml"), "--num_threads", "0"]
SMALL = ["--n_epochs", "1", "--batch_size", "4", "--batch_size_val", "4", "--print_freq", "1"]
BRIEF = ["--max_dataset_size", "8", "--eval_batch_nums", "1", "--gpu_ids", "-1"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Eight synthetic faces, and the same again as photos without truth."""
    place = tmp_path_factory.mktemp("recipe")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_synthetic.main(["--n", "8", "--n_val", "4", "--num_workers", "0"])
    shutil.copytree(place / "datasets/synthetic", place / "datasets/photos")
    (place / "datasets/photos/coefficients.npz").unlink()
    listed = (place / "datalist/synthetic/masks.txt").read_text("utf-8")
    (place / "photos.txt").write_text(listed.replace("synthetic/", "photos/"), encoding="utf-8")
    return place


def log_of(place: Path, monkeypatch: pytest.MonkeyPatch, name: str, *flags: str) -> str:
    monkeypatch.chdir(place)
    train.main([*RECIPE, *SMALL, *BRIEF, "--name", name, *flags])
    text = (place / "checkpoints" / name / "loss_log.txt").read_text(encoding="utf-8")
    assert "nan" not in text
    return text


def test_a_folder(place, monkeypatch) -> None:
    log = log_of(place, monkeypatch, "folder")
    assert "t_shape: " in log and "color: " not in log


def test_live(place, monkeypatch) -> None:
    log = log_of(place, monkeypatch, "live", "--synthetic_live", "8")
    assert "t_shape: " in log and "(val, epoch 1" in log


def test_mixed_with_photos(place, monkeypatch) -> None:
    """Both kinds of losses in every step, and a resumed run that ends as one that never stopped."""
    flags = ["--dataset_mode", "flist", "--flist", "photos.txt:1,datalist/synthetic/masks.txt:1"]
    # The recipe's rate follows the number of epochs, which differs here.
    flags += ["--flist_val", "datalist/synthetic_val/masks.txt", "--lr_policy", "step"]
    log = log_of(place, monkeypatch, "mixed", *flags, "--n_epochs", "2")
    assert len(steps(log)) == 4
    for line in steps(log):
        for term in ("t_shape", "t_px", "color", "lm", "reg"):
            assert f" {term}: " in line
    log_of(place, monkeypatch, "parts", *flags)
    resumed = log_of(place, monkeypatch, "parts", *flags, "--n_epochs", "2", "--continue_train")
    ended, continued = (steps(text)[-2:] for text in (log, resumed))
    assert ended == continued


def steps(log: str) -> list[str]:
    return [line for line in log.splitlines() if line.startswith("(train")]
