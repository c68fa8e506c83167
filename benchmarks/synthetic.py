"""Images a second of make_synthetic.py: default, truth of every pixel, larger and plain pictures.

python -m benchmarks.synthetic [faces]

The target is 40 images/s at 224 px on two cores with the default. Each case renders and writes with
one process a core; starting these is left out, since it weighs nothing in a set of thousands.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from data.synthetic.generate import CHUNK, RenderChunk
from data.synthetic.maps import MapChoice
from data.synthetic.photographer import Photographer
from data.worker_pool import map_in_processes
from models.face_model import FaceModel
from options.face_options import FaceModelOptions
from util.assets import load_face_model
from util.cores import usable_cores

TARGET = 40.0
"""Images a second on two cores, default settings."""
CASES: dict[str, tuple[Callable[[FaceModel], Photographer], MapChoice]] = {
    "default: 224 px, skin mask": (Photographer, "none"),
    "--maps masks": (partial(Photographer, surfaces=True), "masks"),
    "--maps all": (partial(Photographer, surfaces=True), "all"),
    "--camera random": (partial(Photographer, camera="random"), "none"),
    "--size 448": (partial(Photographer, size_px=448), "none"),
    "--size 448 --maps all": (partial(Photographer, size_px=448, surfaces=True), "all"),
    "--looks plain": (partial(Photographer, looks="plain"), "none"),
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=int, nargs="?", default=600, help="faces of each case")
    arguments = parser.parse_args()
    workers = usable_cores()
    chunks = max(arguments.faces, 3 * CHUNK * workers) // CHUNK
    face_model = load_face_model(FaceModelOptions("open"))
    print(f"{face_model.card}, {chunks * CHUNK} faces a case, {workers} processes")
    first = None
    for name, (photographer, maps) in CASES.items():
        rate = images_per_second(photographer(face_model), maps, chunks, workers)
        first = first or rate
        print(f"{name:<28} {rate:>7.1f} images/s  {rate / first:>5.2f} of the default", flush=True)
    assert first is not None
    reached = first / workers * 2
    print(f"default on two cores: {reached:.0f} images/s (target {TARGET:.0f})")


def images_per_second(
    photographer: Photographer, maps: MapChoice, chunks: int, workers: int
) -> float:
    """Rate of rendering and writing chunks, from when each process has made its first one."""
    with tempfile.TemporaryDirectory() as folder:
        work = RenderChunk(photographer, Path(folder), 0, chunks * CHUNK, maps=maps)
        starts = range(0, chunks * CHUNK, CHUNK)
        began = 0.0
        for number, _ in enumerate(map_in_processes(work, starts, workers)):
            if number == workers - 1:
                began = time.perf_counter()
        return (chunks - workers) * CHUNK / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
