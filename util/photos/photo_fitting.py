"""Fit faces of photos, to results ready to be written."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data.alignment import Alignment
from data.landmarks import check_landmarks
from data.photo_folder import PhotoFace, photo_face
from models.appearance import solve_appearance
from models.batch import FaceBatch
from models.camera import Camera
from models.drawing import over_photos, turned_views, with_mouths_of_photos
from models.face_model import FaceModel
from models.facerecon_model import FaceReconModel
from models.fitting.adam import fit_adam
from models.fitting.fitter import PRESETS, FaceFitter, Fit
from models.fitting.plausibility import left_of_flat
from models.fitting.problem import Evaluation
from models.landmarks import from_index
from models.mouth_membrane import mouth_screen
from models.parameters import Coefficients
from models.renderer import Renderer
from models.stages import Reconstruction, reconstruct
from options.fitting_weights import AdamSchedule, FitWeights, Preset
from util.errors import InputError
from util.photos.face_result import FaceResult
from util.photos.fit_record import FitRecord, StageRecord
from util.photos.one_person import OnePersonCheck, stranger_warning
from util.photos.photo_camera import PhotoCamera, Window
from util.photos.photo_results import face_results
from util.photos.results import SummaryRow

SMALL_FACE_PX = 40
"""Width of a face in its photo below which a fit knows little of its shape."""
FACE_WIDTH_PX = 140
"""Of a face in the crop, about."""
LARGE_YAW_DEG = 60
LARGE_LEFT_OF_FLAT = 0.92
"""`left_of_flat` above which the face lies elsewhere. On 17 photos it was at most 0.909; above this
bound came, of 51 with landmarks of another 29, of 51 with landmarks 25 pixels off 33, of 17 upside
down 11."""
ELSEWHERE = (
    "the face fits the photo hardly better than plain skin: is it hidden, in odd light or upside "
    "down, or are the landmarks of another photo?"
)
FOCAL_OF_ONE = (
    "a single photo hardly tells the focal length, so that it is mostly the given one; several "
    "views with --same_person tell it"
)
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


@dataclass(frozen=True)
class FitResult:
    """The face of one image."""

    coefficients: Coefficients
    """A batch of one."""
    reconstruction: Reconstruction
    """Shape, pose, landmarks and rendering in the crop."""
    alignment: Alignment
    """How the image became the crop."""
    camera: PhotoCamera
    """Of the whole image, with the pose of the head."""
    fit: Fit
    """Energies and steps of the stages."""


def fit_image(
    image: np.ndarray,
    landmarks: np.ndarray,
    fitter: FaceFitter,
    preset: Preset = "balanced",
    start: Coefficients | None = None,
    *,
    focal: bool = False,
) -> FitResult:
    """Fit the face of one image; for other programs, as `fit_images` is.

        fitter = face_fitter(load_face_model(FaceModelOptions("open")), Camera.rnet(), Renderer())
        result = fit_image(image, landmarks, fitter)

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) pixel indices, iBUG order.
        fitter: of the face model; make it once.
        preset: how finely.
        start: coefficients to begin with, such as an R-Net's for the crop of `align_face`.
        focal: look for the focal length too, which one image hardly tells.

    Raises:
        InputError: landmarks that cannot be those of one upright face in the image.
    """
    check_landmarks(landmarks, image.shape, "landmarks")
    (result,) = fit_images([image], [landmarks], fitter, preset, start, focal=focal)
    return result


def fit_images(
    images: Sequence[np.ndarray],
    landmarks: Sequence[np.ndarray],
    fitter: FaceFitter,
    preset: Preset = "balanced",
    start: Coefficients | None = None,
    *,
    one_person: bool = False,
    focal: bool = False,
) -> list[FitResult]:
    """Fit the faces of several images side by side, as each alone unless they share something.

    Args:
        images: (H, W, 3) uint8 RGB, of any sizes.
        landmarks: (68, 2) pixel indices of each, iBUG order.
        fitter: of the face model; make it once.
        preset: how finely.
        start: coefficients to begin with, a batch of as many faces.
        one_person: they show one person: one identity and one albedo.
        focal: look for the focal length too, one for all.

    Raises:
        InputError: landmarks that cannot be those of one upright face in their image.
        ValueError: no image, or not as many landmarks.
    """
    if not images or len(images) != len(landmarks):
        raise ValueError(
            f"{len(images)} images and landmarks of {len(landmarks)}; give both, as many of each"
        )
    standard = fitter.face_model.alignment_points.cpu().numpy()
    faces = []
    for number, (image, points) in enumerate(zip(images, landmarks, strict=True)):
        check_landmarks(points, image.shape, f"landmarks of image {number}")
        faces.append(photo_face(Path(f"image_{number}"), image, points, standard))
    batch = to_fit_batch(faces).to(fitter.face_model.mean_shape.device)
    together = fitter.fit(batch, PRESETS[preset], start, one_person=one_person, focal=focal)
    results = []
    for number, face in enumerate(faces):
        fit, alignment = together.item(number), face.face.alignment
        with torch.inference_mode():
            made = reconstruct(fitter.face_model, fitter.renderer, fit.camera, fit.coefficients)
        camera = PhotoCamera.of(fit.camera, alignment, fit.coefficients)
        results.append(FitResult(fit.coefficients, made, alignment, camera, fit))
    return results


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
        focal: bool = False,
        check: OnePersonCheck | None = None,
        draw: bool = True,
        watch: Callable[[str, Evaluation], None] | None = None,
    ) -> None:
        """Say how.

        Args:
            fitter: of the face model.
            preset: how finely.
            network: whose prediction is the start; None starts with the landmarks.
            schedule: steps of Adam in place of Gauss-Newton's; they look at every pixel.
            one_person: all faces of a call share identity and albedo.
            focal: look for the focal length too, one for all faces of a call.
            check: warns of strangers among photos of one person.
            draw: give the turned views too.
            watch: called with the stage's name after every step of Gauss-Newton; what it raises
                ends the fit.
        """
        self._fitter = fitter
        self._preset: Preset = preset
        self._network = network
        self._schedule = schedule
        self._one_person = one_person
        self._focal = focal
        self._check = check
        self._draw = draw
        self._screen = mouth_screen(fitter.face_model) if draw else None
        self._watch = watch

    def __call__(self, faces: Sequence[PhotoFace]) -> Iterator[tuple[FaceResult, SummaryRow]]:
        """Fit faces side by side.

        Args:
            faces: with skin masks.
        """
        results = self._results(faces)
        return _of_one_person(results) if self._one_person else results

    def _results(self, faces: Sequence[PhotoFace]) -> Iterator[tuple[FaceResult, SummaryRow]]:
        fitter, began = self._fitter, time.perf_counter()
        batch = to_fit_batch(faces).to(fitter.face_model.mean_shape.device)
        start = None
        if self._network is not None:
            with torch.inference_mode():
                start = self._network.predict(batch.images)
        if self._schedule is not None:
            fit = fit_adam(fitter, batch, self._schedule, start=start, one_person=self._one_person)
        else:
            fit = fitter.fit(
                batch,
                PRESETS[self._preset],
                start,
                self._watch,
                one_person=self._one_person,
                focal=self._focal,
            )
        seconds = (time.perf_counter() - began) / len(faces)
        with torch.inference_mode():
            made = reconstruct(fitter.face_model, fitter.renderer, fit.camera, fit.coefficients)
            views = self._views(batch, fit, made, start) if self._draw else None
            strangers = self._strangers(faces, batch)
            results = face_results(
                fitter.face_model, fit.camera, faces, batch, made, origin="centre"
            )
            left = self._left_of_flat(batch, fit)
            for k, (result, row) in enumerate(results):
                warnings = _warnings(faces[k], batch.images[k], row) + strangers[k]
                if left[k] > LARGE_LEFT_OF_FLAT:
                    warnings += (ELSEWHERE,)
                if self._focal and len(faces) == 1:
                    warnings += (FOCAL_OF_ONE,)
                record = self._record(fit, k, len(faces), seconds, warnings)
                yield (
                    replace(
                        result,
                        fit=record,
                        focal_scale=_focal_scale(fit.camera, fitter.camera),
                        views=None if views is None else views[k],
                    ),
                    replace(row, message="; ".join(warnings)),
                )

    def _strangers(self, faces: Sequence[PhotoFace], batch: FaceBatch) -> list[tuple[str, ...]]:
        """A warning of each photo that very likely shows somebody else than the others."""
        if not self._one_person or self._check is None:
            return [()] * len(faces)
        assert batch.landmarks_px is not None
        warnings: list[tuple[str, ...]] = []
        for face, distance in zip(
            faces, self._check.strangers(batch.images, batch.landmarks_px), strict=True
        ):
            warnings.append(() if distance is None else (stranger_warning(distance),))
            for warning in warnings[-1]:
                tqdm.write(f"{face.path}: {warning}")
        return warnings

    def _views(
        self, batch: FaceBatch, fit: Fit, fitted: Reconstruction, start: Coefficients | None
    ) -> np.ndarray:
        """Pictures (B, H, W, 3) uint8: photo, overlay and turned views, of start and fit.

        The start's are above the fit's, where a network gave one: its shape, in the light and skin
        that explain the photo best. Those it predicts are far off after a short training, and
        would hide what there is to compare.
        """
        model, renderer = self._fitter.face_model, self._fitter.renderer
        # With the camera that sees each.
        shown = [(fitted, fit.camera)]
        if start is not None:
            assert batch.skin_mask is not None
            camera = self._fitter.camera
            found = reconstruct(model, renderer, camera, start)
            solved = solve_appearance(model, camera, found, batch.images, batch.skin_mask)
            shown.insert(0, (reconstruct(model, renderer, camera, solved), camera))
        rows = []
        for made, camera in shown:
            colours = with_mouths_of_photos(
                model, renderer, camera, batch.images, made, self._screen
            )
            turned = turned_views(
                *(model, renderer, self._fitter.camera, made.coefficients, colours, self._screen)
            )
            overlay = over_photos(model, batch.images, made.rendering)
            rows.append(torch.cat([batch.images, overlay, turned], dim=3))
        pictures = (torch.cat(rows, dim=2) * 255).round().byte()
        return pictures.permute(0, 2, 3, 1).cpu().numpy()

    def _left_of_flat(self, batch: FaceBatch, fit: Fit) -> list[float]:
        """Of each face; nothing to warn of where colours say little.

        Without the photo's term, where outliers count fully, and after the few steps of `fast`,
        which leave a toothy smile worse than plain skin.
        """
        weights = self._fitter.weights
        hardly = self._schedule is None and self._preset == "fast"
        if hardly or not weights.w_photo or math.isinf(weights.robust_colour):
            return [0.0] * len(batch)
        fitter = self._fitter.seen_by(fit.camera)
        return left_of_flat(fitter, batch, fit.coefficients).tolist()

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
                trust=float(stage.trust[item]),
            )
            for stage in fit.stages
        )
        return FitRecord(
            solver="gauss_newton" if self._schedule is None else "adam",
            preset=self._preset if self._schedule is None else "",
            weights=asdict(self._fitter.weights),
            init="landmarks" if self._network is None else "regress",
            focal_px=float(fit.camera.focal_px[0, 0]),
            fitted_focal=self._focal,
            faces_together=count if self._one_person else 1,
            seconds=seconds,
            stages=stages,
            warnings=warnings,
        )


def _of_one_person(
    results: Iterator[tuple[FaceResult, SummaryRow]],
) -> Iterator[tuple[FaceResult, SummaryRow]]:
    """Let each face know the others, once all are there."""
    every = list(results)
    person = tuple(face for face, _ in every)
    return ((replace(face, person=person), row) for face, row in every)


def to_fit_batch(faces: Sequence[PhotoFace]) -> FaceBatch:
    """Stack aligned faces with their skin masks; landmarks as exact continuous pixels."""
    images = torch.from_numpy(np.stack([face.face.image for face in faces]))
    skin = torch.from_numpy(np.stack([_required(face.skin) for face in faces]))
    inside = np.stack([inside_photo(face.face.alignment, face.face.image.shape) for face in faces])
    points = torch.from_numpy(np.stack([face.landmarks for face in faces])).float()
    return FaceBatch(
        images=images.permute(0, 3, 1, 2) / 255.0,
        paths=tuple(str(face.path) for face in faces),
        landmarks_px=from_index(points, "centre"),
        skin_mask=skin[:, None] / 255.0,
        inside=torch.from_numpy(inside)[:, None],
    )


def inside_photo(window: Window, shape: tuple[int, ...]) -> np.ndarray:
    """Which pixels (H, W) of a crop lie inside its photo; those beyond it are black.

    Args:
        window: how the photo became the crop.
        shape: of the crop, (H, W, ...).
    """
    matrix = window.inverse_matrix
    columns = (np.arange(shape[1]) + 0.5) * matrix[0, 0] + matrix[0, 2]
    rows = (np.arange(shape[0]) + 0.5) * matrix[1, 1] + matrix[1, 2]
    width, height = window.photo_size
    return ((rows > 0) & (rows < height))[:, None] & ((columns > 0) & (columns < width))


def _focal_scale(found: Camera, usual: Camera) -> float:
    return float(found.focal_px[0, 0] / usual.focal_px[0, 0])


def _required(skin: np.ndarray | None) -> np.ndarray:
    if skin is None:
        raise ValueError("fits need the skin masks of their faces; load them with_skin=True")
    return skin


def _warnings(face: PhotoFace, crop: Tensor, row: SummaryRow) -> tuple[str, ...]:
    """What makes a fit doubtful, in words."""
    found = []
    alignment = face.face.alignment
    width = FACE_WIDTH_PX / alignment.scale
    if width < SMALL_FACE_PX:
        found.append(f"the face is small, only about {width:.0f} pixels wide")
    if row.yaw_deg is not None and abs(row.yaw_deg) > LARGE_YAW_DEG:
        found.append(f"the face is turned by {abs(row.yaw_deg):.0f} degrees, half of it is a guess")
    if row.nme_inner is not None and row.nme_inner > LARGE_ERROR:
        found.append(
            f"landmarks are off by {100 * row.nme_inner:.0f} % of the outer-eye distance; look at "
            "the picture, and give points in landmarks/ where the detector's are wrong"
        )
    outside = _outside_share(face)
    if outside > 0.15:
        found.append(f"{100 * outside:.0f} % of the face lies outside the photo")
    if float((crop.amax(dim=0) - crop.amin(dim=0)).mean()) < 0.01:
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
