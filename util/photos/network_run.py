"""Reconstruct photos by an R-Net from the command line's options: load, predict, write, report."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from data.detection import create_detector
from data.images import find_folder
from data.photo_folder import PhotoFolder
from models.facerecon_model import FaceReconModel
from options import ParsedOptions, write_options
from options.base_options import BaseOptions, run_folder
from options.data_options import DetectionOptions
from options.output_options import OutputOptions
from options.test_options import TestOptions
from util.compilation import say_when_compiling
from util.outputs import NamedOutput, create_outputs
from util.outputs.output import OutputSource
from util.photos.photo_fitting import PhotoFitting, face_fitter
from util.photos.photo_reconstruction import reconstruct_faces
from util.photos.photo_run import (
    PREVIEW_PX,
    Overlay,
    PhotoRun,
    Reconstruct,
    announce_points,
    announce_replaced,
    report_network,
)
from util.photos.results import ResultWriter, results_folder
from util.reports.face_report import OVERLAY_FILES, ReportSource, ReportWriter
from util.reports.reported_run import checkpoint_row
from util.training.run_choice import find_trained
from util.training.trained_model import load_reconstruction_model

RESULT_FLAGS = ("face_model", "face_region", "jaw_landmarks", "faces", "solve_appearance", "refine")
"""By which the results of two runs into one folder differ."""


@say_when_compiling()
def reconstruct_folder(options: ParsedOptions) -> None:
    """The photos of `--img_folder` through an R-Net."""
    base, test = options[BaseOptions], options[TestOptions]
    model, options = load_reconstruction_model(options)
    photos = find_photos(model, options)
    results = results_folder(run_folder(options), photos.root, photos.name, base.epoch)
    announce_points(photos, options[DetectionOptions], all_faces=test.faces == "all")
    announce_replaced(photos, results, options, "test", RESULT_FLAGS)
    write_options(options, results, "test")
    run, outputs = prepare_run(model, options)
    with ResultWriter(results, outputs, options=options[OutputOptions]) as writer:
        run.folder(photos, writer)
    report_network(writer, results)


def prepare_run(
    model: FaceReconModel, options: ParsedOptions
) -> tuple[PhotoRun, tuple[NamedOutput, ...]]:
    """What makes the files that the options ask for, beside those that are always written."""
    test, backend = options[TestOptions], model.renderer.backend
    overlay = Overlay(model.face_model, model.camera, backend)
    outputs = create_outputs(
        OutputSource.of(model.face_model, model.camera, backend, options[OutputOptions])
    )
    reports = None
    if test.report:
        files = OVERLAY_FILES if test.photo_overlay else {}
        said = checkpoint_row(find_trained(options))
        source = ReportSource.of("test.py", options, outputs, photo_files=files, network=said)
        reports = ReportWriter(model.face_model, source)
    run = PhotoRun(
        reconstruction(model, test),
        test.test_batch_size,
        overlay,
        with_overlay=test.photo_overlay,
        reports=reports,
    )
    return run, outputs


def reconstruction(model: FaceReconModel, test: TestOptions) -> Reconstruct:
    """What is done with aligned faces: the network alone, or a fit that starts from it."""
    if not test.refine:
        return partial(reconstruct_faces, model, appearance=test.solve_appearance)
    fitter = face_fitter(model.face_model, model.camera, model.renderer)
    return PhotoFitting(fitter, "balanced", model)


def find_photos(model: FaceReconModel, options: ParsedOptions) -> PhotoFolder:
    """The photos that `--img_folder` names, aligned for the model's faces."""
    test = options[TestOptions]
    return PhotoFolder(
        find_folder(test.img_folder, Path("datasets")),
        model.face_model.alignment_points.cpu().numpy(),
        create_detector(options[DetectionOptions]),
        all_faces=test.faces == "all",
        with_skin=test.solve_appearance or test.refine,
        preview_px=PREVIEW_PX if test.photo_overlay or test.report else 0,
    )
