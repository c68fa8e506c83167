"""`animate.py` from the outside: every kind of driver and of output, and bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from data.images import read_image
from data.video import VideoReader
from models.camera import Camera, rotation_matrix
from models.face_model import FaceModel, FaceModelData
from options import parse_command
from options.face_options import FaceModelOptions
from tests.glb_reader import Glb
from tests.gltf_validator import validation_problems
from tests.saved_faces import random_faces, save_photo, save_video
from tests.test_train_command import load_script
from tests.video_faces import write_face_video
from tests.video_files import Sound, picture, write_file
from util.animation.units_file import read_units
from util.assets import load_face_model
from util.errors import InputError
from util.model_files.face_model_file import read_face_model, write_face_model
from util.photos.face_textures import FACE_MODEL, KEPT, LIGHT
from util.photos.png_file import png_bytes
from util.photos.saved_faces import read_saved_faces
from util.videos.video_measures import decode

COUNT = 5
command = load_script("animate")


@pytest.fixture
def face_model(tmp_path: Path, tiny_face_data: FaceModelData) -> FaceModel:
    """The tiny one, as its file has it."""
    write_face_model(tmp_path / "tiny.npz", tiny_face_data)
    return FaceModel(read_face_model(tmp_path / "tiny.npz"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, face_model: FaceModel) -> Path:
    """The photos of two people and a video of a third."""
    monkeypatch.chdir(tmp_path)
    save_photo(Path("fits/anna"), face_model, random_faces(face_model, 1, 1))
    save_photo(Path("fits/ben"), face_model, random_faces(face_model, 1, 2))
    save_video(Path("fits/talk"), face_model, random_faces(face_model, COUNT, 3))
    return tmp_path


def run(*argv: str) -> None:
    command.main([*argv, "--face_model", "tiny.npz", "--num_cpu_threads", "1", "--size", "64"])


def shapes(face_model: FaceModel, driver: str = "fits/talk.npz", who: str = "anna") -> np.ndarray:
    """(N, V, 3) posed vertices of a person with the driver's expression and pose."""
    own = read_saved_faces(Path(f"fits/{who}.mat")).coefficients(face_model)
    other = read_saved_faces(Path(driver)).coefficients(face_model)
    moved = replace(
        other,
        identity=own.identity.expand(len(other), -1),
        texture=own.texture.expand(len(other), -1),
        gamma=own.gamma.expand(len(other), -1),
    )
    return decode(face_model, Camera.rnet(), moved)[0].numpy()


def test_a_video_has_the_times_of_the_driver(folder: Path):
    run("--coeffs", "fits/anna", "--with", "fits/talk")
    reader = VideoReader(folder / "animations" / "anna_talk.mp4")
    frames = [frame.image for frame in reader]
    assert len(frames) == COUNT and frames[0].shape == (64, 64, 3)
    np.testing.assert_allclose(np.diff(reader.times_s), 1 / 25, atol=1e-4)
    # A face in the middle, grey around it.
    assert np.abs(frames[0][:4, :4].astype(int) - 128).max() < 6
    assert frames[0][28:36, 28:36].std() > 0 or frames[0][32, 32].max() != 128
    assert np.abs(frames[0].astype(int) - frames[-1].astype(int)).max() > 30


def test_every_mesh_is_identity_of_a_with_motion_of_b(folder: Path, face_model: FaceModel):
    run("--coeffs", "fits/anna", "--with", "fits/talk", "--out", "frames", "--frames", "both")
    wanted = shapes(face_model)
    names = sorted(path.name for path in (folder / "frames").iterdir())
    frames = sorted(f"{n:06d}{e}" for n in range(COUNT) for e in (".obj", ".png"))
    assert names == [*frames, "frames.txt"]
    assert (folder / "frames" / "frames.txt").read_text().split() == frames
    for number in range(COUNT):
        mesh = trimesh.load(folder / "frames" / f"{number:06d}.obj", process=False)
        assert isinstance(mesh, trimesh.Trimesh)
        np.testing.assert_allclose(mesh.vertices, wanted[number], atol=1e-5)
    assert read_image(folder / "frames" / "000000.png").shape == (64, 64, 3)
    # A shorter animation into the same folder leaves nothing of the longer one.
    run("--coeffs", "fits/anna", "--with", "fits/ben", "--out", "frames")
    names = sorted(path.name for path in (folder / "frames").iterdir())
    assert names == ["000000.png", "frames.txt"]


def test_frames_of_something_else_stay(folder: Path, face_model: FaceModel):
    """Data sets number their photos the same way."""
    photo = folder / "photos" / "000042.png"
    photo.parent.mkdir()
    photo.write_bytes(b"somebody's")
    with pytest.raises(InputError, match=r"--out photos: 000042\.png there is not of an animation"):
        run("--coeffs", "fits/anna", "--with", "fits/ben", "--out", "photos")
    assert photo.read_bytes() == b"somebody's" and len(list(photo.parent.iterdir())) == 1


