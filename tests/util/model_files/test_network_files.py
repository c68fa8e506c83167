"""Which weights the networks start from, and what is said where files are missing or wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.networks.iresnet import create_iresnet
from models.networks.recognition import ArcFaceRecognitionNet, DlibRecognitionNet
from models.networks.reconstruction import create_reconstruction_net
from models.networks.resnet import resnet18, resnet34, resnet50
from models.parameters import ParameterLayout
from options.network_options import RecognitionOptions, ReconstructionNetOptions
from util.errors import InputError
from util.model_files import recognition_file
from util.model_files.dlib_file import read_dlib_resnet
from util.model_files.recognition_file import load_recognition_net
from util.model_files.reconstruction_file import read_initial_weights

LAYOUT = ParameterLayout.for_sizes()


@pytest.fixture(scope="module")
def arcface_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recog") / "backbone.pth"
    torch.save(create_iresnet("r18").state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def _empty_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The public defaults are relative paths; here none of them exists."""
    monkeypatch.chdir(tmp_path)


# The R-Net


def test_dlib_net_starts_from_the_installed_trunk():
    options = ReconstructionNetOptions("dlib")
    weights, message = read_initial_weights(options)
    assert weights is not None
    assert "dlib_face_recognition_resnet_model_v1.dat" in message
    net = create_reconstruction_net(options, LAYOUT, weights)
    loaded, published = net.backbone.state_dict(), read_dlib_resnet()
    assert torch.equal(loaded["trunk.conv0.weight"], published["trunk.conv0.weight"])
    assert torch.equal(
        loaded["trunk.blocks.9.conv2.shift"], published["trunk.blocks.9.conv2.shift"]
    )


def test_absent_default_file_is_said():
    weights, message = read_initial_weights(ReconstructionNetOptions("resnet18"))
    assert weights is None
    assert "random weights" in message and "resnet50-0676ba61.pth is not there" in message


