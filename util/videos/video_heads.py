"""`fit.py --v_path --save ...`: a fitted video in the formats of programs that make faces talk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.video import VideoReader
from models.camera import Camera
from models.face_model import FaceModel
from options.face_options import CameraOptions, RenderOptions
from options.flags import ParsedOptions
from options.output_options import OutputOptions
from util.errors import InputError
from util.outputs import OUTPUTS, create_outputs
from util.outputs.output import OutputSource
from util.outputs.talking_heads import TalkingHead
from util.videos.face_track import FaceTrack


def talking_heads(options: ParsedOptions, face_model: FaceModel) -> list[TalkingHead]:
    """What `--save` names; its default is for photos.

    Raises:
        InputError: a kind is not for this face model, or not for this camera.
    """
    if options[OutputOptions].save == OutputOptions().save:
        if options.given("save"):
            print("--save glb has no effect on a video; --save_mesh glb writes its mesh")
        return []
    camera = Camera.rnet(options[CameraOptions])
    backend = options[RenderOptions].renderer
    source = OutputSource.of(face_model, camera, backend, options[OutputOptions])
    heads = []
    for named in create_outputs(source):
        assert isinstance(named.output, TalkingHead)  # as `check_video` has seen
        heads.append(named.output)
    return heads


def check_frames(heads: Sequence[TalkingHead], reader: VideoReader) -> None:
    """Before anything long begins: refuse frames that a program cannot take, name other doubts.

    Raises:
        InputError: frames of a wrong size.
    """
    info = reader.info
    for head in heads:
        try:
            head.check_size((info.width, info.height))
        except ValueError as error:
            raise InputError(f"--save {head.kind()}: {info.path}: {error}") from error
        if head.plays_hz is not None and len(reader) > 1:
            rate = 1 / float(np.median(np.diff(reader.times_s)))
            if abs(rate - head.plays_hz) > 0.01 * head.plays_hz:
                print(
                    f"--save {head.kind()}: {head.program} plays {head.plays_hz} frames a second, "
                    f"and {info.path} has {rate:.4g}; make it {head.plays_hz} where sound matters"
                )


def write_talking_heads(
    heads: Sequence[TalkingHead], folder: Path, track: FaceTrack, *, is_again: bool
) -> list[str]:
    """Write a fitted video; a kind that cannot be written costs nothing but itself.

    Args:
        heads: in whose formats.
        folder: of the results.
        track: the face.
        is_again: the video was fitted into this folder before: what it left goes.

    Returns:
        Why kinds are missing.
    """
    if is_again:
        for kind in OUTPUTS.values():
            if issubclass(kind, TalkingHead):
                for path in kind.video_files(folder, track.stem):
                    path.unlink(missing_ok=True)
    problems = []
    for head in heads:
        try:
            head.write_track(folder, track)
        except (OSError, ValueError) as error:
            problems.append(f"no --save {head.kind()}: {error}")
            continue
        print(f"{head.program}: {folder / head.names(track.stem)[0]}")
    return problems