def test_a_glb_moves_as_the_meshes_do(folder: Path, face_model: FaceModel):
    run("--coeffs", "fits/anna.json", "--with", "fits/talk.mat", "--out", "anna.glb")
    glb = Glb.parse((folder / "anna.glb").read_bytes())
    glb.check()
    for number, wanted in enumerate(shapes(face_model)):
        np.testing.assert_allclose(10 * glb.vertices(number / 25), wanted, atol=2e-4)


def test_a_photo_gives_one_picture(folder: Path):
    run("--coeffs", "fits/anna", "--with", "fits/ben", "--out", "one.png", "--background", "white")
    picture = read_image(folder / "one.png")
    assert picture.shape == (64, 64, 3) and (picture[0, 0] == 255).all()
    run("--coeffs", "fits/anna", "--with", "fits/ben", "--out", "lit.png", "--light", "plain")
    assert (picture != read_image(folder / "lit.png"))[16:48, 16:48].any()
    with pytest.raises(InputError, match=r"one frame; write a \.png"):
        run("--coeffs", "fits/anna", "--with", "fits/ben", "--out", "one.mp4")
    with pytest.raises(InputError, match=f"there are {COUNT} frames"):
        run("--coeffs", "fits/anna", "--with", "fits/talk", "--out", "one.png")


