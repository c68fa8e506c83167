"""Real portraits from installed packages, a detector loaded once, and plain generated pictures."""

from pathlib import Path

import numpy as np
import pytest

from data.detection import DlibDetector
from data.images import read_image


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3): one frontal face, well lit, another one on a badge."""
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="session")
def hopper_path() -> Path:
    matplotlib = pytest.importorskip("matplotlib")
    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture(scope="session")
def hopper(hopper_path: Path) -> np.ndarray:
    return read_image(hopper_path)


@pytest.fixture(scope="session")
def detector() -> DlibDetector:
    return DlibDetector()


@pytest.fixture(scope="session")
def astronaut_landmarks(astronaut: np.ndarray, detector: DlibDetector) -> np.ndarray:
    """(68, 2) pixel indices."""
    return detector.detect(astronaut, largest_only=True)[0].landmarks_px


@pytest.fixture
def standard_points() -> np.ndarray:
    """(5, 3) a plausible face in decimetres: eyes, nose tip, mouth corners."""
    return np.array(
        [
            [-0.31, 0.29, 0.13],
            [0.31, 0.29, 0.13],
            [0.0, -0.02, 0.40],
            [-0.25, -0.34, 0.17],
            [0.25, -0.34, 0.17],
        ]
    )


@pytest.fixture
def picture() -> np.ndarray:
    """(60, 80, 3) smooth colours with a different one in each corner."""
    rows, columns = np.mgrid[:60, :80]
    red, green = 40 + 2 * columns, 30 + 3 * rows
    return np.stack([red, green, 200 - columns], axis=-1).astype(np.uint8)
