"""`train.py --model synergy`: one epoch for each dataset mode, the best epoch, resuming."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import make_synthetic
from tests.commands import load_script
from tests.ddfa_folder import make_ddfa_folder
from util.errors import InputError
from util.synergy.synergy_checkpoint import FaceFiles, load_synergy
from util.training.checkpoint import load_tensors
from util.training.checkpoint_names import list_checkpoints

train = load_script("train")
SMALL = ["--model", "synergy", "--arch", "mobilenet_025", "--gpu_ids", "-1", "--num_threads", "0"]
SMALL += ["--num_cpu_threads", "1", "--batch_size", "4", "--val_share", "0.3"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_ddfa_folder(tmp_path / "data", count=16)
    return tmp_path


def run(*argv: str, name: str = "a") -> Path:
    train.main([*SMALL, "--dataset_mode", "ddfa", "--data_root", "data", "--name", name, *argv])
    return Path("checkpoints") / name


def test_a_run_ends_in_a_network_that_infers():
    folder = run("--n_epochs", "2", "--keep_best")
    assert list_checkpoints(folder) == ["1", "2", "best", "latest"]
    best = load_tensors(folder / "epoch_best.pth")["progress"]["best"]
    log = (folder / "loss_log.txt").read_text(encoding="utf-8")
    coarse = [
        float(line.split("coarse: ")[1].split()[0])
        for line in log.splitlines()
        if line.startswith("(val")
    ]
    assert len(coarse) == 2 and abs(best - min(coarse)) < 1e-3
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "of the model synergy" in page and "Refined landmarks" in page
    assert [path.name[:4] for path in sorted((folder / "pictures").iterdir())].count("val_") == 2
    net = load_synergy(folder / "epoch_best.pth", FaceFiles(Path("data/3dmm_data")))
    parameters = net.predict(torch.rand(2, 3, 120, 120))
    assert net.face.landmarks(parameters).shape == (2, 3, 68)


def test_resuming_equals_one_run():
    whole = run("--n_epochs", "2", name="whole")
    run("--n_epochs", "1")
    part = run("--n_epochs", "2", "--continue_train")
    states = [load_tensors(path / "epoch_2.pth")["net_synergy"] for path in (whole, part)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_checkpoint_of_another_backbone_is_refused():
    run("--n_epochs", "1")
    with pytest.raises(InputError, match="its arch is mobilenet_025, this run has mobilenet_05"):
        run("--n_epochs", "2", "--continue_train", "--arch", "mobilenet_05")


def test_labels_need_their_model_and_the_model_its_labels():
    with pytest.raises(InputError, match="--model synergy needs --dataset_mode ddfa"):
        train.main([*SMALL[:-2], "--name", "a"])
    with pytest.raises(InputError, match="--dataset_mode ddfa is for --model synergy"):
        train.main(["--model", "template", "--dataset_mode", "ddfa", "--gpu_ids", "-1"])


def test_a_network_without_its_face_model_is_refused():
    folder = run("--n_epochs", "1")
    with pytest.raises(InputError, match="3dmm_data does not exist"):
        load_synergy(folder / "epoch_1.pth")
    make_ddfa_folder(Path("other"), count=2, seed=5)
    with pytest.raises(InputError, match="was trained for the face model 3dmm_data"):
        load_synergy(folder / "epoch_1.pth", FaceFiles(Path("other/3dmm_data")))


def test_the_datatools_variant_trains_and_infers(monkeypatch: pytest.MonkeyPatch):
    flags = ["--layout", "datatool", "--face_model", "open", "--looks", "plain"]
    flags += ["--n", "4", "--n_val", "2", "--out", "tool", "--num_workers", "0"]
    make_synthetic.main(flags)
    argv = [*SMALL[:-2], "--dataset_mode", "datatool", "--datatool_root_dir", "tool"]
    argv += ["--train_tags", "SYNTH", "--val_tags", "SYNTH_VAL", "--face_model", "open"]
    train.main(
        [
            *argv,
            "--residual_scale",
            "1",
            "--use_rot_inv",
            "true",
            "--n_epochs",
            "1",
            "--name",
            "tool",
        ]
    )
    net = load_synergy(Path("checkpoints/tool/epoch_1.pth"))
    assert (
        net.use_rot_inv
        and net.meaning.layout.sizes == (7, 80, 29)
        and net.meaning.num_landmarks == 77
    )
    parameters = net.predict(torch.rand(1, 3, 450, 450))
    assert net.face.landmarks(parameters).shape == (1, 3, 77)
    assert net.face.card.name == "open"