def test_a_texture_of_the_photo_is_worn(folder: Path, face_model: FaceModel):
    """It is found beside the coefficients; in the photo's pose its own colours are seen."""
    colour = np.array([150, 90, 60], np.uint8)
    plain = np.tile(colour, (64, 64, 1))
    (folder / "fits" / "anna_textured.png").write_bytes(
        png_bytes(plain, {LIGHT: KEPT, FACE_MODEL: str(face_model.card)})
    )
    (folder / "albedo.png").write_bytes(png_bytes(plain, {LIGHT: "removed"}))
    argv = ("--coeffs", "fits/anna", "--background", "black")
    run(*argv, "--out", "one.png")
    picture = read_image(folder / "one.png")
    face = picture[28:36, 28:36].reshape(-1, 3).astype(int)
    assert np.abs(face - colour).max() <= 1
    for more in (("--texture", "model"), ("--texture", "albedo.png"), ("--light", "plain")):
        run(*argv, "--out", "other.png", *more)
        other = read_image(folder / "other.png")
        assert ((other > 0).any(axis=2) == (picture > 0).any(axis=2)).all()
        assert np.abs(other[28:36, 28:36].astype(int) - colour).max() > 5

    run("--coeffs", "fits/anna", "--out", "frames", "--frames", "obj")
    mesh = trimesh.load(folder / "frames" / "000000.obj", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    visual: Any = mesh.visual
    found = np.asarray(visual.vertex_colors)[:, :3].astype(int)
    assert np.abs(found - colour).max() <= 1

    run("--coeffs", "fits/anna", "--with", "fits/talk", "--out", "anna.glb")
    glb = Glb.parse((folder / "anna.glb").read_bytes())
    glb.check()
    assert "COLOR_0" not in glb.primitive["attributes"]
    image = glb.view(glb.json["images"][0]["bufferView"])
    assert image == (folder / "fits" / "anna_textured.png").read_bytes()
    assert validation_problems(folder / "anna.glb") == []


def test_textures_that_cannot_be_worn(folder: Path, tiny_face_data: FaceModelData):
    (folder / "no.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"--texture no\.png cannot be read"):
        run("--coeffs", "fits/anna", "--out", "one.png", "--texture", "no.png")
    (folder / "yes.png").write_bytes(png_bytes(np.zeros((8, 8, 3), np.uint8), {}))
    foreign = png_bytes(np.zeros((8, 8, 3), np.uint8), {FACE_MODEL: "open 0 (0123456789abcdef)"})
    (folder / "foreign.png").write_bytes(foreign)
    named = r"foreign\.png is of face model open 0 \(0123456789abcdef\), not of tiny "
    with pytest.raises(InputError, match=named):
        run("--coeffs", "fits/anna", "--out", "one.png", "--texture", "foreign.png")
    bare = replace(tiny_face_data, uv=None, uv_triangles=None)
    write_face_model(folder / "tiny.npz", bare)
    with pytest.raises(InputError, match=r"yes\.png: face model tiny has no texture coordinates"):
        run("--coeffs", "fits/anna", "--out", "one.png", "--texture", "yes.png")


def units_csv(face_model: FaceModel, folder: Path) -> np.ndarray:
    """A csv with the head's angles; returns the strengths."""
    names = face_model.unit_names
    strengths = np.random.default_rng(0).uniform(0, 1, (COUNT, len(names))).round(3)
    lines = [",".join(["time", *names, "HeadYaw", "HeadPitch", "HeadRoll"])]
    for number, row in enumerate(strengths.tolist()):
        lines.append(",".join(str(cell) for cell in [number / 50, *row, 0.2, -0.1, 0.05]))
    (folder / "units.csv").write_text("\n".join(lines), encoding="utf-8")
    return strengths


def test_a_csv_moves_by_name(folder: Path, face_model: FaceModel):
    """The weights of the file are those of the csv, and with them the mesh is the model's."""
    strengths = units_csv(face_model, folder)
    run("--coeffs", "fits/anna", "--with", "units.csv", "--out", "anna.glb")
    glb = Glb.parse((folder / "anna.glb").read_bytes())
    assert tuple(glb.target_names) == face_model.unit_names
    own = read_saved_faces(folder / "fits" / "anna.mat").coefficients(face_model)
    turn = rotation_matrix(torch.tensor([[-0.1, 0.2, 0.05]]))[0].numpy()
    for number in range(COUNT):
        np.testing.assert_allclose(glb.state(number / 50)["weights"], strengths[number], atol=1e-6)
        made = torch.from_numpy(strengths[number : number + 1]).float()
        shape = face_model.shape(own.identity, made @ face_model.unit_matrix)[0].numpy()
        posed = shape @ turn.T + own.translation_dm[0].numpy()
        np.testing.assert_allclose(10 * glb.vertices(number / 50), posed, atol=2e-4)


def test_angles_of_a_csv_can_be_turned_around_or_left_out(folder: Path, face_model: FaceModel):
    units_csv(face_model, folder)
    argv = ("--coeffs", "fits/anna", "--with", "units.csv", "--out", "head.csv")
    for more, wanted in (
        ((), [0.2, -0.1, 0.05]),
        (("--head_factors", "-1", "2", "1"), [-0.2, -0.2, 0.05]),
        (("--pose_of", "A"), None),
        (("--take", "expression"), None),
    ):
        run(*argv, *more)
        found = read_units(folder / "head.csv", face_model.unit_names)
        if wanted is None:
            own = read_saved_faces(folder / "fits" / "anna.mat").blocks["angles_rad"][0]
            wanted = own[[1, 0, 2]].tolist()
        assert found.head is not None
        np.testing.assert_allclose(found.head, np.tile(wanted, (COUNT, 1)), atol=1e-6)


def test_a_video_can_drive_other_programs(folder: Path, face_model: FaceModel):
    """Its units as csv; read again they are the same strengths."""
    run("--with", "fits/talk", "--out", "talk.csv")
    first = read_units(folder / "talk.csv", face_model.unit_names)
    np.testing.assert_allclose(np.diff(first.times_s), 1 / 25, atol=1e-5)
    run("--coeffs", "fits/anna", "--with", "talk.csv", "--out", "again.csv")
    again = read_units(folder / "again.csv", face_model.unit_names)
    np.testing.assert_allclose(again.strengths, first.strengths, atol=1e-6)
    assert first.strengths.max() > 0.05


def test_relative_begins_where_a_is(folder: Path, face_model: FaceModel):
    run(
        *("--coeffs", "fits/anna", "--with", "fits/talk", "--out", "frames", "--frames", "obj"),
        *("--relative", "--neutral", "2"),
    )
    own = read_saved_faces(folder / "fits" / "anna.mat").coefficients(face_model)
    wanted = decode(face_model, Camera.rnet(), own)[0][0].numpy()
    mesh = trimesh.load(folder / "frames" / "000002.obj", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    np.testing.assert_allclose(mesh.vertices, wanted, atol=1e-5)


def test_a_video_file_is_fitted_first(
    folder: Path, face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    """By fit.py, with the flags that both commands have, and its sound is kept."""
    sound = Sound(0.1 * np.sin(np.arange(44100) / 20))
    write_file(folder / "song.mp4", [picture(n) for n in range(COUNT)], sound=sound)
    asked = []

    def fit(argv: list[str]) -> None:
        asked.append(argv)
        save_video(folder / "tracked" / "song", face_model, random_faces(face_model, COUNT, 3))

    monkeypatch.setattr(command.fit, "main", fit)
    argv = ("--coeffs", "fits/anna", "--with", "song.mp4", "--out", "anna.mp4")
    run(*argv, "--res_folder", "tracked", "--detector", "dlib", "--preset", "fast")
    (given,) = asked
    assert given[:4] == ["--v_path", "song.mp4", "--res_folder", "tracked"]
    assert {"--save_video=False", "--detector=dlib", "--face_model=tiny.npz"} <= set(given)
    assert "--num_cpu_threads=1" in given and "--size=64" not in given
    parse_command(command.fit.GROUPS, given)
    assert len(VideoReader(folder / "anna.mp4")) == COUNT


@pytest.mark.slow
def test_a_video_file_is_fitted_with_the_face_model_of_a(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    """In earnest; the command line sets the level of detail."""
    coarse = load_face_model(FaceModelOptions("open@0"))
    write_face_video(folder / "talk.mp4", coarse, 6)
    save_photo(Path("fits/carl"), coarse, random_faces(coarse, 1, 4))
    command.main(
        [
            *("--coeffs", "fits/carl", "--with", "talk.mp4", "--out", "carl.glb"),
            *("--face_model", "open@0", "--preset", "fast", "--num_cpu_threads", "1"),
            *("--gpu_ids", "-1", "--res_folder", "tracked", "--targets", "units"),
        ]
    )
    assert "6 frames written to carl.glb" in capsys.readouterr().out
    assert read_saved_faces(folder / "tracked" / "talk.npz").record.named == str(coarse.card)
    assert not (folder / "tracked" / "talk_fit.mp4").exists()
    glb = Glb.parse((folder / "carl.glb").read_bytes())
    assert tuple(glb.target_names) == coarse.unit_names
    assert validation_problems(folder / "carl.glb") == []


def test_models_without_units_take_no_csv(
    folder: Path, face_model: FaceModel, tiny_face_data: FaceModelData
):
    units_csv(face_model, folder)
    bare = replace(tiny_face_data, unit_names=(), unit_matrix=np.zeros((0, 0), np.float32))
    write_face_model(folder / "tiny.npz", bare)
    with pytest.raises(InputError, match=r"units\.csv: face model .* has no named units"):
        run("--coeffs", "fits/anna", "--with", "units.csv")
    with pytest.raises(InputError, match=r"units\.csv: face model .* has no named"):
        run("--coeffs", "fits/anna", "--with", "fits/talk", "--out", "units.csv")
    run("--coeffs", "fits/anna", "--with", "fits/talk", "--out", "anna.glb")


def test_people_of_two_face_models_are_refused(
    folder: Path, tiny_face_data: FaceModelData, face_model: FaceModel
):
    other = FaceModel(
        replace(tiny_face_data, name="other", mean_shape=1.1 * tiny_face_data.mean_shape)
    )
    save_video(Path("fits/other"), other, random_faces(other, 2))
    with pytest.raises(InputError) as caught:
        run("--coeffs", "fits/anna", "--with", "fits/other")
    for told in ("other.npz", str(other.card), str(face_model.card)):
        assert told in str(caught.value)
    assert not Path("animations").exists()


def test_files_that_do_not_say_their_face_model_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "fits" / "talk_report.json").unlink()
    run("--coeffs", "fits/anna", "--with", "fits/talk", "--out", "anna.glb")
    told = capsys.readouterr().out
    assert "talk.npz: nothing beside it says its face model" in told and "anna.mat:" not in told


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        ((), "nothing to animate"),
        (("--coeffs", "fits/nobody"), "no such file, nor nobody.mat"),
        (("--coeffs", "photo.jpg"), "is a photo; fit it first: python fit.py photo.jpg"),
        (("--coeffs", "units.csv"), "units have no identity"),
        (("--with", "units.csv"), "units have no identity"),
        (("--coeffs", "fits/anna", "--with", "photo.jpg"), "--with photo.jpg is a photo"),
        (("--coeffs", "fits/anna", "--with", "notes.txt"), r"notes\.txt"),
        (("--coeffs", "fits/anna", "--with", "none.csv"), "there is no such file"),
        (("--coeffs", "fits/anna", "--take", "hair"), "--take hair is unknown"),
        (("--coeffs", "fits/anna", "--take", "expression", "--pose_of", "B"), "needs pose"),
        (("--coeffs", "fits/anna", "--with", "fits/talk", "--fps", "25"), "--fps is for a csv"),
        (("--coeffs", "fits/anna", "--neutral", "1"), "--neutral is for --relative"),
        (("--coeffs", "fits/anna", "--smooth_beta", "1"), "--smooth_beta is for --smooth"),
        (("--coeffs", "fits/anna", "--texture", "no.png"), r"--texture no\.png: there is no such"),
        (("--with", "fits/talk", "--out", "x.csv", "--texture", "model"), "is for pictures and"),
        (("--coeffs", "fits/talk", "--out", "x.gif"), "the ending is unknown"),
        (("--coeffs", "fits/talk", "--relative", "--neutral", "9"), "there are frames 0 to 4"),
        (("--coeffs", "fits/talk", "--head_factors", "1", "2"), "needs 3 numbers"),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, argv: tuple[str, ...], problem: str):
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "notes.txt").write_text("notes", encoding="utf-8")
    (folder / "units.csv").write_text("time,jawOpen\n0,1\n", encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        run(*argv)
    assert not (folder / "animations").exists()
