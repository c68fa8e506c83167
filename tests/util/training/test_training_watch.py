"""Warnings of a training that goes wrong: when, once, and never of a good one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from util.training.training_watch import REPEAT, WINDOW, Signs, TrainingWatch


def said(watch: TrainingWatch, signs: list[Signs]) -> list[tuple[int, str]]:
    """(look, text) of every warning."""
    return [(n, text) for n, sign in enumerate(signs) for text in watch.look(sign)]


def test_a_good_training_is_not_warned_of():
    """Losses fall from their usual start to their usual end, with the noise of batches."""
    random = np.random.default_rng(0)
    signs = []
    for n in range(10 * WINDOW):
        fall, noise = math.exp(-n / (2 * WINDOW)), random.normal(1, 0.1)
        signs.append(
            Signs(
                mask_share=0.22 * noise,
                landmark_px2=(8 + 200 * fall) * noise,
                identity=(0.5 + 0.5 * fall) * noise,
                beyond_3_sigma={"identity": 0.003 * noise, "texture": 0.01 * noise},
            )
        )
    assert said(TrainingWatch(), signs) == []


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        (Signs(mask_share=0.004), "covers 0.4% of the picture"),
        (Signs(beyond_3_sigma={"expression": 0.12}), "12% of the expression coefficients"),
    ],
)
def test_what_one_look_shows_is_said_once_in_a_while(sign: Signs, words: str):
    found = said(TrainingWatch(), [sign] * (2 * REPEAT + 1))
    assert [look for look, _ in found] == [0, REPEAT, 2 * REPEAT]
    assert all(words in text and "\n" not in text for _, text in found)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("landmark_px2", 45.0, "landmark loss stands still at 45 px"),
        ("identity", 1.0, "identity loss stands still at 100% of the distance of strangers"),
    ],
)
def test_a_loss_that_stands_still_is_named(field: str, value: float, words: str):
    random = np.random.default_rng(1)
    noisy = [replace(Signs(), **{field: value * random.normal(1, 0.05)}) for _ in range(8 * WINDOW)]
    found = said(TrainingWatch(), noisy)
    assert len(found) == 1  # not again for REPEAT looks
    # Two windows make a comparison; noise may hide it from one or two.
    assert 2 * WINDOW - 1 <= found[0][0] < 5 * WINDOW
    assert words in found[0][1]


def test_a_loss_that_stands_still_where_it_should_is_not():
    still = [Signs(landmark_px2=6.0, identity=0.5)] * (5 * WINDOW)
    assert said(TrainingWatch(), still) == []


def test_several_things_are_several_lines():
    signs = Signs(mask_share=0.0, beyond_3_sigma={"identity": 0.5, "texture": 0.5})
    assert len(TrainingWatch().look(signs)) == 3
    assert TrainingWatch().look(Signs()) == []
