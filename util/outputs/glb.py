"""`glb`: one file for browsers, Blender and game engines, whose named units move the face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from util.face_gltf import unit_deltas
from util.face_result import FaceResult
from util.gltf_file import GltfCamera, GltfMesh, GltfPose, GltfScene, MorphTargets, write_glb
from util.outputs.output import Output, OutputSource

EXPRESSION = "photo"
"""Name of the target that is the photo's expression."""


class GlbOutput(Output):
    """The head at rest, its expression and the named units as morph targets, posed by its node.

    The first target is the expression of the photo, at weight 1: set it to 0, and drive the others
    as any face. Colours are without light, since viewers bring their own. The camera sees the mesh
    where the photo shows the face.
    """

    what = "for browsers and Blender: moves by name"
    endings = (".glb",)

    def __init__(self, source: OutputSource) -> None:
        """Prepare the targets of the units."""
        super().__init__(source)
        self._triangles = source.face_model.triangles.cpu().numpy()
        self._units = unit_deltas(source.face_model)

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>.glb`."""
        write_glb(folder / f"{face.stem}.glb", self.scene(face))

    def scene(self, face: FaceResult) -> GltfScene:
        """The content of the file.

        Raises:
            ValueError: the face has no albedo.
        """
        if face.albedo is None:
            raise ValueError(f"{face.stem}: a glb needs the albedo of the face")
        model, coefficients = self.source.face_model, face.coefficients
        with torch.no_grad():
            identity = coefficients.identity.to(model.mean_shape)
            rest = model.shape(identity, torch.zeros_like(coefficients.expression).to(identity))
            normals = model.normals(rest)[0].cpu().numpy()
        vertices = rest[0].double().cpu().numpy()
        names, weights = (EXPRESSION, *model.unit_names), np.zeros(1 + len(model.unit_names))
        weights[0] = 1
        deltas = np.concatenate([(face.head_vertices - vertices)[None], self._units])
        width, height = face.alignment.photo_size
        distance = float(face.camera.mesh_t[2])
        return GltfScene(
            mesh=GltfMesh(vertices, self._triangles, normals=normals, colours=face.albedo),
            targets=MorphTargets(names, deltas, weights),
            camera=GltfCamera(face.camera.K, (width, height), distance),
            pose=GltfPose(face.head_rotation, face.head_translation_dm),
            extras={
                "face_model": face.face_model.record,
                "photo": face.photo.name,
                "unit": "metre",
            },
        )
