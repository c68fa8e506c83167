"""Clips of known motion show it, and the figures of following it come out of a small run."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks import fitting_video
from benchmarks.fitting_video import BLINK, Clip, VideoFigures
from data.video import VideoReader
from models.face_model import FaceModel
from models.landmarks import LID_PAIRS
from options.face_options import FaceModelOptions
from util.assets import load_face_model
from util.errors import InputError
from util.studio import Studio


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(FaceModelOptions("open@0"))


@pytest.fixture(scope="module")
def clip(face_model: FaceModel, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    studio = Studio(face_model, fitting_video.CLIP_PX, "plain", 7000)
    wanted = VideoFigures(frames=34)
    folder = tmp_path_factory.mktemp("clips")
    return fitting_video.make_clip(face_model, studio, 0, wanted, folder)


def test_the_lids_close_in_blinks_and_at_no_other_time(clip: Clip):
    gaps = [
        np.linalg.norm(clip.landmarks[:, a] - clip.landmarks[:, b], axis=-1) for a, b in LID_PAIRS
    ]
    width = np.linalg.norm(clip.landmarks[:, 36] - clip.landmarks[:, 39], axis=-1)
    gap = np.mean(gaps, axis=0) / width
    in_blinks = np.zeros(len(gap), bool)
    for first in clip.blinks:
        in_blinks[first : first + len(BLINK)] = True
        assert abs(gap[first : first + len(BLINK)].argmin() - BLINK.argmax()) <= 1
    assert gap[in_blinks].min() < 0.4 * np.median(gap[~in_blinks])
    assert gap[~in_blinks].min() > 0.7 * np.median(gap[~in_blinks])


def test_one_person_moves_through_one_place(clip: Clip):
    frames = [frame.image.astype(float) for frame in VideoReader(clip.path).read(range(34))]
    assert len(frames) == 34 and frames[0].shape == (448, 448, 3)
    corner = np.stack([frame[:30, :30] for frame in frames])
    assert corner.std(axis=0).mean() < 3, "the surroundings stand still"
    middle = clip.landmarks.mean(axis=1)
    assert np.ptp(middle, axis=0).max() > 4
    steps = np.linalg.norm(np.diff(middle, axis=0), axis=1)
    assert steps.max() < 12


def test_the_truth_has_no_error_and_no_blink_is_none(clip: Clip):
    found = np.ones(len(clip.landmarks), bool)
    inner, _, depth = fitting_video._against_truth(clip.landmarks, clip, found)
    assert (inner, depth) == (0, 1)
    still = np.repeat(clip.landmarks[:1], len(found), axis=0)
    _, shaking, depth = fitting_video._against_truth(still, clip, found)
    assert shaking == 0
    assert abs(depth) < 0.1
    wide = clip.landmarks.copy()
    wide[:, 36] -= [1, 0]
    expected = 100 * (
        1 / 51 / np.linalg.norm(clip.landmarks[:, 36] - clip.landmarks[:, 45], axis=1)
    )
    assert fitting_video._against_truth(wide, clip, found)[0] == pytest.approx(expected.mean())


@pytest.mark.slow  # follows a face through two videos
def test_tables(clip: Clip, capsys: pytest.CaptureFixture[str]):
    argv = ["--clips", "1", "--frames", "34", "--looks", "plain", "--workers", "1"]
    fitting_video.main([*argv, "--face_model", "open@0", "--video", str(clip.path)])
    clips, video = capsys.readouterr().out.split("clip_0.mp4")
    rows = {
        row[0].strip(): [float(number) for number in row[1:]]
        for row in re.findall(
            r"^([a-z][a-z' ]+?)\s+(\d+\.\d+) \(-\)\s+(\d+\.\d+) \(-\)\s+(\d+\.\d+) \(", clips, re.M
        )
    }
    assert rows["truth"][0] == 0 and rows["truth"][2] == 1
    assert rows["smoothed"][1] < rows["tracked"][1] < rows["detected"][1]
    assert rows["tracked"][0] < rows["each frame's landmarks"][0]
    assert re.search(r"^smoothed +\d+\.\d+ +\d+\.\d+ +\d+\.\d+$", video, re.M)


@pytest.mark.parametrize(("flag", "value"), [("clips", "-1"), ("frames", "33")])
def test_too_little_is_refused(flag: str, value: str):
    with pytest.raises(InputError, match=f"--{flag} is {value}"):
        fitting_video.main([f"--{flag}", value])
