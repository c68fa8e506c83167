"""Write a fitted video: coefficients and cameras, the side-by-side video, meshes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from data.video import VideoFrame, VideoReader
from data.video_crops import FrameCrop
from models.camera import rotation_matrix
from models.mouth import behind_lips
from models.renderer import Renderer
from util.mesh_files.face_gltf import face_animation
from util.mesh_files.gltf_file import write_glb
from util.mesh_files.mesh_file import write_obj
from util.photos.coefficient_file import PUBLIC_KEYS
from util.photos.photo_camera import PhotoCamera
from util.photos.photo_overlay import lay_over
from util.videos.face_track import FaceTrack
from util.videos.frame_files import common_arrays, write_side_by_side
from util.videos.video_measures import BLOCK, VideoMeasures, decode

PANEL_PX = (640, 720)
"""Most width and height of each of the three panels."""
_LIGHT = (0.3, 0.4, 0.85)
"""Direction of the light on the geometry, in the posed object frame."""


@dataclass(frozen=True)
class Panel:
    """A face as it is drawn: `photo_overlay.DrawnFace`."""

    vertices: np.ndarray
    triangles: np.ndarray
    colours: np.ndarray
    alignment: FrameCrop
    focal_scale: float = 1.0


class VideoResults:
    """Draws and writes one fitted video."""

    def __init__(self, measures: VideoMeasures, renderer: Renderer) -> None:
        """Take what is written.

        Args:
            measures: of a fitted face, with its crops aligned by five points.
            renderer: draws on the CPU.
        """
        self._measures, self._fit = measures, measures.face
        self._model, self._camera = measures.face_model, measures.face.camera
        self._renderer = renderer

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """What `<stem>.npz` and `.mat` hold: `common_arrays`, and what only a fit knows.

        That is coefficients under the keys of the public code, and cameras.
        """
        fit, count = self._fit, len(self._fit.found)
        blocks = self._measures.coefficients(fit.coefficients)
        arrays = {PUBLIC_KEYS[name]: block.numpy() for name, block in blocks.items()}
        assert fit.photo is not None  # as of every fit
        arrays["coeff"] = fit.coefficients
        arrays |= common_arrays(fit, self._measures.landmarks)
        arrays |= {
            "photo_error": fit.photo,
            "focal_px": np.array(float(self._camera.focal_px[0, 0])),
            "K": np.zeros((count, 3, 3)),
            "R": np.zeros((count, 3, 3)),
            "t": np.zeros((count, 3)),
            "trans_params": np.zeros((count, 5)),
        }
        for number in np.flatnonzero(fit.found).tolist():
            crop = fit.aligned_crop(number)
            camera = PhotoCamera.of(self._camera, crop, blocks.item(number))
            arrays["K"][number], arrays["R"][number] = camera.K, camera.R
            arrays["t"][number] = camera.t
            arrays["trans_params"][number] = crop.public_parameters
        return arrays

    def track(self, stem: str) -> FaceTrack:
        """The face along the video, for formats of talking heads.

        Args:
            stem: name of the files.
        """
        fit, arrays = self._fit, self.arrays
        rows = {name: arrays[name] for name in ("trans_params", "K")}
        rows |= {"coefficients": fit.coefficients, "landmarks": fit.landmarks}
        size = (fit.info.width, fit.info.height)
        return FaceTrack.of_video(stem, size, fit.found, rows)

    def write_video(self, path: Path, reader: VideoReader) -> str:
        """Write input | overlay | geometry, with the sound of the input.

        Returns:
            Why the sound was not kept; empty if it was, or there is none.
        """
        info = reader.info
        zoom = min(PANEL_PX[0] / info.width, PANEL_PX[1] / info.height, 1.0)
        size = (round(info.width * zoom), round(info.height * zoom))
        faces = self._faces()

        def panels(frame: VideoFrame) -> Sequence[np.ndarray]:
            panel, geometry = faces.at(frame.number)
            small = np.asarray(Image.fromarray(frame.image).resize(size, Image.Resampling.BILINEAR))
            black = np.zeros_like(small)
            if panel is None or geometry is None:
                return small, small, black
            return (
                small,
                lay_over(small, [panel], self._camera, self._renderer),
                lay_over(black, [geometry], self._camera, self._renderer),
            )

        return write_side_by_side(path, reader, panels)

    def write_objs(self, folder: Path) -> None:
        """Write `<frame>.obj` of every frame with a face: posed, with lit colours."""
        folder.mkdir(parents=True, exist_ok=True)
        faces = self._faces()
        for number in tqdm(np.flatnonzero(self._fit.found).tolist(), unit="mesh", desc="meshes"):
            panel, _ = faces.at(number)
            assert panel is not None
            write_obj(folder / f"{number:06d}.obj", panel.vertices, panel.triangles, panel.colours)

    def remove_stale_meshes(self, stem: Path, *, written: bool) -> None:
        """Remove meshes that an earlier run wrote of this video and this one did not.

        Args:
            stem: of the files.
            written: this run wrote those of the frames with a face.
        """
        folder = stem.with_name(f"{stem.name}_mesh")
        fresh = np.flatnonzero(self._fit.found).tolist() if written else []
        names = {f"{number:06d}.obj" for number in fresh}
        for path in folder.glob("[0-9]" * 6 + ".obj"):
            if path.name not in names:
                path.unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def write_glb(self, path: Path, *, units: bool) -> None:
        """Write one head with its expressions and motion, colours without light.

        Args:
            path: the .glb.
            units: named units as morph targets in place of the expression components.

        Raises:
            ValueError: the face model cannot be written so.
        """
        fit, numbers = self._fit, np.flatnonzero(self._fit.found)
        camera, faces = self._measures.in_one_camera()
        scene = face_animation(
            self._model,
            faces.identity[:1],
            self._model.albedo(faces.texture[:1])[0].clamp(0, 1),
            faces.expression,
            rotation_matrix(faces.angles_rad),
            faces.translation_dm,
            fit.times_s[numbers] - fit.times_s[numbers[0]],
            camera,
            units=units,
        )
        write_glb(path, scene)

    def _faces(self) -> _Faces:
        return _Faces(self._measures)


class _Faces:
    """Faces of the frames to draw, decoded a few together when they are asked for in order."""

    def __init__(self, measures: VideoMeasures) -> None:
        self._measures, self._fit = measures, measures.face
        self._model, self._camera = measures.face_model, measures.face.camera
        self._triangles = self._model.triangles.numpy()
        self._held: dict[int, tuple[Panel, Panel]] = {}

    def at(self, number: int) -> tuple[Panel, Panel] | tuple[None, None]:
        """The face of a frame with its colours, and the same as grey geometry."""
        if not self._fit.found[number]:
            return None, None
        if number not in self._held:
            self._decode(number)
        return self._held[number]

    def _decode(self, first: int) -> None:
        window = np.arange(first, min(first + BLOCK, len(self._fit.found)))
        block = window[self._fit.found[window]]
        coefficients = self._measures.coefficients(self._fit.coefficients[block])
        vertices, posed = decode(self._model, self._camera, coefficients)
        lit = (posed.normals @ torch.tensor(_LIGHT)).clamp(min=0)[..., None] * 0.75 + 0.15
        # No light gets into the mouth: a bright lining would look like a tongue.
        lit[:, behind_lips(self._model)] *= 0.3
        grey = lit.expand(-1, -1, 3).numpy()
        self._held = {}
        for row, number in enumerate(block.tolist()):
            crop = self._fit.aligned_crop(number)
            shape = vertices[row].numpy()
            coloured = Panel(shape, self._triangles, posed.colours[row].numpy(), crop)
            self._held[number] = (coloured, Panel(shape, self._triangles, grey[row], crop))


def remove_stale(stem: Path, written: Mapping[str, bool]) -> None:
    """Remove files that an earlier run wrote of this video and this one did not.

    Args:
        stem: of the files.
        written: endings of what not every run writes, and whether this one wrote it.
    """
    for ending, is_written in written.items():
        if not is_written:
            stem.with_name(stem.name + ending).unlink(missing_ok=True)
