"""What a model is built from: found, loaded, and said."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from models.assets import ModelAssets
from models.facerecon_model import FaceReconModel
from models.template_model import TemplateModel
from options import parse_command
from options.face_options import FaceModelOptions
from options.network_options import RecognitionOptions
from tests.bfm_files import SMALL, write_small_sources
from util import assets
from util.assets import (
    choose_face_model,
    load_assets,
    load_face_model,
    read_chosen_face_model,
)
from util.errors import InputError
from util.model_files.bfm_conversion import convert_bfm09


@pytest.mark.parametrize("name", ["auto", "open"])
def test_the_open_model_needs_no_file_of_the_user(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # found from wherever the command runs
    assert load_face_model(FaceModelOptions(face_model=name)).card.name == "open"


@pytest.mark.parametrize("name", ["bfm2030", "model.mat", "a.h5", ""])
def test_unknown_names_are_input_errors(name: str):
    with pytest.raises(InputError, match=f"--face_model {name}"):
        load_face_model(FaceModelOptions(face_model=name))


@pytest.mark.parametrize("name", ["open", "auto"])
def test_a_folder_of_that_name_is_not_meant(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    options = FaceModelOptions(face_model=name, bfm_folder=str(tmp_path))
    assert read_chosen_face_model(options)[0].name == "open"


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"nowhere\.npz"):
        load_face_model(FaceModelOptions(face_model="nowhere.npz"))


@pytest.fixture
def small_bfm09(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions expect the sizes of the small files."""
    monkeypatch.setattr(assets, "convert_bfm09", partial(convert_bfm09, sizes=SMALL))


def of_folder(folder: Path, name: str = "auto", **options: Any) -> FaceModelOptions:
    return FaceModelOptions(face_model=name, bfm_folder=str(folder), **options)


