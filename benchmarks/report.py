"""How long a report takes to write, and how large it is.

python -m benchmarks.report
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from models.face_model import FaceModel
from tests.util.report_faces import FIT, drawn_photo, report_face, report_row, report_writer
from util.assets import OPEN_FACE_MODEL
from util.face_model_file import read_face_model

REPETITIONS = 10


def main() -> None:
    """Print milliseconds for the first face, which packs the model, and for each later one."""
    torch.set_num_threads(1)
    face_model = FaceModel(read_face_model(OPEN_FACE_MODEL))
    face = report_face(face_model, fit=FIT)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        writer = report_writer(face_model)
        once = time.perf_counter() - began
        seconds = []
        for _ in range(REPETITIONS):
            began = time.perf_counter()
            writer.write(Path(folder), face, report_row(face), drawn_photo(), face.stem)
            seconds.append(time.perf_counter() - began)
        size = (Path(folder) / f"{face.stem}_report.html").stat().st_size
    print(
        f"once for the face model: {1000 * once:.0f} ms\n"
        f"a report: {1000 * statistics.median(seconds):.0f} ms (median of {REPETITIONS}; shortest "
        f"{1000 * min(seconds):.0f} ms), {size} bytes (a photo of noise, 613 x 407)"
    )


if __name__ == "__main__":
    main()
