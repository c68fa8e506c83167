"""Fit the faces of visitors' photos, with models that stay loaded."""

from __future__ import annotations

import json
import tempfile
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from data.detection import Face, create_detector
from data.images import read_image, reduce_image, write_image
from data.photo_folder import Photo, photo_face, turn_that_shows_a_face
from models.camera import Camera
from models.face_model import FaceModel
from models.fitting.fitter import LANDMARK_RULES, LIGHT_RULES, PRESETS, FaceFitter
from models.fitting.problem import Evaluation
from models.stages import reconstruct
from options.app_options import AppOptions
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.face_options import CameraOptions, FaceModelOptions, RenderOptions
from options.fitting_weights import FitWeights, Preset
from options.flags import ParsedOptions, flag_names
from options.output_options import OutputOptions
from util.app.jobs import Job, Wish
from util.assets import choose_face_model
from util.atomic import write_text
from util.devices import choose_device, chosen_renderer
from util.errors import InputError
from util.model_files import ict_file
from util.model_files.bfm09_folder import missing_sources
from util.model_files.bfm_releases import RELEASES
from util.model_files.flame_folder import find_flame
from util.model_files.ict_folder import CONVERTED, find_ict
from util.outputs import NamedOutput, create_outputs
from util.outputs.output import OutputSource
from util.photos.face_result import FaceResult
from util.photos.photo_fitting import PhotoFitting, face_fitter
from util.photos.photo_run import PREVIEW_PX, Overlay, PhotoRun
from util.photos.results import ResultWriter, SummaryRow
from util.reports.face_report import OVERLAY_FILES, DrawnPhoto, ReportSource, ReportWriter
from util.reports.report_parts import REPORT_ENDING

MOST_LOADED = 3
"""Face models that stay in memory; the one that was not used for longest goes."""
FIND, WRITE = "Find the faces", "Write the files"


@dataclass(frozen=True)
class Loaded:
    """A face model with all that its fits share."""

    fitter: FaceFitter
    overlay: Overlay
    outputs: tuple[NamedOutput, ...]
    """What `--save` names."""


class PhotoWork:
    """Does the jobs of photos."""

    def __init__(self, options: ParsedOptions) -> None:
        """Choose the device and prepare the detector; no face model is loaded yet.

        Args:
            options: of the command.

        Raises:
            InputError: the detector cannot be used.
        """
        base = options[BaseOptions]
        self._device = choose_device(base.gpu_ids, base.num_cpu_threads)
        self._options = options
        self._detector = create_detector(options[DetectionOptions])
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    def load(self, name: str) -> Loaded:
        """A face model's fitter, from memory if it is there."""
        if name not in self._loaded:
            options = self._options
            model, _ = choose_face_model(replace(options[FaceModelOptions], face_model=name))
            model = model.to(self._device)
            camera = Camera.rnet(options[CameraOptions]).to(self._device)
            renderer = chosen_renderer(options[RenderOptions], self._device)
            fitter = face_fitter(model, camera, renderer, options[FitWeights])
            source = OutputSource.of(model, camera, renderer.backend, options[OutputOptions])
            self._loaded[name] = Loaded(
                fitter, Overlay(model, camera, renderer.backend), create_outputs(source)
            )
            while len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def warm_up(self, name: str, preset: str) -> None:
        """Fit a made-up picture and write its files: the first visitor waits for no compiler.

        Raises:
            InputError: the face model cannot be used, or the picture not be fitted.
        """
        fitter = self.load(name).fitter
        model = fitter.face_model
        with torch.inference_mode():
            zeros = model.layout.zeros(1, self._device)
            made = reconstruct(model, fitter.renderer, fitter.camera, zeros)
        assert made.rendering.image is not None
        picture = (255 * made.rendering.image[0].clamp(0, 1)).byte().permute(1, 2, 0).cpu().numpy()
        self._detector.detect(picture)
        landmarks = made.posed.landmarks_px[0].cpu().numpy().astype(np.float64) - 0.5
        side = float(len(picture))
        found = Face((0.0, 0.0, side, side), landmarks, 1.0)
        with tempfile.TemporaryDirectory(prefix="face3d_warm_up_") as folder:
            # Textures read the photo again.
            upload = Path(folder) / "warm_up.png"
            write_image(upload, picture)
            job = Job(Wish("photo", name, preset, 1), Path(folder), upload=upload)
            job.results.mkdir()
            self._fit(job, picture, found, 1)

    def __call__(self, job: Job) -> None:
        """Find the faces, and fit the one that is meant; with several and no choice, none.

        Raises:
            InputError: no picture, no face, or one that cannot be fitted.
            JobCancelled: nobody waits any more.
        """
        assert job.upload is not None
        image = read_image(job.upload, self._options[AppOptions].photo_megapixels)
        if job.found is None:
            job.stage(FIND)
            job.found = self._find(image)
            job.faces = tuple(_box(face, image.shape) for face in job.found)
            job.stage(FIND).share = 1.0
        found: list[Face] = job.found
        number = job.wish.face or (1 if len(found) == 1 else 0)
        if number:
            self._fit(job, image, found[number - 1], number)

    def _find(self, image: np.ndarray) -> list[Face]:
        """The faces of a photo, largest first."""
        found = self._detector.detect(image)
        if found:
            return found
        if turn := turn_that_shows_a_face(image, self._detector):
            raise InputError(
                f"no face found as the photo is, but one if it is turned by {turn} degrees "
                "counter-clockwise; turn it and send it again"
            )
        raise InputError(
            "no face found; it should be upright, at least 40 pixels wide and not hidden"
        )

    def _fit(self, job: Job, image: np.ndarray, found: Face, number: int) -> None:
        wish = job.wish
        if wish.face_model not in self._loaded:
            job.stage(f"Load the face model {wish.face_model}")
        loaded = self.load(wish.face_model)
        fitter = loaded.fitter
        most = _most_steps(wish)

        def watch(name: str, evaluation: Evaluation) -> None:
            stage = job.stage(name)
            stage.steps += 1
            stage.energy = float(evaluation.own[0])
            stage.share = min(stage.steps / most.get(name, stage.steps), 1.0)

        assert job.upload is not None
        stem = job.upload.stem if number == 1 else f"{job.upload.stem}_{number}"
        face = photo_face(
            job.upload, image, found.landmarks_px, _standard(fitter), number=number, stem=stem
        )
        photo = Photo(job.upload, stem, (face,), preview=reduce_image(image, PREVIEW_PX))
        fitting = PhotoFitting(fitter, _preset(wish.preset), watch=watch)
        reports = _ShownReports(fitter.face_model, self._source(wish, loaded.outputs), job)
        kinds = self._options[OutputOptions]
        with ResultWriter(job.results, loaded.outputs, workers=3, options=kinds) as writer:
            run = PhotoRun(fitting, 1, loaded.overlay, reports=reports)
            run.photos([photo], writer)
            job.stage(WRITE)
        (row,) = writer.rows
        if row.status != "ok":
            raise InputError(row.message)
        if not job.view:
            raise InputError(f"the face cannot be shown: {row.message}")
        job.stage(WRITE).share = 1.0

    def _source(self, wish: Wish, outputs: tuple[NamedOutput, ...]) -> ReportSource:
        # What the visitor chose has rows of its own, and the server's flags are not about faces.
        told = {"face_model", *flag_names([AppOptions])}
        return ReportSource.of(
            "app.py", self._options, outputs, photo_files=OVERLAY_FILES, told=told
        )


