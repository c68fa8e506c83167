"""Reconstruct the faces of a folder of photos with a trained R-Net, or with a SynergyNet.

python test.py --name my_faces --epoch latest --img_folder my_photos
python test.py --model synergy --name mine --epoch best --img_folder my_photos --faces all
python test.py --model synergy --weights pretrained/best.pth.tar --v_path my.mp4
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from data.detection import DetectionOptions, create_detector
from data.images import find_folder
from data.photo_folder import PhotoFolder
from models.facerecon_model import FaceReconModel
from models.one_euro import SmoothingOptions
from options import ParsedOptions, parse_command, write_options
from options.base_options import BaseOptions, run_folder
from options.output_options import OutputOptions
from options.synergy_options import SynergyTestOptions
from options.test_options import PublicTestOptions, PublicTrainingOptions, TestOptions
from util.command import run_command
from util.outputs import check_names, create_outputs
from util.outputs.output import OutputSource
from util.photo_fitting import PhotoFitting, face_fitter
from util.photo_reconstruction import reconstruct_faces
from util.photo_run import (
    PREVIEW_PX,
    Overlay,
    PhotoRun,
    Reconstruct,
    announce_points,
    announce_replaced,
    report_photos,
)
from util.report import ReportSource, ReportWriter
from util.results import ResultWriter, results_folder
from util.synergy_photos import reconstruct_photos
from util.synergy_trained import SYNERGY_GROUPS
from util.synergy_video import reconstruct_video
from util.trained_model import load_reconstruction_model

GROUPS = (
    BaseOptions,
    TestOptions,
    OutputOptions,
    PublicTestOptions,
    PublicTrainingOptions,
    DetectionOptions,
    *FaceReconModel.inference_groups,
)
GROUPS_OF_SYNERGY = (
    *(BaseOptions, SynergyTestOptions, DetectionOptions, SmoothingOptions),
    *SYNERGY_GROUPS,
)

RESULT_FLAGS = ("face_model", "face_region", "jaw_landmarks", "faces", "solve_appearance", "refine")
"""By which the results of two runs into one folder differ."""


def groups(given: Mapping[str, str]) -> tuple[type, ...]:
    """The options of the chosen model."""
    return GROUPS_OF_SYNERGY if given.get("model") == "synergy" else GROUPS


def main(argv: Sequence[str] | None = None) -> None:
    """Load the network, reconstruct every photo, write the results and a summary."""
    options = parse_command(groups, argv, __doc__ or "")
    if SynergyTestOptions not in options:
        test_network(options)
    elif options[SynergyTestOptions].v_path:
        reconstruct_video(options)
    else:
        reconstruct_photos(options)


def test_network(options: ParsedOptions) -> None:
    """The photos of `--img_folder` through an R-Net."""
    base, test = options[BaseOptions], options[TestOptions]
    check_names(options[OutputOptions].save)
    model, options = load_reconstruction_model(options)
    photos = find_photos(model, options)
    results = results_folder(run_folder(options), photos.root, photos.name, base.epoch)
    announce_points(photos, options[DetectionOptions], all_faces=test.faces == "all")
    announce_replaced(photos, results, options, "test", RESULT_FLAGS)
    write_options(options, results, "test")
    backend = model.renderer.backend
    overlay = Overlay(model.face_model, model.camera, backend)
    outputs = create_outputs(
        OutputSource.of(model.face_model, model.camera, backend, options[OutputOptions])
    )
    reports = None
    if test.report:
        source = ReportSource.of(
            "test.py", options, RESULT_FLAGS, outputs, with_overlay=test.photo_overlay
        )
        reports = ReportWriter(model.face_model, source)
    run = PhotoRun(
        reconstruction(model, test),
        test.test_batch_size,
        overlay,
        with_overlay=test.photo_overlay,
        reports=reports,
    )
    with ResultWriter(results, outputs, options=options[OutputOptions]) as writer:
        run.folder(photos, writer)
    report(writer, results)


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


def report(writer: ResultWriter, results: Path) -> None:
    """Print the outcome; an error if there is no face at all."""
    errors = report_photos(writer, results, "reconstructed")
    if errors.inner >= errors.mean_face:
        print(
            "That is no better than the mean face: the network was trained too briefly, or on "
            "faces unlike these. Train longer or on more faces; if the blue points in the pictures "
            "miss the faces, give five points in detections/"
        )


if __name__ == "__main__":
    run_command(main)
