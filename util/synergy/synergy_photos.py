"""Photos through a SynergyNet: faces found, predicted, drawn and written, with a summary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.detection import create_detector
from data.images import find_folder, read_image, write_image
from data.landmarks import five_from_68
from data.photo_folder import FailedFace, Photo, PhotoFolder
from data.square_crop import SquareCrop
from models.landmarks import INNER
from models.pixel_view import PixelView
from models.synergy.pose import MICROMETRES_PER_DM
from options.data_options import DetectionOptions
from options.face_options import FaceModelOptions
from options.flags import ParsedOptions
from options.output_options import OutputOptions
from options.record import write_options
from options.synergy_options import SynergyTestOptions
from util.atomic import write_text
from util.errors import InputError
from util.mesh_files.mesh_file import write_obj
from util.mesh_files.textured_mesh import read_map, textured_part, write_textured_obj
from util.photos.face_result import FaceResult
from util.photos.photo_run import announce_points, in_words
from util.photos.results import ResultWriter, SummaryRow, results_folder
from util.synergy.synergy_faces import (
    SynergyResult,
    draw_axes,
    draw_landmarks,
    draw_meshes,
    predict_faces,
    y_up,
)
from util.synergy.synergy_reconstruction import SynergyReconstruction, check_outputs
from util.synergy.synergy_trained import TrainedSynergy, load_trained_synergy

_WHOLE_PHOTO_PX = 10**6
"""Longer than any photo's side: previews are kept as they are."""


def reconstruct_photos(options: ParsedOptions) -> None:
    """All photos of `--img_folder`, into a folder of results."""
    test, output_options = options[SynergyTestOptions], options[OutputOptions]
    # --save_mesh none asks for no meshes: then the one that comes unasked is left out too.
    with_outputs = check_outputs(output_options) and (
        test.save_mesh != "none" or options.given("save")
    )
    trained = load_trained_synergy(options)
    if test.save_mesh != "none" or test.draw or with_outputs:
        trained.need_triangles()
    reconstruction = None
    if with_outputs:
        reconstruction = SynergyReconstruction(
            trained.network.face, options[FaceModelOptions], output_options
        )
    folder, everyone = find_folder(test.img_folder, Path("datasets")), test.faces == "all"
    photos = find_photos(trained, folder, options[DetectionOptions], all_faces=everyone)
    if test.res_folder:
        results = Path(test.res_folder)
    else:
        stem = trained.path.name.partition(".")[0].removeprefix("epoch_")
        results = results_folder(trained.path.parent, photos.root, photos.name, stem)
    if test.crop == "landmarks":
        announce_points(photos, options[DetectionOptions], all_faces=everyone)
    write = FaceWriter(trained, results, test, reconstruction)
    outputs = () if reconstruction is None else reconstruction.outputs
    with ResultWriter(results, outputs) as writer:
        write_options(options, results, "test")
        # One after the other: drawing and writing take longer than the network.
        for photo in tqdm(_photos(photos, test), total=len(photos), unit="photo"):
            failures = list(photo.failures)
            try:
                for row, face in _predict_and_write(trained, photo, write):
                    writer.rows.append(row)
                    if face is not None:
                        writer.add_outputs(face, len(writer.rows) - 1)
            except InputError as error:
                failures.append(FailedFace(photo.path, str(error)))
            for failed in failures:
                row = SummaryRow(
                    str(failed.path), "failed", face=failed.number, message=failed.problem
                )
                writer.add_failure(row)
                if len(photos) > 1:
                    tqdm.write(in_words(row))
    done, total = writer.photos
    if not done and total == 1:
        raise InputError("; ".join(map(in_words, writer.rows)))
    if not done:
        raise InputError(
            f"none of {total} photos gave a face; {results / 'summary.csv'} names the reasons"
        )
    faces = sum(row.status == "ok" for row in writer.rows)
    print(f"{done} of {total} photos reconstructed ({faces} faces) in {results}")


