"""The race of both solvers: fair, repeatable, and run from photos to tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import fitting_speed
from benchmarks.fitting_speed import (
    WITHOUT_KERNELS,
    Course,
    Race,
    SpeedOptions,
    course_of,
    race,
    report_presets,
    report_races,
    time_on,
    time_presets,
)
from data.images import write_image
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.fitting import photometric
from models.fitting.adam import fit_adam
from models.fitting.fitter import FaceFitter
from models.fitting.pixel_rows import pixel_rows
from models.renderer import Renderer
from options.fitting_weights import PUBLIC_WEIGHTS, AdamSchedule
from tests.models.fitting.faces import photo_of, random_face
from util.errors import InputError
from util.model_files.face_model_file import write_face_model

SHORT = AdamSchedule(rigid_steps=30, steps=5)


@pytest.fixture
def photo(tiny_face_model: FaceModel) -> FaceBatch:
    return photo_of(tiny_face_model, random_face(tiny_face_model, 1, size=0.5))


@pytest.fixture
def fitter(tiny_face_model: FaceModel) -> FaceFitter:
    return FaceFitter(tiny_face_model, Camera.rnet(), Renderer(), PUBLIC_WEIGHTS)


def test_a_course_reaches_an_energy_at_the_first_step_that_is_as_low():
    course = Course((0.1, 0.2, 0.5), (3.0, 1.0, 0.5))
    assert course.reaches(5.0) == 0.1
    assert course.reaches(1.0) == 0.2
    assert course.reaches(0.9) == 0.5
    assert course.reaches(0.1) == math.inf
    assert Race(10.0, 0.9, course).ratio == pytest.approx(20)
    assert Race(10.0, 0.1, course).ratio == 0


@pytest.mark.slow
def test_the_course_is_that_of_the_finest_preset(fitter: FaceFitter, photo: FaceBatch):
    course = course_of(fitter, photo, repeats=2)
    assert all(np.diff(course.seconds) > 0) and course.seconds[0] > 0
    fit = fitter.fit(photo, fitting_speed.PRESETS["best"])
    assert len(course.energies) == sum(int(stage.tried[0]) for stage in fit.stages)
    end = sum(float(term[0]) for term in fit.stages[-1].energies.values())
    assert course.energies[-1] == pytest.approx(end, rel=1e-5)
    assert course.energies[-1] < 0.5 * course.energies[0]


def test_both_start_from_the_photo_alone_and_are_judged_alike(fitter: FaceFitter, photo: FaceBatch):
    found = race(fitter, photo, SHORT, repeats=1)
    assert found.adam_energy > min(found.course.energies)
    assert found.adam_seconds > found.seconds > 0
    end = fit_adam(fitter, photo, SHORT).stages[-1].energies.values()
    assert found.adam_energy == pytest.approx(sum(float(term[0]) for term in end), rel=1e-5)


@pytest.mark.slow
def test_presets_take_turns_and_kernels_come_back(fitter: FaceFitter, photo: FaceBatch):
    seconds = time_presets(fitter, [photo], repeats=1)
    assert list(seconds) == ["fast", "balanced", "best", WITHOUT_KERNELS]
    assert all(len(times) == 1 and times[0] > 0 for times in seconds.values())
    assert photometric.pixel_rows is pixel_rows  # pyright: ignore[reportPrivateImportUsage]


def test_fits_on_another_device_are_timed_alone_and_together(
    tiny_face_data: FaceModelData, fitter: FaceFitter, photo: FaceBatch
):
    """The CPU stands in for the GPU, so that the energies are the same."""
    ours = FaceFitter(fitter.face_model, fitter.camera, fitter.renderer)
    photos = photo.rows(torch.tensor([0, 0]))
    seconds, apart = time_on(FaceModel(tiny_face_data), ours, photos, 1)
    assert {name: len(times) for name, times in seconds.items()} == {
        **{f"{preset}, torch": 2 for preset in ("fast", "balanced", "best")},
        **{f"{preset}, torch, together": 1 for preset in ("fast", "balanced", "best")},
    }
    assert apart < 1e-4


def test_tables(capsys: pytest.CaptureFixture[str]):
    report_presets(
        {"fast": [0.1, 0.3, 0.2], "balanced": [0.4, 0.4, 0.9], WITHOUT_KERNELS: [0.8, 1.0, 2.0]}
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["fast", "0.200", "0.300"]
    assert lines[2].split() == ["balanced", "0.400", "0.900"]
    assert lines[4] == "kernels make balanced 2.5 times as fast"
    course = Course((0.1, 0.2), (1.0, 0.5))
    report_races(["a", "b", "c"], [Race(8.0, e, course) for e in (1.0, 0.5, 0.1)], SHORT)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "to the energy after 30 + 5 steps of Adam"
    assert lines[2].split() == ["a", "8.00", "1.0000", "0.100", "80", "0.5000"]
    assert lines[4].split() == ["c", "8.00", "0.1000", "inf", "0", "0.5000"]
    assert lines[5].split() == ["median", "of", "3", "8.00", "0.200", "40"]


def test_from_photos_to_tables(
    tmp_path: Path,
    tiny_face_model: FaceModel,
    tiny_face_data: FaceModelData,
    photo: FaceBatch,
    capsys: pytest.CaptureFixture[str],
):
    write_face_model(tmp_path / "tiny.npz", tiny_face_data)
    picture = (255 * photo.images[0]).byte().permute(1, 2, 0).numpy()
    write_image(tmp_path / "photos" / "one.png", picture)
    assert photo.landmarks_px is not None
    (tmp_path / "photos" / "landmarks").mkdir()
    np.savetxt(tmp_path / "photos" / "landmarks" / "one.txt", photo.landmarks_px[0].numpy() - 0.5)
    line = ["--photos", str(tmp_path / "photos"), "--face_model", str(tmp_path / "tiny.npz")]
    line += ["--repeats", "1", "--threads", "1", "--first_rf_iters", "20", "--first_nrf_iters", "3"]
    fitting_speed.main(line)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("face model: tiny") or "tiny.npz" in shown[0]
    assert shown[1] == "1 photos, 1 threads"
    assert [text.split()[0] for text in shown[3:7]] == ["fast", "balanced", "best", "balanced,"]
    assert shown[8:10] == ["on the CPU", "to the energy after 20 + 3 steps of Adam"]
    assert shown[11].startswith("one ") and shown[12].startswith("median of 1 ")
    assert torch.get_num_threads() == 1
    with pytest.raises(InputError, match=r"--photos .*nowhere"):
        fitting_speed.main(["--photos", str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match="--first_nrf_iters is -1"):
        fitting_speed.main([*line, "--first_nrf_iters", "-1"])


@pytest.mark.parametrize(("flag", "value"), [("repeats", 0), ("photo_count", 0), ("threads", -1)])
def test_counts_that_time_nothing_are_refused(flag: str, value: int):
    with pytest.raises(InputError, match=f"--{flag} is {value}"):
        SpeedOptions(**dict[str, Any]({flag: value}))
