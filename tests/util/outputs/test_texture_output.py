"""`--save texture`: files that other readers open, and the texture in glb and usdz too."""

from __future__ import annotations

import io
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from benchmarks.example_faces import report_face
from data.images import write_image
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from options.output_options import OutputOptions
from tests.glb_reader import Glb
from util.errors import InputError
from util.mesh_files.gltf_file import EncodedTargets, MorphTargets, encode_targets
from util.outputs import NamedOutput, create_outputs, glb
from util.outputs.output import OutputSource, read_photo
from util.photos.face_result import FaceResult
from util.photos.results import ResultWriter, SummaryRow


def outputs(face_model: FaceModel, *save: str, **options: Any) -> tuple[NamedOutput, ...]:
    chosen: dict[str, Any] = {"texture_size": 64} | options
    settings = OutputOptions(save=save, **chosen)
    return create_outputs(OutputSource.of(face_model, Camera.rnet(), "auto", settings))


def photographed(face_model: FaceModel, folder: Path, name: str = "photo.png") -> FaceResult:
    """A face whose photo is there: plain, so that what is seen of it has that colour."""
    face = report_face(face_model)
    width, height = face.alignment.photo_size
    photo = np.full((height, width, 3), [150, 110, 90], np.uint8)
    (folder / "photos").mkdir(exist_ok=True)
    write_image(folder / "photos" / name, photo)
    return replace(face, photo=folder / "photos" / name, stem=Path(name).stem)


@pytest.mark.parametrize("name", ["photo.png", "ann lee.png", "Zoë 顔.png"])
def test_other_readers_find_mesh_and_texture(tiny_face_model: FaceModel, tmp_path: Path, name: str):
    face = photographed(tiny_face_model, tmp_path, name)
    (named,) = outputs(tiny_face_model, "texture", unit="mm")
    named.write(tmp_path / "out", face)
    files = named.output.names(face.stem)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(files)
    text = (tmp_path / "out" / files[0]).read_text(encoding="utf-8")
    assert text.startswith(f"# unit: millimetre\n# face model: {tiny_face_model.card}\nmtllib ")
    mesh: Any = trimesh.load_mesh(tmp_path / "out" / files[0], process=False)
    np.testing.assert_allclose(mesh.vertices, 100 * face.vertices, atol=1e-6)
    assert mesh.visual.material.image.size == (64, 64)
    middle = np.asarray(mesh.visual.material.image)[20:44, 20:44].reshape(-1, 3)
    np.testing.assert_allclose(np.median(middle, axis=0), [150, 110, 90], atol=2)


def test_glb_and_usdz_take_the_texture(tiny_face_model: FaceModel, tmp_path: Path):
    face = photographed(tiny_face_model, tmp_path)
    for named in outputs(tiny_face_model, "texture", "glb", "usdz"):
        named.write(tmp_path, face)
    picture = (tmp_path / f"{face.stem}_textured.png").read_bytes()
    written = Glb.parse((tmp_path / f"{face.stem}.glb").read_bytes())
    written.check()
    assert "COLOR_0" not in written.primitive["attributes"]
    assert written.view(written.json["images"][0]["bufferView"]) == picture
    with zipfile.ZipFile(tmp_path / f"{face.stem}.usdz") as package:
        assert package.read("texture.png") == picture


