"""`neutral`, `world` and `ply`: the mesh at rest, in its photo's camera frame, as binary PLY."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.face_model import FaceModel
from options.output_options import OutputOptions
from util.mesh_files.mesh_file import write_obj
from util.mesh_files.ply_file import write_ply
from util.outputs.output import Output
from util.photos.face_result import FaceResult


def mesh_remark(face: FaceResult, options: OutputOptions, frame: str = "") -> str:
    """What the first lines of a mesh say: unit, face model and, if not the usual one, frame."""
    remark = f"unit: {options.unit_name}\nface model: {face.face_model}"
    return f"{remark}\nframe: {frame}" if frame else remark


class NeutralOutput(Output):
    """Identity alone: no expression, no pose, no light, in the head's own frame."""

    what = "mesh at rest: identity without expression, pose and light"
    endings = ("_neutral.obj",)

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>_neutral.obj`.

        Raises:
            ValueError: the face is not finite.
        """
        options = self.source.options
        write_obj(
            folder / f"{face.stem}_neutral.obj",
            options.units_in_a_dm * resting_vertices(self.source.face_model, face),
            face.triangles,
            face.surface_colours,
            mesh_remark(face, options, "head, x to the person's left, y up, z forward"),
        )


class WorldOutput(Output):
    """The mesh where the photo's camera has it, so that K alone projects it onto the photo."""

    what = "mesh in the camera frame of the photo (OpenCV), which K projects onto it"
    endings = ("_world.obj",)

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>_world.obj`.

        Raises:
            ValueError: the face is not finite.
        """
        camera, options = face.camera, self.source.options
        vertices = face.vertices @ camera.mesh_R.T + camera.mesh_t
        write_obj(
            folder / f"{face.stem}_world.obj",
            options.units_in_a_dm * vertices,
            face.triangles,
            face.colours,
            mesh_remark(face, options, "camera of the photo, x right, y down, z forward"),
        )


class PlyOutput(Output):
    """The mesh of `<stem>.obj` in a binary format, with normals."""

    what = "mesh with colours and normals, binary"
    endings = (".ply",)

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>.ply`.

        Raises:
            ValueError: the face is not finite.
        """
        options = self.source.options
        normals_of = self.source.face_model.normals_of
        posed = torch.from_numpy(np.ascontiguousarray(face.vertices, np.float64))[None]
        with torch.no_grad():
            normals = normals_of(posed.to(normals_of.triangles.device))[0].cpu().numpy()
        write_ply(
            folder / f"{face.stem}.ply",
            options.units_in_a_dm * face.vertices,
            face.triangles,
            normals,
            face.colours,
            mesh_remark(face, options),
        )


def resting_head(face_model: FaceModel, face: FaceResult) -> Tensor:
    """(1, V, 3) decimetres of the head without expression and pose, on the model's device."""
    identity = face.coefficients.identity.to(face_model.mean_shape)
    still = torch.zeros_like(face.coefficients.expression).to(identity)
    with torch.no_grad():
        return face_model.shape(identity, still)


def resting_vertices(face_model: FaceModel, face: FaceResult) -> np.ndarray:
    """(V, 3) float64 of `resting_head`."""
    return resting_head(face_model, face)[0].double().cpu().numpy()
