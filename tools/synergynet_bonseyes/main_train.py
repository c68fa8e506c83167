"""Train SynergyNet on a folder of the datatool: the command of its fork for BFM, by train.py.

python tools/synergynet_bonseyes/main_train.py --datatool-root-dir datatool --exp-name mine

By default as configs/synergy_net/bonseyes.yaml says; the run's files lie in ckpts/<exp-name>. Flags
of train.py are taken too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import train
from options.public_synergy_training import BONSEYES
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Call train.py."""
    train.main(BONSEYES.argv(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    run_command(main)
