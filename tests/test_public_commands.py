"""Command lines of public users, run where their files are missing: what is there is taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.face_model import FaceModel
from tests.commands import load_script
from tests.test_test_command import photos, trained  # noqa: F401 - fixtures
from tests.test_train_command import make_photos
from util.training.checkpoint_names import list_checkpoints

train, test = load_script("train"), load_script("test")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_public_training_line(
    folder: Path, open_face_model: FaceModel, capsys: pytest.CaptureFixture[str]
):
    flist = make_photos(folder / "datasets" / "a", open_face_model)
    for name in ("train", "val"):
        lists = folder / "datalist" / name
        lists.mkdir(parents=True)
        shutil.copy(flist, lists / "masks.txt")
    line = (
        "--name=a --gpu_ids=0 --data_root datasets --use_opengl False --net_recog r50 "
        "--init_path checkpoints/init_model/resnet50-0676ba61.pth --net_recon resnet18 "
        "--batch_size 2 --batch_size_val 2 --n_epochs 1 --preprocess shift_scale "
        "--use_crop_face True --use_predef_M False --num_threads 0 --bfm_folder BFM"
    )
    train.main([*line.split(), "--num_cpu_threads", "1"])
    shown = capsys.readouterr().out
    assert shown.count("--use_opengl has no effect") == 1
    assert "random weights (checkpoints/init_model/resnet50-0676ba61.pth is not there" in shown
    assert "dlib's recognition network, since ArcFace's weights for --net_recog r50" in shown
    assert list_checkpoints(folder / "checkpoints" / "a") == ["1", "latest"]


def test_a_public_reconstruction_line(
    folder: Path,
    trained: Path,  # noqa: F811
    photos: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
):
    """The folder of the public code: pictures, and five points a picture in detections/."""
    examples = folder / "datasets" / "examples"
    examples.mkdir(parents=True)
    shutil.copy(photos / "a.png", examples / "face.png")
    landmarks = (photos / "landmarks" / "a.txt").read_text(encoding="utf-8").splitlines()
    points = [[float(number) for number in line.split()] for line in landmarks]

    def middle(a: int, b: int) -> str:
        return " ".join(str((points[a][k] + points[b][k]) / 2) for k in (0, 1))

    five = [middle(36, 39), middle(42, 45), landmarks[30], landmarks[48], landmarks[54]]
    (examples / "detections").mkdir()
    (examples / "detections" / "face.txt").write_text("\n".join(five), encoding="utf-8")
    line = "--name=faces --epoch=20 --img_folder=./datasets/examples --use_opengl False"
    test.main([*line.split(), "--num_cpu_threads", "1"])
    results = trained.parent / "results" / "examples" / "epoch_20_000000"
    assert {path.suffix for path in results.glob("face*")} == {
        ".png",
        ".obj",
        ".mat",
        ".json",
        ".glb",
        ".html",
        ".jpg",
    }
    assert "1 of 1 photos" in capsys.readouterr().out
