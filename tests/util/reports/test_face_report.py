"""Reports of faces: one safe file, exact numbers, and what a real browser makes of it."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from benchmarks.example_faces import FIT, RUN, drawn_photo, report_face, report_row, report_writer
from models.face_model import FaceModel, FaceModelData
from models.stages import shape_face
from tests.browser import Browser, find_chromium, hand_on
from tests.util.reports.page_elements import Page
from util.assets import OPEN_FACE_MODEL
from util.mesh_files.textured_mesh import material_stem
from util.model_files.face_model_file import read_face_model
from util.photos.face_result import FaceResult
from util.reports.face_report import PAGE_BYTES, DrawnPhoto, ReportSource, ReportWriter
from util.reports.report_data import MeshPacker, TexturePacker
from util.reports.report_parts import part, script_json

HOSTILE = 'größe "1" <b>&amp;</script><script>alert(1)</script>.jpg'


def write_page(face_model: FaceModel, face: FaceResult) -> str:
    return report_writer(face_model).page(face, report_row(face), drawn_photo(), face.stem)


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)


def test_the_mesh_comes_back_to_a_hundredth_of_a_millimetre(tiny_face_model: FaceModel):
    face = report_face(tiny_face_model)
    mesh = MeshPacker(tiny_face_model).pack(face)
    steps = unpacked(mesh["vertices"]["steps"], "<i2").reshape(3, -1)
    levels = np.cumsum(steps, axis=1, dtype=np.int16).T  # wraps as the differences did
    neutral = shape_face(tiny_face_model, face.coefficients).vertices_object[0].numpy()
    np.testing.assert_allclose(levels * mesh["vertices"]["scale"], neutral, atol=1e-4)
    posed = neutral @ face.head_rotation.T + face.coefficients.translation_dm[0].numpy()
    np.testing.assert_allclose(posed, face.vertices, atol=1e-5)
    triangles = unpacked(mesh["triangles"], "<u2").reshape(-1, 3)
    np.testing.assert_array_equal(triangles, face.triangles)


def test_units_come_back_to_half_a_level(tiny_face_model: FaceModel):
    units = MeshPacker(tiny_face_model).pack(report_face(tiny_face_model))["units"]
    assert units["names"] == ["jawOpen", "mouthSmile"]
    levels = unpacked(units["deltas"], "i1").reshape(2, 3, -1).swapaxes(1, 2)
    expected = (
        (tiny_face_model.unit_matrix @ tiny_face_model.shape_basis[-2:]).reshape(2, -1, 3).numpy()
    )
    for level, scale, wanted in zip(levels, units["scales"], expected, strict=True):
        large = np.linalg.norm(wanted, axis=1) >= 0.001
        np.testing.assert_allclose((level * scale)[large], wanted[large], atol=0.51 * scale)
        assert not level[~large].any()


def test_the_finest_level_of_detail_fits_into_a_megabyte():
    """The page shows the mesh before the refinement, whose vertices are among the finer ones."""
    model = FaceModel(read_face_model(OPEN_FACE_MODEL, 2))
    face = report_face(model)
    page = write_page(model, face)
    assert len(page) < PAGE_BYTES
    mesh = json.loads(Page(page).scripts[0])["mesh"]
    count = mesh["vertex_count"]
    assert count == len(read_face_model(OPEN_FACE_MODEL).mean_shape) < model.vertex_count
    steps = unpacked(mesh["vertices"]["steps"], "<i2").reshape(3, -1)
    shown = mesh["vertices"]["scale"] * np.cumsum(steps, axis=1, dtype=np.int16).T
    np.testing.assert_allclose(shown, face.head_vertices[:count], atol=1e-4)
    corners = np.reshape(mesh["landmarks"]["corners"], (-1, 3))
    points = (shown[corners] * np.reshape(mesh["landmarks"]["weights"], (-1, 3, 1))).sum(axis=1)
    embedding = model.landmark_embedding
    wanted = face.head_vertices[embedding.vertices] * embedding.barycentrics.numpy()[..., None]
    np.testing.assert_allclose(points, wanted.sum(axis=1), atol=0.03)  # dm
    assert unpacked(mesh["triangles"], "<u2").max() == count - 1
    units = unpacked(mesh["units"]["deltas"], "i1")
    assert len(units) == 3 * count * len(model.unit_names)


@pytest.mark.parametrize("what", ["vertices", "albedo"])
def test_what_is_not_finite_is_named(tiny_face_model: FaceModel, what: str):
    face = report_face(tiny_face_model)
    broken = getattr(face, what).copy()
    broken[7, 1] = np.nan
    with pytest.raises(ValueError, match=f"photo: {what} of the report"):
        write_page(tiny_face_model, replace(face, **{what: broken}))


def test_landmarks_that_are_not_finite_write_nothing(tiny_face_model: FaceModel, tmp_path: Path):
    face = report_face(tiny_face_model)
    face = replace(face, landmarks_index=np.full((68, 2), np.nan))
    with pytest.raises(ValueError, match="not finite"):
        report_writer(tiny_face_model).write(
            tmp_path, face, report_row(face), drawn_photo(), face.stem
        )
    assert not list(tmp_path.iterdir())


def test_grey_is_dark_inside_the_mouth_alone(open_face_data: FaceModelData):
    model = FaceModel(open_face_data)
    packed = MeshPacker(model).pack(report_face(model))["inside"]
    inside = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint32)
    regions = model.regions
    expected = regions["mouth_cavity"] & ~regions["mouth_ring"]
    assert len(inside) and np.array_equal(inside, np.flatnonzero(expected.numpy()))


def test_no_name_breaks_out(tiny_face_model: FaceModel):
    face = report_face(tiny_face_model, HOSTILE.replace("/", "∕"))
    face = replace(face, photo=Path("photos") / face.photo.name, stem="a </script> & 'ü'")
    page = Page(write_page(tiny_face_model, face))
    assert len(page.scripts) == 4
    assert json.loads(page.scripts[0])["mesh"]["vertex_count"] == tiny_face_model.vertex_count
    assert page.scripts[2] == part("viewer.js")
    assert "b" not in [tag for tag, _ in page.elements]
    links = [unquote(href) for href in page.attribute("a", "href")]
    assert f"./{face.stem}.obj" in links and f"./{face.stem}_photo.jpg" in links


def test_json_cannot_end_its_script():
    text = script_json("x", {"name": "</script><!--"})
    assert "<" not in text and json.loads(text) == {"name": "</script><!--"}
    with pytest.raises(ValueError, match="x: a number"):
        script_json("x", [float("nan")])


def test_nothing_is_loaded_and_everything_is_named(tiny_face_model: FaceModel):
    page = Page(write_page(tiny_face_model, report_face(tiny_face_model, fit=FIT)))
    assert not page.attribute("script", "src") and not page.attribute("link", "href")
    assert all(source.startswith("data:image/jpeg") for source in page.attribute("img", "src"))
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 4 and all(picture.get("alt") for picture in pictures)
    unnamed = [a for tag, a in page.elements if tag == "canvas" and not a.get("aria-label")]
    assert not unnamed


def test_every_picture_is_in_the_page(tiny_face_model: FaceModel):
    face = report_face(tiny_face_model)
    page = Page(write_page(tiny_face_model, face))
    pictures = []
    for source in page.attribute("img", "src"):
        kind, _, content = source.partition(",")
        assert kind == "data:image/jpeg;base64"
        pictures.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))))
    photo = drawn_photo().photo
    assert face.picture is not None
    side = face.picture.shape[0]
    sizes = {picture.shape[:2] for picture in pictures}
    assert len(pictures) >= 4 and {photo.shape[:2], (side, side)} <= sizes
    crop = next(picture for picture in pictures if picture.shape[:2] == (side, side))
    assert np.abs(crop.astype(int) - face.picture[:, :side]).mean() < 12  # JPEG


def test_numbers_have_units_and_energies_their_terms(tiny_face_model: FaceModel):
    text = write_page(tiny_face_model, report_face(tiny_face_model, fit=FIT))
    assert re.search(r"Yaw</th><td>-22\.9°", text)
    assert re.search(r"Inner landmarks off by</th><td>2\.0 % of the outer-eye distance", text)
    assert re.search(r"Face width[^<]*</th><td>\d+\.\d mm", text)
    assert "the face is small, only about 30 pixels wide" in text
    assert re.search(r"after</th><td>0\.25</td><td>1\.5</td>", text)
    assert re.search(r"photo</th><td></td><td>1\.25</td>", text)
    assert "--preset fast" in text and "(none)" not in text
    assert "NaN" not in Page(text).scripts[0]
    assert "photo trusted, times" not in text
    first, last = FIT.stages
    trusted = replace(FIT, stages=(first, replace(last, trust=2.5)))
    text = write_page(tiny_face_model, report_face(tiny_face_model, fit=trusted))
    assert re.search(r"photo trusted, times</th><td>1</td><td>2\.5</td>", text)


def test_a_prediction_has_no_energies_and_a_model_without_units_no_sliders(
    tiny_face_model: FaceModel,
):
    tiny_face_model.unit_names = ()
    text = write_page(tiny_face_model, report_face(tiny_face_model))
    assert "Energies" not in text and "Look closer" not in text
    assert '<section class="card sliders needs-viewer" hidden>' in text


def test_scripts_are_small_and_name_no_address():
    pages = {
        "page.html": ("common.js", "viewer.js", "face.js", "page.js"),
        "app.html": ("common.js", "viewer.js", "face.js", "app.js"),
        "video.html": ("common.js", "viewer.js", "charts.js", "video.js"),
        "training.html": ("common.js", "charts.js", "training.js"),
    }
    for page, names in pages.items():
        scripts = "".join(map(part, names))
        assert len(scripts.encode()) <= (50_000 if page == "app.html" else 40_000)
        text = (scripts + part(page)).replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and "@import" not in part("report.css")


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium()


def uv_picture(side: int = 256) -> bytes:
    """A texture that is as red as u and as green as v."""
    ramp = (np.arange(side) + 0.5) / side
    picture = np.zeros((side, side, 3), np.uint8)
    picture[..., 0], picture[..., 1] = 255 * ramp, 255 * ramp[::-1, None]
    picture[..., 2] = 128
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def open_page(open_face_data: FaceModelData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in a folder with a name that links would trip over."""
    folder = tmp_path_factory.mktemp("é #1 %20")
    open_face_model = FaceModel(open_face_data)
    face = report_face(open_face_model, fit=FIT)
    (folder / "photo_textured.png").write_bytes(uv_picture())
    source = ReportSource(RUN, with_texture=True)
    writer = ReportWriter(open_face_model, source)
    writer.write(folder, face, report_row(face), drawn_photo(), face.stem)
    return folder / "photo_report.html"


