"""Score the network of a config file on AFLW2000-3D: done by evaluate.py.

python tools/facereconstruction/eval.py -opt configs/synergy_net/synergynet.yaml

The file is the one that --config of all commands reads; flags of evaluate.py may follow and win.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import evaluate
from options.public_synergy import config_call
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Call evaluate.py."""
    evaluate.main(config_call(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    run_command(main)
