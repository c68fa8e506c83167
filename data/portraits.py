"""Copy the portraits that installed packages carry: real photos for a first try.

python -m data.portraits datasets/portraits

Both are in the public domain (works of the United States government): the astronaut Eileen Collins
(NASA) from scikit-image, and Rear Admiral Grace Hopper (US Navy) from matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from data.images import read_image, write_image
from util.command import run_command
from util.errors import InputError


def portraits() -> dict[str, np.ndarray]:
    """Name -> (H, W, 3) uint8 photo.

    Raises:
        InputError: a package that carries one is not installed.
    """
    try:
        import matplotlib
        from skimage.data import astronaut
    except ImportError as error:
        raise InputError(
            f"the portraits come with scikit-image and matplotlib ({error}); "
            "install them with `pip install scikit-image matplotlib`"
        ) from error
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return {"astronaut": astronaut(), "grace_hopper": read_image(hopper)}


def main() -> None:
    """Write the portraits as PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder
    for name, picture in portraits().items():
        write_image(folder / f"{name}.png", picture)
    print(f"Two public-domain portraits in {folder}")


if __name__ == "__main__":
    run_command(main)
