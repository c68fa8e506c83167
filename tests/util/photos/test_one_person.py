"""Strangers are told by the median distance of a face from the others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.networks.recognition import RecognitionNet
from util.photos.one_person import STRANGER_DISTANCE, OnePersonCheck, stranger_warning


class Brightness(RecognitionNet):
    """Faces of one brightness are one person."""

    def __init__(self) -> None:
        points = ((3.0, 3.0), (7.0, 3.0), (5.0, 5.0), (4.0, 7.0), (6.0, 7.0))
        super().__init__(torch.nn.Identity(), points, 10)

    def embed(self, faces: Tensor) -> Tensor:
        return faces.mean(dim=(2, 3))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        return 10 * (a - b).norm(dim=-1)


def photos(levels: list[float]) -> tuple[Tensor, Tensor]:
    images = torch.tensor(levels)[:, None, None, None].expand(-1, 3, 40, 40).contiguous()
    points = torch.rand(68, 2) * 2 + 20
    for number, place in {36: (14, 14), 39: (14, 14), 42: (26, 14), 45: (26, 14)}.items():
        points[number] = torch.tensor(place)
    for number, place in {30: (20, 20), 48: (16, 26), 54: (24, 26)}.items():
        points[number] = torch.tensor(place)
    return images, points.expand(len(levels), -1, -1)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0.5, 0.5], [False, False]),
        ([0.3, 0.6], [True, True]),  # which of two is wrong, nobody knows
        ([0.5, 0.51, 0.52, 0.9], [False, False, False, True]),
        ([0.3, 0.3, 0.8, 0.8], [True, True, True, True]),
        ([0.5], [False]),
    ],
)
def test_those_far_from_most_others_are_strangers(levels: list[float], expected: list[bool]):
    check = OnePersonCheck(Brightness())
    images, points = photos(levels)
    every = check.distances(images, points)
    assert every.shape == (len(levels), len(levels))
    torch.testing.assert_close(every, every.T)
    assert not every.diagonal().any()
    found = check.strangers(images, points)
    assert [distance is not None for distance in found] == expected
    assert all(distance is None or distance > STRANGER_DISTANCE for distance in found)


def test_dlibs_network_comes_with_the_dependencies():
    pytest.importorskip("face_recognition_models")
    images, points = photos([0.4, 0.4])
    assert OnePersonCheck().strangers(images, points) == [None, None]


def test_the_warning_says_what_the_number_means():
    assert "distance 0.83; of one person about 0.4" in stranger_warning(0.83)
