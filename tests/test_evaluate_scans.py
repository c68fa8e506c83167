"""REALY, MICC, FaceWarehouse and M3DFB from the outside: known errors, layouts, wrong files."""

from __future__ import annotations

import base64
import csv
import json
import zlib
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.images import write_image
from models.face_model import FaceModelData
from tests.scan_files import (
    dome,
    dome_landmarks,
    rough,
    write_mesh,
    write_picked_points,
    write_predicted,
)
from tests.test_evaluate_command import mean_face_crop
from tests.test_train_command import load_script
from util.assets import OPEN_FACE_MODEL
from util.errors import InputError
from util.evaluation import early_checks, m3dfb, micc, shape_methods
from util.evaluation.predicted_meshes import MM_PER_DM
from util.evaluation.realy import ALIGNED_BY, KEYPOINTS, REGIONS, read_template
from util.evaluation.regions import kept_triangles
from util.evaluation.scans import Scan
from util.evaluation.shown_meshes import BEYOND, LEVELS
from util.mesh_files.mesh_reader import TriangleMesh, read_mesh
from util.model_files.face_model_file import read_face_model
from util.model_files.face_transfer import mean_landmarks
from util.surface import nearest_on_surface

command = load_script("evaluate")
TURN = Rotation.from_rotvec([0.3, 0.5, -0.2]).as_matrix()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(benchmark: str, *more: str) -> None:
    root = ["--benchmark_root", "root", "--out", "out", "--gpu_ids", "-1"]
    command.main(["--benchmark", benchmark, *root, *more])


def row(path: str) -> dict[str, str]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        (only,) = csv.DictReader(file)
    return only


def check_report(method: str, name: str, expected: float, rel: float = 0.05) -> None:
    """The page is there, and the colours of a mesh are of errors of about this size."""
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert 'class="soft"></p>' not in page.split("</section>")[0], "what the columns mean"
    assert f'"name":"{method}"' in page and Path(f"out/{method}/errors.png").is_file()
    shown = json.loads(Path(f"out/shown/{method}.json").read_text(encoding="utf-8"))
    (face,) = [face for face in shown["faces"] if face["name"] == name]
    packed = zlib.decompress(base64.b64decode(face["errors"]))
    errors = np.frombuffer(packed, "u1") * BEYOND * shown["limit"] / LEVELS
    assert errors.mean() == pytest.approx(expected, rel=rel)
    assert len(errors) == shown["meshes"][face["mesh"]]["vertex_count"]


def turned(mesh: TriangleMesh, scale: float) -> TriangleMesh:
    return TriangleMesh(scale * mesh.vertices @ TURN.T + [5, 600, -3], mesh.triangles)


# 1. REALY --------------------------------------------------------------------------------------

MM_OF_UNIT = 8.0


SCAN = dome(36, 40)


