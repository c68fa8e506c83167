"""Synthetic faces in the layouts of SynergyNet's data.

    <out>/train_aug_120x120/000000.jpg ...              crops, and coefficients.npz of all
    <out>/3dmm_data/                                    face model, whitening, list, parameters
    <out>/aflw2000_data/AFLW2000-3D_crop/000000.jpg     heads for evaluation, in all directions
    <out>/aflw2000_data/AFLW2000-3D_crop.list
    <out>/aflw2000_data/eval/                           landmarks, boxes and poses of them

The parameters of a crop project its true landmarks exactly (units: `util.synergy.ddfa_files`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.synthetic.coefficients import SyntheticTruth
from data.synthetic.crops import CropKind, CropPhotographer, label_parameters
from data.synthetic.generate import (
    CHUNK,
    Made,
    RenderChunk,
    make_faces,
    open_backgrounds,
    settings_of,
)
from models.face_model import FaceModel
from models.synergy.morphable import SynergyFace, face_arrays
from models.synergy.parameters import DDFA_LAYOUT, Whitening
from models.synergy.pose import head_pose
from options.face_options import SYNERGY_CROP_PX
from options.synthesis_options import SynthesisOptions
from util.atomic import write_text
from util.errors import InputError
from util.synergy.ddfa_files import (
    LIST,
    PARAMETERS,
    TEXTURE_PARAMETERS,
    write_labels,
    write_morphable_folder,
    write_npy,
)

IMAGES, MORPHABLE, BENCHMARK = "train_aug_120x120", "3dmm_data", "aflw2000_data"
LARGEST_ANGLE_DEG = 99.0
"""Heads beyond are left out of pose errors, as is customary on AFLW2000-3D."""
CLIPPED_EVERY = 50
"""Of so many boxes of the benchmark one is cut off at its photo's edge."""


def generate_ddfa(
    options: SynthesisOptions, face_model: FaceModel, *, progress: bool = True
) -> Made:
    """Make crops with labels, and the face model that they count in.

    Raises:
        InputError: as `generate`; or the face model has too few parameters.
    """
    made, truth = _make(options, face_model, Path(options.out) / IMAGES, "training", progress)
    if truth is not None:
        _write_labels(Path(options.out) / MORPHABLE, truth, face_model)
    return made


def generate_benchmark(
    options: SynthesisOptions, face_model: FaceModel, *, progress: bool = True
) -> Made:
    """Make heads for an evaluation, turned up to 90 degrees.

    Raises:
        InputError: as `generate_ddfa`.
    """
    folder = Path(options.out) / BENCHMARK
    images = folder / "AFLW2000-3D_crop"
    made, truth = _make(options, face_model, images, "benchmark", progress)
    if truth is not None:
        write_text(folder / "AFLW2000-3D_crop.list", _lines(truth.names))
        _write_evaluation(folder / "eval", truth, face_model)
    return made


def _make(
    options: SynthesisOptions, face_model: FaceModel, folder: Path, kind: CropKind, progress: bool
) -> tuple[Made, SyntheticTruth | None]:
    try:
        face_arrays(face_model, DDFA_LAYOUT)
    except ValueError as error:
        raise InputError(f"--layout {options.layout}: {error}; take --face_model open") from error
    pictures = open_backgrounds(options)
    photographer = CropPhotographer(
        face_model,
        size_px=SYNERGY_CROP_PX,
        looks=options.looks,
        pictures=pictures,
        layout=DDFA_LAYOUT,
        kind=kind,
    )
    settings = f"--layout {options.layout} ({kind}) {settings_of(options, pictures)}"
    chunk = RenderChunk(
        photographer, folder, options.seed, options.n, settings, "none", CHUNK, only_images=True
    )
    return make_faces(options, chunk, progress=progress)


def parameters_of(truth: SyntheticTruth, face_model: FaceModel) -> np.ndarray:
    """(N, 62) parameters of crops, not whitened, float64."""
    slices, flat = face_model.layout.slices, truth.coefficients.astype(np.float64)
    shape = flat[:, slices["identity"]][:, : DDFA_LAYOUT.shape]
    expression = flat[:, slices["expression"]][:, : DDFA_LAYOUT.expression]
    return label_parameters(truth.rotation, truth.intrinsics, [shape, expression], SYNERGY_CROP_PX)


