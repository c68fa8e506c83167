"""What every kind of output has in common. `util.outputs.OUTPUTS` names the kinds."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from data.images import read_image
from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import Backend, Renderer
from options.output_options import OutputOptions
from util.errors import InputError
from util.photos.face_maps import FaceMaps
from util.photos.face_result import FaceResult
from util.photos.face_textures import FaceTextures

TEXTURE = "texture"
"""The kind whose texture others take where both are asked for."""


@dataclass(frozen=True)
class OutputSource:
    """What the outputs of a run are made with, beside the faces."""

    face_model: FaceModel
    """On any device; what outputs need of it, they fetch once."""
    camera: Camera
    """Of the crops, on the CPU."""
    renderer: Renderer
    """That draws on the CPU."""
    options: OutputOptions

    @classmethod
    def of(
        cls, face_model: FaceModel, camera: Camera, backend: Backend, options: OutputOptions
    ) -> OutputSource:
        """Of what a run computes with.

        Args:
            face_model: that gives the coefficients their meaning.
            camera: of the crops.
            backend: of the renderer; one that cannot draw on the CPU gives way to "auto".
            options: of the outputs.
        """
        renderer = Renderer("auto" if backend == "nvdiffrast" else backend)
        return cls(face_model, camera.to("cpu"), renderer, options)

    # Threads that write at once may each make the first of these, when nothing is kept in it yet:
    # then one stays, and the other serves the call that made it. So no lock is held while drawing.
    @cached_property
    def maps(self) -> FaceMaps:
        """Draws faces for all outputs of the run."""
        return FaceMaps(self.face_model.triangles, self.face_model.vertex_count, self.camera)

    @cached_property
    def textures(self) -> FaceTextures:
        """Makes textures for all outputs of the run.

        Raises:
            InputError: the face model cannot bear a texture.
        """
        return FaceTextures(
            self.face_model, self.camera, self.renderer, self.options, read=read_photo
        )

    def texture_png(self, face: FaceResult) -> bytes | None:
        """The texture of a face as the content of a PNG file, where `--save` names textures."""
        return self.textures.png(face) if TEXTURE in self.options.save else None


class Output(ABC):
    """Writes one kind of files; `write` may run in several threads at once."""

    what: ClassVar[str]
    """A few words for lists of files."""
    endings: ClassVar[tuple[str, ...]]
    """Of the files of a face, `<stem><ending>`; the first one is there whenever it was written."""
    beside: ClassVar[tuple[str, ...]] = ()
    """What each further file holds, in a few words."""
    prefix: ClassVar[str] = ""
    """Before the stem: the folder, within that of the results, of formats that want their own."""

    def __init__(self, source: OutputSource) -> None:
        """Prepare what all faces share.

        Raises:
            InputError: the face model cannot be written so.
        """
        self.source = source

    @classmethod
    def names(cls, stem: str) -> tuple[str, ...]:
        """The files of a face within the folder of the results."""
        return tuple(f"{cls.prefix}{stem}{ending}" for ending in cls.endings)

    def contents(self, stem: str) -> dict[str, str]:
        """The files that a run has of a face, lists of all faces among them, and what they hold."""
        return dict(zip(self.names(stem), (self.what, *self.beside), strict=True))

    @classmethod  # noqa: B027 (most list nothing)
    def collect(cls, folder: Path) -> None:
        """Bring what lists all faces of a folder up to date, if this kind has such a file.

        Called at the end of every run, whatever its `--save`: faces of earlier runs may have gone.

        Args:
            folder: of the results.
        """

    @abstractmethod
    def write(self, folder: Path, face: FaceResult) -> None:
        """Write the files of one face.

        Args:
            folder: of the results; it is there.
            face: to write.

        Raises:
            ValueError: a number is not finite; nothing is written.
            OSError: no space, no permission.
        """

    def close(self) -> None:  # noqa: B027 (most keep nothing)
        """Let go of what is kept of the run's faces; `write` may be called again."""


@lru_cache(maxsize=2)
def _photo(path: Path, changed_ns: int) -> np.ndarray:
    return read_image(path)


_READING = threading.Lock()


def read_photo(face: FaceResult) -> np.ndarray:
    """The whole photo (H, W, 3) uint8 of a face, upright; the last two read are kept.

    `forget_photos` lets them go at the end of a run.

    Raises:
        ValueError: it is no longer what was reconstructed.
    """
    try:
        with _READING:  # else several outputs of a face would read it side by side
            photo = _photo(face.photo, face.photo.stat().st_mtime_ns)
    except (InputError, OSError) as error:
        raise ValueError(f"{face.photo} cannot be read again: {error}") from error
    if photo.shape[1::-1] != tuple(face.alignment.photo_size):
        raise ValueError(f"{face.photo} changed while it was reconstructed")
    return photo


def forget_photos() -> None:
    """Let go of the photos that `read_photo` keeps: they are somebody's faces."""
    with _READING:
        _photo.cache_clear()