def test_a_texture_is_found_by_the_name_that_materials_bear(
    open_face_data: FaceModelData, tmp_path: Path
):
    """Which has no spaces."""
    open_face_model = FaceModel(open_face_data)
    face = report_face(open_face_model, "my face.jpg")
    source = ReportSource(RUN, with_texture=True)
    writer = ReportWriter(open_face_model, source)
    for name, shown in ((None, False), (material_stem("my face_textured"), True)):
        if name is not None:
            (tmp_path / f"{name}.png").write_bytes(uv_picture())
        writer.write(tmp_path, face, report_row(face), drawn_photo(), face.stem)
        page = (tmp_path / "my face_report.html").read_text(encoding="utf-8")
        assert ('data-mode="texture" aria-pressed="true">' in page) is shown
        assert ('data-mode="photo" aria-pressed="false">' in page) is shown


def test_a_page_is_at_most_a_megabyte(open_page: Path):
    """Though the photo is noise, the hardest to compress."""
    assert open_page.stat().st_size < 1_000_000


HAND = """
  const viewer = window.viewer;
  const first = [viewer.mode, document.querySelector('[aria-pressed=true]').dataset.mode];
  viewer.setMode('photo');
  const front = viewer.pixels(), found = { first, filled: filled(front), modes: {} };
  for (let i = 0; i < 4; i++) press(viewer.canvas, 'ArrowRight');
  found.turned = differing(front, viewer.pixels());
  press(viewer.canvas, 'Home');
  found.back = differing(front, viewer.pixels());
  for (const button of document.querySelectorAll('[data-mode]:not([hidden])')) {
    button.click();
    found.modes[button.dataset.mode] = differing(front, viewer.pixels());
  }
  viewer.setMode('texture');
  const pixels = viewer.pixels(), { view, projection } = viewer.matrices();
  const times = (m, p) => [0, 1, 2, 3].map((i) => m[i] * p[0] + m[4 + i] * p[1] + m[8 + i] * p[2] + m[12 + i] * p[3]);
  found.skin = [27, 30, 8, 19, 54].map((k) => {
    const [x, y, , w] = times(projection, times(view, [...viewer.points.slice(3 * k, 3 * k + 3), 1]));
    const column = Math.floor((x / w / 2 + 0.5) * viewer.canvas.width), row = Math.floor((y / w / 2 + 0.5) * viewer.canvas.height);
    return [...pixels.slice(4 * (row * viewer.canvas.width + column)).slice(0, 2)].map((v) => v / 255);
  });
  const hint = () => getComputedStyle(document.querySelector('.hint')).display !== 'none';
  found.hints = [hint()];
  viewer.setMode('grey');
  viewer.pixels();
  found.hints.push(hint());
  viewer.setMode('texture');
  viewer.pixels();
  found.lamps = [...document.querySelectorAll('.lamp input')].map((slider) => slider.disabled);
  viewer.setMode('photo');
  found.tongue = [...document.querySelectorAll('summary, .unit')].filter((one) => /tongue/i.test(one.textContent)).length;
  found.note = $('unit-note').textContent;
  const before = viewer.points.slice();
  move($('unit-jawOpen'), 1);
  found.mouth = differing(front, viewer.pixels());
  found.lower_lip_mm = 100 * (before[3 * 57 + 1] - viewer.points[3 * 57 + 1]);
  found.brow_mm = 100 * Math.abs(before[3 * 19 + 1] - viewer.points[3 * 19 + 1]);
  return found;
"""  # noqa: E501


