"""The page of a video that a SynergyNet follows, as its command writes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.images import read_image
from data.square_crop import SquareCrop
from data.video import VideoReader
from models.face_model import FaceModel, FaceModelData
from options.data_options import DetectionOptions
from options.face_options import FaceModelOptions
from options.fitting_weights import SmoothingOptions
from options.flags import parse_command
from options.synergy_options import check_synergy_input
from tests.browser import find_chromium, hand_on
from tests.commands import load_script
from tests.synergy_files import SCALE, YAW_DEG, Following, save_run_and_photos
from tests.util.reports.page_elements import Page
from tests.util.reports.test_video_report import data_of, rows_of, unpacked
from tests.video_files import write_file
from util.synergy import synergy_track
from util.synergy.synergy_followed import followed_face
from util.synergy.synergy_reconstruction import full_face_model
from util.synergy.synergy_track import landmarks_of, track_face
from util.synergy.synergy_trained import load_trained_synergy
from util.videos.video_measures import VideoMeasures

COUNT, WITHOUT = 24, 12
RUN = ["--model", "synergy", "--gpu_ids", "-1", "--num_cpu_threads", "1"]
RUN += ["--name", "syn", "--epoch", "3", "--v_path", "talk.mp4", "--res_folder", "out"]


@pytest.fixture(scope="module")
def folder(open_face_data: FaceModelData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a video, and an untrained network of the open model that sees a turned face."""
    folder = tmp_path_factory.mktemp("video")
    photos = save_run_and_photos(folder, FaceModel(open_face_data))
    write_file(folder / "talk.mp4", [read_image(photos / "a.png")] * COUNT)
    return folder


@pytest.fixture(scope="module")
def landmarks(folder: Path) -> np.ndarray:
    return np.loadtxt(folder / "photos" / "landmarks" / "a.txt") - [12, 0]


