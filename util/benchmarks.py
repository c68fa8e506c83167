"""Benchmarks by name: what `evaluate.py --benchmark` chooses from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.aflw2000 import Aflw2000, read_aflw2000
from models.landmark_scores import yaw_bins
from options.base_options import BaseOptions
from options.evaluate_options import EvaluateOptions
from options.flags import ParsedOptions
from util.benchmark_methods import METHODS, Method
from util.benchmark_predictions import Predictions, read_predictions, write_predictions
from util.benchmark_report import (
    LandmarkRow,
    PoseRow,
    draw_pictures,
    landmark_rows,
    landmark_table,
    merge_table,
    pose_rows,
    pose_table,
    write_image_errors,
)
from util.errors import InputError
from util.synergy_trained import SynergyModelOptions

EXPLANATION = """\
NME: mean distance of the 68 points in the photo, in percent of
  box        sqrt(w h) of the box of the labels compared with, as in published tables
  outer_eye  the distance of the outer eye corners of the original labels, in 3D
balanced and std: mean and standard deviation of the three bins' means; all: mean over all images"""


def evaluate_aflw2000(options: ParsedOptions) -> None:
    """Score one method on AFLW2000-3D; print and write the tables with all earlier ones."""
    chosen = options[EvaluateOptions]
    data = read_aflw2000(Path(chosen.benchmark_root))
    out = Path(chosen.out)
    predictions = find_predictions(data, options)
    for path, kind, rows in (
        (out / "landmarks.csv", LandmarkRow, landmark_rows(data, predictions)),
        (out / "pose.csv", PoseRow, pose_rows(data, predictions)),
    ):
        if rows:
            _report(path, merge_table(path, rows, kind), data)
    if data.angles_deg is None:
        print("The benchmark's two files of angles are not there: no pose error")
    folder = out / predictions.method
    write_image_errors(folder / "images.csv", data, predictions)
    if chosen.save_predictions and not chosen.predictions:
        write_predictions(folder / "predictions.npz", predictions, data)
    if chosen.pictures:
        draw_pictures(folder, data, predictions)
    print(f"Tables in {out}, errors of each image and pictures in {folder}")


def find_predictions(data: Aflw2000, options: ParsedOptions) -> Predictions:
    """Those of the file that `--predictions` names, or of the model."""
    chosen = options[EvaluateOptions]
    if chosen.predictions:
        return read_predictions(Path(chosen.predictions), method_name(options), data)
    method = METHODS[options[BaseOptions].model].create(options)
    return predict_all(method, data, chosen.eval_batch_size, method_name(options))


def method_name(options: ParsedOptions) -> str:
    """The name of the method's rows and of its folder.

    Raises:
        InputError: one that no folder can have.
    """
    return _checked_name(options[EvaluateOptions].method_name or _default_name(options))


def predict_all(method: Method, data: Aflw2000, at_once: int, name: str) -> Predictions:
    """What a method says about every image."""
    parts = []
    with tqdm(total=len(data), unit="image") as bar:
        for first in range(0, len(data), at_once):
            numbers = range(first, min(first + at_once, len(data)))
            parts.append(method.predict(data, numbers))
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


def _default_name(options: ParsedOptions) -> str:
    """`mine_20`, `best`, `fit`."""
    base, chosen = options[BaseOptions], options[EvaluateOptions]
    if chosen.predictions:
        return Path(chosen.predictions).stem
    if base.model == "fit":
        return "fit"
    if SynergyModelOptions in options and options[SynergyModelOptions].weights:
        return Path(options[SynergyModelOptions].weights).name.partition(".")[0]
    return f"{base.name}_{base.epoch}"


def _checked_name(name: str) -> str:
    """A method's name, which is that of a folder too."""
    if name and (Path(name).name != name or name in (".", "..")):
        raise InputError(f"--method_name {name} cannot name a folder; leave out / and \\")
    return name


def _report(path: Path, rows: list, data: Aflw2000) -> None:
    if rows and isinstance(rows[0], LandmarkRow):
        counts = np.bincount(yaw_bins(data.yaw_deg), minlength=3).tolist()
        print(f"AFLW2000-3D, {len(data)} images\n{landmark_table(rows, counts)}\n{EXPLANATION}\n")
    else:
        print(
            f"Head pose, mean absolute error in degrees over {len(data.kept)} images; "
            f"{data.excluded} with an angle beyond 99 degrees are left out, as is the custom\n"
            f"{pose_table(rows)}\n"
            "yaw formula public: as SynergyNet's code takes it from the rotation matrix, which is "
            "exact only without roll\n"
        )


BENCHMARKS: Mapping[str, Callable[[ParsedOptions], None]] = {"aflw2000": evaluate_aflw2000}
