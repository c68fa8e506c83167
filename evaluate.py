"""Score a method on a public benchmark: a network of ours or of others, the fitter, or a file.

python evaluate.py --benchmark aflw2000 --benchmark_root aflw2000_data --model synergy --name mine
python evaluate.py --benchmark_root aflw2000_data --model facerecon --name face_recon --epoch 20
python evaluate.py --benchmark_root aflw2000_data --model fit
python evaluate.py --benchmark_root aflw2000_data --predictions theirs.npz
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from options import parse_command, write_options
from options.base_options import BaseOptions
from options.evaluate_options import EvaluateOptions
from util.benchmark_methods import METHODS
from util.benchmarks import BENCHMARKS
from util.command import run_command
from util.errors import InputError


def groups(given: Mapping[str, str]) -> tuple[type, ...]:
    """The options of the chosen method, beside those of all."""
    name = given.get("model", BaseOptions.model)
    if name not in METHODS:
        raise InputError(f"--model {name} cannot be evaluated; choose one of {', '.join(METHODS)}")
    return (EvaluateOptions, BaseOptions, *METHODS[name].groups)


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate, as the command line says."""
    options = parse_command(groups, argv, __doc__ or "")
    chosen = options[EvaluateOptions]
    BENCHMARKS[chosen.benchmark](options)
    write_options(options, Path(chosen.out), "evaluate")


if __name__ == "__main__":
    run_command(main)
