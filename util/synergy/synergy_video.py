"""A video through a SynergyNet: one face followed, smoothed, drawn over the frames.

1. Landmarks of every frame (`data.video_landmarks`), a crop about them, the network.
2. Poses are taken from the crops, which move with the face, to the frame.
3. Smoothing, run by run of unbroken frames: pose and expression by the one-euro filter forward and
   backward; the shape, which one person does not change, is the median over the video.
4. Mesh and axes over the frames, with the sound of the source.

Pictures are held one at a time, numbers of all frames.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data.detection import create_detector
from data.square_crop import SquareCrop
from data.video import VideoReader
from data.video_landmarks import LandmarkTracker
from data.video_plan import frame_runs
from models.one_euro import smooth_motion
from models.pixel_view import PixelView
from models.synergy.pose import LABEL_ORIGIN_PX, MICROMETRES_PER_DM, head_pose, matrix_and_shift
from options.data_options import DetectionOptions
from options.fitting_weights import SmoothingOptions
from options.flags import ParsedOptions
from options.record import write_options
from options.synergy_options import SynergyTestOptions
from util.atomic import write_bytes
from util.errors import InputError
from util.synergy.synergy_faces import OVERLAY_ALPHA, SynergyResult, draw_axes, predict_faces
from util.synergy.synergy_trained import TrainedSynergy, load_trained_synergy
from util.videos.video_file import VideoWriter
from util.videos.video_results import jitter

_EXPRESSION_SCALE = 1.0
"""Of expressions, in standard deviations of the training data."""


@dataclass(frozen=True)
class FaceTrack:
    """One face in N frames; rows without a face are zero.

    A point v of the face model lies at M v + m of the frame: continuous pixels, y down, z in pixels
    towards the camera.
    """

    found: np.ndarray
    """(N,)"""
    starts: np.ndarray
    """(N,) whether nothing connects a frame with the one before."""
    matrices: np.ndarray
    """(N, 3, 3) pixels a decimetre."""
    shifts: np.ndarray
    """(N, 3) pixels."""
    shapes: np.ndarray
    """(N, Ks)"""
    expressions: np.ndarray
    """(N, Ke)"""

    def smoothed(
        self, times_s: np.ndarray, deviations: np.ndarray, options: SmoothingOptions
    ) -> FaceTrack:
        """The same motion, calmer.

        Args:
            times_s: (N,) of the frames.
            deviations: (Ke,) usual sizes of the expression's numbers.
            options: of the filter.
        """
        matrices, shifts = self.matrices.copy(), self.shifts.copy()
        expressions = self.expressions.copy()
        # A head is about two decimetres wide.
        scales = 2 * np.linalg.norm(self.matrices[:, 0], axis=1)
        for run in frame_runs(self.found, self.starts):
            part = slice(run.start, run.stop)
            pose = np.concatenate([self.matrices[part].reshape(-1, 9), self.shifts[part]], axis=1)
            scale = float(np.median(scales[part]))
            pose = smooth_motion(pose, times_s[part], scale, options)
            matrices[part], shifts[part] = pose[:, :9].reshape(-1, 3, 3), pose[:, 9:]
            relative = self.expressions[part] / deviations
            calm = smooth_motion(relative, times_s[part], _EXPRESSION_SCALE, options)
            expressions[part] = calm * deviations
        shapes = self.shapes.copy()
        shapes[self.found] = np.median(self.shapes[self.found], axis=0)
        return FaceTrack(self.found, self.starts, matrices, shifts, shapes, expressions)


def reconstruct_video(options: ParsedOptions) -> None:
    """The video of `--v_path`, into a folder of results."""
    test = options[SynergyTestOptions]
    path = Path(test.v_path)
    trained = load_trained_synergy(options)
    if test.draw:
        trained.need_triangles()
    reader = VideoReader(path)
    began = time.perf_counter()
    raw = track_face(trained, reader, options[DetectionOptions])
    seconds = time.perf_counter() - began
    if not raw.found.any():
        raise InputError(
            f"{path}: no face in any of its {len(reader)} frames; is it upright, and are faces at "
            "least 40 pixels wide?"
        )
    layout = trained.network.face.layout
    deviations = trained.network.whitening_std[layout.pose + layout.shape :].cpu().numpy()
    smooth = raw.smoothed(reader.times_s, deviations, options[SmoothingOptions])
    results = Path(test.res_folder) if test.res_folder else trained.path.parent / "results"
    stem = results / path.stem
    write_options(options, results, "test")
    landmarks = landmarks_of(trained, smooth)
    write_track(stem.with_name(f"{path.stem}.npz"), smooth, landmarks, reader.times_s)
    problem = ""
    if test.draw:
        problem = draw_video(
            stem.with_name(f"{path.stem}_synergy.mp4"), reader, trained, smooth, landmarks
        )
    before = landmarks_of(trained, raw)
    shaking = [jitter(points[:, 17:, :2], raw.found, raw.starts) for points in (before, landmarks)]
    print(
        f"{int(raw.found.sum())} of {len(reader)} frames have a face; results in {results}\n"
        f"{len(reader) / seconds:.1f} frames a second, the video has "
        f"{reader.info.frame_rate_hz:.1f}; jitter {shaking[1]:.2f} pixels, {shaking[0]:.2f} before "
        "smoothing"
    )
    for line in (reader.damage.sentence(), problem):
        if line:
            print(line)


def track_face(
    trained: TrainedSynergy, reader: VideoReader, detection: DetectionOptions
) -> FaceTrack:
    """What the network says about the largest face of each frame."""
    count, layout = len(reader), trained.network.face.layout
    side = trained.network.meaning.image_px
    follow = LandmarkTracker(create_detector(detection))
    track = FaceTrack(
        found=np.zeros(count, bool),
        starts=np.zeros(count, bool),
        matrices=np.zeros((count, 3, 3)),
        shifts=np.zeros((count, 3)),
        shapes=np.zeros((count, layout.shape)),
        expressions=np.zeros((count, layout.expression)),
    )
    for frame in tqdm(reader, total=count, unit="frame", desc="following"):
        points = follow(frame.image)
        if points is None:
            continue
        size = (frame.image.shape[1], frame.image.shape[0])
        try:
            crop = SquareCrop.about_landmarks(points, size, side)
        except InputError:
            continue  # landmarks that no face can have
        (face,) = predict_faces(trained, frame.image, [crop], dense=False)
        n = frame.number
        track.found[n], track.starts[n] = True, follow.is_new
        track.matrices[n], track.shifts[n] = in_frame(face, layout.pose, side)
        _, track.shapes[n], track.expressions[n] = (
            block[0].numpy() for block in layout.split(torch.from_numpy(face.parameters)[None])
        )
    return track


def in_frame(face: SynergyResult, pose: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """M (3, 3), pixels a decimetre, and m (3,) of a face: from its crop to the frame.

    Of a crop's label coordinates X = A v + t, y up, continuous pixels are x - 0.5 and
    side + 1 - y - 0.5; the crop's scales and corner do the rest.
    """
    matrix, shift = matrix_and_shift(torch.from_numpy(face.parameters[:pose])[None])
    a, t = matrix[0].numpy(), shift[0].numpy()
    flip = np.array([1.0, -1.0, 1.0])
    origin = np.array([-LABEL_ORIGIN_PX, side + 1 - LABEL_ORIGIN_PX, 0.0])
    scales = np.append(face.crop.scales, face.crop.scales.mean())
    corner = np.array([face.crop.left, face.crop.top, 0.0])
    m = scales * (flip * t + origin) + corner
    return (scales * flip)[:, None] * a * MICROMETRES_PER_DM, m


@torch.inference_mode()
def landmarks_of(trained: TrainedSynergy, track: FaceTrack) -> np.ndarray:
    """Landmarks (N, L, 3) in the frames; zeros without a face."""
    face = trained.network.face
    every = np.zeros((len(track.found), face.landmark_count, 3))
    numbers = np.flatnonzero(track.found)
    shapes = torch.from_numpy(track.shapes[numbers]).to(face.mean)
    expressions = torch.from_numpy(track.expressions[numbers]).to(face.mean)
    flat = torch.addmm(face.landmark_mean, shapes, face.landmark_shape)
    flat = torch.addmm(flat, expressions, face.landmark_expression)
    every[numbers] = _posed(flat, track, numbers)
    return every


@torch.inference_mode()
def mesh_of(trained: TrainedSynergy, track: FaceTrack, number: int) -> np.ndarray:
    """Vertices (N, 3) in one frame."""
    face = trained.network.face
    rows = slice(number, number + 1)
    shapes = torch.from_numpy(track.shapes[rows]).to(face.mean)
    expressions = torch.from_numpy(track.expressions[rows]).to(face.mean)
    flat = torch.addmm(face.mean, shapes, face.shape_basis)
    flat = torch.addmm(flat, expressions, face.expression_basis)
    return _posed(flat, track, np.array([number]))[0]


def draw_video(
    path: Path,
    reader: VideoReader,
    trained: TrainedSynergy,
    track: FaceTrack,
    landmarks: np.ndarray,
) -> str:
    """Write frame | the same with mesh and axes.

    Returns:
        Why the sound was not kept; empty if it was, or there is none.
    """
    face = trained.network.face
    view = PixelView(face.triangles.cpu().numpy(), face.vertex_count)
    source = reader.info.path if reader.info.has_audio else None
    with VideoWriter(path, audio_from=source) as writer:
        for frame in tqdm(reader, total=len(reader), unit="frame", desc="drawing"):
            drawn = frame.image
            if track.found[frame.number]:
                mesh = mesh_of(trained, track, frame.number)
                drawn = view.draw_over(drawn, [mesh], [view.shaded(mesh)], alpha=OVERLAY_ALPHA)
                drawn = draw_axes(drawn, [_pose_only(track, landmarks, frame.number)])
            writer.write(np.concatenate([frame.image, drawn], axis=1), frame.time_s)
    return writer.result.problem


def write_track(path: Path, track: FaceTrack, landmarks: np.ndarray, times_s: np.ndarray) -> None:
    """Write the numbers of all frames; landmarks as pixel indices, y down.

    Raises:
        ValueError: a number is not finite; nothing is written.
    """
    angles = np.zeros((len(track.found), 3))
    for number in np.flatnonzero(track.found).tolist():
        angles[number] = _pose_only(track, landmarks, number).angles_deg
    arrays = {
        "time_s": times_s,
        "found": track.found,
        "landmarks": np.where(track.found[:, None, None], landmarks - [0.5, 0.5, 0.0], 0),
        "matrix_px_dm": track.matrices,
        "shift_px": track.shifts,
        "shape": track.shapes,
        "expression": track.expressions,
        "angles_deg": angles,
    }
    broken = [key for key, value in arrays.items() if not np.isfinite(value).all()]
    if broken:
        raise ValueError(f"{path.name}: {', '.join(broken)} holds non-finite numbers")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    write_bytes(path, buffer.getvalue())


def _posed(flat: torch.Tensor, track: FaceTrack, numbers: np.ndarray) -> np.ndarray:
    """Points of the face model (B, 3 P), micrometres, in their frames (B, P, 3)."""
    points = flat.double().cpu().numpy().reshape(len(flat), -1, 3) / MICROMETRES_PER_DM
    turned = np.einsum("bij,bpj->bpi", track.matrices[numbers], points)
    return turned + track.shifts[numbers][:, None]


def _pose_only(track: FaceTrack, landmarks: np.ndarray, number: int) -> SynergyResult:
    """A face as drawing the axes needs it."""
    up = np.diag([1.0, -1.0, 1.0]) @ track.matrices[number]
    matrix = torch.from_numpy(np.column_stack([up, np.zeros(3)]).reshape(1, 12))
    pose = head_pose(matrix)
    return SynergyResult(
        crop=SquareCrop((1, 1), 0, 0, 1, 1),
        parameters=np.zeros(0),
        landmarks=landmarks[number],
        vertices=np.zeros((0, 3)),
        rotation=pose.rotation[0].numpy(),
        angles_deg=torch.rad2deg(pose.angles_rad()[0]).numpy(),
        public_yaw_deg=0.0,
    )
