"""Photos of a benchmark: which of them showed no face, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from data.images import write_image
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.parameters import Coefficients
from models.renderer import Renderer
from options.face_options import CameraOptions
from tests.given_faces import GivenFaces
from util.errors import InputError
from util.evaluation.kept_results import KeptResults
from util.evaluation.photo_shapes import (
    FITTED_TOGETHER,
    BenchmarkPhoto,
    PhotoShapes,
    photos_by_stem,
)
from util.evaluation.shape_methods import FitShape, MeanShape
from util.photos.photo_fitting import face_fitter

PHOTOS = [BenchmarkPhoto(Path(f"{name}.png"), name) for name in "abc"]


def shapes(data: FaceModelData) -> PhotoShapes:
    method = MeanShape(face_fitter(FaceModel(data), Camera.rnet(), Renderer("torch")))
    return PhotoShapes(method, GivenFaces(), 2, neutral=True)


@pytest.fixture(autouse=True)
def grey(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.full((8, 8, 3), 90, np.uint8)
    monkeypatch.setattr("util.evaluation.photo_shapes.read_image", lambda path: image)


def test_a_box_is_searched_as_the_methods_camera_sees_faces(tiny_face_data: FaceModelData):
    """The five points in the box come from perspective, which the camera makes."""
    asked = []

    class Asked(GivenFaces):
        def landmarks_from_five(self, image: np.ndarray, five: np.ndarray) -> np.ndarray:
            asked.append(five)
            return np.zeros((68, 2))

    face_model = FaceModel(tiny_face_data)
    box = np.array([0.0, 0, 100, 100])
    for focal in (1015.0, 400.0):
        camera = Camera.rnet(CameraOptions(focal=focal, camera_d=focal / 101.5))
        method = MeanShape(face_fitter(face_model, camera, Renderer("torch")))
        runs = PhotoShapes(method, Asked(), 1, neutral=True)
        list(runs([BenchmarkPhoto(Path("a.png"), "a", box)]))
    assert np.abs(asked[0] - asked[1]).max() > 0.1


def test_photos_without_a_face_are_counted(
    tiny_face_data: FaceModelData, capsys: pytest.CaptureFixture[str]
):
    runs = shapes(tiny_face_data)
    runs.print_missed()
    assert not capsys.readouterr().out
    assert [found.face for found in runs(PHOTOS)] == [None] * 3
    runs.print_missed()
    assert "in 3 of 3 photos, such as a.png: the mean face" in capsys.readouterr().out


def test_also_those_of_one_person(tiny_face_data: FaceModelData):
    runs = shapes(tiny_face_data)
    with pytest.raises(InputError, match=r"no face found in any photo beside a.png"):
        runs.person(PHOTOS)
    assert runs.missed == [photo.path for photo in PHOTOS]


@pytest.mark.parametrize(("kind", "most"), [(MeanShape, 2), (FitShape, FITTED_TOGETHER)])
def test_long_videos_are_taken_in_parts(
    tiny_face_data: FaceModelData, monkeypatch: pytest.MonkeyPatch, kind: type, most: int
):
    """Networks see every frame, a few at once; the fitter some, evenly spaced, together."""
    face_model = FaceModel(tiny_face_data)
    fitter = face_fitter(face_model, Camera.rnet(), Renderer("torch"))
    frames = 3 * FITTED_TOGETHER + 1
    flat = torch.randn(frames, face_model.layout.size, generator=torch.Generator().manual_seed(0))
    asked: list[list[int]] = []

    class Method(kind):
        def __call__(self, batch: Any, *, one_person: bool = False) -> Coefficients:
            asked.append(batch)
            assert one_person == (kind is FitShape)
            return face_model.layout.split(flat[batch])

    method = Method(fitter, "fast") if kind is FitShape else Method(fitter)
    runs = PhotoShapes(cast(Any, method), cast(Any, None), 2, neutral=True)
    monkeypatch.setattr(runs, "_find", lambda photo: int(photo.name))
    monkeypatch.setattr("util.evaluation.photo_shapes.to_fit_batch", list)
    found = runs.person([BenchmarkPhoto(Path(f"{k}.png"), str(k)) for k in range(frames)])
    numbers = [number for part in asked for number in part]
    assert max(map(len, asked)) == most
    if kind is FitShape:
        assert len(asked) == 1 and numbers[0] == 0 and numbers[-1] == frames - 1
        assert set(np.diff(numbers)) <= {3, 4}
    else:
        assert numbers == list(range(frames))
    identity = face_model.layout.split(flat[numbers]).identity.mean(dim=0).numpy()
    expected = tiny_face_data.mean_shape + tiny_face_data.identity_basis @ identity
    np.testing.assert_allclose(found.vertices, expected, atol=1e-5)


@pytest.mark.parametrize("of_person", [False, True])
def test_what_was_said_before_is_not_asked_again(
    tiny_face_data: FaceModelData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, of_person: bool
):
    """Shapes are the same, and so are the photos without a face."""
    face_model = FaceModel(tiny_face_data)
    fitter = face_fitter(face_model, Camera.rnet(), Renderer("torch"))
    flat = torch.randn(3, face_model.layout.size, generator=torch.Generator().manual_seed(0))
    asked: list[int] = []

    class Method(MeanShape):
        def __call__(self, batch: Any, *, one_person: bool = False) -> Coefficients:
            asked.extend(batch)
            return face_model.layout.split(flat[batch])

    monkeypatch.setattr("util.evaluation.photo_shapes.to_fit_batch", list)
    faces = {"a": 0, "b": None, "c": 2}

    def run() -> np.ndarray:
        kept = KeptResults(tmp_path, "m", [])
        runs = PhotoShapes(Method(fitter), cast(Any, None), 2, neutral=True, kept=kept)
        monkeypatch.setattr(runs, "_find", lambda photo: faces[photo.name])
        asked.clear()
        found = [runs.person(PHOTOS)] if of_person else [one.shape for one in runs(PHOTOS)]
        assert [path.name for path in runs.missed] == ["b.png"]
        return np.stack([shape.vertices for shape in found])

    first = run()
    assert asked == [0, 2]
    assert np.array_equal(run(), first) and asked == []
    assert np.abs(first - tiny_face_data.mean_shape).max() > 0
    # What is still missing is all that is asked for.
    for path in (tmp_path / "unfinished").rglob("*.npz"):
        with np.load(path) as arrays:
            if of_person or np.allclose(
                arrays["identity"], face_model.layout.split(flat).identity[2]
            ):
                path.unlink()
    assert np.array_equal(run(), first) and asked == ([0, 2] if of_person else [2])


def test_photos_whose_predictions_would_collide_are_refused(tmp_path: Path):
    for name in ("1.jpg", "2_left.png", "2_right.png"):
        write_image(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    found = photos_by_stem(tmp_path)
    assert {stem: path.name for stem, path in found.items()} == {
        "1": "1.jpg",
        "2_left": "2_left.png",
        "2_right": "2_right.png",
    }
    write_image(tmp_path / "1.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"holds 1\.jpg and 1\.png.*leave one of them"):
        photos_by_stem(tmp_path)
