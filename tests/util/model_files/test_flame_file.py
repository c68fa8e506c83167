"""FLAME's files: what becomes of them in each layout, and every wrong file by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.renderer import Renderer
from models.stages import reconstruct
from tests.conftest import make_tiny_face_data
from tests.face_files import (
    Chumpy,
    Python2Pickle,
    flame_arrays,
    flame_embedding,
    plain,
    write_embedding,
    write_flame,
)
from util.errors import InputError
from util.model_files import flame_file
from util.model_files.face_transfer import Appearance, mean_landmarks
from util.model_files.flame_file import EMBEDDING, read_flame


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """FLAME 2020 with its landmarks."""
    write_embedding(tmp_path, flame_embedding(write_flame(tmp_path)))
    return tmp_path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FaceModelData:
    folder = tmp_path_factory.mktemp("flame")
    write_embedding(folder, flame_embedding(write_flame(folder)))
    return read_flame(folder / "generic_model.pkl", make_tiny_face_data())[0]


def test_it_is_the_file_in_decimetres(data: FaceModelData):
    arrays = plain(flame_arrays())
    shift = data.mean_shape - 10 * arrays["v_template"]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-6)
    bases = 10 * arrays["shapedirs"]
    np.testing.assert_allclose(data.identity_basis, bases[..., :80], atol=1e-6)
    # Expression begins at 300; three components are there, the others move nothing.
    np.testing.assert_allclose(data.expression_basis[..., :3], bases[..., 300:303], atol=1e-6)
    assert data.expression_basis.shape[2] == 64 and not data.expression_basis[..., 3:].any()
    np.testing.assert_array_equal(data.triangles, arrays["f"])
    bones = data.skeleton
    assert bones is not None and bones.parents == (-1, 0, 1, 1, 1)
    np.testing.assert_allclose(
        bones.mean_joints, arrays["J_regressor"] @ data.mean_shape, atol=1e-5
    )


def slow_flame(arrays: dict[str, Any], betas: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """FLAME as its paper has it, in metres: betas (303,), pose (15,) with the root's three."""
    shaped = arrays["v_template"] + arrays["shapedirs"] @ betas
    joints = arrays["J_regressor"] @ shaped
    rotations = [Rotation.from_rotvec(v).as_matrix() for v in pose.reshape(5, 3)]
    feature = np.concatenate([(r - np.eye(3)).ravel() for r in rotations[1:]])
    corrected = shaped + arrays["posedirs"] @ feature
    parents = arrays["kintree_table"][0]
    world = []
    for joint in range(5):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parents[joint]] if joint else 0)
        world.append(world[parents[joint]] @ local if joint else local)
    posed = np.zeros_like(corrected)
    for v in range(len(corrected)):
        for joint in range(5):
            relative = np.append(corrected[v] - joints[joint], 1)
            posed[v] += arrays["weights"][v, joint] * (world[joint] @ relative)[:3]
    return posed


def test_shape_and_joints_are_those_of_the_paper(data: FaceModelData):
    model, arrays = FaceModel(data), plain(flame_arrays())
    random = np.random.default_rng(8)
    betas = np.zeros(303)
    betas[:80], betas[300:] = random.normal(size=80), random.normal(size=3)
    joints = 0.3 * random.normal(size=12)
    expression = torch.zeros(1, 64)
    expression[0, :3] = torch.from_numpy(betas[300:])
    posed = model.shape(
        torch.from_numpy(betas[None, :80]).float(),
        expression,
        torch.from_numpy(joints[None]).float(),
    )[0]
    expected = 10 * slow_flame(arrays, betas, np.concatenate([np.zeros(3), joints]))
    shift = data.mean_shape[0] - 10 * arrays["v_template"][0]
    np.testing.assert_allclose(posed.numpy(), expected + shift, atol=1e-5)


def test_opening_the_jaw_lowers_the_lip(data: FaceModelData):
    model = FaceModel(data)
    assert model.skeleton is not None and model.skeleton.names[1] == "jaw"
    zeros, joints = model.layout.zeros(1), torch.zeros(1, 12)
    joints[0, 3] = 0.3
    closed = model.landmarks(model.shape(zeros.identity, zeros.expression))
    opened = model.landmarks(model.shape(zeros.identity, zeros.expression, joints))
    moved = opened - closed
    assert moved[0, 57, 1] < -0.03 and moved[0, 27].norm() < 0.02


