"""The datatool's annotations and BFM.mat."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from models.face_model import FaceModel
from models.synergy.parameters import SynergyLayout
from util.errors import InputError
from util.synergy.datatool_files import (
    datatool_whitening,
    read_bfm_mat,
    read_tags,
    stand_in_arrays,
)
from util.synergy.datatool_folder import check_tags, split_tags

LAYOUT = SynergyLayout(7, 3, 2)


def annotation(**values: Any) -> dict[str, Any]:
    points = [{"index": i, "x": float(i), "y": 2.0 * i, "z": -1.0} for i in range(77)]
    return {
        "id_image": "a",
        "face_landmarks_2d": points[:68],
        "face_landmarks_3d": points,
        "head_pose": {"yaw": 20.0, "pitch": 10.0, "roll": -30.0, "confidence": 1},
        "head_translation": [200.0, 210.0, -5.0],
        "head_scale": 0.0015,
        "shape_params": [1.0, 2.0, 3.0],
        "exp_params": [0.5, -0.5],
        **values,
    }


def write(root: Path, tag: str, annotations: Any) -> Path:
    (root / tag / "sample_files").mkdir(parents=True)
    (root / tag / "sample_files/a.jpg").touch()
    text = json.dumps({"info": {}, "annotations": annotations})
    (root / tag / "dataset.json").write_text(text, encoding="utf-8")
    return root


def test_an_annotation_in_numbers(tmp_path: Path):
    write(tmp_path, "AFW", {"7": annotation()})
    (found,) = read_tags(tmp_path, ["AFW"], LAYOUT, "--train_tags").annotations
    assert found.image == tmp_path / "AFW/sample_files/a.jpg"
    angles = [math.radians(v) for v in (10, 20, -30)]  # pitch, yaw, roll
    expected = [*angles, 200, 210, -5, 0.0015, 1, 2, 3, 0.5, -0.5]
    np.testing.assert_allclose(found.parameters, expected, rtol=1e-6)
    assert found.landmarks.shape == (3, 77) and found.landmarks[:, 3].tolist() == [3, 6, -1]


def test_unusable_annotations_are_counted_by_reason(tmp_path: Path):
    few = annotation(face_landmarks_3d=annotation()["face_landmarks_3d"][:60])
    wrong, lost = annotation(shape_params=[1.0]), annotation(id_image="b")
    write(tmp_path, "A", {"1": annotation(), "2": few, "3": wrong, "4": lost})
    write(tmp_path, "B", [annotation(face_landmarks_2d=[])])
    found = read_tags(tmp_path, ["A", "B"], LAYOUT, "--train_tags")
    assert len(found.annotations) == 2
    reasons = {
        "fewer than 68 landmarks": 1,
        "1 shape and 2 expression parameters": 1,
        "no picture in sample_files": 1,
    }
    assert found.unusable == reasons


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"1": annotation(shape_params=[1.0])}, "no usable annotation .1 with 1 shape and 2"),
        ({"1": {"id_image": "a"}}, "annotation 1 is malformed .KeyError: 'face_landmarks_3d'"),
        ({"1": annotation(head_translation=[1.0])}, "head_translation has 1 numbers"),
        (5, "annotations are no map"),
        ({}, "no usable annotation .none at all"),
        ({"1": annotation(id_image="b")}, "no usable annotation .1 with no picture in sample_f"),
    ],
)
def test_bad_annotations(tmp_path: Path, annotations: Any, words: str):
    write(tmp_path, "A", annotations)
    with pytest.raises(InputError, match=words):
        read_tags(tmp_path, ["A"], LAYOUT, "--train_tags")


def test_missing_tags_come_with_those_that_are_there(tmp_path: Path):
    write(tmp_path, "AFW", {"1": annotation()})
    lacking = r"HELEN.dataset\.json does not exist \(2 of 3 tags have none\); there are AFW; take"
    with pytest.raises(InputError, match=f"--val_tags HELEN, LFPW: .*{lacking}"):
        read_tags(tmp_path, ["HELEN", "AFW", "LFPW"], LAYOUT, "--val_tags")
    (tmp_path / "AFW/dataset.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"is no dataset\.json"):
        read_tags(tmp_path, ["AFW"], LAYOUT, "--val_tags")


def test_tags_without_pictures(tmp_path: Path):
    write(tmp_path, "AFW", {"1": annotation()})
    (tmp_path / "AFW/sample_files").rename(tmp_path / "images")
    with pytest.raises(InputError, match=r"--val_tags AFW: .*AFW.sample_files does not exist \(1"):
        check_tags(tmp_path, ["AFW"], "--val_tags")


def test_tags_are_stripped():
    assert split_tags("HELEN, HELEN_Flip,LFPW ,") == ["HELEN", "HELEN_Flip", "LFPW"]


def test_whitening_is_what_the_public_code_divides_by():
    std = datatool_whitening(SynergyLayout(7, 199, 29), of_bfm=True).std
    assert std[:7].tolist() == pytest.approx([1, 1, 1, 450, 450, 450, 0.01])
    assert std[7] == std[205] == 1e7 and std[206] == std[234] == 10


def test_stand_ins_have_the_68_and_nine_means(tiny_face_model: FaceModel):
    arrays = stand_in_arrays(tiny_face_model)
    np.testing.assert_allclose(arrays.landmark_weights.sum(axis=1), 1, rtol=1e-5)
    points = np.einsum("lc,lcd->ld", arrays.landmark_weights, arrays.mean[arrays.landmark_vertices])
    vertices = tiny_face_model.mean_shape.reshape(1, -1, 3)
    own = tiny_face_model.landmarks(vertices)[0].numpy() * 1e5
    np.testing.assert_allclose(points[:68], own, rtol=1e-4, atol=1)
    np.testing.assert_allclose(points[68], own[42:48].mean(axis=0), rtol=1e-4, atol=1)
    np.testing.assert_allclose(points[75], (points[68] + points[69]) / 2, rtol=1e-4, atol=1)


def bfm_mat(path: Path, count: int = 40426, **changes: np.ndarray) -> Path:
    mean = np.arange(3 * count, dtype=np.float32)[:, None]
    model = {
        "shapeMU": mean,
        "expMU": np.ones((3 * count, 1)),
        "shapePC": np.zeros((3 * count, 199), np.int8),
        "expPC": np.zeros((3 * count, 29), np.int8),
        "tri": np.array([[1, 2, 3], [2, 3, 4]]).T,
        "tri_mouth": np.array([[3, 4, 5]]).T,
        "kpt_ind": np.arange(101, 169)[None],
    }
    savemat(path, {"model": {**model, **changes}}, do_compression=True)
    return path


def test_bfm_mat_and_its_77_landmarks(tmp_path: Path):
    arrays = read_bfm_mat(bfm_mat(tmp_path / "BFM.mat"))
    assert arrays.mean[5].tolist() == [16, 17, 18]
    assert arrays.triangles.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert arrays.shape_basis.shape[2] == 199 and arrays.expression_basis.shape[2] == 29
    where = arrays.landmark_vertices
    assert where[:68, 0].tolist() == list(range(100, 168))
    middle = [144, 138 - 70, 125, 40424, 118, 137 + 40, 146 + 20]
    assert where[68:75].tolist() == [[v, v] for v in middle]
    assert where[75:].tolist() == [[144, 68], [20000, 34000]]


def test_other_mat_files_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_bfm_mat(tmp_path / "a.mat")
    with pytest.raises(InputError, match="landmarks need 40425"):
        read_bfm_mat(bfm_mat(tmp_path / "a.mat", count=200))
    savemat(tmp_path / "a.mat", {"other": 1})
    with pytest.raises(InputError, match=r"cannot be read as BFM\.mat"):
        read_bfm_mat(tmp_path / "a.mat")
    (tmp_path / "a.mat").write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"a\.mat is"):
        read_bfm_mat(tmp_path / "a.mat")
    few = bfm_mat(tmp_path / "a.mat", count=200, kpt_ind=np.arange(1, 6)[None])
    with pytest.raises(InputError, match="199 shape and 29 expression bases and 5 landmarks"):
        read_bfm_mat(few)
