"""The report of a video: what it packs, what it says, and what a real browser makes of it."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch

from benchmarks.example_faces import made_up_fit, video_report_writer
from models.camera import rotation_matrix
from models.face_model import FaceModel
from models.stages import shape_face
from options.face_options import FaceModelOptions
from tests.browser import find_chromium, hand_on
from tests.util.reports.page_elements import Page
from util.assets import load_face_model
from util.reports.report_parts import jpeg_bytes
from util.reports.video_report import PAGE_BYTES
from util.reports.video_report_data import MOST_SHAPES, main_movements, pack_video, shown_frames
from util.videos.video_file import VideoWriter
from util.videos.video_measures import VideoMeasures

WITHOUT = range(20, 25)
CUT = 40
COUNT = 50


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)


def rows_of(packed: dict[str, Any], count: int) -> np.ndarray:
    return unpacked(packed["values"], "<i2").reshape(count, -1) * packed["scale"]


def data_of(text: str) -> dict[str, Any]:
    return json.loads(Page(text).scripts[0])


def grey_thumbs(keys: tuple[int, ...]) -> dict[int, bytes]:
    return {key: jpeg_bytes(np.full((64, 64, 3), 90, np.uint8), 64, 70) for key in keys}


def test_movements_bring_every_vertex_back():
    rng = np.random.default_rng(2)
    true = rng.standard_normal((6, 200, 3)) * np.array([3, 1, 0.3, 0.1, 1e-5, 1e-5])[:, None, None]
    heads = rng.standard_normal((200, 3)) + np.einsum("nk,kvx->nvx", rng.random((30, 6)), true)
    moved = main_movements(heads.astype(np.float32))
    assert len(moved.shapes) == 4 and moved.error_mm < 0.05
    assert np.abs(moved.strengths).max() <= 1 + 1e-6
    made = moved.mean + np.einsum("nk,kvx->nvx", moved.strengths, moved.shapes)
    assert 100 * np.linalg.norm(made - heads, axis=2).max() == pytest.approx(
        moved.error_mm, abs=1e-2
    )


def test_dense_meshes_have_fewer_movements(
    tiny_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    """Within the budget, and the page says what it costs."""
    fit = made_up_fit(tiny_face_model, 12)
    part = tiny_face_model.layout.slices["expression"]
    noise = np.random.default_rng(1).standard_normal((12, part.stop - part.start))
    fit.coefficients[:, part] = noise
    budget = 3 * tiny_face_model.vertex_count  # for one of the model's two components
    monkeypatch.setattr("util.reports.video_report_data.SHAPE_BYTES", budget)
    text = video_report_writer(tiny_face_model, fit).page(Path("talk"), {})
    shapes = data_of(text)["mesh"]["shapes"]
    assert len(shapes["scales"]) == 1 and shapes["error_mm"] > 0.05
    assert f"at most {shapes['error_mm']:.2f} mm" in text


def test_a_head_that_does_not_move_has_no_movements():
    moved = main_movements(np.ones((3, 5, 3), np.float32))
    assert moved.shapes.shape == (0, 5, 3) and moved.strengths.shape == (3, 0)


def test_frames_come_back_to_a_tenth_of_a_millimetre(tiny_face_model: FaceModel):
    fit = made_up_fit(tiny_face_model, 12, without=(4,))
    _, faces = VideoMeasures(tiny_face_model, fit).in_one_camera()
    data = json.loads(json.dumps(pack_video(tiny_face_model, faces, fit.found, fit.times_s)))
    mesh, frames = data["mesh"], data["frames"]
    steps = unpacked(mesh["vertices"]["steps"], "<i2").reshape(3, -1)
    mean = np.cumsum(steps, axis=1, dtype=np.int16).T * mesh["vertices"]["scale"]
    count = len(mesh["shapes"]["scales"])
    levels = unpacked(mesh["shapes"]["deltas"], "i1").reshape(count, 3, -1).swapaxes(1, 2)
    shapes = levels * np.array(mesh["shapes"]["scales"])[:, None, None]
    heads = mean + np.einsum("nk,kvx->nvx", rows_of(frames["strengths"], 11), shapes)
    true = shape_face(tiny_face_model, faces).vertices_object.numpy()
    assert 100 * np.linalg.norm(heads - true, axis=2).max() < 0.1
    assert frames["found"] == "111101111111"
    np.testing.assert_allclose(rows_of(frames["angles"], 11), faces.angles_rad, atol=2e-4)
    places = rows_of(frames["places"], 11)
    true_places = faces.translation_dm.numpy()
    np.testing.assert_allclose(places - places[0], true_places - true_places[0], atol=1e-3)


def test_what_is_not_finite_is_refused(tiny_face_model: FaceModel):
    fit = made_up_fit(tiny_face_model, 4)
    faces = tiny_face_model.layout.split(torch.from_numpy(fit.coefficients) * torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        pack_video(tiny_face_model, faces, fit.found, fit.times_s)


@pytest.mark.parametrize(
    ("count", "step", "shown"), [(1, 1, 1), (300, 1, 300), (301, 2, 151), (9000, 30, 300)]
)
def test_long_videos_are_thinned(count: int, step: int, shown: int):
    frames = shown_frames(np.ones(count, bool))
    assert len(frames) == shown and frames[0] == 0
    assert set(np.diff(frames)) <= {step}


def test_the_page_says_what_it_leaves_out(tiny_face_model: FaceModel, tmp_path: Path):
    fit = made_up_fit(tiny_face_model, 310, without=(6, 101, 103))
    text = video_report_writer(tiny_face_model, fit).page(tmp_path / "talk", {})
    assert "every 2nd frame is shown here" in text
    data = data_of(text)
    assert data["step"] == 2 and len(data["frames"]["times"]) == 155
    assert data["frames"]["found"].count("0") == 1  # the others are not shown
    assert len(data["curve_times"]) == 310
    assert {len(y) for curve in data["curves"] for _, y in curve["lines"]} == {310}
    assert data["gaps"] == [[0.24, 0.28], [4.04, 4.08], [4.12, 4.16]]


def test_a_face_for_a_moment_of_a_long_video_is_shown(tiny_face_model: FaceModel):
    fit = made_up_fit(tiny_face_model, 310, without=[n for n in range(310) if n != 7])
    data = data_of(video_report_writer(tiny_face_model, fit).page(Path("talk"), {}))
    assert data["first"] == 1 and data["step"] == 2
    assert data["frames"]["found"] == "0001" + 151 * "0"
    assert data["mesh"]["shapes"]["scales"] == []


def test_curves_are_the_frames_numbers(tiny_face_model: FaceModel, tmp_path: Path):
    fit = made_up_fit(tiny_face_model, 12, without=(4,), cuts=(0, 8))
    writer = video_report_writer(tiny_face_model, fit)
    data = data_of(writer.page(tmp_path / "talk", {}))
    error, colours, head, units = data["curves"]
    assert error["lines"][0][1][4] is None and colours["lines"][0][1][4] is None
    given, fitted = fit.landmarks, VideoMeasures(tiny_face_model, fit).landmarks
    apart = np.linalg.norm(given[3, 17:] - fitted[3, 17:], axis=1).mean()
    across = np.linalg.norm(given[3, 36] - given[3, 45])
    assert error["lines"][0][1][3] == pytest.approx(100 * apart / across, rel=1e-3)
    yaw = tiny_face_model.layout.slices["angles_rad"].start + 1
    assert head["lines"][1][0] == "yaw"
    assert head["lines"][1][1][5] == pytest.approx(np.degrees(fit.coefficients[5, yaw]), rel=1e-3)
    assert units["lines"][0][0] == "jawOpen"
    assert data["cuts"] == [0.32]


def test_no_name_breaks_out(tiny_face_model: FaceModel, tmp_path: Path):
    name = 'größe "1" <b>&amp;<∕script><script>alert(1)<∕script>.mp4'.replace("∕", "/")
    fit = made_up_fit(tiny_face_model, 4)
    fit = replace(fit, info=replace(fit.info, path=Path(name.replace("/", "∕"))))
    stem = tmp_path / "a <script> & 'ü' #1"
    stem.with_name(stem.name + "_fit.mp4").write_bytes(b"")
    page = Page(video_report_writer(tiny_face_model, fit).page(stem, grey_thumbs(fit.key_frames)))
    assert len(page.scripts) == 5 and json.loads(page.scripts[0])["step"] == 1
    assert "b" not in [tag for tag, _ in page.elements]
    assert [unquote(source) for source in page.attribute("video", "src")] == [
        f"./{stem.name}_fit.mp4"
    ]
    assert not page.attribute("script", "src") and not page.attribute("link", "href")
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == len(fit.key_frames)
    assert all((p.get("src") or "").startswith("data:image/jpeg") for p in pictures)
    assert all(p.get("alt") for p in pictures)


def test_ten_lively_seconds_stay_within_the_budget(coarse: FaceModel, tmp_path: Path):
    """Expressions of noise need the most shapes. Here are 60 frames, and the coarsest level."""
    fit = made_up_fit(coarse, 60)
    part = coarse.layout.slices["expression"]
    noise = np.random.default_rng(1).standard_normal((60, part.stop - part.start))
    fit.coefficients[:, part] = noise
    text = video_report_writer(coarse, fit).page(tmp_path / "talk", grey_thumbs(fit.key_frames))
    data = data_of(text)
    assert len(data["mesh"]["shapes"]["scales"]) == MOST_SHAPES
    mesh, frames = (len(json.dumps(data[name])) for name in ("mesh", "frames"))
    assert (
        len(text) + mesh * (14753 / coarse.vertex_count - 1) + frames * (250 / 60 - 1) < PAGE_BYTES
    )


@pytest.fixture(scope="module")
def coarse() -> FaceModel:
    return load_face_model(FaceModelOptions("open@0", jaw_landmarks="silhouette"))


@pytest.fixture(scope="module")
def talk(coarse: FaceModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with the side-by-side video beside it, in a folder that links would trip over."""
    folder = tmp_path_factory.mktemp("é #1 %20")
    fit = made_up_fit(coarse, COUNT, WITHOUT, (0, CUT))
    with VideoWriter(folder / "talk_fit.mp4") as side:
        for number in range(COUNT):
            side.write(np.full((48, 96, 3), 4 * number, np.uint8), number / 25)
    text = video_report_writer(coarse, fit).page(folder / "talk", grey_thumbs(fit.key_frames))
    (folder / "talk_report.html").write_text(text, encoding="utf-8")
    return folder / "talk_report.html"


