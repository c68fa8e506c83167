"""Data preparation: photos a second with one and with two processes, starting them included.

From the root: `python -m benchmarks.data_preparation [--photos N]`. The photos are variations of
the portraits that scikit-image and matplotlib carry.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from data.images import write_image
from data.portraits import portraits
from data.preparation import PreparationOptions, prepare_folders


def write_photos(folder: Path, count: int) -> None:
    """Portraits with a few columns cut away, as JPEG, each another picture."""
    pictures = list(portraits().values())
    for number in range(count):
        picture = pictures[number % len(pictures)][:, number // len(pictures) :]
        write_image(folder / f"{number:04d}.jpg", np.ascontiguousarray(picture))


def rate(folder: Path, count: int, workers: int) -> float:
    """Photos a second."""
    write_photos(folder, count)
    options = PreparationOptions((str(folder),), num_workers=workers)
    start = time.perf_counter()
    summary = prepare_folders(options, list_root=folder, progress=False)
    seconds = time.perf_counter() - start
    if summary.done != count:
        raise RuntimeError(f"the measurement is void: {summary}")
    return count / seconds


def main() -> None:
    """Print photos a second for each number of processes, which take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=60, help="photos a run")
    parser.add_argument("--repeats", type=int, default=3, help="runs for each number of processes")
    arguments = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(arguments.repeats):
            for workers, found in rates.items():
                folder = Path(temporary) / f"run_{number}_{workers}"
                found.append(rate(folder, arguments.photos, workers))
    print(f"{arguments.photos} photos of about 0.3 megapixels, {arguments.repeats} runs each")
    print(f"{'processes':<10}{'median photos/s':>16}{'best photos/s':>16}")
    for workers, found in rates.items():
        print(f"{workers:<10}{statistics.median(found):>16.1f}{max(found):>16.1f}")
    ratio = statistics.median(rates[2]) / statistics.median(rates[1])
    print(
        f"two processes are {ratio:.2f} times as fast as one (best runs: "
        f"{max(rates[2]) / max(rates[1]):.2f})"
    )


if __name__ == "__main__":
    main()
