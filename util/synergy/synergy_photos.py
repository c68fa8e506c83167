"""Photos through a SynergyNet: faces found, predicted, drawn and written, with a summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data.detection import create_detector
from data.images import find_folder, read_image, reduce_image, write_image
from data.landmarks import five_from_68
from data.photo_folder import FailedFace, Photo, PhotoFace, PhotoFolder
from data.square_crop import SquareCrop
from models.camera import Camera
from models.face_model import FaceModel
from models.landmarks import from_index, normalised_error
from models.synergy.pose import MICROMETRES_PER_DM
from options.data_options import DetectionOptions
from options.face_options import FaceModelOptions
from options.flags import ParsedOptions
from options.output_options import NONE, OutputOptions
from options.record import write_options
from options.synergy_options import SynergyTestOptions
from util.errors import InputError
from util.mesh_files.textured_mesh import read_map, textured_part
from util.photos.photo_results import mean_face_landmarks
from util.photos.photo_run import announce_points, in_words, report_network
from util.photos.pixel_face import GivenMap
from util.photos.results import ResultWriter, SummaryRow
from util.reports.face_report import PICTURE_STEPS, DrawnPhoto, ReportSource, ReportWriter
from util.reports.report_parts import REPORT_ENDING
from util.synergy.synergy_faces import (
    SynergyResult,
    draw_axes,
    draw_landmarks,
    draw_meshes,
    predict_faces,
)
from util.synergy.synergy_reconstruction import SynergyReconstruction
from util.synergy.synergy_trained import TrainedSynergy, load_trained_synergy

_WHOLE_PHOTO_PX = 10**6
"""Longer than any photo's side: previews are kept as they are."""
_PICTURES = {"overlay": "whole photo", "landmarks": "landmarks", "pose": "axes of the heads"}
"""`<photo>_<name>.jpg`, and what it shows."""


def reconstruct_photos(options: ParsedOptions) -> None:
    """All photos of `--img_folder`, into a folder of results."""
    test, output_options = options[SynergyTestOptions], options[OutputOptions]
    # --save_mesh none asks for no meshes: then what shows one unasked is left out too.
    wanted = test.save_mesh != "none"
    if not (wanted or options.given("save")):
        output_options = replace(output_options, save=(NONE,))
    if not (wanted or options.given("report")):
        test = replace(test, report=False)
    with_outputs = output_options.save != (NONE,)
    trained = load_trained_synergy(options)
    dense = wanted or test.draw or test.report or with_outputs
    if dense:
        trained.need_triangles()
    reconstruction = SynergyReconstruction(
        trained.network.face, options[FaceModelOptions], output_options, dense=dense
    )
    folder, everyone = find_folder(test.img_folder, Path("datasets")), test.faces == "all"
    photos = find_photos(trained, folder, options[DetectionOptions], all_faces=everyone)
    given = Path(test.res_folder) if test.res_folder else None
    results = given or trained.results_folder(photos.root, photos.name)
    if test.crop == "landmarks":
        announce_points(photos, options[DetectionOptions], all_faces=everyone)
    reports = None
    if test.report:
        files = {f"_{name}.jpg": what for name, what in _PICTURES.items()} if test.draw else {}
        reports = report_writer(trained, reconstruction, "test.py", options, files)
    with ResultWriter(results, reconstruction.outputs, options=output_options) as writer:
        write = FaceWriter(trained, writer, test, reconstruction, reports)
        write_options(options, results, "test")
        # One after the other: drawing and writing take longer than the network.
        for photo in tqdm(_photos(photos, test), total=len(photos), unit="photo"):
            failures = list(photo.failures)
            try:
                if photo.preview is not None:
                    crops = face_crops(photo, trained.network.meaning.image_px)
                    write(photo, predict_faces(trained, photo.preview, crops, dense=dense))
            except InputError as error:
                failures.append(FailedFace(photo.path, str(error)))
            for failed in failures:
                row = SummaryRow(
                    str(failed.path), "failed", face=failed.number, message=failed.problem
                )
                writer.add_failure(row)
                if len(photos) > 1:
                    tqdm.write(in_words(row))
    report_network(writer, results)


