"""Prepared photos with fitted coefficients, as training samples of a folder and of tar files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.alignment import Alignment
from data.fitted_labels import FittedLabel, LabelMaker, crop_numbers, write_label
from data.flist_dataset import FlistDataset
from data.landmarks import read_landmarks
from data.loader import FaceLoader
from data.prepared_files import PhotoFiles
from data.tar_shards import pack_photos
from data.webdataset_dataset import WebdatasetDataset
from models.assets import ModelAssets
from models.face_model import FaceModel
from options.data_options import (
    AugmentationOptions,
    FlistOptions,
    WebdatasetOptions,
)
from options.face_options import LandmarkOptions
from options.loss_options import LabelOptions
from options.train_options import LoaderOptions
from tests.prepared_photos import make_photos
from util.errors import InputError

COUNT = 4
UNFITTED = 3


def add_label(root: Path, model: FaceModel, number: int, **changes) -> None:
    """Coefficients that say which photo they are of."""
    stem = f"photo {number}"
    landmarks = read_landmarks(root / "landmarks" / f"{stem}.txt")
    points = model.alignment_points.numpy()
    crop = crop_numbers(Alignment.from_landmarks(landmarks, (230, 240), points))
    flat = np.full(model.layout.size, 0.01 * number, np.float32)
    maker = LabelMaker(str(model.card), model.card.fingerprint, "fast", "")
    label = FittedLabel(maker, crop, 0.02, flat)
    write_label(root / "coefficients" / f"{stem}.json", replace(label, **changes))


@pytest.fixture
def photos(tmp_path: Path, tiny_face_model: FaceModel) -> Path:
    """Four photos, of which the last was not fitted."""
    root = tmp_path / "photos"
    make_photos(root, tiny_face_model, COUNT)
    for number in range(UNFITTED):
        add_label(root, tiny_face_model, number)
    return root


def folder(root: Path, model: FaceModel, w_coeff=1.0, is_train=True, **augmentation):
    flist = str(root / "masks.txt")
    options = {
        FlistOptions: FlistOptions(str(root.parent), flist, flist),
        AugmentationOptions: AugmentationOptions(**augmentation),
        LandmarkOptions: LandmarkOptions("centre"),
        LabelOptions: LabelOptions(w_coeff=w_coeff),
    }
    return FlistDataset(options, ModelAssets(model), is_train)


def tars(root: Path, model: FaceModel, **augmentation):
    pytest.importorskip("webdataset", reason="the extra webdataset")
    photos = [PhotoFiles(root / f"photo {n}.png", f"photo {n}").listed for n in range(COUNT)]
    place = root.parent / "tars"
    pack_photos(photos, place, 2**30, None)
    options = {
        WebdatasetOptions: WebdatasetOptions(str(place), str(place)),
        AugmentationOptions: AugmentationOptions(**augmentation),
        LandmarkOptions: LandmarkOptions("centre"),
        LabelOptions: LabelOptions(w_coeff=1.0),
    }
    return WebdatasetDataset(options, ModelAssets(model), is_train=True)


@pytest.mark.parametrize("kind", [folder, tars])
def test_samples_and_batches_bring_their_labels(photos, tiny_face_model, kind) -> None:
    dataset = kind(photos, tiny_face_model, use_aug=False)
    for number in range(UNFITTED):
        sample = dataset[number]
        assert sample.fitted
        np.testing.assert_array_equal(sample.coefficients, np.float32(0.01 * number))
    assert dataset[UNFITTED].coefficients is None and not dataset[UNFITTED].fitted
    settings = LoaderOptions(batch_size=COUNT, num_threads=0, serial_batches=True)
    (batch,) = FaceLoader(dataset, settings, 0, is_train=True)
    assert batch.has_fit is not None and batch.has_truth is not None
    assert batch.coefficients is not None
    assert batch.has_fit.tolist() == [True, True, True, False]
    assert not batch.has_truth.any()
    assert torch.equal(batch.coefficients[:, 0], torch.tensor([0, 0.01, 0.02, 0.0]))


def test_labels_change_neither_pictures_nor_landmarks(photos, tiny_face_model) -> None:
    """Augmentation draws and does the same; of a mirrored face of this model the label is gone."""
    labelled, plain = (folder(photos, tiny_face_model, w_coeff=w) for w in (1.0, 0.0))
    kept = 0
    for epoch in range(6):
        for dataset in (labelled, plain):
            dataset.set_epoch(1, epoch)
        for number in range(COUNT):
            one, other = labelled[number], plain[number]
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.landmarks, other.landmarks)
            assert other.coefficients is None
            kept += one.fitted
    assert 0 < kept < 6 * UNFITTED


def test_the_notice_counts_them_and_validation_leaves_them_out(photos, tiny_face_model) -> None:
    dataset = folder(photos, tiny_face_model)
    assert dataset.notice == "3 of 4 photos begin with fitted coefficients"
    validation = folder(photos, tiny_face_model, is_train=False)
    assert validation.notice == "" and validation.truth_size is None
    assert validation[0].coefficients is None


def test_labels_of_another_face_model_are_refused_by_name(photos, tiny_face_model) -> None:
    other = SimpleNamespace(card=tiny_face_model.card, layout=tiny_face_model.layout)
    other.card = replace(tiny_face_model.card, name="large", fingerprint="abcd")
    other.alignment_points = tiny_face_model.alignment_points
    with pytest.raises(
        InputError,
        match=r"--w_coeff: .*coefficients.photo .\.json .*tiny 1 .*"
        r"this run uses large 1 \(abcd\).*--fit",
    ):
        FlistDataset(
            {
                FlistOptions: FlistOptions(str(photos.parent), str(photos / "masks.txt")),
                AugmentationOptions: AugmentationOptions(),
                LabelOptions: LabelOptions(w_coeff=1.0),
            },
            SimpleNamespace(face_model=other, recognition_net=None),  # pyright: ignore
            is_train=True,
        )


def test_tar_files_are_looked_into_before_the_training(photos, tiny_face_model) -> None:
    assert tars(photos, tiny_face_model).notice == ""
    maker = LabelMaker("large 1 (abcd)", "abcd", "fast", "")
    add_label(photos, tiny_face_model, 2, maker=maker)
    with pytest.raises(InputError, match=r"00000002\.coefficients\.json .*large 1 \(abcd\)"):
        tars(photos, tiny_face_model)
    for number in range(UNFITTED):
        (photos / "coefficients" / f"photo {number}.json").unlink()
    assert "none of 4 samples" in tars(photos, tiny_face_model).notice


def test_a_label_of_other_landmarks_is_refused_by_name(photos, tiny_face_model) -> None:
    add_label(photos, tiny_face_model, 1, crop=(230, 240, 230, 240, 30, 30))
    dataset = folder(photos, tiny_face_model, use_aug=False)
    with pytest.raises(InputError, match=r"photo 1\.json was fitted in another crop .*line 2"):
        dataset[1]
    assert dataset[0].fitted


def test_no_labels_where_they_are_wanted_is_an_error(tmp_path, tiny_face_model) -> None:
    make_photos(tmp_path / "photos", tiny_face_model)
    with pytest.raises(InputError, match=r"--w_coeff: no photo of --flist .*--fit, or leave"):
        folder(tmp_path / "photos", tiny_face_model)
    assert folder(tmp_path / "photos", tiny_face_model, w_coeff=0.0)[0].coefficients is None
