"""The fit to photos: it finds faces of the model itself, and albedo is worth what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.face_model_photos import (
    Errors,
    Fitter,
    PhotoFigureOptions,
    compare_albedo,
    errors,
    load,
    report,
    start,
    write_strips,
)
from data.alignment import align_face
from data.photo_folder import PhotoFace
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel
from models.landmarks import normalised_error
from models.renderer import Renderer
from models.stages import Reconstruction, reconstruct
from options.loss_options import ObjectiveOptions
from util.errors import InputError

FREE = ObjectiveOptions(w_reflc=0.0, w_gamma=0.0)
"""Without what holds the albedo together, which would hide it."""


def photo_of(face_model: FaceModel, *, yaw: float = 0.2) -> Reconstruction:
    """A face with all that is fitted away from its start."""
    layout = face_model.layout
    random = torch.Generator().manual_seed(3)
    blocks = dict(layout.zeros(2).items())
    blocks["identity"] = torch.randn(blocks["identity"].shape, generator=random)
    blocks["texture"] = 2.5 * torch.randn(blocks["texture"].shape, generator=random).sign()
    blocks["angles_rad"] = torch.tensor([[0.1, yaw, -0.05], [-0.1, -yaw, 0.1]])
    blocks["gamma"][:, [0, 9, 18]] = 0.15
    blocks["translation_dm"] = torch.tensor([[0.05, -0.03, 0.2], [-0.04, 0.02, -0.2]])
    flat = torch.cat([blocks[block.name] for block in layout.blocks], dim=1)
    return reconstruct(face_model, Renderer("auto"), Camera.rnet(), layout.split(flat))


def batch_of(photo: Reconstruction) -> FaceBatch:
    assert photo.rendering.image is not None
    return FaceBatch(
        images=photo.rendering.image,
        paths=("a", "b"),
        landmarks_px=photo.posed.landmarks_px,
        skin_mask=photo.face_mask,
    )


def test_the_start_is_the_mean_face_in_the_pose_of_the_landmarks(tiny_face_model: FaceModel):
    photo = photo_of(tiny_face_model)
    blocks = start(tiny_face_model, Camera.rnet(), photo.posed.landmarks_px)
    true = photo.coefficients
    assert blocks["angles_rad"] == pytest.approx(true.angles_rad, abs=0.12)
    assert blocks["translation_dm"] == pytest.approx(true.translation_dm, abs=0.3)
    for name in ("identity", "expression", "texture", "gamma"):
        assert (blocks[name] == 0).all()


def test_the_fit_lowers_the_losses_and_both_errors(tiny_face_model: FaceModel):
    photo = photo_of(tiny_face_model)
    batch = batch_of(photo)
    given = batch.landmarks_px
    fitter = Fitter(tiny_face_model, FREE, 1)
    first = errors(fitter.fit(batch).reconstruction, batch, photo.face_mask)
    fitted = Fitter(tiny_face_model, FREE, 40).fit(batch)
    last = errors(fitted.reconstruction, batch, photo.face_mask * fitted.reconstruction.face_mask)
    before, after = fitted.losses
    assert after < 0.3 * before
    assert (last.photometric < 0.5 * first.photometric).all()
    assert (last.landmarks < 0.5 * first.landmarks).all()
    assert last.landmarks == pytest.approx(
        normalised_error(fitted.reconstruction.posed.landmarks_px, given)[0]  # pyright: ignore
    )


def test_frozen_blocks_stay_and_free_albedo_explains_more(tiny_face_model: FaceModel):
    photo = photo_of(tiny_face_model)
    batch = batch_of(photo)
    fitter = Fitter(tiny_face_model, FREE, 30)
    frozen = fitter.fit(batch, frozen=("texture",)).reconstruction
    assert (frozen.coefficients.texture == 0).all()
    assert (frozen.coefficients.identity != 0).all()
    free = fitter.fit(batch).reconstruction
    mask = photo.face_mask * free.face_mask * frozen.face_mask
    assert (
        errors(free, batch, mask).photometric < 0.8 * errors(frozen, batch, mask).photometric
    ).all()


def test_errors_are_means_over_the_mask_of_each_photo(tiny_face_model: FaceModel):
    photo = photo_of(tiny_face_model)
    batch = batch_of(photo)
    mask = torch.zeros_like(photo.face_mask)
    mask[0, 0, 100:110, 100:110] = 1
    mask[1, 0, 90:120, 110:115] = 0.5
    off = batch.images.clone()
    off[0, 0, 100:110, 100:105] += 0.2  # half of its mask
    off[1, 1] += 0.1
    moved = FaceBatch(off, batch.paths, landmarks_px=batch.landmarks_px)
    found = errors(photo, moved, mask)
    # 1e-3 is the root of the loss's own epsilon.
    assert found.photometric == pytest.approx(torch.tensor([0.1, 0.1]), abs=1e-3)
    assert found.landmarks == pytest.approx(torch.zeros(2))


def as_face(face_model: FaceModel, photo: Reconstruction, number: int) -> PhotoFace:
    """A rendering as if it were an aligned photo."""
    assert photo.rendering.image is not None
    image = (255 * photo.rendering.image[number].clamp(0, 1)).byte().permute(1, 2, 0).numpy()
    landmarks = photo.posed.landmarks_px[number].numpy() - 0.5
    aligned = align_face(image, landmarks, face_model.alignment_points.numpy())
    cropped = aligned.alignment.crop_landmarks(landmarks, exact=True)
    skin = np.full((224, 224), 255, np.uint8)
    return PhotoFace(Path(f"{number}.png"), 1, str(number), aligned, cropped, skin)


def test_photos_are_compared_and_drawn(
    tiny_face_model: FaceModel, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    photo = photo_of(tiny_face_model)
    faces = [as_face(tiny_face_model, photo, number) for number in (0, 1)]
    free, mean, strips = compare_albedo(tiny_face_model, faces, FREE, 5)
    report(faces, free, mean)
    table = capsys.readouterr().out.splitlines()
    assert table[2].startswith("0 ") and table[3].startswith("1 ")
    assert table[4].startswith("mean of 2 ")
    write_strips(tmp_path / "fits.png", strips)
    with Image.open(tmp_path / "fits.png") as picture:
        assert picture.size == (3 * 224, 2 * 224)


def test_the_ratio_is_of_the_means(capsys: pytest.CaptureFixture[str], tiny_face_model):
    photo = photo_of(tiny_face_model)
    faces = [as_face(tiny_face_model, photo, number) for number in (0, 1)]
    free = Errors(torch.tensor([10.0, 20.0]) / 255, torch.tensor([0.02, 0.04]))
    mean = Errors(torch.tensor([40.0, 20.0]) / 255, torch.tensor([0.03, 0.05]))
    report(faces, [free], [mean])
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last == ["mean", "of", "2", "15.00", "30.00", "0.50", "3.00", "4.00"]


def test_photos_come_with_their_given_points(tiny_face_model: FaceModel, tmp_path: Path):
    photo = photo_of(tiny_face_model)
    assert photo.rendering.image is not None
    for number in (0, 1):
        image = (255 * photo.rendering.image[number].clamp(0, 1)).byte().permute(1, 2, 0)
        Image.fromarray(image.numpy()).save(tmp_path / f"{number}.png")
        (tmp_path / "landmarks").mkdir(exist_ok=True)
        points = photo.posed.landmarks_px[number].numpy() - 0.5
        np.savetxt(tmp_path / "landmarks" / f"{number}.txt", points)
    faces = load(tiny_face_model, PhotoFigureOptions(photos=str(tmp_path)))
    assert [face.stem for face in faces] == ["0", "1"]
    assert all(face.skin is not None for face in faces)
    assert len(load(tiny_face_model, PhotoFigureOptions(photos=str(tmp_path), photo_count=1))) == 1


@pytest.mark.parametrize("flag", ["steps", "photo_count"])
def test_counts_that_fit_nothing_are_refused(flag: str):
    with pytest.raises(InputError, match=f"--{flag} is 0"):
        PhotoFigureOptions(**dict[str, Any]({flag: 0}))
