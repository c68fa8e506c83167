"""Commands of SynergyNet and of its config-driven form: flags, and the files that come out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import trimesh

from data.images import read_image, write_image
from models.face_model import FaceModel
from models.synergy.network import SynergyNetwork
from options.base_options import BaseOptions
from options.network_options import SynergyModelOptions
from options.public_synergy import benchmark_call, config_call, demo_options
from tests.aflw2000_files import write_aflw2000
from tests.commands import load_tool
from tests.synergy_files import YAW_DEG, Following, save_random_synergy, write_photos
from tests.test_test_command import two_faces
from tests.video_files import write_file
from util.errors import InputError
from util.synergy import synergy_photos, synergy_track

ROOT = Path(__file__).resolve().parents[2]
QUIET = ["--gpu_ids", "-1", "--num_cpu_threads", "1"]


single_image = load_tool("synergynet", "singleImage")
artistic = load_tool("synergynet", "artistic")
real_faces = load_tool("synergynet", "uv_texture_realFaces")
benchmark = load_tool("synergynet", "benchmark")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def network(folder: Path) -> SynergyNetwork:
    """Where the public demos look for their weights; 3dmm_data beside it."""
    return save_random_synergy(folder, folder / "pretrained" / "best.pth.tar", fixed=True)


@pytest.fixture
def photos(folder: Path, open_face_model: FaceModel) -> Path:
    return write_photos(folder / "photos", open_face_model)


@pytest.fixture()
def named_files(folder: Path) -> None:
    """What the command lines below name: they are refused where it does not exist."""
    for name in ("img/a.jpg", "pretrained/best.pth.tar", "a.pth", "checkpoints/mine/epoch_1.pth"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\x80\x02")  # as files of PyTorch begin


class TestFlags:
    @pytest.mark.usefixtures("named_files")
    def test_public_spellings_and_defaults(self):
        options = demo_options(["-f", "img", "--png", "-b", "4", "-num_img", "3"])
        flat = options.flat()
        assert (flat["files"], flat["png"], flat["num_img"]) == ("img", True, 3)
        assert flat["weights"] == "pretrained/best.pth.tar" and flat["img_size"] == 120
        assert demo_options(["--files=img", "-w", "a.pth"])[SynergyModelOptions].weights == "a.pth"
        mine = demo_options(["-f", "img", "--name", "mine", "--epoch", "1"])
        assert mine[SynergyModelOptions].weights == "" and mine[BaseOptions].name == "mine"

    @pytest.mark.usefixtures("named_files")
    def test_what_has_no_effect_is_said(self, capsys: pytest.CaptureFixture[str]):
        demo_options(["-f", "img", "--batch-size", "4", "--img_size", "128"])
        shown = capsys.readouterr().out
        assert "--batch_size has no effect" in shown and "--img_size has no effect" in shown
        write_image(Path("one.png"), np.zeros((50, 50, 3), np.uint8))
        demo_options(["-f", "one.png", "--png", "-num_img", "3"])
        shown = capsys.readouterr().out
        for flag in ("--png", "--num_img"):
            assert f"{flag} has no effect: -f names a single photo" in shown

    def test_a_benchmark_call(self):
        call = benchmark_call(["-w", "b.pth.tar", "-d", "1", "-a", "mobilenet_v2"])
        assert call[-2:] == ["--weights", "b.pth.tar"]
        assert set(call[:-2]) == {
            "--model=synergy",
            "--benchmark_root=./aflw2000_data",
            "--gpu_ids=1",
        }
        assert "--weights=models/best.pth.tar" in benchmark_call([])
        assert "--gpu_ids=0" not in benchmark_call(["--gpu_ids=-1"])

    def test_a_config_call(self, folder: Path):
        (folder / "a.yaml").write_text("name: mine\n", encoding="utf-8")
        assert config_call(["-opt", "a.yaml", "--epoch", "3"]) == [
            *("--model=synergy", "--config=a.yaml", "--epoch", "3")
        ]
        (folder / "b.yaml").write_text("model: facerecon\n", encoding="utf-8")
        for typed in (["-opt", "b.yaml"], ["--opt=b.yaml"]):
            assert config_call(typed) == ["--config=b.yaml"]
        with pytest.raises(InputError, match="-opt is missing"):
            config_call(["--epoch", "3"])
        with pytest.raises(InputError, match=r"c.yaml does not exist"):
            config_call(["-opt", "c.yaml"])

    def test_bad_flags(self, network: SynergyNetwork, folder: Path):
        with pytest.raises(InputError, match="-f is missing"):
            single_image.main([])
        with pytest.raises(InputError, match="unrecognized arguments: --pgn"):
            single_image.main(["-f", "img", "--pgn"])
        with pytest.raises(InputError, match=r"img does not exist"):
            single_image.main(["-f", "img", *QUIET])
        write_image(folder / "img" / "a.png", np.zeros((50, 50, 3), np.uint8))
        with pytest.raises(InputError, match=r"has no .jpg files; give --png"):
            single_image.main(["-f", "img", *QUIET])
        with pytest.raises(InputError, match=r"none.pth.tar"):
            single_image.main(["-f", "img", "-w", "none.pth.tar", *QUIET])
        assert not Path("inference_output").exists()


def test_single_image(
    network: SynergyNetwork,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    landmarks = np.loadtxt(photos / "landmarks" / "a.txt")
    shutil.rmtree(photos / "landmarks")
    detector = two_faces(landmarks)
    monkeypatch.setattr(synergy_photos, "create_detector", lambda options: detector)
    single_image.main(["-f", f"{photos}/", "--png", *QUIET])
    made = {
        str(path.relative_to("inference_output")) for path in Path("inference_output").rglob("*.*")
    }
    for name in ("a", "sky"):
        assert made >= {
            f"rendering_overlay/{name}.jpg",
            f"rendering_overlay/{name}_solid.png",
            f"landmarks/{name}.jpg",
            f"poses/{name}.jpg",
        }
    # A page of each face, and one of all, beside the public names.
    pages = {path.name for path in Path("inference_output/faces").glob("*.html")}
    assert pages == {"index.html", "a_report.html", "a_2_report.html", "sky_report.html"} | {
        "sky_2_report.html"
    }
    solid = read_image("inference_output/rendering_overlay/a_solid.png")
    photo = read_image(photos / "a.png")
    overlay = read_image("inference_output/rendering_overlay/a.jpg").astype(float)
    drawn = solid.any(axis=2)
    assert solid.shape == photo.shape and 0.05 < drawn.mean() < 0.6
    mixed = 0.6 * solid[drawn].astype(float) + 0.4 * photo[drawn]
    assert np.abs(overlay[drawn] - mixed).mean() < 4  # JPEG


def test_single_image_of_a_video(
    network: SynergyNetwork,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """It writes what test.py does, with the public command and its flags on the page."""
    landmarks = np.loadtxt(photos / "landmarks" / "a.txt")
    follow = Following(landmarks)
    monkeypatch.setattr(synergy_track, "LandmarkTracker", lambda detector: follow)
    write_file(Path("talk.mp4"), [read_image(photos / "a.png")] * 3)
    single_image.main(["-f", "talk.mp4", "--smooth_min_hz", "0", "-num_img", "2", *QUIET])
    assert "--num_img has no effect: -f names a single video" in capsys.readouterr().out
    names = {path.name for path in Path("inference_output/videos").iterdir()}
    assert names == {*("talk.npz", "talk_synergy.mp4", "talk_report.json", "talk_report.html")}
    page = Path("inference_output/videos/talk_report.html").read_text(encoding="utf-8")
    assert "Command</th><td>singleImage.py<" in page
    assert "Options</th><td>--smooth_min_hz 0.0 --num_img 2<" in page
    assert "Checkpoint</th><td>pretrained/best.pth.tar<" in page


def test_artistic(
    network: SynergyNetwork,
    photos: Path,
    folder: Path,
    monkeypatch,
):
    landmarks = np.loadtxt(photos / "landmarks" / "a.txt")
    shutil.rmtree(photos / "landmarks")
    (photos / "sky.png").unlink()
    monkeypatch.setattr(synergy_photos, "create_detector", lambda options: two_faces(landmarks))
    with pytest.raises(InputError, match=r"uv_art/a_fake_B.png does not exist"):
        artistic.main(["-f", str(photos), "--png", *QUIET])
    texture = np.zeros((256, 256, 3), np.uint8)
    texture[..., 0], texture[..., 1] = np.mgrid[:256, :256]
    write_image(folder / "uv_art" / "a_fake_B.png", texture)
    artistic.main(["-f", str(photos), "--png", *QUIET])
    names = {path.name for path in Path("inference_output/obj").iterdir()}
    both = {f"{stem}{end}" for stem in ("a", "a_2") for end in (".obj", "_textured.obj")}
    assert names >= both | {"a_textured.mtl", "a_textured.png"}

    lines = Path("inference_output/obj/a.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    assert len(vertices) == network.face.vertex_count and vertices.shape[1] == 6
    assert network.face.uv is not None
    u, v = network.face.uv.numpy().T
    np.testing.assert_allclose(vertices[:, 3], 255 - (v * 255).astype(int))
    np.testing.assert_allclose(vertices[:, 4], (u * 255).astype(int))
    # The public code scales label coordinates of the crop to the photo; y counts downwards.
    points = network.face.vertices(network.whitening_mean[None])[0].double().numpy()
    scale = np.ptp(vertices[:, 0]) / np.ptp(points[0])
    np.testing.assert_allclose(np.ptp(vertices[:, 1]) / np.ptp(points[1]), scale, rtol=0.01)
    assert vertices[points[1].argmin(), 1] == vertices[:, 1].min()
    upright: Any = trimesh.load_mesh("inference_output/obj/a_textured.obj", process=False)
    np.testing.assert_allclose(upright.vertices[:, 1] + vertices[:, 1], 300 + scale / 2, atol=0.02)
    assert upright.visual.material.image.size == (256, 256)


def test_real_faces(network: SynergyNetwork, folder: Path):
    write_image(folder / "real" / "x_real_A.png", np.full((256, 256, 3), 90, np.uint8))
    texture = np.full((256, 256, 3), [255, 0, 0], np.uint8)
    write_image(folder / "texture_data" / "uv_real" / "x_fake_B.png", texture)
    real_faces.main(["-f", "real", "--png", *QUIET])
    points = network.face.vertices(network.whitening_mean[None])[0].double().numpy()
    lines = Path("inference_output/obj/x.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    # The public rule, written out: the whole picture is the crop.
    np.testing.assert_allclose(vertices[:, :2], points[:2].T * 256 / 120, atol=1e-3)
    np.testing.assert_allclose(vertices[:, 2], points[2] * 256 / 120, atol=1e-3)
    assert (vertices[:, 3:] == [255, 0, 0]).all()
    overlay = read_image("inference_output/rendering_overlay/x.jpg").astype(int)
    red = (overlay[..., 0] - overlay[..., 2]) > 60
    assert red.mean() > 0.2 and Path("inference_output/obj/x_textured.mtl").is_file()


def test_benchmark(network: SynergyNetwork, folder: Path, capsys: pytest.CaptureFixture[str]):
    write_aflw2000(folder / "aflw2000_data")
    benchmark.main(["-w", "pretrained/best.pth.tar", *QUIET, "--out", "results/aflw2000"])
    assert {path.name for path in Path("results").glob("*.png")} == {f"{k}.png" for k in range(8)}
    assert "balanced" in capsys.readouterr().out
    with np.load("results/aflw2000/best/predictions.npz") as saved:
        np.testing.assert_allclose(saved["angles_deg"][:, 1], YAW_DEG, atol=1e-3)


def test_help_from_anywhere(folder: Path):
    tool = ROOT / "tools" / "synergynet" / "singleImage.py"
    done = subprocess.run(
        [sys.executable, str(tool), "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "--weights" in done.stdout, done.stderr


@pytest.mark.parametrize("tool", [artistic, real_faces, benchmark])
def test_help(tool: ModuleType, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        tool.main(["--help"])
    assert "--weights" in capsys.readouterr().out


def test_the_config_driven_form(network: SynergyNetwork, folder: Path, open_face_model: FaceModel):
    """One file for all commands."""
    write_aflw2000(folder / "aflw2000_data")
    write_image(folder / "crops" / "c.png", np.full((120, 120, 3), 50, np.uint8))
    recipe = (ROOT / "configs" / "synergy_net" / "synergynet.yaml").read_text(encoding="utf-8")
    mine = "synergy_model:\n  weights: pretrained/best.pth.tar\n"
    (folder / "net.yaml").write_text(recipe + mine, encoding="utf-8")
    for name, argv in (
        ("eval", ["--pictures", "False"]),
        ("infer", ["--img_folder", "crops", "--crop", "whole", "--res_folder", "out"]),
        ("export", ["--format", "torch_export", "--export_path", "net.pt2"]),
    ):
        load_tool("facereconstruction", name).main(["-opt", "net.yaml", *QUIET, *argv])
    assert Path("results/aflw2000/landmarks.csv").is_file() and Path("net.pt2").is_file()
    record = json.loads(Path("out/c.json").read_text())
    assert record["yaw_deg"] == pytest.approx(YAW_DEG, abs=1e-3)
    assert Path("out/c_report.html").is_file() and Path("out/index.html").is_file()
