"""SynergyNet on AFLW2000-3D: the command of SynergyNet, done by evaluate.py.

python tools/synergynet/benchmark.py -w pretrained/best.pth.tar

Reads ./aflw2000_data; writes tables into results/aflw2000 and the first 50 images as
results/<number>.png. Flags of evaluate.py, such as --name and --epoch of our runs, are taken too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import evaluate
from data.images import read_image, write_image
from options import parse_command
from options.evaluate_options import results_folder
from options.public_synergy import benchmark_call
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Call evaluate.py, then write its pictures under the public names too."""
    call = benchmark_call(sys.argv[1:] if argv is None else argv)
    evaluate.main(call)
    if any(token in ("-h", "--help") for token in call):
        return
    options = parse_command(evaluate.groups, call)
    from util.evaluation.method_names import method_folder, method_name

    out = results_folder(options)
    for picture in sorted((method_folder(out, method_name(options)) / "first").glob("*.jpg")):
        write_image(Path("results") / f"{int(picture.stem)}.png", read_image(picture))


if __name__ == "__main__":
    run_command(main)
