"""AFLW2000-3D: landmarks and head poses of a method, beside those of earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.aflw2000 import Aflw2000, read_aflw2000
from models.landmark_scores import yaw_bins
from options.base_options import BaseOptions
from options.evaluate_options import AFLW2000_ROOT, EvaluateOptions, results_folder
from options.flags import ParsedOptions
from util.errors import InputError
from util.evaluation.aflw2000_methods import METHODS, FitMethod, Method
from util.evaluation.aflw2000_predictions import Predictions, read_predictions, write_predictions
from util.evaluation.aflw2000_report import (
    POSE_COLUMNS,
    LandmarkRow,
    PoseRow,
    draw_pictures,
    landmark_columns,
    landmark_rows,
    pose_rows,
    write_image_errors,
)
from util.evaluation.kept_results import KeptResults
from util.evaluation.method_names import method_folder, method_name
from util.evaluation.tables import check_table, write_tables
from util.evaluation.what_was_used import what_was_used

EXPLANATION = """\
NME: mean distance of the 68 points in the photo, in percent of
  box        sqrt(w h) of the box of the labels compared with, as in published tables
  outer_eye  the distance of the outer eye corners of the original labels, in 3D
balanced and std: mean and standard deviation of the three bins' means; all: mean over all images"""

_POSE = """\
Head pose, mean absolute error in degrees over {kept} images; {excluded} with an angle beyond 99 \
degrees are left out, as is the custom
{table}
yaw formula public: as SynergyNet's code takes it from the rotation matrix, which is exact only \
without roll
"""


def evaluate_aflw2000(options: ParsedOptions) -> None:
    """Score one method on AFLW2000-3D; print and write the tables with all earlier ones."""
    chosen = options[EvaluateOptions]
    data = read_aflw2000(Path(chosen.benchmark_root or AFLW2000_ROOT))
    out = results_folder(options)
    name = method_name(options)
    for table, kind in (("landmarks", LandmarkRow), ("pose", PoseRow)):
        check_table(out / f"{table}.csv", kind, [name], data.fingerprint)
    if chosen.predictions:
        write_all(read_predictions(Path(chosen.predictions), name, data), data, options)
        return
    method = METHODS[options[BaseOptions].model](options)
    key = [data.fingerprint, what_was_used(options, method.card)]
    with KeptResults(out, name, key) as kept:
        at_once = 1 if isinstance(method, FitMethod) else chosen.eval_batch_size
        write_all(predict_all(method, data, at_once, name, kept), data, options)


def write_all(predictions: Predictions, data: Aflw2000, options: ParsedOptions) -> None:
    """Print and write the tables, the errors of each image and the pictures."""
    chosen, out = options[EvaluateOptions], results_folder(options)
    if rows := landmark_rows(data, predictions):
        counts = np.bincount(yaw_bins(data.yaw_deg), minlength=3).tolist()
        table = write_tables(out / "landmarks", rows, LandmarkRow, landmark_columns(counts))
        print(f"AFLW2000-3D, {len(data)} images\n{table}\n{EXPLANATION}\n")
    if rows := pose_rows(data, predictions):
        table = write_tables(out / "pose", rows, PoseRow, POSE_COLUMNS)
        print(_POSE.format(kept=len(data.kept), excluded=data.excluded, table=table))
    if data.angles_deg is None:
        print("The benchmark's two files of angles are not there: no pose error")
    folder = method_folder(out, predictions.method)
    write_image_errors(folder / "images.csv", data, predictions)
    if chosen.save_predictions and not chosen.predictions:
        write_predictions(folder / "predictions.npz", predictions, data)
    if chosen.pictures:
        draw_pictures(folder, data, predictions)
    print(f"Tables in {out}, errors of each image and pictures in {folder}")


def predict_all(
    method: Method, data: Aflw2000, at_once: int, name: str, kept: KeptResults
) -> Predictions:
    """What a method says about every image.

    Args:
        method: that predicts.
        data: the benchmark.
        at_once: images that it is asked about together.
        name: of the method.
        kept: keeps what it said.

    Raises:
        InputError: landmarks are not finite.
    """
    parts = []
    with tqdm(total=len(data), unit="image") as bar:
        for first in range(0, len(data), at_once):
            numbers = range(first, min(first + at_once, len(data)))
            ask = partial(_asked, method, data, numbers)
            parts.append(Predictions(name, **kept.found_or_made(ask, *map(str, numbers))))
            bar.update(len(numbers))
    landmarks = np.concatenate([part.landmarks for part in parts])
    if (bad := np.flatnonzero(~np.isfinite(landmarks).all(axis=(1, 2)))).size:
        raise InputError(
            f"the model's landmarks of {data.images[bad[0]]} are not finite; take another --epoch"
        )
    return Predictions(
        name,
        landmarks,
        np.concatenate([part.angles_deg for part in parts if part.angles_deg is not None]),
        np.concatenate([p.public_angles_deg for p in parts if p.public_angles_deg is not None]),
    )


def _asked(method: Method, data: Aflw2000, numbers: Sequence[int]) -> dict[str, np.ndarray]:
    said = asdict(method.predict(data, numbers))
    return {key: said[key] for key in said if key != "method" and said[key] is not None}
