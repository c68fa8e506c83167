"""Results of a folder of photos: files, summary, and a photo whose files cannot be written."""

from __future__ import annotations

import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.io import loadmat

from models.camera import Camera
from models.face_model import IdentityCard
from models.parameters import ParameterLayout
from tests.util.photos.test_photo_camera import make_alignment
from util.mesh_files.textured_mesh import TexturedPart
from util.photos.face_result import FaceResult
from util.photos.number_files import number_files
from util.photos.photo_camera import PhotoCamera
from util.photos.pixel_face import GivenMap, PixelFace
from util.photos.results import ResultWriter, SummaryRow, results_folder, write_face


def face(stem: str, seed: int = 0) -> FaceResult:
    random = np.random.default_rng(seed)
    coefficients = ParameterLayout.for_sizes().split(0.1 * torch.randn(1, 257))
    alignment = make_alignment()
    return FaceResult(
        photo=Path(f"photos/{stem}.jpg"),
        number=1,
        stem=stem,
        picture=random.integers(0, 256, (24, 72, 3), dtype=np.uint8),
        vertices=random.normal(size=(3, 3)).astype(np.float32),
        triangles=np.array([[0, 1, 2]], np.int32),
        colours=random.random((3, 3), dtype=np.float32),
        albedo=np.full((3, 3), 0.5, np.float32),
        coefficients=coefficients,
        landmarks_index=random.uniform(0, 224, (68, 2)),
        alignment=alignment,
        camera=PhotoCamera.of(Camera.rnet(), alignment, coefficients),
        face_model=IdentityCard("open", "1.0", "CC0-1.0", "0123456789abcdef"),
    )


def row(name: str, error: float = 0.04) -> SummaryRow:
    return SummaryRow(image=f"photos/{name}.jpg", status="ok", nme_inner=error, yaw_deg=-12.5)


