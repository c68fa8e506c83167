"""A SynergyNet's face before the writers of `--save`: the same pixels by every file's camera."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.images import write_image
from data.square_crop import SquareCrop
from models.face_model import FaceModel, FaceModelData
from models.synergy.morphable import SynergyFace, SynergyFaceArrays, face_arrays
from models.synergy.parameters import DDFA_LAYOUT, SynergyLayout
from models.synergy.pose import label_rotation, pose_numbers
from options.face_options import FaceModelOptions
from options.output_options import OutputOptions
from tests.glb_reader import Glb
from tests.gltf_validator import validation_problems
from util.errors import InputError
from util.photos.face_result import FaceResult
from util.synergy.datatool_files import stand_in_arrays
from util.synergy.synergy_faces import SynergyResult, decode_faces
from util.synergy.synergy_reconstruction import (
    SynergyReconstruction,
    full_face_model,
)

SIZE = (400, 300)
CROP = SquareCrop(SIZE, 110, 40, 290, 220)
KINDS = ("glb", "ply", "usdz", "camera", "depth", "mask", "normals", "neutral", "visibility")


@pytest.fixture(scope="module")
def face(open_face_data: FaceModelData) -> SynergyFace:
    return SynergyFace(face_arrays(FaceModel(open_face_data), DDFA_LAYOUT), DDFA_LAYOUT)


@pytest.fixture(scope="module")
def parameters() -> torch.Tensor:
    """A turned, tilted head whose predicted rows are neither orthogonal nor equally long."""
    generator = torch.Generator().manual_seed(5)
    rotation = label_rotation(torch.deg2rad(torch.tensor([[8.0, 25.0, -11.0]])))
    pose = pose_numbers(torch.tensor([4.6e-4]), rotation, torch.tensor([[57.0, 66.0, -70.0]]))
    pose[:, :3] *= 1.02
    pose[:, 4] += 8e-6
    numbers = torch.randn(1, 50, generator=generator)
    return torch.cat([pose, numbers], dim=1)


@pytest.fixture(scope="module")
def found(face: SynergyFace, parameters: torch.Tensor) -> SynergyResult:
    trained: Any = SimpleNamespace(network=SimpleNamespace(face=face))
    return decode_faces(trained, parameters, [CROP])[0]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Red to the right, green downwards: colours say where they are from."""
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    return np.stack([columns % 256, rows % 256, 0 * rows + 90], axis=2).astype(np.uint8)


def reconstruction(face: SynergyFace, *names: str, **options: Any) -> SynergyReconstruction:
    return SynergyReconstruction(face, FaceModelOptions(), OutputOptions(save=names, **options))


@pytest.fixture(scope="module")
def written(
    face: SynergyFace,
    found: SynergyResult,
    image: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, FaceResult]:
    """The files of all kinds, lengths in metres."""
    folder = tmp_path_factory.mktemp("synergy")
    write_image(folder / "photo.png", image)
    made = reconstruction(face, *KINDS, unit="m")
    result = made(found, image, folder / "photo.png", 1, "photo")
    for named in made.outputs:
        named.write(folder, result)
    return folder, result


def test_the_camera_file_projects_the_mesh_in_all_conventions(
    written: tuple[Path, FaceResult], found: SynergyResult
):
    folder, result = written
    camera = json.loads((folder / "photo_camera.json").read_text())
    assert camera["projection"] == "weak" and camera["unit"] == "m"
    assert not {"distance", "focal_px", "depth", "focal_35mm"} & set(camera)
    assert "K" not in camera["opencv"]
    mesh, pixels = 0.1 * result.vertices, found.vertices[:, :2]
    cv = {key: np.array(value) for key, value in camera["opencv"].items()}
    seen = (mesh @ cv["mesh_R"].T + cv["mesh_t"])[:, :2] * cv["scale"] + cv["centre"]
    np.testing.assert_allclose(seen, pixels - 0.5, atol=1e-6)

    gl = {key: np.array(value) for key, value in camera["opengl"].items()}
    points = np.column_stack([mesh, np.ones(len(mesh))])
    clip = points @ (gl["projection"] @ gl["mesh_model_view"]).T
    np.testing.assert_allclose(clip[:, 3], 1)
    assert np.abs(clip[:, 2]).max() < 1
    assert clip[mesh[:, 2].argmax(), 2] == clip[:, 2].min()  # nearest first
    window = np.stack([(clip[:, 0] + 1) / 2 * SIZE[0], (1 - clip[:, 1]) / 2 * SIZE[1]], axis=1)
    np.testing.assert_allclose(window, pixels, atol=1e-6)

    p3d = camera["pytorch3d"]
    view = mesh @ np.array(p3d["mesh_R"]) + p3d["mesh_T"]
    # PyTorch3D's x and y go left and up, screens' right and down.
    screen = np.array(p3d["principal_point"]) - view[:, :2] * p3d["focal_length"]
    np.testing.assert_allclose(screen, pixels, atol=1e-6)


