"""A SynergyNet's face as `FaceResult`, which the writers of `--save` are fed with.

A SynergyNet sees faces in weak perspective: a scale in pixels a decimetre, but neither a distance
nor a focal length. So its camera here is a weak one, whose distance of 10 dm is only where depth
begins to be counted: the head's origin lies at it. Light is not predicted; colours are the photo's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.alignment import Alignment
from data.landmarks import five_from_68
from models.camera import Camera
from models.face_model import NAMED_FACE_MODELS, FaceModel, FaceModelData
from models.pixel_view import PixelView
from models.synergy.morphable import SynergyFace
from models.synergy.pose import LABEL_ORIGIN_PX, MICROMETRES_PER_DM, head_pose
from options.face_options import FaceModelOptions
from options.output_options import NONE, OutputOptions
from util.assets import load_face_model
from util.errors import InputError
from util.outputs import NamedOutput, create_outputs
from util.outputs.output import TEXTURE, OutputSource
from util.photos.face_result import FaceResult
from util.photos.photo_camera import PhotoCamera
from util.synergy.synergy_faces import SynergyResult

_DISTANCE_DM = 10.0
_SKIN = (0.72, 0.55, 0.47)
"""Colour of face models that have none."""


def weak_camera() -> Camera:
    """Sees a decimetre as one pixel, before `FaceResult.focal_scale` says how many it is."""
    return Camera(
        focal_px=torch.full((1, 2), _DISTANCE_DM, dtype=torch.float64),
        centre_px=torch.zeros(1, 2, dtype=torch.float64),
        height=1,
        width=1,
        distance_dm=_DISTANCE_DM,
        near_dm=_DISTANCE_DM - 5,
        far_dm=_DISTANCE_DM + 5,
        kind="weak",
    )


def full_face_model(face: SynergyFace, options: FaceModelOptions) -> FaceModel:
    """The whole face model that a network knows the first bases of.

    Named models have expression units, albedo and texture coordinates; of 3dmm_data there is a
    shape alone, in the colour of skin.

    Args:
        face: of the network.
        options: where the user's face models lie.
    """
    name = face.card.name
    if name in NAMED_FACE_MODELS:
        try:
            named = load_face_model(replace(options, face_model=name))
        except InputError:  # such as bfm09's, where 3dmm_data gave the arrays
            named = None
        if named is not None and _holds(named, face):
            return named
    return FaceModel(_data(face))


def _holds(model: FaceModel, face: SynergyFace) -> bool:
    """Whether a network's numbers are the first ones of the model's."""
    return model.card.fingerprint == face.card.fingerprint and (
        model.vertex_count == face.vertex_count
    )


def _data(face: SynergyFace) -> FaceModelData:
    count, layout = face.vertex_count, face.layout
    mean = face.mean.reshape(-1, 3).cpu().numpy() / np.float32(MICROMETRES_PER_DM)
    identity, expression = (
        (basis.T.reshape(count, 3, -1) / MICROMETRES_PER_DM).cpu().numpy()
        for basis in (face.shape_basis, face.expression_basis)
    )
    points = face.landmark_mean.reshape(-1, 3)[:68].cpu().numpy() / MICROMETRES_PER_DM
    nearest = np.array([((mean - point) ** 2).sum(axis=1).argmin() for point in points])
    triangles = face.triangles.cpu().numpy()
    return FaceModelData(
        name=face.card.name,
        version=face.card.version,
        licence=face.card.licence,
        mean_shape=mean,
        identity_basis=identity,
        expression_basis=expression,
        mean_albedo=np.tile(np.array([_SKIN], np.float32), (count, 1)),
        albedo_basis=np.zeros((count, 3, 1), np.float32),
        identity_sigma=np.ones(layout.shape, np.float32),
        expression_sigma=np.ones(layout.expression, np.float32),
        albedo_sigma=np.ones(1, np.float32),
        triangles=triangles,
        landmark_vertices=np.repeat(nearest[:, None], 3, axis=1).astype(np.int32),
        landmark_barycentrics=np.tile(np.array([[1, 0, 0]], np.float32), (len(nearest), 1)),
        skin_mask=np.ones(count, np.float32),
        front_triangles=triangles,
        alignment_points=five_from_68(points).astype(np.float32),
        uv=None if face.uv is None else face.uv.cpu().numpy(),
        uv_triangles=None if face.uv_triangles is None else face.uv_triangles.cpu().numpy(),
        fingerprint=face.card.fingerprint,
    )


def check_outputs(options: OutputOptions) -> bool:
    """Refuse, before anything long begins, what a SynergyNet knows nothing of.

    Returns:
        Whether anything is to be written.

    Raises:
        InputError: albedo without light.
    """
    if TEXTURE in options.save and options.texture_light == "remove":
        raise InputError(
            "--texture_light remove: a SynergyNet predicts no light that could be divided out; "
            "keep it, or take fit.py"
        )
    return tuple(options.save) != (NONE,)


class SynergyReconstruction:
    """Makes a `FaceResult` of each face, and the outputs that write it."""

    def __init__(
        self, face: SynergyFace, face_options: FaceModelOptions, options: OutputOptions
    ) -> None:
        """Load what the outputs need.

        Args:
            face: of the network; with triangles.
            face_options: where the user's face models lie.
            options: of the outputs.

        Raises:
            InputError: a kind that cannot be written of such faces.
        """
        self._face = face
        self._model = full_face_model(face, face_options)
        self._camera = weak_camera()
        self._albedo = self._model.mean_albedo.reshape(-1, 3).cpu().numpy()
        self._triangles = face.triangles.cpu().numpy()
        self._view = PixelView(self._triangles, face.vertex_count)
        source = OutputSource.of(self._model, self._camera, "auto", options)
        self.outputs: Sequence[NamedOutput] = create_outputs(source)

    def __call__(
        self, found: SynergyResult, image: np.ndarray, photo: Path, number: int, stem: str
    ) -> FaceResult:
        """One face.

        With the scale S in pixels of the photo a decimetre and the head's origin at the pixel o,
        a point at the pixel p and the depth z lies at ((p - o) / S, z / S), y turned upwards.

        Args:
            found: with its mesh.
            image: (H, W, 3) uint8, the photo.
            photo: its file.
            number: of the face, from 1.
            stem: name of its files.
        """
        parameters = torch.from_numpy(found.parameters)[None]
        layout = self._face.layout
        pose = head_pose(parameters[:, : layout.pose])
        side = self._face.image_px
        x, y, z = pose.translation_px[0].tolist()
        in_crop = np.array([x - LABEL_ORIGIN_PX, side + 1 - y - LABEL_ORIGIN_PX, z])
        origin = found.crop.to_photo(in_crop)
        scale = float(pose.scale[0]) * MICROMETRES_PER_DM * float(found.crop.scales.mean())
        left, top = np.rint(origin[:2]).astype(int).tolist()
        window = Alignment(
            photo_size=found.crop.photo_size,
            scale=1.0,
            translation_px=(float(origin[0]), found.crop.photo_size[1] - float(origin[1])),
            resized_size=found.crop.photo_size,
            left=left,
            top=top,
            crop_px=max(found.crop.right - found.crop.left, found.crop.bottom - found.crop.top),
        )
        y_up = np.array([1.0, -1.0, 1.0])
        shift = (np.array([left, top, origin[2]]), y_up / scale)
        vertices = (found.vertices - shift[0]) * shift[1]
        translation = (origin - shift[0]) * shift[1]
        coefficients = self._model.layout.zeros(1)
        _, identity, expression = layout.split(parameters)
        filled = {}
        for name, known in (("identity", identity), ("expression", expression)):
            block = getattr(coefficients, name).double().clone()
            block[:, : known.shape[1]] = known
            filled[name] = block.float()
        coefficients = replace(
            coefficients,
            **filled,
            angles_rad=torch.deg2rad(torch.from_numpy(found.own_angles_deg)[None]),
            translation_dm=torch.from_numpy(translation)[None],
        )
        colours = self._colours(image, found)
        return FaceResult(
            photo=photo,
            number=number,
            stem=stem,
            picture=found.crop.cut(image),
            vertices=vertices,
            triangles=self._triangles,
            colours=colours,
            coefficients=coefficients,
            landmarks_index=found.landmarks[:68, :2] - 0.5 - [left, top],
            alignment=window,
            camera=PhotoCamera.of(self._camera.refocused(scale), window, coefficients),
            face_model=self._model.card,
            focal_scale=scale,
            albedo=colours,
        )

    def _colours(self, image: np.ndarray, found: SynergyResult) -> np.ndarray:
        """(V, 3) of the photo where it shows the surface; elsewhere the mean albedo in its tone."""
        colours, seen = self._view.colours_from(image, found.vertices)
        if seen.any():
            usual = self._albedo[seen].mean(axis=0).clip(1e-3)
            tone = colours[seen].mean(axis=0) / usual
            colours = np.where(seen[:, None], colours, (self._albedo * tone).clip(0, 1))
        return colours.astype(np.float32)
