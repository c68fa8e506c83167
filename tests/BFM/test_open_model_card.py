"""What OPEN_MODEL.md says about the committed model is so, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from models.face_model import FaceModelData, FaceModelOptions, FaceRegion
from util.assets import OPEN_FACE_MODEL, read_chosen_face_model

FOLDER = Path(__file__).resolve().parents[2] / "BFM"
CARD = (FOLDER / "OPEN_MODEL.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.*$", CARD, re.M)
]


def test_the_example_animates_a_reconstruction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_face_data: FaceModelData
):
    example = re.findall(r"^```python\n(.*?)^```", CARD, re.S | re.M)
    assert len(example) == 1
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    sizes = {"id": 80, "exp": 64, "tex": 80}
    coefficients = {key: 0.3 * random.standard_normal((1, n)) for key, n in sizes.items()}
    savemat("face.mat", {key: row.astype(np.float32) for key, row in coefficients.items()})
    names: dict = {}
    exec(compile(example[0], "OPEN_MODEL.md", "exec"), names)

    def lines(frame: int) -> np.ndarray:
        text = (tmp_path / f"frame_{frame}.obj").read_text().splitlines()
        return np.array([line.split()[1:4] for line in text if line.startswith("v ")], float)

    smiling, open_eye, closed_eye = lines(0), lines(1), lines(5)
    assert not (tmp_path / "frame_6.obj").exists()
    assert len(smiling) == len(names["model"].mean_shape) // 3
    # The lid moves on this person as the unit says.
    unit = open_face_data.unit_matrix[open_face_data.unit_names.index("eyeBlinkLeft")]
    moved = open_face_data.expression_basis @ unit
    count = len(open_face_data.mean_shape)
    assert np.abs((closed_eye - open_eye)[:count] - moved).max() < 1e-3
    # The corners of the mouth rise.
    identity, expression = (torch.from_numpy(coefficients[key]).float() for key in ("id", "exp"))
    photo = names["model"].shape(identity, expression)[0].numpy()
    corners = open_face_data.landmark_vertices[[48, 54], 0]
    assert (smiling[corners, 1] > photo[corners, 1] + 0.03).all()


def test_the_table_of_units_is_the_models(open_face_data: FaceModelData):
    told = {
        name: float(row[2])
        for row in ROWS
        if len(row) == 3 and re.fullmatch(r"\d+\.\d", row[2])
        for name in re.findall(r"`(\w+)`", row[0])
    }
    assert sorted(told) == sorted(open_face_data.unit_names)
    for name, row in zip(open_face_data.unit_names, open_face_data.unit_matrix, strict=True):
        motion_mm = 100 * np.linalg.norm(open_face_data.expression_basis @ row, axis=1).max()
        assert told[name] == pytest.approx(motion_mm, abs=0.06), name


@pytest.mark.parametrize("region", ["face", "head"])
def test_sizes_of_levels_are_the_models(region: FaceRegion):
    told = next(row[1:] for row in ROWS if row[0] == region and len(row) == 4)
    for name, text in zip(("open@0", "open", "open@2"), told, strict=True):
        data, _ = read_chosen_face_model(FaceModelOptions(face_model=name, face_region=region))
        assert text == f"{len(data.mean_shape):,} / {len(data.triangles):,}"


def test_facts_of_the_file():
    with np.load(OPEN_FACE_MODEL, allow_pickle=False) as file:
        assert f"# The open face model {file['version']}\n" in CARD
        assert f"stored on {len(file['control_mean_shape']):,} control points" in CARD
        assert f"For {len(file['contour_yaws_rad'])} yaws, every 3 degrees" in CARD
        assert f"`texture_*`: {len(file['texture_names'])} maps" in CARD
    assert f"{OPEN_FACE_MODEL.stat().st_size / 2**20:.1f} MiB, CC0" in CARD


def test_named_files_and_links_exist():
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", CARD):
        assert (FOLDER / link).exists(), link
    for name in re.findall(r"`(\w+\.py)`", CARD):
        assert any(
            (folder / name).is_file() for folder in (FOLDER, FOLDER / "open_model", FOLDER.parent)
        ), name
    for path in re.findall(r"`((?:models|util|BFM)/[\w./]*)`", CARD):
        assert (FOLDER.parent / path).exists(), path