def test_the_head_at_rest_lies_at_the_head_pose(
    written: tuple[Path, FaceResult], face: SynergyFace, parameters: torch.Tensor
):
    """Up to what the predicted matrix lacks of a rotation: 2 % of stretch, 1 degree of shear."""
    _, result = written
    head = result.head_vertices
    expected = face.shape(parameters)[0].double().numpy() / 1e5
    assert np.linalg.norm(head - expected, axis=1).max() < 0.06
    rotation = result.head_rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_the_glb_moves_by_name_and_its_camera_is_orthographic(
    written: tuple[Path, FaceResult], found: SynergyResult, open_face_model: FaceModel
):
    folder, result = written
    glb = Glb.parse((folder / "photo.glb").read_bytes())
    assert glb.target_names == ["photo", *open_face_model.unit_names]
    np.testing.assert_allclose(glb.vertices(), 0.1 * result.vertices, atol=1.1e-5)
    (camera,) = glb.json["cameras"]
    assert camera["type"] == "orthographic" and "perspective" not in camera
    half, extras = camera["orthographic"], camera["extras"]
    left, top, width, height = extras["picture"]
    assert (width, height) == SIZE
    scale = np.array(extras["pixels_a_metre"])
    view = 2 * np.array([half["xmag"], half["ymag"]]) * scale
    seen = (glb.vertices()[:, :2] * [1, -1] * scale + view / 2) - [left, top]
    np.testing.assert_allclose(seen, found.vertices[:, :2], atol=0.05)
    assert half["zfar"] > half["znear"] > 0
    assert validation_problems(folder / "photo.glb") == []


def test_colours_are_the_photos_where_it_shows_the_vertex(
    written: tuple[Path, FaceResult], found: SynergyResult
):
    folder, result = written
    seen = np.load(folder / "photo_visibility.npy")
    assert 0.4 < seen.mean() < 0.95
    pixels = found.vertices[:, :2]
    near = seen & (found.vertices[:, 2] > np.quantile(found.vertices[:, 2], 0.7))
    inside = near & (pixels[:, 0] < 250) & (pixels[:, 1] < 250)
    expected = (pixels[inside] - 0.5) / 255
    # The others, at the lips and eyelids, are seen at too flat an angle to give a colour.
    same = np.abs(result.colours[inside][:, :2] - expected).max(axis=1) < 0.01
    assert same.mean() > 0.93
    assert len(np.unique(result.colours[~seen], axis=0)) > 100  # the albedo's, not one mean


def test_maps_lie_where_the_face_is(written: tuple[Path, FaceResult], found: SynergyResult):
    folder, result = written
    mask = np.asarray(Image.open(folder / "photo_mask.png")) > 0
    rows, columns = np.nonzero(mask)
    low, high = found.vertices[:, :2].min(axis=0), found.vertices[:, :2].max(axis=0)
    assert abs(columns.min() - low[0]) < 2 and abs(columns.max() + 1 - high[0]) < 2
    assert abs(rows.min() - low[1]) < 2 and abs(rows.max() + 1 - high[1]) < 2
    depth = np.load(folder / "photo_depth.npy")
    nearest = 1 - 0.1 * result.vertices[:, 2].max()  # the head's origin lies at 1 m
    assert depth[mask].min() == pytest.approx(nearest, abs=1e-3)


def test_a_file_of_3dmm_data_alone_has_a_face_of_its_own(
    face: SynergyFace, found: SynergyResult, image: np.ndarray, tmp_path: Path
):
    """No named units, no texture coordinates: the photo's expression is the only target."""
    other = SynergyFace(
        replace(
            _arrays(face),
            card=replace(face.card, name="3dmm_data", fingerprint="of public files"),
        ),
        DDFA_LAYOUT,
    )
    write_image(tmp_path / "photo.png", image)
    made = reconstruction(other, "glb", "ply", "usdz")
    result = made(found, image, tmp_path / "photo.png", 1, "photo")
    for named in made.outputs:
        named.write(tmp_path, result)
    glb = Glb.parse((tmp_path / "photo.glb").read_bytes())
    assert glb.target_names == ["photo"]
    np.testing.assert_allclose(glb.vertices(), 0.1 * result.vertices, atol=1.1e-5)
    with pytest.raises(InputError, match="3dmm_data has no texture coordinates"):
        reconstruction(other, "texture")


