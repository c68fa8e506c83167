"""What fitted labels are worth to a training: the same network and steps with and without them.

python -m benchmarks.fitted_labels --faces 800 --steps 1000

Rendered faces (make_synthetic.py) stand for photos: the trainer gets pictures, landmarks and skin
masks and is told no truth. They are fitted by data_preparation.py --fit; then the small network of
configs/quick.yaml is trained on them by the weakly-supervised losses, once alone and once with
each --w_coeff. Runs are compared after as many steps, so that other programs on the machine change
nothing; the seconds of computing that each took are printed beside.

On faces that no training has seen: distance of the inner 51 landmarks from the true ones over the
outer-eye distance, and colours over the visible skin. The mean face in the pose of the five true
points is the yardstick, and the fits of these same faces are what labels could teach at best.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import test as test_command
from benchmarks.trained_networks import mean_face, with_error
from data.fitted_labels import read_label
from data.flist_dataset import FlistDataset
from data.loader import FaceLoader
from data.preparation import PreparationOptions, prepare_folders
from data.synthetic.generate import generate
from models.assets import ModelAssets
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel
from models.landmarks import normalised_error
from models.losses import photometric_loss
from models.parameters import Coefficients
from models.renderer import Renderer
from models.stages import reconstruct
from options import parse_command
from options.data_options import AugmentationOptions, FlistOptions
from options.face_options import FaceModelOptions, LandmarkOptions
from options.synthesis_options import SynthesisOptions
from options.train_options import LoaderOptions
from util.assets import load_face_model
from util.command import run_command
from util.errors import InputError
from util.photos.photo_labeller import PhotoLabeller
from util.training.trained_model import load_reconstruction_model

ROOT = Path(__file__).resolve().parent.parent
# The network and the optimiser of configs/quick.yaml; of the losses those that photos have.
RECIPE = [
    *("--net_recon", "dlib", "--amp", "auto", "--landmark_origin", "centre", "--w_feat", "0"),
    *("--w_keypoints", "0.1", "--optimizer", "adamw", "--lr", "1.5e-3", "--lr_policy", "cosine"),
    *("--beta1", "0.9", "--beta2", "0.98", "--grad_clip", "5", "--batch_size", "16"),
    *("--num_threads", "0", "--evaluation_freq", "1000000", "--save_latest_freq", "1000000"),
    *("--save_epoch_freq", "1000000", "--print_freq", "20"),
]

Predictor = Callable[[FaceBatch], Coefficients]


@dataclass(frozen=True)
class LabelFigureOptions:
    """What is compared."""

    faces: int = 800
    """Photos to train on."""
    held_back: int = 64
    """Photos to measure on."""
    steps: int = 1000
    """Training steps of each run, with 16 photos each."""
    w_coeff: tuple[float, ...] = (1.0,)
    """Weights of labels; a run for each beside the one without."""
    fit_preset: str = "fast"
    """How finely photos are fitted."""
    face_model: str = "open@0"
    """Face model of all."""
    work_folder: str = ""
    """Where faces and runs go, to look at or to go on with; a temporary folder if empty."""

    def __post_init__(self) -> None:
        """Refuse what trains nothing."""
        for name, least in (("faces", 16), ("held_back", 2), ("steps", 1)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True)
class Errors:
    """Of each face, (N,)."""

    inner: np.ndarray
    """Distance of the inner landmarks over the outer-eye distance."""
    colours: np.ndarray
    """Mean colour distance over the visible skin, in 8-bit levels."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    wanted = parse_command([LabelFigureOptions], argv, __doc__ or "")[LabelFigureOptions]
    with tempfile.TemporaryDirectory() as temporary:
        compare(wanted, Path(wanted.work_folder or temporary).resolve())


def compare(wanted: LabelFigureOptions, folder: Path) -> None:
    """Make the photos, fit them, train, measure."""
    face_model = load_face_model(FaceModelOptions(wanted.face_model))
    started = computing_seconds()
    make_photos(wanted, face_model, folder)
    made = computing_seconds()
    fit_photos(wanted, folder)
    print(
        f"{wanted.faces} photos made in {made - started:.0f} s of computing, "
        f"fitted in {computing_seconds() - made:.0f} s",
        flush=True,
    )
    batches = held_back(face_model, folder)
    report_title(wanted)
    report("mean face", measure(face_model, batches, lambda batch: mean_face(face_model, batch)))
    fits = [batch for batch in batches if label_paths(batch)]
    found = measure(face_model, fits, lambda batch: fitted(face_model, batch))
    report("their own fits", found)
    first = None
    for w_coeff in (0.0, *wanted.w_coeff):
        name = f"labels, weight {w_coeff:g}" if w_coeff else "without labels"
        before = computing_seconds()
        train(wanted, folder, f"w_{w_coeff:g}", w_coeff)
        seconds = computing_seconds() - before
        predict = predictor(folder, f"w_{w_coeff:g}")
        errors = measure(face_model, batches, predict)
        report(name, errors, seconds, first)
        first = first or errors


