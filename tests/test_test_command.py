"""`test.py` from the outside: what a folder of photos becomes, and bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.io import loadmat

from data.images import write_image
from data.landmarks import write_landmarks
from models import create_model
from models.assets import ModelAssets
from models.camera import Camera
from models.face_model import FaceModel
from models.facerecon_model import FaceReconModel
from models.renderer import Renderer
from models.stages import reconstruct
from options import parse_command
from tests.commands import load_script
from tests.given_faces import GivenFaces
from util.errors import InputError
from util.photos import network_run
from util.photos.face_result import FaceResult
from util.photos.photo_run import Overlay, report_network
from util.photos.results import NO_BETTER, ResultWriter, SummaryRow
from util.training.checkpoint import load_checkpoint, save_checkpoint
from util.training.training_state import Progress, save_training

command = load_script("test")
RUN = ["--gpu_ids", "-1", "--num_cpu_threads", "1", "--name", "faces", "--renderer", "torch"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(folder: Path, open_face_model: FaceModel) -> Path:
    """A run whose network always predicts the same, slightly turned, face."""
    argv = ["--net_recon", "resnet18", "--landmark_origin", "centre"]
    options = parse_command(FaceReconModel.option_groups, argv)
    torch.manual_seed(0)
    model = create_model("facerecon", options, ModelAssets(open_face_model), torch.device("cpu"))
    assert isinstance(model, FaceReconModel)
    heads = model.net_recon.final_layers
    assert heads is not None
    with torch.no_grad():
        heads[3].get_parameter("bias").copy_(torch.tensor([0.05, 0.1, -0.05]))
    path = folder / "checkpoints" / "faces" / "epoch_20.pth"
    save_training(path, model, options, Progress(epoch=21))
    return path


@pytest.fixture
def photos(folder: Path, open_face_model: FaceModel) -> Path:
    """Two rendered faces with landmark files, a picture without a face, and rubbish."""
    root = folder / "png_faces" / "mask"
    zero = open_face_model.layout.zeros(1)
    result = reconstruct(open_face_model, Renderer("torch"), Camera.rnet(), zero)
    assert result.rendering.image is not None
    face = (result.rendering.image[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    for name in ("a.png", "a.jpg"):
        write_image(root / name, face)
    landmarks = result.posed.landmarks_px[0].double().numpy() - 0.5
    for stem in ("a", "a.png"):
        write_landmarks(root / "landmarks" / f"{stem}.txt", landmarks)
    write_image(root / "grey sky.PNG", np.full((200, 200, 3), 128, np.uint8))
    (root / "broken.jpeg").write_bytes(b"not a picture")
    return root


def rows(results: Path) -> dict[str, dict[str, str]]:
    with (results / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {Path(row["image"]).name: row for row in csv.DictReader(file)}


def test_a_folder_of_photos(
    trained: Path, photos: Path, open_face_model: FaceModel, capsys: pytest.CaptureFixture[str]
):
    command.main([*RUN, "--epoch", "20", "--img_folder", f"{photos}/"])
    results = trained.parent / "results" / "mask" / "epoch_20_000000"
    endings = (".png", ".obj", ".mat", ".json", ".glb", "_photo.jpg", "_report.html")
    names = {path.name for path in results.iterdir() if path.name.endswith(endings)}
    assert names == {f"{stem}{end}" for stem in ("a", "a.png") for end in endings}

    summary = rows(results)
    status = {name: row["status"] for name, row in summary.items()}
    assert status == {
        "a.jpg": "ok",
        "a.png": "ok",
        "broken.jpeg": "failed",
        "grey sky.PNG": "failed",
    }
    assert "no face" in summary["grey sky.PNG"]["message"]
    assert "broken.jpeg" in summary["broken.jpeg"]["message"]
    assert float(summary["a.png"]["yaw_deg"]) == pytest.approx(np.rad2deg(0.1), abs=1e-3)
    # The mean face was rendered: the yardstick finds it again, the turned one is further off.
    assert float(summary["a.png"]["nme_inner_mean_face"]) < 0.01
    assert summary["a.png"]["message"] == NO_BETTER
    assert 0.01 < float(summary["a.png"]["nme_inner"]) < 0.2
    shown = capsys.readouterr().out
    assert "2 of 4 photos reconstructed" in shown
    assert "2 of 4 photos bring their points in detections/ or landmarks/; the faces of" in shown
    # The network that predicts a turned face for all is worse than the mean face, and this is said.
    assert "no better than the mean face" in shown and "they are replaced" not in shown

    with Image.open(results / "a.png") as picture:
        assert picture.size == (672, 224)
    content = loadmat(results / "a.mat")
    assert content["coeff"].shape == (1, 257) and content["lm68"].shape == (1, 68, 2)
    np.testing.assert_allclose(content["angle"][0], [0.05, 0.1, -0.05], atol=1e-6)

    # The files hold what the stages compute from these coefficients.
    coefficients = open_face_model.layout.split(torch.from_numpy(content["coeff"]))
    camera = Camera.rnet()
    expected = reconstruct(open_face_model, Renderer("torch"), camera, coefficients).posed
    np.testing.assert_allclose(
        content["lm68"][0], expected.landmarks_px[0].numpy() - 0.5, atol=1e-3
    )
    mesh = trimesh.load_mesh(results / "a.obj", process=False, maintain_order=True)
    world = camera.to_object(expected.vertices_camera)[0].numpy()
    np.testing.assert_allclose(mesh.vertices, world, atol=1e-5)
    np.testing.assert_array_equal(mesh.faces, open_face_model.triangles.numpy())


def test_a_single_photo_and_closed_form_light(trained: Path, photos: Path):
    argv = ["--epoch", "20", "--img_folder", str(photos / "a.png"), "--solve_appearance"]
    command.main([*RUN, *argv])
    results = trained.parent / "results" / "mask" / "epoch_20_000000"
    endings = (".png", ".obj", ".mat", ".json", ".glb", "_photo.jpg", "_report.html")
    assert {path.name for path in results.glob("a*")} == {f"a.png{end}" for end in endings}
    content = loadmat(results / "a.png.mat")
    np.testing.assert_allclose(content["angle"][0], [0.05, 0.1, -0.05], atol=1e-6)
    assert np.abs(content["gamma"]).max() > 1e-4
    page = (results / "a.png_report.html").read_text(encoding="utf-8")
    assert "Checkpoint</th><td>faces/epoch_20.pth<" in page
    assert "Options</th><td>--solve_appearance True --renderer torch<" in page


def test_the_camera_puts_the_mesh_over_the_photo(trained: Path, photos: Path):
    """The files alone: mesh and camera, drawn by the textbook, cover what the overlay changed."""
    face = np.asarray(Image.open(photos / "a.png"))
    wide = np.full((300, 420, 3), 40, np.uint8)
    wide[50:274, 130:354] = face
    root = photos.parent / "wide"
    write_image(root / "a.png", wide)
    landmarks = np.loadtxt(photos / "landmarks" / "a.txt")
    write_landmarks(root / "landmarks" / "a.txt", landmarks + np.array([130, 50]))
    command.main([*RUN, "--epoch", "20", "--img_folder", str(root)])
    results = trained.parent / "results" / "wide" / "epoch_20_000000"

    mesh = trimesh.load_mesh(results / "a.obj", process=False, maintain_order=True)
    record = json.loads((results / "a.json").read_text(encoding="utf-8"))
    camera = np.array(record["K"]) @ np.column_stack([record["mesh_R"], record["mesh_t"]])
    points = np.column_stack([mesh.vertices, np.ones(len(mesh.vertices))]) @ camera.T
    columns, rows = (points[:, :2] / points[:, 2:]).T
    with Image.open(results / "a_photo.jpg") as picture:
        assert picture.size == (420, 300)
        changed = np.abs(np.asarray(picture).astype(int) - wide).max(axis=2) > 24
    # Where the turned face was drawn over the frontal one or the grey around it.
    changed_rows, changed_columns = np.nonzero(changed)
    assert len(changed_rows) > 500
    assert columns.min() - 1 <= changed_columns.min() and changed_columns.max() <= columns.max() + 1
    assert rows.min() - 1 <= changed_rows.min() and changed_rows.max() <= rows.max() + 1
    # And it lies where the photo shows the face, not in the corner where the crop's pixels are.
    assert abs((columns.min() + columns.max()) / 2 - (130 + 112)) < 15
    content = loadmat(results / "a.mat")
    np.testing.assert_allclose(content["K"], record["K"])
    np.testing.assert_allclose(content["R"], record["R"])
    np.testing.assert_allclose(content["t"][0], record["t"])
    assert content["photo_size"].tolist() == [[420, 300]]


def two_faces(landmarks: np.ndarray) -> GivenFaces:
    """A detector that finds a photo's landmarks, twice, and one face beside the photo."""
    return GivenFaces(landmarks, landmarks + 6, landmarks + 5000, marked=landmarks)


