"""Errors of trained networks: none for one that knows the truth, the mean face's for the mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.data_preparation import write_photos
from benchmarks.reconstruction import save_untrained
from benchmarks.trained_networks import (
    Heads,
    TrainedOptions,
    main,
    mean_face,
    on_heads,
    photograph,
    render_batch,
    surface_error_mm,
    variation_mm,
)
from models.batch import FaceBatch
from models.face_model import FaceModel, FaceModelData
from models.parameters import Coefficients
from util.assets import OPEN_FACE_MODEL
from util.errors import InputError
from util.evaluation.head_correspondence import corresponding_points, frontal_area
from util.model_files.face_model_file import read_face_model
from util.model_files.face_transfer import mean_landmarks

SEED = 3
SLIDING_MM = 0.12
"""What a model that is fitted to its own mean may slide along it."""


@pytest.fixture(scope="module")
def coarse() -> FaceModelData:
    return read_face_model(OPEN_FACE_MODEL, 0)


@pytest.fixture(scope="module")
def heads(coarse: FaceModelData) -> Heads:
    return photograph(coarse, coarse, 3, SEED)


def true_coefficients(data: FaceModelData, heads: Heads) -> Coefficients:
    flat = np.stack([render.coefficients for render in heads.renders])
    return FaceModel(data).layout.split(torch.from_numpy(flat))


def test_the_truth_has_no_error(coarse: FaceModelData, heads: Heads):
    found = on_heads(coarse, lambda _: true_coefficients(coarse, heads), heads)
    np.testing.assert_allclose(found.rigid_mm, 0, atol=SLIDING_MM)
    np.testing.assert_allclose(found.scaled_mm, 0, atol=SLIDING_MM)
    # Some points of the compared area lie a little beyond the region in front.
    np.testing.assert_allclose(found.surface_mm, 0, atol=0.12)
    np.testing.assert_allclose(found.inner, 0, atol=1e-4)


def test_the_mean_face_is_as_far_as_the_heads_differ_from_it(coarse: FaceModelData, heads: Heads):
    layout = FaceModel(coarse).layout
    found = on_heads(coarse, lambda batch: layout.zeros(len(batch)), heads)
    mean = coarse.mean_shape[heads.vertices]
    unaligned = 100 * np.linalg.norm(heads.points - mean, axis=2).mean(axis=1)
    # Alignment makes squares least, so that mean distances may grow by a hair.
    assert (found.scaled_mm < found.rigid_mm).all() and (found.rigid_mm < 1.01 * unaligned).all()
    # Points may slide along the surface; people differ by millimetres.
    assert (found.surface_mm < found.scaled_mm).all() and (found.surface_mm > 0.3).all()


def test_expression_and_pose_are_no_part_of_the_face(coarse: FaceModelData, heads: Heads):
    true = true_coefficients(coarse, heads)
    other = replace(true, expression=-true.expression, angles_rad=true.angles_rad + 0.3)
    found = on_heads(coarse, lambda _: other, heads)
    np.testing.assert_allclose(found.rigid_mm, 0, atol=SLIDING_MM)
    assert (found.inner > 0.05).all()


def test_points_follow_the_other_models_surface(coarse: FaceModelData, heads: Heads):
    random = np.random.default_rng(0)
    identity = random.normal(size=(2, coarse.identity_basis.shape[2]))
    shapes = coarse.mean_shape + np.einsum("vdk,nk->nvd", coarse.identity_basis, identity)
    area = frontal_area(coarse, coarse)
    found = corresponding_points(coarse, coarse, area, heads.vertices, shapes)
    np.testing.assert_allclose(found, shapes[:, heads.vertices], atol=4e-3)


def test_size_and_place_of_a_head_do_not_count_for_its_surface(coarse: FaceModelData):
    skin = ~coarse.regions["eyeballs"][coarse.front_triangles].any(axis=1)
    vertices = np.unique(coarse.front_triangles[skin])
    mean = coarse.mean_shape.astype(np.float64)
    turn = np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]])
    surface = 1.04 * mean[vertices] @ turn + [0.3, -1, 2]
    landmarks = 1.04 * mean_landmarks(coarse) @ turn + [0.3, -1, 2]
    assert surface_error_mm(coarse, mean, surface, landmarks) == pytest.approx(0, abs=0.02)


def test_the_mean_face_takes_its_pose_from_the_landmarks(coarse: FaceModelData, heads: Heads):
    model = FaceModel(coarse)
    batch: FaceBatch = render_batch(heads.renders)
    posed = mean_face(model, batch)
    assert not posed.identity.any() and not posed.expression.any()
    true = true_coefficients(coarse, heads)
    apart = (posed.angles_rad - true.angles_rad).abs().max(dim=1).values
    assert float(apart.median()) < 0.2
    assert float((posed.translation_dm - true.translation_dm)[:, :2].abs().max()) < 0.2


def test_variation_is_the_deviation_from_the_mean_whatever_size_and_pose():
    random = np.random.default_rng(0)
    mean = random.normal(size=(300, 3))
    turn = np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]])
    noise = 0.01 * random.normal(size=(40, 300, 3))
    people = [(1 + 0.1 * k) * (mean + one) @ turn + k for k, one in enumerate(noise[:20])]
    people += [mean + one for one in noise[20:]]
    # The mean length of a normal vector in space; sizes are those of the first one.
    expected = 100 * 0.01 * np.sqrt(8 / np.pi)
    assert variation_mm(np.stack(people)) == pytest.approx(expected, rel=0.05)


def test_a_run_from_its_checkpoint_to_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs, photos = tmp_path / "runs", str(tmp_path / "photos")
    save_untrained(runs, "dlib", "--face_model", "open@0")
    write_photos(Path(photos), 2)
    line = ["--checkpoints_dir", str(runs), "--bfm_folder", str(tmp_path)]
    main([*line, "--runs", "dlib", "--photos", photos])
    shown = capsys.readouterr().out
    assert "heads: left out" in shown and "2 photos" in shown
    rows = {text.split("  ")[0]: text.split()[-6:] for text in shown.splitlines()[-2:]}
    assert rows.keys() == {"mean face", "dlib"}
    # An untrained network predicts the mean face in the middle of the crop, unturned.
    assert float(rows["mean face"][0]) < float(rows["dlib"][0]) < 40
    for more, message in (
        (["--runs", "nope", "--photos", photos], "--runs nope: there is no such run .* has dlib$"),
        (["--runs", "dlib"], "nothing to measure on"),
        (["--runs", "dlib", "--photos", f"{photos}_no"], "--photos .*no"),
    ):
        with pytest.raises(InputError, match=message):
            main([*line, *more])


@pytest.mark.parametrize(
    ("values", "message"),
    [({}, "--runs is empty"), ({"runs": ("a",), "heads": -1}, "--heads is -1")],
)
def test_nothing_to_compare_is_refused(values: dict, message: str):
    with pytest.raises(InputError, match=message):
        TrainedOptions(**values)