@pytest.fixture
def at_home(folder: Path, landmarks: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    follow = Following(landmarks, noise_px=0.0)
    monkeypatch.setattr(synergy_track, "LandmarkTracker", lambda detector: follow)
    return folder


@pytest.fixture(scope="module")
def results(folder: Path, landmarks: np.ndarray) -> Path:
    follow = Following(landmarks, noise_px=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(synergy_track, "LandmarkTracker", lambda detector: follow)
        load_script("test").main([*RUN, "--smooth_min_hz", "0"])
    return folder / "out"


def crop_of(landmarks: np.ndarray, number: int) -> SquareCrop:
    return SquareCrop.about_landmarks(landmarks + number, (400, 300))


def test_the_page_says_what_there_is(results: Path):
    text = (results / "talk_report.html").read_text(encoding="utf-8")
    page, said = Page(text), text.partition("<script")[0]
    assert len(text.encode()) < 1_000_000
    shown = [
        attributes["data-mode"]
        for tag, attributes in page.elements
        if tag == "button" and "data-mode" in attributes and "hidden" not in attributes
    ]
    assert shown == ["colours", "grey", "normals", "wireframe"]
    for sentence in (
        "Neither light nor albedo was predicted",
        "weak perspective",
        "The colours of the head are from these frames.",
        "No face in 1 of 24 frames: 12",
        "Network</th><td>SynergyNet, mobilenet_025, crops of 120 px",
        "Checkpoint</th><td>syn/epoch_3.pth",
        "Command</th><td>test.py",
        "Options</th><td>--smooth_min_hz 0.0<",
        "Its licence</th><td>CC0-1.0",
    ):
        assert sentence in said, sentence
    for absent in ("Focal length", "Colours of the skin", "Identity and albedo", "nan", "fit.py"):
        assert absent not in said, absent
    assert page.attribute("video", "src") == ["./talk_synergy.mp4"]
    files = ("talk_synergy.mp4", "talk.npz", "talk_report.json")
    assert set(page.attribute("a", "href")) == {f"./{name}" for name in files}
    assert all((results / name).is_file() for name in files)


def test_frames_are_those_of_the_network(results: Path, landmarks: np.ndarray):
    """Angles turn the other way than the labels'; the head goes by a pixel a frame along with x."""
    data = data_of((results / "talk_report.html").read_text(encoding="utf-8"))
    frames, mesh = data["frames"], data["mesh"]
    assert frames["light"] is None
    assert frames["found"] == "1" * WITHOUT + "0" + "1" * (COUNT - WITHOUT - 1)
    angles = np.degrees(rows_of(frames["angles"], COUNT - 1))
    np.testing.assert_allclose(angles, np.tile([0, -YAW_DEG, 0], (COUNT - 1, 1)), atol=0.02)
    numbers = np.delete(np.arange(COUNT), WITHOUT)
    pixels_a_dm = SCALE * 1e5 * crop_of(landmarks, 0).scales.mean()
    places = rows_of(frames["places"], COUNT - 1) * pixels_a_dm
    # Crops have whole pixels, as those of photos.
    np.testing.assert_allclose(places[:, 0] - places[0, 0], numbers, atol=1.1)
    np.testing.assert_allclose(places[0, 1] - places[:, 1], numbers, atol=1.1)
    assert np.ptp(places[:, 2]) == 0
    titles = [curve["title"] for curve in data["curves"]]
    assert titles[:3] == ["Landmark error", "Scale", "Head"]
    scale = [value for value in data["curves"][1]["lines"][0][1] if value is not None]
    np.testing.assert_allclose(scale, pixels_a_dm / 10, rtol=0.02)
    colours = unpacked(mesh["colours"], "u1").reshape(3, -1, order="F")
    assert colours[0].mean() > colours[2].mean() > 0  # skin


def test_numbers_of_what_was_not_predicted_are_none(results: Path):
    report = json.loads((results / "talk_report.json").read_text(encoding="utf-8"))
    assert report["photo_error"] is None and report["focal_px"] is None
    assert report["frames_with_face"] == COUNT - 1 and report["without_face"] == [[12, 12]]
    assert 0 < report["pixels_a_cm"] < 100 and report["face_model"]["name"] == "open"


def test_coefficients_put_the_landmarks_where_the_network_does(at_home: Path):
    """Each in its crop, and all before one camera that stands still."""
    options = parse_command(load_script("test").groups, RUN)
    trained = load_trained_synergy(options)
    model = full_face_model(trained.network.face, FaceModelOptions())
    reader = VideoReader("talk.mp4")
    raw = track_face(trained, reader, DetectionOptions())
    calm = raw.smoothed(reader.times_s, np.ones(10), SmoothingOptions())
    face = followed_face(trained, model, reader, raw, calm, landmarks_of(trained, calm))
    measures = VideoMeasures(model, face)
    projected, found = measures.landmarks_of(face.coefficients), face.found
    np.testing.assert_allclose(projected[found], measures.landmarks[found], atol=0.05)
    still, faces = measures.in_one_camera()
    assert (still.width, still.height) == (400, 300)
    points = model.landmarks(model.shape(faces.identity, faces.expression))
    assert points.shape == (COUNT - 1, 68, 3)
    with pytest.raises(ValueError, match="not aligned by five points"):
        face.aligned_crop(0)


def test_without_a_report_the_page_of_an_earlier_run_goes(at_home: Path, results: Path):
    shutil.copytree(results, "few")
    command = load_script("test")
    command.main([*RUN, "--res_folder", "few", "--draw", "False", "--report", "False"])
    assert {path.name for path in Path("few").glob("talk*")} == {"talk.npz", "talk_report.json"}
    # Options that a run has recorded serve again.
    recorded = parse_command(command.groups, ["--config", "few/test_options.yaml"])
    assert check_synergy_input(recorded) == "video"


HAND = """
  const found = { first: frame, mode: viewer.mode, filled: filled(viewer.pixels()) };
  const first = viewer.pixels();
  move($('scrub'), 20);
  found.moved = differing(first, viewer.pixels());
  move($('scrub'), 12);
  found.empty = filled(viewer.pixels());
  found.said = !$('no-face').hidden;
  move($('scrub'), 0);
  viewer.setMode('photo');
  found.refused = viewer.mode;
  viewer.setMode('grey');
  found.grey = differing(first, viewer.pixels());
  await until(() => $('side-card').classList.contains('loaded') || side.error);
  found.side = side.readyState > 0 && !side.error;
  return found;
"""


def test_a_browser_scrubs_it(results: Path, tmp_path: Path):
    found, body = hand_on(find_chromium(), results / "talk_report.html", tmp_path, hand=HAND)
    assert body["viewer"] == "ready" and found["first"] == 0
    assert found["mode"] == found["refused"] == "colours" and 0.1 < found["filled"] < 0.9
    assert found["moved"] > 0.01 and found["grey"] > 0.02
    assert found["empty"] == 0 and found["said"] and found["side"]
