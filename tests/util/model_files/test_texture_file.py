"""The texture of a native face model file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.texture import TextureData
from util.errors import InputError
from util.model_files.texture_file import read_texture, texture_arrays


def data() -> TextureData:
    random = np.random.default_rng(0)
    return TextureData(
        names=("hairs", "pores", "iris"),
        maps=random.integers(-127, 128, (3, 16, 16)).astype(np.int8),
        scales=random.uniform(0.001, 0.01, 3).astype(np.float32),
        weight_mean=random.normal(size=(3, 3)).astype(np.float32),
        weight_basis=random.normal(size=(3, 3, 7)).astype(np.float32),
        weight_range=random.normal(size=(3, 3, 2)).astype(np.float32),
    )


def write(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, allow_pickle=False, **arrays)
    return path


def test_arrays_come_back(tmp_path):
    written = data()
    path = write(tmp_path / "model.npz", **texture_arrays(written), mean_albedo=np.zeros((4, 3)))
    found = read_texture(path)
    assert found is not None and found.names == written.names
    for key in ("maps", "scales", "weight_mean", "weight_basis", "weight_range"):
        np.testing.assert_array_equal(getattr(found, key), getattr(written, key))
        assert getattr(found, key).dtype == getattr(written, key).dtype


def test_a_model_without_texture_has_none(tmp_path):
    assert read_texture(write(tmp_path / "model.npz", mean_albedo=np.zeros((4, 3)))) is None


def test_other_arrays_are_not_read(tmp_path):
    path = write(tmp_path / "model.npz", **texture_arrays(data()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("identity.npy", b"garbage that no reader could take")
    assert read_texture(path) is not None


def test_files_that_are_no_model_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_texture(tmp_path / "missing.npz")
    path = tmp_path / "page.npz"
    path.write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"page\.npz is a web page"):
        read_texture(path)


@pytest.mark.parametrize("key", ["texture_maps", "texture_scales", "texture_weight_basis"])
def test_a_missing_array_is_named(tmp_path, key):
    arrays = texture_arrays(data())
    del arrays[key]
    with pytest.raises(InputError, match=key):
        read_texture(write(tmp_path / "model.npz", **arrays))


def test_arrays_that_contradict_each_other_are_refused(tmp_path):
    arrays = texture_arrays(data()) | {"texture_scales": np.ones(2, np.float32)}
    with pytest.raises(InputError, match="scales"):
        read_texture(write(tmp_path / "model.npz", **arrays))
