"""Two CPU processes against one: the same training, the same batches, the same cores.

python -m benchmarks.processes [--steps 8] [--batch_size 16]

Runs `train.py` on noise with the real R-Net and all losses but identity, and reads the times of the
steps from its log, so that the start is not part of it. Both variants get the cores that
this process may use: one process with all of them, two with half each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.images import write_image
from data.landmarks import write_landmarks
from models.camera import Camera
from options.face_options import FaceModelOptions
from util.assets import load_face_model
from util.cores import usable_cores

ROOT = Path(__file__).resolve().parent.parent
WARM_UP_STEPS = 2


def main() -> None:
    """Print seconds a step of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--net_recon", default="resnet50")
    arguments = parser.parse_args()
    cores = usable_cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = WARM_UP_STEPS + arguments.steps
        write_photos(folder, steps * arguments.batch_size)
        seconds = {}
        for count in (1, 2):
            threads = max(1, cores // count)
            seconds[count] = seconds_a_step(folder, count, threads, steps, arguments)
            print(f"{count} process(es), {threads} thread(s) each: {seconds[count]:.3f} s a step")
    print(f"two against one: {seconds[1] / seconds[2]:.2f} times as fast on {cores} cores")


def write_photos(folder: Path, count: int) -> None:
    """A prepared folder of noise with the mean face's landmarks."""
    face_model = load_face_model(FaceModelOptions("open"))
    points = face_model.landmarks(face_model.mean_shape.reshape(1, -1, 3))
    camera = Camera.rnet()
    landmarks = camera.project(camera.from_object(points))[0].double().numpy()
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    for number in range(count):
        write_image(folder / f"{number}.png", image)
        write_landmarks(folder / "landmarks" / f"{number}.txt", landmarks)
        write_image(folder / "mask" / f"{number}.png", np.full((224, 224), 255, np.uint8))
    lines = [f"{folder / 'mask' / f'{number}.png'}\n" for number in range(count)]
    (folder / "masks.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "one.txt").write_text(lines[0], encoding="utf-8")


def seconds_a_step(
    folder: Path, count: int, threads: int, steps: int, arguments: argparse.Namespace
) -> float:
    """Mean time of the steps after the warm-up."""
    flags = {
        "name": f"run_{count}",
        "checkpoints_dir": folder,
        "data_root": folder,
        "flist": folder / "masks.txt",
        "flist_val": folder / "one.txt",
        "face_model": "open",
        "net_recon": arguments.net_recon,
        "batch_size": arguments.batch_size,
        "world_size": count,
        "gpu_ids": -1,
        "num_cpu_threads": threads,
        "num_threads": 0,
        "w_feat": 0,
        "n_epochs": 1,
        "print_freq": 1,
        "add_image": False,
    }
    words = [f"--{flag}={value}" for flag, value in flags.items()]
    subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, check=True, capture_output=True)
    log = EventAccumulator(str(folder / f"run_{count}" / "logs"))
    log.Reload()
    times = {event.step: event.wall_time for event in log.Scalars("train/all")}
    return (times[steps] - times[WARM_UP_STEPS]) / (steps - WARM_UP_STEPS)


if __name__ == "__main__":
    main()
