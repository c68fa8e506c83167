"""Recognition networks: frozen, aligned as OpenCV does, with the right distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from models.networks.dlib_resnet import DlibResNet
from models.networks.iresnet import create_iresnet
from models.networks.recognition import (
    ArcFaceRecognitionNet,
    DlibRecognitionNet,
    RecognitionNet,
)


@pytest.fixture(params=["dlib", "r18"])
def net(request: pytest.FixtureRequest) -> RecognitionNet:
    if request.param == "dlib":
        return DlibRecognitionNet(DlibResNet())
    return ArcFaceRecognitionNet(create_iresnet("r18"))


def _identity(batch: int = 1) -> torch.Tensor:
    return torch.eye(2, 3).repeat(batch, 1, 1)


def test_stays_frozen_whatever_is_called(net: RecognitionNet):
    parent = nn.Sequential(net)
    parent.train()
    net.train(True)
    assert not any(module.training for module in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net(torch.rand(2, 3, 224, 224), _identity(2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_knows_its_template_and_input(net: RecognitionNet):
    assert net.template.shape == (5, 2)
    assert net.input_size == (150 if isinstance(net, DlibRecognitionNet) else 112)
    left_eye, right_eye, nose, left_mouth, right_mouth = net.template.tolist()
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_eye[1] < nose[1] < left_mouth[1] < net.input_size
    assert left_mouth[0] < right_mouth[0]


def test_gradient_reaches_picture_and_transform(net: RecognitionNet):
    images = torch.rand(1, 3, 224, 224, requires_grad=True)
    transforms = torch.tensor([[[0.6, 0.05, 2.0], [-0.05, 0.6, 3.0]]], requires_grad=True)
    net(images, transforms)[:, 0].sum().backward()
    for leaf in (images, transforms):
        assert leaf.grad is not None and torch.isfinite(leaf.grad).all()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_same_picture_is_at_distance_zero(net: RecognitionNet):
    with torch.no_grad():
        embedding = net(torch.rand(3, 3, 200, 180), _identity(3))
    assert net.distance(embedding, embedding).shape == (3,)
    assert torch.allclose(net.distance(embedding, embedding), torch.zeros(3), atol=1e-6)


def test_distances_are_the_networks_own():
    a = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    b = torch.tensor([[0.0, 2.0], [6.0, 8.0]])
    dlib_net = DlibRecognitionNet(DlibResNet())
    arcface = ArcFaceRecognitionNet(create_iresnet("r18"))
    pad = nn.ConstantPad1d((0, 126), 0.0)
    assert dlib_net.distance(pad(a), pad(b)).tolist() == pytest.approx([math.sqrt(5), 5.0])
    pad = nn.ConstantPad1d((0, 510), 0.0)
    assert arcface.distance(pad(a), pad(b)).tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert arcface.distance(pad(a), -pad(a)).tolist() == pytest.approx([2.0, 2.0])


def test_euclidean_distance_has_a_finite_gradient_at_zero():
    net = DlibRecognitionNet(DlibResNet())
    a = torch.ones(1, 128, requires_grad=True)
    net.distance(a, a.detach()).sum().backward()
    assert a.grad is not None
    assert torch.equal(a.grad, torch.zeros(1, 128))


def test_arcface_sees_colours_from_minus_one_to_one():
    seen = []

    class Spy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x.flatten(1)[:, :512]

    net = ArcFaceRecognitionNet(create_iresnet("r18"))
    net.network = Spy()
    embedding = net(
        torch.tensor([0.0, 0.5, 1.0])[None, :, None, None].expand(1, 3, 112, 112), _identity()
    )
    assert seen[0][0, :, 50, 50].tolist() == pytest.approx([-1.0, 0.0, 1.0])
    assert float(embedding.norm()) == pytest.approx(1.0)


def _warp_by_index(image: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """Bilinear warp in pixel indices with zeros outside, as OpenCV defines it."""
    inverse = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))
    height, width, _ = image.shape
    out = np.zeros((size, size, 3))
    for row in range(size):
        for column in range(size):
            x, y, _ = inverse @ (column, row, 1.0)
            x0, y0 = math.floor(x), math.floor(y)
            for dy in (0, 1):
                for dx in (0, 1):
                    if 0 <= x0 + dx < width and 0 <= y0 + dy < height:
                        weight = (1 - abs(x - x0 - dx)) * (1 - abs(y - y0 - dy))
                        out[row, column] += weight * image[y0 + dy, x0 + dx]
    return out


def test_warp_counts_pixels_as_opencv_does():
    net = ArcFaceRecognitionNet(create_iresnet("r18"))
    image = np.random.default_rng(0).random((60, 80, 3))
    angle = 0.2
    transform = np.array(
        [
            [1.3 * math.cos(angle), -1.3 * math.sin(angle), 10.3],
            [1.3 * math.sin(angle), 1.3 * math.cos(angle), -4.7],
        ]
    )
    warped = net.align(
        torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(transform)[None]
    )
    expected = _warp_by_index(image, transform, 112)
    assert np.abs(warped[0].permute(1, 2, 0).numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1)])
def test_pictures_one_pixel_wide_are_warped_too(size: tuple[int, int]):
    net = ArcFaceRecognitionNet(create_iresnet("r18"))
    image = np.random.default_rng(0).random((*size, 3))
    transform = np.array([[20.0, 5.0, 30.0], [-5.0, 20.0, 40.0]])
    warped = net.align(
        torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(transform)[None]
    )
    expected = _warp_by_index(image, transform, 112)
    assert np.abs(warped[0].permute(1, 2, 0).numpy() - expected).max() < 1e-6


def test_landmarks_land_on_the_template():
    """A bright dot at an index goes to the template's point."""
    net = ArcFaceRecognitionNet(create_iresnet("r18"))
    images = torch.zeros(1, 3, 224, 224)
    images[:, :, 92, 70] = 1.0
    target = net.template[0]
    transforms = torch.tensor(
        [[[1.0, 0.0, float(target[0]) - 70], [0, 1.0, float(target[1]) - 92]]]
    )
    weights = net.align(images, transforms)[0, 0]
    rows, columns = torch.meshgrid(torch.arange(112.0), torch.arange(112.0), indexing="ij")
    centre = torch.stack([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
    assert torch.allclose(centre, target, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_embeds_as_the_cpu_does(net: RecognitionNet):
    images = torch.rand(2, 3, 224, 224)
    transforms = torch.tensor([[[0.6, 0.05, 2.0], [-0.05, 0.6, 3.0]]]).expand(2, -1, -1)
    here = net(images, transforms)
    there = net.to("cuda")(images.to("cuda"), transforms.to("cuda"))
    aligned = net.align(images.to("cuda"), transforms.to("cuda")).cpu()
    torch.testing.assert_close(aligned, net.cpu().align(images, transforms), rtol=0, atol=1e-4)
    # Its convolutions round to TF32.
    largest = float(here.abs().max())
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=0.02 * largest)
