"""Reconstruct the faces of a folder of photos with a trained R-Net.

python test.py --name my_faces --epoch latest --img_folder datasets/examples
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data.detection import DetectionOptions, create_detector
from data.photo_folder import Photo, PhotoFolder
from models import MODELS, create_model
from models.appearance import solve_appearance
from models.batch import FaceBatch
from models.camera import rotate
from models.facerecon_model import FaceReconModel
from models.landmarks import five_from_68, from_index, normalised_error, to_index
from models.pose import pose_from_points
from options import parse_command, write_options
from options.base_options import BaseOptions, DistributedOptions, run_folder
from options.test_options import TestOptions
from util.assets import load_assets
from util.checkpoint import load_checkpoint, resolve_checkpoint
from util.command import run_command
from util.devices import choose_device
from util.errors import InputError
from util.results import FaceResult, ResultWriter, SummaryRow
from util.training_state import adopt_card, load_weights

GROUPS = (
    BaseOptions,
    TestOptions,
    DistributedOptions,
    DetectionOptions,
    *FaceReconModel.inference_groups,
)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the network, reconstruct every photo, write the results and a summary."""
    options = parse_command(GROUPS, argv, __doc__ or "")
    base, test = options[BaseOptions], options[TestOptions]
    if not issubclass(MODELS.get(base.model, object), FaceReconModel):
        raise InputError(f"--model {base.model} does not reconstruct faces; take facerecon")
    device = choose_device(base.gpu_ids, base.num_cpu_threads)
    path = resolve_checkpoint(run_folder(options), base.epoch)
    checkpoint = load_checkpoint(path)
    options = adopt_card(options, checkpoint, path)

    assets = load_assets(options)
    model = create_model(base.model, options, assets, device)
    assert isinstance(model, FaceReconModel)
    load_weights(checkpoint, path, model, options)
    model.eval()

    photos = PhotoFolder(
        find_folder(test.img_folder),
        model.face_model.alignment_points.cpu().numpy(),
        create_detector(options[DetectionOptions]),
        with_skin=test.solve_appearance,
    )
    results = run_folder(options) / "results" / photos.name / f"epoch_{base.epoch}_000000"
    write_options(options, results, "test")
    with ResultWriter(results) as writer, tqdm(total=len(photos), unit="photo") as bar:
        for batch in chunks(photos.ahead(), test.test_batch_size):
            reconstruct_batch(model, batch, writer, test.solve_appearance)
            bar.update(len(batch))
    report(writer, results)


def find_folder(img_folder: str) -> Path:
    """The photos that `--img_folder` means: itself, or a folder of that name in datasets/."""
    for path in (Path(img_folder), Path("datasets") / img_folder):
        if path.exists():
            return path
    raise InputError(
        f"--img_folder {img_folder} does not exist, neither does datasets/{img_folder}"
    )


def reconstruct_batch(
    model: FaceReconModel, photos: Sequence[Photo], writer: ResultWriter, appearance: bool
) -> None:
    """Reconstruct the photos that show a face; record the others."""
    for photo in photos:
        if photo.face is None:
            tqdm.write(f"{photo.path}: {photo.problem}")
            writer.add_failure(SummaryRow(str(photo.path), "failed", message=photo.problem))
    usable = [photo for photo in photos if photo.face is not None]
    if not usable:
        return
    model.set_input(to_batch(usable, model))
    with torch.inference_mode():
        model.forward_inference()
        if appearance:
            skin = np.stack([photo.skin for photo in usable])[:, None]  # pyright: ignore
            solved = solve_appearance(
                model.face_model,
                model.camera,
                model.reconstruction,  # pyright: ignore[reportArgumentType]
                model.batch.images,
                torch.from_numpy(skin).to(model.device) / 255.0,
            )
            model.show(solved)
        for face, row in face_results(model, usable):
            writer.add(face, row)