@pytest.mark.usefixtures("small_bfm09")
class TestBfm09:
    """Which face model is taken, and what is said, for what lies in --bfm_folder."""

    def test_auto_converts_once_and_then_reads(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        write_small_sources(tmp_path)
        model, message = choose_face_model(of_folder(tmp_path))
        assert model.card.name == "bfm09" and model.vertex_count == 224
        made = tmp_path / "BFM_model_front.mat"
        assert f"from {made} with the five standard points of " in message
        assert "BFM09 to" in capsys.readouterr().err
        stamp, content = made.stat().st_mtime_ns, made.read_bytes()
        (tmp_path / "01_MorphableModel.mat").unlink()  # not needed any more
        again, _ = choose_face_model(of_folder(tmp_path, "bfm09"))
        assert again.card == model.card
        assert (made.stat().st_mtime_ns, made.read_bytes()) == (stamp, content)
        assert capsys.readouterr().err == ""

    def test_the_file_has_the_name_that_bfm_model_gives(self, tmp_path: Path):
        write_small_sources(tmp_path)
        choose_face_model(of_folder(tmp_path, bfm_model="mine.mat"))
        assert (tmp_path / "mine.mat").is_file()
        assert not (tmp_path / "BFM_model_front.mat").exists()

    def test_a_path_is_read_whatever_its_name(self, tmp_path: Path):
        write_small_sources(tmp_path)
        convert_bfm09(tmp_path, tmp_path / "other.MAT", SMALL)
        model, message = choose_face_model(of_folder(tmp_path, str(tmp_path / "other.MAT")))
        assert model.card.name == "bfm09" and "other.MAT" in message

    def test_without_files_auto_takes_open_and_says_so(self, tmp_path: Path):
        for folder in (tmp_path, tmp_path / "nothing"):
            model, message = choose_face_model(of_folder(folder))
            assert model.card.name == "open"
            assert f"since there is no {folder / 'BFM_model_front.mat'}" in message

    def test_without_any_file_the_message_is_short_and_names_who_knows_more(self, tmp_path: Path):
        with pytest.raises(InputError) as caught:
            choose_face_model(of_folder(tmp_path, "bfm09"))
        message = str(caught.value).replace(str(tmp_path), "BFM")
        assert message.startswith("--face_model bfm09: there is no BFM/BFM_model_front.mat")
        assert "python doctor.py" in message and "--bfm_folder" in message
        assert len(message) < 250

    def test_the_open_model_is_beside_the_code(self, tmp_path: Path):
        write_small_sources(tmp_path)
        assert choose_face_model(of_folder(tmp_path, "open"))[0].card.name == "open"

    def test_what_a_part_of_the_files_lacks_is_said(self, tmp_path: Path):
        write_small_sources(tmp_path)
        (tmp_path / "Exp_Pca.bin").rename(tmp_path / "Coarse_Dataset.zip")
        (tmp_path / "model2017-1_bfm_nomouth.h5").write_bytes(b"")
        model, message = choose_face_model(of_folder(tmp_path))
        assert model.card.name == "open"
        assert "to make it Exp_Pca.bin would be needed" in message
        assert "Coarse_Dataset.zip, model2017-1_bfm_nomouth.h5" in message
        with pytest.raises(InputError) as caught:
            choose_face_model(of_folder(tmp_path, "bfm09"))
        assert "to make it Exp_Pca.bin would be needed" in str(caught.value)
        assert "--face_model open" in str(caught.value)
        assert "01_MorphableModel.mat" not in str(caught.value)

    @pytest.mark.parametrize("name", ["auto", "bfm09"])
    def test_a_wrong_file_stops_even_auto(self, tmp_path: Path, name: str):
        """Silently training on another face model would cost days."""
        write_small_sources(tmp_path)
        (tmp_path / "Exp_Pca.bin").write_bytes(b"<!DOCTYPE html>")
        with pytest.raises(InputError, match=r"Exp_Pca\.bin is a web page"):
            choose_face_model(of_folder(tmp_path, name))
        (tmp_path / "BFM_model_front.mat").write_bytes(b"MATLAB 5.0 MAT-file")
        with pytest.raises(InputError, match=r"BFM_model_front\.mat is damaged, cut short"):
            choose_face_model(of_folder(tmp_path, name))

    def test_the_original_is_no_face_model(self, tmp_path: Path):
        write_small_sources(tmp_path)
        path = tmp_path / "01_MorphableModel.mat"
        with pytest.raises(InputError, match=r"Morphable.* lacks the array meanshape \(it"):
            choose_face_model(of_folder(tmp_path, str(path)))

    def test_numbers_that_are_not_finite_are_named(self, tmp_path: Path):
        write_small_sources(tmp_path)
        path = tmp_path / "BFM_model_front.mat"
        convert_bfm09(tmp_path, path, SMALL)
        arrays = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
        arrays["meantex"][0, 3] = np.nan
        savemat(path, arrays)
        with pytest.raises(InputError, match=r"front\.mat .*: .* mean_albedo holds non-finite"):
            choose_face_model(of_folder(tmp_path))


def test_a_model_without_faces_needs_nothing(capsys: pytest.CaptureFixture[str]):
    assert load_assets(parse_command(TemplateModel.option_groups, [])) is None
    assert capsys.readouterr().out == ""


def test_inference_loads_the_face_model_alone(capsys: pytest.CaptureFixture[str]):
    assets = load_assets(parse_command(FaceReconModel.inference_groups, []))
    assert isinstance(assets, ModelAssets)
    assert assets.recognition_net is None and assets.initial_weights is None
    assert str(assets.face_model.card) in capsys.readouterr().out


def test_training_says_where_its_parts_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)  # no weights lie here
    argv = ["--net_recon", "resnet18", "--net_recog", "none"]
    assets = load_assets(parse_command(FaceReconModel.option_groups, argv))
    assert isinstance(assets, ModelAssets) and assets.recognition_net is None
    text = capsys.readouterr().out
    assert "random weights" in text and "no identity loss" in text


def test_no_recognition_net_is_loaded_for_a_loss_without_weight(
    capsys: pytest.CaptureFixture[str],
):
    argv = ["--net_recon", "resnet18", "--w_feat", "0", "--net_recog_path", "missing.pth"]
    assets = load_assets(parse_command(FaceReconModel.option_groups, argv))
    assert isinstance(assets, ModelAssets) and assets.recognition_net is None
    assert "missing.pth" not in capsys.readouterr().out


def test_named_files_must_exist():
    argv = ["--net_recon", "resnet18", "--net_recog_path", "missing.pth"]
    with pytest.raises(InputError, match=r"--net_recog_path missing\.pth"):
        load_assets(parse_command(FaceReconModel.option_groups, argv))
    assert RecognitionOptions().net_recog == "auto"
    argv = ["--net_recon", "resnet18", "--w_feat", "0", "--init_path", "missing.pth"]
    with pytest.raises(InputError, match=r"missing\.pth"):
        load_assets(parse_command(FaceReconModel.option_groups, argv))
