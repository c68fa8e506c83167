"""Score a method on a public benchmark: a network of ours or of others, the fitter, or files.

python evaluate.py --ict ICT-FaceKit
python evaluate.py --ict ICT-FaceKit --model facerecon --name quickstart
python evaluate.py --benchmark now --benchmark_root NoW --model facerecon --name quickstart
python evaluate.py --benchmark now --benchmark_root NoW --predictions theirs --mesh_unit m
python evaluate.py --benchmark aflw2000 --benchmark_root aflw2000_data --model synergy --name mine
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from options import ParsedOptions, parse_command, write_options
from options.base_options import BaseOptions
from options.evaluate_options import EvaluateOptions, results_folder
from options.groups import BENCHMARK_GROUPS, chosen_groups
from util.command import run_command
from util.errors import InputError
from util.evaluation.early_checks import check_evaluation
from util.folders import check_folder


def benchmark_of(given: Mapping[str, str]) -> str:
    """The benchmark: the one that is named, or the one that `--ict` means."""
    name = given.get("benchmark", "ict" if "ict" in given else EvaluateOptions.benchmark)
    chosen_groups("benchmark", name, BENCHMARK_GROUPS)
    return name


def groups(given: Mapping[str, str]) -> tuple[type, ...]:
    """The options of the chosen benchmark and method, beside those of all."""
    name = benchmark_of(given)
    benchmark = BENCHMARK_GROUPS[name]
    model = given.get("model", benchmark.model)
    if model and model not in benchmark.methods:
        remedy = f"choose one of {', '.join(benchmark.methods)}"
        if not benchmark.methods:
            remedy = "it scores files, which --predictions names"
        if not {"benchmark", "ict"} & set(given):
            name += " (--benchmark's default)"
            remedy += ", or name a benchmark: --ict ICT-FaceKit, --benchmark now ..."
        raise InputError(f"--model {model} cannot be evaluated on {name}; {remedy}")
    chosen = (*benchmark.own, *benchmark.methods.get(model, ()))
    return (EvaluateOptions, BaseOptions, *dict.fromkeys(chosen))


def settled(options: ParsedOptions) -> ParsedOptions:
    """The options with the benchmark and the method that others of them imply."""
    given = {name: str(value) for name, value in options.flat().items() if options.given(name)}
    name = benchmark_of(given)
    options = options.with_values(EvaluateOptions, benchmark=name)
    model = given.get("model", BENCHMARK_GROUPS[name].model)
    return options.with_values(BaseOptions, model=model)


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate, as the command line says."""
    options = settled(parse_command(groups, argv, __doc__ or ""))
    check_folder(results_folder(options), "out")
    check_evaluation(options)
    # What computes takes seconds to import: only now that the command line is sound.
    from util.compilation import say_when_compiling
    from util.evaluation.benchmarks import BENCHMARKS

    with say_when_compiling():
        BENCHMARKS[options[EvaluateOptions].benchmark](options)
    write_options(options, results_folder(options), "evaluate")


if __name__ == "__main__":
    run_command(main)
