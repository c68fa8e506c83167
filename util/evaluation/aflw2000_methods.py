"""Methods that a benchmark of face crops can score: by name, what `evaluate.py --model` chooses.

All get the same and no more: a crop of 120 px that is centred on the face's box and sqrt(2) times
as large as its longer side. SynergyNet reads it as it is, its border blackened as in its training.
The R-Net and the fitter need landmarks, which they do not get from the labels:

1. The five points of the mean face, seen from the front, are put into the box.
2. R-Net: the crop is aligned by them; the network predicts; the crop is aligned again by the five
   points that it predicts, which repairs what the box did not tell, and it predicts once more.
3. Fitter: dlib's predictor, started at these five points (no face has to be found), gives the 68
   landmarks that the fit starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from data.aflw2000 import Aflw2000, continuous_to_photo, to_photo
from data.alignment import align_face
from data.ddfa_dataset import black_border
from data.detection import LandmarkDetector, create_detector
from data.photo_folder import PhotoFace, photo_face
from models.camera import Camera, rotation_matrix
from models.face_model import FaceModel, IdentityCard
from models.facerecon_model import FaceReconModel
from models.fitting.fitter import PRESETS, FaceFitter
from models.landmarks import from_index, to_index
from models.stages import pose_face, shape_face
from models.synergy.pose import HeadPose, head_pose
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.evaluate_options import BenchmarkFitOptions
from options.face_options import (
    SYNERGY_CROP_PX,
    CameraOptions,
    FaceModelOptions,
    RenderOptions,
)
from options.flags import ParsedOptions
from util.assets import choose_face_model
from util.devices import choose_device, chosen_renderer
from util.errors import InputError
from util.evaluation.aflw2000_predictions import Predictions
from util.photos.photo_fitting import face_fitter, to_fit_batch
from util.synergy.synergy_trained import TrainedSynergy, load_trained_synergy
from util.training.trained_model import load_reconstruction_model

ROUNDS = 2
"""Times that the R-Net looks at a crop."""
BORDER_PX = 5
"""Black in 3DDFA's crops when networks are trained and scored, though not in photos."""


class Method(Protocol):
    """What can be scored."""

    @property
    def card(self) -> IdentityCard:
        """Of its face model."""
        ...

    def predict(self, data: Aflw2000, numbers: Sequence[int]) -> Predictions:
        """Landmarks and angles of some images; the name is left empty."""
        ...


def mean_face_points(face_model: FaceModel, camera: Camera) -> np.ndarray:
    """The five alignment points (5, 2) of the mean face in the crop, pixel indices.

    Of the face seen from the front, the longer side of whose landmarks' box is 1/sqrt(2) of the
    crop.

    Args:
        face_model: whose mean.
        camera: through which it is seen: perspective makes eyes and mouth, which are nearer than
            the jaw, 3 % larger.
    """
    mean = face_model.landmarks(face_model.mean_shape.reshape(1, -1, 3))
    landmarks, five = (
        camera.project(camera.from_object(points))[0].double().cpu().numpy()
        for points in (mean, face_model.alignment_points[None])
    )
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    zoom = SYNERGY_CROP_PX / np.sqrt(2) / (high - low).max()
    return (five - (low + high) / 2) * zoom + SYNERGY_CROP_PX / 2 - 0.5


