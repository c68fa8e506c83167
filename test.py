"""Reconstruct the faces of a folder of photos with a trained R-Net.

python test.py --name my_faces --epoch latest --img_folder my_photos
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.detection import DetectionOptions, create_detector
from data.images import find_folder
from data.photo_folder import FailedPhoto, Photo, PhotoFolder
from models import MODELS, create_model
from models.facerecon_model import FaceReconModel
from options import parse_command, write_options
from options.base_options import BaseOptions, DisplayOptions, DistributedOptions, run_folder
from options.test_options import TestOptions
from util.assets import load_assets
from util.checkpoint import load_checkpoint, resolve_checkpoint
from util.command import run_command
from util.devices import choose_device
from util.errors import InputError
from util.photo_reconstruction import reconstruct_photos
from util.results import ResultWriter, SummaryRow, results_folder
from util.training_state import adopt_card, load_weights

GROUPS = (
    BaseOptions,
    TestOptions,
    DisplayOptions,
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
        find_folder(test.img_folder, Path("datasets")),
        model.face_model.alignment_points.cpu().numpy(),
        create_detector(options[DetectionOptions]),
        with_skin=test.solve_appearance,
    )
    results = results_folder(run_folder(options), photos.root, photos.name, base.epoch)
    write_options(options, results, "test")
    with ResultWriter(results) as writer, tqdm(total=len(photos), unit="photo") as bar:
        for group in chunks(photos.ahead(), test.test_batch_size):
            for failed in (photo for photo in group if isinstance(photo, FailedPhoto)):
                named = failed.problem.startswith(str(failed.path))
                tqdm.write(failed.problem if named else f"{failed.path}: {failed.problem}")
                writer.add_failure(
                    SummaryRow(str(failed.path), status="failed", message=failed.problem)
                )
            if faces := [photo for photo in group if isinstance(photo, Photo)]:
                for face, row in reconstruct_photos(model, faces, test.solve_appearance):
                    writer.add(face, row)
            bar.update(len(group))
    report(writer, results)


def chunks(photos: Iterable[Photo | FailedPhoto], size: int) -> Iterator[list[Photo | FailedPhoto]]:
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
