"""Pages of a SynergyNet's faces, as its command writes them: what they say, and what not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.face_model import FaceModel, FaceModelData
from tests.browser import find_chromium, hand_on
from tests.commands import load_script
from tests.synergy_files import YAW_DEG, save_run_and_photos
from tests.util.reports.page_elements import Page
from util.reports.contact_sheet import CONTACT_SHEET


@pytest.fixture(scope="module")
def results(open_face_data: FaceModelData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the command, with an untrained network of the open model that sees a turned face."""
    folder = tmp_path_factory.mktemp("synergy")
    photos = save_run_and_photos(folder, FaceModel(open_face_data))
    run = ["--model", "synergy", "--gpu_ids", "-1", "--num_cpu_threads", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        load_script("test").main(
            [*run, "--name", "syn", "--epoch", "3", "--save", "none", "--img_folder", str(photos)]
        )
    return folder / "checkpoints" / "syn" / "results" / "photos" / "epoch_3_000000"


def test_the_page_says_what_there_is(results: Path):
    text = (results / "a_report.html").read_text(encoding="utf-8")
    assert len(text.encode()) < 1_000_000
    page = Page(text)
    assert not page.attribute("script", "src") and not page.attribute("link", "href")
    assert all(source.startswith("data:image/jpeg") for source in page.attribute("img", "src"))
    assert page.attribute("figure", "data-picture") == ["photo", "overlay", "crop", "fit"]
    shown = {
        attributes["data-mode"]: "hidden" not in attributes
        for tag, attributes in page.elements
        if tag == "button" and "data-mode" in attributes
    }
    assert [mode for mode, is_shown in shown.items() if is_shown] == [
        *("colours", "grey", "normals", "wireframe")
    ]
    assert "Neither light nor albedo was predicted" in text and "weak perspective" in text
    for absent in ("Distance from the camera", "Focal length", "Energies", "--name", ".mat"):
        assert absent not in text.partition("<script")[0]
    for row in (
        '<th scope="row">Yaw</th><td>-12.0°',
        "Network</th><td>SynergyNet, mobilenet_025, crops of 120 px",
        "Checkpoint</th><td>syn/epoch_3.pth",
        "Its licence</th><td>CC0-1.0",
        "Options</th><td>--save none<",
    ):
        assert row in text
    links = page.attribute("a", "href")
    assert links and all((results / link).is_file() for link in links)


def test_numbers_are_those_of_the_files(results: Path):
    """Landmarks on the page are those of the .json, in the photo and, by its box, in the crop."""
    data = json.loads(Page((results / "a_report.html").read_text(encoding="utf-8")).scripts[0])
    record = json.loads((results / "a.json").read_text())
    assert record["yaw_deg"] == pytest.approx(YAW_DEG, abs=1e-3)
    exact = np.array(record["landmarks"])[:, :2] + 0.5
    photo, crop = data["points"]["photo"], data["points"]["crop"]
    np.testing.assert_allclose(photo["predicted"], exact, atol=0.011)
    left, top, right, bottom = record["box"]
    in_crop = (exact - [left, top]) * 120 / [right - left, bottom - top]
    np.testing.assert_allclose(crop["predicted"], in_crop, atol=0.011)
    assert crop["size"] == [120, 120] and len(crop["given"]) == len(photo["given"]) == 68
    assert data["mesh"]["harmonics"] is None and "jawOpen" in data["mesh"]["units"]["names"]


def test_the_contact_sheet_links_the_page(results: Path):
    text = (results / CONTACT_SHEET).read_text(encoding="utf-8")
    page = Page(text)
    assert page.attribute("a", "href") == ["./a_report.html"]
    assert page.attribute("img", "src") == ["./a.png"] and (results / "a.png").is_file()
    assert "1 face; 1 photo gave none" in text and "yaw -12°" in text


HAND = """
  const viewer = window.viewer, front = viewer.pixels(), found = { mode: viewer.mode, filled: filled(front) };
  const pressed = () => [...document.querySelectorAll('[data-mode][aria-pressed=true]')].map((b) => b.dataset.mode);
  found.pressed = pressed();
  viewer.setMode('photo');
  viewer.setMode('albedo');
  found.refused = viewer.mode;
  // Colours as they are: in whatever light, and from wherever.
  const middle = (p) => { const at = 4 * (Math.floor(viewer.canvas.height / 2) * viewer.canvas.width + Math.floor(viewer.canvas.width / 2)); return [...p.slice(at, at + 3)]; };
  found.colour = middle(front);
  viewer.moveLamp(1, 1);
  found.lamp = differing(front, viewer.pixels());
  for (let i = 0; i < 4; i++) press(viewer.canvas, 'ArrowRight');
  found.turned = differing(front, viewer.pixels());
  viewer.setMode('grey');
  found.grey = differing(front, viewer.pixels());
  press(viewer.canvas, 'Home');
  viewer.setMode('colours');
  found.back = differing(front, viewer.pixels());
  const before = viewer.points.slice();
  move($('unit-jawOpen'), 1);
  found.mouth = differing(front, viewer.pixels());
  found.lower_lip_mm = 100 * (before[3 * 57 + 1] - viewer.points[3 * 57 + 1]);
  return found;
"""  # noqa: E501


def test_a_browser_draws_turns_and_moves_the_mouth(results: Path, tmp_path: Path):
    found, body = hand_on(find_chromium(), results / "a_report.html", tmp_path, hand=HAND)
    assert body["viewer"] == "ready"
    assert found["mode"] == found["refused"] == "colours" and found["pressed"] == ["colours"]
    assert 0.1 < found["filled"] < 0.9
    red, green, blue = found["colour"]
    assert red > green > blue > 0  # skin
    assert found["lamp"] == 0 and found["back"] == 0
    assert found["turned"] > 0.02 and found["grey"] > 0.02
    assert found["mouth"] > 0.005 and found["lower_lip_mm"] > 10
