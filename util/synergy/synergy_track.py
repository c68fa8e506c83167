"""One face followed through a video by a SynergyNet, as numbers of all frames.

1. Landmarks of every frame (`data.video_landmarks`), a crop about them, the network.
2. Poses are taken from the crops, which move with the face, to the frame.
3. Smoothing, run by run of unbroken frames: pose and expression by the one-euro filter forward and
   backward; the shape, which one person does not change, is the median over the video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from tqdm import tqdm

from data.detection import create_detector
from data.square_crop import SquareCrop
from data.video import VideoReader
from data.video_cuts import CutFinder
from data.video_landmarks import LandmarkTracker
from data.video_plan import frame_runs
from models.one_euro import smooth_motion
from models.synergy.pose import (
    LABEL_ORIGIN_PX,
    MICROMETRES_PER_DM,
    HeadPose,
    head_pose,
    matrix_and_shift,
)
from options.data_options import DetectionOptions
from options.fitting_weights import SmoothingOptions
from util.errors import InputError
from util.synergy.synergy_faces import SynergyResult, predict_faces
from util.synergy.synergy_trained import TrainedSynergy

_EXPRESSION_SCALE = 1.0
"""Of expressions, in standard deviations of the training data."""


@dataclass(frozen=True)
class SynergyTrack:
    """One face in N frames; rows without a face are zero.

    A point v of the face model lies at M v + m of the frame: continuous pixels, y down, z in pixels
    towards the camera.
    """

    found: np.ndarray
    """(N,)"""
    starts: np.ndarray
    """(N,) whether nothing connects a frame with the one before: after a cut, or where the face is
    another."""
    cuts: tuple[int, ...]
    """First frames of scenes."""
    crops: tuple[SquareCrop | None, ...]
    """That the network saw."""
    given: np.ndarray
    """(N, 68, 2) landmarks that the crops lie about, pixel indices of the frames."""
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
    ) -> SynergyTrack:
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
        return replace(
            self, matrices=matrices, shifts=shifts, shapes=shapes, expressions=expressions
        )

    def poses(self, numbers: Sequence[int] | np.ndarray) -> HeadPose:
        """Of some frames that have a face."""
        up = np.diag([1.0, -1.0, 1.0]) @ self.matrices[numbers]
        rows = np.concatenate([up, np.zeros((len(up), 3, 1))], axis=2)
        return head_pose(torch.from_numpy(rows.reshape(-1, 12)))

    def crop(self, number: int) -> SquareCrop:
        """Of a frame that has a face."""
        crop = self.crops[number]
        assert crop is not None
        return crop


def track_face(
    trained: TrainedSynergy, reader: VideoReader, detection: DetectionOptions
) -> SynergyTrack:
    """What the network says about the largest face of each frame."""
    count, layout = len(reader), trained.network.face.layout
    side = trained.network.meaning.image_px
    follow, finder = LandmarkTracker(create_detector(detection)), CutFinder()
    found, starts = np.zeros(count, bool), np.zeros(count, bool)
    matrices, shifts = np.zeros((count, 3, 3)), np.zeros((count, 3))
    shapes, expressions = np.zeros((count, layout.shape)), np.zeros((count, layout.expression))
    given = np.zeros((count, 68, 2))
    crops: list[SquareCrop | None] = [None] * count
    cuts: list[int] = []
    for frame in tqdm(reader, total=count, unit="frame", desc="following"):
        begins = finder.add(frame.number, frame.image)
        cuts += [] if begins is None else [begins]
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
        found[n], starts[n], crops[n], given[n] = True, follow.is_new, crop, points
        matrices[n], shifts[n] = in_frame(face, layout.pose, side)
        _, shapes[n], expressions[n] = (
            block[0].numpy() for block in layout.split(torch.from_numpy(face.parameters)[None])
        )
    cuts += finder.finish()
    starts[cuts] = True
    return SynergyTrack(
        found, starts, tuple(cuts), tuple(crops), given, matrices, shifts, shapes, expressions
    )


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
def landmarks_of(trained: TrainedSynergy, track: SynergyTrack) -> np.ndarray:
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
def mesh_of(trained: TrainedSynergy, track: SynergyTrack, number: int) -> np.ndarray:
    """Vertices (N, 3) in one frame."""
    face = trained.network.face
    rows = slice(number, number + 1)
    shapes = torch.from_numpy(track.shapes[rows]).to(face.mean)
    expressions = torch.from_numpy(track.expressions[rows]).to(face.mean)
    flat = torch.addmm(face.mean, shapes, face.shape_basis)
    flat = torch.addmm(flat, expressions, face.expression_basis)
    return _posed(flat, track, np.array([number]))[0]


def track_arrays(track: SynergyTrack, landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """What files hold beside that of all methods; landmarks (N, L, 3) as pixel indices, y down."""
    angles = np.zeros((len(track.found), 3))
    angles[track.found] = torch.rad2deg(track.poses(track.found).angles_rad()).numpy()
    return {
        "landmarks": np.where(track.found[:, None, None], landmarks - [0.5, 0.5, 0.0], 0),
        "matrix_px_dm": track.matrices,
        "shift_px": track.shifts,
        "shape": track.shapes,
        "expression": track.expressions,
        "angles_deg": angles,
    }


def _posed(flat: torch.Tensor, track: SynergyTrack, numbers: np.ndarray) -> np.ndarray:
    """Points of the face model (B, 3 P), micrometres, in their frames (B, P, 3)."""
    points = flat.double().cpu().numpy().reshape(len(flat), -1, 3) / MICROMETRES_PER_DM
    turned = np.einsum("bij,bpj->bpi", track.matrices[numbers], points)
    return turned + track.shifts[numbers][:, None]


def pose_only(track: SynergyTrack, landmarks: np.ndarray, number: int) -> SynergyResult:
    """A face as drawing the axes needs it."""
    pose = track.poses([number])
    return SynergyResult(
        crop=SquareCrop((1, 1), 0, 0, 1, 1),
        parameters=np.zeros(0),
        landmarks=landmarks[number],
        vertices=np.zeros((0, 3)),
        rotation=pose.rotation[0].numpy(),
        angles_deg=torch.rad2deg(pose.angles_rad()[0]).numpy(),
        public_yaw_deg=0.0,
    )
