"""The figures of fitting come out of a small run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import fitting
from options.face_options import FaceModelOptions
from util.assets import load_face_model
from util.errors import InputError
from util.studio import Render


@pytest.mark.slow  # fits with all presets
def test_tables_of_renders(capsys: pytest.CaptureFixture[str]):
    argv = ["--renders", "2", "--hidden", "1", "--heads", "0", "--people", "0"]
    fitting.main([*argv, "--face_model", "open@0"])
    printed = capsys.readouterr().out
    inner = {
        row[0].strip(): float(row[1])
        for row in re.findall(r"^([a-z][a-z, ]+?)\s+(\d+\.\d+) \(", printed, re.M)
    }
    assert {"detector", "mean face", "landmarks", "fast", "balanced", "best"} <= inner.keys()
    assert inner["balanced"] < inner["mean face"]
    assert {"nothing hidden", "bar over the eyes", "face mask", "full beard"} <= inner.keys()


def test_heads_that_are_not_there_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    argv = ["--renders", "0", "--hidden", "0", "--people", "0", "--face_model", "open@0"]
    fitting.main([*argv, "--bfm_folder", str(tmp_path)])
    assert "heads: left out, " in capsys.readouterr().out


def test_what_hides_a_face_lies_on_it():
    points = np.random.default_rng(0).uniform(60, 160, (68, 2))
    render = Render(np.full((224, 224, 3), 250, np.uint8), np.zeros(1), points, np.ones(68, bool))
    hidden = fitting._hidden(render, np.random.default_rng(1), bar=False)
    changed = (hidden.picture != 250).all(axis=2)
    assert 0.12 < changed.sum() / np.ptp(points, axis=0).prod() < 0.25
    rows, columns = np.nonzero(changed)
    assert columns.min() >= 59 and columns.max() <= 161 and rows.min() >= 59
    assert (render.picture == 250).all()


@pytest.mark.parametrize("draw", [fitting._masked, fitting._bearded])
def test_masks_and_beards_hide_the_chin_and_leave_the_eyes(draw: Callable[..., Render]):
    chin, nose, eye = (112, 170), (112, 112), (85, 95)
    angle = np.linspace(0, np.pi, 17)
    points = np.full((68, 2), nose, float)
    points[:17] = np.stack([112 - 60 * np.cos(angle), 100 + 75 * np.sin(angle)], axis=1)
    points[28] = (112, 105)
    points[31], points[35], points[50], points[52] = (105, 118), (119, 118), (108, 135), (116, 135)
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points[48:60] = np.stack([112 - 18 * np.cos(around), 142 - 7 * np.sin(around)], axis=1)
    grey = np.full((224, 224, 3), 200, np.uint8)
    render = Render(grey, np.zeros(1), points, np.ones(68, bool))
    changed = (draw(render, np.random.default_rng(0)).picture != 200).any(axis=2)
    assert changed[chin[::-1]]
    assert not changed[eye[::-1]]
    assert changed[142, 112] == (draw is fitting._masked), "lips show in a beard"
    assert not changed[:, :50].any() and not changed[:, 174:].any()


def test_gaze_is_that_of_the_named_units():
    """Straight ahead is 0; to the left and to the right differ by the sign."""
    model = load_face_model(FaceModelOptions("open@0"))
    out = model.units({"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5})
    back = model.units({"eyeLookInLeft": 0.5, "eyeLookOutRight": 0.5})
    faces = replace(model.layout.zeros(3), expression=torch.cat([torch.zeros_like(out), out, back]))
    gaze = fitting._gaze(model, faces)
    assert gaze is not None
    ahead, one, other = torch.rad2deg(gaze).tolist()
    assert abs(ahead) < 1 and one * other < 0
    assert 5 < abs(one) < 40 and one == pytest.approx(-other, abs=3)
    model.regions.pop("iris")
    assert fitting._gaze(model, faces) is None


def test_openings_are_gaps_over_the_width_of_the_eyes():
    points = torch.zeros(1, 68, 2)
    points[0, 36:48, 0] = torch.tensor([0.0, 8, 16, 24, 16, 8, 56, 64, 72, 80, 72, 64])
    points[0, [40, 41, 46, 47], 1] = 4.0
    assert fitting._opening(points) == pytest.approx(4 / 80)
    wider = points.clone()
    wider[0, [40, 41, 46, 47], 1] = 5.0
    assert fitting._eyes_wider(wider, points) == pytest.approx(25)


def test_counts_below_none_are_refused():
    with pytest.raises(InputError, match="--people is -1"):
        fitting.main(["--people", "-1"])
