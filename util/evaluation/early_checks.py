"""What is wrong with a command line of evaluate.py, as far as folders tell it; torch-free."""

from __future__ import annotations

from pathlib import Path

from data.aflw2000 import check_files, check_root
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.evaluate_options import (
    AFLW2000_ROOT,
    EvaluateOptions,
    IctBenchmarkOptions,
    M3dfbOptions,
)
from options.face_options import FaceModelOptions, check_face_model
from options.flags import ParsedOptions, flag_names
from options.groups import BENCHMARK_GROUPS
from util.errors import InputError
from util.evaluation.aflw2000_predictions import check_predictions
from util.evaluation.benchmark_folders import check_benchmark_folder
from util.evaluation.method_names import method_name
from util.model_files.ict_folder import check_ict_folder
from util.training.run_choice import find_trained

_OF_THE_MACHINE = ("gpu_ids", "num_cpu_threads", "verbose", "seed")
_SCORES_FILES = (
    "--benchmark m3dfb scores files: give --predictions DIR (<id>.txt) and --mesh_info INFO.json "
    "of M3DFB (lmk_indices and mean_face_shape)"
)
_NOTHING_NAMED = (
    f"nothing says what to evaluate on, and there is no {AFLW2000_ROOT} here, which is meant then. "
    "Without data that must be asked for: `python evaluate.py --ict ICT-FaceKit` renders heads of "
    "ICT-FaceKit, which anyone can download (github.com/ICT-VGL/ICT-FaceKit, MIT licence), and "
    "measures the mean face and the fitter on them; with --model facerecon --name RUN also a "
    "trained network. Your copy of another benchmark: --benchmark "
    f"{'|'.join(name for name in BENCHMARK_GROUPS if name != 'ict')} --benchmark_root DIR "
    "(docs/evaluation.md)"
)


def check_evaluation(options: ParsedOptions) -> None:
    """Refuse what cannot be evaluated, and say which flags mean nothing.

    Raises:
        InputError: a folder is not given, is none, or has other files; there is no such face model
            or checkpoint; or the method's name can name no folder.
    """
    chosen = options[EvaluateOptions]
    method_name(options)
    if M3dfbOptions in options and not (chosen.predictions and options[M3dfbOptions].mesh_info):
        raise InputError(_SCORES_FILES)
    _check_root(options)
    if not chosen.predictions:
        if options[BaseOptions].model not in ("fit", "mean"):
            find_trained(options)
        if FaceModelOptions in options:
            check_face_model(options[FaceModelOptions])
    elif chosen.benchmark == "aflw2000":
        check_predictions(Path(chosen.predictions))
    elif not Path(chosen.predictions).is_dir():
        raise InputError(
            f"--predictions {chosen.predictions} is no folder; give that of the meshes"
        )
    for reason, idle in flags_without_effect(options).items():
        names = ", ".join(f"--{name}" for name in idle)
        print(f"{names} {'have' if len(idle) > 1 else 'has'} no effect: {reason}")
    if chosen.benchmark == "aflw2000":
        check_files(Path(chosen.benchmark_root or AFLW2000_ROOT))
    elif IctBenchmarkOptions not in options:
        check_benchmark_folder(Path(chosen.benchmark_root), options)


def flags_without_effect(options: ParsedOptions) -> dict[str, list[str]]:
    """Flags that were given though nothing depends on them, by the reason."""
    chosen = options[EvaluateOptions]
    of_method = BENCHMARK_GROUPS[chosen.benchmark].methods.get(options[BaseOptions].model, ())
    of_model = flag_names([BaseOptions, *of_method]) - set(_OF_THE_MACHINE)
    of_model |= {"eval_batch_size", "image_folder"}
    if chosen.benchmark == "aflw2000":
        of_model.add("save_predictions")
    if IctBenchmarkOptions not in options:
        of_model |= flag_names([DetectionOptions])
    has_two_roots = IctBenchmarkOptions in options and options[IctBenchmarkOptions].ict
    reasons = {
        "--predictions are scored as they are": of_model if chosen.predictions else (),
        "it is about --predictions": () if chosen.predictions else ("mesh_unit", "template"),
        "it is about --benchmark aflw2000": (
            () if chosen.benchmark == "aflw2000" else ("save_predictions",)
        ),
        "--ict names the folder": ("benchmark_root",) if has_two_roots else (),
    }
    found = {
        reason: [name for name in options.flat() if name in idle and options.given(name)]
        for reason, idle in reasons.items()
    }
    return {reason: names for reason, names in found.items() if names}


def _check_root(options: ParsedOptions) -> None:
    chosen = options[EvaluateOptions]
    if IctBenchmarkOptions in options:
        flag, given = "ict", options[IctBenchmarkOptions].ict
        if not given and chosen.benchmark_root:
            flag, given = "benchmark_root", chosen.benchmark_root
        if not given:
            raise InputError(
                "--benchmark ict needs --ict DIR, the folder of ICT-FaceKit (github.com/ICT-VGL/"
                "ICT-FaceKit, MIT licence): FaceXModel, or the download that holds it"
            )
        if not Path(given).is_dir():
            raise InputError(f"--{flag} {given} is no folder; give ICT-FaceKit's FaceXModel")
        try:
            check_ict_folder(Path(given))
        except InputError as error:
            raise InputError(f"--{flag} {given}: {error}") from error
        return
    if chosen.benchmark == "aflw2000":
        is_named = chosen.benchmark_root or options.given("benchmark")
        # A SynergyNet is evaluated on nothing else.
        is_named = is_named or options[BaseOptions].model == "synergy"
        if not is_named and not Path(AFLW2000_ROOT).is_dir():
            raise InputError(_NOTHING_NAMED)
        check_root(Path(chosen.benchmark_root or AFLW2000_ROOT))
        return
    given = chosen.benchmark_root
    if not given:
        raise InputError(
            f"--benchmark {chosen.benchmark} needs --benchmark_root DIR, the folder of its files "
            "(docs/evaluation.md)"
        )
    if not Path(given).is_dir():
        raise InputError(
            f"--benchmark_root {given} is no folder; give that of the files of {chosen.benchmark} "
            "(docs/evaluation.md)"
        )
