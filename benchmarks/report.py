"""How long reports take to write, and how large they are: of faces, videos, trainings, evaluations.

python -m benchmarks.report
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.example_faces import (
    FIT,
    drawn_photo,
    made_up_fit,
    report_face,
    report_row,
    report_writer,
    video_report_writer,
)
from models.face_model import FaceModel
from options.base_options import BaseOptions
from options.flags import parse_command
from options.train_options import LoaderOptions, TrainOptions
from util.assets import OPEN_FACE_MODEL
from util.evaluation.error_picture import ErrorMesh
from util.evaluation.evaluation_report import REPORT, write_report
from util.evaluation.ict import TABLE, HeadErrors, HeadRow
from util.evaluation.shown_meshes import FIRST, WORST, ShownMeshes
from util.evaluation.tables import write_tables
from util.model_files.face_model_file import read_face_model
from util.reports.report_parts import REPORT_ENDING
from util.reports.training_report import TRAINING_REPORT, TrainingReport
from util.training.run_history import RunHistory
from util.training.run_pictures import MOST_PICTURES, RunPictures
from util.training.training_state import Progress

REPETITIONS = 10
TERMS = ("feat", "color", "lm", "reg", "gamma", "reflc", "t_shape", "t_pose", "t_px", "t_light")


def main() -> None:
    """Print milliseconds and bytes of each page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    face_model = FaceModel(read_face_model(OPEN_FACE_MODEL))
    with tempfile.TemporaryDirectory() as folder:
        time_face(face_model, Path(folder))
        time_video(face_model, Path(folder))
        time_training(Path(folder))
        time_evaluation(face_model, Path(folder) / "evaluation")


def time_face(face_model: FaceModel, folder: Path) -> None:
    """The first face packs the model, the later ones do not."""
    face = report_face(face_model, fit=FIT)
    began = time.perf_counter()
    writer = report_writer(face_model)
    print(f"once for the face model: {1000 * (time.perf_counter() - began):.0f} ms")
    show(
        "a face (a photo of noise, 613 x 407)",
        lambda: writer.write(folder, face, report_row(face), drawn_photo(), face.stem),
        folder / f"{face.stem}{REPORT_ENDING}",
    )


def time_video(face_model: FaceModel, folder: Path) -> None:
    """Ten seconds of a head that turns and talks, without the pictures of its key frames."""
    writer = video_report_writer(face_model, made_up_fit(face_model, 250))
    path = folder / f"talk{REPORT_ENDING}"
    show("a video of 250 frames", lambda: path.write_text(writer.page(folder / "talk", {})), path)


def time_training(folder: Path) -> None:
    """A long training with all the points and pictures that are kept."""
    history = RunHistory()
    losses = " ".join(f"{name}: 0.1234" for name in TERMS)
    for step in range(3000):
        history.take(f"(train, epoch 1, step {step}, lr 1.00e-04) all: 1.2345 {losses}")
    pictures = RunPictures(folder)
    noise = torch.rand(4, 3, 28, 84).repeat_interleave(8, 2).repeat_interleave(8, 3)
    for step in range(MOST_PICTURES):
        pictures.add("val", step, noise)
    options = parse_command((BaseOptions, TrainOptions, LoaderOptions), [])
    report = TrainingReport(folder, options, history)
    show(
        "a training",
        lambda: report.write(Progress(seconds=60.0), 20, 0.5, "finished"),
        folder / TRAINING_REPORT,
    )


def time_evaluation(face_model: FaceModel, folder: Path) -> None:
    """Three methods on ten scans, the worst of which are others for each."""
    random = np.random.default_rng(0)
    triangles = face_model.triangles.cpu().numpy()
    mean = face_model.mean_shape.reshape(-1, 3).double().cpu().numpy()

    def face(name: str) -> ErrorMesh:
        errors = random.uniform(0, 5, len(mean))
        return ErrorMesh(name, mean * random.uniform(0.95, 1.05, 3), triangles, errors)

    first = [face(f"first {number}") for number in range(FIRST)]
    rows = [HeadErrors(*[np.ones(2)] * 4).row(name, "", "heads", 1) for name in "abc"]
    write_tables(folder / "heads", rows, HeadRow, TABLE.columns)
    for row in rows:
        shown = ShownMeshes(row.method, "")
        worst = [face(f"worst {number} of {row.method}") for number in range(WORST)]
        for mesh in (*first, *worst):
            shown.offer(1, lambda mesh=mesh: mesh)
        shown.write(folder)
    show(
        "an evaluation of three methods",
        lambda: write_report(folder, TABLE),
        folder / REPORT,
    )


def show(name: str, write: Callable[[], object], path: Path) -> None:
    """Write a page again and again, and print what it takes."""
    seconds = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        write()
        seconds.append(time.perf_counter() - began)
    print(
        f"{name}: {1000 * statistics.median(seconds):.0f} ms (median of {REPETITIONS}; shortest "
        f"{1000 * min(seconds):.0f} ms), {path.stat().st_size} bytes"
    )


if __name__ == "__main__":
    main()
