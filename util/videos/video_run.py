"""Fit a video from the command line's options: fit, write, report, clear up."""

from __future__ import annotations

from pathlib import Path

import torch

from models.renderer import Renderer
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.face_options import CameraOptions, FaceModelOptions, RenderOptions
from options.fit_options import (
    FitOptions,
    VideoFitOptions,
    chosen_schedule,
    chosen_track,
    chosen_weights,
)
from options.flags import ParsedOptions
from options.record import write_options
from util.assets import choose_face_model
from util.compilation import say_when_compiling
from util.cores import usable_cores
from util.devices import choose_device, chosen_renderer, present_gpus
from util.errors import InputError
from util.reports.report_parts import REPORT_ENDING
from util.reports.reported_run import ReportedRun
from util.reports.video_report import VideoReportWriter, VideoSource
from util.videos.frame_files import write_arrays
from util.videos.video_fitting import VideoFitting, VideoJob
from util.videos.video_heads import check_frames, talking_heads, write_talking_heads
from util.videos.video_measures import VideoMeasures, say, say_clock, write_report
from util.videos.video_results import VideoResults, remove_stale

MOST_WORKERS = 8
"""That a run starts unasked: each holds 0.7 gigabytes."""
_SIDE = ("_fit.mp4", "Input, overlay, geometry")
_PAGE_FILES = {
    "_fit.mp4": "input, overlay, geometry",
    ".npz": "coefficients, cameras, landmarks of each frame",
    ".mat": "the same",
    ".glb": "animated head",
    "_mesh": "a mesh for each frame",
    "_report.json": "the numbers",
}
"""Endings of the files that a page links, and what they hold."""


@say_when_compiling()
def fit_video(options: ParsedOptions) -> None:
    """Fit the video of `--v_path` and write everything about it into `--res_folder`."""
    fit, video = options[FitOptions], options[VideoFitOptions]
    path, results = Path(fit.v_path), Path(fit.res_folder)
    schedule = chosen_schedule(options)
    devices = _devices(options)
    for device in devices:
        chosen_renderer(options[RenderOptions], torch.device(device))
    face_model, message = choose_face_model(options[FaceModelOptions])
    print(f"Face model: {message}")
    stem = results / path.stem
    cache = Path(video.cache_folder) if video.cache_folder else stem.with_name(f"{path.stem}_cache")
    job = VideoJob(
        video=path,
        face_model=options[FaceModelOptions],
        camera=options[CameraOptions],
        render=options[RenderOptions],
        detection=options[DetectionOptions],
        weights=chosen_weights(options),
        track=chosen_track(options),
        preset=fit.preset,
        frames_for_shape=video.nframes_shape,
        focal=fit.fit_focal,
        schedule=schedule,
        card=str(face_model.card),
        devices=devices,
    )
    if video.save_mesh in ("glb", "glb_units") and face_model.skeleton is not None:
        raise InputError(
            f"--save_mesh {video.save_mesh}: joints of face model {face_model.card.name} move "
            "the mesh as no morph target can; take obj"
        )
    if video.save_mesh == "glb_units" and not face_model.unit_names:
        raise InputError(
            f"--save_mesh glb_units: face model {face_model.card.name} has no named units; take glb"
        )
    heads = talking_heads(options, face_model)
    fitting = VideoFitting(job, cache, _workers(options, devices))
    check_frames(heads, fitting.reader)
    say_clock(fitting.reader)
    done = fitting.run()

    backend = options[RenderOptions].renderer
    renderer = Renderer("auto" if backend == "nvdiffrast" else backend)
    measures = VideoMeasures(face_model, done)
    out = VideoResults(measures, renderer)
    report_path = stem.with_name(f"{path.stem}_report.json")
    is_again = report_path.is_file()
    write_options(options, results, "fit")
    write_arrays(stem, out.arrays)
    audio = ""
    if video.save_video:
        audio = out.write_video(stem.with_name(f"{path.stem}_fit.mp4"), fitting.reader)
    if video.save_mesh == "obj":
        out.write_objs(stem.with_name(f"{path.stem}_mesh"))
    elif video.save_mesh != "none":
        glb, units = stem.with_name(f"{path.stem}.glb"), video.save_mesh == "glb_units"
        out.write_glb(glb, units=units)
    if is_again:
        remove_stale(stem, _written(video, fit.report))
        out.remove_stale_meshes(stem, written=video.save_mesh == "obj")
    report = measures.report(audio)
    write_report(report_path, report)
    page = ""
    if fit.report:
        source = VideoSource(ReportedRun.of("fit.py", options), _PAGE_FILES, *_SIDE)
        VideoReportWriter(measures, report, source).write(stem, fitting.reader)
        page = f"Open in a browser: {stem}{REPORT_ENDING}"
    problems = write_talking_heads(heads, results, out.track(path.stem), is_again=is_again)
    fitting.clear_up()
    say(report, results, "fitted")
    for problem in problems:
        print(problem)
    if page:
        print(page)


def _workers(options: ParsedOptions, devices: tuple[str, ...]) -> int:
    """How many processes share the video's frames; `devices` are those that they take turns on."""
    asked, threads = options[VideoFitOptions].nworkers, options[BaseOptions].num_cpu_threads
    if asked or devices[0] != "cpu":
        return max(asked, len(devices))
    return min(threads or usable_cores(), MOST_WORKERS)


def _written(video: VideoFitOptions, with_page: bool) -> dict[str, bool]:
    """Which of the files that not every run writes this one does, by their endings."""
    return {
        "_fit.mp4": video.save_video,
        ".glb": video.save_mesh in ("glb", "glb_units"),
        REPORT_ENDING: with_page,
    }


def _devices(options: ParsedOptions) -> tuple[str, ...]:
    """The devices that parts of the video take turns on."""
    base, wanted = options[BaseOptions], options[VideoFitOptions].ngpus
    chosen = choose_device(base.gpu_ids, base.num_cpu_threads)
    if chosen.type == "cpu":
        if wanted > 0:
            raise InputError(
                f"--ngpus is {wanted}, but this machine has no usable GPU; leave it out"
            )
        return ("cpu",)
    numbers = present_gpus(base.gpu_ids)
    if wanted and len(numbers) == 1:
        numbers = tuple(range(torch.cuda.device_count()))  # gpu_ids is at its default
    if wanted > len(numbers):
        raise InputError(f"--ngpus is {wanted}, but there are {len(numbers)} GPUs to use")
    numbers = numbers[: wanted or None]
    return tuple(f"cuda:{number}" for number in numbers)
