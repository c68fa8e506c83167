"""Fit photos from the command line's options: fit, write, report (videos: `util.videos`)."""

from __future__ import annotations

from pathlib import Path

from data.detection import create_detector
from data.photo_folder import PhotoFolder
from models.camera import Camera
from models.face_model import FaceModel
from models.facerecon_model import FaceReconModel
from models.renderer import Renderer
from options import ParsedOptions, write_options
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.face_options import CameraOptions, FaceModelOptions, RenderOptions
from options.fit_options import (
    FitOptions,
    chosen_photos,
    chosen_schedule,
    chosen_weights,
)
from options.output_options import OutputOptions
from util.assets import choose_face_model
from util.compilation import say_when_compiling
from util.devices import choose_device, chosen_renderer
from util.folders import make_folder
from util.outputs import create_outputs
from util.outputs.output import OutputSource
from util.photos.one_person import OnePersonCheck
from util.photos.photo_fitting import PhotoFitting, face_fitter
from util.photos.photo_run import (
    PREVIEW_PX,
    Overlay,
    PhotoRun,
    announce_points,
    announce_replaced,
    report_photos,
)
from util.photos.results import ResultWriter
from util.reports.face_report import OVERLAY_FILES, ReportSource, ReportWriter
from util.reports.reported_run import checkpoint_row
from util.training.run_choice import find_trained
from util.training.trained_model import load_reconstruction_model

RESULT_FLAGS = (
    *("face_model", "face_region", "jaw_landmarks", "faces"),
    *("preset", "weights", "solver", "init", "same_person", "fit_focal"),
)
"""By which the results of two runs into one folder differ."""


@say_when_compiling()
def fit_photos(options: ParsedOptions) -> None:
    """Fit every photo, write the results and a summary."""
    fit = options[FitOptions]
    network, face_model, renderer, options = load_models(options)
    camera = network.camera if network is not None else Camera.rnet(options[CameraOptions])
    camera = camera.to(face_model.mean_shape.device)
    photos = find_photos(face_model, options)
    results = Path(fit.res_folder)
    announce_points(photos, options[DetectionOptions], all_faces=fit.faces == "all")
    announce_replaced(photos, results, options, "fit", RESULT_FLAGS)

    fitter = face_fitter(face_model, camera, renderer, chosen_weights(options))
    fitting = PhotoFitting(
        fitter,
        fit.preset,
        network,
        schedule=chosen_schedule(options),
        one_person=fit.same_person,
        focal=fit.fit_focal,
        check=OnePersonCheck() if fit.same_person else None,
    )
    alone = camera.focal_px.device.type == "cpu" or fit.fit_focal
    at_once = fit.faces_at_once or (1 if alone else 16)
    if fit.same_person:
        at_once = len(photos)
    overlay = Overlay(face_model, camera, renderer.backend)
    outputs = create_outputs(
        OutputSource.of(face_model, camera, renderer.backend, options[OutputOptions])
    )
    reports = None
    if fit.report:
        files = OVERLAY_FILES if fit.photo_overlay else {}
        said = None if network is None else checkpoint_row(find_trained(options))
        source = ReportSource.of("fit.py", options, outputs, photo_files=files, network=said)
        reports = ReportWriter(face_model, source)
    make_folder(results, "res_folder")
    with ResultWriter(results, outputs, options=options[OutputOptions]) as writer:
        write_options(options, results, "fit")
        run = PhotoRun(fitting, at_once, overlay, with_overlay=fit.photo_overlay, reports=reports)
        run.folder(photos, writer)
    several = isinstance(chosen_photos(fit), list)
    report_photos(writer, results, "fitted", named_by="img_path" if several else "")


def load_models(
    options: ParsedOptions,
) -> tuple[FaceReconModel | None, FaceModel, Renderer, ParsedOptions]:
    """The R-Net, if fitting starts from one; the face model; the renderer; completed options."""
    base = options[BaseOptions]
    if options[FitOptions].init == "regress":
        network, options = load_reconstruction_model(options)
        return network, network.face_model, network.renderer, options
    device = choose_device(base.gpu_ids, base.num_cpu_threads)
    face_model, message = choose_face_model(options[FaceModelOptions])
    print(f"Face model: {message}")
    renderer = chosen_renderer(options[RenderOptions], device)
    return None, face_model.to(device), renderer, options


def find_photos(face_model: FaceModel, options: ParsedOptions) -> PhotoFolder:
    """The photos that `--img_path` names, aligned for the face model."""
    fit = options[FitOptions]
    return PhotoFolder(
        chosen_photos(fit),
        face_model.alignment_points.cpu().numpy(),
        create_detector(options[DetectionOptions]),
        all_faces=fit.faces == "all",
        with_skin=True,
        preview_px=PREVIEW_PX if fit.photo_overlay or fit.report else 0,
        landmarks=Path(fit.landmarks) if fit.landmarks else None,
    )
