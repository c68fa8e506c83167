"""FaceScape's benchmark from the outside: spheres in the wild and in the lab, with known errors."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.images import read_image, write_image
from options import parse_command
from options.evaluate_options import results_folder
from tests.scan_files import sphere_mesh, write_mesh
from tests.test_evaluate_command import mean_face_crop
from tests.test_train_command import load_script
from util.errors import InputError
from util.evaluation.cylinder_map import CylinderMap
from util.evaluation.facescape import normal_angles
from util.evaluation.facescape_photos import PUPILS_MM, wild_photos
from util.mesh_files.mesh_reader import TriangleMesh, read_mesh

command = load_script("evaluate")
HALF_MM = 120.0
"""Millimetres of half a photo."""
RADIUS_MM = 80.0
FAR = -10.0
"""Where truths of photos in the wild lie, in halves of the photo."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(*more: str) -> None:
    root = ["--benchmark_root", "root", "--out", "out", "--gpu_ids", "-1"]
    command.main(["--benchmark", "facescape", *root, *more])


def rows(name: str = "wild") -> dict[str, dict[str, str]]:
    with Path(f"out/facescape_{name}.csv").open(encoding="utf-8", newline="") as file:
        return {row["group"]: row for row in csv.DictReader(file)}


def write_tables(rotation: np.ndarray, centre: np.ndarray) -> None:
    place = Path("root/code/predef")
    place.mkdir(parents=True)
    np.save(place / "wild_pupil_scales.npy", np.full(400, HALF_MM))
    np.save(place / "wild_head_centers.npy", np.tile(centre, (400, 1)))
    np.save(place / "wild_rotations.npy", np.tile(rotation, (400, 1, 1)))


def moved(mesh: TriangleMesh, shift: object, scale: float = 1.0) -> TriangleMesh:
    return TriangleMesh(scale * mesh.vertices + np.asarray(shift), mesh.triangles)


def write_truth(name: str, mesh_mm: TriangleMesh) -> None:
    """A truth of the wild, given in millimetres about the middle of the photo."""
    truth = moved(mesh_mm, [0, 0, FAR], 1 / HALF_MM)
    write_mesh(Path(f"root/data/wild_gt_mesh/{name}.obj"), truth)


def write_prediction(name: str, mesh_mm: TriangleMesh) -> None:
    """The same in pixels of the photo, at any depth."""
    write_mesh(Path(f"theirs/{name}.obj"), moved(mesh_mm, [128, 128, 77], 128 / HALF_MM))


def part(mesh: TriangleMesh, kept: np.ndarray) -> TriangleMesh:
    """Triangles whose corners are all kept."""
    return TriangleMesh(mesh.vertices, mesh.triangles[kept[mesh.triangles].all(axis=1)])


