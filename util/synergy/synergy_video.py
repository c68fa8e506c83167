"""A video through a SynergyNet: one face followed, smoothed, drawn over the frames, on a page.

Mesh and axes stand over the frames, with the sound of the source. Pictures are held one at a time,
numbers of all frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.video import VideoFrame, VideoReader
from models.pixel_view import PixelView
from options.data_options import DetectionOptions
from options.face_options import FaceModelOptions
from options.fitting_weights import SmoothingOptions
from options.flags import ParsedOptions
from options.output_options import OutputOptions
from options.record import write_options
from options.synergy_options import SynergyTestOptions
from util.reports.report_parts import REPORT_ENDING
from util.reports.reported_run import ReportedRun
from util.reports.video_report import VideoReportWriter, VideoSource
from util.synergy.synergy_faces import OVERLAY_ALPHA, draw_axes
from util.synergy.synergy_followed import followed_face
from util.synergy.synergy_reconstruction import full_face_model
from util.synergy.synergy_track import (
    SynergyTrack,
    landmarks_of,
    mesh_of,
    pose_only,
    track_arrays,
    track_face,
)
from util.synergy.synergy_trained import TrainedSynergy, load_trained_synergy
from util.videos.followed_face import without_any_face
from util.videos.frame_files import common_arrays, write_arrays, write_side_by_side
from util.videos.video_measures import VideoMeasures, report_of, say, say_clock, write_report
from util.videos.video_results import remove_stale

_SIDE = "_synergy.mp4"
_FILES = {
    _SIDE: "input, mesh and axes over it",
    ".npz": "landmarks, poses, shape, expression of each frame",
    "_report.json": "the numbers",
}
"""Endings of the files that a page links, and what they hold."""


def reconstruct_video(options: ParsedOptions) -> None:
    """The video of `--v_path`, into a folder of results."""
    test = options[SynergyTestOptions]
    if options.given("save") and options[OutputOptions].save == OutputOptions().save:
        print("--save glb has no effect on a video")
    trained = load_trained_synergy(options)
    path = Path(test.v_path)
    given = Path(test.res_folder) if test.res_folder else None
    results = given or trained.results_folder(path.parent, path.stem)
    run = ReportedRun.of("test.py", options, network=trained.said, told=("weights",))
    follow_video(trained, options, run, path, results, draw=test.draw, page=test.report)
    write_options(options, results, "test")


def follow_video(
    trained: TrainedSynergy,
    options: ParsedOptions,
    run: ReportedRun,
    path: Path,
    results: Path,
    *,
    draw: bool,
    page: bool,
) -> None:
    """Follow the largest face of a video, and write everything about it.

    Args:
        trained: the network.
        options: of detection, smoothing and face model.
        run: what the page says of it.
        path: the video.
        results: folder.
        draw: write the video with mesh and axes.
        page: write the report.

    Raises:
        InputError: not a video, or no face in it.
    """
    if draw or page:
        trained.need_triangles()
    reader = VideoReader(path)
    say_clock(reader)
    raw = track_face(trained, reader, options[DetectionOptions])
    if not raw.found.any():
        raise without_any_face(path, len(reader))
    layout = trained.network.face.layout
    deviations = trained.network.whitening_std[layout.pose + layout.shape :].cpu().numpy()
    smooth = raw.smoothed(reader.times_s, deviations, options[SmoothingOptions])
    stem = results / path.stem
    landmarks = landmarks_of(trained, smooth)
    face_model = None
    if page:
        face_model = full_face_model(trained.network.face, options[FaceModelOptions])
    face = followed_face(trained, face_model, reader, raw, smooth, landmarks)
    assert face.predicted is not None
    arrays = common_arrays(face, face.predicted.landmarks) | track_arrays(smooth, landmarks)
    write_arrays(stem, arrays, (".npz",))
    # Numbers first: drawing takes longest.
    audio = ""
    if draw:
        audio = draw_video(
            stem.with_name(f"{path.stem}{_SIDE}"), reader, trained, smooth, landmarks
        )
    report = report_of(face, face.predicted.landmarks, face.predicted.landmarks_tracked, audio)
    report_path = stem.with_name(f"{path.stem}_report.json")
    if report_path.is_file():
        remove_stale(stem, {_SIDE: draw, REPORT_ENDING: page})
    write_report(report_path, report)
    if face_model is not None:
        source = VideoSource(run, _FILES, _SIDE, "Input, the same with mesh and axes")
        VideoReportWriter(VideoMeasures(face_model, face), report, source).write(stem, reader)
    say(report, results, "followed")
    if page:
        print(f"Open in a browser: {stem}{REPORT_ENDING}")


def draw_video(
    path: Path,
    reader: VideoReader,
    trained: TrainedSynergy,
    track: SynergyTrack,
    landmarks: np.ndarray,
) -> str:
    """Write frame | the same with mesh and axes.

    Returns:
        Why the sound was not kept; empty if it was, or there is none.
    """
    face = trained.network.face
    view = PixelView(face.triangles.cpu().numpy(), face.vertex_count)

    def panels(frame: VideoFrame) -> tuple[np.ndarray, np.ndarray]:
        drawn = frame.image
        if track.found[frame.number]:
            mesh = mesh_of(trained, track, frame.number)
            drawn = view.draw_over(drawn, [mesh], [view.shaded(mesh)], alpha=OVERLAY_ALPHA)
            drawn = draw_axes(drawn, [pose_only(track, landmarks, frame.number)])
        return frame.image, drawn

    return write_side_by_side(path, reader, panels)
