"""Landmark dots: centred on their pixel, cut at the border, the input untouched."""

from __future__ import annotations

import torch

from models.drawing import draw_landmarks

RED = (1.0, 0.0, 0.0)


def drawn_pixels(image: torch.Tensor) -> set[tuple[int, int]]:
    """(row, column) of every red pixel."""
    return {(int(r), int(c)) for r, c in (image[0] == 1).nonzero()}


def test_a_dot_is_centred_on_the_pixel_of_its_landmark():
    points = torch.tensor([[[4.5, 7.5]]])
    image = draw_landmarks(torch.zeros(1, 3, 12, 10), points, RED)[0]
    assert drawn_pixels(image) == {(r, c) for r in (6, 7, 8) for c in (3, 4, 5)}
    assert not image[1:].any()


def test_any_point_of_a_pixel_draws_the_same_dot():
    low = draw_landmarks(torch.zeros(1, 3, 9, 9), torch.tensor([[[4.0, 4.0]]]), RED)
    high = draw_landmarks(torch.zeros(1, 3, 9, 9), torch.tensor([[[4.99, 4.99]]]), RED)
    assert torch.equal(low, high)


def test_radius_zero_is_one_pixel():
    image = draw_landmarks(torch.zeros(1, 3, 9, 9), torch.tensor([[[2.2, 3.9]]]), RED, radius=0)
    assert drawn_pixels(image[0]) == {(3, 2)}


def test_dots_at_the_border_are_cut_not_wrapped():
    points = torch.tensor([[[0.5, 0.5], [9.9, 5.0]]])
    image = draw_landmarks(torch.zeros(1, 3, 8, 10), points, RED)[0]
    assert drawn_pixels(image) == {(0, 0), (0, 1), (1, 0), (1, 1)} | {
        (r, c) for r in (4, 5, 6) for c in (8, 9)
    }


def test_landmarks_far_outside_draw_nothing():
    points = torch.tensor([[[-50.0, 4.0], [4.0, 1e6], [float("inf"), 0.0]]])
    assert not draw_landmarks(torch.zeros(1, 3, 8, 8), points, RED).any()


def test_items_are_drawn_apart_and_the_input_stays():
    images = torch.zeros(2, 3, 9, 9)
    points = torch.tensor([[[2.5, 2.5]], [[6.5, 6.5]]])
    result = draw_landmarks(images, points, (0.25, 0.5, 0.75), radius=0)
    assert not images.any()
    assert result[0, :, 2, 2].tolist() == [0.25, 0.5, 0.75]
    assert result[1, :, 6, 6].tolist() == [0.25, 0.5, 0.75]
    assert (result > 0).sum() == 6
