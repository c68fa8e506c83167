"""Photos per second of `test.py`, all files written, with and without given detections.

python -m benchmarks.reconstruction [--photos 40]

The networks are untrained: what they predict makes no difference to the time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

import test as test_command
from benchmarks.data_preparation import write_photos
from benchmarks.timing import compare
from data.preparation import PreparationOptions, prepare_folders
from models import create_model
from models.facerecon_model import FaceReconModel
from options import parse_command
from options.base_options import BaseOptions
from util.assets import load_assets
from util.checkpoint import checkpoint_path
from util.training_state import Progress, save_training


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for net in ("resnet50", "dlib"):
            save_untrained(root, net)
        for folder in ("given", "found"):
            write_photos(root / folder, arguments.photos)
        options = PreparationOptions(img_folder=(str(root / "given"),), num_workers=1)
        prepare_folders(options, list_root=root, progress=False)
        cases = {
            f"{net}, detections {folder}": runner(root, net, folder)
            for folder in ("given", "found")
            for net in ("resnet50", "dlib")
        }
        table = compare(cases, repeats=arguments.repeats, title=f"{arguments.photos} photos")
    print(table)
    for timing in table.timings:
        print(f"{timing.name}: {arguments.photos / timing.median:.1f} photos/s")


def save_untrained(root: Path, net: str) -> None:
    """Write the checkpoint of an untrained network."""
    groups = [BaseOptions, *FaceReconModel.option_groups]
    options = parse_command(groups, ["--net_recon", net, "--w_feat", "0"])
    with contextlib.redirect_stdout(io.StringIO()):
        model = create_model("facerecon", options, load_assets(options), torch.device("cpu"))
    save_training(checkpoint_path(root / net, "latest"), model, options, Progress())


def runner(root: Path, net: str, folder: str) -> Callable[[], None]:
    """A call of the command in this process, without its prints."""

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            test_command.main(
                ["--name", net, "--checkpoints_dir", str(root), "--img_folder", str(root / folder)]
            )

    return run


if __name__ == "__main__":
    main()
