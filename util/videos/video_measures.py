"""What is measured of a followed face: landmarks, the motion before one camera, how good it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from data.fit_warp import scale_coefficients, shift_coefficients
from data.video import VideoReader
from data.video_plan import frame_runs, three_together
from models.camera import Camera
from models.face_model import FaceModel
from models.landmarks import normalised_error
from models.parameters import Coefficients
from models.stages import PosedFace, pose_face, shape_face
from util.atomic import write_text
from util.videos.followed_face import FollowedFace, PredictedFrames

BLOCK = 32
"""Frames that are decoded to faces together."""


@dataclass(frozen=True)
class VideoReport:
    """How well a face explains its video; docs/fitting.md. None is what the method does not know.

    All of it becomes JSON.
    """

    frames: int
    frames_with_face: int
    frames_broken: int
    cuts: tuple[int, ...]
    key_frames: tuple[int, ...]
    photo_error: float | None
    """Mean robust colour distance of the tracked frames over the skin, RGB in [0, 1]."""
    focal_px: float | None
    """Focal length in pixels of the crops of 224: the given one, or with --fit_focal the one that
    was found. Weak perspective has none."""
    pixels_a_cm: float | None
    """Median scale of the face in the frames, of weak perspective, which has no distance either."""
    nme_inner: float
    """Mean error of the inner 51 landmarks against the given ones, in outer-eye distances."""
    jitter_given_px: float
    """Mean second difference of the given inner landmarks, in pixels of the video."""
    jitter_tracked_px: float
    """Of those of the face before smoothing."""
    jitter_px: float
    """Of those of the face."""
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


class VideoMeasures:
    """Decodes the coefficients of a followed face; nothing of it writes."""

    def __init__(self, face_model: FaceModel, face: FollowedFace) -> None:
        """Take what is measured.

        Args:
            face_model: of the face, on the CPU.
            face: along the video, with its camera on the CPU.
        """
        self.face_model, self.face = face_model, face

    @cached_property
    def landmarks(self) -> np.ndarray:
        """(N, 68, 2) of the face, pixel indices of the frames; zeros without a face."""
        predicted = self.face.predicted
        return predicted.landmarks if predicted else self.landmarks_of(self.face.coefficients)

    @cached_property
    def landmarks_tracked(self) -> np.ndarray:
        """The same before smoothing."""
        predicted = self.face.predicted
        return predicted.landmarks_tracked if predicted else self.landmarks_of(self.face.tracked)

    def landmarks_of(self, flat: np.ndarray) -> np.ndarray:
        """Projected landmarks (N, 68, 2) of coefficients (N, P), as `landmarks`."""
        result = np.zeros((len(flat), 68, 2), np.float32)
        for block in blocks(np.flatnonzero(self.face.found)):
            coefficients = self.coefficients(flat[block])
            _, posed = decode(self.face_model, self._camera(block), coefficients)
            for number, points in zip(block.tolist(), posed.landmarks_px.numpy(), strict=True):
                inverse = self.face.crop(number).inverse_matrix
                result[number] = points @ inverse[:, :2].T + inverse[:, 2] - 0.5
        return result

    def _camera(self, block: np.ndarray) -> Camera:
        """Of the crops of some frames."""
        camera, predicted = self.face.camera, self.face.predicted
        if predicted is None:
            return camera
        scales = torch.from_numpy(predicted.scales[block]).to(camera.focal_px)
        focal = camera.focal_px * scales[:, None]
        return replace(camera, focal_px=focal, centre_px=camera.centre_px.expand_as(focal))

    def coefficients(self, flat: np.ndarray) -> Coefficients:
        """Rows (B, P) by their blocks."""
        return self.face_model.layout.split(torch.from_numpy(flat.astype(np.float32)))

    def in_one_camera(self, numbers: np.ndarray | None = None) -> tuple[Camera, Coefficients]:
        """A camera that sees the whole video, and the found frames' faces before it.

        Crops follow the face, and with them the camera that coefficients mean: it turns and zooms.
        Here it stands still, with the usual crop's focal length and the frame's middle as its
        principal point. A face whose crop lies elsewhere is turned about the camera's centre to the
        ray of that place, and comes nearer as its crop is smaller (`data.fit_warp`): landmarks stay
        within a pixel or two.

        In weak perspective, which knows no distance, a face only goes along with its place in the
        frame, and has its usual size throughout.

        Args:
            numbers: of found frames, whose faces alone are wanted; all if left out.
        """
        face = self.face
        numbers = np.flatnonzero(face.found) if numbers is None else numbers
        if face.predicted is not None:
            return self._in_one_weak_camera(face.predicted, numbers)
        crops = {n: face.aligned_crop(n) for n in np.flatnonzero(face.found).tolist()}
        usual = float(np.median([crop.scale for crop in crops.values()]))
        size = width, height = next(iter(crops.values())).photo_size
        layout, moved = self.face_model.layout, []
        for number in numbers.tolist():
            crop = crops[number]
            half = crop.crop_px / 2 / crop.scale
            offset = (crop.left + half - width / 2, crop.top + half - height / 2)
            flat = face.coefficients[number].astype(np.float64)
            flat = scale_coefficients(flat, layout, face.camera, usual / crop.scale)
            shift = (usual * offset[0], usual * offset[1])
            moved.append(shift_coefficients(flat, layout, face.camera, shift))
        zoom = torch.full((1, 2), 1 / usual)
        middle = torch.tensor([[width / 2, height / 2]])
        still = face.camera.regrid(zoom, middle - face.camera.centre_px * zoom, size)
        return still, self.coefficients(np.stack(moved))

    def _in_one_weak_camera(
        self, predicted: PredictedFrames, numbers: np.ndarray
    ) -> tuple[Camera, Coefficients]:
        face = self.face
        usual = float(np.median(face.pixels_a_dm[face.found]))
        width, height = face.info.width, face.info.height
        moved = face.coefficients[numbers].astype(np.float64)
        places = moved[:, self.face_model.layout.slices["translation_dm"]]
        for number, place in zip(numbers.tolist(), places, strict=True):
            crop = face.crop(number)
            in_crop = crop.crop_px / 2 + predicted.scales[number] * place[:2] * [1, -1]
            in_frame = crop.inverse_matrix @ np.append(in_crop, 1.0)
            place[:2] = (in_frame - [width / 2, height / 2]) * [1, -1] / usual
        middle = face.camera.centre_px.new_tensor([[width / 2, height / 2]])
        still = replace(face.camera.refocused(usual), centre_px=middle, width=width, height=height)
        return still, self.coefficients(moved)

    def report(self, audio: str = "") -> VideoReport:
        """How good it is; `audio` says what became of the sound."""
        return report_of(self.face, self.landmarks, self.landmarks_tracked, audio)


def report_of(
    face: FollowedFace, landmarks: np.ndarray, landmarks_tracked: np.ndarray, audio: str = ""
) -> VideoReport:
    """How well a face explains its video.

    Args:
        face: along the video.
        landmarks: (N, 68, 2) of the face, pixel indices of the frames.
        landmarks_tracked: (N, 68, 2) the same before smoothing.
        audio: what became of the sound.
    """
    given, numbers, breaks = face.landmarks, np.flatnonzero(face.found), face.starts
    inner, _ = normalised_error(
        torch.from_numpy(landmarks[numbers]), torch.from_numpy(given[numbers])
    )
    weak = face.predicted is not None
    return VideoReport(
        frames=len(face.found),
        frames_with_face=len(numbers),
        frames_broken=len(face.damage.numbers),
        cuts=face.cuts,
        key_frames=face.key_frames,
        photo_error=None if face.photo is None else float(face.photo[numbers].mean()),
        focal_px=None if weak else float(face.camera.focal_px[0, 0]),
        pixels_a_cm=float(np.median(face.pixels_a_dm[numbers])) / 10 if weak else None,
        nme_inner=float(inner.mean()),
        jitter_given_px=jitter(given[:, 17:], face.found, breaks),
        jitter_tracked_px=jitter(landmarks_tracked[:, 17:], face.found, breaks),
        jitter_px=jitter(landmarks[:, 17:], face.found, breaks),
        without_face=tuple((run[0], run[-1]) for run in frame_runs(~face.found)),
        clock=face.info.clock_fault,
        damage=face.damage.sentence(),
        audio=audio,
        face_model=face.face_model.record,
    )


@torch.inference_mode()
def decode(
    face_model: FaceModel, camera: Camera, coefficients: Coefficients
) -> tuple[torch.Tensor, PosedFace]:
    """Posed vertices (B, V, 3) in the object frame, and the posed faces."""
    posed = pose_face(face_model, shape_face(face_model, coefficients), coefficients, camera)
    return camera.to_object(posed.vertices_camera), posed


def blocks(numbers: np.ndarray) -> Iterator[np.ndarray]:
    """Numbers of frames, as many as are decoded together."""
    for first in range(0, len(numbers), BLOCK):
        yield numbers[first : first + BLOCK]


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


def say_clock(reader: VideoReader) -> None:
    """Before anything long begins: one line if the times of the frames in the file are broken."""
    if reader.info.clock_fault:
        print(f"{reader.info.path}: {reader.info.clock_fault}")


def say(report: VideoReport, results: Path, done: str) -> None:
    """Print the outcome in a few lines.

    Args:
        report: of the video.
        results: its folder.
        done: what happened to the frames, such as "fitted".
    """
    print(
        f"{report.frames_with_face} of {report.frames} frames {done} in {results}\n"
        f"Inner landmarks against the detected ones: {100 * report.nme_inner:.1f} % of the "
        f"outer-eye distance; jitter {report.jitter_px:.2f} pixels, "
        f"{report.jitter_tracked_px:.2f} before smoothing, {report.jitter_given_px:.2f} of the "
        "detected landmarks"
    )
    if report.without_face:
        parts = ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in report.without_face[:8])
        more = ", ..." if len(report.without_face) > 8 else ""
        print(f"Frames without a face, whose rows are empty: {parts}{more}")
    for problem in (report.damage, report.audio):
        if problem:
            print(problem)
