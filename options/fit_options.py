"""Options of `fit.py` alone."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from data.images import check_named_photos, common_folder, find_folder, list_images
from data.landmarks import read_landmarks
from data.video_kind import check_video_file, is_video_name
from options.face_options import FaceModelOptions, check_face_model
from options.fitting_weights import (
    KNOWN_FACE,
    PUBLIC_WEIGHTS,
    AdamSchedule,
    FitWeights,
    Preset,
    TrackWeights,
)
from options.flags import ParsedOptions
from options.output_checks import check_photos, check_usual_focal, check_video
from options.output_options import OutputOptions
from util.errors import InputError, of_flag
from util.folders import check_folder
from util.training.run_choice import find_trained


@dataclass(frozen=True)
class FitOptions:
    """What is fitted, and how."""

    img_path: tuple[str, ...] = ()
    """A photo, several of one folder, or a folder of photos; detections/<stem>.txt and
    landmarks/<stem>.txt beside them are used where they are there. Paths without a flag mean this,
    or v_path."""
    v_path: str = ""
    """A video of one person."""
    res_folder: str = "fits"
    """Folder of the results."""
    preset: Preset = "balanced"
    """fast, balanced or best: how finely the photo is looked at, and how many steps are tried."""
    weights: Literal["own", "public"] = "own"
    """own: tuned on rendered heads whose shape is known; public: those of 3DMM-Fitting-Pytorch.
    Each w_... that is given replaces its one."""
    solver: Literal["gauss_newton", "adam"] = "gauss_newton"
    """gauss_newton; or adam: the steps of 3DMM-Fitting-Pytorch (--first_rf_iters and so on), which
    take a hundred times as long."""
    init: Literal["landmarks", "regress"] = "landmarks"
    """What fitting starts from: the landmarks, or the R-Net of the run --name."""
    faces: Literal["largest", "all"] = "largest"
    """Fit the largest face of each photo, or all."""
    same_person: bool = False
    """The photos show one person: one identity and albedo for all, each its own expression, pose
    and light."""
    fit_focal: bool = False
    """Look for the focal length too, near --focal: one for all photos of --same_person, or for a
    video. A single photo hardly tells it."""
    landmarks: str = ""
    """File of 68 points of the photo (pixel indices, a line each), in place of detection."""
    photo_overlay: bool = True
    """Also write <stem>_photo.jpg, the faces laid over the whole photo."""
    report: bool = True
    """Also write <stem>_report.html, a page of each face, or of the video, to turn and to read, and
    index.html, which shows all faces."""
    faces_at_once: int = 0
    """Faces that are fitted side by side; 0 takes 1 on the CPU and 16 on a GPU."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.faces_at_once < 0:
            raise InputError(f"--faces_at_once is {self.faces_at_once}; it must be 0 or more")
        if self.img_path and self.v_path:
            raise InputError("--img_path and --v_path are both given; fit one after the other")
        if self.same_person and self.faces == "all":
            raise InputError(
                "--same_person takes the largest face of each photo; leave out --faces all"
            )
        if self.fit_focal and self.solver == "adam":
            raise InputError("--solver adam holds the focal length fixed; leave out --fit_focal")
        if self.fit_focal and not self.same_person and self.faces_at_once > 1:
            raise InputError(
                "--fit_focal: faces that are fitted side by side would share a focal length; leave "
                "out --faces_at_once, or give --same_person"
            )


