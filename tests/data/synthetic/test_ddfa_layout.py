"""Generated folders of SynergyNet: labels project the true landmarks, and train.py reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import make_synthetic
from data.synthetic.coefficients import read_truth
from data.synthetic.ddfa_layout import generate_ddfa
from models.face_model import FaceModel
from models.synergy.morphable import SynergyFace
from models.synergy.pose import head_pose, to_continuous
from options.synthesis_options import SynthesisOptions
from util.errors import InputError
from util.synergy.ddfa_files import read_labels, read_list, read_morphable_folder

COUNT, HEADS = 5, 26


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "ddfa"
    flags = ["--layout", "ddfa", "--face_model", "open", "--num_workers", "0", "--looks", "plain"]
    make_synthetic.main([*flags, "--n", str(COUNT), "--n_val", str(HEADS), "--out", str(folder)])
    return folder


def test_labels_project_the_true_landmarks(made: Path):
    found = read_morphable_folder(made / "3dmm_data", need_triangles=True)
    labels = torch.from_numpy(read_labels(made / "3dmm_data/param_all_norm_v201.pkl"))
    parameters = found.whitening.unwhiten(labels)
    points = to_continuous(SynergyFace(found.arrays).landmarks(parameters))
    truth = read_truth(made / "train_aug_120x120/coefficients.npz")
    np.testing.assert_allclose(points[:, :2].transpose(1, 2), truth.landmarks_px, atol=1e-3)
    assert read_list(made / "3dmm_data/train_aug_120x120.list.train") == list(truth.names)
    assert abs(float(labels.mean())) < 1e-5 and labels.shape == (COUNT, 62)
    assert found.arrays.card.name == "open"


def test_crops_have_the_public_size(made: Path):
    for name in read_list(made / "3dmm_data/train_aug_120x120.list.train"):
        with Image.open(made / "train_aug_120x120" / name) as picture:
            assert picture.size == (120, 120)


def test_heads_for_evaluation_lie_in_their_photos_as_the_benchmark_counts(made: Path):
    folder = made / "aflw2000_data"
    points = np.load(folder / "eval/AFLW2000-3D.pts68.npy")
    again = np.load(folder / "eval/AFLW2000-3D-Reannotated.pts68.npy")
    boxes = np.load(folder / "eval/AFLW2000-3D_crop.roi_box.npy")
    truth = read_truth(folder / "AFLW2000-3D_crop/coefficients.npz")
    assert read_list(folder / "AFLW2000-3D_crop.list") == list(truth.names)
    assert points.shape == (HEADS, 3, 68) and again.shape == (HEADS, 2, 68)
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    cut = width != height
    assert cut.sum() == 1 and boxes[cut, 0] == 0
    inside = (points[:, :2] - boxes[:, :2, None]) * 120 / np.stack([width, height], 1)[..., None]
    label = truth.landmarks_px.transpose(0, 2, 1) + 0.5
    np.testing.assert_allclose(inside[~cut], label[~cut], atol=1e-3)
    assert np.abs(again - points[:, :2]).max() <= 0.5


def test_poses_are_degrees_of_the_labels(made: Path):
    folder = made / "aflw2000_data/eval"
    yaw = np.load(folder / "AFLW2000-3D.pose.npy")
    kept = np.load(folder / "ALFW2000-3D_pose_3ANG_excl.npy")
    skipped = np.load(folder / "ALFW2000-3D_pose_3ANG_skip.npy")
    assert len(kept) + len(skipped) == len(yaw) == HEADS
    assert np.array_equal(np.delete(yaw, skipped), kept[:, 1])
    assert set(np.abs(yaw[::8])) == {0.0, 30.0, 60.0, 85.0}
    truth = read_truth(folder.parent / "AFLW2000-3D_crop/coefficients.npz")
    flip = np.array([1, -1, -1])
    rotation = torch.from_numpy(truth.rotation * flip[:, None])
    pose = torch.cat([rotation, torch.zeros(HEADS, 3, 1)], dim=2).flatten(1)
    angles = np.degrees(head_pose(pose).angles_rad().numpy())
    np.testing.assert_allclose(angles[:, 1], yaw, atol=1e-2)


def test_a_second_run_keeps_what_is_there(made: Path, capsys: pytest.CaptureFixture[str]):
    flags = ["--layout", "ddfa", "--face_model", "open", "--num_workers", "0", "--looks", "plain"]
    make_synthetic.main([*flags, "--n", str(COUNT), "--n_val", "0", "--out", str(made)])
    assert f"{COUNT} faces in {made}/train_aug_120x120: 0 made" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": 224 + 1}, "pictures of 120 pixels"),
        ({"camera": "random"}, "leave out --size and --camera"),
        ({"maps": "all"}, "no place for --maps"),
        ({}, "3 identity and 2 expression parameters, wanted are 40 and 10"),
    ],
)
def test_what_the_layout_has_no_place_for(tmp_path, tiny_face_model: FaceModel, fields, words):
    with pytest.raises(InputError, match=words):
        options = SynthesisOptions(layout="ddfa", out=str(tmp_path / "a"), **fields)
        generate_ddfa(options, tiny_face_model, progress=False)
