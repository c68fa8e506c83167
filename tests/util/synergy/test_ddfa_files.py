"""3DDFA's files: what is read, what is written, and what a wrong one is called."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from models.face_model import FaceModel
from models.synergy.morphable import SynergyFace, face_arrays
from models.synergy.parameters import SynergyLayout, Whitening
from tests.ddfa_folder import made_up_arrays, make_ddfa_folder
from util.errors import InputError
from util.synergy.ddfa_files import (
    read_labels,
    read_list,
    read_morphable_folder,
    read_whitening,
    write_labels,
    write_morphable_folder,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_ddfa_folder(tmp_path / "data", count=3) / "3dmm_data"


def test_arrays_are_those_of_the_files(folder: Path):
    arrays, made = read_morphable_folder(folder).arrays, made_up_arrays()
    np.testing.assert_allclose(arrays.mean.reshape(-1), made["u_shp"][:, 0] + 10, rtol=1e-6)
    assert np.array_equal(arrays.shape_basis[5, 1], made["w_shp_sim"][16])
    assert np.array_equal(arrays.expression_basis[5, 1], made["w_exp_sim"][16])
    assert np.array_equal(arrays.landmark_vertices[:, 0], made["keypoints_sim"][::3] // 3)
    assert np.array_equal(arrays.triangles.T + 1, made["tri"])
    assert arrays.uv is not None and np.allclose(arrays.uv, made["BFM_UV"])


def test_triangles_go_around_as_ours_whichever_way_the_file_does(folder: Path):
    expected = read_morphable_folder(folder).arrays.triangles
    savemat(folder / "tri.mat", {"tri": made_up_arrays()["tri"][::-1]})
    found = read_morphable_folder(folder).arrays.triangles
    assert np.array_equal(found, expected)


def test_triangles_are_for_meshes_alone(folder: Path):
    (folder / "tri.mat").unlink()
    assert len(read_morphable_folder(folder).arrays.triangles) == 0
    with pytest.raises(InputError, match=r"tri\.mat does not exist, and meshes need it"):
        read_morphable_folder(folder, need_triangles=True)


def test_a_folder_of_our_face_model_is_that_face_model(tmp_path: Path, tiny_face_model: FaceModel):
    layout = SynergyLayout(shape=3, expression=2)
    arrays = face_arrays(tiny_face_model, layout)
    whitening = Whitening(torch.randn(17 + 40), torch.rand(17 + 40) + 0.1)
    write_morphable_folder(tmp_path, arrays, whitening, np.zeros((224, 3)))
    found = read_morphable_folder(tmp_path, layout, need_triangles=True)
    assert found.arrays.card == tiny_face_model.card
    torch.testing.assert_close(found.whitening.mean, whitening.mean[:17])
    q = torch.cat([torch.randn(2, 12), torch.randn(2, 5)], dim=1)
    ours, theirs = SynergyFace(arrays, layout), SynergyFace(found.arrays, layout)
    torch.testing.assert_close(theirs.landmarks(q), ours.landmarks(q), rtol=1e-4, atol=0.1)
    torch.testing.assert_close(theirs.vertices(q)[..., :224], ours.vertices(q))
    assert np.array_equal(found.arrays.triangles, arrays.triangles)
    assert np.load(tmp_path / "BFM_UV.npy").shape == (224 + 68, 2)
    # The part for textures: triangles count from 1 into the kept vertices.
    kept, deleted = np.load(tmp_path / "keptInd.npy"), np.load(tmp_path / "deletedTri.npy")
    assert np.array_equal(kept[deleted - 1].T, arrays.triangles)


def test_a_changed_folder_is_no_longer_that_face_model(tmp_path: Path, tiny_face_model: FaceModel):
    layout = SynergyLayout(shape=3, expression=2)
    whitening = Whitening(torch.zeros(57), torch.ones(57))
    arrays = face_arrays(tiny_face_model, layout)
    write_morphable_folder(tmp_path, arrays, whitening, np.zeros((224, 3)))
    basis = np.load(tmp_path / "w_shp_sim.npy")
    np.save(tmp_path / "w_shp_sim.npy", 2 * basis)
    assert read_morphable_folder(tmp_path, layout).arrays.card.name == "3dmm_data"


def test_seams_split_vertices_and_keep_coordinates(tmp_path: Path, open_face_model: FaceModel):
    layout = SynergyLayout(shape=2, expression=1)
    arrays = face_arrays(open_face_model, layout)
    whitening = Whitening(torch.zeros(55), torch.ones(55))
    write_morphable_folder(tmp_path, arrays, whitening, np.zeros_like(arrays.mean))
    found = read_morphable_folder(tmp_path, layout).arrays
    assert found.uv is not None and arrays.uv is not None and arrays.uv_triangles is not None
    assert np.array_equal(found.mean[found.triangles], arrays.mean[arrays.triangles])
    assert np.array_equal(found.uv[found.triangles], arrays.uv[arrays.uv_triangles])
    assert loadmat(tmp_path / "tri.mat")["tri"].dtype == np.uint16


def test_labels_and_back(tmp_path: Path):
    labels = np.random.default_rng(0).normal(size=(4, 102)).astype(np.float32)
    write_labels(tmp_path / "a.pkl", labels)
    assert np.array_equal(read_labels(tmp_path / "a.pkl"), labels[:, :62])
    np.save(tmp_path / "a.npy", labels)
    assert np.array_equal(read_labels(tmp_path / "a.npy"), labels[:, :62])


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harm",)


BAD_LABELS: list[tuple[Any, str]] = [
    (Harmful(), "system"),
    ({"a": 1}, "holds dict"),
    (np.zeros(62), r"holds float64 \(62,\)"),
    (np.zeros((2, 62), int), "holds int64"),
    (np.zeros((2, 61)), "has 61 numbers a face, at least 62"),
    (np.full((2, 62), np.nan), "row 0 has numbers that are not finite"),
]


@pytest.mark.parametrize(("content", "words"), BAD_LABELS)
def test_bad_labels(tmp_path: Path, monkeypatch, content: Any, words: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=words):
        read_labels(tmp_path / "a.pkl")
    assert not (tmp_path / "harm").exists()


BAD_ARRAYS: list[tuple[str, Any, str]] = [
    ("u_shp.npy", np.zeros((5, 1)), "u_shp.npy has 5 numbers and u_exp.npy 672"),
    ("u_exp.npy", np.zeros((7, 1)), "u_exp.npy 7, both three a vertex"),
    ("w_shp_sim.npy", np.zeros((672, 39)), r"\(672, 39\), \(672, 40\) was expected"),
    ("w_exp_sim.npy", np.full((672, 10), np.inf), "not finite"),
    ("keypoints_sim.npy", np.arange(204) + 600, "rows of 672 were expected"),
    ("keypoints_sim.npy", np.arange(1, 205), "not x, y, z of one vertex"),
    ("keypoints_sim.npy", np.zeros(204), "holds no indices"),
    ("BFM_UV.npy", np.zeros((3, 2)), r"\(224, 2\) was expected"),
]


@pytest.mark.parametrize(("name", "array", "words"), BAD_ARRAYS)
def test_bad_arrays_are_named(folder: Path, name: str, array: np.ndarray, words: str):
    np.save(folder / name, array)
    with pytest.raises(InputError, match=words) as error:
        read_morphable_folder(folder)
    assert name in str(error.value)


def test_missing_files_are_named(folder: Path):
    (folder / "w_exp_sim.npy").unlink()
    with pytest.raises(InputError, match=r"w_exp_sim\.npy does not exist; take the folder"):
        read_morphable_folder(folder)
    with pytest.raises(InputError, match="elsewhere does not exist"):
        read_morphable_folder(folder / "elsewhere")


def test_triangles_of_another_model(folder: Path):
    savemat(folder / "tri.mat", {"tri": np.array([[1], [2], [225]])})
    with pytest.raises(InputError, match="names vertices 1 to 225 of 224"):
        read_morphable_folder(folder)


def test_whitening_of_both_generations(tmp_path: Path):
    mean, std = np.arange(62.0), np.arange(62.0) + 1
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"mean": mean, "std": std}))
    assert read_whitening(tmp_path / "a.pkl").std.tolist() == std.tolist()
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"param_mean": mean}))
    with pytest.raises(InputError, match="has no numbers param_std"):
        read_whitening(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"mean": mean[:9], "std": std}))
    with pytest.raises(InputError, match="at least 62 numbers"):
        read_whitening(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"mean": mean, "std": 0 * std}))
    with pytest.raises(InputError, match=r"a\.pkl: .* not above 0"):
        read_whitening(tmp_path / "a.pkl")


def test_lists(tmp_path: Path):
    (tmp_path / "a").write_text("x.jpg\r\n\n y.jpg \n", encoding="utf-8")
    assert read_list(tmp_path / "a") == ["x.jpg", "y.jpg"]
    (tmp_path / "a").write_bytes(b"\n")
    with pytest.raises(InputError, match="is empty"):
        read_list(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match="is no text"):
        read_list(tmp_path / "a")
