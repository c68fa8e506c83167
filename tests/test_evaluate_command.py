"""`evaluate.py` from the outside: tables of known answers, several methods, bad input."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.aflw2000 import read_aflw2000, to_crop
from data.images import read_image
from models import create_model
from models.assets import ModelAssets
from models.camera import Camera
from models.face_model import FaceModel
from models.facerecon_model import FaceReconModel
from models.landmark_scores import box_sizes_px, outer_eye_px
from models.renderer import Renderer
from models.stages import reconstruct
from options import parse_command
from tests.aflw2000_files import YAWS, write_aflw2000
from tests.commands import load_script
from tests.synergy_files import save_random_synergy
from util.errors import InputError
from util.evaluation import aflw2000_methods
from util.evaluation.aflw2000_methods import NetworkMethod, mean_face_points
from util.training.training_state import Progress, save_training

command = load_script("evaluate")
RUN = ["--gpu_ids", "-1", "--num_cpu_threads", "1", "--benchmark_root", "data", "--out", "out"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


def row_of(path: Path, **wanted: str) -> dict[str, str]:
    (row,) = [r for r in table(path) if wanted.items() <= r.items()]
    return row


def write_shifted(folder: Path, name: str, pixels: float) -> None:
    """Predictions that are the labels, moved to the right."""
    data = read_aflw2000(folder / "data")
    moved = data.original[..., :2] + [pixels, 0.0]
    angles = np.zeros((len(data), 3))
    assert data.angles_deg is not None
    angles[data.kept] = data.angles_deg + np.array([1.0, -2.0, 3.0])
    angles[7] = 1000  # an image that is left out
    np.savez(folder / f"{name}.npz", landmarks_photo=moved, angles_deg=angles)


def test_a_file_with_known_errors(folder: Path, capsys: pytest.CaptureFixture[str]):
    write_aflw2000(folder / "data")
    write_shifted(folder, "shifted", 6.0)
    command.main([*RUN, "--predictions", "shifted.npz"])
    data = read_aflw2000(folder / "data")
    for normaliser, lengths in (
        ("box", box_sizes_px(data.original)),
        ("outer_eye", outer_eye_px(data.original)),
    ):
        errors = 100 * 6.0 / lengths
        row = row_of(Path("out/landmarks.csv"), labels="original", normaliser=normaliser)
        means = [errors[:3].mean(), errors[3:6].mean(), errors[6:].mean()]
        found = [float(row[key]) for key in ("nme_0_30", "nme_30_60", "nme_60_90")]
        np.testing.assert_allclose(found, means, atol=1e-4)
        assert float(row["balanced"]) == pytest.approx(np.mean(means), abs=1e-4)
        assert float(row["std"]) == pytest.approx(np.std(means), abs=1e-4)
        assert float(row["all"]) == pytest.approx(errors.mean(), abs=1e-4)
    (pose,) = table(Path("out/pose.csv"))
    assert [float(pose[key]) for key in ("pitch", "yaw", "roll", "mean")] == [1, 2, 3, 2]
    assert (pose["images"], pose["excluded"], pose["yaw_formula"]) == ("6", "2", "exact")
    shown = capsys.readouterr().out
    assert "0-30 (3)  30-60 (3)  60-90 (2)" in shown
    assert "2 with an angle beyond 99 degrees are left out" in shown
    assert "outer_eye" in shown and "sqrt(w h)" in shown

    assert len(list(Path("out/shifted/first").iterdir())) == 8
    worst = sorted(path.name for path in Path("out/shifted/worst").iterdir())
    assert worst[0].startswith("00_image0000")
    lines = Path("out/shifted/images.csv").read_text().splitlines()
    assert len(lines) == 9 and lines[1].startswith('"image00003.jpg",0.00,')
    assert read_image("out/shifted/first/00.jpg").shape == (480, 480, 3)


def test_methods_stand_in_one_table(folder: Path, capsys: pytest.CaptureFixture[str]):
    write_aflw2000(folder / "data")
    for name, pixels in (("near", 1.0), ("far", 5.0), ("near", 2.0)):
        write_shifted(folder, name, pixels)
        command.main([*RUN, "--predictions", f"{name}.npz", "--pictures", "False"])
    rows = table(Path("out/landmarks.csv"))
    assert sorted({row["method"] for row in rows}) == ["far", "near"] and len(rows) == 8
    near, far = (
        row_of(Path("out/landmarks.csv"), method=m, labels="original", normaliser="box")
        for m in ("near", "far")
    )
    assert float(far["all"]) == pytest.approx(2.5 * float(near["all"]), abs=1e-3)
    last = capsys.readouterr().out.rpartition("AFLW2000-3D, 8 images")[2]
    assert "near" in last and "far" in last
    assert not Path("out/near/first").exists()

    write_aflw2000(folder / "other")
    moved = folder / "other" / "eval" / "AFLW2000-3D.pose.npy"
    np.save(moved, np.load(moved) + 0.1)
    with pytest.raises(InputError, match="holds methods on other images or labels"):
        command.main([*RUN, "--benchmark_root", "other", "--predictions", "near.npz"])


def test_landmarks_of_crops_and_names_in_another_order(folder: Path):
    write_aflw2000(folder / "data")
    data = read_aflw2000(folder / "data")
    order = np.arange(len(data))[::-1]
    crop = to_crop(data.original, data.boxes)[order]
    names = np.array([data.images[k].stem for k in order])
    np.savez("crops.npz", landmarks_crop=crop.transpose(0, 2, 1), names=names)
    command.main([*RUN, "--predictions", "crops.npz", "--pictures", "False"])
    row = row_of(Path("out/landmarks.csv"), labels="original", normaliser="box")
    assert float(row["all"]) == 0
    assert not Path("out/pose.csv").exists()


@pytest.mark.parametrize(
    "content, problem",
    [
        ({"landmarks": np.zeros((8, 68, 2))}, "holds landmarks; a file of predictions"),
        ({"landmarks_photo": np.zeros((8, 5, 2))}, "has the shape"),
        ({"landmarks_photo": np.zeros((7, 68, 2))}, "has 7 rows for 8 images"),
        ({"landmarks_photo": np.full((8, 68, 2), np.nan)}, "not finite in 8 rows"),
        ({"landmarks_photo": np.zeros((8, 68, 2)), "angles_deg": np.zeros((8, 2))}, "angles_deg"),
        ({"landmarks_photo": np.zeros((8, 68, 2)), "names": np.array(["a"] * 8)}, "no row for"),
    ],
)
def test_files_of_predictions_that_do_not_fit(folder: Path, content: dict, problem: str):
    write_aflw2000(folder / "data")
    np.savez("theirs.npz", **content)
    with pytest.raises(InputError, match=problem):
        command.main([*RUN, "--predictions", "theirs.npz"])


def test_bad_flags(folder: Path):
    write_aflw2000(folder / "data")
    with pytest.raises(
        InputError, match=r"--model nothing cannot be evaluated on aflw2000 .*; choose one of"
    ):
        command.main([*RUN, "--model", "nothing"])
    with pytest.raises(InputError, match=r"--predictions none.npz does not exist"):
        command.main([*RUN, "--predictions", "none.npz"])
    write_shifted(folder, "a", 0.0)
    with pytest.raises(InputError, match="cannot name a folder"):
        command.main([*RUN, "--predictions", "a.npz", "--method_name", "../b"])
    (folder / "text.npz").write_text("no", encoding="utf-8")
    with pytest.raises(InputError, match=r"text.npz"):
        command.main([*RUN, "--predictions", "text.npz"])


def mean_face_crop(face_model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """The mean face in the benchmark's crop, and its landmarks, continuous pixels."""
    result = reconstruct(face_model, Renderer("torch"), Camera.rnet(), face_model.layout.zeros(1))
    assert result.rendering.image is not None
    face = (result.rendering.image[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    points = result.posed.landmarks_px[0].double().numpy()
    low, high = points.min(axis=0), points.max(axis=0)
    side = np.sqrt(2) * (high - low).max()
    left, top = (low + high) / 2 - side / 2
    box = (left, top, left + side, top + side)
    crop = Image.fromarray(face).transform(
        (120, 120), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC
    )
    return np.asarray(crop), (points - [left, top]) * 120 / side


def front_landmarks(face_model: FaceModel) -> np.ndarray:
    """(68, 2) of the mean face in the R-Net's crop."""
    camera = Camera.rnet()
    mean = face_model.landmarks(face_model.mean_shape.reshape(1, -1, 3))
    return camera.project(camera.from_object(mean))[0].numpy()


def turning_network(open_face_model: FaceModel, origin: str) -> FaceReconModel:
    """An R-Net that always predicts the same pose."""
    argv = ["--net_recon", "resnet18", "--landmark_origin", origin]
    options = parse_command(FaceReconModel.option_groups, argv)
    model = create_model("facerecon", options, ModelAssets(open_face_model), torch.device("cpu"))
    assert isinstance(model, FaceReconModel)
    model.eval()
    return model


class TestBox:
    def test_the_mean_faces_points_lie_on_the_mean_face(self, open_face_model: FaceModel):
        """Against the rendered face."""
        _, points = mean_face_crop(open_face_model)
        eyes = points[[36, 39]].mean(axis=0), points[[42, 45]].mean(axis=0)
        expected = np.stack([*eyes, *points[[30, 48, 54]]]) - 0.5
        found = mean_face_points(open_face_model, Camera.rnet())
        # Alignment points stay where they are when landmarks are calibrated.
        np.testing.assert_allclose(found, expected, atol=1.0)

    def test_the_networks_landmarks_lie_on_the_crop(
        self, folder: Path, open_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
    ):
        """It predicts the mean face, which the crops show, 4 % larger than the R-Net has it."""
        picture, points = mean_face_crop(open_face_model)
        write_aflw2000(folder / "data", picture)
        data = read_aflw2000(folder / "data")
        found = {}
        for origin in ("centre", "index"):
            method = NetworkMethod(turning_network(open_face_model, origin))
            for rounds in (1, 2):
                monkeypatch.setattr(aflw2000_methods, "ROUNDS", rounds)
                predictions = method.predict(data, [0, 1])
                found[origin, rounds] = to_crop(predictions.landmarks - 0.5, data.boxes[:2])[0]
                assert predictions.angles_deg is not None
                np.testing.assert_allclose(predictions.angles_deg, 0, atol=1e-5)
        np.testing.assert_allclose(found["centre", 2], points, atol=4)
        # What a network learned with indices predicts lies (0, 1) from them, centres (.5, .5).
        assert not np.allclose(found["index", 2], found["index", 1])
        pixel = np.ptp(found["centre", 1][:, 0]) / np.ptp(front_landmarks(open_face_model)[:, 0])
        off = found["index", 1] - found["centre", 1]
        np.testing.assert_allclose(off, np.tile([0.5 * pixel, -0.5 * pixel], (68, 1)), atol=1e-4)


def save_network(folder: Path, model: FaceReconModel) -> None:
    heads = model.net_recon.final_layers
    assert heads is not None
    with torch.no_grad():
        heads[3].get_parameter("bias").copy_(torch.tensor([0.05, 0.1, -0.05]))
    argv = ["--net_recon", "resnet18", "--landmark_origin", "centre"]
    options = parse_command(FaceReconModel.option_groups, argv)
    path = folder / "checkpoints" / "mine" / "epoch_20.pth"
    save_training(path, model, options, Progress(epoch=21))


def test_a_network_from_the_command_line(folder: Path, open_face_model: FaceModel):
    picture, _ = mean_face_crop(open_face_model)
    write_aflw2000(folder / "data", picture)
    save_network(folder, turning_network(open_face_model, "centre"))
    run = ["--model", "facerecon", "--name", "mine", "--epoch", "20", "--eval_batch_size", "3"]
    command.main([*RUN, *run])
    saved = arrays(folder / "out" / "mine_20" / "predictions.npz")
    # R = Rz Ry Rx of ours in the labels' order of factors, which turn the other way.
    assert saved["angles_deg"].shape == (len(YAWS), 3)
    np.testing.assert_allclose(saved["angles_deg"][0, 1], -np.degrees(0.1), atol=0.5)
    assert {row["yaw_formula"] for row in table(Path("out/pose.csv"))} == {"exact", "public"}
    # The written predictions give the same table again.
    command.main([*RUN, "--predictions", "out/mine_20/predictions.npz", "--method_name", "again"])
    first, again = (
        row_of(Path("out/landmarks.csv"), method=m, labels="reannotated", normaliser="box")
        for m in ("mine_20", "again")
    )
    assert first == {**again, "method": "mine_20"}


def test_the_fitter_from_the_command_line(folder: Path, open_face_model: FaceModel):
    pytest.importorskip("dlib")
    picture, points = mean_face_crop(open_face_model)
    write_aflw2000(folder / "data", picture)
    fit = ["--model", "fit", "--face_model", "open@0", "--preset", "fast", "--renderer", "torch"]
    command.main([*RUN, *fit])
    data = read_aflw2000(folder / "data")
    saved = arrays(folder / "out" / "fit" / "predictions.npz")
    found = to_crop(saved["landmarks_photo"] - 0.5, data.boxes)[0]
    assert np.linalg.norm(found - points, axis=1)[17:].mean() < 3.0


class TestSynergy:
    def test_from_the_command_line(self, folder: Path):
        network = save_random_synergy(folder, folder / "checkpoints" / "syn" / "epoch_3.pth")
        write_aflw2000(folder / "data")
        run = ["--model", "synergy", "--name", "syn", "--epoch", "3", "--eval_batch_size", "3"]
        command.main([*RUN, *run])
        data = read_aflw2000(folder / "data")
        saved = arrays(folder / "out" / "syn_3" / "predictions.npz")

        # By hand: border of 5 px, the network, the public rule for boxes.
        crop = data.read_crop(4).copy()
        crop[:5] = crop[-5:] = crop[:, :5] = crop[:, -5:] = 0
        batch = torch.from_numpy(crop).permute(2, 0, 1)[None] / 255.0
        parameters = network.predict(batch)
        points = network.face.landmarks(parameters)[0].numpy()
        left, top, right, bottom = data.boxes[4]
        x = points[0] * (right - left) / 120 + left
        y = points[1] * (bottom - top) / 120 + top
        np.testing.assert_allclose(saved["landmarks_photo"][4], np.stack([x, y], 1), atol=0.02)

        matrix = parameters[0, :12].reshape(3, 4)[:2, :3].double().numpy()
        rows = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        third = np.cross(rows[0], rows[1])
        yaw = np.degrees(np.arcsin(-rows[0, 2])), np.degrees(np.arcsin(third[0]))
        assert saved["angles_deg"][4, 1] == pytest.approx(yaw[0], abs=0.02)
        assert saved["public_angles_deg"][4, 1] == pytest.approx(yaw[1], abs=0.02)

    def test_an_r_net_is_not_taken_for_one(self, folder: Path, open_face_model: FaceModel):
        write_aflw2000(folder / "data")
        save_network(folder, turning_network(open_face_model, "centre"))
        with pytest.raises(InputError, match=r"epoch_20.pth"):
            command.main([*RUN, "--model", "synergy", "--name", "mine", "--epoch", "20"])
        with pytest.raises(InputError, match=r"nothing.pth.tar"):
            command.main([*RUN, "--model", "synergy", "--weights", "nothing.pth.tar"])
