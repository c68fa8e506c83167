"""Every random generator goes on where it stood, through a file that holds no code."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from util.training.checkpoint import load_checkpoint, save_checkpoint
from util.training.random_state import random_state, seed_everything, set_random_state


def draw() -> list[float]:
    """Numbers of every kind, an odd count of normal ones: generators keep the second of a pair."""
    return [
        *torch.rand(3).tolist(),
        float(torch.randn(1)),
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),  # noqa: NPY002
        np.random.randn(),  # noqa: NPY002
    ]


def test_all_generators_go_on_where_they_stood(tmp_path: Path):
    draw()
    save_checkpoint(tmp_path / "epoch_1.pth", {"net_a": {}, "random": random_state()})
    expected = draw()
    seed_everything(99)
    assert draw() != expected
    set_random_state(load_checkpoint(tmp_path / "epoch_1.pth", ("net_a",))["random"])
    assert draw() == expected


def test_a_seed_starts_all_of_them():
    seed_everything(7)
    first = draw()
    seed_everything(8)
    other = draw()
    seed_everything(7)
    assert draw() == first
    assert all(a != b for a, b in zip(first, other, strict=True))
    seed_everything(2**40)  # numpy's global generator takes 32 bits only


def test_what_a_state_does_not_name_stays():
    before = random_state()
    set_random_state({"torch": torch.random.get_rng_state()})
    assert draw() is not None
    set_random_state(before)
