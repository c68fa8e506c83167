"""The batch that datasets hand to models."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from models.batch import FaceBatch


def test_length_is_the_number_of_images():
    assert len(FaceBatch(torch.zeros(3, 3, 4, 4), ("a", "b", "c"))) == 3


def test_to_moves_every_tensor_and_keeps_the_rest():
    batch = FaceBatch(
        torch.zeros(1, 3, 4, 4),
        ("a.png",),
        landmarks_px=torch.zeros(1, 68, 2),
        recognition_transforms=torch.zeros(1, 2, 3),
    )
    moved = batch.to("meta")
    assert moved.paths == ("a.png",)
    assert moved.images.device.type == "meta"
    assert moved.landmarks_px is not None and moved.landmarks_px.device.type == "meta"
    assert moved.recognition_transforms is not None
    assert moved.recognition_transforms.device.type == "meta"
    assert moved.skin_mask is None and moved.coefficients is None
    assert batch.images.device.type == "cpu"


def test_bytes_become_numbers_on_the_device():
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    batch = FaceBatch(every.expand(1, 3, 16, 16), ("a",), skin_mask=every).to("cpu")
    expected = torch.arange(256).float() / 255
    assert batch.skin_mask is not None
    assert torch.equal(batch.images[0, 2].flatten(), expected)
    assert torch.equal(batch.skin_mask.flatten(), expected)
    assert torch.equal(batch.to("cpu").images, batch.images)  # once


@pytest.mark.gpu
def test_bytes_become_the_same_numbers_on_a_gpu_from_pinned_memory():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    batch = FaceBatch(every.expand(1, 3, 16, 16).contiguous(), ("a",), skin_mask=every)
    pinned = batch.pin_memory()
    assert pinned.images.is_pinned() and pinned.skin_mask is not None
    assert pinned.skin_mask.is_pinned() and pinned.paths == ("a",)
    assert torch.equal(pinned.to("cuda").images.cpu(), batch.to("cpu").images)


def test_it_cannot_be_changed():
    batch = FaceBatch(torch.zeros(1, 3, 4, 4), ("a",))
    with pytest.raises(FrozenInstanceError):
        batch.paths = ()  # pyright: ignore[reportAttributeAccessIssue]


def test_wrong_shapes_are_refused():
    with pytest.raises(Exception, match="landmarks_px"):
        FaceBatch(torch.zeros(1, 3, 4, 4), ("a",), landmarks_px=torch.zeros(1, 68, 3))
    with pytest.raises(Exception, match="skin_mask"):
        FaceBatch(torch.zeros(2, 3, 4, 4), ("a", "b"), skin_mask=torch.zeros(1, 1, 4, 4))
