"""Coefficients of heads: what they were drawn with comes back, whatever their points leave open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks import identity_calibration
from benchmarks.identity_calibration import (
    NOISE_DM,
    CalibrationOptions,
    main,
    population,
    random_heads,
    symmetric,
)
from models.face_model import FaceModelData
from util.assets import OPEN_FACE_MODEL
from util.errors import InputError
from util.model_files.face_model_file import read_face_model


@pytest.fixture(scope="module")
def coarse() -> FaceModelData:
    return read_face_model(OPEN_FACE_MODEL, 0)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_mean_and_deviation_come_back_through_motions_and_noise(random: np.random.Generator):
    mean = random.normal(size=(60, 3))
    basis = 0.1 * random.normal(size=(60, 3, 5))
    basis[..., 4] = 0  # nothing is known of it
    true_mean, true_sigma = np.array([1.0, -0.5, 0, 0]), np.array([0.5, 1.5, 1.0, 0.2])
    people = true_mean + true_sigma * random.normal(size=(400, 4))
    points = mean + np.einsum("pdk,nk->npd", basis[..., :4], people)
    points += NOISE_DM * random.normal(size=points.shape)
    turns = Rotation.from_rotvec(random.normal(0, 0.3, (400, 3))).as_matrix()
    points = np.einsum("nij,npj->npi", turns, points) + random.normal(size=(400, 1, 3))
    even = np.array([True, True, True, False, True])
    found = population(points, mean, basis, even)
    np.testing.assert_allclose(found.mean, [*true_mean, 0], atol=0.15)
    np.testing.assert_allclose(found.sigma[:4], true_sigma, rtol=0.15)
    assert found.sigma[4] == pytest.approx(1)


def test_asymmetric_components_have_no_mean(random: np.random.Generator):
    """Their deviation is about zero then."""
    mean, basis = random.normal(size=(60, 3)), 0.1 * random.normal(size=(60, 3, 2))
    people = np.array([0.8, 0.8]) + 0.5 * random.normal(size=(300, 2))
    points = mean + np.einsum("pdk,nk->npd", basis, people)
    found = population(points, mean, basis, np.array([True, False]))
    assert found.mean[0] == pytest.approx(0.8, abs=0.1) and found.mean[1] == 0
    assert found.sigma[1] == pytest.approx(np.hypot(0.8, 0.5), rel=0.1)


def test_a_models_own_heads_are_its_random_people(coarse: FaceModelData, random):
    vertices = random.choice(np.unique(coarse.front_triangles), 300, replace=False)
    points = random_heads(coarse, coarse, vertices, 40, random)
    mean, basis = (
        array[vertices].astype(float) for array in (coarse.mean_shape, coarse.identity_basis)
    )
    found = population(points, mean, basis, symmetric(coarse))
    assert np.abs(found.mean[:20]).max() < 0.6 and np.abs(found.mean[:20]).mean() < 0.2
    assert found.sigma[:20].mean() == pytest.approx(1, abs=0.1)


def test_models_that_name_no_symmetry_are_refused(coarse: FaceModelData):
    with pytest.raises(InputError, match="does not say which of its components are symmetric"):
        symmetric(replace(coarse, parities={}))


def test_the_command_asks_for_the_heads(tmp_path: Path):
    with pytest.raises(InputError, match="ict"):
        main(["--face_model", "open@0", "--bfm_folder", str(tmp_path)])


def test_the_command_prints_a_table(
    coarse: FaceModelData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Of its own people, in place of ICT-FaceKit's."""
    monkeypatch.setattr(
        identity_calibration, "read_chosen_face_model", lambda chosen: (coarse, chosen.face_model)
    )
    monkeypatch.setattr(identity_calibration, "POINTS", 300)
    main(["--heads", "20"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["face model: open", "heads: ict"]
    numbers = [line.split()[0] for line in lines if line.split()[1] in ("even", "odd")]
    assert numbers == [str(number) for number in range(80)]
    groups = [line.split() for line in lines if " to " in line]
    assert groups[0][:3] == ["0", "to", "0"] and groups[-1][:3] == ["60", "to", "79"]
    assert all(0.4 < float(row[4]) < 1.6 for row in groups)


def test_one_head_is_refused():
    with pytest.raises(InputError, match="--heads is 1; it must be at least 2"):
        CalibrationOptions(heads=1)
