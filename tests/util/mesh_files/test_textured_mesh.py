"""Textured meshes: the public rule by hand, files that viewers read, files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from data.images import read_image, write_image
from models.synergy.morphable import SynergyFace
from models.synergy.parameters import DDFA_LAYOUT
from tests.ddfa_folder import make_ddfa_folder
from util.errors import InputError
from util.mesh_files.textured_mesh import (
    material_stem,
    nearest_colours,
    read_map,
    textured_part,
    write_public_obj,
    write_textured_obj,
)
from util.synergy.ddfa_files import read_morphable_folder


@pytest.fixture
def mm_folder(tmp_path: Path) -> Path:
    return make_ddfa_folder(tmp_path) / "3dmm_data"


def face_of(folder: Path) -> SynergyFace:
    return SynergyFace(read_morphable_folder(folder).arrays, DDFA_LAYOUT)


def write_kept(folder: Path, face: SynergyFace, keep: int) -> np.ndarray:
    """The public files for the first vertices; returns the triangles, from 0."""
    triangles = face.triangles.numpy()
    part = triangles[(triangles < keep).all(axis=1)]
    np.save(folder / "keptInd.npy", np.arange(keep))
    np.save(folder / "deletedTri.npy", (part[:, ::-1].T + 1).astype(np.int64))
    return part


def test_the_public_rule_by_hand():
    """A map of 256: row int(v 255) from below, column int(u 255)."""
    texture = np.zeros((256, 256, 3), np.uint8)
    texture[..., 0], texture[..., 1] = np.mgrid[:256, :256]
    uv = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.25]])
    found = nearest_colours(texture, uv)
    assert found[:, 0].tolist() == [255, 0, 255 - 63]
    assert found[:, 1].tolist() == [0, 255, 127]


def test_all_of_a_face_without_the_public_files(mm_folder: Path):
    face = face_of(mm_folder)
    part = textured_part(face, mm_folder)
    assert len(part.vertices) == face.vertex_count
    np.testing.assert_array_equal(part.triangles, face.triangles.numpy())
    assert face.uv is not None
    np.testing.assert_allclose(part.vertex_uv, face.uv.numpy())


def test_the_part_that_the_public_files_name(mm_folder: Path):
    face = face_of(mm_folder)
    expected = write_kept(mm_folder, face, 140)
    part = textured_part(face, mm_folder)
    assert part.vertices.tolist() == list(range(140))
    # The file went around the other way: normals must look outwards.
    assert sorted(map(sorted, part.triangles.tolist())) == sorted(map(sorted, expected.tolist()))
    corners = face.mean.reshape(-1, 3).numpy()[part.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).all()


def test_public_files_of_another_model(mm_folder: Path):
    face = face_of(mm_folder)
    write_kept(mm_folder, face, 140)
    np.save(mm_folder / "keptInd.npy", np.arange(10, 53215))
    with pytest.raises(InputError, match=r"keptInd.npy holds numbers from 10 to 53214.*another"):
        textured_part(face, mm_folder)
    np.save(mm_folder / "keptInd.npy", np.zeros((3, 4)))
    with pytest.raises(InputError, match=r"keptInd.npy does not hold numbers"):
        textured_part(face, mm_folder)
    (mm_folder / "keptInd.npy").unlink()
    with pytest.raises(InputError, match=r"keptInd.npy"):
        textured_part(face, mm_folder)


def test_a_face_without_coordinates(mm_folder: Path):
    (mm_folder / "BFM_UV.npy").unlink()
    with pytest.raises(InputError, match=r"no texture coordinates; give --mm_folder"):
        textured_part(face_of(mm_folder), mm_folder)


def test_the_public_obj(tmp_path: Path):
    vertices = np.array([[1.0, 2.0, 3.00004], [4, 5, 6], [7, 8, 9]])
    colours = np.array([[255, 0, 12]] * 3, np.uint8)
    write_public_obj(tmp_path / "a.obj", vertices, np.array([[0, 1, 2]]), colours)
    lines = (tmp_path / "a.obj").read_text().splitlines()
    assert lines[0] == "v 1.0000 2.0000 3.0000 255.0 0.0 12.0"
    assert lines[3] == "f 1 2 3"
    with pytest.raises(ValueError, match="non-finite"):
        write_public_obj(tmp_path / "b.obj", vertices * np.nan, np.array([[0, 1, 2]]), colours)


def test_a_textured_obj_shows_the_map(tmp_path: Path, mm_folder: Path):
    part = textured_part(face_of(mm_folder), mm_folder)
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32] = [200, 30, 40]  # the upper half of the map is that of the face
    vertices = np.random.default_rng(0).normal(size=(len(part.vertices), 3)) * 50
    parts = part.triangles, part.uv, part.uv_triangles
    write_textured_obj(tmp_path / "out" / "a face.obj", vertices, *parts, texture)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a face.obj", "a_face_f623.mtl", "a_face_f623.png"]
    mesh: Any = trimesh.load_mesh(tmp_path / "out" / "a face.obj", process=False)
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-3)
    np.testing.assert_allclose(mesh.visual.uv, part.uv, atol=1e-5)
    image = mesh.visual.material.image
    assert isinstance(image, Image.Image) and image.size == (64, 64)
    colours = mesh.visual.to_color().vertex_colors[:, :3]
    upper = part.uv[:, 1] > 0.55
    assert (colours[upper] == [200, 30, 40]).all() and (colours[part.uv[:, 1] < 0.45] == 0).all()
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "a_face_f623.png"), texture)


def test_names_with_spaces_do_not_meet_others():
    assert material_stem("a_face") == "a_face"
    assert (
        len({material_stem(stem) for stem in ("a face", "a  face", "a\u00a0face", "a_face")}) == 4
    )
    assert not any(c.isspace() for c in material_stem("a \u3000 face"))


def test_maps_by_their_names(tmp_path: Path):
    write_image(tmp_path / "b.png", np.zeros((20, 20, 3), np.uint8))
    assert read_map(tmp_path, ("b_fake_B.png", "b.png")).shape == (20, 20, 3)
    with pytest.raises(InputError, match=r"c_fake_B.png does not exist"):
        read_map(tmp_path, ("c_fake_B.png", "c.png"))
