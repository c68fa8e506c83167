"""How long a .glb takes to write, and how large it is.

python -m benchmarks.glb [--threads N] [--repeats N]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.example_faces import report_face
from benchmarks.timing import compare, threads_and_repeats
from models.camera import Camera
from models.face_model import FaceModel
from options.output_options import OutputOptions
from util.assets import OPEN_FACE_MODEL
from util.mesh_files.face_gltf import unit_deltas
from util.mesh_files.gltf_file import GltfScene, MorphTargets, glb_bytes
from util.model_files.face_model_file import read_face_model
from util.outputs.glb import GlbOutput
from util.outputs.output import OutputSource


def main(argv: Sequence[str] | None = None) -> None:
    """Compare with encoding the named units for every face; the files are the same."""
    repeats = threads_and_repeats(__doc__, argv)
    face_model = FaceModel(read_face_model(OPEN_FACE_MODEL))
    face, units = report_face(face_model), unit_deltas(face_model)
    began = time.perf_counter()
    output = GlbOutput(OutputSource.of(face_model, Camera.rnet(), "torch", OutputOptions()))
    once = time.perf_counter() - began

    def anew() -> GltfScene:
        scene = output.scene(face)
        assert scene.targets is not None
        names = (*scene.targets.names, *face_model.unit_names)
        deltas = np.concatenate([scene.targets.deltas_dm, units])
        return replace(scene, targets=MorphTargets(names, deltas), common_targets=None)

    with tempfile.TemporaryDirectory() as folder:
        output.write(Path(folder), face)
        size = (Path(folder) / f"{face.stem}.glb").stat().st_size
        table = compare(
            {
                "units anew": lambda: glb_bytes(anew()),
                "units encoded once": lambda: glb_bytes(output.scene(face)),
                "the same, into a file": lambda: output.write(Path(folder), face),
            },
            repeats,
        )
    print(f"once for the face model: {1000 * once:.0f} ms\n{size} bytes a face\n{table}")


if __name__ == "__main__":
    main(sys.argv[1:])
