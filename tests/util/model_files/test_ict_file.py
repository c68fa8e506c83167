"""ICT-FaceKit's folder: what becomes of it, and every wrong file by its name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.landmarks import five_from_68
from models.face_model import FaceModel, FaceModelData
from tests.face_files import EXPRESSIONS, EYE_VERTICES, write_ict
from util.errors import InputError
from util.model_files import ict_file
from util.model_files.face_model_file import read_face_model
from util.model_files.face_transfer import mean_landmarks
from util.model_files.ict_file import (
    PUBLISHED,
    check_ict,
    convert_ict,
    expression_components,
    read_ict,
)
from util.model_files.ict_folder import find_ict


def vertices_of(path: Path) -> np.ndarray:
    lines = path.read_text().splitlines()
    return np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)


def test_it_is_the_files_in_decimetres(tmp_path: Path, tiny_face_data: FaceModelData):
    folder = tmp_path / "FaceXModel"
    layout = write_ict(folder)
    model = FaceModel(read_ict(folder, tiny_face_data, layout))
    kept = np.r_[slice(*layout.face), slice(*layout.eyeballs)]
    neutral = vertices_of(folder / "generic_neutral_mesh.obj")[kept]

    def displacement(name: str) -> np.ndarray:
        return 0.1 * (vertices_of(folder / f"{name}.obj")[kept] - neutral)

    zeros = model.layout.zeros(1)
    mean = model.shape(zeros.identity, zeros.expression)[0].numpy()
    shift = mean - 0.1 * neutral
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-6)
    second = torch.eye(80)[1:2]
    moved = model.shape(second, zeros.expression)[0].numpy() - mean
    np.testing.assert_allclose(moved, displacement("identity001"), atol=1e-6)
    for unit, names in {
        "jawOpen": ["jawOpen"],
        "eyeBlinkLeft": ["eyeBlink_L"],
        "browInnerUp": ["browInnerUp_L", "browInnerUp_R"],
        "browInnerUp_R": ["browInnerUp_R"],
        "tongueOut": [],
    }.items():
        moved = model.shape(zeros.identity, model.units({unit: 1.0}))[0].numpy() - mean
        expected = sum((displacement(name) for name in names), np.zeros_like(mean))
        np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_it_has_the_layout_and_place_of_the_others(tmp_path: Path, tiny_face_data: FaceModelData):
    layout = write_ict(tmp_path / "FaceXModel")
    data = read_ict(tmp_path / "FaceXModel", tiny_face_data, layout)
    assert data.identity_basis.shape[2] == 80 and data.expression_basis.shape[2] == 64
    # 13 x 15 quads and two eyes of one quad; the face of the part left out is gone.
    assert len(data.triangles) == 2 * (13 * 15 + 2)
    assert data.regions["eyeballs"].sum() == EYE_VERTICES
    np.testing.assert_allclose(
        data.alignment_points.mean(axis=0), tiny_face_data.alignment_points.mean(axis=0), atol=1e-6
    )
    np.testing.assert_allclose(data.alignment_points, five_from_68(mean_landmarks(data)), atol=1e-6)
    assert data.uv is not None
    eyeballs = data.regions["eyeballs"]
    assert data.uv[eyeballs].max() <= 0.1 and data.uv[~eyeballs].max() > 0.9


def test_conversion_is_read_as_a_native_file(
    tmp_path: Path, tiny_face_data: FaceModelData, capsys: pytest.CaptureFixture[str]
):
    layout = write_ict(tmp_path / "FaceXModel")
    convert_ict(tmp_path / "FaceXModel", tmp_path / "ict.npz", tiny_face_data, layout)
    assert "ICT-FaceKit from" in capsys.readouterr().err
    direct = read_ict(tmp_path / "FaceXModel", tiny_face_data, layout)
    data = read_face_model(tmp_path / "ict.npz")
    np.testing.assert_allclose(data.mean_shape, direct.mean_shape, atol=1e-6)
    np.testing.assert_allclose(data.identity_basis, direct.identity_basis, atol=2e-5)
    np.testing.assert_allclose(data.albedo_basis, direct.albedo_basis, atol=5e-4)
    np.testing.assert_array_equal(data.triangles, direct.triangles)
    assert (data.name, data.unit_names) == ("ict", direct.unit_names)
    assert data.card.fingerprint == direct.card.fingerprint


def test_the_fingerprint_is_of_the_meshes_and_the_donor(
    tmp_path: Path, tiny_face_data: FaceModelData, monkeypatch: pytest.MonkeyPatch
):
    """Not of eigenvectors, whose last digits differ between processors."""
    folder = tmp_path / "FaceXModel"
    layout = write_ict(folder)

    def fingerprint(donor: FaceModelData = tiny_face_data) -> str:
        convert_ict(folder, tmp_path / "ict.npz", donor, layout)
        return read_face_model(tmp_path / "ict.npz").card.fingerprint

    def on_another_processor(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        basis, coefficients = expression_components(units)
        return basis * (1 + 1e-4), coefficients

    expected = fingerprint()
    monkeypatch.setattr(ict_file, "expression_components", on_another_processor)
    assert fingerprint() == expected
    assert fingerprint(replace(tiny_face_data, fingerprint="another")) != expected
    for name in ("generic_neutral_mesh", "identity001", "jawOpen"):
        whole = (folder / f"{name}.obj").read_text()
        head, rest = whole.split("v ", 1)
        (folder / f"{name}.obj").write_text(f"{head}v 1{rest.lstrip('-')}")
        assert fingerprint() != expected, name
        (folder / f"{name}.obj").write_text(whole)
    assert fingerprint() == expected


@pytest.mark.parametrize("larger", [0, 1])
def test_signs_do_not_hang_on_rounding(larger: int):
    """Left and right move alike, so that entries of a component are equal up to rounding."""
    units = np.zeros((2, 2, 3))
    units[0, 0], units[1, 1] = [1, 0, 0], [1, 0, 0]
    units[0, 1] = units[1, 0] = [0.5, 0, 0]
    units[larger] *= 1 + 1e-9
    _, coefficients = expression_components(units)
    assert (coefficients[0] > 0).all()


def test_components_are_orthogonal_and_ordered():
    units = np.random.default_rng(3).normal(size=(4, 10, 3))
    basis, coefficients = expression_components(units)
    np.testing.assert_allclose(np.einsum("vck,uk->uvc", basis, coefficients), units, atol=1e-10)
    gram = np.einsum("vck,vcl->kl", basis, basis)
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-10)
    sizes = np.diag(gram).tolist()
    assert sizes == sorted(sizes, reverse=True)


def test_the_published_landmarks_lie_on_the_kept_face():
    landmarks = np.array(PUBLISHED.landmarks)
    assert landmarks.shape == (68,) and len(set(landmarks)) == 68
    assert landmarks.max() < PUBLISHED.face[1]


@pytest.mark.parametrize("below", ["", "FaceXModel", "ICT-FaceKit/FaceXModel"])
def test_the_folder_is_found_however_it_was_unpacked(tmp_path: Path, below: str):
    assert find_ict(tmp_path) is None
    write_ict(tmp_path / "user" / below)
    assert find_ict(tmp_path / "user") == tmp_path / "user" / below


def test_an_archive_of_the_repository_is_found(tmp_path: Path):
    write_ict(tmp_path / "ICT-FaceKit-master" / "FaceXModel")
    assert find_ict(tmp_path) == tmp_path / "ICT-FaceKit-master" / "FaceXModel"


WRONG = {
    "generic_neutral_mesh.obj": (b"<!DOCTYPE html>", "web page"),
    "identity002.obj": (b"v 1 2 3\nv 1 2\n", "not three numbers"),
    "jawOpen.obj": (b"v 1 2 3\n", "holds 1 vertices"),
    "identity001.obj": (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    "vertex_indices.json": (b"{}", "does not name the expressions"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_named(tmp_path: Path, tiny_face_data: FaceModelData, name: str):
    folder = tmp_path / "FaceXModel"
    layout = write_ict(folder)
    content, reason = WRONG[name]
    (folder / name).write_bytes(content)
    target = tmp_path / "ict.npz"
    with pytest.raises(InputError, match=rf"{name}.*{reason}.*github\.com/ICT-VGL/ICT-FaceKit"):
        convert_ict(folder, target, tiny_face_data, layout)
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name} does not exist"):
        convert_ict(folder, target, tiny_face_data, layout)
    assert not target.exists()


def test_missing_meshes_are_counted_before_any_is_read(
    tmp_path: Path, tiny_face_data: FaceModelData
):
    folder = tmp_path / "FaceXModel"
    layout = write_ict(folder)
    for name in ("identity001.obj", "jawOpen.obj"):
        (folder / name).unlink()
    (folder / "generic_neutral_mesh.obj").write_bytes(b"damaged")
    lacking = r"identity001\.obj does not exist \(2 of 8 meshes are missing\)"
    with pytest.raises(InputError, match=lacking):
        convert_ict(folder, tmp_path / "ict.npz", tiny_face_data, layout)
    with pytest.raises(InputError, match=lacking):
        check_ict(folder, layout)


def test_faces_of_missing_vertices_are_refused(tmp_path: Path, tiny_face_data: FaceModelData):
    folder = tmp_path / "FaceXModel"
    layout = write_ict(folder)
    path = folder / "generic_neutral_mesh.obj"
    path.write_text(path.read_text() + "f 1/1 2/2 9999/3\n")
    with pytest.raises(InputError, match="no vertex 9999"):
        read_ict(folder, tiny_face_data, layout)


def test_too_many_expressions_are_refused(tmp_path: Path, tiny_face_data: FaceModelData):
    layout = write_ict(tmp_path / "F")
    names = {"expressions": [f"e{k}" for k in range(65)]}
    (tmp_path / "F" / "vertex_indices.json").write_text(json.dumps(names))
    with pytest.raises(InputError, match="names 65 expressions"):
        read_ict(tmp_path / "F", tiny_face_data, layout)


def test_the_small_files_have_what_the_tests_name():
    assert {"jawOpen", "eyeBlink_L", "browInnerUp_L", "browInnerUp_R"} <= set(EXPRESSIONS)
