"""Fit the face model to a photo, to a folder of photos, or to a video.

python fit.py my.jpg
python fit.py --img_path my_photos --res_folder my_fits --preset best
python fit.py --v_path my.mp4 --res_folder my_fits
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from data.detection import DetectionOptions, create_detector
from data.images import find_folder, is_image_name
from data.photo_folder import PhotoFolder
from models.camera import Camera, CameraOptions
from models.face_model import FaceModel, FaceModelOptions
from models.facerecon_model import FaceReconModel
from models.fitting.energy import FitWeights
from models.fitting.tracking import TrackWeights
from models.renderer import Renderer, RenderOptions
from options import ParsedOptions, parse_command, write_options
from options.base_options import BaseOptions
from options.fit_options import (
    AdamOptions,
    FitOptions,
    VideoFitOptions,
    chosen_schedule,
    chosen_weights,
)
from options.output_options import OutputOptions
from util.assets import choose_face_model
from util.command import run_command
from util.devices import choose_device
from util.errors import InputError
from util.folders import make_folder
from util.one_person import OnePersonCheck
from util.outputs import check_names, create_outputs
from util.outputs.output import OutputSource
from util.photo_fitting import PhotoFitting, face_fitter
from util.photo_run import (
    PREVIEW_PX,
    Overlay,
    PhotoRun,
    announce_points,
    announce_replaced,
    report_photos,
)
from util.report import ReportSource, ReportWriter
from util.results import ResultWriter
from util.trained_model import load_reconstruction_model
from util.video_run import fit_video

GROUPS = (
    *(FitOptions, OutputOptions, AdamOptions, VideoFitOptions, FitWeights, TrackWeights),
    *(BaseOptions, DetectionOptions),
    *FaceReconModel.inference_groups,
)

RESULT_FLAGS = (
    *("face_model", "face_region", "jaw_landmarks", "faces"),
    *("preset", "weights", "solver", "init", "same_person", "fit_focal"),
)
"""By which the results of two runs into one folder differ."""


def main(argv: Sequence[str] | None = None) -> None:
    """Fit photos or a video, as the command line says."""
    options = parse_command(GROUPS, with_bare_path(argv), __doc__ or "")
    fit = options[FitOptions]
    if fit.img_path and fit.v_path:
        raise InputError("--img_path and --v_path are both given; fit one after the other")
    if not options.given("jaw_landmarks"):
        # Detectors mark where a turned head ends.
        options = options.with_values(FaceModelOptions, jaw_landmarks="silhouette")
    if fit.v_path:
        fit_video(options)
    elif fit.img_path:
        fit_photos(options)
    else:
        raise InputError("nothing to fit: give a photo, a folder or a video: python fit.py my.jpg")


def with_bare_path(argv: Sequence[str] | None) -> list[str]:
    """`fit.py my.jpg` means `fit.py --img_path my.jpg`, `fit.py my.mp4` means --v_path."""
    typed = list(sys.argv[1:] if argv is None else argv)
    if typed and not typed[0].startswith("-"):
        path = Path(typed[0])
        is_video = path.is_file() and not is_image_name(path)
        return ["--v_path" if is_video else "--img_path", *typed]
    return typed


def fit_photos(options: ParsedOptions) -> None:
    """Fit every photo, write the results and a summary."""
    fit = options[FitOptions]
    check_names(options[OutputOptions].save)
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
        source = ReportSource.of(
            "fit.py", options, RESULT_FLAGS, outputs, with_overlay=fit.photo_overlay
        )
        reports = ReportWriter(face_model, source)
    make_folder(results, "res_folder")
    with ResultWriter(results, outputs, options=options[OutputOptions]) as writer:
        write_options(options, results, "fit")
        run = PhotoRun(fitting, at_once, overlay, with_overlay=fit.photo_overlay, reports=reports)
        run.folder(photos, writer)
    report_photos(writer, results, "fitted")


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
    renderer = Renderer(options[RenderOptions].renderer)
    return None, face_model.to(device), renderer, options


def find_photos(face_model: FaceModel, options: ParsedOptions) -> PhotoFolder:
    """The photos that `--img_path` names, aligned for the face model."""
    fit = options[FitOptions]
    return PhotoFolder(
        find_folder(fit.img_path, Path("datasets"), "img_path"),
        face_model.alignment_points.cpu().numpy(),
        create_detector(options[DetectionOptions]),
        all_faces=fit.faces == "all",
        with_skin=True,
        preview_px=PREVIEW_PX if fit.photo_overlay or fit.report else 0,
        landmarks=Path(fit.landmarks) if fit.landmarks else None,
    )


if __name__ == "__main__":
    run_command(main)
