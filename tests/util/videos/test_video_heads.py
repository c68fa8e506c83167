"""`fit.py --v_path --save ...`: the command with a fit that is given, not made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from data.video import VideoDamage, VideoReader
from data.video_crops import FrameCrop
from models.camera import Camera
from models.face_model import FaceModel, IdentityCard
from tests.bfm_files import SMALL, write_small_sources
from tests.test_train_command import load_script
from tests.video_files import picture, retime, write_file
from util.errors import InputError
from util.model_files.bfm_conversion import convert_bfm09
from util.model_files.bfm_file import read_bfm_model
from util.videos import video_run
from util.videos.followed_face import FollowedFace

fit = load_script("fit")
COUNT = 6
FOUND = np.array([True, True, False, True, True, True])


@pytest.fixture(scope="module")
def bfm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("BFM")
    write_small_sources(folder)
    convert_bfm09(folder, folder / "BFM_model_front.mat", SMALL)
    return folder


@pytest.fixture(scope="module")
def bfm(bfm_folder: Path) -> FaceModel:
    return FaceModel(read_bfm_model(bfm_folder / "BFM_model_front.mat")[0])


def made_up_fit(reader: VideoReader) -> FollowedFace:
    random = np.random.default_rng(0)
    coefficients = (0.1 * random.normal(size=(COUNT, 257))).astype(np.float32)
    coefficients[~FOUND] = 0
    size = (reader.info.width, reader.info.height)
    crops = tuple(FrameCrop(size, 0.9, 2.0 + k, 3.0) if FOUND[k] else None for k in range(COUNT))
    landmarks = random.uniform(50, 200, (COUNT, 68, 2))
    return FollowedFace(
        info=reader.info,
        times_s=reader.times_s,
        found=FOUND,
        coefficients=coefficients,
        tracked=coefficients,
        camera=Camera.rnet(),
        crops=crops,
        face_model=IdentityCard("made up", "1.0", "CC0-1.0", 16 * "0"),
        landmarks=landmarks,
        starts=np.zeros(COUNT, bool),
        photo=np.zeros(COUNT),
        cuts=(),
        key_frames=(0,),
        damage=VideoDamage((), 0),
    )


@pytest.fixture
def run(bfm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """The command on a video of a given size and rate; returns the folder of its results."""

    class Fitting:
        def __init__(self, job, cache: Path, workers: int) -> None:
            self.reader = VideoReader(job.video)

        def run(self) -> FollowedFace:
            return made_up_fit(self.reader)

        def clear_up(self) -> None:
            pass

    monkeypatch.setattr(video_run, "VideoFitting", Fitting)

    def command(*flags: str, side: int = 256, rate_hz: float = 25, clock=None) -> Path:
        video = tmp_path / "ein Mann é.mp4"
        pictures = [picture(n, (side, side)) for n in range(COUNT)]
        write_file(video, pictures, [n / rate_hz for n in range(COUNT)])
        if clock is not None:
            video = retime(video, video.with_suffix(".mkv"), clock)
        fit.main(
            [
                *(str(video), f"--res_folder={tmp_path / 'out'}", "--save_video=False"),
                *("--gpu_ids=-1", f"--bfm_folder={bfm_folder}", *flags),
            ]
        )
        return tmp_path / "out"

    return command


def test_every_frame_has_its_row(run, capsys: pytest.CaptureFixture[str]):
    kinds = ("sadtalker", "pirender", "styleheat", "facial", "geneface", "real3dportrait")
    out = run("--face_model=bfm09", "--save", *kinds)
    stem = "ein Mann é"
    own = np.load(out / f"{stem}.npz")
    row = loadmat(out / "sadtalker" / f"{stem}.mat")["coeff_3dmm"]
    assert row.shape == (COUNT, 73)
    np.testing.assert_allclose(row[FOUND, :64], own["exp"][FOUND], rtol=1e-6)
    np.testing.assert_allclose(row[FOUND, 70:], own["trans_params"][FOUND, 2:], rtol=1e-6)
    # The frame without a face lies between its neighbours.
    np.testing.assert_allclose(row[2], (row[1] + row[3]) / 2, atol=1e-5)
    assert loadmat(out / "pirender" / f"{stem}.mat")["transform_params"].shape == (COUNT, 5)
    assert np.load(out / "styleheat" / "3dmm" / f"3dmm_{stem}.npy").shape == (COUNT, 73)
    assert len(list((out / "facial" / stem).glob("*.mat"))) == COUNT
    for name in (f"geneface/{stem}.npy", f"real3dportrait/{stem}_coeff_fit_mp.npy"):
        content = np.load(out / name, allow_pickle=True).item()
        assert {len(array) for array in content.values()} == {COUNT}
        assert all(np.isfinite(array).all() for array in content.values())
    shown = capsys.readouterr().out
    assert "SadTalker: " in shown and "frames a second" not in shown

    again = run("--face_model=bfm09", "--save", "pirender")  # the others go
    files = {path.relative_to(again).as_posix() for path in again.rglob("*.*")}
    assert f"pirender/{stem}.mat" in files
    assert not any(name.startswith(("sadtalker", "facial", "geneface", "style")) for name in files)


def test_nothing_is_written_unless_it_is_asked_for(run, capsys: pytest.CaptureFixture[str]):
    """The default is for photos."""
    out = run("--face_model=bfm09")
    assert not any(path.is_dir() for path in out.iterdir())
    assert "--save" not in capsys.readouterr().out
    run("--face_model=bfm09", "--save", "glb")
    assert "--save glb has no effect" in capsys.readouterr().out
    assert not any(path.is_dir() for path in out.iterdir())


def test_another_rate_is_said(run, capsys: pytest.CaptureFixture[str]):
    run("--face_model=bfm09", "--save", "sadtalker", rate_hz=50)
    assert "SadTalker plays 25 frames a second" in capsys.readouterr().out


def test_a_broken_clock_is_said_once_and_on_the_page(run, capsys: pytest.CaptureFixture[str]):
    out = run("--face_model=open@0", clock=lambda n: 0)
    told = f"all its {COUNT} frames have one time; frames are taken as 25 a second"
    assert capsys.readouterr().out.count(f"ein Mann é.mkv: {told}\n") == 1
    assert json.loads((out / "ein Mann é_report.json").read_text(encoding="utf-8"))["clock"] == told
    page = (out / "ein Mann é_report.html").read_text(encoding="utf-8")
    assert f"<li>{told}</li>" in page.partition("Look closer")[2].partition("</section>")[0]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--face_model=open@0", "--save", "sadtalker"), "bfm09 alone, and these are of open"),
        (("--face_model=bfm09", "--save", "depth"), "--save depth is for photos; for a video it"),
        (("--face_model=bfm09", "--save", "facial", "--fit_focal"), "usual focal length alone"),
        (("--face_model=bfm09", "--save", "sadtalkr"), r"did you mean sadtalker\?"),
    ],
)
def test_what_cannot_be_written_is_refused_before_fitting(
    run, flags: tuple[str, ...], problem: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(video_run.VideoFitting, "run", lambda self: pytest.fail("fitted"))
    with pytest.raises(InputError, match=problem):
        run(*flags)


def test_frames_of_another_size_are_refused_before_fitting(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(video_run.VideoFitting, "run", lambda self: pytest.fail("fitted"))
    with pytest.raises(InputError, match=r"--save styleheat: .*é\.mp4: .*this is 128 x 128"):
        run("--face_model=bfm09", "--save", "styleheat", side=128)