def _write_labels(folder: Path, truth: SyntheticTruth, face_model: FaceModel) -> None:
    """Face model, whitening, list and whitened parameters."""
    texture = truth.coefficients[:, face_model.layout.slices["texture"]][:, :TEXTURE_PARAMETERS]
    texture = np.pad(texture, ((0, 0), (0, TEXTURE_PARAMETERS - texture.shape[1])))
    parameters = np.concatenate([parameters_of(truth, face_model), texture], axis=1)
    mean, std = parameters.mean(axis=0), parameters.std(axis=0)
    # What is the same for all faces is left as it is.
    std = np.where(std > 1e-9 * np.abs(parameters).max(axis=0), std, 1.0)
    whitening = Whitening(torch.from_numpy(mean).float(), torch.from_numpy(std).float())
    # By the numbers as the file has them: labels then are exact to float32.
    whitened = (parameters - whitening.mean.double().numpy()) / whitening.std.double().numpy()
    colours = 255 * face_model.mean_albedo.reshape(-1, 3).cpu().numpy()
    write_morphable_folder(folder, face_arrays(face_model, DDFA_LAYOUT), whitening, colours)
    write_labels(folder / PARAMETERS, whitened)
    write_text(folder / LIST, _lines(truth.names))


def _write_evaluation(folder: Path, truth: SyntheticTruth, face_model: FaceModel) -> None:
    """Landmarks in the photos that the crops are of, the crops' boxes in them, poses in degrees."""
    parameters = torch.from_numpy(parameters_of(truth, face_model))
    face = SynergyFace(face_arrays(face_model, DDFA_LAYOUT)).double()
    landmarks = face.landmarks(parameters).numpy()
    boxes, exact = _boxes(truth.seed, len(truth.names))
    # A crop's label coordinate x lies at x (right - left) / 120 + left in the photo; depth by the
    # mean of both scales.
    size = exact[:, 2:] - exact[:, :2]
    scale = np.concatenate([size, size.mean(axis=1, keepdims=True)], axis=1) / SYNERGY_CROP_PX
    origin = np.concatenate([exact[:, :2], np.zeros((len(exact), 1))], axis=1)
    points = landmarks * scale[..., None] + origin[..., None]
    pose = head_pose(parameters[:, : DDFA_LAYOUT.pose])
    # To what float32 keeps, so that heads at the end of a bin are there.
    degrees = np.degrees(pose.angles_rad().numpy()).round(4)
    skipped = np.flatnonzero((np.abs(degrees) > LARGEST_ANGLE_DEG).any(axis=1))
    kept = np.delete(degrees, skipped, axis=0)
    for name, array in {
        "AFLW2000-3D.pose": degrees[:, 1],
        "AFLW2000-3D.pts68": points.astype(np.float32),
        # As another annotator would have clicked them: on whole pixels.
        "AFLW2000-3D-Reannotated.pts68": np.rint(points[:, :2]).astype(np.float32),
        "AFLW2000-3D_crop.roi_box": boxes,
        "ALFW2000-3D_pose_3ANG_excl": kept,
        "ALFW2000-3D_pose_3ANG_skip": skipped,
    }.items():
        write_npy(folder / f"{name}.npy", array)


def _boxes(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) of the crops in their photos: as the file has them, some cut off; and uncut."""
    random = np.random.default_rng((seed, count))
    side = random.uniform(140, 330, (count, 1)).round()
    corner = random.uniform(0, 450 - side, (count, 2)).round()
    exact = np.concatenate([corner, corner + side], axis=1)
    boxes = exact.copy()
    cut = np.arange(count) % CLIPPED_EVERY == CLIPPED_EVERY // 2
    exact[cut, 0::2] -= exact[cut, :1] + 4
    boxes[cut] = exact[cut].clip(min=0)
    return boxes, exact


def _lines(names: tuple[str, ...]) -> str:
    return "".join(f"{name}\n" for name in names)


def benchmark_options(options: SynthesisOptions) -> SynthesisOptions:
    """Those of the heads for evaluation that go with crops for training: of the next seed."""
    return replace(options, n=options.validation_count, n_val=0, seed=options.seed + 1)
