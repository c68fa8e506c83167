"""Data preparation: photos a second in one process, in two, and in two shards at once.

Starting the processes is included, for shards merging too. From the root:
`python -m benchmarks.data_preparation [--photos N]`. The photos are variations of the portraits
that scikit-image and matplotlib carry.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.images import write_image
from data.merging import merge_shards
from data.portraits import portraits
from data.preparation import PreparationOptions, prepare_folders

ROOT = Path(__file__).resolve().parent.parent


def write_photos(folder: Path, count: int) -> None:
    """Portraits with a few columns cut away, as JPEG, each another picture."""
    pictures = list(portraits().values())
    for number in range(count):
        picture = pictures[number % len(pictures)][:, number // len(pictures) :]
        write_image(folder / f"{number:04d}.jpg", np.ascontiguousarray(picture))


def with_workers(folder: Path, workers: int) -> int:
    """Prepare a folder in one run; returns the number of photos done."""
    options = PreparationOptions((str(folder),), num_workers=workers)
    return prepare_folders(options, list_root=folder / "datalist", progress=False).usable


def with_shards(folder: Path, shards: int) -> int:
    """Prepare a folder by one command for each shard, all at once, and merge."""
    command = [sys.executable, str(ROOT / "data_preparation.py"), "--img_folder", str(folder)]
    running = [
        subprocess.Popen(
            [*command, "--num_workers", "0", "--shard", f"{index}/{shards}"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for index in range(shards)
    ]
    for process in running:
        process.wait()
    summary = merge_shards(folder / "datalist" / "train")
    return 0 if summary.missing else summary.usable


def rate(prepare: Callable[[Path], int], folder: Path, count: int) -> float:
    """Photos a second."""
    write_photos(folder, count)
    start = time.perf_counter()
    usable = prepare(folder)
    seconds = time.perf_counter() - start
    if usable != count:
        raise RuntimeError(f"the measurement is void: {usable} of {count} photos are usable")
    return count / seconds


def main() -> None:
    """Print photos a second of each case, which take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=60, help="photos a run")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each case")
    arguments = parser.parse_args()
    cases: dict[str, Callable[[Path], int]] = {
        "1 process": lambda folder: with_workers(folder, 1),
        "2 processes": lambda folder: with_workers(folder, 2),
        "2 shards": lambda folder: with_shards(folder, 2),
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(arguments.repeats):
            for name, prepare in cases.items():
                folder = Path(temporary) / f"run {number}, {name}"
                rates[name].append(rate(prepare, folder, arguments.photos))
    print(f"{arguments.photos} photos of about 0.3 megapixels, {arguments.repeats} runs each")
    print(f"{'case':<12}{'median photos/s':>16}{'best photos/s':>16}{'median a process':>18}")
    for name, found in rates.items():
        median, processes = statistics.median(found), int(name.split()[0])
        print(f"{name:<12}{median:>16.1f}{max(found):>16.1f}{median / processes:>18.1f}")
    one = statistics.median(rates["1 process"])
    for name in ("2 processes", "2 shards"):
        print(f"{name}: {statistics.median(rates[name]) / one:.2f} times as fast as one process")


if __name__ == "__main__":
    main()