HAND = """
  const scrub = $('scrub'), keys = document.querySelector('.keys').innerText;
  const found = { keys, first: frame, filled: filled(viewer.pixels()) };
  const first = viewer.pixels();
  move(scrub, 12);
  found.moved = differing(first, viewer.pixels());
  $('view-still').click();
  const still = viewer.pixels();
  move(scrub, 18);
  found.talks = differing(still, viewer.pixels());
  $('view-follow').click();
  move(scrub, 22);
  found.empty = filled(viewer.pixels());
  found.said = !$('no-face').hidden;
  const lines = (chart) => [...chart.svg.querySelectorAll('.line')];
  found.charts = curves.map((chart) => lines(chart).map((line) => line.getAttribute('d').length));
  found.bands = document.querySelectorAll('.chart .gap').length;
  const chart = curves[0].svg, box = chart.getBoundingClientRect();
  const at = { clientX: box.left + curves[0].toX(1.2), clientY: box.top + 20, bubbles: true };
  chart.dispatchEvent(new PointerEvent('pointerdown', at));
  found.clicked = frame;
  found.values = curves[0].values[0].textContent;
  document.querySelectorAll('[data-seek]')[1].click();
  found.thumb = [frame, Number(document.querySelectorAll('[data-seek]')[1].dataset.seek)];
  move(scrub, 30);
  press(document.body, '.');
  found.stepped = frame;
  await until(() => $('side-card').classList.contains('loaded') || side.error);
  found.side = side.readyState > 0 && !side.error && $('side-card').classList.contains('loaded');
  move(scrub, 10);
  found.side_at = side.currentTime;
  const label = () => $('play').getAttribute('aria-label');
  found.labels = [label()];
  press(document.body, ' ');
  found.labels.push(label());
  await until(() => frame > 12);
  found.played = frame;
  move(scrub, 15);
  found.labels.push(label());
  const kept = frame;
  await later(300);
  found.paused = frame === kept && side.paused;
  found.rotation = rotation([0.3, -0.7, 0.2]);
  return found;
"""


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium()


