"""`usdz`: the head for Apple's viewers and for programs that read USD."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch

from util.mesh_files.face_gltf import unit_deltas
from util.mesh_files.usdz_file import BlendShapes, UsdMesh, blend_shapes, write_usdz
from util.outputs.meshes import resting_vertices
from util.outputs.output import Output
from util.photos.face_result import FaceResult

NEUTRAL = "neutral"
"""Name of the blend shape that takes the photo's expression away."""


class UsdzOutput(Output):
    """The head with the photo's expression, upright; the named units are blend shapes of it.

    Viewers that know no blend shapes show the photo's expression.
    """

    what = "for Apple's viewers (USD)"
    endings = (".usdz",)

    @cached_property
    def _units(self) -> BlendShapes:
        model = self.source.face_model
        return blend_shapes(model.unit_names, unit_deltas(model))

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>.usdz`.

        Raises:
            ValueError: the face is not finite.
        """
        path, model = folder / f"{face.stem}.usdz", self.source.face_model
        texture = self.source.texture_png(face)
        vertices = face.head_vertices
        normals_of = model.normals_of
        with torch.no_grad():
            shown = torch.from_numpy(vertices)[None].to(normals_of.triangles.device)
            normals = normals_of(shown)[0].cpu().numpy()
        mesh = UsdMesh(
            vertices,
            face.triangles,
            normals,
            colours=face.surface_colours if texture is None else None,
            uv=None if texture is None or model.uv is None else model.uv.cpu().numpy(),
            uv_triangles=_corners(model.uv_triangles),
            texture_png=texture,
            remarks={"faceModel": str(face.face_model), "photo": face.photo.name},
        )
        still = (resting_vertices(model, face) - vertices)[None]
        try:
            shapes = [blend_shapes([NEUTRAL], still)]
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
        write_usdz(path, mesh, [*shapes, self._units] if model.unit_names else shapes)


def _corners(uv_triangles: torch.Tensor | None):
    return None if uv_triangles is None else uv_triangles.cpu().numpy()