def test_the_datatools_variant_has_files_too(
    open_face_model: FaceModel, image: np.ndarray, tmp_path: Path
):
    """A pose of 7 numbers, crops of 450 pixels, 77 landmarks."""
    arrays = stand_in_arrays(open_face_model)
    layout = SynergyLayout(7, arrays.shape_basis.shape[2], arrays.expression_basis.shape[2])
    tool = SynergyFace(arrays, layout, 450)
    parameters = torch.zeros(1, layout.size)
    parameters[0, :7] = torch.tensor([0.1, -0.4, 0.2, 225, 230, 0, 1.6e-3])
    trained: Any = SimpleNamespace(network=SimpleNamespace(face=tool))
    found = decode_faces(trained, parameters, [replace(CROP, crop_px=450)])[0]
    result = reconstruction(tool, "none")(found, image, tmp_path / "photo.png", 1, "photo")
    camera = result.camera
    seen = (result.vertices @ camera.mesh_R.T)[:, :2] * camera.pixels_a_dm + camera.K[:2, 2]
    np.testing.assert_allclose(seen, found.vertices[:, :2], atol=1e-6)
    assert result.landmarks_index.shape == (68, 2)
    np.testing.assert_allclose(result.landmarks_photo, found.landmarks[:68, :2] - 0.5, atol=1e-6)
    np.testing.assert_allclose(result.head_vertices, tool.shape(parameters)[0] / 1e5, atol=1e-4)


def test_fields_mean_what_they_mean_of_other_methods(
    face: SynergyFace, parameters: torch.Tensor, image: np.ndarray, tmp_path: Path
):
    """In a stretched crop too, whose pixels are wider than high."""
    trained: Any = SimpleNamespace(network=SimpleNamespace(face=face))
    crop = SquareCrop(SIZE, 90, 60, 310, 220)
    found = decode_faces(trained, parameters, [crop])[0]
    given = found.landmarks[:, :2] + 2
    made = reconstruction(face, "none")
    result = made(found, image, tmp_path / "a.png", 1, "a", given=given)
    assert result.albedo is None and result.light is None
    assert result.coefficients.gamma.isnan().all() and result.coefficients.texture.isnan().all()
    assert result.alignment == crop and result.pixels is not None
    with pytest.raises(ValueError, match="a: its crop was not aligned"):
        _ = result.aligned
    camera = result.camera
    seen = (result.vertices @ camera.mesh_R.T)[:, :2] * camera.pixels_a_dm + camera.K[:2, 2]
    np.testing.assert_allclose(seen, found.vertices[:, :2], atol=1e-6)
    posed = result.vertices - result.head_translation_dm
    matrix = parameters[0, :12].reshape(3, 4)[:, :3].double().numpy()
    scale = np.linalg.norm(matrix[:2], axis=1).mean()
    shape = face.shape(parameters)[0].double().numpy() / 1e5
    np.testing.assert_allclose(posed, shape @ matrix.T / scale, atol=1e-5)
    np.testing.assert_allclose(result.landmarks_photo, found.landmarks[:, :2] - 0.5, atol=1e-6)
    assert result.given_landmarks_index is not None and result.picture is not None
    np.testing.assert_allclose(result.in_photo(result.given_landmarks_index), given + 0.5)
    plain, overlay, dots = np.split(result.picture, 3, axis=1)
    assert plain.shape == (224, 224, 3)
    np.testing.assert_allclose(plain[100, 100, 0], 90 + 100.5 * 220 / 224, atol=1)
    changed = (overlay != plain).any(axis=2)
    columns = np.flatnonzero(changed.any(axis=0))
    edges = (found.vertices[:, 0].min() - 90, found.vertices[:, 0].max() - 90)
    np.testing.assert_allclose(columns[[0, -1]], np.array(edges) * 224 / 220, atol=3)
    assert ((dots == [255, 0, 0]).all(axis=2) & (overlay != dots).any(axis=2)).sum() > 300
    assert ((dots == [0, 0, 255]).all(axis=2)).sum() > 100


def test_the_whole_model_is_the_named_one(face: SynergyFace, open_face_model: FaceModel):
    whole = full_face_model(face, FaceModelOptions())
    assert whole.unit_names == open_face_model.unit_names
    assert whole.card == open_face_model.card


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("world", "K projects the mesh"),
        ("eg3d", "where the camera stands"),
        ("panohead", "from where the camera sees"),
        ("sadtalker", "before its own camera"),
        ("real3dportrait", "before its own camera"),
    ],
)
def test_kinds_that_need_a_distance_are_refused(face: SynergyFace, name: str, problem: str):
    with pytest.raises(InputError, match=rf"--save {name}: .*{problem}.*weak perspective.*fit.py"):
        reconstruction(face, "glb", name)


def _arrays(face: SynergyFace) -> SynergyFaceArrays:
    count = face.vertex_count
    return SynergyFaceArrays(
        card=face.card,
        mean=face.mean.reshape(-1, 3).numpy(),
        shape_basis=face.shape_basis.T.reshape(count, 3, -1).numpy(),
        expression_basis=face.expression_basis.T.reshape(count, 3, -1).numpy(),
        landmark_vertices=np.arange(68)[:, None],
        landmark_weights=np.ones((68, 1), np.float32),
        triangles=face.triangles.numpy(),
    )
