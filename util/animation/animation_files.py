"""Write a moving face: a video, an animated glb, frames, or named units over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data.images import write_image
from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.lighting import bounded_irradiance
from models.parameters import Coefficients
from models.renderer import Renderer
from models.stages import PosedFace
from options.face_options import CROP_PX
from util.animation.face_texture import FaceTexture
from util.animation.units_file import write_units
from util.atomic import write_text
from util.errors import InputError
from util.mesh_files.face_gltf import face_animation, unit_strengths
from util.mesh_files.gltf_file import write_glb
from util.mesh_files.mesh_file import write_obj
from util.videos.video_file import VideoWriter
from util.videos.video_measures import BLOCK, decode

FINER = 2
"""Pixels that are drawn for one, in both directions: the renderer does not smooth edges."""
_MARGIN = 0.04
"""Of the view around a head that leaves the crop."""
_BACKGROUNDS = {"grey": 0.5, "white": 1.0, "black": 0.0}
FRAME_LIST = "frames.txt"
"""In a folder of frames: the names of those that this program has written."""
_FRAMES = "[0-9]" * 6


@dataclass(frozen=True)
class Animation:
    """A face over N frames, and how it is looked at."""

    face_model: FaceModel
    """On the CPU."""
    faces: Coefficients
    """A batch of N with one identity and albedo."""
    times_s: np.ndarray
    """(N,) rising."""
    camera: Camera
    """Of the crop, on the CPU."""
    strengths: np.ndarray | None = None
    """(N, units) of the named units, where the expression is made of them."""
    texture: FaceTexture | None = None
    """In place of the albedo."""
    audio: Path | None = None
    """Video whose sound belongs to it; the times are then those of its clock."""

    def __len__(self) -> int:
        return len(self.times_s)


@dataclass(frozen=True)
class Look:
    """How frames are drawn."""

    size_px: int
    """Width and height."""
    background: str
    """A key of `_BACKGROUNDS`."""
    renderer: Renderer
    """That draws on the CPU."""


def write_video(path: Path, animation: Animation, look: Look) -> str:
    """Write an .mp4 at the frames' own times.

    Returns:
        Why the sound was not kept; empty if it was, or there is none.
    """
    with VideoWriter(path, audio_from=animation.audio) as writer:
        for (_, picture), time_s in zip(
            pictures(animation, look), animation.times_s.tolist(), strict=True
        ):
            writer.write(picture, time_s)
    return writer.result.problem


def write_frames(folder: Path, animation: Animation, look: Look, kind: str) -> None:
    """Write `<number>.png` and `<number>.obj` of all frames, and remove those of an earlier run.

    `frames.txt` lists them, so that nothing is replaced or removed that another program has put
    there.

    Args:
        folder: of the frames.
        animation: to write.
        look: of the pictures.
        kind: png, obj or both.

    Raises:
        InputError: the folder holds frames of something else.
    """
    endings = (".png", ".obj") if kind == "both" else (f".{kind}",)
    names = {f"{k:06d}{ending}" for k in range(len(animation)) for ending in endings}
    written = folder / FRAME_LIST
    earlier = set(written.read_text("utf-8").split()) if written.is_file() else set()
    there = {path.name for ending in (".png", ".obj") for path in folder.glob(_FRAMES + ending)}
    if foreign := sorted(there - earlier):
        raise InputError(
            f"--out {folder}: {foreign[0]} there is not of an animation; give another folder"
        )
    # Before the frames, so that a run that is killed leaves none that nobody knows.
    write_text(written, "".join(f"{name}\n" for name in sorted(names | there)))
    if ".png" in endings:
        for number, picture in pictures(animation, look):
            write_image(folder / f"{number:06d}.png", picture)
    if ".obj" in endings:
        triangles = animation.face_model.triangles.numpy()
        texture = animation.texture
        bare = _albedo(animation) if texture is None else texture.at_vertices()
        for number, vertices, posed in _decoded(animation):
            lit = (bare * _shade(animation, number, posed))[0].clamp(0, 1)
            write_obj(folder / f"{number:06d}.obj", vertices.numpy(), triangles, lit.numpy())
    for name in there - names:
        (folder / name).unlink(missing_ok=True)
    write_text(written, "".join(f"{name}\n" for name in sorted(names)))


def write_picture(path: Path, animation: Animation, look: Look) -> None:
    """Write the only frame there is.

    Raises:
        InputError: there are several.
    """
    if len(animation) > 1:
        raise InputError(
            f"--out {path}: there are {len(animation)} frames; give a folder, an .mp4 or a .glb"
        )
    write_image(path, next(pictures(animation, look))[1])


def write_animated_glb(path: Path, animation: Animation, *, units: bool) -> None:
    """Write one mesh, its morph targets' weights and its motion over time.

    Raises:
        InputError: the face model cannot be written so.
    """
    model, faces = animation.face_model, animation.faces
    try:
        scene = face_animation(
            model,
            faces.identity[:1],
            model.albedo(faces.texture[:1])[0].clamp(0, 1),
            faces.expression,
            rotation_matrix(faces.angles_rad),
            faces.translation_dm,
            animation.times_s - animation.times_s[0],
            whole_view(animation, CROP_PX),
            units=units,
            strengths=animation.strengths,
            texture_png=None if animation.texture is None else animation.texture.png,
        )
    except ValueError as error:
        raise InputError(f"--out {path}: {error}") from error
    write_glb(path, scene)


def write_strengths(path: Path, animation: Animation) -> None:
    """Write the named units and the head's angles as face-capture programs do.

    Raises:
        InputError: the face model has no named units.
    """
    model, faces = animation.face_model, animation.faces
    strengths = animation.strengths
    if strengths is None:
        try:
            strengths = unit_strengths(model, faces.expression)
        except ValueError as error:
            raise InputError(f"--out {path}: {error}; write a .glb or .mp4") from error
    head = faces.angles_rad[:, [1, 0, 2]].double().numpy()
    write_units(path, model.unit_names, animation.times_s, strengths, head)


def pictures(animation: Animation, look: Look) -> Iterator[tuple[int, np.ndarray]]:
    """Number and picture (size, size, 3) uint8 of each frame."""
    side = FINER * look.size_px
    camera = whole_view(animation, side)
    plain = _BACKGROUNDS[look.background]
    triangles, texture = animation.face_model.triangles, animation.texture
    albedo = _albedo(animation) if texture is None else 1.0
    for number, _, posed in _decoded(animation):
        shade = albedo * _shade(animation, number, posed)
        made = look.renderer(posed.vertices_camera, triangles, camera, shade)
        assert made.image is not None
        colours = made.image if texture is None else texture.drawn(made)
        image = torch.where(made.mask > 0, colours.clamp(0, 1), plain)
        small = torch.nn.functional.avg_pool2d(image, FINER)[0].permute(1, 2, 0)
        yield number, (255 * small).round().byte().numpy()


def _albedo(animation: Animation) -> torch.Tensor:
    """(1, V, 3) of the face model."""
    return animation.face_model.albedo(animation.faces.texture[:1])


def _shade(animation: Animation, number: int, posed: PosedFace) -> torch.Tensor:
    """(1, V, 3) by which the colours of texture or albedo are multiplied in a frame."""
    # The photo's light, on a head that turns away from the photo's pose.
    light = bounded_irradiance(posed.normals, animation.faces.gamma[number : number + 1])
    return light if animation.texture is None else animation.texture.shade(light)


def _decoded(animation: Animation) -> Iterator[tuple[int, torch.Tensor, PosedFace]]:
    """Number, vertices (V, 3) of the object frame and posed face (a batch of one) of each frame."""
    numbers = torch.arange(len(animation))
    for block in tqdm(numbers.split(BLOCK), unit="block", desc="drawing", leave=False):
        vertices, posed = decode(
            animation.face_model, animation.camera, animation.faces.rows(block)
        )
        for row, number in enumerate(block.tolist()):
            one = slice(row, row + 1)
            yield (
                number,
                vertices[row],
                PosedFace(
                    posed.vertices_camera[one],
                    posed.normals[one],
                    posed.colours[one],
                    posed.landmarks_px[one],
                ),
            )


@torch.inference_mode()
def whole_view(animation: Animation, side_px: int) -> Camera:
    """The crop's camera with other pixels, widened about its middle where the head leaves the crop.

    Args:
        animation: all of whose frames are looked at, without their expression.
        side_px: width and height of the pictures.
    """
    faces, camera = animation.faces, animation.camera
    rest = animation.face_model.shape(faces.identity[:1], torch.zeros_like(faces.expression[:1]))
    reach = CROP_PX / 2
    for block in torch.arange(len(animation)).split(BLOCK):
        turns = rotation_matrix(faces.angles_rad[block])
        posed = rotate(rest.expand(len(block), -1, -1), turns)
        posed = posed + faces.translation_dm[block][:, None]
        pixels = camera.project(camera.from_object(posed))
        outside = float((pixels - CROP_PX / 2).abs().max())
        reach = max(reach, outside * (1 + _MARGIN) if outside > CROP_PX / 2 else 0)
    zoom = torch.full((1, 2), side_px / (2 * reach))
    shift = side_px / 2 - zoom * CROP_PX / 2
    return camera.regrid(zoom, shift, (side_px, side_px))
