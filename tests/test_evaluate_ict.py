"""`evaluate.py --ict`: the truth has no error, the table has a row for each method, wrong folders.

In place of ICT-FaceKit's file stands the open model's coarsest level: its heads are then known to
the method that is scored.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

from data.detection import DlibDetector, Face
from data.images import read_image
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.parameters import Coefficients
from models.renderer import Renderer
from options.evaluate_options import IctBenchmarkOptions
from options.face_options import CameraOptions
from tests.test_train_command import load_script
from util.assets import OPEN_FACE_MODEL
from util.atomic import write_text
from util.errors import InputError
from util.evaluation import ict, ict_heads
from util.evaluation.ict import HeadErrors, HeadScorer
from util.evaluation.ict_heads import Heads
from util.evaluation.predicted_meshes import write_prediction
from util.evaluation.shape_methods import FitShape, MeanShape, face_shapes
from util.model_files.face_model_file import read_face_model, write_face_model
from util.model_files.ict_folder import CONVERTED
from util.photos.photo_fitting import face_fitter
from util.studio import Pictures

command = load_script("evaluate")
RUN = ["--ict", "ict", "--out", "out", "--gpu_ids", "-1", "--num_cpu_threads", "1"]
COARSE = ["--face_model", "open@0", "--renderer", "torch"]
SEED = 5001  # of two heads that the detector finds, and of one person
FEW = ["--heads", "2", "--people", "0", "--looks", "plain", "--head_seed", str(SEED)]
WANTED = IctBenchmarkOptions(heads=2, people=0, looks="plain", head_seed=SEED)
SLIDING_MM = 0.12
"""What a model that is fitted to its own mean may slide along it."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("dlib")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def coarse() -> FaceModelData:
    return read_face_model(OPEN_FACE_MODEL, 0)


@pytest.fixture(scope="module")
def heads(coarse: FaceModelData) -> Heads:
    return Heads(coarse, WANTED)


@pytest.fixture(scope="module")
def pictures(heads: Heads) -> Pictures:
    return heads.singles(DlibDetector())


def write_ict(data: FaceModelData) -> None:
    Path("ict").mkdir()
    write_face_model(Path("ict") / CONVERTED, data, "the open model")


