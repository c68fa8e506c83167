"""The native face model file: decoding, its identity, and damaged or foreign files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.face_model import FaceModel, FaceModelData, NaturalExpression
from tests.models.test_skeleton import make_skeleton
from util.errors import InputError
from util.model_files.face_model_file import read_face_model, write_face_model


def file_arrays(data: FaceModelData) -> dict[str, Any]:
    """What a file holds, as its documentation says; every vertex mixes a few control points."""
    vertices, controls = len(data.mean_shape), 40
    generator = np.random.default_rng(1)
    indices = generator.permuted(np.tile(np.arange(controls), (vertices, 1)), axis=1)[:, :4]
    return {
        "format_version": 1,
        "name": "tiny",
        "version": "2.5",
        "licence": "CC0-1.0",
        "control_mean_shape": generator.normal(size=(controls, 3)).astype(np.float32),
        "control_identity_basis": generator.normal(size=(controls, 3, 3)).astype(np.float16),
        "control_expression_basis": generator.normal(size=(controls, 3, 2)).astype(np.float16),
        "subdivision_data": generator.random(4 * vertices).astype(np.float32),
        "subdivision_indices": indices.ravel().astype(np.int32),
        "subdivision_indptr": np.arange(0, 4 * vertices + 1, 4, dtype=np.int32),
        "mean_albedo": data.mean_albedo.astype(np.float16),
        "albedo_basis_int8": generator.integers(-127, 128, (vertices, 3, 3)).astype(np.int8),
        "albedo_scale": np.array([1e-3, 2e-3, 3e-3], np.float32),
        "identity_sigma": data.identity_sigma,
        "expression_sigma": data.expression_sigma,
        "albedo_sigma": data.albedo_sigma,
        "triangles": data.triangles,
        "front_triangles": data.front_triangles,
        "landmark_vertices": data.landmark_vertices,
        "landmark_barycentrics": data.landmark_barycentrics,
        "skin_mask": data.skin_mask,
        "uv": data.uv,
        "alignment_points": data.alignment_points,
        "unit_names": np.array(["jawOpen", "mouthSmile"]),
        "unit_matrix": data.unit_matrix,
        "region_lips": np.arange(vertices) % 2 == 0,
    }


@pytest.fixture
def arrays(tiny_face_data: FaceModelData) -> dict[str, Any]:
    return file_arrays(tiny_face_data)


def save(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_bases_are_subdivided_by_the_sparse_matrix(tmp_path: Path, arrays: dict[str, Any]):
    data = read_face_model(save(tmp_path / "é model.npz", arrays))
    dense = np.zeros((224, 40))
    for row in range(224):
        for k in range(arrays["subdivision_indptr"][row], arrays["subdivision_indptr"][row + 1]):
            dense[row, arrays["subdivision_indices"][k]] += arrays["subdivision_data"][k]
    for key, array in (
        ("control_mean_shape", data.mean_shape),
        ("control_identity_basis", data.identity_basis),
        ("control_expression_basis", data.expression_basis),
    ):
        expected = np.tensordot(dense, arrays[key].astype(np.float64), axes=1)
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, expected, atol=1e-5)


def test_everything_else_is_as_stored(tmp_path: Path, arrays: dict[str, Any]):
    data = read_face_model(save(tmp_path / "a.npz", arrays))
    assert (data.name, data.version, data.licence) == ("tiny", "2.5", "CC0-1.0")
    assert data.unit_names == ("jawOpen", "mouthSmile")
    np.testing.assert_array_equal(data.triangles, arrays["triangles"])
    np.testing.assert_allclose(
        data.albedo_basis[:, :, 1], arrays["albedo_basis_int8"][:, :, 1] * 2e-3, rtol=1e-6
    )
    assert list(data.regions) == ["lips"]
    np.testing.assert_array_equal(data.regions["lips"], arrays["region_lips"])
    assert FaceModel(data).layout.size == 3 + 2 + 3 + 33


def test_the_fingerprint_ignores_the_level_of_detail(tmp_path: Path, arrays: dict[str, Any]):
    first = read_face_model(save(tmp_path / "a.npz", arrays)).card
    finer = {**arrays, "subdivision_data": arrays["subdivision_data"] * 0.5, "uv": arrays["uv"] / 2}
    assert read_face_model(save(tmp_path / "b.npz", finer)).card.fingerprint == first.fingerprint
    basis = arrays["control_identity_basis"].copy()
    basis[0, 0, 0] += 1
    other = {**arrays, "control_identity_basis": basis}
    assert read_face_model(save(tmp_path / "c.npz", other)).card.fingerprint != first.fingerprint


@pytest.mark.parametrize(
    "key", ["format_version", "triangles", "control_mean_shape", "unit_names", "albedo_scale"]
)
def test_a_missing_array_is_named(tmp_path: Path, arrays: dict[str, Any], key: str):
    del arrays[key]
    with pytest.raises(InputError, match=rf"part\.npz lacks the array '{key}'"):
        read_face_model(save(tmp_path / "part.npz", arrays))


def test_a_newer_format_is_refused(tmp_path: Path, arrays: dict[str, Any]):
    path = save(tmp_path / "a.npz", {**arrays, "format_version": 7})
    with pytest.raises(InputError, match=r"has format 7.*reads 1"):
        read_face_model(path)


def test_missing_file_and_folder(tmp_path: Path):
    for path in (tmp_path / "nothing.npz", tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            read_face_model(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"not a model", "is text"),
        (b"PK\x03\x04 half a zip", "cannot be read"),
        (b"\x80\x04.", "is no zip archive"),
        (b"<html>", "is a web page"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes, what: str):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.npz {what}.*restore it") as caught:
        read_face_model(path)
    assert "pickle" not in str(caught.value)


def test_a_single_array_is_no_model(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    path = (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"a\.npz is a single array"):
        read_face_model(path)


def test_pickles_are_never_opened(tmp_path: Path, arrays: dict[str, Any]):
    path = save(tmp_path / "a.npz", {**arrays, "mean_albedo": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(InputError, match=r"a\.npz cannot be read"):
        read_face_model(path)


def test_truncated_and_flipped_files_never_pass_for_good(tmp_path: Path, arrays: dict[str, Any]):
    path = save(tmp_path / "a.npz", arrays)
    whole = path.read_bytes()
    intact = read_face_model(path).card.fingerprint
    for length in range(0, len(whole), max(1, len(whole) // 25)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_face_model(path)
    refused = 0
    for position in range(50, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        path.write_bytes(bytes(damaged))
        try:
            assert read_face_model(path).card.fingerprint == intact  # a byte that means nothing
        except InputError:
            refused += 1
    assert refused > 40


def natural(**changes: np.ndarray) -> dict[str, np.ndarray]:
    arrays = {"mean": np.zeros(2), "covariance": np.eye(2), **changes}
    return {f"natural_expression_{key}": array for key, array in arrays.items()}


def test_the_natural_expression_is_read(tmp_path: Path, arrays: dict[str, Any]):
    mean = np.array([0.2, -0.1], np.float32)
    data = read_face_model(save(tmp_path / "a.npz", arrays | natural(mean=mean)))
    assert data.natural_expression is not None
    np.testing.assert_array_equal(data.natural_expression.mean, mean)
    FaceModel(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"subdivision_indices": np.full(896, 99, np.int32)},
        {"albedo_scale": np.ones(7, np.float32)},
        {"control_identity_basis": np.zeros((39, 3, 3), np.float16)},
        {"control_mean_shape": np.zeros(5, np.float32)},
        {"format_version": np.arange(3)},
        {"mean_albedo": np.array(["red"])},
        {"natural_expression_mean": np.zeros(2)},
        natural(mean=np.zeros(3)),
        natural(mean=np.array([0, np.nan])),
        natural(covariance=np.array([[1.0, 0.5], [0.1, 1]])),
        natural(covariance=np.array([[1.0, 2], [2, 1]])),
    ],
)
def test_contradicting_arrays_are_input_errors(
    tmp_path: Path, arrays: dict[str, Any], changes: dict[str, Any]
):
    from options.face_options import FaceModelOptions
    from util.assets import load_face_model

    path = save(tmp_path / "a.npz", {**arrays, **changes})
    with pytest.raises(InputError, match=r"a\.npz"):
        load_face_model(FaceModelOptions(face_model=str(path)))


def test_the_committed_model_is_small_and_complete(open_face_data: FaceModelData):
    path = Path(__file__).parents[3] / "BFM" / "open_face_model.npz"
    assert path.stat().st_size <= 8_000_000
    assert open_face_data.name == "open"
    assert "CC0" in open_face_data.licence
    assert {"lips", "brows", "sclera", "iris"} <= set(open_face_data.regions)
    for name, mask in open_face_data.regions.items():
        assert mask.shape == (len(open_face_data.mean_shape),), name
        assert mask.any(), name
    assert open_face_data.uv is not None
    assert open_face_data.uv.min() >= 0 and open_face_data.uv.max() <= 1


def test_what_is_written_is_read_back(tmp_path: Path, tiny_face_data: FaceModelData):
    """But for the rounding of bases and albedo."""
    data = replace(
        tiny_face_data, parities={"identity": np.array([1, -1, 1])}, albedo_sigma=np.full(3, 0.5)
    )
    write_face_model(tmp_path / "a.npz", data)
    back = read_face_model(tmp_path / "a.npz")
    for name in ("mean_shape", "mean_albedo", "triangles", "uv", "unit_matrix", "albedo_sigma"):
        np.testing.assert_array_equal(getattr(back, name), getattr(data, name))
    for name, atol in {
        "identity_basis": 2e-5,
        "expression_basis": 2e-5,
        "albedo_basis": 2e-4,
    }.items():
        np.testing.assert_allclose(getattr(back, name), getattr(data, name), atol=atol)
    assert (back.unit_names, back.name) == (data.unit_names, data.name)
    np.testing.assert_array_equal(back.regions["lips"], data.regions["lips"])
    np.testing.assert_array_equal(back.parities["identity"], [1, -1, 1])
    assert back.natural_expression is None
    natural = NaturalExpression(np.arange(2, dtype=np.float32), np.eye(2, dtype=np.float32))
    write_face_model(tmp_path / "b.npz", replace(data, uv=None, natural_expression=natural))
    back = read_face_model(tmp_path / "b.npz")
    assert back.uv is None and back.natural_expression is not None
    np.testing.assert_array_equal(back.natural_expression.mean, natural.mean)
    np.testing.assert_array_equal(back.natural_expression.covariance, natural.covariance)


def test_components_of_zeros_are_written(tmp_path: Path, tiny_face_data: FaceModelData):
    write_face_model(
        tmp_path / "a.npz", replace(tiny_face_data, albedo_basis=0 * tiny_face_data.albedo_basis)
    )
    assert not read_face_model(tmp_path / "a.npz").albedo_basis.any()


def test_joints_are_not_dropped_in_silence(tmp_path: Path, tiny_face_data: FaceModelData):
    data = replace(tiny_face_data, skeleton=make_skeleton())
    with pytest.raises(ValueError, match="has joints"):
        write_face_model(tmp_path / "a.npz", data)
    assert not (tmp_path / "a.npz").exists()
