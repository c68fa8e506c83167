"""Write a fitted video: coefficients and cameras, the side-by-side video, meshes, a report."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat
from tqdm import tqdm

from data.fit_warp import scale_coefficients, shift_coefficients
from data.video import VideoReader
from data.video_crops import FrameCrop
from data.video_plan import frame_runs, three_together
from models.camera import Camera, rotation_matrix
from models.drawing import behind_lips
from models.face_model import FaceModel
from models.landmarks import normalised_error
from models.parameters import Coefficients
from models.renderer import Renderer
from models.stages import PosedFace, pose_face, shape_face
from util.atomic import write_bytes, write_text
from util.mesh_files.face_gltf import face_animation
from util.mesh_files.gltf_file import write_glb
from util.mesh_files.mesh_file import write_obj
from util.photos.coefficient_file import PUBLIC_KEYS
from util.photos.photo_camera import PhotoCamera
from util.photos.photo_overlay import lay_over
from util.reports.report_parts import REPORT_ENDING
from util.videos.face_track import FaceTrack
from util.videos.video_file import VideoWriter
from util.videos.video_fitting import VideoFit

PANEL_PX = (640, 720)
"""Most width and height of each of the three panels."""
BLOCK = 32
"""Frames that are decoded to faces together."""
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


@dataclass(frozen=True)
class VideoReport:
    """How well a fit explains its video; docs/fitting.md."""

    frames: int
    frames_with_face: int
    frames_broken: int
    cuts: tuple[int, ...]
    key_frames: tuple[int, ...]
    photo_error: float
    """Mean robust colour distance of the tracked frames over the skin, RGB in [0, 1]."""
    focal_px: float
    """Focal length in pixels of the crops of 224: the given one, or with --fit_focal the one that
    was found."""
    nme_inner: float
    """Mean error of the inner 51 landmarks against the given ones, in outer-eye distances."""
    jitter_given_px: float
    """Mean second difference of the given inner landmarks, in pixels of the video."""
    jitter_tracked_px: float
    """Of the fitted ones before smoothing."""
    jitter_px: float
    """Of the fitted ones."""
    without_face: tuple[tuple[int, int], ...]
    """First and last frame of each run without a face."""
    clock: str
    """What is wrong with the times of the frames in the file; empty for nothing."""
    damage: str
    """What of the file could not be decoded; empty for nothing."""
    audio: str
    """What became of the sound; empty if it is all there, or there was none."""
    face_model: dict[str, str]
    """What gives the coefficients their meaning: name, version, fingerprint, licence."""


class VideoResults:
    """Draws and writes one fitted video."""

    def __init__(
        self, face_model: FaceModel, camera: Camera, renderer: Renderer, fit: VideoFit
    ) -> None:
        """Take what is written.

        Args:
            face_model: of the fit, on the CPU.
            camera: of the crops, on the CPU.
            renderer: draws on the CPU.
            fit: of the video.
        """
        self._model, self._camera, self._renderer = face_model, camera, renderer
        self._fit = fit

    def write_arrays(self, stem: Path) -> None:
        """Write `<stem>.npz` and `<stem>.mat`: a row for each frame, zeros where there is no face.

        Raises:
            ValueError: a number is not finite; nothing is written.
        """
        arrays = self.arrays()
        broken = [key for key, value in arrays.items() if not np.isfinite(value).all()]
        if broken:
            raise ValueError(f"{stem.name}: {', '.join(broken)} holds non-finite numbers")
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
        write_bytes(stem.with_name(stem.name + ".npz"), buffer.getvalue())
        buffer = io.BytesIO()
        savemat(buffer, arrays, do_compression=True)
        write_bytes(stem.with_name(stem.name + ".mat"), buffer.getvalue())

    def arrays(self) -> dict[str, np.ndarray]:
        """Coefficients under the keys of the public code, cameras, landmarks; N frames."""
        fit, count = self._fit, len(self._fit.found)
        blocks = self._coefficients(fit.coefficients)
        arrays = {PUBLIC_KEYS[name]: block.numpy() for name, block in blocks.items()}
        arrays["coeff"] = fit.coefficients
        arrays |= {
            "time_s": fit.times_s,
            "found": fit.found,
            "photo_error": fit.photo,
            "focal_px": np.array(float(self._camera.focal_px[0, 0])),
            "lm68": self.landmarks,
            "K": np.zeros((count, 3, 3)),
            "R": np.zeros((count, 3, 3)),
            "t": np.zeros((count, 3)),
            "photo_to_crop": np.zeros((count, 2, 3)),
            "trans_params": np.zeros((count, 5)),
        }
        for number in np.flatnonzero(fit.found).tolist():
            crop = fit.crops[number]
            assert crop is not None
            camera = PhotoCamera.of(self._camera, crop, blocks.item(number))
            arrays["K"][number], arrays["R"][number] = camera.K, camera.R
            arrays["t"][number] = camera.t
            arrays["photo_to_crop"][number] = crop.matrix
            arrays["trans_params"][number] = crop.public_parameters
        return arrays

    def track(self, stem: str) -> FaceTrack:
        """The face along the video, for formats of talking heads.

        Args:
            stem: name of the files.
        """
        fit, arrays = self._fit, self.arrays()
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
        source = info.path if info.has_audio else None
        with VideoWriter(path, audio_from=source) as writer:
            bar = tqdm(reader, total=len(reader), unit="frame", desc="drawing")
            for frame in bar:
                panel, geometry = faces.at(frame.number)
                small = np.asarray(
                    Image.fromarray(frame.image).resize(size, Image.Resampling.BILINEAR)
                )
                black = np.zeros_like(small)
                views = [small, small, black]
                if panel is not None and geometry is not None:
                    views[1] = lay_over(small, [panel], self._camera, self._renderer)
                    views[2] = lay_over(black, [geometry], self._camera, self._renderer)
                writer.write(np.concatenate(views, axis=1), frame.time_s)
        return writer.result.problem

    def write_objs(self, folder: Path) -> None:
        """Write `<frame>.obj` of every frame with a face: posed, with lit colours."""
        folder.mkdir(parents=True, exist_ok=True)
        faces = self._faces()
        for number in tqdm(np.flatnonzero(self._fit.found).tolist(), unit="mesh", desc="meshes"):
            panel, _ = faces.at(number)
            assert panel is not None
            write_obj(folder / f"{number:06d}.obj", panel.vertices, panel.triangles, panel.colours)

    def remove_stale(self, stem: Path, written: Collection[str]) -> None:
        """Remove what an earlier run wrote of this video and this one did not.

        Args:
            stem: of the files.
            written: endings of what this run writes: "_fit.mp4", ".glb", "_mesh", "_report.html".
        """
        for ending in ("_fit.mp4", ".glb", REPORT_ENDING):
            if ending not in written:
                stem.with_name(stem.name + ending).unlink(missing_ok=True)
        folder = stem.with_name(f"{stem.name}_mesh")
        fresh = np.flatnonzero(self._fit.found).tolist() if "_mesh" in written else []
        names = {f"{number:06d}.obj" for number in fresh}
        for path in folder.glob("[0-9]" * 6 + ".obj"):
            if path.name not in names:
                path.unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def in_one_camera(self, numbers: np.ndarray | None = None) -> tuple[Camera, Coefficients]:
        """A camera that sees the whole video, and the found frames' faces before it.

        Crops follow the face, and with them the camera that coefficients mean: it turns and zooms.
        Here it stands still, with the usual crop's focal length and the frame's middle as its
        principal point. A face whose crop lies elsewhere is turned about the camera's centre to the
        ray of that place, and comes nearer as its crop is smaller (`data.fit_warp`): landmarks stay
        within a pixel or two.

        Args:
            numbers: of found frames, whose faces alone are wanted; all if left out.
        """
        crops = {n: crop for n, crop in enumerate(self._fit.crops) if crop is not None}
        usual = float(np.median([crop.scale for crop in crops.values()]))
        size = width, height = next(iter(crops.values())).photo_size
        layout, moved = self._model.layout, []
        for number in crops if numbers is None else numbers.tolist():
            crop = crops[number]
            half = crop.crop_px / 2 / crop.scale
            offset = (crop.left + half - width / 2, crop.top + half - height / 2)
            flat = self._fit.coefficients[number].astype(np.float64)
            flat = scale_coefficients(flat, layout, self._camera, usual / crop.scale)
            shift = (usual * offset[0], usual * offset[1])
            moved.append(shift_coefficients(flat, layout, self._camera, shift))
        zoom = torch.full((1, 2), 1 / usual)
        middle = torch.tensor([[width / 2, height / 2]])
        still = self._camera.regrid(zoom, middle - self._camera.centre_px * zoom, size)
        return still, self._coefficients(np.stack(moved))

    def write_glb(self, path: Path, *, units: bool) -> None:
        """Write one head with its expressions and motion, colours without light.

        Args:
            path: the .glb.
            units: named units as morph targets in place of the expression components.

        Raises:
            ValueError: the face model cannot be written so.
        """
        fit, numbers = self._fit, np.flatnonzero(self._fit.found)
        camera, faces = self.in_one_camera()
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

    def report(self, audio: str = "") -> VideoReport:
        """How good the fit is."""
        fit = self._fit
        numbers = np.flatnonzero(fit.found)
        predicted = self.landmarks
        inner, _ = normalised_error(
            torch.from_numpy(predicted[numbers]), torch.from_numpy(fit.landmarks[numbers])
        )
        breaks = fit.starts
        return VideoReport(
            frames=len(fit.found),
            frames_with_face=len(numbers),
            frames_broken=len(fit.damage.numbers),
            cuts=fit.cuts,
            key_frames=fit.key_frames,
            photo_error=float(fit.photo[numbers].mean()),
            focal_px=float(self._camera.focal_px[0, 0]),
            nme_inner=float(inner.mean()),
            jitter_given_px=jitter(fit.landmarks[:, 17:], fit.found, breaks),
            jitter_tracked_px=jitter(self.landmarks_of(fit.tracked)[:, 17:], fit.found, breaks),
            jitter_px=jitter(predicted[:, 17:], fit.found, breaks),
            without_face=tuple((run[0], run[-1]) for run in frame_runs(~fit.found)),
            clock=fit.info.clock_fault,
            damage=fit.damage.sentence(),
            audio=audio,
            face_model=self._model.card.record,
        )

    def _coefficients(self, flat: np.ndarray) -> Coefficients:
        return self._model.layout.split(torch.from_numpy(flat.astype(np.float32)))

    def _faces(self) -> _Faces:
        return _Faces(self._model, self._camera, self._fit)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """Those of the fit, as `landmarks_of` gives them."""
        return self.landmarks_of(self._fit.coefficients)

    def landmarks_of(self, flat: np.ndarray) -> np.ndarray:
        """Projected landmarks (N, 68, 2), pixel indices of the frames; zeros without a face."""
        result = np.zeros((len(flat), 68, 2), np.float32)
        for block in _blocks(np.flatnonzero(self._fit.found)):
            _, posed = decode(self._model, self._camera, self._coefficients(flat[block]))
            for number, points in zip(block.tolist(), posed.landmarks_px.numpy(), strict=True):
                crop = self._fit.crops[number]
                assert crop is not None
                inverse = crop.inverse_matrix
                result[number] = points @ inverse[:, :2].T + inverse[:, 2] - 0.5
        return result


class _Faces:
    """Faces of the frames to draw, decoded a few together when they are asked for in order."""

    def __init__(self, face_model: FaceModel, camera: Camera, fit: VideoFit) -> None:
        self._model, self._camera, self._fit = face_model, camera, fit
        self._triangles = face_model.triangles.numpy()
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
        flat = torch.from_numpy(self._fit.coefficients[block])
        coefficients = self._model.layout.split(flat)
        vertices, posed = decode(self._model, self._camera, coefficients)
        lit = (posed.normals @ torch.tensor(_LIGHT)).clamp(min=0)[..., None] * 0.75 + 0.15
        # No light gets into the mouth: a bright lining would look like a tongue.
        lit[:, behind_lips(self._model)] *= 0.3
        grey = lit.expand(-1, -1, 3).numpy()
        self._held = {}
        for row, number in enumerate(block.tolist()):
            crop = self._fit.crops[number]
            assert crop is not None
            shape = vertices[row].numpy()
            coloured = Panel(shape, self._triangles, posed.colours[row].numpy(), crop)
            self._held[number] = (coloured, Panel(shape, self._triangles, grey[row], crop))


@torch.inference_mode()
def decode(
    face_model: FaceModel, camera: Camera, coefficients: Coefficients
) -> tuple[torch.Tensor, PosedFace]:
    """Posed vertices (B, V, 3) in the object frame, and the posed faces."""
    posed = pose_face(face_model, shape_face(face_model, coefficients), coefficients, camera)
    return camera.to_object(posed.vertices_camera), posed


def jitter(points: np.ndarray, found: np.ndarray, breaks: np.ndarray) -> float:
    """Mean length of the second differences of points along the frames.

    Args:
        points: (N, L, 2).
        found: (N,) whether a frame has points.
        breaks: (N,) whether a frame begins a scene.

    Returns:
        Pixels; 0 where no three frames follow one another.
    """
    whole = three_together(found, breaks)
    if not whole.any():
        return 0.0
    points = points.astype(np.float64)
    second = points[2:] - 2 * points[1:-1] + points[:-2]
    return float(np.linalg.norm(second[whole], axis=-1).mean())


def write_report(path: Path, report: VideoReport) -> None:
    """Write as UTF-8 JSON."""
    text = json.dumps(vars(report), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _blocks(numbers: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(numbers), BLOCK):
        yield numbers[first : first + BLOCK]