def _predict_and_write(
    trained: TrainedSynergy, photo: Photo, write: FaceWriter
) -> list[tuple[SummaryRow, FaceResult | None]]:
    """One photo's faces; none where none was found."""
    if photo.preview is None:
        return []
    crops = face_crops(photo, trained.network.meaning.image_px)
    faces = predict_faces(trained, photo.preview, crops, dense=write.wants_meshes)
    return write(photo, photo.preview, faces)


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
    """Writes the faces of photos: `<stem>.json`, `.obj`, and the photo's pictures."""

    def __init__(
        self,
        trained: TrainedSynergy,
        results: Path,
        test: SynergyTestOptions,
        reconstruction: SynergyReconstruction | None = None,
    ) -> None:
        """Prepare what all photos share.

        Args:
            trained: the network.
            results: folder that is written into.
            test: what is written.
            reconstruction: makes what the outputs of the run are fed with; None without any.

        Raises:
            InputError: textures are wanted of a face model without coordinates.
        """
        face = trained.network.face
        self._results, self._test = results, test
        self._triangles = face.triangles.cpu().numpy()
        self._reconstruction = reconstruction
        self.wants_meshes = test.save_mesh != "none" or test.draw or reconstruction is not None
        self._view = PixelView(self._triangles, face.vertex_count) if self.wants_meshes else None
        self._part = None
        if test.save_mesh == "textured":
            self._part = textured_part(face, trained.mm_folder)

    def __call__(
        self, photo: Photo, image: np.ndarray, faces: Sequence[SynergyResult]
    ) -> list[tuple[SummaryRow, FaceResult | None]]:
        """Write one photo.

        Returns:
            Its rows of the summary, and what outputs write of each face.
        """
        given = photo_landmarks(photo)
        written = []
        for number, face in enumerate(faces, start=1):
            stem = photo.faces[number - 1].stem if photo.faces else photo.stem
            record = {"photo": photo.path.name, "face": number, **face.record}
            write_text(self._results / f"{stem}.json", json.dumps(record, indent=1) + "\n")
            message = self._write_mesh(stem, image, face)
            pitch, yaw, roll = face.own_angles_deg.tolist()
            row = SummaryRow(
                image=str(photo.path),
                status="ok",
                face=photo.faces[number - 1].number if photo.faces else number,
                files=stem,
                nme_inner=_inner_error(face, given[number - 1]) if given else None,
                pitch_deg=pitch,
                yaw_deg=yaw,
                roll_deg=roll,
                message=message,
            )
            result = None
            if self._reconstruction is not None:
                result = self._reconstruction(face, image, photo.path, number, stem)
            written.append((row, result))
        if self._test.draw and self._view is not None:
            for name, picture in (
                ("landmarks", draw_landmarks(image, faces)),
                ("pose", draw_axes(image, faces)),
                ("overlay", draw_meshes(image, faces, self._view)),
            ):
                write_image(self._results / f"{photo.stem}_{name}.jpg", picture)
        return written

    def _write_mesh(self, stem: str, image: np.ndarray, face: SynergyResult) -> str:
        """The mesh of one face; says what is missing."""
        path = self._results / f"{stem}.obj"
        if self._test.save_mesh == "none" or self._view is None:
            return ""
        vertices = y_up(face.vertices, image.shape[0])
        if self._part is None:
            colours, _ = self._view.colours_from(image, face.vertices)
            write_obj(path, vertices, self._triangles, colours)
            return ""
        try:
            names = (f"{stem}_fake_B.png", f"{stem}.png", f"{stem}.jpg")
            texture = read_map(Path(self._test.uv_folder), names)
        except InputError as error:
            return str(error)
        part = self._part
        parts = part.triangles, part.uv, part.uv_triangles
        write_textured_obj(path, vertices[part.vertices], *parts, texture)
        return ""


def _inner_error(face: SynergyResult, given: np.ndarray) -> float | None:
    """Mean distance of the inner landmarks from detected ones, in outer-eye distances of these."""
    if len(face.landmarks) != 68:
        return None
    distances = np.linalg.norm(face.landmarks[:, :2] - 0.5 - given, axis=1)
    return float(distances[INNER].mean() / np.linalg.norm(given[36] - given[45]))
