"""`export.py` from the outside, and the example that needs nothing of this program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from data.images import write_image
from models.camera import Camera
from models.export_nets import RNetExport, SynergyExport
from models.face_model import FaceModel
from models.networks.reconstruction import create_reconstruction_net
from models.renderer import Renderer
from models.stages import reconstruct
from models.synergy.pose import head_pose
from options.network_options import ReconstructionNetOptions
from tests.commands import load_script as load_command
from tests.commands import load_tool
from tests.synergy_files import save_random_synergy
from tests.test_evaluate_command import save_network, turning_network
from util.errors import InputError
from util.export_file import load_script, smooth_images

ROOT = Path(__file__).resolve().parents[1]
CONSUMER = ROOT / "tools" / "onnx" / "face_from_onnx.py"
command = load_command("export")
RUN = ["--gpu_ids", "-1", "--num_cpu_threads", "1"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str | Path) -> str:
    """A command in a process of its own, as users start it."""
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestWhatIsExported:
    def test_a_synergy_network(self, folder: Path):
        network = save_random_synergy(folder, folder / "a.pth")
        net = SynergyExport(network, dense=True).eval()
        assert net.outputs == ("parameters", "landmarks", "rotation", "vertices", "triangles")
        images = smooth_images(2, 120)
        with torch.no_grad():
            parameters, landmarks, rotation, vertices, triangles = net(images)
            expected = network.predict(images)
        torch.testing.assert_close(parameters, expected)
        # Label coordinates count the first pixel's centre as 1, continuous ones as 0.5.
        label = network.face.landmarks(expected).transpose(1, 2)
        torch.testing.assert_close(landmarks, label - torch.tensor([0.5, 0.5, 0]))
        torch.testing.assert_close(rotation, head_pose(expected[:, :12]).rotation)
        # The mesh is the landmarks' face: y up from the lower edge, z towards the camera.
        on_mesh = torch.cat([vertices[..., :1], 120 - vertices[..., 1:2], vertices[..., 2:]], 2)
        mode = "donot_use_mm_for_euclid_dist"
        nearest = torch.cdist(landmarks, on_mesh, compute_mode=mode).amin(dim=2)
        assert nearest.max() < 1e-3
        assert triangles.dtype == torch.int32 and int(triangles.max()) < vertices.shape[1]
        box = net.meaning()["face_box_px"]
        assert box[2] - box[0] == pytest.approx(120 / np.sqrt(2))

    def test_an_r_net(self, tiny_face_model: FaceModel):
        options = ReconstructionNetOptions(net_recon="resnet18")
        network = create_reconstruction_net(options, tiny_face_model.layout).eval()
        assert network.final_layers is not None
        with torch.no_grad():
            for head in network.final_layers:
                head.get_parameter("bias").normal_(0, 0.1)
        camera = Camera.rnet()
        images = smooth_images(1, 224)
        with torch.no_grad():
            net = RNetExport(network, tiny_face_model, camera, dense=True)
            flat, landmarks, _, vertices, _ = net(images)
            coefficients = tiny_face_model.layout.split(network(images))
            made = reconstruct(tiny_face_model, Renderer("torch"), camera, coefficients)
        torch.testing.assert_close(flat, network(images).detach())
        torch.testing.assert_close(landmarks[..., :2], made.posed.landmarks_px)
        torch.testing.assert_close(vertices, camera.to_object(made.posed.vertices_camera))


@pytest.mark.slow  # tests/util/test_export_file.py has the parity; this has the whole way
def test_synergy_to_onnx_and_from_there_without_this_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = save_random_synergy(folder, folder / "checkpoints" / "syn" / "epoch_3.pth")
    # In a process of its own: torch's exporter is unfit for warnings that are errors.
    named = ["--model", "synergy", "--name", "syn", "--epoch", "3"]
    out = run(ROOT / "export.py", *named, *RUN, "--dense", "--int8")
    path = folder / "checkpoints" / "syn" / "epoch_3.onnx"
    assert path.is_file() and path.with_name("epoch_3_int8.onnx").is_file()
    assert "landmarks: differs from PyTorch's by at most" in out and "pixels of the crop" in out
    assert "holds the face model 3dmm_data" in out

    picture = (smooth_images(1, 240)[0] * 255).byte().permute(1, 2, 0).numpy()
    write_image(folder / "photo.png", picture)
    shown = run(CONSUMER, path, "photo.png", "--out", "whole/face")
    assert "yaw" in shown
    found = np.loadtxt("whole/face.txt")
    crop = np.asarray(picture).reshape(120, 2, 120, 2, 3).mean(axis=(1, 3)) / 255
    images = torch.from_numpy(crop).float().permute(2, 0, 1)[None]
    expected = network.face.landmarks(network.predict(images))[0].numpy().T - [0.5, 0.5, 0]
    # The example scales pictures by another filter, which smooth ones hardly show.
    np.testing.assert_allclose(found[:, :2], 2 * expected[:, :2], atol=3)
    mesh = trimesh.load_mesh("whole/face.obj", process=False)
    assert len(mesh.vertices) == network.face.vertex_count
    # The same crop, asked for by a box that reaches beyond the photo on one side.
    wide = np.zeros((240, 300, 3), np.uint8)
    wide[:, :180] = picture[:, 60:]
    write_image(folder / "wide.png", wide)
    black = picture.copy()
    black[:, :60] = 0
    write_image(folder / "black.png", black)
    half = 120 / np.sqrt(2)
    box = [60 - half, 120 - half, 60 + half, 120 + half]
    example = load_tool("onnx", "face_from_onnx")
    for words in (
        ["wide.png", "--out", "boxed", "--box", *map(str, box)],
        ["black.png", "--out", "black"],
    ):
        monkeypatch.setattr(sys, "argv", ["face_from_onnx.py", str(path), *words])
        example.main()
    boxed, expected = np.loadtxt("boxed.txt"), np.loadtxt("black.txt") - [60, 0, 0]
    np.testing.assert_allclose(boxed[:, :2], expected[:, :2], atol=3)


def test_an_r_net_to_torchscript(folder: Path, open_face_model: FaceModel):
    save_network(folder, turning_network(open_face_model, "centre"))
    argv = ["--name", "mine", "--epoch", "20", "--format", "torchscript", "--export_path", "r.pt"]
    command.main([*RUN, *argv])
    parameters, landmarks, _ = load_script(Path("r.pt"))(smooth_images(2, 224).numpy())
    assert parameters.shape == (2, 257) and landmarks.shape == (2, 68, 3)
    np.testing.assert_allclose(parameters[0, 224:227], [0.05, 0.1, -0.05], atol=1e-6)


@pytest.mark.slow
def test_an_r_net_to_onnx(folder: Path, open_face_model: FaceModel):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    save_network(folder, turning_network(open_face_model, "centre"))
    argv = ["--name", "mine", "--epoch", "20", "--dense", "--export_path", "r.onnx"]
    out = run(ROOT / "export.py", *RUN, *argv)
    assert "vertices: differs" in out and "holds the face model open" in out
    write_image("face.png", np.full((224, 224, 3), 128, np.uint8))
    run(CONSUMER, "r.onnx", "face.png", "--out", "face")
    assert np.loadtxt("face.txt").shape == (68, 3)


def test_bad_input(folder: Path):
    with pytest.raises(InputError, match="--model template cannot be exported"):
        command.main(["--model", "template"])
    with pytest.raises(InputError, match="--int8 is for --format onnx"):
        command.main(["--int8", "--format", "torchscript"])
    with pytest.raises(InputError, match="--opset is 12"):
        command.main(["--opset", "12"])
    with pytest.raises(InputError, match="give another --name"):
        command.main(["--model", "synergy", "--name", "none"])
    save_random_synergy(folder, folder / "checkpoints" / "syn" / "epoch_3.pth")
    (folder / "pictures").mkdir()
    argv = ["--model", "synergy", "--name", "syn", "--epoch", "3", "--check_images", "pictures"]
    with pytest.raises(InputError, match="has no pictures"):
        command.main([*RUN, *argv])
