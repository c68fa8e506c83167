"""Pictures of a training: few, spread over time, and none of what a resume does again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from util.training.run_pictures import FACES, MOST_PICTURES, RunPictures


def test_the_first_faces_lie_below_each_other(tmp_path: Path):
    shelf = RunPictures(tmp_path)
    faces = torch.stack([torch.full((3, 16, 48), value) for value in (0.0, 0.25, 0.5, 0.75, 1.0)])
    shelf.add("val", 12, faces)
    (step, path), *others = shelf.of("val").items()
    assert step == 12 and not others and not shelf.of("train")
    picture = np.asarray(Image.open(path)).astype(int)
    assert picture.shape == (16 * FACES, 48, 3)
    np.testing.assert_allclose(picture[8::16, 5, 0], [0, 64, 128, 191], atol=3)


def test_they_stay_few_and_spread(tmp_path: Path):
    shelf = RunPictures(tmp_path)
    steps = [10 * n for n in range(1, 3 * MOST_PICTURES)]
    for step in steps:
        shelf.add("train", step, torch.zeros(1, 3, 4, 4))
    kept = list(shelf.of("train"))
    assert len(kept) == MOST_PICTURES and kept[0] == steps[0] and kept[-1] == steps[-1]
    assert max(np.diff(kept)) <= 8 * min(np.diff(kept))


def test_a_resumed_run_makes_the_later_ones_again(tmp_path: Path):
    shelf = RunPictures(tmp_path)
    shelf.forget_after(0)  # before there is a folder
    for step in (5, 10, 15):
        shelf.add("val", step, torch.zeros(1, 3, 4, 4))
    (tmp_path / "pictures" / "mine.jpg").write_bytes(b"")
    shelf.forget_after(10)
    assert list(shelf.of("val")) == [5, 10]
    assert (tmp_path / "pictures" / "mine.jpg").exists()