def test_imagenet_weights_lose_their_classifier(tmp_path: Path):
    path = tmp_path / "resnet18.pth"
    source = resnet18(last_fc_outputs=1000)
    # Files of old PyTorch versions have no batch counters.
    state = {n: t for n, t in source.state_dict().items() if "num_batches" not in n}
    torch.save(state, path)
    options = ReconstructionNetOptions("resnet18", init_path=str(path))
    weights, message = read_initial_weights(options)
    assert weights is not None and str(path) in message
    assert len(weights) == 120
    for use_last_fc in (False, True):
        options = ReconstructionNetOptions("resnet18", str(path), use_last_fc)
        net = create_reconstruction_net(options, LAYOUT, weights)
        loaded = net.backbone.state_dict()
        assert torch.equal(loaded["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
        assert torch.equal(net.eval()(torch.rand(1, 3, 224, 224)), torch.zeros(1, 257))


def test_default_file_of_another_architecture_is_left_out():
    path = Path(ReconstructionNetOptions.init_path)
    path.parent.mkdir(parents=True)
    torch.save(resnet34().state_dict(), path)
    weights, message = read_initial_weights(ReconstructionNetOptions("resnet18"))
    assert weights is None
    assert "is not for --net_recon resnet18" in message


def r_net_checkpoint() -> dict[str, object]:
    weights = create_reconstruction_net(ReconstructionNetOptions("resnet18"), LAYOUT).state_dict()
    return {"net_recon": weights}


@pytest.mark.parametrize(
    ("content", "misfit"),
    [
        (r_net_checkpoint, "it has no conv1.weight"),
        (lambda: resnet18().state_dict(), "layer1.0.conv1.weight is (64, 64, 3, 3), expected (64,"),
        (lambda: {**resnet50().state_dict(), "head.bias": torch.ones(2)}, "it has head.bias besid"),
    ],
    ids=["checkpoint", "resnet18", "more"],
)
def test_the_default_file_must_be_what_its_name_says(
    content: Callable[[], dict[str, object]], misfit: str
):
    """Random weights in place of ImageNet's would spoil a training of days."""
    path = Path(ReconstructionNetOptions.init_path)
    path.parent.mkdir(parents=True)
    torch.save(content(), path)
    with pytest.raises(InputError) as caught:
        read_initial_weights(ReconstructionNetOptions())
    said = str(caught.value)
    assert f"{path}: not the weights of a resnet50" in said and misfit in said
    assert "remove it, put torchvision's resnet50-0676ba61.pth in its place" in said
    assert said.endswith("or give another --init_path")


@pytest.mark.parametrize("net_recon", ["resnet18", "resnet50", "dlib"])
def test_named_file_must_fit(tmp_path: Path, net_recon):
    path = tmp_path / "resnet34.pth"
    torch.save(resnet34().state_dict(), path)
    with pytest.raises(InputError, match=r"resnet34\.pth"):
        read_initial_weights(ReconstructionNetOptions(net_recon, init_path=str(path)))
    with pytest.raises(InputError, match="absent"):
        read_initial_weights(ReconstructionNetOptions(net_recon, init_path="absent.pth"))


# The recognition network


def test_dlib_is_the_network_out_of_the_box():
    net, message = load_recognition_net(RecognitionOptions())
    assert isinstance(net, DlibRecognitionNet)
    assert "dlib" in message and "backbone.pth" in message
    fc = net.state_dict()["network.fc.weight"]
    assert torch.equal(fc, read_dlib_resnet()["fc.weight"])


def test_wanted_arcface_without_its_file_is_said():
    net, message = load_recognition_net(RecognitionOptions("r50"))
    assert isinstance(net, DlibRecognitionNet)
    assert "for --net_recog r50 are not at checkpoints/recog_model" in message


def test_none_and_dlib_are_taken_at_their_word(arcface_file: Path):
    assert load_recognition_net(RecognitionOptions("none"))[0] is None
    net, _ = load_recognition_net(RecognitionOptions("dlib", str(arcface_file)))
    assert isinstance(net, DlibRecognitionNet)


@pytest.mark.parametrize("name", ["auto", "r18"])
def test_arcface_is_recognised_by_its_file(arcface_file: Path, name):
    net, message = load_recognition_net(RecognitionOptions(name, str(arcface_file)))
    assert isinstance(net, ArcFaceRecognitionNet)
    assert "ArcFace r18" in message
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_arcface_of_another_depth_is_refused(arcface_file: Path):
    with pytest.raises(InputError, match=r"--net_recog r50: .* holds r18; give --net_recog r18"):
        load_recognition_net(RecognitionOptions("r50", str(arcface_file)))


@pytest.mark.parametrize("depth", ["r34", "r50", "r100"])
def test_every_depth_is_recognised(depth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By the file's names; no memory is filled, so nothing but the depth is right about it."""
    with torch.device("meta"):
        state = create_iresnet(depth).state_dict()
    path = tmp_path / "backbone.pth"
    path.touch()
    monkeypatch.setattr(recognition_file, "load_tensors", lambda _: state)
    other = "r18"
    with pytest.raises(InputError, match=rf"--net_recog {other}: .*holds {depth}; give"):
        load_recognition_net(RecognitionOptions(other, str(path)))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "pickle"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_half_precision_and_older_files_give_the_same_network(
    tmp_path: Path, zipped: bool, prefix: str
):
    """Training with fp16 keeps float32 weights; some exports are half."""
    state = create_iresnet("r18").state_dict()
    half = {f"{prefix}{n}": t.half() if t.is_floating_point() else t for n, t in state.items()}
    path = tmp_path / "backbone.pth"
    torch.save(half, path, _use_new_zipfile_serialization=zipped)
    net, message = load_recognition_net(RecognitionOptions("auto", str(path)))
    assert net is not None and "ArcFace r18" in message
    for name, tensor in net.network.state_dict().items():
        assert tensor.dtype == state[name].dtype
        assert torch.equal(tensor, half[f"{prefix}{name}"].to(tensor.dtype)), name


def test_other_checkpoints_in_place_of_a_backbone_are_named(tmp_path: Path):
    path = tmp_path / "backbone.pth"
    options = RecognitionOptions("auto", str(path))
    backbone = {"conv1.weight": torch.ones(1)}
    whole = {"epoch": 3, "state_dict_backbone": backbone, "state_optimizer": {"state": {}}}
    torch.save(whole, path)
    with pytest.raises(InputError, match=r"backbone\.pth: a whole training checkpoint \(it holds "):
        load_recognition_net(options)
    torch.save({"net_recon": backbone, "opt_00": {}, "sched_00": {}}, path)
    with pytest.raises(InputError, match=r"backbone\.pth: a checkpoint of an R-Net"):
        load_recognition_net(options)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(
        InputError, match=r"backbone\.pth: not a PyTorch file but a Git LFS pointer"
    ):
        load_recognition_net(options)
    torch.save(create_iresnet("r18"), path)
    with pytest.raises(InputError, match=r"backbone\.pth: contains Python objects.*state dict"):
        load_recognition_net(options)


def test_wrong_recognition_files_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"--net_recog_path absent\.pth: no such file"):
        load_recognition_net(RecognitionOptions("auto", "absent.pth"))
    path = tmp_path / "backbone.pth"
    torch.save(resnet18().state_dict(), path)
    with pytest.raises(InputError, match=r"backbone\.pth: not an iresnet"):
        load_recognition_net(RecognitionOptions("auto", str(path)))
    path.write_bytes(b"text")
    with pytest.raises(InputError, match=r"backbone\.pth: damaged"):
        load_recognition_net(RecognitionOptions("auto", str(path)))
    state = create_iresnet("r18").state_dict()
    del state["features.bias"]
    torch.save(state, path)
    with pytest.raises(InputError, match=r"missing features\.bias"):
        load_recognition_net(RecognitionOptions("auto", str(path)))
