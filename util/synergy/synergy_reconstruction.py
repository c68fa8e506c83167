"""A SynergyNet's face as `FaceResult`, which all writers of results are fed with.

A SynergyNet sees faces in weak perspective: a scale in pixels a decimetre, but neither a distance
nor a focal length. So its camera here is a weak one, whose distance of 10 dm is only where depth
begins to be counted: the head's origin lies at it. Light and albedo are not predicted; colours are
the photo's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.landmarks import five_from_68
from data.square_crop import SquareCrop
from models.camera import Camera
from models.drawing import BLUE, RED, draw_landmarks
from models.face_model import FaceModel, FaceModelData
from models.mouth import behind_lips
from models.parameters import Coefficients
from models.pixel_view import PixelView
from models.synergy.morphable import SynergyFace
from models.synergy.pose import LABEL_ORIGIN_PX, MICROMETRES_PER_DM, head_pose
from options.face_options import NAMED_FACE_MODELS, FaceModelOptions
from options.output_options import OutputOptions
from util.assets import load_face_model
from util.errors import InputError
from util.outputs import NamedOutput, create_outputs
from util.outputs.output import OutputSource
from util.photos.face_result import FaceResult
from util.photos.photo_camera import PhotoCamera
from util.photos.pixel_face import GivenMap, PixelFace
from util.synergy.synergy_faces import OVERLAY_ALPHA, SynergyResult, y_up

_DISTANCE_DM = 10.0
PICTURE_PX = 224
"""Side of each picture in `<stem>.png`, as of other networks' crops; larger crops keep theirs."""
_SKIN = (0.72, 0.55, 0.47)
"""Colour of face models that have none."""