def report_writer(
    trained: TrainedSynergy,
    reconstruction: SynergyReconstruction,
    command: str,
    options: ParsedOptions,
    photo_files: Mapping[str, str],
) -> ReportWriter:
    """Writes the reports of a run.

    Args:
        trained: the network.
        reconstruction: of its faces, which have meshes.
        command: that runs.
        options: of the run.
        photo_files: endings of pictures of the whole photo beside the reports, and what they show.
    """
    assert reconstruction.face_model is not None
    source = ReportSource.of(
        command,
        options,
        reconstruction.outputs,
        photo_files=photo_files,
        network=trained.said,
        told=("weights",),
    )
    return ReportWriter(reconstruction.face_model, source)


def find_photos(
    trained: TrainedSynergy, path: Path, detection: DetectionOptions, *, all_faces: bool
) -> PhotoFolder:
    """Photos, kept whole, with the landmarks of their faces.

    Args:
        trained: whose mean face faces are aligned with, for their landmarks.
        path: folder or photo.
        detection: of the faces.
        all_faces: take every face, not only the largest.
    """
    face = trained.network.face
    mean = face.landmark_mean.reshape(-1, 3)[:68].double().cpu().numpy() / MICROMETRES_PER_DM
    return PhotoFolder(
        path,
        five_from_68(mean),
        create_detector(detection),
        all_faces=all_faces,
        preview_px=_WHOLE_PHOTO_PX,
    )


def _photos(photos: PhotoFolder, test: SynergyTestOptions) -> Iterator[Photo]:
    """The photos with their faces; without any where the whole photo is the crop."""
    if test.crop == "landmarks":
        return photos.ahead(depth=4)  # of which each is held whole
    return whole_photos(photos, range(len(photos)))


def whole_photos(photos: PhotoFolder, numbers: Iterable[int]) -> Iterator[Photo]:
    """Some photos of a folder, in which no face is looked for."""
    for number in numbers:
        path, stem = photos.paths[number], photos.stems[number]
        try:
            yield Photo(path, stem, preview=read_image(path))
        except InputError as error:
            yield Photo(path, stem, failures=(FailedFace(path, str(error)),))


def photo_landmarks(photo: Photo) -> list[np.ndarray]:
    """Landmarks (68, 2) of a photo's faces, pixel indices of the photo."""
    found = []
    for face in photo.faces:
        matrix = face.face.alignment.inverse_matrix
        found.append((face.landmarks + 0.5) @ matrix[:, :2].T + matrix[:, 2] - 0.5)
    return found


def face_crops(photo: Photo, crop_px: int) -> list[SquareCrop]:
    """The crops of a photo's faces; the whole photo where none were looked for."""
    assert photo.preview is not None
    size = (photo.preview.shape[1], photo.preview.shape[0])
    if not photo.faces:
        return [SquareCrop.whole(size, crop_px)]
    return [SquareCrop.about_landmarks(points, size, crop_px) for points in photo_landmarks(photo)]