def test_all_faces_of_a_photo(
    trained: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    landmarks = np.loadtxt(photos / "landmarks" / "a.txt")
    monkeypatch.setattr(network_run, "create_detector", lambda options: two_faces(landmarks))
    root = photos.parent / "crowd"
    for name in ("b.png", "b_2.png", "c.png"):
        write_image(root / name, np.asarray(Image.open(photos / "a.png")))
    # A landmark file names the one face that is meant.
    write_landmarks(root / "landmarks" / "c.txt", landmarks)
    argv = ["--faces", "all", "--test_batch_size", "2", "--photo_overlay", "False"]
    command.main([*RUN, "--epoch", "20", "--img_folder", str(root), *argv])
    results = trained.parent / "results" / "crowd" / "epoch_20_000000"
    shown = capsys.readouterr().out
    assert "--faces all: 1 of 3 photos keep the one face that their file" in shown
    assert "3 of 3 photos reconstructed (5 faces)" in shown
    meshes = {path.stem for path in results.glob("*.obj")}
    # The second face of b makes way for the photo b_2.
    assert meshes == {"b", "b_2_", "b_2", "b_2_2", "c"}
    with (results / "summary.csv").open(encoding="utf-8", newline="") as file:
        found = [(row["files"], row["face"], row["status"]) for row in csv.DictReader(file)]
    # In the order of the photos, though two are reconstructed at once.
    assert sorted(found[:3]) == [("", "3", "failed"), ("b", "1", "ok"), ("b_2_", "2", "ok")]
    assert sorted(found[3:6]) == [("", "3", "failed"), ("b_2", "1", "ok"), ("b_2_2", "2", "ok")]
    assert found[6:] == [("c", "1", "ok")]
    assert not list(results.glob("*.jpg"))
    first, second = (loadmat(results / f"{stem}.mat")["photo_to_crop"] for stem in ("b", "b_2_"))
    assert 3 < first[0, 2] - second[0, 2] < 9
    # A run for the largest faces leaves none of the others.
    command.main([*RUN, "--epoch", "20", "--img_folder", str(root)])
    for ending in ("obj", "mat", "json", "png"):
        assert {path.stem for path in results.glob(f"*.{ending}")} == {"b", "b_2", "c"}


def test_each_overlay_is_its_photos_and_drawn_by_the_chosen_renderer(
    trained: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    root = photos.parent / "three"
    for name in ("a.png", "b.png", "c.png"):
        write_image(root / name, np.asarray(Image.open(photos / "a.png")))
        write_landmarks(
            root / "landmarks" / f"{Path(name).stem}.txt",
            np.loadtxt(photos / "landmarks" / "a.txt"),
        )
    backends = set()

    def draw(
        preview: np.ndarray,
        faces: list[FaceResult],
        camera: Camera,
        renderer: Renderer,
        opacity: np.ndarray | None,
    ) -> np.ndarray:
        backends.add(renderer.backend)
        if [face.stem for face in faces] == ["a"]:
            raise ValueError("no paint")
        return preview

    monkeypatch.setattr("util.photos.photo_run.lay_over", draw)
    command.main([*RUN, "--epoch", "20", "--img_folder", str(root)])
    found = rows(trained.parent / "results" / "three" / "epoch_20_000000")
    assert backends == {"torch"}
    assert [(name, row["status"], row["message"]) for name, row in found.items()] == [
        ("a.png", "ok", f"{NO_BETTER}; no a_photo.jpg: no paint"),
        ("b.png", "ok", NO_BETTER),
        ("c.png", "ok", NO_BETTER),
    ]


def test_a_renderer_of_the_gpu_leaves_overlays_to_the_cpus(tiny_face_model: FaceModel):
    model, camera = tiny_face_model, Camera.rnet()
    overlays = [Overlay(model, camera, name) for name in ("nvdiffrast", "torch", "numba", "auto")]
    assert [overlay.renderer.backend for overlay in overlays] == ["auto", "torch", "numba", "auto"]


def test_flags_without_effect_say_so_once(
    trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]
):
    argv = ["--use_opengl", "False", "--use_opengl=False", "--phase", "test", "--use_ddp", "False"]
    command.main([*RUN, "--epoch", "20", "--img_folder", str(photos / "a.png"), *argv])
    shown = capsys.readouterr().out
    for flag in ("use_opengl", "phase", "use_ddp"):
        assert shown.count(f"--{flag} has no effect: ") == 1
    assert shown.count("has no effect") == 3


def test_earlier_results_that_are_replaced_are_announced(
    trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]
):
    argv = [*RUN, "--epoch", "20", "--photo_overlay", "False"]
    command.main([*argv, "--img_folder", str(photos / "a.png")])
    capsys.readouterr()
    command.main([*argv, "--img_folder", str(photos), "--face_region", "head"])
    (line,) = [s for s in capsys.readouterr().out.splitlines() if "they are replaced" in s]
    assert "epoch_20_000000 holds results of 1 of these photos" in line
    assert "made with --face_region face (now head):" in line and "--face_model" not in line
    command.main([*argv, "--img_folder", str(photos), "--face_region", "head"])
    (line,) = [s for s in capsys.readouterr().out.splitlines() if "they are replaced" in s]
    assert "of 2 of these photos: they are replaced" in line


