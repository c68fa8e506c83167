"""The R-Net: public names, zero start, learning-rate groups, precision under autocast."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from models.networks.dlib_resnet import DlibTrunk
from models.networks.reconstruction import (
    RECONSTRUCTION_NETS,
    ReconstructionNet,
    create_reconstruction_net,
    head_sizes,
    pretrained_names,
)
from models.parameters import ParameterBlock, ParameterLayout
from options.network_options import ReconstructionNetOptions

LAYOUT = ParameterLayout.for_sizes()


def _net(name: str, use_last_fc: bool = False) -> ReconstructionNet:
    options = ReconstructionNetOptions(cast(Any, name), use_last_fc=use_last_fc)
    return ReconstructionNet(options, LAYOUT)


def _random_dlib_net() -> ReconstructionNet:
    net = _net("dlib").eval()
    assert net.final_layers is not None
    for head in net.final_layers:
        torch.nn.init.normal_(head.get_parameter("weight"), std=0.02)
    return net


def test_names_are_the_public_ones():
    names = set(_net("resnet50").state_dict())
    assert len(names) == 318 + 14
    assert "backbone.layer4.2.bn3.running_var" in names
    sizes = {
        name: tuple(tensor.shape)
        for name, tensor in _net("resnet50").state_dict().items()
        if name.startswith("final_layers")
    }
    expected = {}
    for index, size in enumerate([80, 64, 80, 3, 27, 2, 1]):
        expected[f"final_layers.{index}.weight"] = (size, 2048, 1, 1)
        expected[f"final_layers.{index}.bias"] = (size,)
    assert sizes == expected


@pytest.mark.parametrize("name", RECONSTRUCTION_NETS)
def test_untrained_network_predicts_the_mean_face(name: str):
    net = _net(name)
    coefficients = net(torch.rand(2, 3, 224, 224))
    assert torch.equal(coefficients, torch.zeros(2, 257))


def test_heads_fill_the_vector_in_the_public_order():
    net = _net("resnet18").eval()
    assert net.final_layers is not None
    with torch.no_grad():
        for index, head in enumerate(net.final_layers):
            head.get_parameter("bias").fill_(float(index + 1))
        vector = net(torch.rand(1, 3, 224, 224))[0]
    expected = [1.0] * 80 + [2.0] * 64 + [3.0] * 80 + [4.0] * 3 + [5.0] * 27 + [6.0] * 2 + [7.0]
    assert vector.tolist() == expected


def test_dlib_heads_speak_in_standard_deviations():
    net = _net("dlib").eval()
    assert net.final_layers is not None
    with torch.no_grad():
        for head in net.final_layers:
            head.get_parameter("bias").fill_(1.0)
        coefficients = LAYOUT.split(net(torch.rand(1, 3, 224, 224)))
    assert coefficients.angles_rad[0].tolist() == pytest.approx([0.2, 0.43, 0.14])
    assert coefficients.translation_dm[0].tolist() == pytest.approx([0.03, 0.06, 0.6])
    for block, sigma in (("identity", 1.0), ("expression", 0.65), ("texture", 0.9)):
        assert getattr(coefficients, block).unique().tolist() == pytest.approx([sigma])
    assert coefficients.gamma.unique().tolist() == pytest.approx([0.15])


def test_other_face_models_have_other_heads():
    layout = ParameterLayout(
        (ParameterBlock("identity", 100, "sigma"), ParameterBlock("translation_dm", 3, "dm"))
    )
    assert head_sizes(layout) == [100, 2, 1]
    net = ReconstructionNet(ReconstructionNetOptions(net_recon="dlib"), layout).eval()
    assert net(torch.rand(1, 3, 224, 224)).shape == (1, 103)


def test_one_last_linear_layer():
    net = _net("resnet18", use_last_fc=True).eval()
    assert not [name for name in net.state_dict() if name.startswith("final_layers")]
    assert net.state_dict()["backbone.fc.weight"].shape == (257, 512)
    assert torch.equal(net(torch.rand(1, 3, 224, 224)), torch.zeros(1, 257))
    with pytest.raises(ValueError, match=r"--use_last_fc.*resnet"):
        _net("dlib", use_last_fc=True)


def test_other_image_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 3, 224, 224\), got \(1, 3, 112, 112\)"):
        _net("resnet18")(torch.rand(1, 3, 112, 112))


def test_parameter_groups_hold_every_learning_parameter_once_and_slow_the_trunk():
    for name, expected_rates in (("resnet18", [1e-3]), ("dlib", [1e-3, 3e-4])):
        net = _net(name)
        groups = net.parameter_groups(1e-3)
        assert [group["lr"] for group in groups] == pytest.approx(expected_rates)
        found = [id(parameter) for group in groups for parameter in group["params"]]
        learning = [p for p in net.parameters() if p.requires_grad]
        assert sorted(found) == sorted(id(parameter) for parameter in learning)
        torch.optim.AdamW(groups)
    trunk = net.backbone.get_submodule("trunk").parameters()
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in trunk if p.requires_grad}


@pytest.mark.parametrize("name", ["resnet18", "dlib"])
def test_every_parameter_learns(name: str):
    torch.manual_seed(0)
    net = _net(name)
    optimizer = torch.optim.AdamW(net.parameter_groups(1e-3))
    images, target = torch.rand(4, 3, 224, 224), torch.randn(4, 257)
    errors = []
    # The zero heads let no gradient into the backbone in the first step.
    for _ in range(6):
        optimizer.zero_grad()
        error = (net(images) - target).square().mean()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert errors[-1] < errors[0]
    learning = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    dead = [n for n, p in learning if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_channels_last_and_bfloat16_stay_close():
    torch.manual_seed(0)
    net = _random_dlib_net()
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = net(images)
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        images = images.contiguous(memory_format=torch.channels_last)
        last = net(images)
        places = net.predict(images).keypoints_px
        with torch.autocast("cpu", torch.bfloat16):
            output = net.predict(images)
    reduced = output.coefficients
    assert places is not None and output.keypoints_px is not None
    assert output.keypoints_px.dtype == torch.float32
    assert (output.keypoints_px - places).abs().mean() < 0.3
    assert last.dtype == reduced.dtype == torch.float32
    assert torch.allclose(last, expected, atol=1e-5)
    assert (reduced - expected).abs().max() < 0.03 * expected.abs().max()
    assert not torch.equal(reduced, reduced.bfloat16().float())


def test_only_the_dlib_backbone_locates_keypoints():
    images = torch.rand(1, 3, 224, 224)
    output = _random_dlib_net().predict(images)
    assert output.keypoints_px is not None
    assert output.keypoints_px.shape == (1, 68, 2)
    assert _net("resnet18").eval().predict(images).keypoints_px is None


def test_dlib_trunk_sees_the_centre_of_the_crop():
    """The outer 12 px do not matter, the ring inside does."""
    net = _random_dlib_net()
    images = torch.rand(1, 3, 224, 224)
    framed, touched = images.clone(), images.clone()
    framed[:, :, :12], framed[:, :, -12:], framed[..., :12], framed[..., -12:] = 0, 0, 0, 0
    touched[:, :, 12:20] = 0
    with torch.no_grad():
        assert torch.equal(net(framed), net(images))
        assert not torch.equal(net(touched), net(images))


def test_initial_weights_are_loaded_into_the_backbone():
    options = ReconstructionNetOptions(net_recon="dlib")
    state = {f"trunk.{name}": tensor for name, tensor in DlibTrunk(10).state_dict().items()}
    net = create_reconstruction_net(options, LAYOUT, state)
    assert pretrained_names(net.backbone) == list(state)
    loaded = net.backbone.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert torch.equal(net.eval()(torch.rand(1, 3, 224, 224)), torch.zeros(1, 257))


def test_initial_weights_of_another_network_are_refused():
    options = ReconstructionNetOptions(net_recon="resnet18")
    backbone = RECONSTRUCTION_NETS["resnet34"](None)
    with pytest.raises(ValueError, match=r"--net_recon resnet18"):
        create_reconstruction_net(options, LAYOUT, backbone.state_dict())
    wrong = {**RECONSTRUCTION_NETS["resnet18"](None).state_dict(), "conv1.weight": torch.ones(2)}
    with pytest.raises(ValueError, match=r"conv1.weight is \(2,\)"):
        create_reconstruction_net(options, LAYOUT, wrong)
