"""How long each kind of `--save` takes for a face, and what is written by default in all.

python -m benchmarks.outputs [--threads N] [--repeats N]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.example_faces import report_face
from benchmarks.timing import compare, threads_and_repeats
from data.images import write_image
from models.camera import Camera
from models.face_model import FaceModel
from options.output_options import OutputOptions
from util.assets import OPEN_FACE_MODEL
from util.errors import InputError
from util.model_files.face_model_file import read_face_model
from util.outputs import OUTPUTS, create_outputs
from util.outputs.output import OutputSource
from util.photos.face_result import FaceResult
from util.photos.results import write_face

USUAL = "obj mat png json"
"""What is written of each face whatever `--save` says."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print milliseconds by medians, the kinds in turns."""
    repeats = threads_and_repeats(__doc__, argv)
    face_model = FaceModel(read_face_model(OPEN_FACE_MODEL))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        face = _photographed(report_face(face_model), folder)
        cases: dict[str, Callable[[], object]] = {USUAL: partial(write_face, folder, face)}
        left_out = []
        for kind in OUTPUTS:
            source = OutputSource.of(face_model, Camera.rnet(), "auto", OutputOptions((kind,)))
            try:
                (named,) = create_outputs(source)
                named.write(folder, face)
            except (InputError, ValueError) as error:
                left_out.append(f"{kind}: {error}")
                continue
            cases[kind] = _writing(named.write, folder, face)
        table = compare(cases, repeats, title="a face of the open model at level 1")
    print(table)
    usual = 1e3 * (table[USUAL].median + sum(table[kind].median for kind in OutputOptions().save))
    print(f"written by default ({USUAL}, {' '.join(OutputOptions().save)}): {usual:.0f} ms")
    if left_out:
        print("\n".join(["not measured:", *left_out]))


def _writing(
    write: Callable[[Path, FaceResult], None], folder: Path, face: FaceResult
) -> Callable[[], None]:
    """Writes another face each time, so that nothing kept of the last one is met again."""
    return lambda: write(folder, replace(face))


def _photographed(face: FaceResult, folder: Path) -> FaceResult:
    """The face with a photo of noise that is there to be read."""
    width, height = face.alignment.photo_size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    photo = folder / "photos" / "photo.png"
    write_image(photo, noise)
    return replace(face, photo=photo)


if __name__ == "__main__":
    main()
