"""Saving and loading the checkpoint of a training: R-Net and both moments of Adam.

python -m benchmarks.checkpoints [--folder FOLDER]

A save waits until the file is on the disk. The plain cases are torch's own, without checks,
checksums or waiting.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.timing import compare
from models.networks.reconstruction import create_reconstruction_net
from models.parameters import ParameterLayout
from models.schedule import create_optimizer
from options.network_options import OptimiserOptions, ReconstructionNetOptions
from util.training.checkpoint import load_checkpoint, save_checkpoint


def main() -> None:
    """Print one table for resnet50."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where to write; default: the system's temporary folder")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    options = ReconstructionNetOptions(net_recon="resnet50")
    net = create_reconstruction_net(options, ParameterLayout.for_sizes())
    optimizer = create_optimizer(net.parameter_groups(1e-4), OptimiserOptions())
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = {"net_recon": net.state_dict(), "opt_00": optimizer.state_dict()}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path, plain = Path(folder) / "epoch_1.pth", Path(folder) / "plain.pth"
        torch.save(state, plain)
        save_checkpoint(path, state)
        table = compare(
            {
                "torch.save": lambda: torch.save(state, plain),
                "save": lambda: save_checkpoint(path, state),
                "torch.load": lambda: torch.load(plain, map_location="cpu", weights_only=True),
                "load": lambda: load_checkpoint(path),
            },
            arguments.repeats,
            title=f"checkpoint of resnet50 with its optimiser, {path.stat().st_size / 1e6:.0f} MB",
        )
    print(table)


if __name__ == "__main__":
    main()
