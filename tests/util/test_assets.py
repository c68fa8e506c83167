"""What a model is built from: found, loaded, and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.face_model import FaceModelOptions
from models.facerecon_model import FaceReconModel
from models.networks.recognition import RecognitionOptions
from models.template_model import TemplateModel
from options import parse_command
from util.assets import load_assets, load_face_model
from util.errors import InputError


@pytest.mark.parametrize("name", ["auto", "open"])
def test_the_open_model_needs_no_file_of_the_user(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # found from wherever the command runs
    assert load_face_model(FaceModelOptions(face_model=name)).card.name == "open"


@pytest.mark.parametrize("name", ["bfm2030", "model.mat", ""])
def test_unknown_names_are_input_errors(name: str):
    with pytest.raises(InputError, match=f"--face_model {name}"):
        load_face_model(FaceModelOptions(face_model=name))


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"nowhere\.npz"):
        load_face_model(FaceModelOptions(face_model="nowhere.npz"))


def test_a_model_without_faces_needs_nothing(capsys: pytest.CaptureFixture[str]):
    assert load_assets(parse_command(TemplateModel.option_groups, [])) is None
    assert capsys.readouterr().out == ""


def test_inference_loads_the_face_model_alone(capsys: pytest.CaptureFixture[str]):
    assets = load_assets(parse_command(FaceReconModel.inference_groups, []))
    assert assets is not None
    assert assets.recognition_net is None and assets.initial_weights is None
    assert str(assets.face_model.card) in capsys.readouterr().out


def test_training_says_where_its_parts_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)  # no weights lie here
    argv = ["--net_recon", "resnet18", "--net_recog", "none"]
    assets = load_assets(parse_command(FaceReconModel.option_groups, argv))
    assert assets is not None and assets.recognition_net is None
    text = capsys.readouterr().out
    assert "random weights" in text and "no identity loss" in text


def test_no_recognition_net_is_loaded_for_a_loss_without_weight(
    capsys: pytest.CaptureFixture[str],
):
    argv = ["--net_recon", "resnet18", "--w_feat", "0", "--net_recog_path", "missing.pth"]
    assets = load_assets(parse_command(FaceReconModel.option_groups, argv))
    assert assets is not None and assets.recognition_net is None
    assert "missing.pth" not in capsys.readouterr().out


def test_named_files_must_exist():
    argv = ["--net_recon", "resnet18", "--net_recog_path", "missing.pth"]
    with pytest.raises(InputError, match=r"--net_recog_path missing\.pth"):
        load_assets(parse_command(FaceReconModel.option_groups, argv))
    assert RecognitionOptions().net_recog == "auto"
    argv = ["--net_recon", "resnet18", "--w_feat", "0", "--init_path", "missing.pth"]
    with pytest.raises(InputError, match=r"missing\.pth"):
        load_assets(parse_command(FaceReconModel.option_groups, argv))