def test_units_are_encoded_for_the_meshes_that_are_written_alone(
    tiny_face_model: FaceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Once a run, for the vertices of the textured mesh where textures are asked for."""
    face, encoded = photographed(tiny_face_model, tmp_path), []

    def counted(targets: MorphTargets, vertex_count: int) -> EncodedTargets:
        encoded.append(vertex_count)
        return encode_targets(targets, vertex_count)

    monkeypatch.setattr(glb, "encode_targets", counted)
    for save in (("glb", "texture"), ("glb",)):
        for named in outputs(tiny_face_model, *save):
            named.write(tmp_path, face)
            named.write(tmp_path, face)
        written = Glb.parse((tmp_path / f"{face.stem}.glb").read_bytes())
        assert encoded == [len(written.attribute("POSITION"))]
        encoded.clear()


def test_the_picture_shows_the_texture_on_the_turned_face(
    tiny_face_model: FaceModel, tmp_path: Path
):
    face = photographed(tiny_face_model, tmp_path)
    (named,) = outputs(tiny_face_model, "texture")
    named.write(tmp_path, face)
    picture = np.asarray(Image.open(tmp_path / f"{face.stem}_textured_views.jpg")).astype(int)
    assert picture.shape == (336, 3 * 336, 3)
    for view in np.split(picture, 3, axis=1):
        shown = (np.abs(view - [150, 110, 90]) < 12).all(axis=-1).mean()
        assert 0.02 < shown < 0.9 and (view[:4] == 255).all()


def test_several_photos_of_a_person_give_one_texture(tiny_face_model: FaceModel, tmp_path: Path):
    """Made once, and the same beside each of their meshes."""
    faces = [photographed(tiny_face_model, tmp_path, f"{name}.png") for name in "ab"]
    faces = [replace(face, person=tuple(faces)) for face in faces]
    (named,) = outputs(tiny_face_model, "texture")
    for face in faces:
        named.write(tmp_path, face)
    first, second = ((tmp_path / named.output.names(face.stem)[2]).read_bytes() for face in faces)
    assert first == second


def test_light_can_be_removed(tiny_face_model: FaceModel, tmp_path: Path):
    face = photographed(tiny_face_model, tmp_path)
    made = []
    for light in ("keep", "remove"):
        (named,) = outputs(tiny_face_model, "texture", texture_light=light)
        content = named.output.source.textures.png(face)
        made.append(np.asarray(Image.open(io.BytesIO(content))).astype(int))
    assert np.abs(made[0] - made[1])[24:40, 24:40].max() > 5


def test_what_cannot_be_textured(
    tiny_face_model: FaceModel, tiny_face_data: FaceModelData, tmp_path: Path
):
    bare = FaceModel(replace(tiny_face_data, uv=None))
    with pytest.raises(InputError, match="tiny has no texture coordinates; take --face_model open"):
        outputs(bare, "texture")
    with pytest.raises(InputError, match="tiny has no texture coordinates; take --face_model open"):
        outputs(bare, "glb", "texture")
    (named,) = outputs(tiny_face_model, "texture")
    face = photographed(tiny_face_model, tmp_path)
    with pytest.raises(ValueError, match="photo: vertices or light are not finite"):
        named.write(tmp_path, replace(face, vertices=face.vertices * np.nan))
    dark = replace(face.coefficients, texture=face.coefficients.texture * np.nan)
    with pytest.raises(ValueError, match="photo: the texture coefficients are not finite"):
        named.write(tmp_path, replace(face, coefficients=dark))
    face.photo.unlink()
    with pytest.raises(ValueError, match=r"photo\.png cannot be read again"):
        named.write(tmp_path, face)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


@pytest.mark.parametrize("size", [8, 9000])
def test_sizes_that_nobody_can_use(size: int):
    with pytest.raises(ValueError, match=f"--texture_size {size}: it can be 64 to 4096"):
        OutputOptions(texture_size=size)


def test_nothing_of_a_face_outlives_its_run(tiny_face_model: FaceModel, tmp_path: Path):
    """Outputs of a face model that stays loaded, as in the app, are those of the next visitor."""
    made = outputs(tiny_face_model, "glb", "texture")
    face = photographed(tiny_face_model, tmp_path)
    with ResultWriter(tmp_path / "out", made) as writer:
        writer.add(face, SummaryRow(str(face.photo), "ok", 1, face.stem))
        photo = weakref.ref(read_photo(face))
        assert photo() is not None
    assert writer.rows[0].message == "" and (tmp_path / "out" / "photo_textured.png").is_file()
    vertices = weakref.ref(face.vertices)
    del face, writer
    assert photo() is None and vertices() is None
