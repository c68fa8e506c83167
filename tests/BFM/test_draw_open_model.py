"""The pictures of the model card: drawn by `python -m BFM.draw_open_model`, and up to date."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from BFM import draw_open_model
from BFM.draw_open_model import FACE, PAPER, SHEETS, View, jpeg, studio
from util.errors import InputError

pytestmark = pytest.mark.xdist_group("draw_open_model")

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "BFM" / "OPEN_MODEL.md"
CELLS = {
    "open_model_mean": (5, 1, 300),
    "open_model_identity": (6, 2, 200),
    "open_model_texture": (6, 2, 200),
    "open_model_people": (7, 3, 170),
    "open_model_units": (9, 6, 132),
    "open_model_levels": (3, 2, 300),
}
"""Columns, rows and the side of a picture in pixels."""
TINY = 0.2


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "new folder"
    draw_open_model.main(["--output", str(folder), "--scale", str(TINY)])
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "JPEG" and picture.mode == "RGB"
        return np.asarray(picture, dtype=float) / 255


@pytest.mark.parametrize("name", SHEETS)
def test_every_sheet_has_its_pictures(tiny: Path, name: str):
    columns, rows, side = CELLS[name]
    side = round(TINY * side)
    sheet = pixels(tiny / f"{name}.jpg")
    height, width = sheet.shape[:2]
    assert columns * side <= width <= columns * (side + 4)
    assert rows * side <= height <= rows * (side + 16)
    for row in range(rows):
        for column in range(columns):
            top, left = row * height // rows, column * width // columns
            cell = sheet[top : top + side, left : left + side]
            empty = name == "open_model_units" and row * columns + column >= 52
            assert (cell.std() > 0.05) != empty, (name, row, column)


@pytest.mark.parametrize("name", SHEETS)
def test_the_committed_sheets_show_the_committed_model(tiny: Path, name: str):
    columns, rows, side = CELLS[name]
    committed = ROOT / "docs" / "images" / f"{name}.jpg"
    small = round(TINY * side)
    first = pixels(tiny / f"{name}.jpg")[:small, :small]
    with Image.open(committed) as picture:
        assert picture.width > columns * side and picture.height > rows * side - 3
        cell = picture.crop((0, 0, side, side)).resize((small, small), Image.Resampling.BOX)
    assert np.abs(np.asarray(cell) / 255 - first).mean() < 0.03


def test_committed_sheets_are_small_and_linked():
    text = CARD.read_text(encoding="utf-8")
    links = dict(re.findall(r"!\[([^\]]{20,})\]\((?:\.\./docs/images/)(\w+)\.jpg\)", text))
    assert sorted(links.values()) == sorted(SHEETS)
    sizes = [(ROOT / "docs" / "images" / f"{name}.jpg").stat().st_size for name in SHEETS]
    assert max(sizes) <= 150_000 and sum(sizes) <= 600_000


def test_people_differ_and_one_person_does_not():
    draw = studio().portrait
    people = [torch.randn(1, 80, generator=torch.Generator().manual_seed(k)) for k in (0, 1)]
    first, second = (draw(FACE, 48, identity=k) for k in people)
    assert np.array_equal(first, draw(FACE, 48, identity=people[0]))
    assert np.abs(first - second).mean() > 0.02
    coloured = draw(FACE, 48, identity=people[0], texture=people[1])
    assert np.array_equal(coloured == np.float32(PAPER), first == np.float32(PAPER))
    assert np.abs(coloured - first).mean() > 0.02


def test_numbered_coefficients_are_those_of_a_row():
    row = torch.zeros(1, 80)
    row[0, 3] = 2
    draw = studio().portrait
    assert np.array_equal(draw(FACE, 40, {3: 2.0}), draw(FACE, 40, row))
    assert np.array_equal(draw(FACE, 40, texture={}), draw(FACE, 40))


def test_a_blink_changes_the_persons_left_eye_alone():
    neutral, blink = (
        studio().portrait(View(1.6), 64, units=units) for units in ({}, {"eyeBlinkLeft": 1.0})
    )
    changed = np.abs(blink - neutral).max(axis=2) > 0.05
    rows, columns = np.nonzero(changed)
    assert len(rows) > 10
    assert columns.min() > 32 and rows.max() < 32


def test_a_view_shows_its_square():
    camera = View(0.5, (0.2, -0.3)).camera(90)
    points = torch.tensor([[[0.2, -0.3, 0.0], [0.45, -0.05, 0.0]]])
    found = camera.project(camera.from_object(points))[0]
    torch.testing.assert_close(found, torch.tensor([[45.0, 45.0], [90.0, 0.0]]))


def test_finer_levels_have_more_edges():
    shares = []
    for level in (0, 1, 2):
        picture = studio("face", level).wireframe(draw_open_model.MOUTH, 120)
        # Lines are blue, the clay between them is grey.
        shares.append((picture[..., 2] - picture[..., 0]).mean())
    assert 0.001 < shares[0] < 0.7 * shares[1] and shares[1] < 0.8 * shares[2]


def test_the_best_quality_that_fits_is_taken():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    best, smaller = jpeg(picture, 10**6), jpeg(picture, 3000)
    assert len(smaller) <= 3000 < len(best)
    assert Image.open(io.BytesIO(smaller)).size == (64, 64)


def test_wrong_flags_are_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--output .*file is a file"):
        draw_open_model.main(["--output", str(tmp_path / "file")])
    with pytest.raises(ValueError, match=r"--scale is 0\.0"):
        draw_open_model.DrawOptions(scale=0.0)
