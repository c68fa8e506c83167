"""Fit faces of photos, to results ready to be written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch

from data.photo_folder import PhotoFace
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel
from models.facerecon_model import FaceReconModel
from models.fitting.adam import AdamSchedule, fit_adam
from models.fitting.energy import FitWeights
from models.fitting.fitter import PRESETS, FaceFitter, Fit, Preset
from models.landmarks import from_index
from models.renderer import Renderer
from models.stages import Reconstruction, reconstruct
from util.errors import InputError
from util.face_result import FaceResult
from util.fit_record import FitRecord, StageRecord
from util.photo_results import face_results
from util.results import SummaryRow

SMALL_FACE_PX = 40
"""Width of a face in its photo below which a fit knows little of its shape."""
FACE_WIDTH_PX = 140
"""Of a face in the crop, about."""
LARGE_YAW_DEG = 60
LARGE_ERROR = 0.08
"""Landmark error of the inner points, in outer-eye distances, that says something is wrong."""


def face_fitter(
    face_model: FaceModel, camera: Camera, renderer: Renderer, weights: FitWeights | None = None
) -> FaceFitter:
    """A fitter of the user's face model.

    Raises:
        InputError: the face model cannot be fitted.
    """
    try:
        return FaceFitter(face_model, camera, renderer, weights)
    except ValueError as error:
        raise InputError(f"--face_model: {error}") from error


class PhotoFitting:
    """Fits the faces of photos by one preset."""

    def __init__(
        self,
        fitter: FaceFitter,
        preset: Preset,
        network: FaceReconModel | None = None,
        *,
        schedule: AdamSchedule | None = None,
        one_person: bool = False,
    ) -> None:
        """Say how.

        Args:
            fitter: of the face model.
            preset: how finely.
            network: whose prediction is the start; None starts with the landmarks.
            schedule: steps of Adam in place of Gauss-Newton's; they look at every pixel.
            one_person: all faces of a call share identity and albedo.
        """
        self._fitter = fitter
        self._preset: Preset = preset
        self._network = network
        self._schedule = schedule
        self._one_person = one_person

    def __call__(self, faces: Sequence[PhotoFace]) -> Iterator[tuple[FaceResult, SummaryRow]]:
        """Fit faces side by side.

        Args:
            faces: with skin masks.
        """
        fitter, began = self._fitter, time.perf_counter()
        batch = to_fit_batch(faces).to(fitter.face_model.mean_shape.device)
        start = None
        if self._network is not None:
            with torch.inference_mode():
                start = self._network.predict(batch.images)
        if self._schedule is not None:
            fit = fit_adam(fitter, batch, self._schedule, start=start)
        else:
            fit = fitter.fit(batch, PRESETS[self._preset], start, one_person=self._one_person)
        with torch.inference_mode():
            made = reconstruct(fitter.face_model, fitter.renderer, fitter.camera, fit.coefficients)
            results = face_results(
                fitter.face_model, fitter.camera, faces, batch, made, origin="centre"
            )
            seconds = (time.perf_counter() - began) / len(faces)
            for k, (result, row) in enumerate(results):
                warnings = _warnings(faces[k], batch.rows(torch.tensor([k])), made, row)
                record = self._record(fit, k, len(faces), seconds, warnings)
                yield (
                    replace(result, fit=record),
                    replace(row, message="; ".join(warnings)),
                )

    def _record(
        self, fit: Fit, item: int, count: int, seconds: float, warnings: tuple[str, ...]
    ) -> FitRecord:
        stages = tuple(
            StageRecord(
                name=stage.name,
                steps=int(stage.tried[item]),
                converged=bool(stage.converged[item]),
                energy_before=float(stage.first[item]),
                energy_after=sum(float(term[item]) for term in stage.energies.values()),
                terms={name: float(term[item]) for name, term in stage.energies.items()},
            )
            for stage in fit.stages
        )
        return FitRecord(
            solver="gauss_newton" if self._schedule is None else "adam",
            preset=self._preset if self._schedule is None else "",
            weights=asdict(self._fitter.weights),
            init="landmarks" if self._network is None else "regress",
            faces_together=count if self._one_person else 1,
            seconds=seconds,
            stages=stages,
            warnings=warnings,
        )


def to_fit_batch(faces: Sequence[PhotoFace]) -> FaceBatch:
    """Stack aligned faces with their skin masks; landmarks as exact continuous pixels."""
    images = torch.from_numpy(np.stack([face.face.image for face in faces]))
    skin = torch.from_numpy(np.stack([face.skin for face in faces if face.skin is not None]))
    points = torch.from_numpy(np.stack([face.landmarks for face in faces])).float()
    return FaceBatch(
        images=images.permute(0, 3, 1, 2) / 255.0,
        paths=tuple(str(face.path) for face in faces),
        landmarks_px=from_index(points, "centre"),
        skin_mask=skin[:, None] / 255.0,
    )


def _warnings(
    face: PhotoFace, photo: FaceBatch, made: Reconstruction, row: SummaryRow
) -> tuple[str, ...]:
    """What makes a fit doubtful, in words."""
    found = []
    alignment = face.face.alignment
    width = FACE_WIDTH_PX / alignment.scale
    if width < SMALL_FACE_PX:
        found.append(f"the face is only about {width:.0f} pixels wide")
    if row.yaw_deg is not None and abs(row.yaw_deg) > LARGE_YAW_DEG:
        found.append(f"the face is turned by {abs(row.yaw_deg):.0f} degrees, half of it is a guess")
    if row.nme_inner is not None and row.nme_inner > LARGE_ERROR:
        found.append(
            f"landmarks are off by {100 * row.nme_inner:.0f} % of the outer-eye distance; look at "
            "the picture, and give points in landmarks/ where the detector's are wrong"
        )
    outside = _outside_share(face)
    if outside > 0.15:
        found.append(f"{100 * outside:.0f} % of the face lie outside the photo")
    channels = photo.images[0]
    if float((channels.amax(dim=0) - channels.amin(dim=0)).mean()) < 0.01:
        found.append("the photo is grey, so that the albedo's colour is a guess")
    return tuple(found)


def _outside_share(face: PhotoFace) -> float:
    """Share of the landmarks' box that lies outside the photo."""
    inverse = face.face.alignment.inverse_matrix
    points = (face.landmarks + 0.5) @ inverse[:, :2].T + inverse[:, 2]
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.array(face.face.alignment.photo_size)
    inside = np.clip(np.minimum(high, size) - np.maximum(low, 0), 0, None)
    return float(1 - np.prod(inside / np.maximum(high - low, 1e-9)))
