"""Reconstruct the faces of a folder of photos with a trained R-Net.

python test.py --name my_faces --epoch latest --img_folder my_photos
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from data.detection import DetectionOptions, create_detector
from data.images import find_folder
from data.photo_folder import Photo, PhotoFolder
from models.facerecon_model import FaceReconModel
from models.renderer import Backend, Renderer
from options import ParsedOptions, parse_command, write_options
from options.base_options import BaseOptions, run_folder
from options.record import changed_options
from options.test_options import PublicTestOptions, PublicTrainingOptions, TestOptions
from util.command import run_command
from util.errors import InputError
from util.photo_overlay import lay_over, neck_fading
from util.photo_reconstruction import reconstruct_faces
from util.results import ResultWriter, SummaryRow, earlier_results, results_folder
from util.trained_model import load_reconstruction_model

GROUPS = (
    BaseOptions,
    TestOptions,
    PublicTestOptions,
    PublicTrainingOptions,
    DetectionOptions,
    *FaceReconModel.inference_groups,
)


PREVIEW_PX = 2048
"""Longer side of <stem>_photo.jpg; a photo of many megapixels would take longer than its faces."""

RESULT_FLAGS = ("face_model", "face_region", "jaw_landmarks", "faces", "solve_appearance")
"""By which the results of two runs into one folder differ."""

Item = TypeVar("Item")


def main(argv: Sequence[str] | None = None) -> None:
    """Load the network, reconstruct every photo, write the results and a summary."""
    options = parse_command(GROUPS, argv, __doc__ or "")
    base, test = options[BaseOptions], options[TestOptions]
    model, options = load_reconstruction_model(options)
    photos = find_photos(model, options)
    results = results_folder(run_folder(options), photos.root, photos.name, base.epoch)
    announce(photos, results, options)
    write_options(options, results, "test")
    with ResultWriter(results) as writer:
        reconstruct_folder(model, photos, test, writer)
    report(writer, results)


def find_photos(model: FaceReconModel, options: ParsedOptions) -> PhotoFolder:
    """The photos that `--img_folder` names, aligned for the model's faces."""
    test = options[TestOptions]
    return PhotoFolder(
        find_folder(test.img_folder, Path("datasets")),
        model.face_model.alignment_points.cpu().numpy(),
        create_detector(options[DetectionOptions]),
        all_faces=test.faces == "all",
        with_skin=test.solve_appearance,
        preview_px=PREVIEW_PX if test.photo_overlay else 0,
    )


def announce(photos: PhotoFolder, results: Path, options: ParsedOptions) -> None:
    """Say which photos bring their points, and which earlier results are replaced."""
    named = sum(map(photos.has_points, photos.stems))
    found = f"found by --detector {options[DetectionOptions].detector}"
    if named == len(photos):
        print("All photos bring their points in detections/ or landmarks/")
    elif named == 0:
        print(f"Faces are {found}; no photo has points in detections/ or landmarks/")
    else:
        print(
            f"{named} of {len(photos)} photos bring their points in detections/ or landmarks/; "
            f"the faces of the others are {found}"
        )
    if options[TestOptions].faces == "all" and named:
        print(
            f"--faces all: {named} of {len(photos)} photos keep the one face that their file in "
            "detections/ or landmarks/ names"
        )
    if earlier := earlier_results(results, photos.paths):
        changed = changed_options(options, results, "test", RESULT_FLAGS)
        made = ", ".join(f"--{name} {old} (now {new})" for name, (old, new) in changed.items())
        print(
            f"{results} holds results of {earlier} of these photos"
            f"{f', made with {made}' if made else ''}: they are replaced; move the folder to keep "
            "them"
        )


def reconstruct_folder(
    model: FaceReconModel, photos: PhotoFolder, test: TestOptions, writer: ResultWriter
) -> None:
    """Reconstruct a folder: threads load and write while the network computes."""
    alone, opacity = len(photos) == 1, neck_fading(model.face_model)
    with tqdm(total=len(photos), unit="photo") as bar:
        for group in chunks(photos.ahead(), test.test_batch_size):
            reconstruct_photos(model, group, test, writer, alone=alone, opacity=opacity)
            bar.update(len(group))


def reconstruct_photos(
    model: FaceReconModel,
    photos: Sequence[Photo],
    test: TestOptions,
    writer: ResultWriter,
    *,
    alone: bool = False,
    opacity: np.ndarray | None = None,
) -> None:
    """Reconstruct all faces of some photos and hand them to the writer, photo by photo.

    Args:
        model: in inference mode.
        photos: to reconstruct.
        test: how.
        writer: of the results.
        alone: the folder's only photo; if it gives nothing, `report` says why.
        opacity: (V,) of the mesh over the photos, as `lay_over` takes it.
    """
    batches = chunks((face for photo in photos for face in photo.faces), test.test_batch_size)
    results = (
        result
        for batch in batches
        for result in reconstruct_faces(model, batch, test.solve_appearance)
    )
    # Overlays are drawn on the CPU, in the writer's threads, while the next photos go through the
    # network.
    camera, renderer = model.camera.to("cpu"), Renderer(on_cpu(model.renderer.backend))
    for photo in photos:
        for failed in photo.failures:
            row = SummaryRow(str(failed.path), "failed", face=failed.number, message=failed.problem)
            if photo.faces or not alone:
                tqdm.write(in_words(row))
            writer.add_failure(row)
        done = list(islice(results, len(photo.faces)))
        numbers = [writer.add(face, row) for face, row in done]
        if photo.preview is not None:
            faces = [face for face, _ in done]
            draw = partial(lay_over, photo.preview, faces, camera, renderer, opacity)
            writer.add_overlay(photo.stem, numbers[0], draw)


def on_cpu(backend: Backend) -> Backend:
    """The renderer that was chosen, if it can draw on the CPU."""
    return "auto" if backend == "nvdiffrast" else backend


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive groups of at most `size` items."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def in_words(failed: SummaryRow) -> str:
    """A photo or face that gave nothing, and why."""
    face = "" if failed.face is None else f", face {failed.face}"
    named = failed.message.startswith(failed.image)
    return failed.message if named else f"{failed.image}{face}: {failed.message}"


def report(writer: ResultWriter, results: Path) -> None:
    """Print the outcome; an error if there is no face at all."""
    done, total = writer.photos
    if not done and total == 1:
        raise InputError("; ".join(map(in_words, writer.rows)))
    if not done:
        raise InputError(
            f"none of {total} photos gave a face; {results / 'summary.csv'} names the reasons"
        )
    rows = [row for row in writer.rows if row.status == "ok"]
    error = 100 * np.mean([row.nme_inner for row in rows])  # pyright: ignore
    yardstick = 100 * np.mean([row.nme_inner_mean_face for row in rows])  # pyright: ignore
    faces = "" if len(rows) == done else f" ({len(rows)} faces)"
    print(
        f"{done} of {total} photos reconstructed{faces} in {results}\n"
        f"Inner landmarks against the detected ones: {error:.1f} % of the outer-eye distance "
        f"(mean face in the pose of the five points: {yardstick:.1f} %)"
    )
    if error >= yardstick:
        print(
            "That is no better than the mean face: the network was trained too briefly, or on "
            "faces unlike these. Train longer or on more faces; if the blue points in the pictures "
            "miss the faces, give five points in detections/"
        )


if __name__ == "__main__":
    run_command(main)