def own_vertices(points: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The nearest vertex of each point, no vertex twice."""
    numbers: list[int] = []
    for point in points:
        order = np.linalg.norm(vertices - point, axis=1).argsort()
        numbers.append(next(int(n) for n in order if n not in numbers))
    return np.array(numbers)


@lru_cache
def keypoints_mm() -> np.ndarray:
    """(85, 3) vertices of the scan: at 68 landmarks, and further ones for the cheeks."""
    points = dome_landmarks(tuple(range(68)))
    every = np.concatenate([points, points[:17] * [0.8, 0.8, 1.0]])
    return SCAN.vertices[own_vertices(every, SCAN.vertices)]


def part_of(mesh: TriangleMesh, region: str) -> TriangleMesh:
    """The scan's vertices around the key points of a region."""
    points = keypoints_mm()[list(ALIGNED_BY[region])][:, :2]
    low, high = points.min(axis=0) - 4, points.max(axis=0) + 4
    kept = ((mesh.vertices[:, :2] > low) & (mesh.vertices[:, :2] < high)).all(axis=1)
    return TriangleMesh(mesh.vertices[kept], kept_triangles(mesh.triangles, kept))


def write_template(stem: Path, mesh: TriangleMesh) -> None:
    found = nearest_on_surface(keypoints_mm(), mesh.vertices, mesh.triangles)
    rows = [
        [int(t), float(w[0]), float(w[1])]
        for t, w in zip(found.triangles, found.barycentrics, strict=True)
    ]
    write_mesh(stem.parent / f"{stem.name}.obj", mesh)
    (stem.parent / f"{stem.name}.txt").write_text(json.dumps(rows))


def write_realy(root: Path, scan: TriangleMesh, numbers: tuple[int, ...] = (1, 2)) -> None:
    for number in numbers:
        for region in REGIONS:
            part = part_of(scan, region)
            small = TriangleMesh(part.vertices / MM_OF_UNIT, part.triangles)
            write_mesh(root / "data" / "REALY_scan_region" / str(number) / f"{region}.obj", small)
        path = root / "data" / "REALY_HIFI3D_keypoints" / f"{number}.obj"
        points = TriangleMesh(keypoints_mm() / MM_OF_UNIT, np.zeros((0, 3), int))
        write_mesh(path, points)
    (root / "metrical_scale.txt").write_text(f"{MM_OF_UNIT}\n" * max(numbers))


class TestRealy:
    def test_known_distances_of_regions(self, capsys: pytest.CaptureFixture[str]):
        """Vertices of the scan lie 1 mm beside the mesh, out and in: regions are 1 mm off."""
        write_realy(Path("root"), rough(SCAN, 1.0))
        mesh = dome(50, 56)
        write_template(Path("theirs/dome"), mesh)
        for name in ("1", "2_left"):
            write_mesh(Path(f"theirs/{name}.obj"), turned(mesh, 0.7))
        evaluate("realy", "--predictions", "theirs", "--template", "dome")
        found = row("out/realy.csv")
        for region in REGIONS:
            assert float(found[f"{region}_mm"]) == pytest.approx(1, abs=0.12), region
            assert float(found[f"{region}_std_mm"]) < 1e-3
        means = [float(found[f"{region}_mm"]) for region in REGIONS]
        assert float(found["all_mm"]) == pytest.approx(np.mean(means), abs=1e-4)
        assert found["images"] == "2" and "REALY" in capsys.readouterr().out
        assert len(Path("out/theirs/images.csv").read_text().splitlines()) == 3
        check_report("theirs", "2_left", 1, rel=0.12)

    def test_the_scan_itself_and_wrong_files(self):
        mesh = SCAN
        write_realy(Path("root"), mesh, (1,))
        write_template(Path("theirs/dome"), mesh)
        write_mesh(Path("theirs/1.obj"), turned(mesh, 2.0))
        run = ["--predictions", "theirs", "--template", "dome"]
        evaluate("realy", *run)
        assert float(row("out/realy.csv")["all_mm"]) < 0.02

        def refused(match: str, *more: str) -> None:
            with pytest.raises(InputError, match=match):
                evaluate("realy", *run, *more)

        refused("--template other: there is no theirs/other.txt", "--template", "other")
        write_mesh(Path("theirs/face.obj"), mesh)
        refused(r"face.obj is named after no scan")
        Path("theirs/face.obj").unlink()
        write_mesh(Path("theirs/7.obj"), mesh)
        refused(r"lacks 5 of 11 files .*: REALY_HIFI3D_keypoints/7.obj \(or data/REALY_HIFI3D_keyp")
        Path("theirs/7.obj").unlink()
        write_mesh(Path("theirs/1.obj"), dome(8, 8))
        refused(r"1.obj holds 64 vertices, fewer than its template")
        Path("theirs/dome.txt").write_text("[[1, 0.5, 0.5]]")
        refused(r"dome.txt has the shape \(1, 3\); it must hold 85 rows")
        Path("theirs/dome.txt").write_text("x")
        refused(r"dome.txt is no JSON")

    def test_the_folder_to_send(self, open_face_model, capsys: pytest.CaptureFixture[str]):
        """Ours, without any scans: meshes with expression, the template, 85 key points."""
        pytest.importorskip("dlib")
        picture, _ = mean_face_crop(open_face_model)
        for name in ("1", "2"):
            write_image(
                Path(f"root/REALY_image/{name}.png"), np.kron(picture, np.ones((2, 2, 1), "u1"))
            )
        run = ["--model", "mean", "--face_model", "open@0", "--renderer", "torch"]
        with pytest.raises(InputError, match=r"lacks 1 of 2 .*: HIFI3D.txt \(or BFM09.txt"):
            evaluate("realy", *run)
        write_template(Path("root/data/BFM09"), dome(30, 34))
        evaluate("realy", *run)
        assert "nothing is scored" in capsys.readouterr().out
        folder = Path("out/mean/predictions")
        (text,) = list(folder.glob("face3d_*.txt"))
        template, mesh = read_template(text)
        data: FaceModelData = read_face_model(OPEN_FACE_MODEL, 0)
        np.testing.assert_array_equal(mesh.triangles, data.triangles)
        points = template.keypoints(mesh.vertices)
        assert points.shape == (KEYPOINTS, 3)
        inner = MM_PER_DM * mean_landmarks(data)[17:]
        assert np.linalg.norm(points[17:68] - inner, axis=1).max() < 2.0
        np.testing.assert_allclose(read_mesh(folder / "1").vertices, mesh.vertices, atol=1e-3)

    def test_only_what_this_run_wrote_is_sent_and_scored(self, open_face_model):
        """After a run with another face model and more photos."""
        pytest.importorskip("dlib")
        write_realy(Path("root"), SCAN)
        write_template(Path("root/data/BFM09"), dome(30, 34))
        picture, _ = mean_face_crop(open_face_model)
        for name in ("1", "2_left"):
            write_image(
                Path(f"root/REALY_image/{name}.png"), np.kron(picture, np.ones((2, 2, 1), "u1"))
            )
        folder = Path("out/mean/predictions")
        folder.mkdir(parents=True)
        for name in ("face3d_other_9.obj", "face3d_other_9.txt", "7.obj", "notes.txt"):
            (folder / name).write_text("earlier")
        evaluate("realy", "--model", "mean", "--face_model", "open@0", "--renderer", "torch")
        found = sorted(path.name for path in folder.iterdir())
        (stem,) = {path.stem for path in folder.glob("face3d_*")}
        assert found == ["1.obj", "2_left.obj", f"{stem}.obj", f"{stem}.txt", "notes.txt"]
        lines = Path("out/mean/images.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == ['"1"', '"2_left"']


# 2. MICC and FaceWarehouse ----------------------------------------------------------------------


class TestMicc:
    POINTS = dome_landmarks((36, 39, 42, 45, 33, 48, 54, 30))

    def test_known_distances(self):
        write_mesh(Path("root/scans/a.obj"), rough(dome(), 1.0))
        write_picked_points(Path("root/scans/a.pp"), self.POINTS)
        mesh, seven = (
            turned(dome(70, 80), 3.0),
            turned(TriangleMesh(self.POINTS[:7], np.zeros((0, 3))), 3.0),
        )
        write_predicted(Path("theirs/a/indoor"), mesh, seven.vertices)
        evaluate("micc", "--predictions", "theirs")
        assert float(row("out/micc.csv")["rmse_mm"]) == pytest.approx(1, abs=0.03)
        check_report("theirs", "a/indoor", 1)
        write_picked_points(Path("root/scans/a.pp"), self.POINTS[:7])
        with pytest.raises(InputError, match=r"a.pp holds 7 points, expected 8.*nose tip 30"):
            evaluate("micc", "--predictions", "theirs")
        with pytest.raises(InputError, match=r"lacks 1 of 4 .*: frames/<person>/<video>/; docs"):
            evaluate("micc", "--model", "mean")

    def test_every_video_is_scored_and_no_other(self):
        for person in ("a", "b"):
            write_mesh(Path(f"root/scans/{person}.obj"), dome(12, 14))
            write_picked_points(Path(f"root/scans/{person}.pp"), self.POINTS)

        def refused(match: str) -> None:
            with pytest.raises(InputError, match=match):
                evaluate("micc", "--predictions", "theirs")

        Path("theirs").mkdir()
        refused(r"theirs holds no <person>/<video>.obj$")
        write_predicted(Path("theirs/a/one"), dome(12, 14), self.POINTS[:7])
        refused(r"no <person>/<video>.obj of 1 of 2 scans: b$")
        Path("root/frames/a/one").mkdir(parents=True)
        Path("root/frames/b/two").mkdir(parents=True)
        write_predicted(Path("theirs/b/earlier"), dome(12, 14), self.POINTS[:7])
        refused(r"theirs lacks the meshes .*of 1 of 2: b/two;")
        write_predicted(Path("theirs/b/two"), dome(12, 14), self.POINTS[:7])
        evaluate("micc", "--predictions", "theirs")
        lines = Path("out/theirs/meshes.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == ['"a/one"', '"b/two"']

    def test_what_is_compared(self):
        """95 mm about the nose tip; nothing above the brows."""
        mesh = dome()
        kept = mesh.vertices[micc.compared(Scan(mesh, self.POINTS))]
        assert np.linalg.norm(kept - self.POINTS[7], axis=1).max() <= 95
        eyes, bottom = self.POINTS[[1, 2]].mean(axis=0), self.POINTS[4]
        up = (eyes - bottom) / np.linalg.norm(eyes - bottom)
        heights = (kept - eyes) @ up
        assert 0.4 < heights.max() / np.linalg.norm(eyes - bottom) <= 0.5

    def test_distance_to_the_plane(self):
        """A point beside a triangle is as far from its plane as it is high above it."""
        from util.evaluation.registration import plane_distances
        from util.point_fits import Similarity
        from util.surface import SurfaceTree

        surface = SurfaceTree(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
        motion = Similarity(2.0, np.eye(3), np.array([0.0, 0, 1]))
        points = np.array([[0.5, 0.5, 4.0], [9.0, 9.0, -1.0]])
        np.testing.assert_allclose(plane_distances(points, surface, motion), [3, 2])


class TestFaceWarehouse:
    def test_known_distances_and_the_region(self):
        points = dome_landmarks()
        mesh = dome()
        write_mesh(Path("root/meshes/a.obj"), dome(70, 80))
        write_picked_points(Path("root/meshes/a.pp"), points)
        predicted = turned(rough(mesh, 2.0), 0.5)
        seven = turned(TriangleMesh(points, np.zeros((0, 3))), 0.5).vertices
        write_predicted(Path("theirs/a"), predicted, seven)
        evaluate("facewarehouse", "--predictions", "theirs")
        assert float(row("out/facewarehouse.csv")["mean_mm"]) == pytest.approx(2, abs=0.06)
        check_report("theirs", "a", 2)

        inside = np.flatnonzero((np.abs(mesh.vertices[:, :2]) < 40).all(axis=1))
        Path("region.txt").write_text(" ".join(map(str, inside)))
        run = ["--predictions", "theirs", "--compared_vertices", "region.txt", "--out", "other"]
        evaluate("facewarehouse", *run)
        assert float(row("other/facewarehouse.csv")["mean_mm"]) == pytest.approx(2, abs=0.1)
        Path("region.txt").write_text("99999")
        with pytest.raises(InputError, match=r"names vertex 99999, but a mesh has 3472"):
            evaluate("facewarehouse", *run)
        Path("region.txt").write_text("a b")
        with pytest.raises(InputError, match=r"region.txt is no list of vertex numbers"):
            evaluate("facewarehouse", *run)

    def test_every_mesh_is_scored_and_no_other(
        self, open_face_model, capsys: pytest.CaptureFixture[str]
    ):
        """Ours, of two photos, one of which shows no face; a mesh of an earlier run lies there."""
        pytest.importorskip("dlib")
        for place in ("root", "theirs"):
            Path(place).mkdir()
        with pytest.raises(InputError, match=r"lacks 1 of 1 .*: meshes/<name>.obj \(or mesh"):
            evaluate("facewarehouse", "--predictions", "theirs")
        points = dome_landmarks()
        for name in ("a", "b"):
            write_mesh(Path(f"root/meshes/{name}.obj"), dome(12, 14))
            write_picked_points(Path(f"root/meshes/{name}.pp"), points)
        write_predicted(Path("theirs/a"), dome(12, 14), points)
        with pytest.raises(InputError, match=r"theirs lacks the meshes .*of 1 of 2: b;"):
            evaluate("facewarehouse", "--predictions", "theirs")

        run = ["--model", "mean", "--face_model", "open@0", "--renderer", "torch"]
        picture, _ = mean_face_crop(open_face_model)
        photo = np.kron(picture, np.ones((2, 2, 1), "u1"))
        write_image(Path("root/images/a.png"), photo)
        with pytest.raises(InputError, match=r"images lacks the photos of 1 of 2 .* b.jpg"):
            evaluate("facewarehouse", *run)
        write_image(Path("root/images/b.png"), np.full_like(photo, 90))
        write_predicted(Path("out/mean/predictions/earlier"), dome(12, 14), points)
        evaluate("facewarehouse", *run)
        assert "No face found in 1 of 2 photos" in capsys.readouterr().out
        lines = Path("out/mean/meshes.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == ['"a"', '"b"']


# What is wrong is said before the first photo is looked at.


@pytest.fixture
def no_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that must not be asked for."""

    def create(options: object) -> NoReturn:
        pytest.fail("the method was loaded before all was checked")

    monkeypatch.setitem(shape_methods.SHAPE_METHODS, "mean", create)  # pyright: ignore


@pytest.mark.usefixtures("no_method")
class TestBeforeTheWork:
    """`--model mean` with everything there but one thing."""

    POINTS = dome_landmarks((36, 39, 42, 45, 33, 48, 54, 30))

    def refused(self, benchmark: str, match: str, *more: str) -> None:
        with pytest.raises(InputError, match=match):
            evaluate(benchmark, "--model", "mean", *more)

    def photo(self, path: str) -> None:
        write_image(Path(path), np.zeros((8, 8, 3), np.uint8))

    def test_micc(self):
        # Without the level of videos.
        self.photo("root/frames/a/1.png")
        self.refused("micc", r"lacks 2 of 2 .*: scans/<person>.obj .*, frames/<person>/<video>/;")
        self.photo("root/frames/a/one/1.png")
        Path("root/frames/b/two").mkdir(parents=True)
        write_mesh(Path("root/scans/a.obj"), dome(12, 14))
        self.refused("micc", r"lacks 3 of 6 .*: scans/a.pp \(or scans/a.txt\), scans/b.o.*/b.pp")
        write_mesh(Path("root/scans/b.obj"), dome(12, 14))
        write_picked_points(Path("root/scans/a.pp"), self.POINTS)
        np.savetxt("root/scans/b.txt", self.POINTS)
        self.refused("micc", r"frames/b/two.* no pictures")
        self.photo("root/frames/b/two/1.png")
        np.savetxt("root/scans/b.txt", self.POINTS[:7])
        self.refused("micc", r"b.txt holds 7 points, expected 8")

    def test_facewarehouse(self):
        write_mesh(Path("root/meshes/a.obj"), dome(12, 14))
        self.photo("root/images/a.png")
        self.refused("facewarehouse", r"lacks 1 of 3 .*: meshes/a.pp \(or meshes/a.txt\);")
        # MeshLab's file first, whatever a text beside it says.
        np.savetxt("root/meshes/a.txt", self.POINTS[:7])
        write_picked_points(Path("root/meshes/a.pp"), self.POINTS[:5])
        self.refused("facewarehouse", r"a.pp holds 5 points, expected 7")

    def test_realy(self):
        write_realy(Path("root"), SCAN, (1,))
        self.photo("root/REALY_image/1.png")
        self.refused("realy", r"lacks 1 of 8 .*: HIFI3D.txt \(or BFM09.txt, Deep3D.txt, ...\)")
        write_template(Path("root/data/BFM09"), dome(30, 34))
        self.photo("root/REALY_image/2.png")
        self.refused("realy", r"lacks 5 of 13 .*: REALY_HIFI3D_keypoints/2.obj .*2/cheek")
        Path("root/REALY_image/2.png").unlink()
        Path("root/data/REALY_scan_region/1/nose.obj").unlink()
        self.refused("realy", r"lacks 1 of 8 .*: REALY_scan_region/1/nose.obj \(or .*nose.ply")

    def test_what_is_found_does_not_rely_on_an_earlier_look(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(early_checks, "check_benchmark_folder", lambda *_: None)
        Path("root/meshes/a.obj").mkdir(parents=True)
        Path("theirs").mkdir()
        self.refused("micc", r"frames holds no <person>/<video>/ with pictures")
        self.refused("facewarehouse", r"meshes holds no <name>.obj or .ply")
        self.refused("now", r"--benchmark_root: root/imagepathsvalidation.txt does not exist")
        info = {"lmk_indices": cloud()[1].tolist(), "mean_face_shape": cloud()[0].tolist()}
        Path("info.json").write_text(json.dumps(info))
        with pytest.raises(InputError, match=r"Gmeshes holds no <id>.txt"):
            evaluate("m3dfb", "--predictions", "theirs", "--mesh_info", "info.json")

    def test_files_and_folders_are_not_taken_for_each_other(self):
        for path in ("root/meshes/a.pp", "root/meshes/b.obj"):
            Path(path).mkdir(parents=True)
        write_mesh(Path("root/meshes/a.obj"), dome(12, 14))
        Path("root/images").touch()
        self.refused("facewarehouse", r"lacks 2 of 3 .*: images, meshes/a.pp \(or meshes/a.txt\);")

    def test_a_table_of_other_data(self):
        for name in "ab":
            write_mesh(Path(f"root/meshes/{name}.obj"), dome(12, 14))
            write_picked_points(Path(f"root/meshes/{name}.pp"), self.POINTS[:7])
            self.photo(f"root/images/{name}.png")
        Path("out").mkdir()
        Path("out/facewarehouse.csv").write_text(
            "method,data,meshes,mean_mm,mean_error\nother,x,2,1.0,\n"
        )
        self.refused("facewarehouse", r"facewarehouse.csv holds methods on other images")

    def test_flags_that_mean_nothing_are_said(self, capsys: pytest.CaptureFixture[str]):
        Path("root").mkdir()
        flags = ["--mesh_unit", "mm", "--save_predictions", "False", "--face_model", "open@0"]
        self.refused("facewarehouse", "lacks 2 of 2 files .*, images; docs/evaluation.md", *flags)
        said = capsys.readouterr().out
        assert "--mesh_unit has no effect: it is about --predictions" in said
        assert "--save_predictions has no effect: it is about --benchmark aflw2000" in said
        assert "face_model" not in said and "gpu_ids" not in said
        Path("theirs").mkdir()
        self.refused("facewarehouse", "lacks 1 of 1 files", "--predictions", "theirs", *flags)
        said = capsys.readouterr().out
        assert "--face_model have no effect: --predictions are scored as they are" in said
        assert "mesh_unit" not in said and "--model" in said


# 3. M3DFB ---------------------------------------------------------------------------------------


def cloud() -> tuple[np.ndarray, np.ndarray]:
    """Points of the dome (N, 3), and which of them are 51 landmarks."""
    points = dome(20, 22).vertices
    return points, own_vertices(dome_landmarks(tuple(range(17, 68))), points)


class TestM3dfb:
    def write(self, truth: np.ndarray, points: np.ndarray, numbers: np.ndarray) -> list[str]:
        for place in ("root/Gmeshes", "theirs"):
            Path(place).mkdir(parents=True)
        np.savetxt("root/Gmeshes/a.txt", truth)
        np.savetxt("root/Gmeshes/a.lmks", truth[numbers])
        np.savetxt("theirs/a.txt", points)
        info = {"lmk_indices": numbers.tolist(), "mean_face_shape": cloud()[0].tolist()}
        Path("info.json").write_text(json.dumps(info))
        return ["--predictions", "theirs", "--mesh_info", "info.json"]

    def test_the_truth_moved_has_no_error(self):
        points, numbers = cloud()
        moved = 0.4 * points @ TURN.T + [1, 2, 3]
        evaluate("m3dfb", *self.write(points, moved, numbers))
        found = row("out/m3dfb.csv")
        assert float(found["e1"]) < 1e-3 and float(found["e12"]) < 1e-3

    def test_e12_sees_what_nearest_points_hide(self):
        """Points that slid along the surface: E1 takes the nearest, E12 knows landmarks."""
        points, numbers = cloud()
        slid = points * [1.15, 1.0, 1.0]
        evaluate("m3dfb", *self.write(points, slid, numbers))
        found = row("out/m3dfb.csv")
        five = m3dfb._by_five(slid, numbers, points[numbers])
        true = np.linalg.norm(five - points, axis=1).mean()
        assert abs(float(found["e12"]) - true) < 0.15 * true
        assert float(found["e1"]) < 0.85 * true
        check_report("theirs", "a", float(found["e12"]))

    def test_wrong_files(self):
        points, numbers = cloud()
        run = self.write(points, points[:-1], numbers)
        with pytest.raises(InputError, match=r"theirs/a.txt holds 439 points, expected 440"):
            evaluate("m3dfb", *run)
        np.savetxt("root/Gmeshes/a.lmks", points[:68])
        with pytest.raises(InputError, match=r"a.lmks holds 68 points, expected 51"):
            evaluate("m3dfb", *run)
        Path("info.json").write_text("{}")
        with pytest.raises(InputError, match=r"info.json lacks lmk_indices"):
            evaluate("m3dfb", *run)
        with pytest.raises(InputError, match=r"m3dfb scores files: give --predictions"):
            evaluate("m3dfb")
        with pytest.raises(
            InputError, match=r"--model fit cannot be evaluated on m3dfb; it scores"
        ):
            evaluate("m3dfb", *run, "--model", "fit")
        with pytest.raises(InputError, match=r"unrecognized arguments: --preset fast"):
            evaluate("m3dfb", *run, "--preset", "fast")

    def test_the_warp_carries_landmarks_onto_landmarks(self):
        points, numbers = cloud()
        aims = points[numbers] + np.random.default_rng(0).normal(0, 0.5, (51, 3))
        warped = m3dfb.elastic_warp(points, numbers, aims)
        before = np.linalg.norm(points[numbers] - aims, axis=1).mean()
        assert np.linalg.norm(warped[numbers] - aims, axis=1).mean() < 0.3 * before

    def test_bounded_least_squares_against_scipy(self):
        from scipy.optimize import LinearConstraint, minimize

        random = np.random.default_rng(1)
        system, right = random.normal(size=(12, 4)), random.normal(size=12) * 3
        watched = random.normal(size=(30, 4))
        free = np.linalg.lstsq(system, right, rcond=None)[0]
        bound = 0.5 * np.abs(watched @ free).max()
        found = m3dfb.bounded_least_squares(system, right, watched, bound)
        best = minimize(
            lambda x: ((system @ x - right) ** 2).sum(),
            np.zeros(4),
            method="SLSQP",
            constraints=[LinearConstraint(watched, -bound, bound)],
        )
        np.testing.assert_allclose(found, best.x, atol=2e-3)
        assert np.abs(watched @ found).max() <= bound * 1.001
        loose = m3dfb.bounded_least_squares(system, right, watched, 10 * bound)
        np.testing.assert_allclose(loose, free)

    def test_the_correction_is_the_published_system(self):
        """The dense matrix, written out: 1/2 (-1, 2 + 2 w, -1) d = second difference of e."""
        random = np.random.default_rng(2)
        warped, truth, stiffness = (
            random.normal(size=(9, 3)),
            random.normal(size=(9, 3)),
            random.uniform(1, 3, 9),
        )
        found = m3dfb.topology_correction(warped, truth, stiffness)
        for axis in range(3):
            order = np.argsort(warped[:, axis])
            e = (truth - warped)[order, axis]
            dense = np.diag(1 + stiffness[order]) - 0.5 * (np.eye(9, k=1) + np.eye(9, k=-1))
            right = [e[0] - e[1], *(2 * e[1:-1] - e[:-2] - e[2:]), e[-1] - e[-2]]
            np.testing.assert_allclose(
                found[order, axis], np.linalg.solve(dense, right), atol=1e-12
            )
