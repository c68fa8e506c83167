"""`test.py --model synergy` from the outside: photos, videos, textures, bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from data.images import read_image, write_image
from data.square_crop import SquareCrop
from models.face_model import FaceModel
from models.synergy.network import SynergyNetwork
from tests.commands import load_script
from tests.synergy_files import YAW_DEG, Following, save_random_synergy, write_photos
from tests.test_test_command import two_faces
from tests.video_files import write_file
from util.errors import InputError
from util.photos.results import NO_BETTER
from util.synergy import synergy_photos, synergy_track

command = load_script("test")
RUN = ["--model", "synergy", "--gpu_ids", "-1", "--num_cpu_threads", "1"]
MINE = ["--name", "syn", "--epoch", "3"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def network(folder: Path) -> SynergyNetwork:
    """It sees the same turned face in each crop."""
    path = folder / "checkpoints" / "syn" / "epoch_3.pth"
    return save_random_synergy(folder, path, fixed=True)


@pytest.fixture
def photos(folder: Path, open_face_model: FaceModel) -> Path:
    return write_photos(folder / "photos", open_face_model)


def rows(results: Path) -> dict[str, dict[str, str]]:
    with (results / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {Path(row["image"]).name: row for row in csv.DictReader(file)}


def expected_landmarks(network: SynergyNetwork, crop: SquareCrop) -> np.ndarray:
    """(68, 3) of the face that the network sees, pixel indices of the photo, written out."""
    points = network.face.landmarks(network.whitening_mean[None])[0].double().numpy()
    left, top, right, bottom = crop.corners
    x = (points[0] - 0.5) * (right - left) / 120 + left - 0.5
    y = (points[1] - 0.5) * (bottom - top) / 120 + top - 0.5
    return np.stack([x, y, points[2] * (right - left + bottom - top) / 240], axis=1)


def test_a_folder_of_photos(network: SynergyNetwork, photos: Path, capsys):
    command.main([*RUN, *MINE, "--img_folder", str(photos)])
    results = Path("checkpoints/syn/results/photos/epoch_3_000000")
    names = {path.name for path in results.iterdir()}
    pictures = {f"a_{kind}.jpg" for kind in ("landmarks", "pose", "overlay")}
    assert names >= {"a.json", "a.obj", "a.png", "a_report.html", "index.html", *pictures}
    assert "a.mat" not in names and "summary.csv" in names
    shown = capsys.readouterr().out
    assert f"1 of 2 photos reconstructed in {results}" in shown
    assert f"Open in a browser: {results / 'a_report.html'}" in shown
    summary = rows(results)
    assert summary["sky.png"]["status"] == "failed" and "no face" in summary["sky.png"]["message"]
    # The same line as of other networks; the errors are those of the files beside.
    inner, jaw, mean = (
        float(summary["a.png"][f"nme_{name}"]) for name in ("inner", "jaw", "inner_mean_face")
    )
    assert f"against the detected ones: {100 * inner:.1f} % of the outer-eye" in shown
    assert f"(mean face in the pose of the five points: {100 * mean:.1f} %)" in shown
    record, given = (
        np.array(json.loads((results / "a.json").read_text())["landmarks"])[:, :2],
        np.loadtxt(photos / "landmarks" / "a.txt"),
    )
    distances = np.linalg.norm(record - given, axis=1) / np.linalg.norm(given[36] - given[45])
    assert inner == pytest.approx(distances[17:].mean(), abs=1e-4)
    assert jaw == pytest.approx(distances[:17].mean(), abs=1e-4)
    # The labels of 300W-LP turn the other way than all other results.
    assert float(summary["a.png"]["yaw_deg"]) == pytest.approx(-YAW_DEG, abs=1e-3)
    assert float(summary["a.png"]["roll_deg"]) == pytest.approx(0, abs=1e-3)

    given = np.loadtxt(photos / "landmarks" / "a.txt")
    crop = SquareCrop.about_landmarks(given, (400, 300))
    record = json.loads((results / "a.json").read_text())
    # The alignment through which landmarks go keeps them to a hundredth of a pixel.
    assert np.abs(np.array(record["box"]) - crop.corners).max() <= 1
    crop = SquareCrop((400, 300), *record["box"])
    expected = expected_landmarks(network, crop)
    np.testing.assert_allclose(record["landmarks"], expected, atol=0.01)

    mesh = trimesh.load_mesh(results / "a.obj", process=False, maintain_order=True)
    assert len(mesh.vertices) == network.face.vertex_count
    vertices = network.face.vertices(network.whitening_mean[None])[0].double().numpy()
    x = (vertices[0] - 0.5) * crop.scales[0] + crop.left
    np.testing.assert_allclose(mesh.vertices[:, 0], x, atol=1e-3)
    y = (vertices[1] - 0.5) * crop.scales[1] + crop.top
    np.testing.assert_allclose(mesh.vertices[:, 1], 300 - y, atol=1e-3)
    overlay = read_image(results / "a_overlay.jpg").astype(int)
    changed = np.abs(overlay - read_image(photos / "a.png")).max(axis=2) > 40
    at_rows, at_columns = np.nonzero(changed)
    assert len(at_rows) > 2000
    assert x.min() - 9 < at_columns.min() and at_columns.max() < x.max() + 9
    assert y.min() - 9 < at_rows.min() and at_rows.max() < y.max() + 9


def test_further_files_of_each_face(network: SynergyNetwork, photos: Path, capsys):
    """They are those that --save names, and what an earlier run wrote besides goes."""
    results = Path("out")
    run = [*RUN, *MINE, "--img_folder", str(photos), "--res_folder", "out", "--draw", "False"]
    command.main([*run, "--save", "glb", "ply", "camera"])
    names = {path.name for path in results.iterdir()}
    assert names >= {"a.json", "a.obj", "a.glb", "a.ply", "a_camera.json"}
    camera = json.loads((results / "a_camera.json").read_text())["opencv"]
    mesh = trimesh.load_mesh(results / "a.ply", process=False, maintain_order=True)
    posed = mesh.vertices @ np.transpose(camera["mesh_R"]) + camera["mesh_t"]
    seen = posed[:, :2] * camera["scale"] + camera["centre"] + 0.5
    of_photo = trimesh.load_mesh(results / "a.obj", process=False, maintain_order=True).vertices
    np.testing.assert_allclose(seen[:, 0], of_photo[:, 0], atol=1e-3)
    np.testing.assert_allclose(300 - seen[:, 1], of_photo[:, 1], atol=1e-3)
    assert rows(results)["a.png"]["message"] == NO_BETTER  # the network is random
    command.main([*run, "--save", "mask"])
    names = {path.name for path in results.iterdir()}
    assert names >= {"a_mask.png", "a_report.html"}
    assert not names & {"a.glb", "a.ply", "a_camera.json"}
    # Without meshes, what shows one unasked is left out too.
    command.main([*run, "--save_mesh", "none"])
    left = {path.name for path in results.glob("a*")}
    assert left == {"a.json"}
    command.main([*run, "--save_mesh", "none", "--report", "True"])
    assert {path.name for path in results.glob("a*")} == {"a.json", "a.png", "a_report.html"}


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--save", "world"], "--save world: .*weak perspective"),
        (["--save", "glbs"], r"--save glbs: .*did you mean glb\?"),
        (["--save", "texture", "--texture_light", "remove"], "predicts no light"),
        (["--v_path", "v.mp4", "--save", "ply", "glb"], "--save ply glb is for photos"),
    ],
)
def test_kinds_that_cannot_be(
    network: SynergyNetwork, photos: Path, flags: list[str], problem: str
):
    place = [] if "--v_path" in flags else ["--img_folder", str(photos)]
    with pytest.raises(InputError, match=problem):
        command.main([*RUN, *MINE, *place, "--res_folder", "out", *flags])
    assert not list(Path("out").glob("*.json"))


def test_all_faces(network: SynergyNetwork, photos: Path, monkeypatch: pytest.MonkeyPatch):
    landmarks = np.loadtxt(photos / "landmarks" / "a.txt")
    (photos / "landmarks" / "a.txt").unlink()
    (photos / "sky.png").unlink()
    monkeypatch.setattr(synergy_photos, "create_detector", lambda options: two_faces(landmarks))
    command.main(
        [*RUN, *MINE, "--img_folder", str(photos), "--faces", "all", "--res_folder", "out"]
    )
    assert {path.name for path in Path("out").glob("*.obj")} == {"a.obj", "a_2.obj"}
    boxes = [json.loads(Path(f"out/{stem}.json").read_text())["box"] for stem in ("a", "a_2")]
    np.testing.assert_allclose(np.subtract(*boxes[::-1]), 6, atol=1)
    with (Path("out") / "summary.csv").open(encoding="utf-8") as file:
        states = [row["status"] for row in csv.DictReader(file)]
    assert sorted(states) == ["failed", "ok", "ok"]


def test_whole_photos_and_public_weights_flag(
    network: SynergyNetwork, folder: Path, capsys: pytest.CaptureFixture[str]
):
    write_image(folder / "crops" / "c.png", np.full((150, 140, 3), 50, np.uint8))
    weights = ["--weights", "checkpoints/syn/epoch_3.pth", "--crop", "whole", "--draw", "False"]
    command.main([*RUN, *weights, "--img_folder", "crops", "--res_folder", "out"])
    assert "against the detected ones" not in capsys.readouterr().out, "there are none"
    record = json.loads(Path("out/c.json").read_text())
    assert record["box"] == [0, 0, 140, 150]
    assert not list(Path("out").glob("*.jpg"))
    expected = expected_landmarks(network, SquareCrop.whole((140, 150)))
    np.testing.assert_allclose(record["landmarks"], expected, atol=1e-3)
    # One that cannot be read any more keeps them.
    (folder / "crops" / "c.png").write_bytes((folder / "crops" / "c.png").read_bytes()[:99])
    with pytest.raises(InputError, match="the files of an earlier run are as they were"):
        command.main([*RUN, *weights, "--img_folder", "crops", "--res_folder", "out"])
    assert json.loads(Path("out/c.json").read_text()) == record


def test_textures(network: SynergyNetwork, photos: Path, folder: Path):
    argv = [*RUN, *MINE, "--img_folder", str(photos / "a.png"), "--res_folder", "out"]
    with pytest.raises(InputError, match="needs --uv_folder"):
        command.main([*argv, "--save_mesh", "textured"])
    textured = [*argv, "--save_mesh", "textured", "--uv_folder", "maps"]
    command.main(textured)
    assert "maps/a_fake_B.png does not exist" in rows(Path("out"))["a.png"]["message"]
    write_image(folder / "maps" / "a_fake_B.png", np.full((64, 64, 3), 77, np.uint8))
    command.main(textured)
    mesh: Any = trimesh.load_mesh("out/a.obj", process=False)
    assert (mesh.visual.to_color().vertex_colors[:, :3] == 77).all()
    assert rows(Path("out"))["a.png"]["message"] == NO_BETTER
    # The map does not take the name of the picture of the face.
    assert read_image("out/a.png").shape == (224, 3 * 224, 3)
    command.main(argv)
    assert not list(Path("out").glob("a_map.*"))


def test_a_video(network: SynergyNetwork, photos: Path, monkeypatch, capsys):
    landmarks = np.loadtxt(photos / "landmarks" / "a.txt") - [60, 0]
    photo = read_image(photos / "a.png")
    write_file(Path("talk.mp4"), [photo] * 24)
    following = Following(landmarks)
    monkeypatch.setattr(synergy_track, "LandmarkTracker", lambda detector: following)
    command.main([*RUN, *MINE, "--v_path", "talk.mp4"])
    # As folders of photos: by the name, and by the epoch that was loaded.
    out = Path("checkpoints/syn/results/talk/epoch_3_000000")
    with np.load(out / "talk.npz") as archive:
        arrays = dict(archive)
    assert arrays["found"].tolist() == [n != 12 for n in range(24)]
    assert (arrays["landmarks"][12] == 0).all()
    np.testing.assert_allclose(arrays["angles_deg"][5], [0, YAW_DEG, 0], atol=0.5)
    # What the network sees in each crop is the same: the face goes where its crops go.
    nose = arrays["landmarks"][arrays["found"], 30, 0]
    assert np.polyfit(np.flatnonzero(arrays["found"]), nose, 1)[0] == pytest.approx(1, abs=0.1)
    shown = capsys.readouterr().out
    assert "23 of 24 frames followed" in shown
    calm, before = (float(word) for word in _numbers(shown, "jitter"))
    assert calm < 0.6 * before
    assert f"{out / 'talk_report.html'}" in shown
    assert (out / "talk_synergy.mp4").stat().st_size > 1000


def _numbers(text: str, after: str) -> list[str]:
    words = text.partition(after)[2].replace(",", " ").split()
    return [word for word in words if word.replace(".", "").isdigit()][:2]


def test_without_smoothing_frames_are_as_predicted(
    network: SynergyNetwork, photos: Path, monkeypatch
):
    landmarks = np.loadtxt(photos / "landmarks" / "a.txt") - [60, 0]
    write_file(Path("talk.mp4"), [read_image(photos / "a.png")] * 4)
    monkeypatch.setattr(synergy_track, "LandmarkTracker", lambda detector: Following(landmarks))
    run = ["--v_path", "talk.mp4", "--res_folder", "out", "--smooth_min_hz", "0", "--draw", "False"]
    Path("3dmm_data/tri.mat").unlink()  # numbers need no triangles, pages do
    with pytest.raises(InputError, match=r"tri.mat"):
        command.main([*RUN, *MINE, *run])
    command.main([*RUN, *MINE, *run, "--report", "False"])
    assert json.loads(Path("out/talk_report.json").read_text())["frames_with_face"] == 4
    with np.load("out/talk.npz") as archive:
        found = archive["landmarks"]
    again = Following(landmarks)
    frame = np.zeros((1, 1, 3), np.uint8)
    for n in range(4):
        points = again(frame)
        assert points is not None
        crop = SquareCrop.about_landmarks(points, (400, 300))
        np.testing.assert_allclose(found[n], expected_landmarks(network, crop), atol=1e-3)


def test_bad_input(network: SynergyNetwork, photos: Path, folder: Path):
    with pytest.raises(InputError, match="--faces is for photos"):
        command.main([*RUN, *MINE, "--v_path", "a.mp4", "--faces", "all"])
    with pytest.raises(InputError, match="give another --name"):
        command.main([*RUN, "--name", "none", "--img_folder", str(photos)])
    with pytest.raises(InputError, match=r"unrecognized arguments: --refine"):
        command.main([*RUN, *MINE, "--refine"])
    with pytest.raises(InputError, match=r"no face found"):
        command.main([*RUN, *MINE, "--img_folder", str(photos / "sky.png")])
    (folder / "3dmm_data" / "tri.mat").unlink()
    with pytest.raises(InputError, match=r"tri.mat"):
        command.main([*RUN, *MINE, "--img_folder", str(photos)])
