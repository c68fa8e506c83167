"""Train SynergyNet on 3DDFA's crops: the command of SynergyNet, done by train.py.

python tools/synergynet/main_train.py --root train_aug_120x120 --epochs 80

By default as configs/synergy_net/synergynet.yaml says. Flags of train.py are taken too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import train
from options.public_synergy_training import SYNERGYNET
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Call train.py."""
    train.main(SYNERGYNET.argv(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    run_command(main)
