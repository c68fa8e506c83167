"""Files that people take away: one kind a class, found by its name in `--save`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from options.output_checks import check_distance
from options.output_options import NONE
from util.outputs.camera import CameraOutput
from util.outputs.eg3d import Eg3dOutput
from util.outputs.glb import GlbOutput
from util.outputs.maps import DepthOutput, MaskOutput, NormalsOutput, VisibilityOutput
from util.outputs.meshes import NeutralOutput, PlyOutput, WorldOutput
from util.outputs.output import TEXTURE, Output, OutputSource
from util.outputs.panohead import PanoHeadOutput
from util.outputs.talking_heads import (
    FacialOutput,
    GeneFaceOutput,
    PIRenderOutput,
    Real3DPortraitOutput,
    SadTalkerOutput,
    StyleHeatOutput,
)
from util.outputs.textured import TextureOutput
from util.outputs.usdz import UsdzOutput
from util.photos.face_result import FaceResult

OUTPUTS: dict[str, type[Output]] = {
    "glb": GlbOutput,
    TEXTURE: TextureOutput,
    "neutral": NeutralOutput,
    "world": WorldOutput,
    "ply": PlyOutput,
    "usdz": UsdzOutput,
    "camera": CameraOutput,
    "depth": DepthOutput,
    "normals": NormalsOutput,
    "mask": MaskOutput,
    "visibility": VisibilityOutput,
    "eg3d": Eg3dOutput,
    "panohead": PanoHeadOutput,
    "sadtalker": SadTalkerOutput,
    "pirender": PIRenderOutput,
    "styleheat": StyleHeatOutput,
    "facial": FacialOutput,
    "geneface": GeneFaceOutput,
    "real3dportrait": Real3DPortraitOutput,
}
"""Name -> class, in the order of documentation."""


@dataclass(frozen=True)
class NamedOutput:
    """One of the outputs of a run."""

    name: str
    output: Output

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write a face's files, all or none; errors say which kind it was.

        Raises:
            ValueError: a number is not finite, or the face lacks what this kind needs.
            OSError: no space, no permission.
        """
        try:
            self.output.write(folder, face)
        except BaseException:
            for name in self.output.names(face.stem):
                (folder / name).unlink(missing_ok=True)
            raise


def output_names(stem: str) -> list[str]:
    """All files that outputs could have written of a face."""
    return [name for output in OUTPUTS.values() for name in output.names(stem)]


def create_outputs(source: OutputSource) -> tuple[NamedOutput, ...]:
    """The outputs that `--save` names, each once.

    Raises:
        InputError: the face model or the camera cannot be written so.
    """
    names = list(dict.fromkeys(source.options.save))
    if names == [NONE]:
        return ()
    if source.camera.kind == "weak":
        check_distance(names)
    return tuple(NamedOutput(name, OUTPUTS[name](source)) for name in names)
