"""Coefficients read back: photos and videos, whose face model they are of, cameras that follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.parameters import Coefficients
from options.face_options import CROP_PX
from tests.saved_faces import random_faces, save_photo, save_video
from util.errors import InputError
from util.photos.saved_faces import read_saved_faces
from util.photos.saved_names import find_saved, is_network_track, read_record
from util.videos.video_measures import decode


def assert_same(found: Coefficients, wanted: Coefficients) -> None:
    for name, block in wanted.items():
        np.testing.assert_allclose(getattr(found, name), block, atol=1e-6, err_msg=name)


def test_a_photo_is_read_back(tiny_face_model: FaceModel, tmp_path: Path):
    faces = random_faces(tiny_face_model, 1)
    save_photo(tmp_path / "anna", tiny_face_model, faces, focal=1200)
    saved = read_saved_faces(tmp_path / "anna.mat")
    assert_same(saved.coefficients(tiny_face_model), faces)
    assert not saved.is_video and saved.focal_px == pytest.approx(1200)
    assert saved.record.named == str(tiny_face_model.card) and saved.record.of_photo


@pytest.mark.parametrize("ending", [".npz", ".mat"])
def test_a_video_is_read_back_without_empty_frames(
    tiny_face_model: FaceModel, tmp_path: Path, ending: str
):
    faces = random_faces(tiny_face_model, 6)
    found = np.array([True, False, True, True, False, True])
    save_video(tmp_path / "talk", tiny_face_model, faces, found)
    saved = read_saved_faces(tmp_path / f"talk{ending}")
    kept = torch.from_numpy(np.flatnonzero(found))
    assert_same(saved.coefficients(tiny_face_model), faces.rows(kept))
    np.testing.assert_allclose(saved.times_s, 3 + kept.numpy() / 25)
    # Frame 0 and 2 are cuts; 5 comes after an empty one.
    np.testing.assert_array_equal(saved.starts, [True, True, False, True])
    assert saved.is_video and saved.focal_px == 1015


def test_one_frame_of_a_video(tiny_face_model: FaceModel, tmp_path: Path):
    """MATLAB drops the axis of one."""
    faces = random_faces(tiny_face_model, 1)
    save_video(tmp_path / "talk", tiny_face_model, faces)
    assert_same(read_saved_faces(tmp_path / "talk.mat").coefficients(tiny_face_model), faces)


@pytest.mark.parametrize(
    "given", ["anna", "anna.mat", "anna.glb", "anna.obj", "anna_report.html", "anna_photo.jpg"]
)
def test_any_file_of_a_face_means_its_coefficients(
    tiny_face_model: FaceModel, tmp_path: Path, given: str
):
    save_photo(tmp_path / "anna", tiny_face_model, random_faces(tiny_face_model, 1))
    assert find_saved(tmp_path / given) == tmp_path / "anna.mat"
    assert find_saved(tmp_path / f"b{given}") is None


def test_a_photo_and_a_video_of_one_name(tiny_face_model: FaceModel, tmp_path: Path):
    faces = random_faces(tiny_face_model, 3)
    save_video(tmp_path / "anna", tiny_face_model, faces, np.array([True] * 3))
    save_photo(tmp_path / "anna", tiny_face_model, random_faces(tiny_face_model, 1))
    assert not read_record(tmp_path / "anna.npz").of_photo
    assert read_record(tmp_path / "anna.mat").of_photo


def test_what_a_synergynet_followed_is_told_from_fits(tiny_face_model: FaceModel, tmp_path: Path):
    save_video(
        tmp_path / "fit", tiny_face_model, random_faces(tiny_face_model, 2), np.ones(2, bool)
    )
    np.savez(tmp_path / "track.npz", matrix_px_dm=np.zeros((2, 3, 3)), shape=np.zeros((2, 40)))
    (tmp_path / "text.npz").write_text("no archive", encoding="utf-8")
    found = {name: is_network_track(tmp_path / f"{name}.npz") for name in ("fit", "track", "text")}
    assert found == {"fit": False, "track": True, "text": False}


def test_dots_in_a_name_are_part_of_it(tiny_face_model: FaceModel, tmp_path: Path):
    save_photo(tmp_path / "anna.v2", tiny_face_model, random_faces(tiny_face_model, 1))
    assert find_saved(tmp_path / "anna.v2") == tmp_path / "anna.v2.mat"
    assert find_saved(tmp_path / "anna") is None


def test_another_face_model_is_refused_by_name(
    tiny_face_model: FaceModel, tiny_face_data: FaceModelData, tmp_path: Path
):
    """Of the same sizes; the error names both."""
    save_photo(tmp_path / "anna", tiny_face_model, random_faces(tiny_face_model, 1))
    other = FaceModel(
        replace(tiny_face_data, name="other", mean_shape=tiny_face_data.mean_shape * 2)
    )
    with pytest.raises(InputError) as caught:
        read_saved_faces(tmp_path / "anna.mat").coefficients(other)
    assert str(tiny_face_model.card) in str(caught.value) and str(other.card) in str(caught.value)


def test_other_sizes_are_refused_where_nothing_tells_the_model(
    tiny_face_model: FaceModel, open_face_model: FaceModel, tmp_path: Path
):
    save_photo(tmp_path / "anna", tiny_face_model, random_faces(tiny_face_model, 1))
    (tmp_path / "anna.json").unlink()
    saved = read_saved_faces(tmp_path / "anna.mat")
    assert not saved.record.face_model
    with pytest.raises(InputError, match=r"has \d+ id coefficients, face model open .* has 80"):
        saved.coefficients(open_face_model)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"face_model": 3}', "[" * 100000])
def test_a_damaged_record_tells_nothing(tiny_face_model: FaceModel, tmp_path: Path, text: str):
    save_photo(tmp_path / "anna", tiny_face_model, random_faces(tiny_face_model, 1))
    (tmp_path / "anna.json").write_text(text, encoding="utf-8")
    assert read_saved_faces(tmp_path / "anna.mat").record.face_model == {}


def test_damaged_files_are_named(tiny_face_model: FaceModel, tmp_path: Path):
    save_video(tmp_path / "talk", tiny_face_model, random_faces(tiny_face_model, 3))
    whole = {ending: (tmp_path / f"talk{ending}").read_bytes() for ending in (".npz", ".mat")}
    for ending, content in whole.items():
        path = tmp_path / f"cut{ending}"
        for length in (0, 4, len(content) // 2):
            path.write_bytes(content[:length])
            with pytest.raises(InputError, match="cut"):
                read_saved_faces(path)
    with np.load(tmp_path / "talk.npz") as saved:
        arrays = dict(saved)
    for change, problem in (
        ({"exp": np.full_like(arrays["exp"], np.nan)}, "exp holds non-finite"),
        ({"exp": arrays["exp"][:2]}, "different numbers of rows"),
        ({"found": np.zeros(3, bool)}, "holds no face"),
        ({"exp": np.array([{}], object)}, "cannot be read"),
    ):
        np.savez(tmp_path / "bad.npz", **(arrays | change))  # pyright: ignore[reportArgumentType]
        with pytest.raises(InputError, match=problem):
            read_saved_faces(tmp_path / "bad.npz")
    del arrays["exp"]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match="lacks exp"):
        read_saved_faces(tmp_path / "bad.npz")


def test_crops_that_follow_the_face_become_one_that_stands_still(
    tiny_face_model: FaceModel, tmp_path: Path
):
    """Landmarks lie in the frames where they lay, within the pixel that this costs."""
    count = 9
    faces = random_faces(tiny_face_model, count)
    walk = np.linspace(-1, 1, count)
    scales = 0.5 * (1 + 0.05 * walk)
    crops = np.zeros((count, 2, 3))
    crops[:, 0, 0] = crops[:, 1, 1] = scales
    crops[:, 0, 2], crops[:, 1, 2] = -60 - 15 * walk, -40 + 10 * walk
    save_video(tmp_path / "talk", tiny_face_model, faces, crops=crops)
    camera = Camera.rnet()
    saved = read_saved_faces(tmp_path / "talk.npz")
    still = saved.in_still_camera(tiny_face_model, camera)

    def seen(coefficients: Coefficients) -> np.ndarray:
        return decode(tiny_face_model, camera, coefficients)[1].landmarks_px.numpy()

    in_frame = (seen(faces) - crops[:, None, :, 2]) / scales[:, None, None]
    middle = np.median((CROP_PX / 2 - crops[:, :, 2]) / scales[:, None], axis=0)
    wanted = (in_frame - middle) * np.median(scales) + CROP_PX / 2
    np.testing.assert_allclose(seen(still), wanted, atol=1.0)
    assert np.abs(seen(faces) - wanted).max() > 5
    assert torch.equal(still.expression, saved.coefficients(tiny_face_model).expression)


def test_reports_of_videos_name_the_face_model(tiny_face_model: FaceModel, tmp_path: Path):
    save_video(tmp_path / "talk", tiny_face_model, random_faces(tiny_face_model, 2))
    record = read_saved_faces(tmp_path / "talk.mat").record
    assert record.named == str(tiny_face_model.card) and not record.of_photo
