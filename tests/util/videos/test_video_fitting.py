"""Videos of a rendered face: what is found, parts, resuming, and what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from scipy.io import loadmat

from data import worker_pool
from data.video import VideoReader
from data.worker_pool import WorkerDied, WorkerPool
from models.face_model import FaceModel
from models.renderer import Renderer
from options.data_options import DetectionOptions
from options.face_options import CameraOptions, FaceModelOptions, RenderOptions
from options.fitting_weights import AdamSchedule, FitWeights, TrackWeights
from tests.video_faces import FaceVideo, write_face_video
from util.assets import load_face_model
from util.errors import InputError
from util.videos import video_fitting
from util.videos.followed_face import FollowedFace
from util.videos.frame_files import write_arrays
from util.videos.video_fitting import VideoFitting, VideoJob
from util.videos.video_measures import VideoMeasures, decode, jitter, write_report
from util.videos.video_results import VideoResults, remove_stale

pytestmark = pytest.mark.xdist_group("video_fitting")

COUNT = 21
EMPTY = range(12, 15)


@pytest.fixture(scope="module")
def coarse() -> FaceModel:
    return load_face_model(FaceModelOptions("open@0"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, coarse: FaceModel) -> FaceVideo:
    path = tmp_path_factory.mktemp("video") / "talk.mp4"
    return write_face_video(path, coarse, COUNT, without=EMPTY)


@pytest.fixture(scope="module")
def job(video: FaceVideo) -> VideoJob:
    return VideoJob(
        video=video.path,
        face_model=FaceModelOptions("open@0"),
        camera=CameraOptions(),
        render=RenderOptions(),
        detection=DetectionOptions(),
        weights=FitWeights(),
        track=TrackWeights(),
        preset="fast",
        frames_for_shape=4,
        part_frames=7,
        overlap_frames=5,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the run of `fitted` keeps for one that goes on."""
    return tmp_path_factory.mktemp("whole") / "cache"


@pytest.fixture(scope="module")
def fitted(job: VideoJob, cache: Path) -> FollowedFace:
    fitting = VideoFitting(job, cache)
    fit = fitting.run()
    del fitting  # which holds the folder's lock
    return fit


@pytest.fixture
def scanned(fitted: FollowedFace, cache: Path, tmp_path: Path) -> Path:
    """A cache of a run that was stopped before it followed the face."""
    copy = tmp_path / "scanned"
    shutil.copytree(cache, copy)
    for part in copy.glob("track_*"):
        part.unlink()
    return copy


def test_the_face_is_followed_and_frames_without_it_stay_empty(
    fitted: FollowedFace, video: FaceVideo, coarse: FaceModel
):
    expected = np.ones(COUNT, bool)
    expected[list(EMPTY)] = False
    np.testing.assert_array_equal(fitted.found, expected)
    assert not fitted.coefficients[~fitted.found].any()
    assert [crop is None for crop in fitted.crops] == (~expected).tolist()
    slices = coarse.layout.slices
    true = video.coefficients.numpy()
    yaw = slices["angles_rad"].start + 1
    error = fitted.coefficients[expected, yaw] - true[expected, yaw]
    # The identity is fitted, not given: its shape and the yaw may trade a little, the same in all.
    assert np.abs(error - error.mean()).max() < 0.13
    identity = fitted.coefficients[expected, slices["identity"]]
    assert np.ptp(identity, axis=0).max() < 1e-6
    assert len(fitted.key_frames) == 4 and not set(fitted.key_frames) & set(EMPTY)


def test_fitted_landmarks_are_nearer_to_the_truth_than_those_given(
    fitted: FollowedFace, video: FaceVideo, coarse: FaceModel
):
    results = VideoResults(VideoMeasures(coarse, fitted), Renderer())
    found, inner = fitted.found, slice(17, 68)
    drawn = results.arrays["lm68"]

    def error(points: np.ndarray) -> float:
        offset = points[found, inner] - video.landmarks[found, inner]
        return float(np.linalg.norm(offset, axis=-1).mean())

    assert error(drawn) < error(fitted.landmarks)
    breaks = np.zeros(COUNT, bool)
    given = jitter(fitted.landmarks[:, inner], found, breaks)
    assert jitter(drawn[:, inner], found, breaks) < given / 3


