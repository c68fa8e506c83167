"""`glb`: one file for browsers, Blender and game engines, whose named units move the face."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from util.mesh_files.face_gltf import unit_deltas
from util.mesh_files.gltf_file import (
    EncodedTargets,
    GltfCamera,
    GltfMesh,
    GltfPose,
    GltfScene,
    MorphTargets,
    Seamless,
    encode_targets,
    without_seams,
    write_glb,
)
from util.outputs.meshes import resting_head
from util.outputs.output import TEXTURE, Output, OutputSource
from util.photos.face_result import FaceResult

EXPRESSION = "photo"
"""Name of the target that is the photo's expression."""


@dataclass(frozen=True)
class _Common:
    """What the files of all faces of a model share."""

    seamless: Seamless
    units: EncodedTargets | None
    """None for models without named units."""


class GlbOutput(Output):
    """The head at rest, its expression and the named units as morph targets, posed by its node.

    The first target is the expression of the photo, at weight 1: set it to 0, and drive the others
    as any face. Colours are without light, since viewers bring their own. The camera sees the mesh
    where the photo shows the face.
    """

    what = "for browsers and Blender: moves by name"
    endings = (".glb",)

    def __init__(self, source: OutputSource) -> None:
        """Encode the targets of the units, most of a file, for the vertices of the run's files.

        Raises:
            InputError: textures are asked for, which the face model cannot bear.
        """
        super().__init__(source)
        if TEXTURE in source.options.save:
            _ = source.textures, self._textured
        else:
            _ = self._coloured

    @cached_property
    def _coloured(self) -> _Common:
        return self._common(textured=False)

    @cached_property
    def _textured(self) -> _Common:
        return self._common(textured=True)

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>.glb`."""
        write_glb(folder / f"{face.stem}.glb", self.scene(face, self.source.texture_png(face)))

    def scene(self, face: FaceResult, texture_png: bytes | None = None) -> GltfScene:
        """The content of the file.

        Args:
            face: to write.
            texture_png: content of a PNG that the texture coordinates of the face model lay over
                the mesh, in place of colours of its vertices.

        Raises:
            ValueError: the face model has no texture coordinates for the texture.
        """
        common = self._coloured if texture_png is None else self._textured
        seamless, written = common.seamless, common.seamless.vertices
        rest, normals = self._at_rest(face)
        mesh = GltfMesh(
            rest[written],
            seamless.triangles,
            normals=normals[written],
            colours=face.surface_colours if texture_png is None else None,
            uv=seamless.uv,
            texture_png=texture_png,
        )
        expression = (face.head_vertices - rest)[None, written]
        width, height = face.alignment.photo_size
        distance = float(face.camera.mesh_t[2])
        return GltfScene(
            mesh=mesh,
            targets=MorphTargets((EXPRESSION,), expression, np.ones(1)),
            common_targets=common.units,
            camera=GltfCamera(face.camera.K, (width, height), distance, kind=face.camera.kind),
            pose=GltfPose(face.head_rotation, face.head_translation_dm),
            extras={
                "face_model": face.face_model.record,
                "photo": face.photo.name,
                "unit": "metre",
            },
        )

    def _common(self, *, textured: bool) -> _Common:
        """Raises ValueError where the model cannot bear a texture."""
        model = self.source.face_model
        uv = uv_triangles = None
        if textured:
            if model.uv is None or model.uv_triangles is None:
                raise ValueError(f"face model {model.card.name} has no texture coordinates")
            uv, uv_triangles = model.uv.cpu().numpy(), model.uv_triangles.cpu().numpy()
        vertices = model.mean_shape.reshape(-1, 3).cpu().numpy()
        triangles = model.triangles.cpu().numpy()
        seamless = without_seams(GltfMesh(vertices, triangles, uv=uv, uv_triangles=uv_triangles))
        if not model.unit_names:
            return _Common(seamless, None)
        targets = MorphTargets(model.unit_names, unit_deltas(model)[:, seamless.vertices])
        return _Common(seamless, encode_targets(targets, len(seamless.vertices)))

    def _at_rest(self, face: FaceResult) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (V, 3) float64 of the head without expression, decimetres, and its normals."""
        model = self.source.face_model
        rest = resting_head(model, face)
        with torch.no_grad():
            normals = model.normals(rest)[0].cpu().numpy()
        return rest[0].double().cpu().numpy(), normals
