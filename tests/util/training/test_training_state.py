"""Checkpoints of a training: what they hold, what they refuse, and what tests adopt from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models import create_model
from models.assets import ModelAssets
from models.face_model import FaceModel
from models.facerecon_model import FaceReconModel
from models.template_model import TemplateModel
from options import ParsedOptions, parse_command
from options.face_options import FaceModelOptions, LandmarkOptions
from options.network_options import ReconstructionNetOptions
from util.errors import InputError
from util.training.checkpoint import load_checkpoint, save_checkpoint
from util.training.training_state import (
    Progress,
    adopt_card,
    card_of,
    follow_order,
    load_weights,
    resume_training,
    save_training,
    training_state,
)

CPU = torch.device("cpu")


def face_options(*argv: str) -> ParsedOptions:
    return parse_command(FaceReconModel.option_groups, ["--net_recon", "resnet18", *argv])


def face_recon(face_model: FaceModel, options: ParsedOptions) -> FaceReconModel:
    model = create_model("facerecon", options, ModelAssets(face_model), CPU)
    assert isinstance(model, FaceReconModel)
    return model


def template(*argv: str) -> tuple[TemplateModel, ParsedOptions]:
    options = parse_command(TemplateModel.option_groups, argv)
    model = create_model("template", options, None, CPU)
    assert isinstance(model, TemplateModel)
    return model, options


def test_progress_and_random_state_come_back(tmp_path: Path):
    model, options = template("--lr", "0.01")
    progress = Progress(epoch=3, batches=17, step=217, seconds=12.5)
    torch.rand(5)
    save_training(tmp_path / "epoch_latest.pth", model, options, progress)
    expected = torch.rand(4)
    torch.manual_seed(99)
    again, options = template("--lr", "0.01")
    assert resume_training(tmp_path / "epoch_latest.pth", again, options) == progress
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("state", [7, [7], [{"torch": "x"}]])
def test_malformed_random_states_are_input_errors(tmp_path: Path, state: object):
    model, options = template("--lr", "0.01")
    path = tmp_path / "epoch_latest.pth"
    save_checkpoint(path, {**training_state(model, options, Progress()), "random": state})
    with pytest.raises(InputError, match=r"random states are malformed.*--pretrained_name"):
        resume_training(path, model, options)


def test_a_checkpoint_says_what_its_numbers_mean(tmp_path: Path, tiny_face_model: FaceModel):
    options = face_options("--landmark_origin", "centre")
    model = face_recon(tiny_face_model, options)
    path = tmp_path / "epoch_1.pth"
    save_training(path, model, options, Progress())
    card = load_checkpoint(path)["card"]
    assert card["net_recon"] == "resnet18"
    assert card["landmark_origin"] == "centre"
    assert card["face_model"] == {
        "name": "tiny",
        "version": "1",
        "fingerprint": tiny_face_model.card.fingerprint,
    }
    assert card["layout"]["identity"] == 3 and card["layout"]["gamma"] == 27


def test_weights_come_back(tmp_path: Path, tiny_face_model: FaceModel):
    options = face_options()
    model = face_recon(tiny_face_model, options)
    path = tmp_path / "epoch_1.pth"
    save_training(path, model, options, Progress())
    other = face_recon(tiny_face_model, options)
    assert not torch.equal(
        other.net_recon.backbone.state_dict()["conv1.weight"],
        model.net_recon.backbone.state_dict()["conv1.weight"],
    )
    load_weights(load_checkpoint(path), path, other, options)
    for key, value in model.net_recon.state_dict().items():
        assert torch.equal(value, other.net_recon.state_dict()[key]), key


def test_another_architecture_or_face_model_is_refused(
    tmp_path: Path, tiny_face_model: FaceModel, open_face_model: FaceModel
):
    options = face_options()
    path = tmp_path / "epoch_1.pth"
    save_training(path, face_recon(tiny_face_model, options), options, Progress())
    checkpoint = load_checkpoint(path)

    last_fc = face_options("--use_last_fc")
    with pytest.raises(InputError, match=r"epoch_1\.pth.*resnet18.*--use_last_fc False"):
        load_weights(checkpoint, path, face_recon(tiny_face_model, last_fc), last_fc)
    deeper = face_options("--net_recon", "resnet34")
    with pytest.raises(InputError, match=r"epoch_1\.pth.*--net_recon resnet18"):
        load_weights(checkpoint, path, face_recon(tiny_face_model, deeper), deeper)
    with pytest.raises(InputError, match=r"trained for the face model tiny.*uses open"):
        load_weights(checkpoint, path, face_recon(open_face_model, options), options)


def test_another_version_with_the_same_coefficients_is_loaded_and_named(
    tmp_path: Path, tiny_face_model: FaceModel, capsys: pytest.CaptureFixture[str]
):
    """Such as one whose landmarks were calibrated anew."""
    options = face_options()
    model = face_recon(tiny_face_model, options)
    path = tmp_path / "epoch_1.pth"
    save_training(path, model, options, Progress())
    load_weights(load_checkpoint(path), path, model, options)
    assert capsys.readouterr().out == ""
    checkpoint = load_checkpoint(path)
    checkpoint["card"]["face_model"]["version"] = "0.9"
    load_weights(checkpoint, path, model, options)
    shown = capsys.readouterr().out
    assert "was trained with version 0.9 of the face model tiny, this one is 1" in shown
    assert "landmarks may lie elsewhere" in shown


def test_what_the_user_left_open_is_taken_from_the_checkpoint(
    tmp_path: Path, tiny_face_model: FaceModel
):
    trained = face_options("--use_last_fc", "--landmark_origin", "centre")
    path = tmp_path / "epoch_1.pth"
    save_training(path, face_recon(tiny_face_model, trained), trained, Progress())
    checkpoint = load_checkpoint(path)
    open_options = parse_command(FaceReconModel.inference_groups, [])
    adopted = adopt_card(open_options, checkpoint, path)
    assert adopted[ReconstructionNetOptions].net_recon == "resnet18"
    assert adopted[ReconstructionNetOptions].use_last_fc is True
    assert adopted[LandmarkOptions].landmark_origin == "centre"
    own = ["--net_recon", "resnet50", "--landmark_origin", "index", "--use_last_fc", "False"]
    kept = adopt_card(parse_command(FaceReconModel.inference_groups, own), checkpoint, path)
    assert kept[ReconstructionNetOptions] == ReconstructionNetOptions("resnet50")
    assert kept[LandmarkOptions].landmark_origin == "index"


@pytest.mark.parametrize("name", ["open", "bfm09"])
def test_the_face_model_is_the_checkpoints_unless_the_user_names_one(
    tmp_path: Path, tiny_face_model: FaceModel, name: str
):
    path = tmp_path / "epoch_1.pth"
    options = face_options()
    save_training(path, face_recon(tiny_face_model, options), options, Progress())
    checkpoint = load_checkpoint(path)
    left_open = parse_command(FaceReconModel.inference_groups, [])
    # A model from a file has no name that could be found again.
    assert adopt_card(left_open, checkpoint, path)[FaceModelOptions].face_model == "auto"
    checkpoint["card"]["face_model"]["name"] = name
    assert adopt_card(left_open, checkpoint, path)[FaceModelOptions].face_model == name
    named = parse_command(FaceReconModel.inference_groups, ["--face_model", "a.npz"])
    assert adopt_card(named, checkpoint, path)[FaceModelOptions].face_model == "a.npz"


def test_a_flag_that_contradicts_the_checkpoint_is_an_input_error(
    tmp_path: Path, tiny_face_model: FaceModel
):
    trained = face_options("--use_last_fc")
    path = tmp_path / "epoch_1.pth"
    save_training(path, face_recon(tiny_face_model, trained), trained, Progress())
    options = parse_command(FaceReconModel.inference_groups, ["--net_recon", "dlib"])
    with pytest.raises(InputError, match=r"epoch_1\.pth.*--use_last_fc needs a resnet"):
        adopt_card(options, load_checkpoint(path), path)


def test_a_checkpoint_of_weights_alone_cannot_be_resumed(tmp_path: Path):
    model, options = template()
    path = tmp_path / "epoch_1.pth"
    save_checkpoint(path, {"net_colour": model.net.state_dict()})
    with pytest.raises(InputError, match=r"epoch_1\.pth.*opt_00.*--pretrained_name"):
        resume_training(path, model, options)


@pytest.mark.parametrize("progress", [{"epochs": 3}, "epoch 3", {"epoch": "three"}, [1, 2]])
def test_a_malformed_position_is_an_input_error(tmp_path: Path, progress: object):
    model, options = template()
    path = tmp_path / "epoch_1.pth"
    save_checkpoint(path, {**model.state(), "progress": progress})
    with pytest.raises(InputError, match=r"epoch_1\.pth"):
        resume_training(path, model, options)


def test_what_a_checkpoint_lacks_is_named(tmp_path: Path):
    model, options = template("--lr", "0.01")
    path = tmp_path / "epoch_latest.pth"
    state = training_state(model, options, Progress())
    progress = {key: value for key, value in state["progress"].items() if key != "batches"}
    random = [{"python": state["random"][0]["python"], "numpy": {"pos": 3}}]
    for damage, named in (
        ({"progress": progress}, "position in the training lacks 'batches'"),
        ({"random": random}, "random states lack 'bit_generator'"),
        ({"opt_00": {"state": {}}}, "optimiser's state lacks 'param_groups'"),
    ):
        save_checkpoint(path, {**state, **damage})
        with pytest.raises(InputError, match=named):
            resume_training(path, model, options)


def test_an_optimiser_of_another_model_is_an_input_error(tmp_path: Path):
    model, options = template()
    state = model.state()
    state["opt_00"] = {"state": {}, "param_groups": []}
    save_checkpoint(tmp_path / "epoch_1.pth", state)
    with pytest.raises(InputError, match=r"epoch_1\.pth"):
        resume_training(tmp_path / "epoch_1.pth", model, options)


def test_the_card_follows_the_options(tiny_face_model: FaceModel):
    options = face_options()
    card = card_of(face_recon(tiny_face_model, options), options)
    assert card.net_recon == "resnet18" and card.landmark_origin == "index"
    assert sum(size for _, size in card.layout) == tiny_face_model.layout.size


def test_other_lists_are_noticed_and_refused_in_the_midst_of_an_epoch():
    before = {"seed": 0, "faces": 8, "list_shares": [0.5, 0.5], "list_sizes": [4, 4]}
    after = {**before, "list_shares": [0.75, 0.25]}
    progress, notice = follow_order(Progress(epoch=2, order=before), after)
    assert progress.order == after
    assert notice.endswith("the shares of the lists are [0.75, 0.25] (were [0.5, 0.5])")
    middle = Progress(epoch=2, batches=1, order=before)
    with pytest.raises(InputError, match=r"the shares .*; take the lists and shares that the run"):
        follow_order(middle, after)
    after |= {"list_sizes": [5, 3], "seed": 7}
    with pytest.raises(InputError, match=r"the sizes .*; give --seed 0 and take the lists and sha"):
        follow_order(middle, after)
    # A checkpoint that does not say is followed.
    old = {"seed": 0, "faces": 8}
    assert follow_order(Progress(batches=1, order=old), before)[1] == ""