class TestWild:
    HEAD = sphere_mesh(RADIUS_MM)

    @pytest.fixture(autouse=True)
    def copy(self) -> None:
        rotation = Rotation.from_rotvec([0.1, 0.6, -0.2]).as_matrix()
        write_tables(rotation, np.array([0, 0, FAR]))

    def test_the_truth_at_another_depth_has_no_error(self, capsys: pytest.CaptureFixture[str]):
        write_truth("000", self.HEAD)
        write_prediction("000", self.HEAD)
        evaluate("--predictions", "theirs")
        row = rows()["all"]
        assert float(row["chamfer_mm"]) < 0.01 and float(row["normals_deg"]) < 0.1
        assert float(row["complete_percent"]) == float(row["done_percent"]) == 100
        assert set(rows()) == {"all", "0-5 deg"} and row["images"] == "1"
        said = capsys.readouterr().out
        assert "wild_gt_mesh holds 1 meshes; the published one has 400" in said
        assert Path("out/report.html").is_file() and Path("out/theirs/errors.png").is_file()

    def test_each_set_has_its_folder(self):
        chosen = []
        for flags in ([], ["--photo_set=lab"], ["--photo_set=lab", "--out=mine"]):
            options = parse_command(command.groups, ["--benchmark=facescape", *flags])
            chosen.append(results_folder(command.settled(options)))
        assert chosen == [
            Path("results/facescape_wild"),
            Path("results/facescape_lab"),
            Path("mine"),
        ]

    def test_known_distances(self):
        """What is beside the truth stays there; what is before it is moved back.

        Of a sphere that lies h to the side, a point in the direction n is about |h n| off.
        """
        write_truth("000", self.HEAD)
        write_prediction("000", moved(self.HEAD, [3, 0, 40]))
        evaluate("--predictions", "theirs")
        # Places of the map are even in height and angle, so as on the sphere: the mean of |n| in
        # any direction is a half.
        assert float(rows()["all"]["chamfer_mm"]) == pytest.approx(1.5, rel=0.04)

    def test_half_a_prediction_is_half_complete(self):
        write_tables_again = Path("root/code/predef/wild_rotations.npy")
        np.save(write_tables_again, np.tile(np.eye(3), (400, 1, 1)))
        write_truth("000", self.HEAD)
        write_prediction("000", part(self.HEAD, self.HEAD.vertices[:, 1] >= 0))
        evaluate("--predictions", "theirs")
        row = rows()["all"]
        assert float(row["complete_percent"]) == pytest.approx(50, abs=1.5)
        assert float(row["chamfer_mm"]) < 0.01

    def test_missing_ones_are_not_done_and_groups_are_of_angles(self):
        for name, shift in (("000", 0.0), ("001", 0.0), ("150", 2.0), ("399", 0.0)):
            write_truth(name, self.HEAD)
            if name != "001":
                write_prediction(name, moved(self.HEAD, [shift, 0, 0]))
        evaluate("--predictions", "theirs")
        found = rows()
        assert set(found) == {"all", "0-5 deg", "5-30 deg", "60-90 deg"}
        assert found["0-5 deg"]["done_percent"] == "50.0000"
        assert found["all"]["done_percent"] == "75.0000" and found["all"]["images"] == "4"
        assert float(found["5-30 deg"]["chamfer_mm"]) == pytest.approx(1, rel=0.05)
        lines = Path("out/theirs/images.csv").read_text().splitlines()
        assert lines[0] == "image,chamfer_mm,normals_rad,complete,normals_deg"
        assert lines[2].startswith('"001",nan')

    def test_wrong_files_are_named(self):
        with pytest.raises(InputError, match=r"theirs is no folder"):
            evaluate("--predictions", "theirs")
        Path("theirs").mkdir()
        with pytest.raises(InputError, match=r"1 of 4 .*: data/wild_gt_mesh/<0 to 399>.obj; "):
            evaluate("--predictions", "theirs")
        # Meshes of no photo, and a folder, are none.
        for name in ("foo", "400", "-1"):
            write_truth(name, self.HEAD)
        folder = Path("root/data/wild_gt_mesh/001.obj")
        folder.mkdir()
        with pytest.raises(InputError, match=r"1 of 4 .*: data/wild_gt_mesh/<0 to 399>.obj; "):
            evaluate("--predictions", "theirs")
        with pytest.raises(InputError, match=r"wild_gt_mesh holds no mesh .* below 400; the fold"):
            wild_photos(Path("root"))
        folder.rmdir()
        write_truth("000", self.HEAD)
        with pytest.raises(InputError, match=r"theirs holds no <photo>.obj or .ply, such as 000"):
            evaluate("--predictions", "theirs")
        write_mesh(Path("theirs/000.obj"), self.HEAD)
        with pytest.raises(
            InputError, match=r"000.obj (lies nowhere|covers nothing).*in pixels of"
        ):
            evaluate("--predictions", "theirs")
        with pytest.raises(InputError, match=r"--image_folder .* is no folder"):
            evaluate("--model", "mean")
        np.save("root/code/predef/wild_rotations.npy", np.zeros((3, 3)))
        with pytest.raises(
            InputError, match=r"wild_rotations.npy has the shape \(3, 3\), expected"
        ):
            evaluate("--predictions", "theirs")
        Path("root/code/predef/wild_pupil_scales.npy").unlink()
        with pytest.raises(
            InputError, match=r"lacks 1 of 4 .*: code/predef/wild_pupil_scales.npy; "
        ):
            evaluate("--predictions", "theirs")

    def test_ours_lies_over_the_photo(self, open_face_model, capsys: pytest.CaptureFixture[str]):
        """A truth that is cut from the prediction itself has no error; no face: not done."""
        pytest.importorskip("dlib")
        picture, _ = mean_face_crop(open_face_model)
        side = picture.shape[0]
        photo = np.full((256, 256, 3), 90, np.uint8)
        top = (256 - 2 * side) // 2 if 2 * side <= 256 else 0
        large = np.kron(picture, np.ones((2, 2, 1), "u1"))[:256, :256]
        photo[top : top + large.shape[0], top : top + large.shape[1]] = large
        write_image(Path("photos/000.png"), photo)
        write_image(Path("photos/001.png"), np.full_like(photo, 90))
        for name in ("000", "001"):
            write_truth(name, self.HEAD)
        run = ["--model", "mean", "--face_model", "open@0", "--renderer", "torch"]
        evaluate(*run, "--image_folder", "photos")
        assert rows()["all"]["done_percent"] == "50.0000"
        assert "No face found in 1 of 2 photos" in capsys.readouterr().out
        mesh = read_mesh(Path("out/mean/predictions/000"))
        assert not Path("out/mean/predictions/001.obj").exists()
        # The face is drawn where the mesh is: dark beside it, in the photo.
        drawn = read_image(Path("photos/000.png"))[::-1].astype(float).std(axis=2)
        rows_px, columns_px = np.floor(mesh.vertices[:, 1]), np.floor(mesh.vertices[:, 0])
        inside = (rows_px >= 0) & (rows_px < 256) & (columns_px >= 0) & (columns_px < 256)
        on_face = drawn[rows_px[inside].astype(int), columns_px[inside].astype(int)] > 2
        assert inside.mean() > 0.95 and on_face.mean() > 0.8
        # Towards the camera is up in z: the nose is before the ears.
        nearest = mesh.vertices[mesh.vertices[:, 2].argmax()]
        middle = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0)) / 2
        assert abs(nearest[0] - middle[0]) < 20