def read_png(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def summary(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


PIXELS = np.eye(3, dtype=np.float32)
CORNERS = np.array([[0, 1, 2]])
MAP = GivenMap(
    TexturedPart(np.arange(3), CORNERS, np.eye(3, 2), CORNERS), np.zeros((4, 4, 3), np.uint8)
)
KINDS = {
    "in space": (None, {".obj", ".mat", ".json"}),
    "in pixels": (PixelFace({"pose": 1}, PIXELS), {".obj", ".json"}),
    "landmarks": (PixelFace({"pose": 1}, None), {".json"}),
    "with a map": (PixelFace({"pose": 1}, PIXELS, MAP), {".obj", ".json", "_map.mtl", "_map.png"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_face_has_its_files_alone(tmp_path: Path, kind: str):
    """Those that it names; what a face of another kind left goes."""
    pixels, wanted = KINDS[kind]
    last = replace(face("a"), pixels=pixels)
    for others, _ in KINDS.values():
        write_face(tmp_path, replace(face("a"), pixels=others))
        write_face(tmp_path, last)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == sorted(f"a{ending}" for ending in {*wanted, ".png"})
        assert names == sorted({*number_files(last).names("a"), "a.png"})
    assert {*number_files(last).contents} == wanted & {".obj", ".mat", ".json"}
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["photo"] == "a.jpg"


def test_each_face_becomes_four_files(tmp_path: Path):
    one = face("größe 1")
    with ResultWriter(tmp_path / "results" / "epoch_20_000000") as writer:
        writer.add(one, row("größe 1"))
    folder = tmp_path / "results" / "epoch_20_000000"
    assert sorted(path.name for path in folder.iterdir()) == [
        "größe 1.json",
        "größe 1.mat",
        "größe 1.obj",
        "größe 1.png",
        "summary.csv",
    ]
    np.testing.assert_array_equal(read_png(folder / "größe 1.png"), one.picture)
    mesh = trimesh.load_mesh(folder / "größe 1.obj", process=False)
    np.testing.assert_allclose(mesh.vertices, one.vertices, atol=1e-6)
    stored = loadmat(folder / "größe 1.mat")["coeff"]
    np.testing.assert_array_equal(stored, ParameterLayout.for_sizes().join(one.coefficients))


def test_the_summary_has_one_line_for_each_photo_in_order(tmp_path: Path):
    with ResultWriter(tmp_path) as writer:
        writer.add(face("a"), row("a", 0.0412345678))
        writer.add_failure(
            SummaryRow("photos/ü, b.jpg", "failed", message='no face; "so", said it\ntwice')
        )
        writer.add(face("c"), row("c"))
    rows = summary(tmp_path)
    assert [line["image"] for line in rows] == ["photos/a.jpg", "photos/ü, b.jpg", "photos/c.jpg"]
    assert [line["status"] for line in rows] == ["ok", "failed", "ok"]
    assert float(rows[0]["nme_inner"]) == pytest.approx(0.04123, abs=1e-5)
    assert rows[0]["yaw_deg"] == "-12.50000"
    assert rows[1]["nme_inner"] == ""
    assert rows[1]["message"] == 'no face; "so", said it\ntwice'


def test_more_faces_than_the_queue_holds(tmp_path: Path):
    with ResultWriter(tmp_path) as writer:
        for number in range(70):
            writer.add(face(f"f{number:02d}", number), row(f"f{number:02d}"))
    assert len(list(tmp_path.glob("*.obj"))) == 70
    assert len(summary(tmp_path)) == 70


def test_a_face_that_cannot_be_written_is_reported_and_the_others_stay(tmp_path: Path):
    broken = replace(face("b"), vertices=np.full((3, 3), np.nan, np.float32))
    with ResultWriter(tmp_path) as writer:
        writer.add(face("a"), row("a"))
        writer.add(broken, row("b"))
        for number in range(40):
            writer.add(face(f"c{number}"), row(f"c{number}"))
    rows = {line["image"]: line for line in summary(tmp_path)}
    assert len(rows) == 42
    assert rows["photos/b.jpg"]["status"] == "failed"
    assert "non-finite" in rows["photos/b.jpg"]["message"]
    assert writer.photos == (41, 42)
    assert (tmp_path / "a.obj").is_file() and (tmp_path / "c39.mat").is_file()
    assert not list(tmp_path.glob("b.*"))


def test_a_face_has_all_of_its_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where they cannot be written, those of an earlier run stay, with all that belongs to them."""
    named = replace(row("a"), files="a")
    with ResultWriter(tmp_path) as writer:
        writer.add(face("a"), named)
        writer.add_overlay("a", 0, lambda: np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "a.obj").touch()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path, image: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("util.photos.results.write_image", full)
    with ResultWriter(tmp_path) as writer:
        writer.add(face("a", seed=1), named)
        writer.add(face("b"), replace(row("b"), files="b"))
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(after) == {"a.json", "a.mat", "a.obj", "a.png", "a_photo.jpg", "summary.csv"}
    assert {**after, "summary.csv": b""} == {**before, "summary.csv": b""}
    again, other = summary(tmp_path)
    assert again["status"] == other["status"] == "failed"
    assert str(tmp_path / "a.png") in again["message"] and "as they were" in again["message"]
    assert str(tmp_path / "b.png") in other["message"] and "as they were" not in other["message"]


def test_what_a_face_no_longer_has_goes(tmp_path: Path):
    """A fit's record beside a result that is none would be believed."""
    (tmp_path / "a_fit.json").write_text("{}", encoding="utf-8")
    (tmp_path / "a_views.png").touch()
    with ResultWriter(tmp_path) as writer:
        writer.add(face("a"), row("a"))
    names = {path.name for path in tmp_path.iterdir()}
    assert "a.png" in names and not names & {"a_fit.json", "a_views.png"}


def test_faces_of_an_earlier_run_go_with_their_photo_only(tmp_path: Path):
    """After three faces of a and one of b: one face of a, and no overlay."""

    def add(writer: ResultWriter, photo: str, *stems: str) -> None:
        for number, stem in enumerate(stems, start=1):
            one = replace(face(stem), photo=Path(f"photos/{photo}.jpg"), number=number)
            writer.add(one, replace(row(photo), face=number, files=stem))

    with ResultWriter(tmp_path) as writer:
        add(writer, "a", "a", "a_2", "a_3")
        add(writer, "b", "b")
        for number, stem in enumerate("ab"):
            writer.add_overlay(stem, number, lambda: np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "a_2.txt").write_text("a user's note", encoding="utf-8")
    (tmp_path / "a_3.json").write_text('{"photo": "another.jpg"}', encoding="utf-8")
    before = {path.name for path in tmp_path.iterdir()}
    with ResultWriter(tmp_path) as writer:
        add(writer, "a", "a")
    gone = before - {path.name for path in tmp_path.iterdir()}
    assert gone == {"a_2.obj", "a_2.mat", "a_2.png", "a_2.json", "a_photo.jpg"}
    assert [line["files"] for line in summary(tmp_path)] == ["a", "b"]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_photo_whose_name_is_no_text_is_listed_once(tmp_path: Path):
    photo = os.fsdecode(b"photos/bad\xff.jpg")
    for _ in range(2):
        with ResultWriter(tmp_path) as writer:
            writer.add_failure(SummaryRow(photo, "failed", message=f"{photo}: no face"))
            writer.add(face("a"), replace(row("a"), face=1, files="a"))
    images = [line["image"] for line in summary(tmp_path)]
    assert images == ["photos/bad\\udcff.jpg", "photos/a.jpg"]


def test_a_photo_that_gives_no_face_keeps_what_an_earlier_run_wrote(tmp_path: Path):
    with ResultWriter(tmp_path) as writer:
        for number, stem in ((1, "a"), (2, "a_2")):
            one = replace(face("a"), stem=stem, number=number)
            writer.add(one, replace(row("a"), face=number, files=stem))
        writer.add_overlay("a", 0, lambda: np.zeros((8, 8, 3), np.uint8))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for _ in range(2):  # the second time its row is that of a failure
        with ResultWriter(tmp_path) as writer:
            writer.add_failure(SummaryRow("photos/a.jpg", "failed", message="cut off"))
            writer.add_failure(SummaryRow("photos/b.jpg", "failed", message="cut off"))
        after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        del after["summary.csv"]
        assert after == {name: before[name] for name in before if name != "summary.csv"}
        *of_a, of_b = summary(tmp_path)
        assert [(line["face"], line["files"]) for line in of_a] == [("1", "a"), ("2", "a_2")]
        said = {(line["status"], line["message"]) for line in of_a}
        assert said == {("failed", "cut off; the files of an earlier run are as they were")}
        assert (of_b["files"], of_b["message"]) == ("", "cut off")
        assert writer.photos == (0, 2)


def test_files_that_another_photo_has_now_stay(tmp_path: Path):
    """The second face of b.jpg was b_2; then there is a photo b_2.jpg, which has the name first."""
    with ResultWriter(tmp_path) as writer:
        for number, stem in enumerate(("b", "b_2"), start=1):
            one = replace(face(stem), photo=Path("photos/b.jpg"))
            writer.add(one, replace(row("b"), face=number, files=stem))
    with ResultWriter(tmp_path) as writer:
        writer.add(face("b"), replace(row("b"), face=1, files="b"))
        writer.add(face("b_2"), replace(row("b_2"), face=1, files="b_2"))
    assert (tmp_path / "b_2.obj").is_file()
    assert [line["files"] for line in summary(tmp_path)] == ["b", "b_2"]


@pytest.mark.parametrize("files", ["../outside", "", "..", "x/../../outside"])
def test_an_edited_summary_removes_nothing_outside(tmp_path: Path, files: str):
    folder = tmp_path / "results"
    (tmp_path / "outside.json").write_text('{"photo": "a.jpg"}', encoding="utf-8")
    with ResultWriter(folder) as writer:
        writer.add_failure(replace(row("a"), status="failed", files=files))
    with ResultWriter(folder) as writer:
        writer.add(face("a"), replace(row("a"), files="a"))
    assert (tmp_path / "outside.json").is_file()


def test_an_error_of_the_run_is_not_hidden(tmp_path: Path):
    with pytest.raises(RuntimeError, match="stop"), ResultWriter(tmp_path) as writer:
        writer.add(face("a"), row("a"))
        raise RuntimeError("stop")


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_is_stopped_leaves_its_rows(tmp_path: Path, stop: type[BaseException]):
    broken = replace(face("b"), vertices=np.full((3, 3), np.nan, np.float32))
    with pytest.raises(stop), ResultWriter(tmp_path) as writer:
        writer.add(broken, row("b"))
        for number in range(20):
            writer.add(face(f"c{number}"), row(f"c{number}"))
        raise stop
    rows = summary(tmp_path)
    assert len(rows) == 21
    # What is said to be there is there.
    for line in rows:
        there = (tmp_path / f"{Path(line['image']).stem}.png").is_file()
        assert there == (line["status"] == "ok")


def test_a_run_on_one_photo_keeps_the_others_rows(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    with ResultWriter(results) as writer:
        for name in "abc":
            writer.add(face(name), row(name))
    again = replace(row("b", 0.09), image=str(tmp_path / "photos" / "b.jpg"))
    with ResultWriter(results) as writer:
        writer.add(face("b"), again)
        writer.add_failure(SummaryRow("photos/d.jpg", "failed", message='a "b",\nc'))
    rows = summary(results)
    assert [Path(line["image"]).stem for line in rows] == ["a", "b", "c", "d"]
    assert [line["nme_inner"] for line in rows] == ["0.04000", "0.09000", "0.04000", ""]
    assert rows[3]["message"] == 'a "b",\nc'
    # The outcome is that of this run.
    assert (len(writer.rows), writer.photos) == (2, (1, 2))


@pytest.mark.parametrize("damage", ["empty", "binary", "cut", "other columns", "quote"])
def test_a_damaged_summary_is_ignored(tmp_path: Path, damage: str):
    with ResultWriter(tmp_path) as writer:
        writer.add(face("a"), row("a"))
    path = tmp_path / "summary.csv"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "binary": b"\xff\xfe\x00" + whole,
            "cut": whole[:-8],
            "other columns": whole.replace(b"nme_jaw", b"jaw"),
            "quote": whole + b'"photos/x.jpg,',
        }[damage]
    )
    with ResultWriter(tmp_path) as writer:
        writer.add(face("b"), row("b"))
    assert [line["image"] for line in summary(tmp_path)] == ["photos/b.jpg"]


def test_each_face_of_a_photo_has_a_row_and_a_second_run_replaces_them(tmp_path: Path):
    def write(*numbers: int) -> None:
        with ResultWriter(tmp_path) as writer:
            for number in numbers:
                stem = "a" if number == 1 else f"a_{number}"
                one = SummaryRow("photos/a.jpg", "ok", face=number, files=stem, nme_inner=0.04)
                writer.add(replace(face(stem), number=number), one)
            writer.add_failure(SummaryRow("photos/b.jpg", "failed", message="no face"))
        assert writer.photos == (1, 2)

    write(1, 2, 3)
    assert [(row["face"], row["files"]) for row in summary(tmp_path)] == [
        ("1", "a"),
        ("2", "a_2"),
        ("3", "a_3"),
        ("", ""),
    ]
    write(1, 2)
    assert [row["files"] for row in summary(tmp_path)] == ["a", "a_2", ""]


def test_a_missing_picture_of_the_whole_photo_is_said_where_it_belongs(tmp_path: Path):
    """The faces of all photos of a group are queued before the last of its pictures is drawn."""
    broken = replace(face("b"), vertices=np.full((3, 3), np.nan, np.float32))
    with ResultWriter(tmp_path) as writer:
        numbers = [writer.add(f, row(f.stem)) for f in (face("a"), broken, face("c"))]
        for stem, number in zip("abc", numbers, strict=True):
            kind = np.uint8 if stem == "c" else np.float64  # which is no picture
            writer.add_overlay(stem, number, lambda kind=kind: np.full((40, 30, 3), 90, kind))
        assert numbers == [0, 1, 2]
    with Image.open(tmp_path / "c_photo.jpg") as picture:
        assert picture.size == (30, 40)
    assert not (tmp_path / "a_photo.jpg").exists()
    a, b, c = summary(tmp_path)
    assert (a["status"], a["nme_inner"]) == ("ok", "0.04000")
    assert a["message"].startswith("no a_photo.jpg: ")
    assert b["status"] == "failed"
    assert "non-finite" in b["message"] and "; no b_photo.jpg: " in b["message"]
    assert (c["status"], c["message"]) == ("ok", "")


@pytest.mark.parametrize("later", [0, 50])
def test_a_defect_in_a_thread_is_raised_after_the_summary(tmp_path: Path, later: int):
    def fail() -> np.ndarray:
        raise RuntimeError("the renderer broke")

    with pytest.raises(RuntimeError, match="the renderer broke"), ResultWriter(tmp_path) as writer:
        writer.add_overlay("a", writer.add(face("a"), row("a")), fail)
        for number in range(later):
            writer.add(face(f"c{number}"), row(f"c{number}"))
    first, *others = summary(tmp_path)
    assert first["status"] == "ok"
    assert first["message"] == "no a_photo.jpg: RuntimeError: the renderer broke"
    for line in others:
        there = (tmp_path / f"{Path(line['image']).stem}.png").is_file()
        assert there == (line["status"] == "ok")


def test_results_are_replaced_by_a_second_run(tmp_path: Path):
    for seed in (1, 2):
        with ResultWriter(tmp_path) as writer:
            writer.add(face("a", seed), row("a"))
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), face("a", 2).picture)
    assert len(summary(tmp_path)) == 1


def test_folders_of_one_name_do_not_share_results(tmp_path: Path):
    photos = [tmp_path / parent / "few" for parent in ("a", "b")]
    folders = []
    for folder in photos:
        folders.append(results_folder(tmp_path / "run", folder, "few", "20"))
        with ResultWriter(folders[-1]) as writer:
            writer.add_failure(SummaryRow(str(folder / "x.jpg"), "failed"))
    results = tmp_path / "run" / "results"
    assert folders == [results / "few" / "epoch_20_000000", results / "few_2" / "epoch_20_000000"]
    # A second run on either goes to its own place again.
    assert [results_folder(tmp_path / "run", f, "few", "20") for f in photos] == folders
