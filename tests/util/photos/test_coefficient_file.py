"""MAT files with the public keys, as SciPy reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from models.parameters import ParameterBlock, ParameterLayout
from util.photos.coefficient_file import write_mat

SHAPES = {
    "id": (1, 80),
    "exp": (1, 64),
    "tex": (1, 80),
    "angle": (1, 3),
    "gamma": (1, 27),
    "trans": (1, 3),
    "coeff": (1, 257),
    "lm68": (1, 68, 2),
}


def test_keys_shapes_and_values(tmp_path: Path):
    layout = ParameterLayout.for_sizes()
    flat = torch.randn(1, 257)
    landmarks = np.random.default_rng(0).uniform(0, 224, (68, 2))
    path = tmp_path / "größe 1.mat"
    write_mat(path, layout.split(flat), landmarks)
    content = loadmat(path)
    assert {key for key in content if not key.startswith("__")} == set(SHAPES)
    for key, shape in SHAPES.items():
        assert content[key].shape == shape, key
        assert content[key].dtype == np.float32, key
    np.testing.assert_array_equal(content["coeff"], flat.numpy())
    np.testing.assert_array_equal(content["exp"], flat[:, 80:144].numpy())
    np.testing.assert_array_equal(content["trans"], flat[:, 254:].numpy())
    np.testing.assert_array_equal(content["lm68"][0], landmarks.astype(np.float32))


def test_the_blocks_join_to_coeff(tmp_path: Path):
    write_mat(
        tmp_path / "a.mat", ParameterLayout.for_sizes().split(torch.randn(1, 257)), np.ones((68, 2))
    )
    content = loadmat(tmp_path / "a.mat")
    blocks = [content[key] for key in ("id", "exp", "tex", "angle", "gamma", "trans")]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), content["coeff"])


def test_gradients_and_other_precisions_are_accepted(tmp_path: Path):
    flat = torch.randn(1, 257, dtype=torch.float64, requires_grad=True)
    write_mat(tmp_path / "a.mat", ParameterLayout.for_sizes().split(flat), np.ones((68, 2)))
    assert loadmat(tmp_path / "a.mat")["coeff"].dtype == np.float32


def test_broken_numbers_are_refused_by_key_and_the_old_file_stays(tmp_path: Path):
    path = tmp_path / "a.mat"
    path.write_bytes(b"old")
    zero = ParameterLayout.for_sizes().zeros(1)
    broken = replace(zero, gamma=torch.full((1, 27), float("nan")))
    with pytest.raises(ValueError, match=r"a\.mat: gamma, coeff holds non-finite"):
        write_mat(path, broken, np.ones((68, 2)))
    with pytest.raises(ValueError, match="lm68"):
        write_mat(path, zero, np.full((68, 2), np.inf))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_joints_have_a_key_and_end_coeff(tmp_path: Path):
    joints = ParameterBlock("joints_rad", 12, "rad")
    bases = ParameterLayout.for_sizes().blocks[:3]
    flat = torch.randn(1, 269)
    layout = ParameterLayout.for_bases(*bases, joints=joints)
    write_mat(tmp_path / "a.mat", layout.split(flat), np.ones((68, 2)))
    content = loadmat(tmp_path / "a.mat")
    np.testing.assert_array_equal(content["joints"], flat[:, 257:].numpy())
    np.testing.assert_array_equal(content["coeff"], flat.numpy())
