"""How well the face model explains real photos, and how much of that its albedo does.

Each photo (with detections/<stem>.txt or landmarks/<stem>.txt beside it, or else the default
detector's landmarks) is fitted twice by plain Adam with the project's own losses, less the identity
loss: with its albedo free, and with the mean's. Prints the mean photometric error inside the skin
mask, in 8-bit levels, and the error of the inner landmarks.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from data.detection import create_detector
from data.images import list_images
from data.photo_folder import PhotoFace, PhotoFolder
from models.batch import FaceBatch
from models.camera import Camera, rotation_angles
from models.face_model import FaceModel
from models.landmarks import five_from_68, normalised_error
from models.losses import photometric_loss
from models.objective import WeakObjective
from models.pose import pose_from_points
from models.renderer import Renderer
from models.stages import Reconstruction, reconstruct
from options.data_options import DetectionOptions
from options.loss_options import ObjectiveOptions
from util.atomic import write_bytes
from util.errors import InputError
from util.photos.photo_fitting import to_fit_batch

RATES = {
    "identity": 0.05,
    "expression": 0.05,
    "texture": 0.1,
    "angles_rad": 0.01,
    "gamma": 0.02,
    "translation_dm": 0.01,
    "joints_rad": 0.01,
}
"""Adam's step of each block."""
BATCH = 6
"""Photos fitted at once."""


@dataclass(frozen=True)
class PhotoFigureOptions:
    """Which photos are fitted, and how long."""

    photos: str = ""
    """Folder of photos to fit, with detections/ where the face to take is known; none leaves this
    part out."""
    photo_count: int = 50
    """Photos at most."""
    steps: int = 200
    """Steps of Adam for each photo."""
    picture: str = ""
    """PNG to write: each photo, its fit, its fit with the mean's albedo."""

    def __post_init__(self) -> None:
        """Refuse what fits nothing."""
        for flag in ("steps", "photo_count"):
            if getattr(self, flag) < 1:
                raise InputError(f"--{flag} is {getattr(self, flag)}; it must be at least 1")


@dataclass(frozen=True)
class Fitted:
    """Photos fitted together."""

    reconstruction: Reconstruction
    losses: tuple[float, float]
    """The objective's total at the start and at the end."""


@dataclass(frozen=True)
class Errors:
    """Of each photo, (B,) float."""

    photometric: Tensor
    """Mean colour distance over the skin that is compared, RGB in [0, 1]."""
    landmarks: Tensor
    """Mean distance of the inner 51 over the outer-eye distance."""


def start(face_model: FaceModel, camera: Camera, landmarks_px: Tensor) -> dict[str, Tensor]:
    """Blocks of the mean face in the pose of given landmarks, under the constant light.

    Args:
        face_model: whose mean.
        camera: of the crops.
        landmarks_px: (B, 68, 2) continuous pixels.
    """
    five = five_from_68(landmarks_px)
    rotation, translation = pose_from_points(five, face_model.alignment_points, camera)
    blocks = dict(face_model.layout.zeros(len(landmarks_px)).items())
    blocks["angles_rad"] = rotation_angles(rotation)
    blocks["translation_dm"] = translation
    return blocks


class Fitter:
    """Fits a face model to aligned photos."""

    def __init__(self, face_model: FaceModel, weights: ObjectiveOptions, steps: int) -> None:
        """Prepare renderer and objective.

        Args:
            face_model: what is fitted.
            weights: of the losses; there is no recognition network, so no identity loss.
            steps: of Adam; the rates fall to zero as a cosine.
        """
        self.face_model = face_model
        self.camera = Camera.rnet()
        self._steps = steps
        self._renderer = Renderer("auto")
        self._objective = WeakObjective(face_model, None, weights, "centre")

    def fit(self, batch: FaceBatch, frozen: Sequence[str] = ()) -> Fitted:
        """Fit all blocks but the frozen ones, which stay as the mean face has them."""
        assert batch.landmarks_px is not None
        blocks = start(self.face_model, self.camera, batch.landmarks_px)
        free = {n: b.clone().requires_grad_() for n, b in blocks.items() if n not in frozen}
        blocks |= free
        optimiser = torch.optim.Adam([{"params": [b], "lr": RATES[n]} for n, b in free.items()])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self._steps)
        first = float("nan")
        for step in range(self._steps):
            optimiser.zero_grad()
            loss = self._loss(self._reconstruct(blocks), batch)
            loss.backward()
            optimiser.step()
            schedule.step()
            first = loss.item() if step == 0 else first
        with torch.no_grad():
            final = self._reconstruct(blocks)
            return Fitted(final, (first, self._loss(final, batch).item()))

    def _loss(self, reconstruction: Reconstruction, batch: FaceBatch) -> Tensor:
        return torch.stack([*self._objective(reconstruction, batch).values()]).sum()

    def _reconstruct(self, blocks: Mapping[str, Tensor]) -> Reconstruction:
        layout = self.face_model.layout
        flat = torch.cat([blocks[block.name] for block in layout.blocks], dim=1)
        return reconstruct(self.face_model, self._renderer, self.camera, layout.split(flat))


