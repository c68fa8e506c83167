"""What a method was evaluated with, as rows of its report: method, face model, detector, options.

They are kept with the meshes of each method, so that a report of several runs tells them apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from models.face_model import IdentityCard
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.evaluate_options import BenchmarkFitOptions, EvaluateOptions, IctBenchmarkOptions
from options.flags import ParsedOptions, as_typed, flag_names
from options.record import git_commit
from util.reports.report_parts import versions
from util.training.run_choice import find_trained

Used = Sequence[tuple[str, str]]
"""Names and values."""
_TOLD = {
    *flag_names([BaseOptions, BenchmarkFitOptions, IctBenchmarkOptions]),
    *("detector", "detection_upsample"),
    *("benchmark", "benchmark_root", "out", "method_name", "predictions", "save_predictions"),
    *("pictures", "eval_batch_size"),
}
"""Flags that rows of their own tell, or that change no number."""


def what_was_used(
    options: ParsedOptions,
    face_model: IdentityCard | None,
    *,
    heads: IdentityCard | None = None,
    preset: str = "",
) -> Used:
    """The rows of one method; asked for when it is loaded, since a training may replace its file.

    Args:
        options: of the command.
        face_model: of the method; None for meshes of others.
        heads: of the renders that are compared with, in `--benchmark ict`.
        preset: of a fitter, where it is another than that of the options.
    """
    rows = []
    if heads is not None:
        wanted = options[IctBenchmarkOptions]
        people = f"{wanted.people} people, " if wanted.people else ""
        renders = f"{wanted.heads} heads, {people}--looks {wanted.looks}, --head_seed "
        rows += [
            ("Heads", f"{heads}, licence {heads.licence}"),
            ("Renders", f"{renders}{wanted.head_seed}"),
        ]
    rows.append(("Method", _method(options, preset)))
    base, predictions = options[BaseOptions], options[EvaluateOptions].predictions
    if base.model not in ("fit", "mean") and not predictions:
        path = find_trained(options)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        rows.append(("Checkpoint", f"{path.parent.name}/{path.name} (SHA-256 {digest})"))
    if face_model is not None:
        rows += [("Face model", str(face_model)), ("Its licence", face_model.licence)]
    if DetectionOptions in options and (heads is not None or not predictions):
        detection = options[DetectionOptions]
        found = f"{detection.detector}, --detection_upsample {detection.detection_upsample}"
        rows.append(("Faces found by", found))
    changed = {name: value for name, (value, _) in options.changed().items() if name not in _TOLD}
    rows.append(("Options unlike the defaults", as_typed(changed) or "none"))
    return [*rows, ("Program", f"commit {git_commit()}"), ("Versions", versions())]


def _method(options: ParsedOptions, preset: str) -> str:
    predictions = options[EvaluateOptions].predictions
    if predictions:
        return f"meshes of {Path(predictions).resolve().name}"
    model = options[BaseOptions].model
    if model == "fit":
        return f"--model fit --preset {preset or options[BenchmarkFitOptions].preset}"
    return f"--model {model}"
