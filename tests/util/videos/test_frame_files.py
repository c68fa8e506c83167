"""Files with a row or a picture for each frame: the same in each format, all or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from data.video import VideoReader
from models.face_model import FaceModel
from tests.util.videos.followed import COUNT, WITHOUT, fitted
from tests.video_files import write_file
from util.videos.frame_files import common_arrays, write_arrays, write_side_by_side


def test_both_formats_hold_the_same(tiny_face_model: FaceModel, tmp_path: Path):
    face = fitted(tiny_face_model)
    landmarks = np.random.default_rng(0).normal(0, 1, (COUNT, 68, 2))
    arrays = common_arrays(face, landmarks)
    assert {len(array) for array in arrays.values()} == {COUNT}
    assert (arrays["photo_to_crop"][WITHOUT] == 0).all()
    for number in np.flatnonzero(arrays["found"]).tolist():
        there, back = (np.eye(3), np.eye(3))
        there[:2], back[:2] = arrays["photo_to_crop"][number], face.crop(number).inverse_matrix
        np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-9)
    write_arrays(tmp_path / "a.b", arrays)
    stored = loadmat(tmp_path / "a.b.mat")
    with np.load(tmp_path / "a.b.npz") as packed:
        assert set(packed.files) == set(arrays)
        for name in packed.files:
            np.testing.assert_array_equal(packed[name], arrays[name])
            np.testing.assert_array_equal(stored[name].reshape(arrays[name].shape), packed[name])


def test_numbers_that_are_none_are_named_and_nothing_is_written(tmp_path: Path):
    write_arrays(tmp_path / "talk", {"a": np.zeros(2)}, (".npz",))
    before = (tmp_path / "talk.npz").read_bytes()
    with pytest.raises(ValueError, match=r"talk: b, c holds non-finite"):
        write_arrays(
            tmp_path / "talk", {"a": np.ones(2), "b": np.array([np.nan]), "c": np.array(np.inf)}
        )
    assert [path.name for path in tmp_path.iterdir()] == ["talk.npz"]
    assert (tmp_path / "talk.npz").read_bytes() == before


def test_panels_stand_side_by_side_at_their_times(tmp_path: Path):
    write_file(tmp_path / "in.mp4", [np.full((64, 96, 3), 40 * k, np.uint8) for k in range(4)])
    reader = VideoReader(tmp_path / "in.mp4")
    problem = write_side_by_side(
        tmp_path / "out.mp4", reader, lambda frame: (frame.image, 255 - frame.image)
    )
    assert problem == ""
    found = VideoReader(tmp_path / "out.mp4")
    assert (found.info.width, found.info.height) == (192, 64)
    np.testing.assert_allclose(found.times_s - found.times_s[0], reader.times_s - reader.times_s[0])
    for frame in found:
        left, right = (frame.image[:, part].mean() for part in (slice(0, 90), slice(102, None)))
        assert left == pytest.approx(40 * frame.number, abs=4)
        assert right == pytest.approx(255 - 40 * frame.number, abs=4)