@pytest.mark.slow
def test_the_public_steps_fit_videos_too(job: VideoJob, fitted: FollowedFace, tmp_path: Path):
    """A few of them: the face is followed, and parts are as reproducible."""
    few = replace(job, schedule=AdamSchedule(60, 5, 1e-2, 1e-2, 20, 5), frames_for_shape=2)
    fit = VideoFitting(few, tmp_path / "cache").run()
    np.testing.assert_array_equal(fit.found, fitted.found)
    yaw = load_face_model(job.face_model).layout.slices["angles_rad"].start + 1
    one, other = (each.coefficients[fit.found, yaw] for each in (fit, fitted))
    assert np.corrcoef(one, other)[0, 1] > 0.7  # so few steps lag behind
    assert (
        np.isfinite(fit.coefficients).all()
        and fit.photo is not None
        and (fit.photo[fit.found] > 0).all()
    )


@pytest.mark.slow  # another fit of the video
def test_the_key_frames_tell_the_focal_length_on_request(
    job: VideoJob, coarse: FaceModel, tmp_path: Path
):
    """One for all frames, with which they are tracked, and which a stopped run finds again."""
    wrong = replace(job, camera=CameraOptions(focal=1600.0), focal=True)
    fit = VideoFitting(wrong, tmp_path / "cache").run()
    focal = float(fit.camera.focal_px[0, 0])
    # These few frames, hardly turned, do not tell it well.
    assert focal != 1600 and 800 < focal < 2000
    with np.load(tmp_path / "cache" / "person.npz") as saved:
        assert 1600 * float(saved["focal_scale"]) == pytest.approx(focal)
    measures = VideoMeasures(coarse, fit)
    arrays = VideoResults(measures, Renderer()).arrays
    assert measures.report().focal_px == float(arrays["focal_px"]) == focal
    offset = measures.landmarks[fit.found, 17:] - fit.landmarks[fit.found, 17:]
    assert np.linalg.norm(offset, axis=-1).mean() < 3
    assert float(VideoFitting(wrong, tmp_path / "cache").run().camera.focal_px[0, 0]) == focal