def test_a_browser_draws_turns_and_moves_the_mouth(
    chromium: str, open_page: Path, tmp_path: Path, open_face_model: FaceModel
):
    found, body = hand_on(chromium, open_page, tmp_path, hand=HAND)
    assert body["viewer"] == "ready"
    assert found["first"] == ["texture", "texture"]  # since there is one
    assert 0.1 < found["filled"] < 0.9
    assert found["turned"] > 0.02 and found["back"] == 0
    assert found["modes"].pop("photo") == 0
    assert len(found["modes"]) == 5 and min(found["modes"].values()) > 0.01
    assert found["mouth"] > 0.005
    # Sliders that would move nothing cannot be moved or are not there, and the page says why.
    assert found["lamps"] == [True, True] and found["tongue"] == 0
    assert found["hints"] == [False, True]
    assert found["note"].endswith("Nothing to move in this face model: tongue out.")
    assert found["lower_lip_mm"] > 10 and found["brow_mm"] < 1
    # The texture lies where the face model's coordinates put it.
    assert open_face_model.uv is not None and open_face_model.uv_triangles is not None
    uv_of = np.zeros((open_face_model.vertex_count, 2))
    corners = open_face_model.triangles.reshape(-1)
    uv_of[corners] = open_face_model.uv[open_face_model.uv_triangles.reshape(-1)]
    embedding = open_face_model.landmark_embedding
    points = (uv_of[embedding.vertices] * embedding.barycentrics[..., None].numpy()).sum(axis=1)
    np.testing.assert_allclose(found["skin"], points[[27, 30, 8, 19, 54]], atol=0.03)


