"""Exported files: every format computes the same, and one that does not is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from util import export_file
from util.errors import InputError
from util.export_file import (
    ENDINGS,
    ParityError,
    compare,
    landmark_change_px,
    load_onnx,
    quantise,
    smooth_images,
    write_export,
)

SIDE = 16


class Little(nn.Module):
    """Two outputs of a convolution; says what exported networks say."""

    outputs = ("parameters", "landmarks")
    image_px = SIDE

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 8, 3, stride=2)
        self.head = nn.Linear(8, 6)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.convolution(images).relu().mean(dim=(2, 3))
        parameters = self.head(features)
        return parameters, 40 * parameters.reshape(-1, 2, 3)

    def meaning(self) -> dict[str, Any]:
        return {"image_px": SIDE}


@pytest.fixture
def net() -> nn.Module:
    return Little().eval().requires_grad_(False)


@pytest.mark.parametrize("form", ["torchscript", "torch_export", "onnx"])
def test_a_file_computes_the_same(tmp_path: Path, net: nn.Module, form: str):
    if form == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    path = tmp_path / "new" / f"net{ENDINGS[form]}"
    images = smooth_images(4, SIDE)
    found = write_export(net, path, form, images)
    assert [parity.name for parity in found] == ["parameters", "landmarks"]
    assert all(parity.relative < 1e-5 for parity in found)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    if form == "onnx":
        # Any batch size, and what the file says about itself.
        expected = net(images)[1].numpy()
        np.testing.assert_allclose(load_onnx(path)(images.numpy())[1], expected, atol=1e-5)
        import onnxruntime

        meta = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
        assert meta["face3d"] == '{"image_px": 16}'
        quantise(path, tmp_path / "small.onnx")
        change = landmark_change_px(
            load_onnx(path), load_onnx(tmp_path / "small.onnx"), images.numpy()
        )
        assert change.shape == (4,) and 0 < change.max() < 2


def test_a_file_that_differs_is_not_kept(
    tmp_path: Path, net: nn.Module, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "net.pt"
    path.write_bytes(b"an earlier one")
    load = export_file.load_script

    def broken(file: Path):
        run = load(file)
        return lambda images: [out + (0.01 if k else 0) for k, out in enumerate(run(images))]

    monkeypatch.setattr(export_file, "load_script", broken)
    with pytest.raises(ParityError, match=r"landmarks differs from PyTorch's by 0.01.*not kept"):
        write_export(net, path, "torchscript", smooth_images(3, SIDE))
    assert path.read_bytes() == b"an earlier one"
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt"]


def test_numbers_that_are_not_finite_are_no_parity(net: nn.Module):
    def run(images: np.ndarray) -> list[np.ndarray]:
        return [np.full((len(images), 6), np.nan), np.zeros((len(images), 2, 3))]

    found = compare(net, run, smooth_images(3, SIDE))
    assert found[0].relative == np.inf
    with pytest.raises(ParityError):
        export_file.check(found, Path("a.onnx"))


def test_a_batch_that_is_not_dynamic_is_seen(net: nn.Module):
    def run(images: np.ndarray) -> list[np.ndarray]:
        return [np.zeros((1, 6)), np.zeros((1, 2, 3))]

    with pytest.raises(ParityError, match=r"\(1, 6\) for 3 images"):
        compare(net, run, smooth_images(3, SIDE))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(export_file.importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"needs the package onnx .*\[export\]"):
        write_export(nn.Identity(), Path("a.onnx"), "onnx", torch.zeros(3, 3, 4, 4))


def test_smooth_images_are_pictures():
    images = smooth_images(5, 32)
    assert images.shape == (5, 3, 32, 32) and images.min() >= 0 and images.max() <= 1
    assert not torch.equal(images[0], images[1])