def rows() -> list[dict[str, str]]:
    with Path("out/heads.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scored(coarse: FaceModelData, heads: Heads, pictures: Pictures, flat: np.ndarray) -> HeadErrors:
    """Errors of coefficients (N, P)."""
    model = FaceModel(coarse)
    method = MeanShape(face_fitter(model, Camera.rnet(), Renderer("torch")))
    scorer = HeadScorer(heads, coarse, model, 0)
    return scorer(pictures, model.layout.split(torch.from_numpy(flat)), method)


def test_the_truth_has_no_error(coarse: FaceModelData, heads: Heads, pictures: Pictures):
    true = np.stack([render.coefficients for render in pictures.renders])
    found = scored(coarse, heads, pictures, true)
    for errors in (found.rigid_mm, found.similarity_mm, found.surface_mm):
        np.testing.assert_allclose(errors, 0, atol=SLIDING_MM)
    np.testing.assert_allclose(found.inner_percent, 0, atol=0.02)

    # Another size: rigid alone sees it, by the distances from the middle.
    larger = true.copy()
    part = FaceModel(coarse).layout.slices["identity"]
    assert np.abs(larger[:, part]).max() > 0
    larger[:, part] = 0
    mean = scored(coarse, heads, pictures, larger)
    shape = coarse.mean_shape[: len(coarse.mean_shape)].astype(np.float64)
    for number, render in enumerate(pictures.renders):
        head = heads.head(render.coefficients[part])
        assert mean.surface_mm[number] < mean.similarity_mm[number] <= mean.rigid_mm[number] * 1.01
        away = 100 * np.linalg.norm(head.vertices - shape, axis=1)
        assert mean.rigid_mm[number] < away.max()


def test_landmarks_are_seen_by_the_camera_of_the_method(
    coarse: FaceModelData, heads: Heads, pictures: Pictures
):
    """The mean face, posed by each of two cameras, fits about as well through its own."""
    model = FaceModel(coarse)
    found = []
    for focal in (CameraOptions.focal, 0.8 * CameraOptions.focal):
        camera = Camera.rnet(CameraOptions(focal=focal))
        method = MeanShape(face_fitter(model, camera, Renderer("torch")))
        scorer = HeadScorer(heads, coarse, model, 0)
        found.append(scorer(pictures, method(pictures.batch), method).inner_percent)
    np.testing.assert_allclose(found[1], found[0], rtol=0.15)


@pytest.mark.slow
def test_one_command_for_the_table(
    coarse: FaceModelData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_ict(coarse)
    for module in (ict, ict_heads):
        monkeypatch.setattr(module, "PHOTOS_EACH", (1, 2))
    monkeypatch.setattr(ict_heads, "_SPARE", 1)
    few = ["--heads", "2", "--people", "1", "--looks", "plain", "--head_seed", str(SEED)]
    command.main([*RUN, *few, *COARSE, "--preset", "fast"])
    table = {(row["method"], row["of"], row["photos"]): row for row in rows()}
    assert set(table) == {
        ("mean face (open)", "heads", "1"),
        ("mean face (open)", "people", "1"),
        ("fit fast", "heads", "1"),
        ("fit fast", "people", "1"),
        ("fit fast", "people", "2"),
    }
    mean, fit = table["mean face (open)", "heads", "1"], table["fit fast", "heads", "1"]
    assert float(fit["inner_percent"]) < float(mean["inner_percent"])
    assert 0 < float(fit["similarity_mm"]) < 6
    shown = capsys.readouterr().out
    assert "2 of 2 heads and 1 of 1 people with several photos" in shown and "fit fast" in shown
    for method in ("fit_fast", "mean_face_(open)"):
        assert Path(f"out/{method}/errors.png").is_file(), "a picture for every method"
    assert Path("out/heads.tex").is_file()
    assert sorted(path.name for path in Path("out/photos").iterdir()) == ["000.png", "001.png"]


def test_meshes_of_others(
    coarse: FaceModelData, heads: Heads, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
):
    write_ict(coarse)
    model = FaceModel(coarse)
    true = np.stack([render.coefficients for render in pictures.renders])
    shapes = face_shapes(model, model.layout.split(torch.from_numpy(true)), neutral=True)
    for number, shape in zip(pictures.numbers, shapes, strict=True):
        write_prediction(Path("theirs") / f"{number:03d}", shape)
    for name in ("001.png", "017.png", "mine.png", "notes.txt"):
        write_text(Path("out/photos") / name, "of an earlier run")
    command.main([*RUN, *FEW, *COARSE, "--predictions", "theirs"])
    (row,) = rows()
    assert row["method"] == "theirs" and float(row["surface_mm"]) < 0.02
    assert row["rigid_mm"] == "" and row["inner_percent"] == ""
    photos = {path.name for path in Path("out/photos").iterdir()}
    assert photos == {"000.png", "001.png", "mine.png", "notes.txt"}, "no photo of other heads"
    photo = read_image("out/photos/001.png").astype(float)
    assert np.abs(photo - pictures.renders[1].picture).mean() < 1
    page = Path("out/report.html").read_text(encoding="utf-8")
    used = page.partition("What was used")[2]
    for said in (
        *("meshes of theirs", coarse.card.fingerprint, coarse.card.licence, "dlib"),
        f"2 heads, --looks plain, --head_seed {SEED}",
    ):
        assert said in used, said
    assert "Faces are found of 2 of 2 heads." in page
    assert "0 people" not in page, "nobody is said to lack"

    # Before heads are rendered: the table there is of other heads, or meshes lack.
    def rendered(*_: object) -> NoReturn:
        pytest.fail("heads were rendered before all was checked")

    monkeypatch.setattr(Heads, "singles", rendered)
    wanted = [*RUN, *FEW, *COARSE, "--predictions", "theirs", "--method_name", "other"]
    with pytest.raises(InputError, match=r"heads.csv holds methods on other images"):
        command.main([*wanted, "--head_seed", "1"])
    Path("theirs/001.npy").unlink()
    with pytest.raises(InputError, match=r"theirs lacks the landmarks .* of 1 of 2: 001;"):
        command.main(wanted)


def test_folders_and_flags_that_do_not_fit(tmp_path: Path):
    with pytest.raises(InputError, match="--benchmark ict needs --ict DIR"):
        command.main(["--benchmark", "ict"])
    with pytest.raises(InputError, match="--ict nowhere is no folder"):
        command.main(["--ict", "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"--ict empty: .*generic_neutral_mesh.obj"):
        command.main(["--ict", "empty"])
    with pytest.raises(InputError, match="--heads is 0"):
        command.main(["--ict", "empty", "--heads", "0"])
    with pytest.raises(InputError, match="--model synergy cannot be evaluated on ict; choose one"):
        command.main(["--ict", "empty", "--model", "synergy"])
    with pytest.raises(InputError, match="--benchmark nothing is unknown; choose one of"):
        command.main(["--benchmark", "nothing"])


def test_heads_that_the_detector_misses_are_named(
    coarse: FaceModelData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Printed, in the errors of each head, and in the report; the bar says what is done."""
    write_ict(coarse)
    seen: list[int] = []

    class Blind(DlibDetector):
        def detect(
            self, image: np.ndarray, *, largest_only: bool = False, tilted: bool = True
        ) -> list[Face]:
            seen.append(1)
            found = super().detect(image, largest_only=largest_only, tilted=tilted)
            return [] if len(seen) == 1 else found

    monkeypatch.setattr(ict, "create_detector", lambda options: Blind())
    command.main([*RUN, *FEW, *COARSE, "--preset", "fast"])
    said = capsys.readouterr()
    assert "The detector misses the heads 000." in said.out and "1 of 2 heads" in said.out
    assert "fit fast, heads" in said.err and "left of the whole" in said.err
    with Path("out/fit_fast/heads.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["head"], line["found"]) for line in lines] == [("000", "no"), ("001", "yes")]
    assert lines[0]["rigid_mm"] == "" and float(lines[1]["surface_mm"]) > 0
    assert not Path("out/photos/000.png").exists()
    page = Path("out/report.html").read_text(encoding="utf-8")
    used = page.partition("What was used")[2]
    assert "--model fit --preset fast" in used and "--model mean" in used
    assert used.count(f"open {coarse.version}") == 2, "heads and face model, said once each"
    assert "--face_model open@0" in used
    assert "The detector misses the heads 000." in page and '"name":"001"' in page
    assert len(page) < 1_500_000
    (mean,) = [row for row in rows() if row["method"] == "fit fast"]
    assert mean["surface_mm"] == lines[1]["surface_mm"]


def test_a_stopped_run_goes_on_at_its_head(
    coarse: FaceModelData,
    pictures: Pictures,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """A method that is through stands in the table; of the next, no head is fitted twice."""
    write_ict(coarse)
    monkeypatch.setattr(Heads, "singles", lambda *_: pictures)
    monkeypatch.setattr(ict, "create_detector", lambda options: None)
    fitted: list[int] = []
    stop_at = [2]
    mean = MeanShape.__call__

    def fit(self: FitShape, batch: FaceBatch, *, one_person: bool = False) -> Coefficients:
        fitted.append(len(batch))
        if len(fitted) == stop_at[0]:
            raise KeyboardInterrupt
        face = mean(MeanShape(self.fitter), batch, one_person=one_person)
        return replace(face, identity=face.identity + 0.3)

    monkeypatch.setattr(FitShape, "__call__", fit)
    wanted = [*RUN, *FEW, *COARSE, "--preset", "fast"]
    plain = [*wanted, "--pictures", "False"]
    with pytest.raises(KeyboardInterrupt):
        command.main(plain)
    assert "fit fast: 1 result kept in out/unfinished/fit_fast_" in capsys.readouterr().out
    assert [row["method"] for row in rows()] == ["mean face (open)"]
    fitted.clear()
    stop_at[0] = 0
    command.main(wanted)
    said = capsys.readouterr().out
    assert fitted == [1] and "fit fast: goes on from 1 result of a run that was stopped" in said
    assert not Path("out/unfinished").exists()
    shown = json.loads(Path("out/shown/fit_fast.json").read_text(encoding="utf-8"))
    assert [face["name"] for face in shown["faces"]] == ["000", "001"], "the kept one too"

    command.main([*plain, "--out", "whole"])
    for name in ("heads.csv", "fit_fast/heads.csv"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes(), name