LOSE = """
  const extension = viewer.gl.getExtension('WEBGL_lose_context'), found = {};
  const event = (name) => new Promise((done) => viewer.canvas.addEventListener(name, done, { once: true }));
  move($('unit-jawOpen'), 1);
  $('landmarks').click();
  const modes = ['wireframe', 'grey', 'texture'], all = () => modes.map((mode) => { viewer.setMode(mode); return viewer.pixels(); });
  const before = all(), lost = event('webglcontextlost');
  extension.loseContext();
  await lost;
  await later(50);
  viewer.draw();
  found.lost = viewer.gl.isContextLost();
  const restored = event('webglcontextrestored');
  extension.restoreContext();
  await restored;
  found.mode = viewer.mode;
  found.changed = all().map((after, k) => differing(before[k], after));
  found.filled = filled(before[2]);
  return found;
"""  # noqa: E501


def test_a_lost_context_comes_back_with_all_that_it_had(
    chromium: str, open_page: Path, tmp_path: Path
):
    found, _ = hand_on(chromium, open_page, tmp_path, hand=LOSE)
    assert found["lost"] and found["mode"] == "texture" and found["filled"] > 0.1
    assert found["changed"] == [0, 0, 0]


VIEW = "[viewer.yaw, viewer.pitch, viewer.zoom, viewer.panX, viewer.panY, viewer.lamp.x]"


