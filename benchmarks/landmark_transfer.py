"""How far landmarks that are laid over a face model lie from its own.

python -m benchmarks.landmark_transfer --bfm_folder BFM

ICT-FaceKit (the user's, see BFM/README.md) has its own 68 landmarks. They are found again in the
two ways in which models without any get theirs: by the named points of the Basel Face Models, and
by eyeballs and nose tip, as FLAME without its landmark file.
"""

from __future__ import annotations

import sys

import numpy as np

from models.face_model import FaceModelData
from options import parse_command
from options.face_options import FaceModelOptions
from util.assets import OPEN_FACE_MODEL, read_chosen_face_model
from util.command import run_command
from util.model_files.bfm_h5_file import NAMED_POINTS
from util.model_files.face_model_file import read_face_model
from util.model_files.face_transfer import (
    lay_by_eyes_and_nose,
    mean_landmarks,
    transfer_landmarks,
)
from util.point_fits import fit_sphere
from util.surface import nearest_on_surface

PARTS = {
    "inner 51": slice(17, 68),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
    "jaw": slice(0, 17),
}


def found_again(data: FaceModelData, donor: FaceModelData) -> dict[str, np.ndarray]:
    """Landmarks (68, 3) in both ways."""
    vertices, own = data.mean_shape.astype(np.float64), mean_landmarks(data)
    eyeballs = data.regions["eyeballs"]
    skin = data.triangles[~eyeballs[data.triangles].any(axis=1)]
    known = {numbers: own[list(numbers)].mean(axis=0) for numbers in NAMED_POINTS}
    named = transfer_landmarks(donor, vertices, skin, known)
    centres = [fit_sphere(vertices[eyeballs & (s * vertices[:, 0] > 0)]).centre for s in (-1, 1)]
    laid = lay_by_eyes_and_nose(donor, vertices, skin, np.stack(centres))
    return {
        f"{len(known)} named points": named.mix(vertices),
        "eyeballs and nose": nearest_on_surface(laid, vertices, skin).mix(vertices),
    }


def main() -> None:
    """Print the mean distances in millimetres."""
    options = parse_command(
        [FaceModelOptions], ["--face_model", "ict", *sys.argv[1:]], __doc__ or ""
    )
    data, message = read_chosen_face_model(options[FaceModelOptions])
    print(f"{data.card}, {message}; mean distance in mm")
    print(f"{'':20}" + "".join(f"{name:>10}" for name in PARTS))
    own = mean_landmarks(data)
    for way, landmarks in found_again(data, read_face_model(OPEN_FACE_MODEL)).items():
        apart = 100 * np.linalg.norm(landmarks - own, axis=1)
        print(f"{way:20}" + "".join(f"{apart[part].mean():10.2f}" for part in PARTS.values()))


if __name__ == "__main__":
    run_command(main)