def test_a_network_better_than_the_mean_face_is_not_blamed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def shown(error: float) -> str:
        row = SummaryRow("a.jpg", "ok", nme_inner=error, nme_inner_mean_face=0.04)
        with ResultWriter(tmp_path / "results") as writer:
            writer.rows.append(row)
        report_network(writer, tmp_path / "results")
        return capsys.readouterr().out

    assert "no better than the mean face" not in shown(0.03)
    assert "no better than the mean face" in shown(0.04)


def test_the_row_of_a_face_says_that_the_mean_face_is_as_good():
    row = SummaryRow("a.jpg", "ok", nme_inner=0.04, nme_inner_mean_face=0.04, message="no map")
    assert row.judged().message == f"no map; {NO_BETTER}" and row.judged().status == "ok"
    for inner, mean_face in ((0.03, 0.04), (0.04, None), (None, 0.04)):
        row = SummaryRow("a.jpg", "ok", nme_inner=inner, nme_inner_mean_face=mean_face)
        assert row.judged() is row


def test_without_any_face_the_run_fails_but_reports(trained: Path, photos: Path):
    photos.joinpath("a.png").unlink()
    photos.joinpath("a.jpg").unlink()
    with pytest.raises(InputError, match=r"none of 2 photos gave a face.*summary\.csv"):
        command.main([*RUN, "--epoch", "20", "--img_folder", str(photos)])
    results = trained.parent / "results" / "mask" / "epoch_20_000000"
    assert {row["status"] for row in rows(results).values()} == {"failed"}