def centre_of(browser: Browser) -> tuple[float, float]:
    box = browser.run(
        "(({ x, y, width, height }) => [x, y, width, height])($('canvas').getBoundingClientRect())"
    )
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def test_a_zoomed_face_can_be_moved(chromium: str, open_page: Path, tmp_path: Path):
    with Browser(chromium, tmp_path) as browser:
        browser.open(open_page.as_uri())
        browser.wait_for("document.body?.dataset?.viewer === 'ready'")
        x, y = centre_of(browser)

        def mouse(kind: str, dx: float, dy: float, button: str, buttons: int, keys: int = 0):
            browser.call(
                "Input.dispatchMouseEvent",
                **{"type": kind, "x": x + dx, "y": y + dy, "button": button},
                **{"buttons": buttons, "clickCount": 1, "modifiers": keys},
            )

        def drag(dx: float, dy: float, button: str, buttons: int, keys: int = 0) -> list[float]:
            mouse("mousePressed", 0, 0, button, buttons, keys)
            mouse("mouseMoved", dx, dy, button, buttons, keys)
            mouse("mouseReleased", dx, dy, button, 0, keys)
            return browser.run(VIEW)

        start = browser.run(f"viewer.zoomBy(2); {VIEW}")
        right = drag(60, 40, "right", 2)
        # The nose goes along with the hand: 60 pixels of the height that is in sight there.
        height = browser.run("2 * viewer.matrices().reach / viewer.canvas.clientHeight")
        assert right[3:5] == pytest.approx([60 * height, -40 * height])
        assert right[:3] + right[5:] == start[:3] + start[5:]
        assert drag(-60, -40, "middle", 4)[3:5] == pytest.approx([0, 0], abs=1e-9)
        lit = drag(40, 0, "left", 1, 8)  # with Shift
        assert lit[:5] == start[:5] and lit[5] > start[5]
        turned = drag(40, 0, "left", 1)
        assert turned[0] > start[0] and turned[3:5] == pytest.approx([0, 0], abs=1e-9)

        browser.run("viewer.reset(); viewer.zoomBy(8); $('canvas').focus()")
        arrow = {"key": "ArrowRight", "windowsVirtualKeyCode": 39, "modifiers": 8}
        browser.call("Input.dispatchKeyEvent", type="keyDown", **arrow)
        yaw, _, _, moved, *_ = browser.run(VIEW)
        assert yaw == 0 and moved == pytest.approx(32 * height / 4)
        # However far it is moved and however near it is, there is some of the face to see.
        half = browser.run("viewer.half")
        assert browser.run(f"viewer.pan(1e6, 1e6); {VIEW}")[3:5] == pytest.approx(
            [half[0], -half[1]]
        )
        browser.run("viewer.pan(-1e6, 0)")
        assert browser.run(VIEW)[3] == pytest.approx(-half[0])
        browser.press("Home", 36)
        assert browser.run(VIEW)[:5] == [0, 0, 1, 0, 0]