class TestLab:
    def write(self, shift_mm: float) -> None:
        """A sphere in front of an OpenCV camera, predicted in pixels as at its mean depth."""
        place = Path("root/code/predef")
        place.mkdir(parents=True)
        far = 1500.0
        np.save(place / "lab_head_centers.npy", np.array([[0, 0, far]] * 3))
        np.save(place / "lab_rotations.npy", np.tile(np.diag([1.0, -1, -1]), (11, 1, 1)))
        head = sphere_mesh(RADIUS_MM)
        truth = moved(head, [0, 0, far / PUPILS_MM], 1 / PUPILS_MM)
        write_mesh(Path("root/data/lab_gt_mesh/00.obj"), truth)
        Path("root/data/lab_cam").mkdir()
        for focal in range(3):
            for view in range(11):
                k = [[1200.0, 0, 128], [0, 1200, 128], [0, 0, 1]]
                pose = np.eye(4)[:3].tolist()
                Path(f"root/data/lab_cam/00_{focal}_{view:02d}.json").write_text(
                    json.dumps([k, pose])
                )
        front = part(head, head.vertices[:, 2] > -20)
        pixels = moved(moved(front, [shift_mm, 0, 0]), [128, 128, 0], 1200 / far)
        for view in (0, 3):
            write_mesh(Path(f"theirs/00_0_{view:02d}.obj"), pixels)
        write_mesh(Path("theirs/00_2_10.obj"), pixels)

    @pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (4.0, 2.0)])
    def test_known_distances(self, shift: float, expected: float):
        self.write(shift)
        evaluate("--predictions", "theirs", "--photo_set", "lab")
        found = rows("lab")
        assert set(found) == {"all", "0-5 deg", "30 deg", "60 deg", "f 1200", "f 600", "f 300"}
        # The size follows from height and depth, by a rule that is exact for no shape.
        assert float(found["all"]["chamfer_mm"]) == pytest.approx(expected, abs=0.35)
        assert found["all"]["images"] == "33" and found["0-5 deg"]["done_percent"] == "100.0000"
        assert found["60 deg"]["done_percent"] == "0.0000" and not found["60 deg"]["chamfer_mm"]
        assert float(found["f 300"]["done_percent"]) == pytest.approx(100 / 11, abs=1e-3)

    def test_wrong_cameras_are_named(self):
        self.write(0)
        Path("root/data/lab_cam/00_0_00.json").write_text("[1, 2]")
        with pytest.raises(InputError, match=r"00_0_00.json (does not hold|holds matrices)"):
            evaluate("--predictions", "theirs", "--photo_set", "lab")
        Path("root/data/lab_cam/00_0_00.json").unlink()
        with pytest.raises(InputError, match=r"00_0_00.json does not exist"):
            evaluate("--predictions", "theirs", "--photo_set", "lab")


def test_normals_as_published_and_as_they_are():
    """Of (1, 0, 0) and (0, 1, 0): 90 degrees; shifted by one their cosine is 5 / 6."""
    first, second = (
        CylinderMap(np.ones((1, 1)), np.array([[n]])) for n in ([1.0, 0, 0], [0.0, 1, 0])
    )
    published, degrees = normal_angles(first, second, np.ones((1, 1), bool))
    assert published == pytest.approx(math.acos(5 / 6)) and degrees == pytest.approx(90)