@pytest.mark.parametrize(
    ("name", "problem"), [("broken.jpeg", "broken.jpeg"), ("grey sky.PNG", "no face found")]
)
def test_a_single_photo_that_fails_is_one_message(
    trained: Path, photos: Path, name: str, problem: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(InputError, match=problem) as caught:
        command.main([*RUN, "--epoch", "20", "--img_folder", str(photos / name)])
    assert str(caught.value).count(name) == 1
    shown = capsys.readouterr()
    assert name not in shown.out + shown.err
    results = trained.parent / "results" / "mask" / "epoch_20_000000"
    # What is no picture is refused before anything is written; that a photo shows no face is a
    # result.
    assert results.exists() == ("no face" in problem)
    if results.exists():
        assert rows(results)[name]["status"] == "failed"


def test_landmarks_that_belong_elsewhere_fail_one_photo_only(trained: Path, photos: Path):
    path = photos / "landmarks" / "a.txt"
    path.write_text(path.read_text(encoding="utf-8").replace(".", "9."), encoding="utf-8")
    command.main([*RUN, "--epoch", "20", "--img_folder", str(photos)])
    summary = rows(trained.parent / "results" / "mask" / "epoch_20_000000")
    assert summary["a.jpg"]["status"] == "failed"
    assert "a.txt" in summary["a.jpg"]["message"]
    assert summary["a.png"]["status"] == "ok"


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--img_folder", "nowhere"], "--img_folder nowhere"),
        (["--img_folder", "empty"], "empty"),
        (["--epoch", "7"], "--epoch 7"),
        (["--name", "nobody"], "nobody"),
        (["--net_recon", "resnet50"], "resnet18"),
        (["--net_recon", "dlib", "--use_last_fc"], "use_last_fc|resnet18"),
        (["--face_model", "nowhere.npz"], r"nowhere\.npz"),
        (["--model", "nothing"], "--model nothing"),
        (["--model", "template"], "--model template"),
        (["--gpu_ids", "777"], "--gpu_ids 777"),
        (["--test_batch_size", "0"], "--test_batch_size"),
        (["--no_such_flag"], "--no_such_flag"),
    ],
)
def test_bad_input_is_named(trained: Path, photos: Path, argv: list[str], named: str):
    Path("empty").mkdir()
    with pytest.raises(InputError, match=named):
        command.main([*RUN, "--epoch", "20", "--img_folder", str(photos), *argv])