def test_on_a_phone_the_face_is_in_sight_of_its_sliders(
    chromium: str, open_page: Path, tmp_path: Path
):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    with Browser(chromium, tmp_path) as browser:
        browser.call("Emulation.setDeviceMetricsOverride", **phone)
        browser.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
        browser.open(open_page.as_uri())
        browser.wait_for("document.body?.dataset?.viewer === 'ready'")
        assert browser.run("document.documentElement.scrollWidth") <= 390

        def touch(kind: str, *points: tuple[float, float]) -> None:
            touches = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]
            browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=touches)

        def swipe(*fingers: tuple[float, float], by: tuple[float, float]) -> list[float]:
            touch("touchStart", *fingers)
            for step in range(1, 11):
                moved = ((x + step * by[0] / 10, y + step * by[1] / 10) for x, y in fingers)
                touch("touchMove", *moved)
            touch("touchEnd")
            return browser.run(f"[scrollY, ...{VIEW}]")

        # One finger: sideways turns, up scrolls the page. Two: the view's.
        x, y = centre_of(browser)
        scrolled, yaw, *_ = swipe((x, y), by=(100, 0))
        assert scrolled == 0 and yaw > 0.3
        browser.run("viewer.reset()")
        scrolled, _, _, zoom, pan_x, pan_y, _ = swipe((x - 40, y), (x + 40, y), by=(20, -60))
        assert scrolled == 0 and zoom == pytest.approx(1, abs=0.05) and pan_x > 0.05 and pan_y > 0.2
        browser.run("viewer.reset()")
        scrolled, yaw, pitch, *_ = swipe((x, y), by=(0, -150))
        assert scrolled > 50 and yaw == pitch == 0
        # A swipe goes on for a while after the finger has gone.
        browser.run(
            "(async () => { for (let y = -1; y !== scrollY;) "
            "{ y = scrollY; await new Promise((done) => setTimeout(done, 300)); } })()"
        )

        for unit in ("jawOpen", "jawRight"):
            slider = f"$('unit-{unit}')"
            browser.run(f"{slider}.scrollIntoView({{ block: 'start' }})")
            above, below, top = browser.run(
                f"[$('canvas').getBoundingClientRect().top, $('canvas').getBoundingClientRect()"
                f".bottom, {slider}.getBoundingClientRect().top]"
            )
            assert above >= 0 and above + 250 < below < top < 844 - 40
        # Past them, it gives its place back.
        browser.run("$('files').scrollIntoView()")
        assert browser.run("$('canvas').getBoundingClientRect().bottom") < 0


def test_seams_of_textures_open(tiny_face_model: FaceModel):
    """Corners lead to the texture coordinates that they had, and to copies of their vertices."""
    triangles = np.array([[0, 1, 2], [2, 1, 3], [3, 1, 4]])
    uv = np.random.default_rng(0).random((7, 2))
    uv_triangles = np.array([[0, 1, 2], [5, 6, 3], [3, 1, 4]])  # the middle one apart
    made = TexturePacker(uv, uv_triangles, triangles, 6).pack(uv_picture(8), 80)
    corners = triangles.reshape(-1).copy()
    corners[unpacked(made["corners"], "<u4")] = unpacked(made["become"], "<u4")
    packed_uv = unpacked(made["uv"], "<u2").reshape(2, -1).T / 65535
    np.testing.assert_allclose(packed_uv[corners], uv[uv_triangles.reshape(-1)], atol=1e-5)
    vertices = np.concatenate([np.arange(6), unpacked(made["copies"], "<u4")])
    np.testing.assert_array_equal(vertices[corners], triangles.reshape(-1))
    assert len(vertices) == 8


def test_without_webgl_the_pictures_stay(chromium: str, open_page: Path, tmp_path: Path):
    _, body = hand_on(chromium, open_page, tmp_path, "--disable-3d-apis")
    assert "pictures-only" in body["class"]
    assert body["viewer"] == "none: no WebGL2"


def test_an_overlay_that_cannot_be_drawn_costs_only_itself(tiny_face_model: FaceModel):
    def draw() -> np.ndarray:
        raise ValueError("no paint")

    face = report_face(tiny_face_model)
    drawn = DrawnPhoto(drawn_photo().photo, draw)
    page = Page(report_writer(tiny_face_model).page(face, report_row(face), drawn, face.stem))
    assert page.attribute("figure", "data-picture") == ["photo", "crop", "fit"]
