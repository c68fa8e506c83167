"""Methods that give a 3D face for photos: by name, what `evaluate.py --model` scores on meshes.

facerecon  an R-Net (--name, --epoch); of several photos of one person, the mean of what it says
           of each
fit        the fitter (--preset); several photos of one person are fitted together
mean       the mean face of the face model: what a method must beat
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch

from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.facerecon_model import FaceReconModel
from models.fitting.fitter import PRESETS, FaceFitter
from models.parameters import Coefficients
from models.renderer import Renderer
from options.base_options import BaseOptions
from options.evaluate_options import BenchmarkFitOptions
from options.face_options import CameraOptions, FaceModelOptions, LandmarkOrigin, RenderOptions
from options.fitting_weights import Preset
from options.flags import ParsedOptions
from util.assets import read_chosen_face_model
from util.devices import choose_device, chosen_renderer
from util.photos.photo_fitting import face_fitter
from util.training.trained_model import load_reconstruction_model

SEVEN = (36, 39, 42, 45, 33, 48, 54)
"""The landmarks that scans are annotated with: eye corners, nose bottom, mouth corners."""


class ShapeMethod(Protocol):
    """What can be scored."""

    @property
    def face_model(self) -> FaceModel:
        """That gives its coefficients their meaning."""
        ...

    @property
    def camera(self) -> Camera:
        """Of its crops."""
        ...

    @property
    def landmark_origin(self) -> LandmarkOrigin:
        """What its landmarks mean in the crop."""
        ...

    def __call__(self, batch: FaceBatch, *, one_person: bool = False) -> Coefficients:
        """The faces of a batch: aligned crops in [0, 1], landmarks (origin "centre"), skin masks.

        With `one_person` they have one identity.
        """
        ...


@dataclass(frozen=True)
class _OfFitter:
    """What all that a fitter can do have in common."""

    fitter: FaceFitter

    @property
    def face_model(self) -> FaceModel:
        """See `ShapeMethod`."""
        return self.fitter.face_model

    @property
    def camera(self) -> Camera:
        """See `ShapeMethod`."""
        return self.fitter.camera

    @property
    def landmark_origin(self) -> LandmarkOrigin:
        """See `ShapeMethod`."""
        return "centre"


@dataclass(frozen=True)
class FitShape(_OfFitter):
    """The fitter."""

    preset: Preset

    @torch.no_grad()
    def __call__(self, batch: FaceBatch, *, one_person: bool = False) -> Coefficients:
        """See `ShapeMethod`."""
        levels = PRESETS[self.preset]
        batch = batch.to(self.face_model.mean_shape.device)
        if one_person:
            return self.fitter.fit(batch, levels, one_person=True).coefficients
        # One by one, which is fastest on a CPU.
        each = (batch.rows(torch.tensor([k])) for k in range(len(batch)))
        return stacked([self.fitter.fit(face, levels).coefficients for face in each])


@dataclass(frozen=True)
class NetworkShape:
    """An R-Net."""

    model: FaceReconModel

    @property
    def face_model(self) -> FaceModel:
        """See `ShapeMethod`."""
        return self.model.face_model

    @property
    def camera(self) -> Camera:
        """See `ShapeMethod`."""
        return self.model.camera

    @property
    def landmark_origin(self) -> LandmarkOrigin:
        """See `ShapeMethod`."""
        return self.model.landmark_origin

    @torch.inference_mode()
    def __call__(self, batch: FaceBatch, *, one_person: bool = False) -> Coefficients:
        """See `ShapeMethod`."""
        found = self.model.predict(batch.to(self.model.device).images)
        if not one_person:
            return found
        shared = {
            name: getattr(found, name).mean(dim=0, keepdim=True).expand(len(batch), -1)
            for name in ("identity", "texture")
        }
        return replace(found, **shared)


@dataclass(frozen=True)
class MeanShape(_OfFitter):
    """The mean face in the pose of the landmarks."""

    @torch.no_grad()
    def __call__(self, batch: FaceBatch, *, one_person: bool = False) -> Coefficients:
        """See `ShapeMethod`."""
        landmarks = batch.landmarks_px
        assert landmarks is not None
        return self.fitter.pose(landmarks.to(self.face_model.mean_shape.device))


@dataclass(frozen=True)
class FaceShape:
    """The mesh of one face in its own frame, decimetres, as files of predictions hold it."""

    vertices: np.ndarray
    """(V, 3) float64."""
    triangles: np.ndarray
    """(F, 3)"""
    landmarks: np.ndarray
    """(68, 3)"""


@torch.no_grad()
def face_shapes(
    face_model: FaceModel, coefficients: Coefficients, *, neutral: bool
) -> list[FaceShape]:
    """Meshes of a batch, with its expressions or without any, and without pose."""
    expression = coefficients.expression
    joints = coefficients.joints_rad
    if neutral:
        expression, joints = torch.zeros_like(expression), None
    vertices = face_model.shape(coefficients.identity, expression, joints)
    landmarks = face_model.landmarks(vertices)
    triangles = face_model.triangles.cpu().numpy()
    return [
        FaceShape(shape.double().cpu().numpy(), triangles, points.double().cpu().numpy())
        for shape, points in zip(vertices, landmarks, strict=True)
    ]


def stacked(parts: Sequence[Coefficients]) -> Coefficients:
    """Coefficients of several batches as one."""
    blocks = [dict(part.items()) for part in parts]
    return Coefficients(**{name: torch.cat([b[name] for b in blocks]) for name in blocks[0]})


def to_arrays(coefficients: Coefficients) -> dict[str, np.ndarray]:
    """A batch as arrays by the names of its blocks, to be kept."""
    return {name: block.cpu().numpy() for name, block in coefficients.items()}


def from_arrays(arrays: Mapping[str, np.ndarray], device: torch.device | str) -> Coefficients:
    """The batch of `to_arrays`; other arrays are passed over."""
    names = {field.name for field in fields(Coefficients)} & set(arrays)
    return Coefficients(**{name: torch.from_numpy(arrays[name]).to(device) for name in names})


def create_fitter(options: ParsedOptions) -> tuple[FaceFitter, FaceModelData]:
    """The fitter of `--face_model`, whose jaw landmarks follow the silhouette as detectors do."""
    base = options[BaseOptions]
    device = choose_device(base.gpu_ids, base.num_cpu_threads)
    chosen = replace(options[FaceModelOptions], jaw_landmarks="silhouette")
    data, message = read_chosen_face_model(chosen)
    print(f"Face model: {data.card}, {message}")
    camera = Camera.rnet(options[CameraOptions]).to(device)
    renderer = chosen_renderer(options[RenderOptions], device)
    return face_fitter(FaceModel(data).to(device), camera, renderer), data


def mean_of(method: ShapeMethod) -> MeanShape:
    """The mean face of a method's face model, which it is compared with."""
    if isinstance(method, FitShape):
        return MeanShape(method.fitter)
    return MeanShape(face_fitter(method.face_model, method.camera, Renderer("auto")))


def _create_fit(options: ParsedOptions) -> tuple[FitShape, FaceModelData]:
    fitter, data = create_fitter(options)
    return FitShape(fitter, options[BenchmarkFitOptions].preset), data


def _create_network(options: ParsedOptions) -> tuple[NetworkShape, FaceModelData]:
    model, completed = load_reconstruction_model(options)
    return NetworkShape(model), read_chosen_face_model(completed[FaceModelOptions])[0]


def _create_mean(options: ParsedOptions) -> tuple[MeanShape, FaceModelData]:
    fitter, data = create_fitter(options)
    return MeanShape(fitter), data


SHAPE_METHODS: Mapping[str, Callable[[ParsedOptions], tuple[ShapeMethod, FaceModelData]]] = {
    "fit": _create_fit,
    "facerecon": _create_network,
    "mean": _create_mean,
}
"""What makes a method of the command line, with the arrays of its face model."""