def to_batch(photos: Sequence[Photo], model: FaceReconModel) -> FaceBatch:
    """Stack aligned photos, their landmarks in the run's origin."""
    images = np.stack([photo.face.image for photo in photos])  # pyright: ignore
    points = np.stack([photo.landmarks for photo in photos]).astype(np.float32)  # pyright: ignore
    return FaceBatch(
        images=torch.from_numpy(images).permute(0, 3, 1, 2) / 255.0,
        paths=tuple(str(photo.path) for photo in photos),
        landmarks_px=torch.from_numpy(from_index(points, "centre")),
    )


def face_results(
    model: FaceReconModel, photos: Sequence[Photo]
) -> Iterator[tuple[FaceResult, SummaryRow]]:
    """Arrays to write and the summary of each face of the current batch."""
    reconstruction = model.reconstruction
    assert reconstruction is not None
    posed = reconstruction.posed
    pictures = (model.visuals().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    vertices = model.camera.to_object(posed.vertices_camera).cpu().numpy()
    colours = posed.colours.cpu().numpy()
    given = model.batch.landmarks_px
    assert given is not None
    # The given landmarks of photos are exact (centre); the network's own origin may be "index".
    predicted = to_index(posed.landmarks_px, model.landmark_origin)
    inner, jaw = normalised_error(predicted, to_index(given, "centre"))
    mean_inner, _ = normalised_error(mean_face_landmarks(model, given), given)
    triangles = model.face_model.triangles.cpu().numpy()
    angles = reconstruction.coefficients.angles_rad.cpu()
    for k, photo in enumerate(photos):
        pitch, yaw, roll = (math.degrees(angle) for angle in angles[k])
        face = FaceResult(
            stem=photo.stem,
            picture=pictures[k],
            vertices=vertices[k],
            triangles=triangles,
            colours=colours[k],
            coefficients=reconstruction.coefficients.item(k),
            landmarks_index=predicted[k].cpu().numpy(),
        )
        yield (
            face,
            SummaryRow(
                image=str(photo.path),
                status="ok",
                nme_inner=float(inner[k]),
                nme_jaw=float(jaw[k]),
                nme_inner_mean_face=float(mean_inner[k]),
                pitch_deg=pitch,
                yaw_deg=yaw,
                roll_deg=roll,
            ),
        )


def mean_face_landmarks(model: FaceReconModel, given: torch.Tensor) -> torch.Tensor:
    """Landmarks (B, 68, 2) of the mean face in the pose of five given points: the yardstick."""
    face_model = model.face_model
    five = five_from_68(given)
    rotation, translation = pose_from_points(five, face_model.alignment_points, model.camera)
    mean = face_model.landmarks(face_model.mean_shape.reshape(1, -1, 3)).expand(len(given), -1, -1)
    posed = rotate(mean, rotation) + translation[:, None]
    return model.camera.project(model.camera.from_object(posed))


def chunks(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    """Consecutive groups of at most `size` photos."""
    iterator = iter(photos)
    while group := list(islice(iterator, size)):
        yield group


def report(writer: ResultWriter, results: Path) -> None:
    """Print the outcome; an error if there is no face at all."""
    done, total = writer.succeeded, len(writer.rows)
    if not done:
        raise InputError(
            f"none of {total} photos gave a face; {results / 'summary.csv'} names the reasons"
        )
    rows = [row for row in writer.rows if row.status == "ok"]
    error = 100 * np.mean([row.nme_inner for row in rows])  # pyright: ignore
    yardstick = 100 * np.mean([row.nme_inner_mean_face for row in rows])  # pyright: ignore
    print(
        f"{done} of {total} photos reconstructed in {results}\n"
        f"Inner landmarks against the detected ones: {error:.1f} % of the outer-eye distance "
        f"(mean face in the pose of the five points: {yardstick:.1f} %)"
    )


if __name__ == "__main__":
    run_command(main)
