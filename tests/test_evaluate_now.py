"""NoW from the outside: constructed scans of known error, the folder to submit, wrong files."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.images import write_image
from models.face_model import FaceModelData
from tests.scan_files import (
    NOW_NAMES,
    dome,
    dome_landmarks,
    rough,
    write_mesh,
    write_now,
    write_picked_points,
    write_predicted,
)
from tests.test_evaluate_command import mean_face_crop, save_network, turning_network
from tests.test_train_command import load_script
from util.assets import OPEN_FACE_MODEL
from util.errors import InputError
from util.evaluation.mesh_benchmark import MeshFolder, Score
from util.evaluation.now import Now
from util.evaluation.shape_methods import SEVEN
from util.mesh_files.mesh_reader import TriangleMesh, read_mesh
from util.model_files.face_model_file import read_face_model
from util.model_files.face_transfer import mean_landmarks

command = load_script("evaluate")
RUN = ["--benchmark", "now", "--benchmark_root", "now", "--out", "out", "--gpu_ids", "-1"]
MINE = [*RUN, "--detection_upsample", "0"]
THEIRS = [*RUN, "--predictions", "theirs", "--pictures", "False"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path: str = "out/now.csv") -> dict[tuple[str, str], dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return {(row["size"], row["challenge"]): row for row in csv.DictReader(file)}


def moved(mesh: TriangleMesh, points: np.ndarray, scale: float) -> tuple[TriangleMesh, np.ndarray]:
    """Somewhere else, turned, and of another size."""
    turn = scale * Rotation.from_rotvec([0.4, -0.7, 0.2]).as_matrix()
    shift = [300.0, -20.0, 10.0]
    return TriangleMesh(mesh.vertices @ turn.T + shift, mesh.triangles), points @ turn.T + shift


def test_known_distances_whatever_motion_and_size(capsys: pytest.CaptureFixture[str]):
    """The scan's vertices lie 1 mm beside the mesh, out and in; meshes are 8 % too large."""
    points = dome_landmarks()
    write_now(Path("now"), rough(dome(), 1.0), points)
    for number, name in enumerate(NOW_NAMES):
        mesh, landmarks = moved(dome(70, 80), points, 1.08 if number else 1.0)
        write_predicted(Path("theirs") / name, mesh, landmarks, text=number == 1)
    command.main([*THEIRS, "--mesh_unit", "mm"])
    table = rows()
    for key in ("median_mm", "mean_mm"):
        assert float(table["open", "all"][key]) == pytest.approx(1, abs=0.03)
    assert float(table["open", "all"]["std_mm"]) < 0.1
    assert table["open", "all"]["images"] == "3"
    assert {c for s, c in table if s == "metrical"} == {
        *("all", "multiview_neutral", "selfie", "multiview_occlusions")
    }
    # The first image's mesh has the right size, the others are too large.
    assert float(table["metrical", "multiview_neutral"]["mean_mm"]) == pytest.approx(1, abs=0.03)
    assert float(table["metrical", "selfie"]["std_mm"]) > 0.3
    one, two = (int(table["open", c]["points"]) for c in ("selfie", "all"))
    assert two == 3 * one
    shown = capsys.readouterr().out
    assert "names 3 images; the published list has 352" in shown and "metrical" in shown
    lines = Path("out/theirs/images.csv").read_text().splitlines()
    assert len(lines) == 4 and lines[1].startswith(f'"{NOW_NAMES[0]}",')
    latex = Path("out/now.tex").read_text()
    assert r"multiview\_neutral" in latex and latex.count(r"\\") == 1 + len(table)


def test_the_scan_itself_has_no_error_and_a_wrong_unit_is_named(
    capsys: pytest.CaptureFixture[str],
):
    points = dome_landmarks()
    write_now(Path("now"), dome(), points)
    for name in NOW_NAMES:
        mesh, landmarks = moved(dome(), points, 1e-3)
        write_predicted(Path("theirs") / name, mesh, landmarks)
    command.main(THEIRS)
    assert set(rows()) == {("open", c) for _, c in rows()}
    # Five decimals of a metre are a hundredth of a millimetre.
    assert float(rows()["open", "all"]["mean_mm"]) < 5e-3
    assert "Nothing metrical" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"IMG_1.*apart.*meshes .--mesh_unit. must be in mm.*in m"):
        command.main([*THEIRS, "--mesh_unit", "mm"])
    command.main([*THEIRS, "--mesh_unit", "m"])
    assert float(rows()["metrical", "all"]["mean_mm"]) < 5e-3