def test_a_browser_scrubs_seeks_and_plays(chromium: str, talk: Path, tmp_path: Path):
    found, body = hand_on(chromium, talk, tmp_path, hand=HAND)
    assert body["viewer"] == "ready"
    assert found["keys"] == "Drag the face to turn it; Space plays, , and . step."
    assert found["first"] == 0 and 0.1 < found["filled"] < 0.9
    assert found["moved"] > 0.02 and found["talks"] > 0.001
    assert found["empty"] == 0 and found["said"]
    assert [len(lines) for lines in found["charts"]][:3] == [1, 1, 3]
    assert min(length for lines in found["charts"] for length in lines) > 100
    assert found["bands"] == len(found["charts"])
    assert found["clicked"] == 30 and re.fullmatch(r"[\d.]+ %", found["values"])
    assert found["thumb"][0] == found["thumb"][1] > 0
    assert found["stepped"] == 31
    assert found["side"] and found["side_at"] == pytest.approx(0.4, abs=0.02)
    assert found["played"] > 12 and found["paused"]
    assert found["labels"] == ["Play", "Pause", "Play"]
    turned = rotation_matrix(torch.tensor([[0.3, -0.7, 0.2]], dtype=torch.float64))
    np.testing.assert_allclose(found["rotation"], turned.reshape(-1), atol=1e-9)


def test_without_webgl_video_and_keyboard_curves_and_the_clock_stay(
    chromium: str, talk: Path, tmp_path: Path
):
    hand = """
      const keys = document.querySelector('.keys').innerText;
      side.removeAttribute('src');
      side.load();
      move($('scrub'), 5);
      const found = { keys, first: frame };
      $('play').click();
      await until(() => frame > 20);
      return { ...found, second: frame };
    """
    fingers = "--blink-settings=primaryPointerType=2,availablePointerTypes=2"
    found, body = hand_on(chromium, talk, tmp_path, "--disable-3d-apis", fingers, hand=hand)
    assert "pictures-only" in body["class"]
    assert found["keys"] == "Drag the face to turn it."
    assert found["first"] == 5 and found["second"] > 20