def errors(fitted: Reconstruction, batch: FaceBatch, mask: Tensor) -> Errors:
    """What a fit leaves unexplained.

    Args:
        fitted: to the batch.
        batch: the photos.
        mask: (B, 1, H, W) share of each pixel that counts.
    """
    image, given = fitted.rendering.image, batch.landmarks_px
    assert image is not None and given is not None
    each = range(len(batch))
    photometric = [
        photometric_loss(image[k : k + 1], batch.images[k : k + 1], mask[k : k + 1]) for k in each
    ]
    inner, _ = normalised_error(fitted.posed.landmarks_px, given)
    return Errors(torch.stack(photometric), inner)


def check(wanted: PhotoFigureOptions) -> None:
    """See that the photos are there, before anything is measured.

    Raises:
        InputError: no such folder, or no photos in it.
    """
    if wanted.photos:
        try:
            list_images(Path(wanted.photos))
        except InputError as error:
            raise InputError(f"--photos {wanted.photos}: {error}") from error


def load(face_model: FaceModel, wanted: PhotoFigureOptions) -> list[PhotoFace]:
    """The main face of each photo.

    Raises:
        InputError: no folder, or no face in any photo.
    """
    folder = PhotoFolder(
        Path(wanted.photos),
        face_model.alignment_points.numpy(),
        create_detector(DetectionOptions()),
        with_skin=True,
    )
    faces = []
    for photo in folder.ahead():
        for failure in photo.failures:
            print(f"left out: {failure.path}: {failure.problem}")
        faces += photo.faces[:1]
        if len(faces) == wanted.photo_count:
            break
    if not faces:
        raise InputError(f"--photos {wanted.photos}: no face in any photo; give other photos")
    return faces


def compare_albedo(
    face_model: FaceModel, faces: Sequence[PhotoFace], weights: ObjectiveOptions, steps: int
) -> tuple[list[Errors], list[Errors], list[Tensor]]:
    """Fit photos with albedo free and with the mean's.

    Returns:
        Errors of both, over the pixels that both show, and a strip (3, H, 3 W) of each photo.
    """
    fitter = Fitter(face_model, weights, steps)
    free_errors, mean_errors, strips = [], [], []
    for first in range(0, len(faces), BATCH):
        batch = to_fit_batch(faces[first : first + BATCH])
        assert batch.skin_mask is not None
        free = fitter.fit(batch).reconstruction
        mean = fitter.fit(batch, frozen=("texture",)).reconstruction
        mask = batch.skin_mask * free.face_mask * mean.face_mask
        free_errors.append(errors(free, batch, mask))
        mean_errors.append(errors(mean, batch, mask))
        shown = [batch.images, *(_over(fit, batch.images) for fit in (free, mean))]
        strips += torch.cat(shown, dim=3).unbind()
    return free_errors, mean_errors, strips


def _over(fit: Reconstruction, images: Tensor) -> Tensor:
    image = fit.rendering.image
    assert image is not None
    return torch.where(fit.rendering.mask > 0.5, image, images)


def write_strips(path: Path, strips: Sequence[Tensor]) -> None:
    """Write strips (3, H, W) below each other as a PNG."""
    sheet = torch.cat(list(strips), dim=1).clamp(0, 1).permute(1, 2, 0)
    encoded = io.BytesIO()
    Image.fromarray((255 * sheet).round().byte().numpy()).save(encoded, "PNG")
    write_bytes(path, encoded.getvalue())


def report(faces: Sequence[PhotoFace], free: Sequence[Errors], mean: Sequence[Errors]) -> None:
    """Print the errors of each photo and of all."""
    rows = {}
    for name, parts in (("free", free), ("mean", mean)):
        rows[name] = (
            255 * torch.cat([part.photometric for part in parts]),
            100 * torch.cat([part.landmarks for part in parts]),
        )
    print("photo                 photometric, levels        inner landmarks, %")
    print("                      free   mean's   ratio       free   mean's")
    for number, face in enumerate(faces):
        a, b = (rows[name][0][number].item() for name in rows)
        c, d = (rows[name][1][number].item() for name in rows)
        print(f"{face.stem:<20} {a:>6.2f} {b:>8.2f} {a / b:>7.2f} {c:>10.2f} {d:>8.2f}")
    a, b = (rows[name][0].mean().item() for name in rows)
    c, d = (rows[name][1].mean().item() for name in rows)
    print(f"{f'mean of {len(faces)}':<20} {a:>6.2f} {b:>8.2f} {a / b:>7.2f} {c:>10.2f} {d:>8.2f}")