class SynergyMethod:
    """A SynergyNet; landmarks are those of the regressed parameters, unrefined, as published."""

    def __init__(self, trained: TrainedSynergy) -> None:
        """Take a network that is ready to predict.

        Raises:
            InputError: it has other landmarks than the benchmark.
        """
        meaning = trained.network.meaning
        if meaning.num_landmarks != 68:
            raise InputError(
                f"{trained.path} predicts {meaning.num_landmarks} landmarks; the benchmark has the "
                "68 of iBUG"
            )
        self._trained = trained
        self._side = meaning.image_px
        self._border = BORDER_PX if meaning.input_range == "bgr128" else 0

    @property
    def card(self) -> IdentityCard:
        """See `Method`."""
        return self._trained.network.face.card

    @torch.inference_mode()
    def predict(self, data: Aflw2000, numbers: Sequence[int]) -> Predictions:
        """See `Method`."""
        images = [black_border(data.read_crop(n), self._border) for n in numbers]
        if self._side != SYNERGY_CROP_PX:
            size = (self._side, self._side)
            scaled = (Image.fromarray(i).resize(size, Image.Resampling.BILINEAR) for i in images)
            images = [np.asarray(image) for image in scaled]
        parameters = self._trained.predict(np.stack(images)).double().cpu()
        face = self._trained.network.face
        landmarks = face.landmarks(parameters.to(face.mean)).double().cpu().transpose(1, 2)
        # Labels count from 1: it is their pixels' centres, half a pixel less, that are scaled.
        in_crop = (landmarks[..., :2].numpy() - 0.5) * (SYNERGY_CROP_PX / self._side) + 0.5
        pose = head_pose(parameters[:, : face.layout.pose])
        return Predictions(
            "",
            to_photo(in_crop, data.boxes[list(numbers)]),
            angles_deg(pose),
            angles_deg(pose, public=True),
        )


class NetworkMethod:
    """An R-Net."""

    def __init__(self, model: FaceReconModel) -> None:
        """Take a trained model in inference mode."""
        self._model = model
        self._standard = model.face_model.alignment_points.cpu().numpy()
        self._start = mean_face_points(model.face_model, model.camera)

    @property
    def card(self) -> IdentityCard:
        """See `Method`."""
        return self._model.face_model.card

    @torch.inference_mode()
    def predict(self, data: Aflw2000, numbers: Sequence[int]) -> Predictions:
        """See `Method`."""
        model = self._model
        images = [data.read_crop(number) for number in numbers]
        aligned = [align_face(image, self._start, self._standard) for image in images]
        for round_ in range(ROUNDS):
            crops = torch.from_numpy(np.stack([face.image for face in aligned]))
            batch = crops.permute(0, 3, 1, 2).to(model.device) / 255.0
            coefficients = model.predict(batch)
            shaped = shape_face(model.face_model, coefficients)
            posed = pose_face(model.face_model, shaped, coefficients, model.camera)
            # Whatever the origin that it was trained with, the points of the image are meant.
            index = to_index(posed.landmarks_px.double(), model.landmark_origin)
            landmarks = from_index(index, "centre").cpu().numpy()
            points = np.stack(
                [
                    row @ face.alignment.inverse_matrix[:, :2].T
                    + face.alignment.inverse_matrix[:, 2]
                    for row, face in zip(landmarks, aligned, strict=True)
                ]
            )
            if round_ + 1 < ROUNDS:
                aligned = [
                    self._again(image, row - 0.5, face)
                    for image, row, face in zip(images, points, aligned, strict=True)
                ]
        rotations = rotation_matrix(coefficients.angles_rad.double()).cpu().numpy()
        return _predictions(points, rotations, data, numbers)

    def _again(self, image, points, before):
        """The crop aligned by predicted points; as before where nothing can be aligned by them."""
        try:
            return align_face(image, points, self._standard)
        except InputError:
            return before


