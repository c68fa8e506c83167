"""`texture`: the mesh with what the photo shows as its texture: .obj, .mtl, .png, and a picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data.images import write_image
from models.camera import Camera
from models.drawing import textured_views
from util.mesh_files.mesh_file import DECIMALS
from util.mesh_files.textured_mesh import material_stem, write_textured_obj
from util.outputs.meshes import mesh_remark
from util.outputs.output import Output, OutputSource
from util.photos.face_result import FaceResult

VIEW_PX = 336
"""Side of each turned view."""
VIEWS_ENDING = "_textured_views.jpg"


class TextureOutput(Output):
    """The posed mesh of `<stem>.obj`, with the texture of the whole photo.

    Photos of one person (`fit.py --same_person`) give one texture.
    """

    what = "mesh with the photo as its texture, for Blender"
    endings = ("_textured.obj", "_textured.mtl", "_textured.png", VIEWS_ENDING)
    beside = ("its material", "its texture", "turned views of it")

    def __init__(self, source: OutputSource) -> None:
        """Prepare the texture layout.

        Raises:
            InputError: the face model has no texture coordinates.
        """
        super().__init__(source)
        self._textures = source.textures
        model = source.face_model
        assert model.uv is not None and model.uv_triangles is not None
        self._triangles = model.triangles.cpu()
        self._uv, self._uv_triangles = model.uv.cpu(), model.uv_triangles.cpu()
        # Whatever camera saw the photo: pictures of several faces can be compared. A little farther
        # away than there, for a chin and a forehead that are long.
        usual = Camera.rnet()
        scale, margin = 0.92 * VIEW_PX / usual.width, 0.04 * VIEW_PX
        self._camera = usual.regrid(
            torch.full((1, 2), scale), torch.full((1, 2), margin), (VIEW_PX, VIEW_PX)
        )

    @classmethod
    def names(cls, stem: str) -> tuple[str, ...]:
        """The files of a face; an .mtl cannot name files with spaces."""
        material = material_stem(f"{stem}_textured")
        mesh = f"{stem}_textured.obj", f"{material}.mtl", f"{material}.png"
        return *mesh, f"{stem}{VIEWS_ENDING}"

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>_textured.obj` with its material and texture, and its turned views.

        Raises:
            ValueError: the face is not finite, or its photo is not there any more.
        """
        options = self.source.options
        texture = self._textures.png(face)
        write_textured_obj(
            folder / f"{face.stem}_textured.obj",
            options.units_in_a_dm * face.vertices,
            face.triangles,
            self._uv.numpy(),
            self._uv_triangles.numpy(),
            texture,
            decimals=DECIMALS,
            remark=mesh_remark(face, options),
        )
        write_image(folder / f"{face.stem}{VIEWS_ENDING}", self._views(face, texture))

    def _views(self, face: FaceResult, texture_png: bytes) -> np.ndarray:
        """The face that bears the texture, turned: (H, W, 3) uint8."""
        with Image.open(io.BytesIO(texture_png)) as picture:
            texture = torch.from_numpy(np.array(picture.convert("RGB")))
        views = textured_views(
            torch.from_numpy(face.head_vertices).float(),
            self._triangles,
            self._uv,
            self._uv_triangles,
            texture.permute(2, 0, 1)[None] / 255,
            self.source.renderer,
            self._camera,
        )
        return (255 * views[0].permute(1, 2, 0)).round().byte().numpy()

    def close(self) -> None:
        """Keep nothing of the last face: where face models stay loaded, so does this."""
        self._textures.forget()
