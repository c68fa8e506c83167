"""What OPEN_MODEL.md says about the committed model is so, and its example runs."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.io import savemat

from models.face_model import FaceModelData
from options.face_options import FaceModelOptions, FaceRegion
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
    # Of somebody who smiles on the photo already.
    names = list(open_face_data.unit_names)
    smiles = [names.index("mouthSmileLeft"), names.index("mouthSmileRight")]
    coefficients["exp"] += 0.5 * open_face_data.unit_matrix[smiles].sum(axis=0)
    savemat("face.mat", {key: row.astype(np.float32) for key, row in coefficients.items()})
    found: dict = {}
    exec(compile(example[0], "OPEN_MODEL.md", "exec"), found)
    frames = [trimesh.load_mesh(f"frame_{k}.obj", process=False).vertices for k in range(11)]
    assert not (tmp_path / "frame_11.obj").exists()

    # It starts from the photo's own expression, and moves in small steps.
    identity, expression = (torch.from_numpy(coefficients[key]).float() for key in ("id", "exp"))
    photo = found["model"].shape(identity, expression)[0].numpy()
    assert np.abs(frames[0] - photo).max() < 1e-4
    steps = [np.linalg.norm(b - a, axis=1).max() for a, b in pairwise(frames)]
    assert max(steps) < 0.05
    # The corners of the mouth rise, but not as if the photo did not smile.
    corners = open_face_data.landmark_vertices[[48, 54], 0]
    assert (frames[5][corners, 1] > photo[corners, 1] + 0.005).all()
    assert min(steps[:5]) > 0.002  # in every frame of the smile
    own, strengths = found["own_strengths"], found["strengths"]
    assert float(own[smiles].min()) > 0.3 and float(strengths[:, smiles].max()) <= max(
        0.7, float(own[smiles].max())
    )
    assert torch.equal(strengths[0], own)
    # The lid goes as far as it does not close yet.
    blink = names.index("eyeBlinkLeft")
    moved = open_face_data.expression_basis @ open_face_data.unit_matrix[blink]
    count, part = len(open_face_data.mean_shape), float(strengths[-1, blink] - own[blink])
    assert strengths[-1, blink] == 1 and part > 0.5
    np.testing.assert_allclose((frames[10] - frames[5])[:count], part * moved, atol=1e-3)


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
