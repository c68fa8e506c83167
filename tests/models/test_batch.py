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


def test_it_cannot_be_changed():
    batch = FaceBatch(torch.zeros(1, 3, 4, 4), ("a",))
    with pytest.raises(FrozenInstanceError):
        batch.paths = ()  # pyright: ignore[reportAttributeAccessIssue]


def test_wrong_shapes_are_refused():
    with pytest.raises(Exception, match="landmarks_px"):
        FaceBatch(torch.zeros(1, 3, 4, 4), ("a",), landmarks_px=torch.zeros(1, 68, 3))
    with pytest.raises(Exception, match="skin_mask"):
        FaceBatch(torch.zeros(2, 3, 4, 4), ("a", "b"), skin_mask=torch.zeros(1, 1, 4, 4))