def test_landmarks_are_the_embeddings(folder: Path, data: FaceModelData):
    embedding = flame_embedding(flame_arrays())
    corners = data.triangles[embedding["static_lmk_faces_idx"]]
    weights = embedding["static_lmk_bary_coords"][..., None]
    expected = (data.mean_shape[corners] * weights).sum(axis=1)
    np.testing.assert_allclose(mean_landmarks(data)[17:], expected, atol=1e-5)


@pytest.mark.parametrize(("degrees", "row"), [(0, 0), (-20, 20), (20, 59), (-80, 39), (80, 78)])
def test_the_jaw_follows_the_yaw(data: FaceModelData, degrees: float, row: int):
    """Rows 0 to 39 are turns to the person's right, as FLAME counts them."""
    embedding = flame_embedding(flame_arrays())
    model = FaceModel(data)
    vertices = model.mean_shape.reshape(1, -1, 3)
    points = model.landmarks(vertices, torch.tensor([np.radians(degrees)], dtype=torch.float32))
    corners = data.triangles[embedding["dynamic_lmk_faces_idx"][row]]
    weights = embedding["dynamic_lmk_bary_coords"][row][..., None]
    expected = (data.mean_shape[corners] * weights).sum(axis=1)
    np.testing.assert_allclose(points[0, :17].numpy(), expected, atol=1e-5)
    torch.testing.assert_close(points[:, 17:], model.landmarks(vertices)[:, 17:])


def test_every_layout_is_the_same_model(
    folder: Path, data: FaceModelData, tiny_face_data: FaceModelData
):
    arrays = plain(flame_arrays())
    (folder / "flame2023.pkl").write_bytes(Python2Pickle().dumps(arrays))
    np.savez(folder / "flame.npz", **arrays)
    for name in ("flame2023.pkl", "flame.npz"):
        other, message = read_flame(folder / name, tiny_face_data)
        assert str(folder / name) in message and EMBEDDING in message
        np.testing.assert_array_equal(other.mean_shape, data.mean_shape)
        np.testing.assert_array_equal(other.identity_basis, data.identity_basis)
        assert other.card.fingerprint == data.card.fingerprint


def test_the_fingerprint_is_of_the_file_and_the_donor(
    folder: Path, open_face_data: FaceModelData, monkeypatch: pytest.MonkeyPatch
):
    """Not of the last digits of what is computed, nor of the landmarks beside it."""

    def fingerprint(donor: FaceModelData = open_face_data) -> str:
        return read_flame(folder / "generic_model.pkl", donor)[0].card.fingerprint

    def on_another_processor(*arguments: Any) -> Appearance:
        appearance = exact(*arguments)
        return replace(appearance, albedo_basis=appearance.albedo_basis * np.float32(1 + 1e-6))

    exact = flame_file.transfer_appearance
    expected = fingerprint()
    monkeypatch.setattr(flame_file, "transfer_appearance", on_another_processor)
    assert fingerprint() == expected
    (folder / EMBEDDING).unlink()
    assert fingerprint() == expected
    assert fingerprint(replace(open_face_data, fingerprint="another")) != expected
    for key in ("v_template", "shapedirs", "posedirs", "weights"):
        changed = plain(flame_arrays())
        changed[key] = 1.001 * changed[key]
        (folder / "generic_model.pkl").write_bytes(Python2Pickle().dumps(changed))
        assert fingerprint() != expected, key


def test_ringnets_landmarks_are_read_too(
    folder: Path, data: FaceModelData, tiny_face_data: FaceModelData
):
    embedding = flame_embedding(flame_arrays())
    (folder / EMBEDDING).unlink()
    static = {
        "lmk_face_idx": embedding["static_lmk_faces_idx"],
        "lmk_b_coords": embedding["static_lmk_bary_coords"],
    }
    (folder / "flame_static_embedding.pkl").write_bytes(Python2Pickle().dumps(static))
    dynamic: Any = {
        "lmk_face_idx": list(embedding["dynamic_lmk_faces_idx"]),
        "lmk_b_coords": list(embedding["dynamic_lmk_bary_coords"]),
    }
    np.save(folder / "flame_dynamic_embedding.npy", np.array(dynamic, dtype=object))
    other, message = read_flame(folder / "generic_model.pkl", tiny_face_data)
    assert "flame_static_embedding.pkl" in message
    np.testing.assert_array_equal(other.landmark_vertices, data.landmark_vertices)
    assert other.contour is not None and data.contour is not None
    np.testing.assert_array_equal(other.contour.vertices, data.contour.vertices)