@pytest.mark.slow  # two more fits of the video
def test_workers_and_parts_do_not_show(
    job: VideoJob, fitted: FollowedFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    start, started = worker_pool._start, []

    def counting(function: Any) -> Any:
        started.append(function)
        return start(function)

    monkeypatch.setattr(worker_pool, "_start", counting)
    two = VideoFitting(job, tmp_path / "two", workers=2).run()
    assert len(started) == 2  # for both passes
    np.testing.assert_allclose(two.coefficients, fitted.coefficients, atol=2e-4)
    whole = VideoFitting(replace(job, part_frames=100), tmp_path / "whole").run()
    offset = np.abs(whole.coefficients - fitted.coefficients)
    yaw = load_face_model(job.face_model).layout.slices["angles_rad"]
    assert offset[:, yaw].max() < 0.02


def test_a_stopped_run_goes_on_where_it_stopped(
    job: VideoJob, fitted: FollowedFace, scanned: Path, monkeypatch: pytest.MonkeyPatch
):
    write, written = video_fitting._Cache.write, []

    def stop(self: Any, name: str, arrays: Any) -> None:
        if name == "track_00001":
            raise KeyboardInterrupt
        write(self, name, arrays)

    monkeypatch.setattr(video_fitting._Cache, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        VideoFitting(job, scanned).run()

    def watch(self: Any, name: str, arrays: Any) -> None:
        written.append(name)
        write(self, name, arrays)

    monkeypatch.setattr(video_fitting._Cache, "write", watch)
    again = VideoFitting(job, scanned)
    np.testing.assert_array_equal(again.run().coefficients, fitted.coefficients)
    assert written == ["track_00001", "track_00002", "track_00003"]
    again.clear_up()
    assert not scanned.exists()


def test_a_part_whose_worker_died_is_done_again(
    job: VideoJob, fitted: FollowedFace, scanned: Path, monkeypatch: pytest.MonkeyPatch
):
    died = []

    class Unlucky(WorkerPool):
        def map(self, items: Any) -> Iterator[tuple[Any, Any]]:
            for item in items:
                if item.number == 1 and len(died) < 2:
                    died.append(item)
                    yield item, WorkerDied(-9)
                else:
                    yield from super().map([item])

    monkeypatch.setattr(video_fitting, "WorkerPool", Unlucky)
    fitting = VideoFitting(job, scanned)
    np.testing.assert_array_equal(fitting.run().coefficients, fitted.coefficients)
    assert len(died) == 2

    class Doomed(WorkerPool):
        def map(self, items: Any) -> Iterator[tuple[Any, Any]]:
            for item in items:
                yield from [(item, WorkerDied(-9))] if item.number == 2 else super().map([item])

    monkeypatch.setattr(video_fitting, "WorkerPool", Doomed)
    (scanned / "track_00002.npz").unlink()
    with pytest.raises(InputError, match="frames 10 to 14: the process working on it died"):
        fitting.run()


def test_a_cache_of_something_else_is_refused(job: VideoJob, tmp_path: Path):
    VideoFitting(job, tmp_path / "cache")
    with pytest.raises(InputError, match="fitted with other options"):
        VideoFitting(replace(job, preset="best"), tmp_path / "cache")
    VideoFitting(replace(job, devices=("cpu", "cpu")), tmp_path / "cache")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"--cache_folder .*mine holds other files"):
        VideoFitting(job, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_cache_has_one_user_at_a_time(job: VideoJob, tmp_path: Path):
    first = VideoFitting(job, tmp_path / "cache")
    with pytest.raises(InputError, match=r"cache is in use by another run; wait for it"):
        VideoFitting(job, tmp_path / "cache")
    first.clear_up()
    assert not (tmp_path / "cache").exists()
    VideoFitting(job, tmp_path / "cache").clear_up()
    with pytest.raises(InputError, match=r"folder .*talk\.mp4.* cannot be made"):
        VideoFitting(job, job.video / "cache")


def test_a_video_without_faces_is_named(job: VideoJob, coarse: FaceModel, tmp_path: Path):
    """And nothing of it stays: another detector may find some."""
    empty = write_face_video(tmp_path / "empty.mp4", coarse, 6, without=range(6))
    with pytest.raises(InputError, match=r"empty\.mp4: no face in any of its 6 frames"):
        VideoFitting(replace(job, video=empty.path), tmp_path / "cache").run()
    assert not (tmp_path / "cache").exists()
    (tmp_path / "mine").mkdir()
    for place in ("results/of today/cache", "mine/results/cache"):
        with pytest.raises(InputError, match="no face in any"):
            VideoFitting(replace(job, video=empty.path), tmp_path / place).run()
    assert not (tmp_path / "results").exists()
    assert not any((tmp_path / "mine").iterdir())


def test_everything_is_written(fitted: FollowedFace, coarse: FaceModel, tmp_path: Path):
    measures = VideoMeasures(coarse, fitted)
    results = VideoResults(measures, Renderer())
    write_arrays(tmp_path / "talk", results.arrays)
    with np.load(tmp_path / "talk.npz") as arrays:
        saved = {key: arrays[key] for key in arrays.files}
    assert saved["coeff"].shape == (COUNT, 257) and saved["lm68"].shape == (COUNT, 68, 2)
    joined = [saved[key] for key in ("id", "exp", "tex", "angle", "gamma", "trans")]
    np.testing.assert_array_equal(np.concatenate(joined, axis=1), saved["coeff"])
    np.testing.assert_array_equal(loadmat(tmp_path / "talk.mat")["coeff"], saved["coeff"])
    # The camera of a frame draws the face's landmarks where lm68 says they are.
    number = 5
    points = coarse.landmarks(
        coarse.shape(
            torch.from_numpy(saved["id"][number : number + 1]),
            torch.from_numpy(saved["exp"][number : number + 1]),
        )
    )[0].numpy()
    placed = points @ saved["R"][number].T + saved["t"][number]
    image = placed @ saved["K"][number].T
    np.testing.assert_allclose(image[:, :2] / image[:, 2:] - 0.5, saved["lm68"][number], atol=0.02)

    problem = results.write_video(tmp_path / "talk_fit.mp4", VideoReader(fitted.info.path))
    assert problem == ""
    side_by_side = VideoReader(tmp_path / "talk_fit.mp4")
    assert (side_by_side.info.width, side_by_side.info.height) == (3 * 320, 240)
    assert len(side_by_side) == COUNT
    seen, missing = (frame.image.astype(int) for frame in side_by_side.read([5, 13]))
    assert np.abs(missing[:, :320] - missing[:, 320:640]).max() < 12  # nothing drawn
    assert missing[:, 640:].max() < 24
    assert seen[60:180, 640 + 110 : 640 + 210].mean() > 80  # the geometry

    results.write_objs(tmp_path / "mesh")
    assert len(list((tmp_path / "mesh").glob("*.obj"))) == COUNT - len(EMPTY)
    still, faces = measures.in_one_camera()
    _, posed = decode(coarse, still, faces)
    offset = posed.landmarks_px.numpy() - 0.5 - saved["lm68"][fitted.found]
    assert np.linalg.norm(offset, axis=-1).mean() < 0.5
    results.write_glb(tmp_path / "talk.glb", units=False)
    animated = trimesh.load(tmp_path / "talk.glb", process=False)
    assert isinstance(animated, trimesh.Scene) and len(animated.geometry) == 1
    endings = ("_fit.mp4", ".glb", "_report.html")
    remove_stale(tmp_path / "talk", {"_fit.mp4": True, ".glb": True, "_report.html": False})
    assert (tmp_path / "talk_fit.mp4").is_file() and (tmp_path / "talk.glb").is_file()
    (tmp_path / "talk_report.html").touch()
    stale = tmp_path / "talk_mesh"
    stale.mkdir()
    for name in ("000001.obj", "000099.obj", "mine.obj"):
        (stale / name).touch()
    remove_stale(tmp_path / "talk", dict.fromkeys(endings, False))
    results.remove_stale_meshes(tmp_path / "talk", written=True)
    assert sorted(path.name for path in stale.iterdir()) == ["000001.obj", "mine.obj"]
    assert not (tmp_path / "talk_fit.mp4").exists() and not (tmp_path / "talk.glb").exists()
    assert not (tmp_path / "talk_report.html").exists()
    assert (tmp_path / "talk.npz").is_file()
    report = measures.report("no sound")
    write_report(tmp_path / "report.json", report)
    saved_report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert saved_report["without_face"] == [[EMPTY.start, EMPTY.stop - 1]]
    assert saved_report["frames_with_face"] == COUNT - len(EMPTY)
    assert saved_report["audio"] == "no sound"
    assert report.jitter_px <= report.jitter_tracked_px < report.jitter_given_px


def test_workers_compute_matrix_products_in_full_precision():
    """Whatever their container's environment says: no command has chosen a device in them."""

    class Seen(video_fitting._ScanPart):
        def result(self, tools: Any) -> Any:
            return torch.get_float32_matmul_precision()

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        part = Seen(0, None)  # pyright: ignore[reportArgumentType]
        assert video_fitting._Work(None)(part) == "highest"  # pyright: ignore
    finally:
        torch.set_float32_matmul_precision(before)


class TrueLandmarks:
    """A tracker that knows where the face is in each frame that comes."""

    is_new = False

    def __init__(self, landmarks: np.ndarray) -> None:
        self._landmarks = iter(landmarks)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return next(self._landmarks)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("workers", "steps"), [(1, None), (1, "adam"), (2, None)])
def test_a_gpu_follows_the_face_of_a_video_as_the_cpu_does(
    tmp_path: Path,
    coarse: FaceModel,
    job: VideoJob,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    steps: str | None,
):
    """In this process and in processes of its own; where the face is seen is given."""
    video = write_face_video(tmp_path / "talk.mp4", coarse, 8)
    tracker = TrueLandmarks(video.landmarks)
    monkeypatch.setattr(video_fitting, "LandmarkTracker", lambda _: tracker)
    monkeypatch.setattr(video_fitting, "create_detector", lambda _: None)
    schedule = None if steps is None else AdamSchedule(20, 5, next_rigid_steps=5, next_steps=3)
    # Two parts, each frame in one of them.
    mine = replace(job, video=video.path, part_frames=4, overlap_frames=0, schedule=schedule)
    cache = tmp_path / "cache"
    fitting = VideoFitting(mine, cache)
    on_cpu = fitting.run().coefficients
    del fitting  # which holds the folder's lock
    for part in (*cache.glob("track_*"), cache / "person.npz"):
        part.unlink()
    fitting = VideoFitting(replace(mine, devices=("cuda:0",)), cache, workers)
    followed = fitting.run()
    on_gpu = followed.coefficients
    assert followed.found.all() and len(list(cache.glob("track_*"))) == 2
    # So few steps of Adam end on a slope, where rounding leads apart.
    off, slices = 1 if steps is None else 4, coarse.layout.slices
    for name, atol in (("angles_rad", 0.02), ("translation_dm", 0.05), ("expression", 0.2)):
        np.testing.assert_allclose(
            on_gpu[:, slices[name]], on_cpu[:, slices[name]], rtol=0, atol=off * atol
        )