class _ShownReports(ReportWriter):
    """Shows a report's parts to the visitor as soon as they are there, and then writes it."""

    def __init__(self, face_model: FaceModel, source: ReportSource, job: Job) -> None:
        super().__init__(face_model, source)
        self._job = job

    def write(
        self, folder: Path, face: FaceResult, row: SummaryRow, photo: DrawnPhoto, photo_stem: str
    ) -> None:
        """As `ReportWriter.write`."""
        shown = self.show(face, row, photo, photo_stem, self.texture_png(folder, face))
        parts = json.dumps({"subtitle": shown.subtitle, "body": shown.body})
        self._job.view = f'{parts[:-1]},"data":{shown.data}}}'.encode()
        write_text(folder / f"{face.stem}{REPORT_ENDING}", shown.page)


def offered_face_models(options: FaceModelOptions) -> tuple[str, ...]:
    """The face models that a visitor may choose: those whose files are there.

    Args:
        options: of the command; the model that they name comes first.
    """
    folder, name = Path(options.bfm_folder), options.face_model
    bfm09 = folder / options.bfm_model
    there: list[str] = []
    if bfm09.is_file() or not missing_sources(bfm09.parent):
        there.append("bfm09")
    if find_ict(folder) is not None or (folder / CONVERTED).is_file():
        there.append(ict_file.NAME)
    if find_flame(folder) is not None:
        there.append("flame")
    there += [release.name for release in RELEASES if (folder / release.file).is_file()]
    if name == "auto":
        name = "bfm09" if "bfm09" in there else "open"
    return tuple(dict.fromkeys([name, "open", "open@0", "open@2", *there]))


def _most_steps(wish: Wish) -> dict[str, int]:
    """Steps that each stage takes at most."""
    levels = PRESETS[_preset(wish.preset)]
    photo = {f"photo_{level.stride}": level.rules.most for level in levels}
    return {"landmarks": LANDMARK_RULES.most, "light": LIGHT_RULES.most, **photo}


def _preset(name: str) -> Preset:
    """A preset of the fitter; the server lets no others through."""
    for preset in PRESETS:
        if preset == name:
            return preset
    raise ValueError(f"{name} is no preset")


def _standard(fitter: FaceFitter) -> np.ndarray:
    return fitter.face_model.alignment_points.cpu().numpy()


def _box(face: Face, shape: tuple[int, ...]) -> dict[str, float]:
    """Where a face is, in shares of the photo's width and height."""
    left, top, right, bottom = face.box
    height, width = shape[:2]
    return {
        "left": round(left / width, 4),
        "top": round(top / height, 4),
        "right": round(right / width, 4),
        "bottom": round(bottom / height, 4),
    }