def weak_camera(crop_px: int) -> Camera:
    """Of crops: a decimetre is one pixel, before `FaceResult.focal_scale` says how many it is.

    Args:
        crop_px: side of the crop, whose middle lies at the origin of the object frame.
    """
    return Camera(
        focal_px=torch.full((1, 2), _DISTANCE_DM, dtype=torch.float64),
        centre_px=torch.full((1, 2), crop_px / 2, dtype=torch.float64),
        height=crop_px,
        width=crop_px,
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


class SynergyReconstruction:
    """Makes a `FaceResult` of each face, and the outputs that write it."""

    def __init__(
        self,
        face: SynergyFace,
        face_options: FaceModelOptions,
        options: OutputOptions,
        *,
        dense: bool = True,
    ) -> None:
        """Load what the outputs need.

        Args:
            face: of the network; with triangles, if `dense`.
            face_options: where the user's face models lie.
            options: of the outputs.
            dense: faces have meshes; else landmarks alone, and there are no outputs.

        Raises:
            InputError: a kind that cannot be written of such faces.
        """
        self._face = face
        self._camera = weak_camera(face.image_px)
        self.face_model: FaceModel | None = None
        self.view: PixelView | None = None
        """Draws the meshes; None, as the face model, without any."""
        self.outputs: Sequence[NamedOutput] = ()
        self._albedo, self._inside = np.zeros((0, 3), np.float32), np.zeros(0, bool)
        self._triangles = face.triangles.cpu().numpy() if dense else np.zeros((0, 3), np.int32)
        if dense:
            self.face_model = full_face_model(face, face_options)
            self._albedo = self.face_model.mean_albedo.reshape(-1, 3).cpu().numpy()
            # What the photo shows there are teeth, which the mesh does not have.
            self._inside = behind_lips(self.face_model).numpy()
            self.view = PixelView(self._triangles, face.vertex_count)
            source = OutputSource.of(self.face_model, self._camera, "auto", options)
            self.outputs = create_outputs(source)

    def __call__(
        self,
        found: SynergyResult,
        image: np.ndarray,
        photo: Path,
        number: int,
        stem: str,
        *,
        given: np.ndarray | None = None,
        with_mesh: bool = True,
        given_map: GivenMap | None = None,
    ) -> FaceResult:
        """One face.

        With the scale S in pixels of the crop a decimetre and the crop's middle at the pixel c, a
        point at the crop's pixel p and the depth z lies at ((p - c) / S, (z - z_0) / S), y turned
        upwards; z_0 is the depth of the head's origin.

        Args:
            found: with its mesh, if faces have some.
            image: (H, W, 3) uint8, the photo.
            photo: its file.
            number: of the face, from 1.
            stem: name of its files.
            given: (68, 2) detected or given landmarks, pixel indices of the photo.
            with_mesh: `<stem>.obj` is wanted.
            given_map: its texture.
        """
        parameters = torch.from_numpy(found.parameters)[None]
        pose = head_pose(parameters[:, : self._face.layout.pose])
        side = self._face.image_px
        x, y, z = pose.translation_px[0].tolist()
        origin = np.array([x - LABEL_ORIGIN_PX, side + 1 - y - LABEL_ORIGIN_PX, z])
        scale = float(pose.scale[0]) * MICROMETRES_PER_DM
        middle = np.array([side / 2, side / 2, z])

        def in_decimetres(points: np.ndarray) -> np.ndarray:
            return (points - middle) * [1.0, -1.0, 1.0] / scale

        coefficients = self._coefficients(parameters, found, in_decimetres(origin))
        pixels = y_up(found.vertices, image.shape[0]) if with_mesh and self.view else None
        model = self.face_model
        return FaceResult(
            photo=photo,
            number=number,
            stem=stem,
            picture=self._picture(image, found, given),
            vertices=in_decimetres(found.crop.from_photo(found.vertices)),
            triangles=self._triangles,
            colours=self._colours(image, found),
            albedo=None,
            coefficients=coefficients,
            landmarks_index=_in_crop(found.crop, found.landmarks[:68, :2] - 0.5),
            alignment=found.crop,
            camera=PhotoCamera.of(self._camera.refocused(scale), found.crop, coefficients),
            face_model=self._face.card if model is None else model.card,
            focal_scale=scale,
            given_landmarks_index=None if given is None else _in_crop(found.crop, given),
            pixels=PixelFace(found.record, pixels, given_map),
        )

    def _coefficients(
        self, parameters: torch.Tensor, found: SynergyResult, translation_dm: np.ndarray
    ) -> Coefficients:
        """Those of the face model, whose later bases the network does not use."""
        _, identity, expression = self._face.layout.split(parameters)
        model, unknown = self.face_model, float("nan")
        if model is not None:
            more = len(model.identity_sigma) - identity.shape[1]
            identity = torch.nn.functional.pad(identity, (0, more))
            more = len(model.expression_sigma) - expression.shape[1]
            expression = torch.nn.functional.pad(expression, (0, more))
        return Coefficients(
            identity=identity.float(),
            expression=expression.float(),
            texture=torch.full((1, 1 if model is None else len(model.albedo_sigma)), unknown),
            angles_rad=torch.deg2rad(torch.from_numpy(found.own_angles_deg)[None]),
            gamma=torch.full((1, 27), unknown),
            translation_dm=torch.from_numpy(translation_dm)[None],
            joints_rad=None if model is None else model.layout.zeros(1).joints_rad,
        )

    def _colours(self, image: np.ndarray, found: SynergyResult) -> np.ndarray:
        """(V, 3) of the photo where it shows the surface; elsewhere the mean albedo in its tone."""
        if self.view is None:
            return np.zeros((0, 3), np.float32)
        colours, seen = self.view.colours_from(image, found.vertices)
        seen &= ~self._inside
        return complete_colours(colours, seen, self._albedo)

    def _picture(
        self, image: np.ndarray, found: SynergyResult, given: np.ndarray | None
    ) -> np.ndarray | None:
        """Crop, mesh over it, the same with landmarks, as pictures of all methods have it."""
        if self.view is None:
            return None
        # What lies in the crop, not the few pixels that the network gets: for people to look at.
        shown = replace(found.crop, crop_px=max(PICTURE_PX, found.crop.crop_px))
        crop, mesh = shown.cut(image), shown.from_photo(found.vertices)
        overlay = self.view.draw_over(crop, [mesh], [self.view.shaded(mesh)], OVERLAY_ALPHA)
        marked = torch.from_numpy(overlay).permute(2, 0, 1)[None].float() / 255
        for points, colour in ((given, BLUE), (found.landmarks[:68, :2] - 0.5, RED)):
            if points is not None:
                exact = torch.from_numpy(shown.from_photo(points + 0.5))[None]
                marked = draw_landmarks(marked, exact, colour)
        dots = (marked[0].permute(1, 2, 0) * 255).round().byte().numpy()
        return np.concatenate([crop, overlay, dots], axis=1)


def complete_colours(colours: np.ndarray, seen: np.ndarray, albedo: np.ndarray) -> np.ndarray:
    """Colours (V, 3) of a head, of which pictures show a part.

    Args:
        colours: (V, 3) of what is seen, RGB in [0, 1].
        seen: (V,) where that is.
        albedo: (V, 3) of the face model's mean, which in the tone of what is seen stands elsewhere.
    """
    if seen.any():
        tone = colours[seen].mean(axis=0) / albedo[seen].mean(axis=0).clip(1e-3)
        colours = np.where(seen[:, None], colours, (albedo * tone).clip(0, 1))
    return colours.astype(np.float32)


def _in_crop(crop: SquareCrop, points_index: np.ndarray) -> np.ndarray:
    """Pixel indices (N, 2) of a photo as those of a crop."""
    return crop.from_photo(points_index + 0.5) - 0.5