def test_without_landmark_files_the_open_models_are_laid_over(
    folder: Path, open_face_data: FaceModelData
):
    (folder / EMBEDDING).unlink()
    data, message = read_flame(folder / "generic_model.pkl", open_face_data)
    assert f"no {EMBEDDING} beside it" in message
    assert data.contour is None
    landmarks = mean_landmarks(data)
    # The dome is no face: eyes and nose must be about where it has them.
    eyes = data.mean_shape[data.regions["eyeballs"]]
    assert np.abs(landmarks[36:48].mean(axis=0) - eyes.mean(axis=0))[:2].max() < 0.1
    assert landmarks[30, 1] < landmarks[36:48, 1].min() and landmarks[8, 1] < landmarks[57, 1]


def test_it_renders_with_joints_and_albedo(data: FaceModelData):
    model = FaceModel(data)
    coefficients = model.layout.split(0.1 * torch.randn(2, model.layout.size))
    result = reconstruct(model, Renderer("torch"), Camera.rnet(), coefficients)
    assert result.rendering.image is not None and result.rendering.image.isfinite().all()
    assert 0.1 < float(result.face_mask.mean()) < float(result.rendering.mask.mean()) < 0.9
    assert data.skin_mask.any() and not data.skin_mask[data.regions["eyeballs"]].any()


def change(**arrays: Any) -> bytes:
    content = flame_arrays() | arrays
    return Python2Pickle().dumps({k: v for k, v in content.items() if v is not None})


WRONG = {
    "page": (lambda: b"<!DOCTYPE html>", "web page"),
    "cut": (lambda: change()[:-500], "cut short"),
    "command": (lambda: b"cos\nsystem\n(S'true'\ntR.", "asks for os.system"),
    "list": (lambda: b"\x80\x02]q\x00.", "holds no named arrays"),
    "other": (lambda: change(v_template=None), "lacks v_template"),
    "basis": (lambda: change(shapedirs=Chumpy(np.zeros((10, 3, 400)))), "shapedirs is"),
    "few": (
        lambda: change(shapedirs=Chumpy(flame_arrays()["shapedirs"].array[..., :300])),
        "300 components, expected 400",
    ),
    "joints": (lambda: change(kintree_table=np.zeros((2, 24))), "kintree_table is"),
    "faces": (lambda: change(f=np.full((4, 3), 9999)), "f must index"),
    "nan": (lambda: change(weights=np.full(flame_arrays()["weights"].shape, np.nan)), "not finite"),
    "text": (lambda: change(posedirs="none"), "posedirs is no array of numbers"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_files_are_named(folder: Path, tiny_face_data: FaceModelData, kind: str):
    content, reason = WRONG[kind]
    (folder / "generic_model.pkl").write_bytes(content())
    match = rf"generic_model\.pkl .*{reason}.*flame\.is\.tue\.mpg\.de"
    with pytest.raises(InputError, match=match):
        read_flame(folder / "generic_model.pkl", tiny_face_data)


WRONG_EMBEDDINGS = {
    "lacks": (lambda e: e.pop("dynamic_lmk_faces_idx"), "lacks dynamic_lmk_faces_idx"),
    "shape": (
        lambda e: e.update(static_lmk_faces_idx=e["static_lmk_faces_idx"][:50]),
        r"static_lmk_faces_idx is \(50,\), expected \(51,\)",
    ),
    "nan": (
        lambda e: e["static_lmk_bary_coords"].fill(np.nan),
        rf"{EMBEDDING} .*static_lmk_bary_coords holds numbers that are not finite.*DECA",
    ),
    "infinite": (
        lambda e: e["dynamic_lmk_bary_coords"].fill(np.inf),
        rf"{EMBEDDING} .*dynamic_lmk_bary_coords holds numbers that are not finite.*DECA",
    ),
    "range": (lambda e: e["dynamic_lmk_faces_idx"].fill(99999), "must lie on its"),
}


@pytest.mark.parametrize("kind", WRONG_EMBEDDINGS)
def test_wrong_landmarks_are_named(folder: Path, tiny_face_data: FaceModelData, kind: str):
    damage, reason = WRONG_EMBEDDINGS[kind]
    embedding = flame_embedding(flame_arrays())
    damage(embedding)
    write_embedding(folder, embedding)
    with pytest.raises(InputError, match=reason):
        read_flame(folder / "generic_model.pkl", tiny_face_data)