def test_a_stopped_run_goes_on_with_the_same_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Only what is missing is scored, but for what is shown in colours; changed meshes are."""
    points = dome_landmarks()
    write_now(Path("now"), rough(dome(12, 14), 1.0), points)
    for number, name in enumerate(NOW_NAMES):
        write_predicted(Path("theirs") / name, *moved(dome(12, 14), points, 1 + number / 100))
    command.main([*THEIRS, "--out", "whole"])
    scored: list[str] = []
    score, stop_at = Now.score, [3]

    def counting(self: Now, name: str, folder: MeshFolder) -> Score:
        scored.append(name)
        if len(scored) == stop_at[0]:
            raise KeyboardInterrupt
        return score(self, name, folder)

    monkeypatch.setattr(Now, "score", counting)
    with pytest.raises(KeyboardInterrupt):
        command.main(THEIRS)
    assert "theirs: 2 results kept in out/unfinished/theirs_" in capsys.readouterr().out
    assert not Path("out/now.csv").exists()
    with pytest.raises(KeyboardInterrupt):
        scored.clear()
        stop_at[0] = 1
        command.main([*THEIRS, "--mesh_unit", "mm"])
    assert scored == [NOW_NAMES[0]], "other settings begin anew"
    write_predicted(Path("theirs") / NOW_NAMES[1], *moved(dome(12, 14), points, 1.01))
    stop_at[0] = 0
    scored.clear()
    command.main(THEIRS)
    assert scored == [NOW_NAMES[2]], "files of the same content are the same meshes"
    for name in ("now.csv", "theirs/images.csv"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    # A mesh that has changed is scored again.
    with pytest.raises(KeyboardInterrupt):
        scored.clear()
        stop_at[0] = 3
        command.main(THEIRS)
    write_predicted(Path("theirs") / NOW_NAMES[0], *moved(dome(12, 14), points, 0.9))
    stop_at[0] = 0
    scored.clear()
    command.main(THEIRS)
    assert scored == [NOW_NAMES[0], NOW_NAMES[2]]


def test_wrong_files_are_named():
    points = dome_landmarks()
    write_now(Path("now"), dome(12, 14), points)
    for name in NOW_NAMES:
        write_predicted(Path("theirs") / name, dome(12, 14), points)

    def refused(match: str, *more: str) -> None:
        with pytest.raises(InputError, match=match):
            command.main([*THEIRS, *more])

    picked = Path("now/scans_lmks_onlypp/A_1/points.pp")
    write_picked_points(picked, points / 1000)
    refused(r"points.pp: the outer eye corners .* apart.*scans must be in mm: they are in m$")
    write_picked_points(picked, points[:6])
    refused(r"points.pp holds 6 points, expected 7")
    write_picked_points(picked, points[[0, 2, 1, 1, 4, 5, 6]])
    refused(r"are these the right points, in order\?")
    picked.unlink()
    refused(r"lacks 1 of 7 files .* of --benchmark now: scans_lmks_onlypp/A_1/<name>\.pp; the list")
    write_picked_points(picked, points)
    write_mesh(Path("now/scans/A_1/second.obj"), dome(12, 14))
    refused(r"A_1 holds 2 files \*.obj")
    Path("now/scans/A_1/second.obj").unlink()
    metres = dome(12, 14)
    write_mesh(Path("now/scans/A_1/scan.obj"), replace(metres, vertices=metres.vertices / 1000))
    refused(r"scan.obj is 0.2 long, but its landmarks .* lie within")
    write_mesh(Path("now/scans/A_1/scan.obj"), metres)
    np.save(f"theirs/{NOW_NAMES[1]}.npy", np.zeros((5, 3)))
    refused(r"IMG_2.npy has the shape \(5, 3\)")
    Path(f"theirs/{NOW_NAMES[1]}.npy").unlink()
    refused(r"lacks the landmarks \(.npy or .txt\) of 1 of 3: A_1/selfie/IMG_2; every one")
    Path(f"theirs/{NOW_NAMES[2]}.obj").unlink()
    refused(r"lacks the meshes \(.obj or .ply\) of 1 of 3: B_2/multiview_occlusions/IMG_3; every")
    refused("--predictions nothing is no folder", "--predictions", "nothing")
    (Path("now") / "imagepathsvalidation.txt").write_text("A_1/IMG_1.jpg\n")
    refused(r"line 1: 'A_1/IMG_1.jpg' is no <subject>/<challenge>/<image>")
    for line in ("/selfie/a.jpg", "A_1/selfie/", "../selfie/a.jpg", "A_1/selfie/.."):
        (Path("now") / "imagepathsvalidation.txt").write_text(f"A_1/selfie/IMG_2.jpg\n{line}\n")
        refused(f"line 2: '{line}' is no <subject>/<challenge>/<image>")
    Path("elsewhere").mkdir()
    lacking = "imagepathsvalidation.txt, scans, scans_lmks_onlypp; .* come from now"
    refused(f"elsewhere lacks 3 of 3 files.*: {lacking}", "--benchmark_root", "elsewhere")
    refused("--benchmark_root nowhere is no folder", "--benchmark_root", "nowhere")
    refused("--benchmark now needs --benchmark_root DIR", "--benchmark_root", "")


def test_names_that_a_shell_would_expand_are_names():
    """Neither met by other files, nor shown otherwise than they are."""
    write_now(Path("now"), dome(12, 14), dome_landmarks())
    names = ("**/selfie/a.jpg", "a[1]/selfie/b.jpg", "A_?/selfie/[*].jpg")
    (Path("now") / "imagepathsvalidation.txt").write_text("\n".join(names))
    for name in ("A_1/selfie/a.jpg", "a1/selfie/b.jpg", "A_1/selfie/b.jpg"):
        (Path("now") / name).parent.mkdir(parents=True, exist_ok=True)
        (Path("now") / name).touch()
    with pytest.raises(InputError, match="lacks 9 of 12 files") as refusal:
        command.main([*RUN, "--model", "mean"])
    place = "NoW_Dataset/final_release_version/iphone_pictures"
    assert all(f"{place}/{name}" in str(refusal.value) for name in names)
    for name in names:
        (Path("now") / name).parent.mkdir(parents=True, exist_ok=True)
        (Path("now") / name).touch()
    for subject in ("**", "a[1]", "A_?"):
        for path in (f"scans/{subject}/scan.obj", f"scans_lmks_onlypp/{subject}/points.pp"):
            (Path("now") / path).parent.mkdir(parents=True, exist_ok=True)
            (Path("now") / path).touch()
    with pytest.raises(InputError, match=r"points\.pp"):
        command.main([*RUN, "--model", "mean"])


class TestPredictions:
    """`--model`: the folder to submit, from photos."""

    @pytest.fixture
    def data(self) -> FaceModelData:
        pytest.importorskip("dlib")
        return read_face_model(OPEN_FACE_MODEL, 0)

    def write_photos(self, open_face_model) -> None:
        picture, points = mean_face_crop(open_face_model)
        place = Path("now/NoW_Dataset/final_release_version")
        photo = np.kron(picture, np.ones((3, 3, 1), np.uint8))
        low, high = 3 * points.min(axis=0), 3 * points.max(axis=0)
        for number, name in enumerate(NOW_NAMES):
            # One shows no face, and one of them has a box.
            shown = photo if number == 0 else np.full_like(photo, 90)
            write_image(place / "iphone_pictures" / f"{name}.jpg", shown)
        box = dict(zip(("left", "top", "right", "bottom"), (*low, *high), strict=True))
        path = place / "detected_face" / f"{NOW_NAMES[1]}.npy"
        path.parent.mkdir(parents=True)
        np.save(path, np.array(box, dtype=object), allow_pickle=True)

    def test_the_folder_is_as_the_benchmark_wants_it(
        self, data: FaceModelData, open_face_model, capsys: pytest.CaptureFixture[str]
    ):
        mean = 100 * data.mean_shape.astype(np.float64)
        seven = 100 * mean_landmarks(data)[list(SEVEN)].astype(np.float64)
        write_now(Path("now"), TriangleMesh(mean, data.triangles), seven)
        self.write_photos(open_face_model)
        mine = ["--model", "mean", "--face_model", "open@0", "--renderer", "torch"]
        command.main([*MINE, *mine])
        out = capsys.readouterr().out
        assert "No face found in 1 of 3 photos, such as now" in out and "IMG_3.jpg" in out
        folder = Path("out/mean/validation")
        for name in NOW_NAMES:
            text = (folder / f"{name}.obj").read_text()
            assert all(len(line.split()) == 4 for line in text.splitlines())  # no colours
            mesh = read_mesh(folder / f"{name}.obj")
            np.testing.assert_allclose(mesh.vertices, mean, atol=1e-3)
            np.testing.assert_array_equal(mesh.triangles, data.triangles)
            found = np.load(folder / f"{name}.npy")
            assert found.shape == (7, 3) and found.dtype == np.float32
            np.testing.assert_allclose(found, seven, atol=1e-3)
        table = rows()
        assert float(table["metrical", "all"]["mean_mm"]) < 1e-3
        assert Path("out/mean/errors.png").is_file()
        page = Path("out/report.html").read_text(encoding="utf-8")
        assert "A_1/multiview_neutral/IMG_1" in page and '"name":"mean"' in page
        # The same folder, given as that of others.
        command.main(
            [*RUN, "--predictions", str(folder), "--method_name", "again", "--mesh_unit", "mm"]
        )
        with Path("out/now.csv").open(encoding="utf-8", newline="") as file:
            by_method: dict[str, list[dict[str, str]]] = {}
            for row in csv.DictReader(file):
                by_method.setdefault(row.pop("method"), []).append(row)
        assert set(by_method) == {"mean", "again"} and by_method["mean"]
        assert by_method["mean"] == by_method["again"]

    @pytest.mark.slow
    def test_the_test_set_is_written_and_not_scored(
        self, data: FaceModelData, open_face_model, capsys: pytest.CaptureFixture[str]
    ):
        points = dome_landmarks()
        write_now(Path("now"), dome(12, 14), points)
        self.write_photos(open_face_model)
        mine = ["--model", "fit", "--preset", "fast", "--face_model", "open@0"]
        command.main([*MINE, *mine, "--renderer", "torch", "--image_set", "test"])
        assert "3 predictions in out/fit/test: the folder to submit" in capsys.readouterr().out
        mesh = read_mesh(Path("out/fit/test") / NOW_NAMES[0])
        assert len(mesh.vertices) == len(data.mean_shape) and not Path("out/now.csv").exists()
        eyes = np.load(Path("out/fit/test") / f"{NOW_NAMES[0]}.npy")
        assert 80 < np.linalg.norm(eyes[0] - eyes[3]) < 105

    @pytest.mark.slow
    def test_a_network_writes_its_own_model(self, folder: Path, open_face_model):
        """Its face is the mean one, neutral: pose is no part of a prediction."""
        pytest.importorskip("dlib")
        write_now(Path("now"), dome(12, 14), dome_landmarks())
        self.write_photos(open_face_model)
        save_network(folder, turning_network(open_face_model, "centre"))
        run = ["--model", "facerecon", "--name", "mine", "--epoch", "20"]
        command.main([*MINE, *run, "--image_set", "test"])
        mesh = read_mesh(Path("out/mine_20/test") / NOW_NAMES[0])
        mean = read_face_model(OPEN_FACE_MODEL, 1).mean_shape
        np.testing.assert_allclose(mesh.vertices, 100 * mean, atol=2e-3)
