"""Train from a config file alone: `-opt FILE` is the `--config FILE` of train.py.

python tools/facereconstruction/train.py -opt configs/synergy_net/synergynet.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

# Before this folder, whose train.py would be found for the root's.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import train
from options.public_synergy import config_call
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Call train.py."""
    train.main(config_call(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    run_command(main)
