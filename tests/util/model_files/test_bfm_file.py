"""The layout of BFM_model_front.mat: what its arrays become, and the way back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from models.face_model import FaceModel, FaceModelData
from models.landmarks import five_from_68
from tests.bfm_files import SMALL, write_small_sources
from util.errors import InputError
from util.model_files.bfm_conversion import convert_bfm09
from util.model_files.bfm_file import point_buf, read_bfm_model, write_bfm_model

ROOT = Path(__file__).resolve().parents[3]
KEYS = {
    *("meanshape", "idBase", "exBase", "meantex", "texBase"),
    *("tri", "point_buf", "tri_mask2", "keypoints", "frontmask2_idx", "skinmask"),
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("bfm")
    write_small_sources(folder)
    convert_bfm09(folder, folder / "model.mat", SMALL)
    return (folder / "model.mat").read_bytes()


@pytest.fixture
def path(converted: bytes, tmp_path: Path) -> Path:
    file = tmp_path / "ö" / "BFM_model_front.mat"
    file.parent.mkdir()
    file.write_bytes(converted)
    return file


def content(path: Path) -> dict[str, Any]:
    return {key: value for key, value in loadmat(path).items() if not key.startswith("__")}


def test_arrays_in_our_units(path: Path):
    before, raw = path.read_bytes(), content(path)
    data, message = read_bfm_model(path)
    assert path.read_bytes() == before
    assert set(raw) == KEYS
    assert str(path) in message and "no similarity_Lm3D_all.mat" in message

    # Decimetres, as in the file, moved to the origin.
    mean = raw["meanshape"].reshape(-1, 3).astype(float)
    np.testing.assert_allclose(data.mean_shape, mean - mean.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(data.mean_shape.mean(axis=0), 0, atol=1e-6)
    vertices = len(mean)
    for key, basis in (("idBase", data.identity_basis), ("exBase", data.expression_basis)):
        assert basis.dtype == np.float32
        for row in (0, 1, 5, 3 * vertices - 1):
            np.testing.assert_array_equal(basis[row // 3, row % 3], raw[key][row])
    # Colours from 0..255 to 0..1.
    colours = raw["meantex"].reshape(-1, 3)
    np.testing.assert_allclose(data.mean_albedo, colours / 255, atol=1e-7)
    assert 0 < data.mean_albedo.min() < data.mean_albedo.max() < 1
    np.testing.assert_allclose(
        data.albedo_basis.reshape(3 * vertices, 80), raw["texBase"] / 255, atol=1e-7
    )
    # Indices from 0.
    np.testing.assert_array_equal(data.triangles, raw["tri"].astype(int) - 1)
    np.testing.assert_array_equal(data.front_triangles, raw["tri_mask2"].astype(int) - 1)
    keypoints = raw["keypoints"].ravel().astype(int) - 1
    np.testing.assert_array_equal(data.landmark_vertices[:, 0], keypoints)
    np.testing.assert_array_equal(
        np.flatnonzero(data.regions["front"]) + 1, raw["frontmask2_idx"].ravel()
    )
    np.testing.assert_array_equal(data.skin_mask, raw["skinmask"].ravel())
    assert (data.name, data.version, data.uv, data.parities) == ("bfm09", "2009", None, {})
    for sigma in (data.identity_sigma, data.expression_sigma, data.albedo_sigma):
        assert (sigma == 1).all()


def test_the_model_that_comes_of_it(path: Path):
    data = read_bfm_model(path)[0]
    model = FaceModel(data)
    assert model.layout.size == 257 and model.uv is None
    mean = model.mean_shape.reshape(1, -1, 3)
    landmarks = model.landmarks(mean)
    assert torch.equal(landmarks, mean[:, data.landmark_vertices[:, 0]])
    torch.testing.assert_close(five_from_68(landmarks)[0], model.alignment_points)
    with pytest.raises(ValueError, match="no mirror symmetry"):
        model.layout.mirror(torch.zeros(1, 257))
    every = {tuple(triangle) for triangle in data.triangles.tolist()}
    assert {tuple(triangle) for triangle in data.front_triangles.tolist()} < every


def test_the_public_formulas(path: Path):
    """Shape, albedo and normals as the public code computes them, with point_buf."""
    raw, model = content(path), FaceModel(read_bfm_model(path)[0]).double()
    generator = np.random.default_rng(0)
    identity, expression, texture = (generator.normal(size=(1, n)) for n in (80, 64, 80))
    mean = raw["meanshape"].astype(float).reshape(-1, 3)
    shape = (mean - mean.mean(axis=0)).ravel()
    shape = shape + raw["idBase"].astype(float) @ identity[0]
    shape = (shape + raw["exBase"].astype(float) @ expression[0]).reshape(-1, 3)
    found = model.shape(torch.from_numpy(identity), torch.from_numpy(expression))
    np.testing.assert_allclose(found[0], shape, atol=1e-6)
    colours = (raw["meantex"].astype(float).ravel() + raw["texBase"] @ texture[0]) / 255
    np.testing.assert_allclose(
        model.albedo(torch.from_numpy(texture))[0], colours.reshape(-1, 3), atol=1e-6
    )
    a, b, c = np.moveaxis(shape[raw["tri"] - 1], 1, 0)
    faces = np.cross(a - b, b - c)
    faces = np.concatenate([faces / np.linalg.norm(faces, axis=1, keepdims=True), np.zeros((1, 3))])
    normals = faces[raw["point_buf"].astype(int) - 1].sum(axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.testing.assert_allclose(model.normals(found)[0], normals, atol=1e-6)


def test_standard_points_beside_the_file(path: Path):
    points = np.random.default_rng(0).normal(size=(68, 3))
    savemat(path.parent / "similarity_Lm3D_all.mat", {"lm": points})
    data, message = read_bfm_model(path)
    # 1-based 37, 40; 43, 46; 31; 49; 55.
    expected = [
        (points[36] + points[39]) / 2,
        (points[42] + points[45]) / 2,
        points[30],
        points[48],
        points[54],
    ]
    np.testing.assert_allclose(data.alignment_points, expected, rtol=1e-6)
    assert "similarity_Lm3D_all.mat" in message and "no similarity" not in message


@pytest.mark.parametrize("lm", [None, np.zeros((5, 3)), np.full((68, 3), np.nan)])
def test_wrong_standard_points_are_named(path: Path, lm: np.ndarray | None):
    savemat(path.parent / "similarity_Lm3D_all.mat", {"other": 1.0} if lm is None else {"lm": lm})
    with pytest.raises(InputError, match=r"similarity_Lm3D_all\.mat.* lm .*or remove it"):
        read_bfm_model(path)


def test_the_fingerprint_is_of_the_numbers(path: Path):
    first, raw = read_bfm_model(path)[0].card, content(path)
    assert str(first).startswith("bfm09 2009 (")
    again = {key: array.astype(float) for key, array in raw.items()}  # as MATLAB saves
    savemat(path, again)
    assert read_bfm_model(path)[0].card == first
    savemat(path, {**raw, "skinmask": 1 - raw["skinmask"], "keypoints": raw["keypoints"][:, ::-1]})
    assert read_bfm_model(path)[0].card == first
    savemat(path, {**raw, "exBase": raw["exBase"] * np.float32(1.001)})
    assert read_bfm_model(path)[0].card.fingerprint != first.fingerprint


def test_the_fingerprint_stays_what_it_is(tmp_path: Path):
    """Checkpoints hold it: another way of hashing would lock users out of theirs."""

    def numbers(rows: int, columns: int, seed: int) -> np.ndarray:
        """Exact in float32 on every machine."""
        return (np.arange(seed, seed + rows * columns) * 7919 % 1021).reshape(rows, columns) / 1024

    path = tmp_path / "model.mat"
    arrays = {
        "meanshape": numbers(1, 36, 1),
        "meantex": numbers(1, 36, 2) * 255,
        "idBase": numbers(36, 80, 3),
        "exBase": numbers(36, 64, 4),
        "texBase": numbers(36, 80, 5),
        "tri": np.array([[1, 2, 3], [4, 5, 6]]),
        "point_buf": np.full((12, 8), 3),
        "tri_mask2": np.array([[1, 2, 3]]),
        "keypoints": np.arange(68)[None] % 12 + 1,
        "frontmask2_idx": np.array([[1], [2], [3]]),
        "skinmask": np.ones((1, 12)),
    }
    savemat(path, arrays)
    assert read_bfm_model(path)[0].card.fingerprint == "ad7c315e29e35b1b"


def test_there_and_back(path: Path, tmp_path: Path):
    data, raw = read_bfm_model(path)[0], content(path)
    exported = tmp_path / "export.mat"
    write_bfm_model(exported, data)
    back, again = content(exported), read_bfm_model(exported)[0]
    assert set(back) - KEYS == {"card", "alignment_points"}
    for key in ("tri", "tri_mask2", "frontmask2_idx", "keypoints", "skinmask"):
        np.testing.assert_array_equal(back[key], raw[key])
        assert back[key].shape == raw[key].shape
    np.testing.assert_array_equal(np.sort(back["point_buf"]), np.sort(raw["point_buf"]))
    for key in ("idBase", "exBase"):
        np.testing.assert_array_equal(back[key], raw[key])
    for key in ("meantex", "texBase"):
        np.testing.assert_allclose(back[key], raw[key], rtol=3e-7)
    mean = raw["meanshape"].reshape(-1, 3)
    centred = (mean - mean.mean(axis=0)).reshape(1, -1)
    np.testing.assert_allclose(back["meanshape"], centred, atol=1e-6)
    assert again.card == data.card
    for name in ("mean_shape", "alignment_points", "landmark_vertices", "triangles"):
        np.testing.assert_array_equal(getattr(again, name), getattr(data, name))


def test_an_exported_open_model_is_still_the_open_model(
    open_face_data: FaceModelData, tmp_path: Path
):
    path = tmp_path / "open.mat"
    write_bfm_model(path, open_face_data)
    data, message = read_bfm_model(path)
    assert data.card == open_face_data.card and "the same file" in message
    # Its origin is not its centre: nothing is moved.
    np.testing.assert_array_equal(data.mean_shape, open_face_data.mean_shape)
    np.testing.assert_array_equal(data.alignment_points, open_face_data.alignment_points)
    np.testing.assert_array_equal(data.identity_basis, open_face_data.identity_basis)
    np.testing.assert_allclose(data.albedo_basis, open_face_data.albedo_basis, atol=1e-7)
    exact, nearest = (
        FaceModel(d).landmarks(torch.from_numpy(d.mean_shape)[None]) for d in (open_face_data, data)
    )
    assert (exact - nearest).norm(dim=-1).max() < 0.05  # half an edge, in decimetres


def test_models_of_other_sizes_have_no_place(
    tiny_face_data: FaceModelData, open_face_data: FaceModelData, tmp_path: Path
):
    with pytest.raises(ValueError, match=r"tiny has \(3, 2, 3\) components"):
        write_bfm_model(tmp_path / "a.mat", tiny_face_data)
    fewer = replace(
        open_face_data,
        landmark_vertices=open_face_data.landmark_vertices[:67],
        landmark_barycentrics=open_face_data.landmark_barycentrics[:67],
    )
    with pytest.raises(ValueError, match="and 67 landmarks"):
        write_bfm_model(tmp_path / "a.mat", fewer)
    fan = np.array([[0, k, k + 1] for k in range(1, 10)])
    with pytest.raises(ValueError, match="9 triangles meet at a vertex; point_buf has room for 8"):
        point_buf(fan, 11)
    assert not list(tmp_path.iterdir())


def test_point_buf_lists_the_triangles_of_each_vertex(open_face_data: FaceModelData):
    triangles, vertices = open_face_data.triangles, len(open_face_data.mean_shape)
    table = point_buf(triangles, vertices)
    around: list[list[int]] = [[] for _ in range(vertices)]
    for number, triangle in enumerate(triangles.tolist(), start=1):
        for vertex in triangle:
            around[vertex].append(number)
    for row, expected in zip(table.tolist(), around, strict=True):
        assert row == expected + [len(triangles) + 1] * (8 - len(expected))


def test_another_point_buf_is_said(path: Path):
    raw = content(path)
    buffer = raw["point_buf"].copy()
    buffer[[3, 7], 0] = raw["tri"].shape[0] + 1
    savemat(path, {**raw, "point_buf": buffer})
    assert "point_buf leaves out or adds triangles at 2 vertices" in read_bfm_model(path)[1]


def test_a_point_buf_without_numbers_is_another(path: Path):
    raw = content(path)
    buffer = raw["point_buf"].astype(float)
    buffer[5, 1], buffer[6, 0] = np.nan, 1e300
    savemat(path, {**raw, "point_buf": buffer})
    assert "point_buf leaves out or adds triangles at 2 vertices" in read_bfm_model(path)[1]


CONTRADICTIONS = {
    "idBase": lambda a: a["idBase"][:, :79],
    "exBase": lambda a: a["exBase"][:-3],
    "meantex": lambda a: a["meantex"][:, :-3],
    "meanshape": lambda a: a["meanshape"][:, :-1],
    "tri": lambda a: a["tri"] - 1,
    "tri_mask2": lambda a: a["tri_mask2"] + 1000,
    "keypoints": lambda a: a["keypoints"][:, :5],
    "frontmask2_idx": lambda a: a["frontmask2_idx"] + 0.5,
    "skinmask": lambda a: a["skinmask"][:, 1:],
    "point_buf": lambda a: a["point_buf"][1:],
}


@pytest.mark.parametrize("key", CONTRADICTIONS)
def test_contradicting_arrays_are_input_errors(path: Path, key: str):
    raw = content(path)
    savemat(path, {**raw, key: CONTRADICTIONS[key](raw)})
    with pytest.raises(InputError, match=r"BFM_model_front\.mat contradicts itself"):
        read_bfm_model(path)


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_missing_array_is_named(path: Path, key: str):
    raw = content(path)
    del raw[key]
    savemat(path, raw)
    with pytest.raises(InputError, match=rf"front\.mat lacks the array {key} "):
        read_bfm_model(path)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"<html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n", r"an HDF5 file \(\.h5\)"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"", "empty"),
    ],
)
def test_other_files_are_recognised(path: Path, start: bytes, kind: str):
    path.write_bytes(start and start + bytes(300))
    with pytest.raises(InputError, match=rf"BFM_model_front\.mat is {kind}.*made again"):
        read_bfm_model(path)


def test_cut_and_flipped_files_are_input_errors_or_read(path: Path):
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 25):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_bfm_model(path)
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        # In the headers, where a byte decides how the rest is read.
        for position in generator.integers(0, 700, 4):
            damaged[position] ^= int(generator.integers(1, 256))
        path.write_bytes(bytes(damaged))
        try:
            data, _ = read_bfm_model(path)
        except InputError:
            continue
        assert data.identity_basis.shape == (224, 3, 80)


@pytest.mark.needs_bfm
def test_the_users_own_file():
    path = ROOT / "BFM" / "BFM_model_front.mat"
    if not path.is_file():
        pytest.skip("BFM/BFM_model_front.mat is not there")
    data, message = read_bfm_model(path)
    assert data.mean_shape.shape == (35709, 3) and data.triangles.shape == (70789, 3)
    assert "point_buf leaves out" not in message
    assert data.mean_albedo.min() >= 0 and data.mean_albedo.max() <= 1
    zero = FaceModel(data).landmarks(torch.from_numpy(data.mean_shape)[None])
    left_eye, right_eye, nose, *_ = five_from_68(zero)[0]
    assert left_eye[0] < 0 < right_eye[0] and nose[1] < left_eye[1] and nose[2] > left_eye[2]
