"""`texture`: the mesh with what the photo shows as its texture, as .obj, .mtl and .png."""

from __future__ import annotations

from pathlib import Path

from util.mesh_files.mesh_file import DECIMALS
from util.mesh_files.textured_mesh import material_stem, write_textured_obj
from util.outputs.meshes import mesh_remark
from util.outputs.output import Output, OutputSource
from util.photos.face_result import FaceResult


class TextureOutput(Output):
    """The posed mesh of `<stem>.obj`, with the texture of the whole photo.

    Photos of one person (`fit.py --same_person`) give one texture.
    """

    what = "mesh with the photo as its texture, for Blender"
    endings = ("_textured.obj", "_textured.mtl", "_textured.png")

    def __init__(self, source: OutputSource) -> None:
        """Prepare the texture layout.

        Raises:
            InputError: the face model has no texture coordinates.
        """
        super().__init__(source)
        self._textures = source.textures
        model = source.face_model
        assert model.uv is not None and model.uv_triangles is not None
        self._uv, self._uv_triangles = model.uv.cpu().numpy(), model.uv_triangles.cpu().numpy()

    @classmethod
    def names(cls, stem: str) -> tuple[str, ...]:
        """The files of a face; an .mtl cannot name files with spaces."""
        material = material_stem(f"{stem}_textured")
        return f"{stem}_textured.obj", f"{material}.mtl", f"{material}.png"

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>_textured.obj` with its material and texture.

        Raises:
            ValueError: the face is not finite, or its photo is not there any more.
        """
        options = self.source.options
        write_textured_obj(
            folder / f"{face.stem}_textured.obj",
            options.units_in_a_dm * face.vertices,
            face.triangles,
            self._uv,
            self._uv_triangles,
            self._textures.png(face),
            decimals=DECIMALS,
            remark=mesh_remark(face, options),
        )

    def close(self) -> None:
        """Keep nothing of the last face: where face models stay loaded, so does this."""
        self._textures.forget()
