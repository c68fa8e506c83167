"""The registry of outputs: names, failures of one kind, what earlier runs left."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from benchmarks.example_faces import drawn_photo, report_face, report_row
from models.camera import Camera
from models.face_model import FaceModel
from options.flags import parse_command
from options.output_options import OutputOptions
from tests.util.outputs.faces import centred_alignment, output_source, photo_face
from tests.util.reports.page_elements import Page
from util.errors import InputError
from util.mesh_files.textured_mesh import material_stem
from util.outputs import OUTPUTS, NamedOutput, create_outputs, output_names
from util.outputs.output import Output, OutputSource
from util.photos.face_result import FaceResult
from util.photos.results import ResultWriter
from util.reports.face_report import TEXTURE_ENDING, ReportSource, ReportWriter


def source(face_model: FaceModel, *names: str) -> OutputSource:
    return OutputSource.of(face_model, Camera.rnet(), "torch", OutputOptions(save=names))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("glbs",), r"--save glbs: .*did you mean glb\?"),
        (("my.jpg",), r"--save my.jpg: .*it can be glb"),
        (("none", "glb"), "none stands alone"),
    ],
)
def test_unknown_names_are_refused(
    tiny_face_model: FaceModel, names: tuple[str, ...], problem: str
):
    with pytest.raises(InputError, match=problem):
        create_outputs(source(tiny_face_model, *names))


def test_each_name_counts_once_and_none_is_none(tiny_face_model: FaceModel):
    twice = create_outputs(source(tiny_face_model, "glb", "glb"))
    assert [named.name for named in twice] == ["glb"]
    assert create_outputs(source(tiny_face_model, "none")) == ()


def test_no_two_kinds_write_the_same_file():
    names = output_names("a")
    assert len(names) == len(set(names)) and all(kind.what for kind in OUTPUTS.values())


def test_a_kind_that_fails_costs_its_files_only(tiny_face_model: FaceModel, tmp_path: Path):
    """The face and its row stay; the old file of that kind goes, for it would be another face's."""
    (tmp_path / "ann.glb").write_bytes(b"of an earlier run")
    face = report_face(tiny_face_model)
    face = replace(face, albedo=np.full_like(face.colours, np.nan))
    with ResultWriter(tmp_path, create_outputs(source(tiny_face_model, "glb"))) as writer:
        writer.add(face, report_row(face))
    assert not (tmp_path / f"{face.stem}.glb").exists()
    assert (tmp_path / f"{face.stem}.obj").exists()
    (row,) = writer.rows
    assert row.status == "ok" and f"no {face.stem}.glb" in row.message


def test_reports_come_after_the_files_that_they_show(tiny_face_model: FaceModel, tmp_path: Path):
    class Slow(Output):
        what, endings = "texture", (TEXTURE_ENDING,)

        def write(self, folder: Path, face: FaceResult) -> None:
            time.sleep(0.2)
            (folder / f"{face.stem}{TEXTURE_ENDING}").write_bytes(b"picture")

    face, seen = report_face(tiny_face_model), []
    name = f"{face.stem}{TEXTURE_ENDING}"
    slow = NamedOutput("slow", Slow(source(tiny_face_model)))
    with ResultWriter(tmp_path, (slow,)) as writer:
        number = writer.add(face, report_row(face))
        writer.add_report("a.html", number, lambda folder: seen.append((folder / name).is_file()))
    assert seen == [True]
    run = ReportSource.of("fit.py", parse_command((), []), (slow,), photo_files={})
    assert run.with_texture and run.outputs == (slow.output,)


def test_reports_list_every_file_that_a_face_has(open_face_model: FaceModel, tmp_path: Path):
    alignment = centred_alignment((300, 300), 1.0)
    face = photo_face(open_face_model, tmp_path / "photos", "my face.png", alignment)
    kinds = ("texture", "depth", "eg3d", "panohead")
    made = create_outputs(output_source(open_face_model, save=kinds, texture_size=256))
    folder = tmp_path / "results"
    with ResultWriter(folder, made) as writer:
        writer.add(face, report_row(face))
    run = ReportSource.of("fit.py", parse_command((), []), made, photo_files={})
    text = ReportWriter(open_face_model, run).page(face, writer.rows[0], drawn_photo(), face.stem)
    links = {unquote(link).removeprefix("./") for link in Page(text).attribute("a", "href")}
    written = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    material = material_stem("my face_textured")
    assert {f"{material}.mtl", "eg3d/dataset_cor.json", "my face_depth.npy"} <= written
    assert links == written | {"index.html"}  # which is there where reports are
    mirrored = output_source(open_face_model, save=("eg3d",), eg3d_mirror=True)
    (eg3d,) = create_outputs(mirrored)
    assert "eg3d/mirror/a.png" in eg3d.output.contents("a")
    assert all(len(kind.beside) == len(kind.names("a")) - 1 for kind in OUTPUTS.values())


def test_what_an_earlier_run_wrote_of_a_face_goes(tiny_face_model: FaceModel, tmp_path: Path):
    face = report_face(tiny_face_model)
    for names, there in ((("glb",), True), (("none",), False)):
        with ResultWriter(tmp_path, create_outputs(source(tiny_face_model, *names))) as writer:
            writer.add(face, report_row(face))
        assert (tmp_path / f"{face.stem}.glb").exists() is there
    other = tmp_path / "mine.glb"
    other.write_bytes(b"the user's own")
    with ResultWriter(tmp_path) as writer:
        writer.add(face, report_row(face))
    assert other.exists()


def test_non_finite_numbers_are_named(tiny_face_model: FaceModel, tmp_path: Path):
    face = report_face(tiny_face_model)
    broken = replace(face, vertices=np.full_like(face.vertices, np.nan))
    (named,) = create_outputs(source(tiny_face_model, "glb"))
    with pytest.raises(ValueError, match=r"glb: .*non-finite"):
        named.write(tmp_path, broken)
    assert not list(tmp_path.iterdir())