def make_photos(wanted: LabelFigureOptions, face_model: FaceModel, folder: Path) -> None:
    """Rendered faces without their truth, and lists of them."""
    if (folder / "datalist" / "faces_val" / "masks.txt").is_file():
        return
    options = SynthesisOptions(
        n=wanted.faces, n_val=wanted.held_back, out=str(folder / "faces"), num_workers=0
    )
    for part in (options, options.validation()):
        generate(part, face_model, list_root=folder / "datalist", progress=False)
    for name in ("faces", "faces_val"):
        (folder / name / "coefficients.npz").unlink()


def fit_photos(wanted: LabelFigureOptions, folder: Path) -> None:
    """As `data_preparation.py --fit`."""
    options = FaceModelOptions(wanted.face_model, jaw_landmarks="silhouette")
    labeller = PhotoLabeller(options, wanted.fit_preset)  # pyright: ignore[reportArgumentType]
    for name in ("faces", "faces_val"):
        preparation = PreparationOptions(img_folder=(str(folder / name),), num_workers=0)
        summary = prepare_folders(
            preparation, labeller=labeller, list_root=folder / f"fits_of_{name}", progress=False
        )
        print(f"{name}: fitted {summary.fitted}, doubtful {summary.doubts}", flush=True)


def train(wanted: LabelFigureOptions, folder: Path, name: str, w_coeff: float) -> None:
    """One run of train.py, in a process of its own."""
    lists = folder / "datalist"
    epochs = max(1, round(wanted.steps / (wanted.faces // 16)))
    flags = [
        *(*RECIPE, "--name", name, "--overwrite", "--face_model", wanted.face_model),
        *("--checkpoints_dir", str(folder / "checkpoints"), "--w_coeff", str(w_coeff)),
        *("--flist", str(lists / "faces" / "masks.txt"), "--n_epochs", str(epochs)),
        *("--flist_val", str(lists / "faces_val" / "masks.txt"), "--eval_batch_nums", "1"),
        *("--gpu_ids", "-1", "--num_cpu_threads", "1", "--add_image", "False"),
    ]
    command = [sys.executable, str(ROOT / "train.py"), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InputError(f"the training {name} failed: {done.stderr.strip()}")


def held_back(face_model: FaceModel, folder: Path) -> list[FaceBatch]:
    """The validation photos, one a batch, as the trainer sees them."""
    flist = str(folder / "datalist" / "faces_val" / "masks.txt")
    options = {
        FlistOptions: FlistOptions("./", flist, flist),
        AugmentationOptions: AugmentationOptions(),
        LandmarkOptions: LandmarkOptions("centre"),
    }
    dataset = FlistDataset(options, ModelAssets(face_model), is_train=False)
    loader = FaceLoader(dataset, LoaderOptions(batch_size_val=1, num_threads=0), 0, is_train=False)
    return [batch.to("cpu") for batch in loader]


def label_paths(batch: FaceBatch) -> list[Path]:
    """The label of the only photo of a batch, if it has one."""
    photo = Path(batch.paths[0])
    path = photo.parent / "coefficients" / f"{photo.stem}.json"
    return [path] if path.is_file() else []


def fitted(face_model: FaceModel, batch: FaceBatch) -> Coefficients:
    """What fitting says of a photo."""
    found = read_label(*label_paths(batch)).coefficients
    assert found is not None
    return face_model.layout.split(torch.from_numpy(found)[None])


def predictor(folder: Path, name: str) -> Predictor:
    """The network of a run."""
    line = ["--name", name, "--checkpoints_dir", str(folder / "checkpoints"), "--gpu_ids", "-1"]
    model, _ = load_reconstruction_model(parse_command(test_command.GROUPS, line))
    return lambda batch: model.predict(batch.images)


@torch.inference_mode()
def measure(face_model: FaceModel, batches: Sequence[FaceBatch], predict: Predictor) -> Errors:
    """Errors of predicted faces, as they are rendered."""
    camera, renderer = Camera.rnet(), Renderer()
    inner, colours = [], []
    for batch in batches:
        made = reconstruct(face_model, renderer, camera, predict(batch))
        assert made.rendering.image is not None
        assert batch.landmarks_px is not None and batch.skin_mask is not None
        inner.append(float(normalised_error(made.posed.landmarks_px, batch.landmarks_px)[0]))
        mask = batch.skin_mask * made.face_mask
        colours.append(255 * float(photometric_loss(made.rendering.image, batch.images, mask)))
    return Errors(np.array(inner), np.array(colours))


def report_title(wanted: LabelFigureOptions) -> None:
    """The head of the table."""
    print(f"\n{wanted.held_back} photos held back, {wanted.steps} steps; mean (standard error)")
    titles = ("inner landmarks, %", "colours, levels", "computing, s", "landmarks, gain")
    print(f"{'':<22}" + "".join(f"{title:>20}" for title in titles))


def report(
    name: str, errors: Errors, seconds: float | None = None, other: Errors | None = None
) -> None:
    """A row; with another run's errors the gain over it, face by face."""
    columns = [with_error(100 * errors.inner), with_error(errors.colours)]
    columns.append("" if seconds is None else f"{seconds:.0f}")
    columns.append("" if other is None else with_error(100 * (other.inner - errors.inner)))
    print(f"{name:<22}" + "".join(f"{column:>20}" for column in columns), flush=True)


def computing_seconds() -> float:
    """Processor time of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    run_command(main)
