"""Animate one person's face with another's motion, from the command line's options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from data.video import VideoReader
from models.animation import FaceMotion, Transfer, animate, calmed, plain_light
from models.camera import Camera
from models.face_model import FaceModel
from models.parameters import Coefficients
from models.renderer import Renderer
from options.animate_options import ALBEDO, AUTO, AnimateOptions
from options.base_options import BaseOptions
from options.face_options import NAMED_FACE_MODELS, CameraOptions, FaceModelOptions, RenderOptions
from options.fitting_weights import SmoothingOptions
from options.flags import ParsedOptions, flag_name, flag_tokens
from options.groups import TRACKING_GROUPS
from util.animation.animation_files import (
    Animation,
    Look,
    write_animated_glb,
    write_frames,
    write_picture,
    write_strengths,
    write_video,
)
from util.animation.face_texture import FaceTexture, read_face_texture, texture_of
from util.animation.units_file import read_units
from util.assets import choose_face_model
from util.devices import choose_device
from util.errors import InputError
from util.photos.saved_faces import SavedFaces, read_saved_faces
from util.photos.saved_names import find_saved
from util.videos.video_measures import decode


@dataclass(frozen=True)
class _Driver:
    """What moves the face, as far as it is read."""

    name: str
    saved: SavedFaces | None = None
    csv: Path | None = None
    video: Path | None = None
    """That was fitted here, with the sound."""


def run_animation(options: ParsedOptions, fit_video: Callable[[list[str]], None]) -> Path:
    """Read, animate and write, as the options say.

    Args:
        options: of the command.
        fit_video: fits a video by the flags of `fit.py`.

    Returns:
        What was written.
    """
    wanted = options[AnimateOptions]
    # Device and threads; the model itself stays on the CPU, where everything is drawn.
    choose_device("-1", options[BaseOptions].num_cpu_threads)
    person = _read_person(wanted.coeffs) if wanted.coeffs else None
    known = person
    driver = _find_driver(wanted, options)
    if driver.csv is None and driver.video is None and driver.saved is None:
        driver = replace(driver, saved=person)
    if driver.saved is not None and known is None:
        known = driver.saved
    face_model = _face_model(options, known)
    if driver.video is not None:
        driver = replace(driver, saved=_track(driver.video, options, face_model, fit_video))
    person = person or driver.saved
    assert person is not None
    records = [saved.record for saved in (person, driver.saved) if saved]
    for path in sorted({record.path for record in records if not record.face_model}):
        print(f"{path}: nothing beside it says its face model; it is taken as this one")
    out = _output(wanted, person, driver)
    animation = _animation(options, face_model, person, driver)
    problem = _write(out, animation, options, with_units=driver.csv is not None)
    frames = "1 frame" if len(animation) == 1 else f"{len(animation)} frames"
    print(f"{frames} written to {out}{f'; {problem}' if problem else ''}")
    return out


def _read_person(given: str) -> SavedFaces:
    found = find_saved(Path(given))
    assert found is not None  # `check_animation` has seen it, before this was imported
    return read_saved_faces(found)


def _find_driver(wanted: AnimateOptions, options: ParsedOptions) -> _Driver:
    """What `--with` names."""
    if not wanted.with_:
        return _Driver("itself")
    path = Path(wanted.with_)
    if path.suffix.lower() == ".csv":
        return _Driver(path.stem, csv=path)
    found = find_saved(path)
    if found is not None:
        return _Driver(found.stem, saved=read_saved_faces(found))
    VideoReader(path)  # which says what the file is, if it is no video
    return _Driver(path.stem, video=path)


def _face_model(options: ParsedOptions, saved: SavedFaces | None) -> FaceModel:
    """That of the coefficients, unless the user names one."""
    face = options[FaceModelOptions]
    name = "" if saved is None else saved.record.face_model.get("name", "")
    if not options.given("face_model") and name in NAMED_FACE_MODELS:
        face = replace(face, face_model=name)
    face_model, message = choose_face_model(face)
    print(f"Face model: {message}")
    return face_model


def _track(
    video: Path,
    options: ParsedOptions,
    face_model: FaceModel,
    fit_video: Callable[[list[str]], None],
) -> SavedFaces:
    """Fit a video with the options that both commands have."""
    wanted = options[AnimateOptions]
    argv = ["--v_path", str(video), "--res_folder", wanted.res_folder]
    argv += ["--preset", wanted.preset, "--save_video=False"]
    if wanted.nworkers:
        argv += ["--nworkers", str(wanted.nworkers)]
    shared = [(group, field) for group in TRACKING_GROUPS for field in fields(group)]
    for group, field in shared:
        name = flag_name(field)
        if options.given(name) and name != "face_model":
            argv += flag_tokens(name, getattr(options[group], field.name))
    named = options[FaceModelOptions].face_model
    if not options.given("face_model") and face_model.card.name in NAMED_FACE_MODELS:
        named = face_model.card.name
    fit_video([*argv, f"--face_model={named}"])
    return read_saved_faces(Path(wanted.res_folder) / f"{video.stem}.npz")


def _animation(
    options: ParsedOptions, face_model: FaceModel, person: SavedFaces, driver: _Driver
) -> Animation:
    """Coefficients of all frames."""
    wanted, transfer = options[AnimateOptions], _transfer(options[AnimateOptions])
    own = person.coefficients(face_model).item(0)
    texture = _texture(wanted, person, face_model, own)
    if wanted.light == "plain":
        own = replace(own, gamma=plain_light(own.gamma))
    poses_of_b = driver.saved is not None and transfer.pose and not transfer.relative
    seen = driver.saved if poses_of_b else person
    camera = Camera.rnet(options[CameraOptions])
    if seen is not None and seen.focal_px is not None:
        camera = camera.refocused(seen.focal_px / options[CameraOptions].focal)
    if driver.csv is not None:
        motion = _unit_motion(driver.csv, wanted, face_model)
    else:
        assert driver.saved is not None
        motion = _motion(driver.saved, face_model, camera)
    if wanted.smooth:
        motion = calmed(motion, face_model, options[SmoothingOptions])
    if transfer.neutral is not None and transfer.neutral >= len(motion):
        raise InputError(
            f"--neutral is {transfer.neutral}; there are frames 0 to {len(motion) - 1}"
        )
    strengths = motion.strengths if transfer.expression and not transfer.relative else None
    return Animation(
        face_model=face_model,
        faces=animate(face_model, own, motion, transfer),
        times_s=motion.times_s,
        camera=camera,
        strengths=strengths,
        texture=texture,
        audio=driver.video if driver.video and VideoReader(driver.video).info.has_audio else None,
    )


def _texture(
    wanted: AnimateOptions, person: SavedFaces, face_model: FaceModel, own: Coefficients
) -> FaceTexture | None:
    """What `--texture` names, if anything."""
    given = wanted.texture
    path = texture_of(person.path) if given == AUTO else Path(given)
    if given == ALBEDO or path is None:
        return None
    print(f"Texture: {path}")
    with torch.inference_mode():
        _, posed = decode(face_model, Camera.rnet(), own)
        return read_face_texture(path, face_model, posed.normals, own.gamma)


def _transfer(wanted: AnimateOptions) -> Transfer:
    """What of the motion is taken."""
    return Transfer(
        expression="expression" in wanted.take,
        pose="pose" in wanted.take and wanted.pose_of != "A",
        relative=wanted.relative,
        neutral=None if wanted.neutral < 0 else wanted.neutral,
    )


def _motion(saved: SavedFaces, face_model: FaceModel, camera: Camera) -> FaceMotion:
    """Of a photo or a video, before a camera that stands still."""
    faces: Coefficients = saved.in_still_camera(face_model, camera)
    return FaceMotion(
        times_s=saved.times_s,
        expression=faces.expression,
        angles_rad=faces.angles_rad,
        translation_dm=faces.translation_dm,
        joints_rad=faces.joints_rad,
        starts=saved.starts,
    )


def _unit_motion(path: Path, wanted: AnimateOptions, face_model: FaceModel) -> FaceMotion:
    """Of a csv."""
    if not face_model.unit_names:
        raise InputError(
            f"--with {path}: face model {face_model.card.name} has no named units; fit the face "
            "with one that has (open, ict), or give coefficients to --with"
        )
    units = read_units(path, face_model.unit_names, wanted.fps)
    for notice in units.notices:
        print(notice)
    angles = None
    if units.head is not None:
        yaw, pitch, roll = (units.head * np.array(wanted.head_factors)).T
        angles = torch.from_numpy(np.stack([pitch, yaw, roll], axis=1)).float()
    strengths = torch.from_numpy(units.strengths).to(face_model.unit_matrix)
    return FaceMotion(
        times_s=units.times_s,
        expression=strengths @ face_model.unit_matrix,
        angles_rad=angles,
        strengths=units.strengths,
    )


def _output(wanted: AnimateOptions, person: SavedFaces, driver: _Driver) -> Path:
    if wanted.out:
        return Path(wanted.out)
    return Path("animations") / f"{person.path.stem}_{driver.name}.mp4"


def _write(out: Path, animation: Animation, options: ParsedOptions, *, with_units: bool) -> str:
    """Write what the ending of the path says; returns what is to be told about it."""
    wanted, ending = options[AnimateOptions], out.suffix.lower()
    backend = options[RenderOptions].renderer
    look = Look(
        wanted.size,
        wanted.background,
        Renderer("auto" if backend == "nvdiffrast" else backend),
    )
    if ending == ".mp4":
        if len(animation) == 1:
            raise InputError(
                f"--out {out}: a photo gives one frame; write a .png, a .glb or a folder"
            )
        return write_video(out, animation, look)
    if ending == ".glb":
        units = with_units if wanted.targets == "auto" else wanted.targets == "units"
        write_animated_glb(out, animation, units=units)
    elif ending == ".csv":
        write_strengths(out, animation)
    elif ending == ".png":
        write_picture(out, animation, look)
    else:
        write_frames(out, animation, look, wanted.frames)
    return ""