class FaceWriter:
    """Hands the faces of photos to the writer of results; writes pictures of whole photos."""

    def __init__(
        self,
        trained: TrainedSynergy,
        writer: ResultWriter,
        test: SynergyTestOptions,
        reconstruction: SynergyReconstruction,
        reports: ReportWriter | None = None,
    ) -> None:
        """Prepare what all photos share.

        Args:
            trained: the network.
            writer: of the results.
            test: what is written.
            reconstruction: makes what is written of each face.
            reports: writes the pages of the faces; None writes none.

        Raises:
            InputError: textures are wanted of a face model without coordinates.
        """
        self._writer, self._test = writer, test
        self._reconstruction, self._reports = reconstruction, reports
        self._part = None
        if test.save_mesh == "textured":
            self._part = textured_part(trained.network.face, trained.mm_folder)

    def __call__(self, photo: Photo, faces: Sequence[SynergyResult]) -> None:
        """Queue the files of one photo, which is there, and its faces."""
        image = photo.preview
        assert image is not None
        drawn = self._draw(photo, image, faces)
        given = photo_landmarks(photo)
        mean_errors = mean_face_errors(self._reconstruction.face_model, photo.faces)
        for k, face in enumerate(faces):
            # Without faces that were looked for, the whole photo is the only one.
            stem = photo.faces[k].stem if photo.faces else photo.stem
            given_map, message = self._given_map(stem)
            inner, jaw = _errors(face, given[k] if given else None)
            pitch, yaw, roll = face.own_angles_deg.tolist()
            row = SummaryRow(
                image=str(photo.path),
                status="ok",
                face=photo.faces[k].number if photo.faces else k + 1,
                files=stem,
                nme_inner=inner,
                nme_jaw=jaw,
                nme_inner_mean_face=mean_errors[k] if given else None,
                pitch_deg=pitch,
                yaw_deg=yaw,
                roll_deg=roll,
                message=message,
            ).judged()
            result = self._reconstruction(
                face,
                image,
                photo.path,
                row.face or 1,
                stem,
                given=given[k] if given else None,
                with_mesh=self._test.save_mesh != "none" and not message,
                given_map=given_map,
            )
            number = self._writer.add(result, row)
            if self._reports is not None and drawn is not None:
                write = partial(
                    self._reports.write, face=result, row=row, photo=drawn, photo_stem=photo.stem
                )
                self._writer.add_report(f"{stem}{REPORT_ENDING}", number, write)

    def _draw(
        self, photo: Photo, image: np.ndarray, faces: Sequence[SynergyResult]
    ) -> DrawnPhoto | None:
        """Write the pictures of a photo; gives what its reports show, if there are some."""
        view, draw = self._reconstruction.view, self._test.draw
        if view is None or not (draw or self._reports):
            return None
        overlay = draw_meshes(image, faces, view)
        if draw:
            for name, picture in (
                ("landmarks", draw_landmarks(image, faces)),
                ("pose", draw_axes(image, faces)),
                ("overlay", overlay),
            ):
                write_image(self._writer.folder / f"{photo.stem}_{name}.jpg", picture)
        # Whole photos would wait in memory until their reports are written.
        small, small_overlay = (
            reduce_image(each, PICTURE_STEPS[0][0]) for each in (image, overlay)
        )
        return DrawnPhoto(small, lambda: small_overlay)

    def _given_map(self, stem: str) -> tuple[GivenMap | None, str]:
        """The texture that `--save_mesh textured` wants of a face, or what is missing."""
        if self._part is None:
            return None, ""
        try:
            names = (f"{stem}_fake_B.png", f"{stem}.png", f"{stem}.jpg")
            return GivenMap(self._part, read_map(Path(self._test.uv_folder), names)), ""
        except InputError as error:
            return None, str(error)


def _errors(
    face: SynergyResult, given: np.ndarray | None
) -> tuple[float, float] | tuple[None, None]:
    """Of the inner and the jaw landmarks from detected ones, in outer-eye distances of these."""
    if given is None or len(face.landmarks) != len(given):
        return None, None
    predicted = torch.from_numpy(face.landmarks[None, :, :2] - 0.5)
    inner, jaw = normalised_error(predicted, torch.from_numpy(given)[None].to(predicted))
    return float(inner), float(jaw)


def mean_face_errors(
    face_model: FaceModel | None, faces: Sequence[PhotoFace]
) -> list[float] | list[None]:
    """Of the inner landmarks of the mean face in the pose of five points: the yardstick.

    Args:
        face_model: whose mean; None where there are no meshes, and so no yardstick.
        faces: with their crops, which the camera of the R-Net sees.
    """
    if face_model is None or not faces:
        return [None] * len(faces)
    landmarks = torch.from_numpy(np.stack([face.landmarks for face in faces])).float()
    given = from_index(landmarks, "centre")
    mean = mean_face_landmarks(face_model, Camera.rnet(), given)
    return normalised_error(mean, given)[0].tolist()