def test_a_missing_face_model_is_the_first_word(trained: Path, photos: Path):
    """Of a user who names it; else the checkpoint wants it, and is named first."""
    checkpoint = load_checkpoint(trained)
    checkpoint["card"]["face_model"]["name"] = "flame"
    save_checkpoint(trained, checkpoint)
    argv = [*RUN, "--epoch", "20", "--img_folder", str(photos)]
    with pytest.raises(InputError, match=r"^--face_model flame: BFM holds none"):
        command.main([*argv, "--face_model", "flame"])
    with pytest.raises(InputError, match=r"epoch_20\.pth cannot be used: --face_model flame: BFM"):
        command.main(argv)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_named(trained: Path, photos: Path, content: bytes | None):
    whole = trained.read_bytes()
    trained.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(InputError, match=r"epoch_20\.pth"):
        command.main([*RUN, "--epoch", "20", "--img_folder", str(photos)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "flags",
    [
        ["--save", *("glb", "texture", "ply", "depth", "normals", "mask", "visibility", "camera")],
        ["--solve_appearance"],
        ["--refine"],
    ],
)
def test_a_gpu_writes_what_the_cpu_does(
    trained: Path, photos: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
):
    """From one checkpoint, which a CPU has saved."""
    (photos / "grey sky.PNG").unlink()  # the others need no detector
    argv = [*RUN, "--epoch", "20", "--img_folder", str(photos), "--texture_size", "256", *flags]
    written = []
    for name, gpu_ids in (("cpu", "-1"), ("gpu", "0")):
        command.main([*argv, "--gpu_ids", gpu_ids])
        results = trained.parent / "results" / "mask" / "epoch_20_000000"
        written.append(results.rename(results.with_name(name)))
    assert "No GPU found" not in capsys.readouterr().out
    of_cpu, of_gpu = written
    names = {path.relative_to(of_cpu) for path in of_cpu.rglob("*")}
    assert {path.relative_to(of_gpu) for path in of_gpu.rglob("*")} == names
    assert Path("a.mat") in names and (Path("a_depth.png") in names) == ("depth" in flags)
    # The network sees the same in every photo: what remains is rounding, and the fit's way.
    atol = 0.1 if "--refine" in flags else 1e-3
    found, expected = (loadmat(folder / "a.mat") for folder in (of_gpu, of_cpu))
    for block in ("id", "exp", "tex", "angle", "gamma", "trans"):
        np.testing.assert_allclose(found[block], expected[block], rtol=0, atol=atol)
    np.testing.assert_allclose(found["lm68"], expected["lm68"], rtol=0, atol=0.3)
    for picture in of_cpu.rglob("*.png"):
        there = np.asarray(Image.open(of_gpu / picture.relative_to(of_cpu)), dtype=float)
        here = np.asarray(Image.open(picture), dtype=float)  # of 8 or 16 bits
        assert np.abs(there - here).mean() < max(here.max(), 255) / 255, picture.name
    there, here = (trimesh.load(folder / "a.obj", process=False) for folder in (of_gpu, of_cpu))
    assert isinstance(there, trimesh.Trimesh) and isinstance(here, trimesh.Trimesh)
    np.testing.assert_allclose(there.vertices, here.vertices, rtol=0, atol=2e-2)
