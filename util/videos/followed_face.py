"""One face followed through a video, fitted or predicted, as arrays: what a page is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.square_crop import SquareCrop
from data.video import VideoDamage, VideoInfo
from data.video_crops import FrameCrop
from models.camera import Camera
from models.face_model import IdentityCard
from util.errors import InputError


@dataclass(frozen=True)
class PredictedFrames:
    """What a network that sees faces in weak perspective says of N frames, beside coefficients.

    Rows of frames without a face are zero.
    """

    scales: np.ndarray
    """(N,) pixels of the crop a decimetre: by them the camera of the crops, which sees a decimetre
    as a pixel, has to be refocused."""
    landmarks: np.ndarray
    """(N, 68, 2) predicted pixel indices of the frames. What coefficients give lies beside them:
    predicted poses need not be rotations."""
    landmarks_tracked: np.ndarray
    """(N, 68, 2) before smoothing."""
    colours: np.ndarray
    """(V, 3) of the head, RGB in [0, 1], with the light of the key frames that show it: the network
    knows neither light nor albedo. None, as key frames, where only numbers were wanted."""


@dataclass(frozen=True)
class FollowedFace:
    """One face along a video of N frames, fitted or predicted.

    Rows of frames without a face are zero.
    """

    info: VideoInfo
    times_s: np.ndarray
    """(N,) on the clock of the file."""
    found: np.ndarray
    """(N,) bool: whether a frame has a face."""
    coefficients: np.ndarray
    """(N, P) float32; `gamma` and `texture` are NaN where the method knows neither light nor albedo
    (see `predicted`)."""
    tracked: np.ndarray
    """(N, P) before smoothing."""
    camera: Camera
    """Of the crops: that of a fit has the focal length that was found, or the given one."""
    crops: tuple[FrameCrop | SquareCrop | None, ...]
    """Of each frame: squares about landmarks, or aligned by five points."""
    face_model: IdentityCard
    """What gives the coefficients their meaning."""
    landmarks: np.ndarray
    """(N, 68, 2) given landmarks, pixel indices of the frame."""
    starts: np.ndarray
    """(N,) bool: whether a frame begins something: after a cut, or where the face is another."""
    photo: np.ndarray | None
    """(N,) mean robust colour distance of the tracked frames over the skin, RGB in [0, 1]; None
    where there is no albedo to compare."""
    cuts: tuple[int, ...]
    """First frames of scenes."""
    key_frames: tuple[int, ...]
    """That identity and albedo were fitted to, or that the colours are from."""
    damage: VideoDamage
    """What could not be decoded."""
    predicted: PredictedFrames | None = None
    """What a network says beside the coefficients; None where a fit found them."""

    def crop(self, number: int) -> FrameCrop | SquareCrop:
        """Of a frame that has a face."""
        crop = self.crops[number]
        assert crop is not None
        return crop

    def aligned_crop(self, number: int) -> FrameCrop:
        """The same, aligned by five points, which the public code's numbers are about.

        Raises:
            ValueError: it is a square about landmarks.
        """
        crop = self.crop(number)
        if not isinstance(crop, FrameCrop):
            raise ValueError(f"{self.info.path.name}: its crops were not aligned by five points")
        return crop

    @property
    def pixels_a_dm(self) -> np.ndarray:
        """(N,) pixels of the frame a decimetre, of faces under weak perspective; 0 without a face.

        Raises:
            ValueError: a fit knows a distance instead.
        """
        if self.predicted is None:
            raise ValueError(f"{self.info.path.name}: faces in perspective have no one scale")
        crops = [1.0 if crop is None else crop.scale for crop in self.crops]
        return self.predicted.scales / np.array(crops)


def without_any_face(video: Path, frames: int) -> InputError:
    """What is said of a video in which nobody was found."""
    return InputError(
        f"{video}: no face in any of its {frames} frames; is it upright, and are faces at least "
        "40 pixels wide?"
    )