class FitMethod:
    """The fitter, from landmarks of a predictor that is started in the box."""

    def __init__(
        self,
        fitter: FaceFitter,
        scored: FaceModel,
        detector: LandmarkDetector,
        preset: str = "balanced",
    ) -> None:
        """Say what fits.

        Args:
            fitter: of a face model whose jaw landmarks lie where detectors mark them.
            scored: the same face model with the jaw landmarks of the labels: fixed points.
            detector: gives 68 landmarks from five.
            preset: how finely.
        """
        self._fitter, self._scored = fitter, scored
        self._detector = detector
        self._levels = PRESETS[preset]  # pyright: ignore[reportArgumentType]
        self._standard = fitter.face_model.alignment_points.cpu().numpy()
        self._start = mean_face_points(fitter.face_model, fitter.camera)

    @property
    def card(self) -> IdentityCard:
        """See `Method`."""
        return self._scored.card

    def predict(self, data: Aflw2000, numbers: Sequence[int]) -> Predictions:
        """See `Method`."""
        faces = [self._face(data.images[n], data.read_crop(n)) for n in numbers]
        points, rotations = [], []
        for face in faces:  # one by one, which is fastest on a CPU
            batch = to_fit_batch([face]).to(self._scored.mean_shape.device)
            coefficients = self._fitter.fit(batch, self._levels).coefficients
            with torch.inference_mode():
                shaped = shape_face(self._scored, coefficients)
                posed = pose_face(self._scored, shaped, coefficients, self._fitter.camera)
            matrix = face.face.alignment.inverse_matrix
            landmarks = posed.landmarks_px[0].double().cpu().numpy()
            points.append(landmarks @ matrix[:, :2].T + matrix[:, 2])
            rotations.append(rotation_matrix(coefficients.angles_rad.double())[0].cpu().numpy())
        return _predictions(np.stack(points), np.stack(rotations), data, numbers)

    def _face(self, path: Path, image: np.ndarray) -> PhotoFace:
        landmarks = self._detector.landmarks_from_five(image, self._start)
        try:
            return photo_face(path, image, landmarks, self._standard)
        except InputError:
            return photo_face(path, image, landmarks, self._standard, points=self._start)


def _predictions(
    points: np.ndarray, rotations: np.ndarray, data: Aflw2000, numbers: Sequence[int]
) -> Predictions:
    """Of continuous pixels (B, 68, 2) of the crops and rotations (B, 3, 3) of the object frame."""
    return Predictions(
        "",
        continuous_to_photo(points, data.boxes[list(numbers)]),
        label_angles_deg(rotations),
        label_angles_deg(rotations, public=True),
    )


def label_angles_deg(rotations: np.ndarray, *, public: bool = False) -> np.ndarray:
    """Pitch, yaw, roll (N, 3) in degrees as the labels mean them.

    Args:
        rotations: (N, 3, 3), for column vectors of the object frame.
        public: with the yaw of SynergyNet's code.
    """
    matrices = torch.from_numpy(rotations).double()
    none = matrices.new_zeros(len(matrices), 3)
    return angles_deg(HeadPose(none[:, 0] + 1, matrices, none), public=public)


def angles_deg(pose: HeadPose, *, public: bool = False) -> np.ndarray:
    """`HeadPose.angles_rad` in degrees, (N, 3)."""
    return np.degrees(pose.angles_rad(public).numpy())


def _create_synergy(options: ParsedOptions) -> SynergyMethod:
    return SynergyMethod(load_trained_synergy(options))


def _create_network(options: ParsedOptions) -> NetworkMethod:
    model, _ = load_reconstruction_model(options)
    return NetworkMethod(model)


def _create_fit(options: ParsedOptions) -> FitMethod:
    base = options[BaseOptions]
    device = choose_device(base.gpu_ids, base.num_cpu_threads)
    chosen = options[FaceModelOptions]
    scored, message = choose_face_model(replace(chosen, jaw_landmarks="fixed"))
    fitted, _ = choose_face_model(replace(chosen, jaw_landmarks="silhouette"))
    print(f"Face model: {message}")
    renderer = chosen_renderer(options[RenderOptions], device)
    camera = Camera.rnet(options[CameraOptions]).to(device)
    fitter = face_fitter(fitted.to(device), camera, renderer)
    detector = create_detector(options[DetectionOptions])
    return FitMethod(fitter, scored.to(device), detector, options[BenchmarkFitOptions].preset)


METHODS: Mapping[str, Callable[[ParsedOptions], Method]] = {
    "synergy": _create_synergy,
    "facerecon": _create_network,
    "fit": _create_fit,
}
"""What makes a method of the command line."""
