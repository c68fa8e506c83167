"""Seconds for making BFM_model_front.mat of made-up BFM09 files of the true size, and for using it.

python -m benchmarks.bfm_conversion            # writes 0.5 GB into a temporary folder
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.made_up_bfm import FrontMesh, write_sources
from benchmarks.meshes import dome
from models.face_model import FaceModel
from util.model_files.bfm_conversion import BFM09_SIZES, check_sources, convert_bfm09
from util.model_files.bfm_file import read_bfm_model

VERTICES = 35709
"""Of the published face model; its 70,789 triangles are nearly those of the dome."""
TARGET_S = 15
"""Longest conversion."""


def published_size_mesh() -> FrontMesh:
    """A dome of as many vertices as the published model."""
    vertices, triangles = (tensor.numpy() for tensor in dome(180, 199))
    triangles = triangles[(triangles < VERTICES).all(axis=1)]
    keypoints = np.linspace(0, VERTICES - 1, 68).astype(np.int64)
    return FrontMesh(vertices[:VERTICES], triangles, triangles[::2], keypoints)


def timed(name: str, call: Callable[[], object], target: str = "") -> None:
    """Run once and print the seconds."""
    start = time.perf_counter()
    call()
    print(f"{name:<42}{time.perf_counter() - start:8.2f} s{target}")


def main() -> None:
    """Write the files, convert them, read the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the made-up files here")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        folder = given or Path(temporary)
        target = folder / "BFM_model_front.mat"
        mesh = published_size_mesh()
        print(f"{len(mesh.vertices)} vertices, {len(mesh.triangles)} triangles")
        timed(
            "write made-up files (no part of a run)",
            lambda: write_sources(folder, mesh, BFM09_SIZES, compress=True),
        )
        timed("check the user's files", lambda: check_sources(folder))
        timed("convert", lambda: convert_bfm09(folder, target), f" (target below {TARGET_S} s)")
        timed("read the result", lambda: read_bfm_model(target))
        timed("read it, and make the model", lambda: FaceModel(read_bfm_model(target)[0]))
        megabytes = target.stat().st_size / 1e6
        print(f"{target.name}: {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