@dataclass(frozen=True)
class AdamOptions:
    """Steps of --solver adam, by the names of 3DMM-Fitting-Pytorch; without it they do nothing."""

    first_rf_iters: int = AdamSchedule.rigid_steps
    """Steps of the pose, from the landmarks alone."""
    first_nrf_iters: int = AdamSchedule.steps
    """Steps of everything."""
    rest_rf_iters: int = AdamSchedule.next_rigid_steps
    """Steps of the pose of a video's further frames."""
    rest_nrf_iters: int = AdamSchedule.next_steps
    """Steps of everything else of them."""
    rf_lr: float = AdamSchedule.rigid_rate
    """Rate of the steps of the pose."""
    nrf_lr: float = AdamSchedule.rate
    """Rate of the others."""

    @property
    def schedule(self) -> AdamSchedule:
        """The steps."""
        return AdamSchedule(
            self.first_rf_iters,
            self.first_nrf_iters,
            self.rf_lr,
            self.nrf_lr,
            self.rest_rf_iters,
            self.rest_nrf_iters,
        )

    def __post_init__(self) -> None:
        """Refuse what no step can be made with."""
        for name in ("first_rf_iters", "first_nrf_iters", "rest_rf_iters", "rest_nrf_iters"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("rf_lr", "nrf_lr"):
            if not getattr(self, name) > 0:
                raise InputError(f"--{name} is {getattr(self, name)}; it must be above 0")


@dataclass(frozen=True)
class VideoFitOptions:
    """Videos."""

    nframes_shape: int = 16
    """Frames, spread over pose and expression, that identity and albedo are fitted to."""
    nworkers: int = 0
    """Processes that share the frames; 0 takes one for each core, eight at most, or one for each
    GPU."""
    ngpus: int = 0
    """GPUs that they take turns on, from 0 on; 0 takes those of gpu_ids."""
    cache_folder: str = ""
    """Folder of finished parts, from which a stopped run goes on; <res_folder>/<stem>_cache if
    empty. Parts are removed when all is written."""
    save_mesh: Literal["none", "obj", "glb", "glb_units"] = "none"
    """obj: a mesh for every frame in <res_folder>/<stem>_mesh/; glb: one animated <stem>.glb with
    the expression components as morph targets, glb_units with the named units, as near as they
    come."""
    save_video: bool = True
    """Write the side-by-side video: input, overlay, geometry."""

    def __post_init__(self) -> None:
        """Refuse numbers that fit nothing."""
        for name, least in (("nframes_shape", 1), ("nworkers", 0), ("ngpus", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} is {getattr(self, name)}; it must be at least {least}")


def chosen_input(options: ParsedOptions) -> Literal["photos", "video"]:
    """What is to be fitted, after a look at whether it is there and results can be written.

    Raises:
        InputError: nothing is named, it does not exist or is something else, there is no such face
            model or network to start from, --save cannot be, or results cannot go to --res_folder.
    """
    fit, save = options[FitOptions], options[OutputOptions].save
    check_folder(fit.res_folder, "res_folder")
    if fit.init == "regress" and not fit.v_path:
        find_trained(options, either=False)
    check_face_model(options[FaceModelOptions])
    if fit.fit_focal:
        check_usual_focal(save)
    if fit.v_path:
        usual = FitOptions()
        for flag in ("landmarks", "same_person", "faces", "init"):
            # Believed to work, were it taken. A recorded run gives them too, at their defaults.
            if getattr(fit, flag) != getattr(usual, flag):
                raise InputError(f"--{flag} is for photos; leave it out with --v_path")
        with of_flag("v_path"):
            check_video_file(Path(fit.v_path))
        check_video(save)
        return "video"
    if not fit.img_path:
        raise InputError("nothing to fit: give photos, a folder or a video: python fit.py my.jpg")
    found = chosen_photos(fit)
    places = [found] if isinstance(found, Path) else found
    with of_flag("img_path"):
        photos = [photo for place in places for photo in list_images(place)]
    for problem in check_named_photos(places, "img_path"):
        print(f"{problem}. The other photos are fitted")
    check_photos(save, photos)
    _say_what_photos_ignore(options, len(photos))
    if fit.landmarks and not Path(fit.landmarks).is_file():
        raise InputError(f"--landmarks {fit.landmarks}: there is no such file")
    if fit.landmarks and not any(place.is_dir() for place in places):
        _check_landmarks(Path(fit.landmarks))
    return "photos"


def chosen_photos(fit: FitOptions) -> Path | list[Path]:
    """The folder or the photos that `--img_path` names.

    Raises:
        InputError: one does not exist, or is a video, or they do not lie together.
    """
    found = [find_folder(name, Path("datasets"), "img_path") for name in fit.img_path]
    for path in found:
        if is_video_name(path):
            raise InputError(
                f"--img_path {path} is a video by its name; fit it by a call of its own: python "
                f"fit.py --v_path {shlex.quote(str(path))}"
            )
    if len(found) == 1:
        return found[0]
    common_folder(found)
    return found


def chosen_weights(options: ParsedOptions) -> FitWeights:
    """The weights that `--weights` names, and those given one by one."""
    given = options[FitWeights]
    if options[FitOptions].weights == "own":
        return given
    return FitWeights(
        **{
            name: getattr(given if options.given(name) else PUBLIC_WEIGHTS, name)
            for name in vars(PUBLIC_WEIGHTS)
        }
    )


def chosen_schedule(options: ParsedOptions) -> AdamSchedule | None:
    """The steps of `--solver adam`; None for Gauss-Newton, with a line on flags given in vain."""
    adam = options[AdamOptions]
    if options[FitOptions].solver == "adam":
        for name in ("rest_rf_iters", "rest_nrf_iters"):
            if name in options.changed() and not options[FitOptions].v_path:
                print(f"--{name} has no effect: a photo has no other frames")
        return adam.schedule
    for name in vars(adam):
        if name in options.changed():  # a recorded run gives all of them
            print(
                f"--{name} has no effect: Gauss-Newton takes a few steps by --preset; --solver "
                "adam takes it"
            )
    return None


def chosen_track(options: ParsedOptions) -> TrackWeights:
    """The weights of the tracking; with `--weights public`, frames weigh what photos do."""
    given = options[TrackWeights]
    if options[FitOptions].weights == "own":
        return given
    same = {name: 1.0 for name in KNOWN_FACE if not options.given(name)}
    return replace(given, **same)


def _say_what_photos_ignore(options: ParsedOptions, count: int) -> None:
    """A line for each flag that is for videos, or for several photos of one person."""
    instead = {"save_mesh": "; --save takes glb, neutral, usdz and others"}
    for group in (VideoFitOptions, TrackWeights):
        for name in vars(options[group]):
            if name in options.changed():  # a recorded run gives all of them
                print(f"--{name} has no effect: it is for videos{instead.get(name, '')}")
    if options[FitOptions].same_person and count == 1:
        print("--same_person has no effect: there is one photo")


def _check_landmarks(path: Path) -> None:
    """Refuse a file that is none of 68 points before results of an earlier run are replaced."""
    if (count := len(read_landmarks(path))) != 68:
        raise InputError(f"--landmarks {path} has {count} points; a fit needs the 68 of iBUG")
